"""Compute many runs: one after the other, side by side, or on a cluster, under one progress bar."""

import os
import traceback
from collections.abc import Sequence

from tqdm import tqdm

from rnfl import datasets
from rnfl.models.registry import registered
from rnfl.runs import address, results
from rnfl.runs.results import RunResult
from rnfl.study.grid import resources, tasks
from rnfl.training.config import RunConfig

ENGINES = ("auto", "serial", "local", "dask")
SMALL = 10_000_000  # parameters: a backbone of fewer is trained in one process per core
SCHEDULER = "RNFL_SCHEDULER"  # the environment's variable for those who are not asked: notebooks


def run_grid(
    configs: Sequence[RunConfig],
    engine: str = "auto",
    workers: int | None = None,
    scheduler: str | None = None,
) -> list[RunResult]:
    """Compute the runs that are not finished and return all, in the order of ``configs``.

    A failed run is reported with its traceback and does not stop the others.

    Parameters
    ----------
    engine : {'auto', 'serial', 'local', 'dask'}
        'serial' uses this process. 'local' uses worker processes, each on cores and, where there
        are GPUs, on a GPU of its own; a worker keeps its imports and images from run to run.
        'dask' uses the workers of a Dask cluster. 'auto' is 'dask' where a scheduler is given;
        'local' for several runs on several GPUs, or of small backbones on a CPU (too narrow to
        keep several threads busy); else 'serial'.
    workers : int, optional
        Processes of 'local', and of 'dask' without a scheduler; by default one per GPU or, without
        GPUs, one per core, at most 4.
    scheduler : str, optional
        Address of the Dask scheduler to join, such as ``tcp://10.0.0.1:8786``; by default
        ``$RNFL_SCHEDULER``. Without one, 'dask' starts a cluster on this machine for this grid.
        Workers must see the same data folder and have the same code.

    Raises
    ------
    ValueError, ImportError, ConnectionError
        If an argument or a worker of the cluster is unfit, 'dask' is asked for and not installed,
        or its scheduler does not answer, or leaves.
    RuntimeError
        After all runs were tried, naming those that failed, each with its traceback.
    """
    engine, scheduler = check(engine, workers, scheduler)
    hashes = {name: datasets.load(name).hash for name in {c.dataset for c in configs}}
    addresses = [address.run_id(config, hashes[config.dataset]) for config in configs]
    wanted = dict(zip(addresses, configs, strict=True))
    unfinished = {i: config for i, config in wanted.items() if not results.finished(i, config)}
    if unfinished:
        if engine == "auto":
            engine = _choose_engine(list(unfinished.values()))
        n, finished = len(wanted), len(wanted) - len(unfinished)
        with tqdm(total=n, initial=finished, desc="runs", unit="run", mininterval=1) as bar:
            if engine == "dask":
                from rnfl.study.grid import cluster

                failures = cluster.compute(unfinished, bar, workers, scheduler)
            elif engine == "local":
                from rnfl.study.grid import local

                failures = local.compute(unfinished, bar, workers)
            else:
                failures = _serial(unfinished, bar)
        if failures:
            reports = (f"run {run_id} failed:\n{text}" for run_id, text in failures.items())
            raise RuntimeError("\n".join(reports))
    return [results.finished(*pair) for pair in zip(addresses, configs, strict=True)]


def check(engine: str, workers: int | None, scheduler: str | None) -> tuple[str, str | None]:
    """Return engine and scheduler, those of the environment where none are asked for.

    What is unknown or does not go together is a ValueError.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; valid ones are {list(ENGINES)}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be positive, got {workers}")
    if workers and engine == "serial":
        raise ValueError(f"engine 'serial' has no workers, got {workers}; use 'local' or 'dask'")
    if scheduler and engine in ("serial", "local"):
        raise ValueError(f"engine {engine!r} has no scheduler, got {scheduler!r}; use 'dask'")
    if engine in ("auto", "dask"):
        scheduler = scheduler or os.environ.get(SCHEDULER) or None
    if scheduler and workers:
        raise ValueError(
            f"workers={workers} and scheduler {scheduler!r}: a cluster has its own workers, give "
            "one of the two"
        )
    return ("dask" if scheduler else engine), scheduler


def _choose_engine(configs: list[RunConfig]) -> str:
    gpus = resources.gpus()
    if len(configs) == 1 or len(gpus) == 1:
        return "serial"
    small = all((spec := registered(c.backbone)) and spec.parameters < SMALL for c in configs)
    return "local" if gpus or (small and len(resources.cores()) > 1) else "serial"


def _serial(todo: dict[str, RunConfig], bar: tqdm) -> dict[str, str]:
    from rnfl.runs.run import run

    watch = tasks.Watch(todo, bar)
    for run_id, config in todo.items():
        failure = ""
        try:
            run(config, lambda row, config=config: watch.show(tasks.state(config, row)))
        except Exception:
            failure = traceback.format_exc()
        watch.done(run_id, failure)
    return watch.failures
