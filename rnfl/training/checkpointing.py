"""What is kept when training is interrupted: rotating checkpoints, and a stop at the next step."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

import torch
from tqdm import tqdm

from rnfl.storage import errors, provenance
from rnfl.storage.locks import clear_aside
from rnfl.training import snapshots

NEWEST, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Checkpoints:
    """Rotating checkpoints of one run, written in the background.

    ``checkpoint.pt`` is the newest and ``checkpoint.previous.pt`` the one before. A process killed
    at any moment leaves at least one of them whole. As a context manager it waits at the end for
    what is being written.

    Parameters
    ----------
    folder : Path
        Of this run alone; only one process may use it at a time.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.newest, self.previous = self.folder / NEWEST, self.folder / PREVIOUS
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future | None = None

    def load(self, device: torch.device) -> dict | None:
        """Return the newest whole checkpoint with its tensors on ``device``; None if there is none.

        Files that a killed writer left aside are removed. So is a damaged checkpoint, with a
        warning, where the one before it is whole.

        Raises
        ------
        ValueError
            If there are checkpoints and all of them are damaged.
        """
        clear_aside(self.newest)
        damaged = {}
        for path in (self.newest, self.previous):
            if not path.exists():
                continue
            if flaw := snapshots.flaw(path):
                damaged[path] = flaw
                continue
            for other, what in damaged.items():
                other.unlink(
                    missing_ok=True
                )  # else the next save would let it take the place of the whole one
                warnings.warn(
                    f"{other} was damaged ({what}) and is removed; training goes on from {path}",
                    stacklevel=2,
                )
            return torch.load(path, weights_only=True, map_location=device)
        if damaged:
            said = "; ".join(f"{path}: {what}" for path, what in damaged.items())
            raise ValueError(
                f"no checkpoint can be read ({said}): delete {self.folder} to train from the start"
            )
        return None

    def save(self, state: Mapping[str, Any]) -> None:
        """Copy a state to host memory at once and write it in the background.

        Waits for the writing of the one before. Training may go on in place when this returns.

        Parameters
        ----------
        state : mapping
            Dicts, lists and tuples of tensors on any device, numbers, text and None.

        Raises
        ------
        OSError
            If the one before could not be written, such as on a full disk; it says what is kept.
        TypeError
            If a value could not be read again.
        """
        self._wait()
        self._writing = self._writer.submit(self._write, snapshots.snapshot(state))

    def close(self) -> None:
        """Wait for what is being written.

        Raises
        ------
        OSError
            If it could not be written.
        """
        try:
            self._wait()
        finally:
            self._writer.shutdown()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as unwritten:
            if error is None:
                raise
            error.add_note(f"Besides: {unwritten}")

    def _wait(self) -> None:
        if self._writing is not None:
            wait([self._writing])  # an interrupt here leaves it to be waited for again
            writing, self._writing = self._writing, None
            writing.result()

    def _write(self, state: dict) -> None:
        try:
            with provenance.publish_file(self.newest) as aside:
                with open(aside, "wb") as file:
                    torch.save(state, file)
                    file.flush()
                    os.fsync(file.fileno())
                if self.newest.exists():
                    os.replace(self.newest, self.previous)
        except Exception as error:
            cause = snapshots.system_error(error)
            if cause is None:
                raise
            what = f"a checkpoint of {snapshots.size(state) / 2**20:.1f} MiB"
            raise errors.unwritten(what, self.folder, cause, self._kept()) from error

    def _kept(self) -> str:
        for path in (self.newest, self.previous):
            if path.exists():
                return f"the run then goes on from {path}, which is whole"
        return "the run then begins anew, for it has no checkpoint yet"


@dataclass
class Stop:
    """Whether the process was asked to end.

    Attributes
    ----------
    requested : int or None
        Number of the signal that came.
    """

    requested: int | None = None

    def leave(self, where: str) -> NoReturn:
        """End the process as the signal asks, saying in one line what is saved.

        Parameters
        ----------
        where : str
            How far training has come and where that is kept: 'after epoch 3, step 5 in <folder>'.

        Raises
        ------
        KeyboardInterrupt
            For SIGINT; uncaught, the exit status is 130.
        SystemExit
            For any other signal, with the exit status 128 + its number: 143 for SIGTERM.
        """
        number = self.requested or signal.SIGTERM
        self.requested = None
        text = (
            f"{signal.Signals(number).name}: training is saved {where}; "
            "ask for the same run again to go on from there"
        )
        tqdm.write(text, file=sys.stderr)
        raise KeyboardInterrupt(text) if number == signal.SIGINT else SystemExit(128 + number)


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Let SIGTERM and SIGINT only be noted, so that the body can save and then leave.

    A second SIGINT interrupts at once. A signal that the process ignores, as a job in a shell's
    background does SIGINT, stays ignored. Outside the main thread, where Python takes no signals,
    nothing changes. A signal that the body did not act on before it ended is delivered then.

    Yields
    ------
    Stop
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: FrameType | None) -> None:
        if stop.requested == number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.requested = number

    heard = [one for one in SIGNALS if signal.getsignal(one) != signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if stop.requested is not None:
        if before[stop.requested] == signal.SIG_DFL:  # which would end the process on the spot
            raise SystemExit(128 + stop.requested)
        signal.raise_signal(stop.requested)
