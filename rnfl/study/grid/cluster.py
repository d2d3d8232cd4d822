"""The engine 'dask': the workers of a Dask cluster, or of one started here for the occasion.

A run is one task whose key is its run id, so that clients who ask for the same run share it. Tasks
return nothing: what they make lies in the data folder, which workers and client share. A task
whose worker dies runs elsewhere and resumes there; one that is finished returns at once.
"""

import os
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tqdm import tqdm

from rnfl import datasets
from rnfl.runs import address
from rnfl.storage.paths import data_root, make_folder, runs_root
from rnfl.storage.provenance import code_hash
from rnfl.study.grid import tasks
from rnfl.study.grid.resources import Share, divide
from rnfl.training.config import RunConfig

try:
    from distributed import (
        CancelledError,
        Client,
        Future,
        KilledWorker,
        LocalCluster,
        Worker,
        get_worker,
        wait,
    )
except ImportError as error:
    raise ImportError(
        f"the engine 'dask' needs {error.name}: pip install 'rnfl[cluster]'", name=error.name
    ) from error

CONNECT_SECONDS = 5
PATIENCE = 5.0  # s, until a file that another machine made appears
# Other machines may see a new file late: network file systems keep attributes for up to a minute.
VISIBLE_SECONDS = 90
# After those deaths of its worker that Dask itself forgives a task, 3 by default.
MAX_RESTARTS = 6


class Withdrawn(Exception):
    """Nobody waits for the run any more; it is saved as far as it has come."""


@dataclass(frozen=True)
class Witness:
    """What a client sees; a worker that sees the same is fit."""

    file: Path  # in the data folder, relative to it, with a name that no other data folder has
    code: str  # hash of the package's code

    @classmethod
    def here(cls) -> "Witness":
        """Return what this process sees; its file stays in the data folder for the next one."""
        folder = runs_root() / ".partial"
        make_folder(folder)
        found = sorted(folder.glob("witness-*"))
        if not found:
            found = [folder / f"witness-{uuid.uuid4().hex}"]
            found[0].touch()
        return cls(found[0].relative_to(data_root()), code_hash())

    def complaint(self, dask_worker: Worker) -> str | None:
        """Say, on a worker, why its results would not be the client's; None if they are."""
        if (threads := dask_worker.state.nthreads) != 1:
            return (
                f"it has {threads} Dask threads, and a process can do only one run at a time: "
                "start it with --nthreads 1, and set OMP_NUM_THREADS to the number of its cores"
            )
        if (own := code_hash()) != self.code:
            return (
                f"its code has the hash {own}, the client's {self.code}: install the same "
                "there, and restart workers after a change"
            )
        path, until = data_root() / self.file, time.monotonic() + PATIENCE
        while not path.exists():
            if time.monotonic() > until:
                return (
                    f"its data folder {data_root()} is not the client's ({self.file} is missing): "
                    "give both the same RNFL_DATA, on a file system that they share"
                )
            time.sleep(0.2)
        return None


def compute(
    todo: dict[str, RunConfig], bar: tqdm, workers: int | None, scheduler: str | None
) -> dict[str, str]:
    """Compute runs on a cluster; return what went wrong, by run id."""
    with _connect(scheduler, len(todo), workers) as (client, shares):
        # Without bokeh there is an address and no page.
        if client.run_on_scheduler(lambda: find_spec("bokeh") is not None):
            bar.write(f"Dask dashboard: {client.dashboard_link}")
        witness = Witness.here()
        if _workers(client):
            _check_workers(client, witness)
        gpu = any("GPU" in resources for resources in _workers(client).values())
        futures = {
            run_id: client.submit(
                _work, run_id, config, witness, shares,
                key=run_id, pure=False, resources={"GPU": 1} if gpu else None,
            )
            for run_id, config in todo.items()
        }  # fmt: skip
        return _collect(client, futures, bar)


