"""Compute many runs, one after the other or side by side, under one progress bar."""

import json
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context

from tqdm import tqdm

from rnfl import provenance, runs
from rnfl.backbone_specs import registered
from rnfl.runs import RunConfig, RunResult

MAX_WORKERS = 4
MAX_RESTARTS = 2


def run_grid(
    configs: Sequence[RunConfig], engine: str = "auto", workers: int | None = None
) -> list[RunResult]:
    """Compute the runs that are not finished and return all, in the order of ``configs``.

    A failed run is reported with its traceback and does not stop the others.

    Parameters
    ----------
    configs : sequence of RunConfig
    engine : {'auto', 'serial', 'local'}
        'serial' uses this process. 'local' uses worker processes that share the cores; a worker
        keeps its imports and images from run to run. 'auto' is 'local' for several runs of small
        backbones on a CPU (too narrow to keep several threads busy), else 'serial'.
    workers : int, optional
        Processes of 'local'; by default one per core, at most 4.

    Raises
    ------
    RuntimeError
        After all runs were tried, naming those that failed, each with its traceback.
    """
    if engine != "auto" and engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; valid ones are {['auto', *ENGINES]}")
    prepared = {name: runs.open_dataset(name) for name in {c.dataset for c in configs}}
    wanted = {config.run_id(prepared[config.dataset]): config for config in configs}
    unfinished = {
        run_id: config
        for run_id, config in wanted.items()
        if runs.find(config, prepared[config.dataset]) is None
    }
    if unfinished:
        if engine == "auto":
            engine = _choose_engine(list(unfinished.values()))
        n, finished = len(wanted), len(wanted) - len(unfinished)
        with tqdm(total=n, initial=finished, desc="runs", unit="run", mininterval=1) as bar:
            failures = ENGINES[engine](unfinished, bar, workers)
        if failures:
            reports = (f"run {run_id} failed:\n{text}" for run_id, text in failures.items())
            raise RuntimeError("\n".join(reports))
    return [runs.find(config, prepared[config.dataset]) for config in configs]


def _choose_engine(configs: list[RunConfig]) -> str:
    import torch

    small = all((spec := registered(c.backbone)) and spec.phantom for c in configs)
    several = len(configs) > 1 and len(_cores()) > 1
    return "local" if small and several and not torch.cuda.is_available() else "serial"


def _serial(todo: dict[str, RunConfig], bar: tqdm, workers: int | None) -> dict[str, str]:
    from rnfl.experiment import run

    failures = {}
    for run_id, config in todo.items():
        try:
            run(config, report=lambda row, config=config: bar.set_postfix_str(_state(config, row)))
        except Exception:
            failures[run_id] = _announce(bar, run_id, traceback.format_exc())
        bar.update()
    return failures


def _local(todo: dict[str, RunConfig], bar: tqdm, workers: int | None) -> dict[str, str]:
    cores = _cores()
    workers = min(workers or min(len(cores), MAX_WORKERS), len(todo))
    threads = max(1, len(cores) // workers)
    waiting, failures = dict(todo), {}
    for _ in range(1 + MAX_RESTARTS):
        # A killed worker breaks the whole pool; its run resumes in the next one.
        shown = ""
        with _pool(workers, threads) as pool:
            futures = {pool.submit(_work, run_id, c): run_id for run_id, c in waiting.items()}
            while pending := [future for future in futures if not future.done()]:
                wait(pending, timeout=2, return_when=FIRST_COMPLETED)
                if (states := _states(waiting)) != shown:
                    bar.set_postfix_str(shown := states)
                _collect(futures, waiting, failures, bar)
            _collect(futures, waiting, failures, bar)
        if not waiting:
            return failures
    text = (
        f"its worker process ended {1 + MAX_RESTARTS} times without an answer: out of memory, or "
        "run_grid called by a script without \"if __name__ == '__main__':\""
    )
    return failures | {run_id: _announce(bar, run_id, text) for run_id in waiting}


@contextmanager
def _pool(workers: int, threads: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes; an interrupt ends them at once, between two checkpoints if need be."""
    others = set(active_children())
    arguments = (os.getpid(), threads)
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, arguments)
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in set(active_children()) - others:
            worker.terminate()
        raise


ENGINES: dict[str, Callable[[dict[str, RunConfig], tqdm, int | None], dict[str, str]]] = {
    "serial": _serial,
    "local": _local,
}


def _collect(futures: dict, waiting: dict, failures: dict, bar: tqdm) -> None:
    for future, run_id in futures.items():
        if run_id not in waiting or not future.done():
            continue
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            continue
        if error:
            text = "".join(traceback.format_exception(error))
            failures[run_id] = _announce(bar, run_id, text)
        del waiting[run_id]
        bar.update()


def _announce(bar: tqdm, run_id: str, text: str) -> str:
    bar.write(f"run {run_id} failed:\n{text}")
    return text


def _start_worker(parent: int, threads: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    # Otherwise a worker whose notebook was killed would train on, holding the run's lock.
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _work(run_id: str, config: RunConfig) -> None:
    from rnfl.experiment import run

    state = runs.partial_folder(run_id) / "state.json"

    def report(row: dict) -> None:
        provenance.write_json(state, {"text": _state(config, row)})

    run(config, report)


def _state(config: RunConfig, row: dict) -> str:
    return f"{config.slug} {row['epoch'] + 1}/{config.epochs} val {row['val_mae']:.2f} µm"


def _states(waiting: dict[str, RunConfig]) -> str:
    texts = []
    for run_id in waiting:
        try:
            text = (runs.partial_folder(run_id) / "state.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        texts.append(json.loads(text)["text"])
    return " | ".join(texts)


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
