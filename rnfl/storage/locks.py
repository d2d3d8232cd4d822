"""One process at a time per run or dataset: who has it, who waits, what a killed one left."""

import json
import multiprocessing
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from rnfl.storage import errors, paths, provenance

PATIENCE = 1.0  # s; who waits longer is told
UNGUARDED = (
    "worker processes import the script they are started from: what it does belongs in a file, "
    "under \"if __name__ == '__main__':\""
)


@contextmanager
def locked(folder: Path, waiting: bool = True) -> Iterator[None]:
    """Hold the lock of an unfinished run or dataset, which is free as soon as the process ends.

    Who has to wait is told once for whom: its name, host, process and since when.

    Parameters
    ----------
    folder : Path
        Of what is unfinished. The lock lies beside it; in it, while the lock is held, who holds it.
    waiting : bool
        Whether to wait for who has it.

    Raises
    ------
    ValueError
        If another process has it and this one is not to wait.
    OSError
        If nothing can be written there.
    RuntimeError
        In a worker process that is still importing the script it was started from: what the script
        does again there would wait for its own parent for ever.
    """
    # True in a child of multiprocessing until it has imported what it was started from.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(UNGUARDED)
    lock, holder = _lock(folder), folder / "holder.json"
    try:
        paths.make_folder(folder.parent)
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        if not waiting:
            raise ValueError(
                f"{folder.name}: {_said(holder)} is computing it; ask again when it has ended"
            ) from None
        tqdm.write(f"{folder.name}: waiting for {_said(holder)} to end with it", file=sys.stderr)
        lock.acquire(poll_interval=0.2)
    except OSError as error:
        kept = "nothing is lost; RNFL_DATA names another data folder"
        raise errors.unwritten("a lock", folder.parent, error, kept) from error
    try:
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        kept = f"what was trained before, if anything, is kept in {folder}"
        with errors.writing(holder.name, folder, kept):
            me = {"host": platform.node(), "process": os.getpid(), "since": since}
            provenance.write_json(holder, me)
        yield
    finally:
        holder.unlink(missing_ok=True)
        with suppress(OSError):  # what is in it is kept
            folder.rmdir()
        lock.release()


def remove_remains(folder: Path) -> None:
    """Remove the folder of an unfinished run that is finished, unless a process has its lock."""
    if folder.exists():
        with suppress(Timeout), _lock(folder).acquire(timeout=0):
            shutil.rmtree(folder)


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.with_name(f"{folder.name}.lock"))


def _said(holder: Path) -> str:
    try:
        about = json.loads(holder.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "another process"
    return f"process {about['process']} on {about['host']} (since {about['since']})"