@contextmanager
def _connect(
    scheduler: str | None, n_tasks: int, workers: int | None
) -> Iterator[tuple[Client, list[Share]]]:
    """Join a cluster, or start one on this machine whose workers take a share of it each."""
    if scheduler:
        try:
            if not scheduler.rpartition(":")[2].isdecimal():
                raise ValueError("its address has a port")
            client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"no Dask scheduler answers at {scheduler!r} ({error}): start one with "
                "'dask scheduler', which prints its address with a port (tcp://host:port)"
            ) from error
        with client, client.as_current():
            yield client, []
        return
    shares = divide(n_tasks, workers)
    with (
        LocalCluster(
            n_workers=len(shares),
            threads_per_worker=1,
            memory_limit=0,  # mapped images would count, and the system knows better
            dashboard_address="127.0.0.1:0",  # any port that is free
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        client.as_current(),
    ):
        yield client, shares


def _workers(client: Client) -> dict[str, dict]:
    """Return the resources that the workers declare, by address."""
    try:
        return client.run_on_scheduler(
            lambda dask_scheduler: {w: s.resources for w, s in dask_scheduler.workers.items()}
        )
    except OSError as error:
        raise _gone(client) from error


def _gone(client: Client) -> ConnectionError:
    return ConnectionError(
        f"the Dask scheduler {client.scheduler.address} is gone; finished runs are kept, and the "
        "others go on from their checkpoints when they are asked for again"
    )


def _check_workers(client: Client, witness: Witness) -> None:
    """Refuse workers that would compute something else; each task asks again where it runs."""
    answers = client.run(witness.complaint, on_error="return")
    said = [
        f"worker {worker}: {answer if isinstance(answer, str) else f'it cannot take it: {answer}'}"
        for worker, answer in answers.items()
        if answer and not isinstance(answer, OSError)  # such a worker has just left
    ]
    if said:
        raise ValueError("\n".join(["the cluster cannot compute these runs", *said]))


def _work(run_id: str, config: RunConfig, witness: Witness, shares: list[Share]) -> None:
    """Compute a run in a thread of a worker."""
    worker = get_worker()
    if complaint := witness.complaint(worker):
        raise ValueError(f"worker {worker.address}: {complaint}")
    if shares:
        shares[worker.name].take()
    if (own := address.run_id(config, datasets.load(config.dataset).hash)) != run_id:
        raise ValueError(f"worker {worker.address} takes this run for {own}: its files differ")

    def check() -> None:
        task = worker.state.tasks.get(run_id)
        if task is None or task.state == "cancelled":
            raise Withdrawn(f"nobody waits for {run_id} any more")

    tasks.work(run_id, config, check)


def _collect(client: Client, futures: dict[str, Future], bar: tqdm) -> dict[str, str]:
    """Wait for the tasks by run id; return what went wrong."""
    watch = tasks.Watch(futures, bar, MAX_RESTARTS)
    while watch.left:
        with suppress(TimeoutError, CancelledError):
            wait([futures[run_id] for run_id in watch.left], 2, return_when="FIRST_COMPLETED")
        watch.show(tasks.states(watch.left) if _workers(client) else "waiting for workers")
        for run_id in [run_id for run_id in watch.left if futures[run_id].done()]:
            future = futures[run_id]
            if future.cancelled() and client.status != "running":
                raise _gone(client)
            error = None if future.cancelled() else future.exception()
            if isinstance(error, KilledWorker) and watch.another(run_id):
                future.retry()
            else:
                watch.done(run_id, _failure(run_id, future, error))
    return watch.failures


def _failure(run_id: str, future: Future, error: BaseException | None) -> str:
    """Say what went wrong with a task that is done; nothing if its run is there."""
    if future.cancelled():
        return "its task was cancelled on the cluster"
    if isinstance(error, KilledWorker):
        return f"one worker after the other died of it, out of memory or out of time: {error}"
    if error:
        return "".join(traceback.format_exception(type(error), error, future.traceback()))
    until = time.monotonic() + VISIBLE_SECONDS
    while run_id not in os.listdir(runs_root()):
        if time.monotonic() > until:
            return f"a worker finished it, but it does not appear in {runs_root()}"
        time.sleep(0.5)
    return ""
