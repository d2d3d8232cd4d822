"""The engine 'local': worker processes on one machine."""

import os
import signal
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from multiprocessing.queues import SimpleQueue

from tqdm import tqdm

from rnfl.runs import results
from rnfl.storage import locks
from rnfl.storage.processes import end_with
from rnfl.study.grid import tasks
from rnfl.study.grid.resources import Share, divide
from rnfl.training.config import RunConfig

MAX_RESTARTS = 2  # of a run that has not come any further
LOST = (
    f"its worker process ended {1 + MAX_RESTARTS} times without an answer: out of memory, or this: "
    f"{locks.UNGUARDED}"
)


def compute(todo: dict[str, RunConfig], bar: tqdm, workers: int | None) -> dict[str, str]:
    """Compute runs side by side; return what went wrong, by run id."""
    shares, watch = divide(len(todo), workers), tasks.Watch(todo, bar, MAX_RESTARTS)
    while watch.left:
        # A killed worker breaks the whole pool; its run resumes in the next one.
        with _pool(shares) as pool:
            futures = {pool.submit(_work, one, todo[one]): one for one in watch.left}
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=2, return_when=FIRST_COMPLETED)
                watch.show(tasks.states(watch.left))
                for future in done:
                    error = future.exception()
                    if not isinstance(error, BrokenProcessPool):
                        text = "".join(traceback.format_exception(error)) if error else ""
                        watch.done(futures[future], text)
        # Only runs that had begun can be to blame; if none had, workers cannot start at all.
        left = list(watch.left)
        begun = [one for one in left if (results.partial_folder(one) / "holder.json").exists()]
        for run_id in begun or left:
            if not watch.another(run_id):
                watch.done(run_id, LOST)
    return watch.failures


@contextmanager
def _pool(shares: list[Share]) -> Iterator[ProcessPoolExecutor]:
    """Worker processes; an interrupt ends them at once, between two checkpoints if need be."""
    others, context = set(active_children()), get_context("spawn")
    queue = context.SimpleQueue()
    for share in shares:
        queue.put(share)
    with _leaving_by_the_door():
        pool = ProcessPoolExecutor(len(shares), context, _start_worker, (os.getpid(), queue))
        try:
            yield pool
        except BaseException:
            for worker in set(active_children()) - others:
                worker.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _leaving_by_the_door() -> Iterator[None]:
    """Let SIGTERM unwind the stack: else Python warns of semaphores that the pool left behind."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    theirs = signal.getsignal(signal.SIGTERM)
    if theirs != signal.SIG_DFL or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, theirs)


def _start_worker(parent: int, queue: SimpleQueue) -> None:
    end_with(parent)  # else one whose notebook was killed would train on, holding the run's lock
    # Bars lock between processes by default, and a worker that leaves early would leak that lock.
    tqdm.set_lock(threading.RLock())
    queue.get().take()


def _work(run_id: str, config: RunConfig) -> None:
    try:
        tasks.work(run_id, config)
    except (KeyboardInterrupt, SystemExit):
        # All is saved. The pool would take it for an answer and start the next run.
        os._exit(1)
