"""Rotating checkpoints with check sums, copied at once and written while training goes on."""

import os
import warnings
import zipfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from rnfl.storage import errors, provenance

NEWEST, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"


class Checkpoints:
    """Rotating checkpoints of one run, written in the background.

    ``checkpoint.pt`` is the newest and ``checkpoint.previous.pt`` the one before. A process killed
    at any moment leaves at least one of them whole. As a context manager it waits at the end for
    what is being written.

    The folder is of this run alone, and only one process may use it at a time.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.newest, self.previous = self.folder / NEWEST, self.folder / PREVIOUS
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future | None = None

    def load(self, device: torch.device) -> dict | None:
        """Return the newest whole checkpoint with its tensors on ``device``; None if there is none.

        Files that a killed writer left aside are removed. So is a damaged checkpoint, with a
        warning, where the one before it is whole; that all are damaged is a ValueError.
        """
        provenance.clear_aside(self.folder)
        damaged = {}
        for path in filter(Path.exists, (self.newest, self.previous)):
            if not (what := flaw(path)):
                break
            damaged[path] = what
        else:
            if not damaged:
                return None
            said = "; ".join(f"{path}: {what}" for path, what in damaged.items())
            raise ValueError(
                f"no checkpoint can be read ({said}): delete {self.folder} to train from the start"
            )
        for other, what in damaged.items():
            # Else the next save would let it take the place of the whole one.
            other.unlink(missing_ok=True)
            said = f"{other} was damaged ({what}) and is removed; training goes on from {path}"
            warnings.warn(said, stacklevel=2)
        return torch.load(path, weights_only=True, map_location=device)

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
        self._writing = self._writer.submit(self._write, snapshot(state))

    def last(self) -> Path | None:
        """Return the file to go on from, once what is being written is written."""
        if self._writing is not None:
            wait([self._writing])
        return next(filter(Path.exists, (self.newest, self.previous)), None)

    def close(self) -> None:
        """Wait for what is being written, or raise the OSError for which it could not be."""
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
            cause = system_error(error)
            if cause is None:
                raise
            kept = "the run then begins anew, for it has no checkpoint yet"
            for path in filter(Path.exists, (self.previous, self.newest)):
                kept = f"the run then goes on from {path}, which is whole"
            what = f"a checkpoint of {size(state) / 2**20:.1f} MiB"
            raise errors.unwritten(what, self.folder, cause, kept) from error


def snapshot(value: Any) -> Any:
    """Return a copy of a state in host memory, to the bit, or raise TypeError as :func:`save` does.

    Copies from a GPU are queued together into pinned memory and waited for once.
    """
    devices: set[torch.device] = set()
    copied = _copy(value, devices, "state")
    for device in devices:
        torch.cuda.synchronize(device)
    return copied


def _copy(value: Any, devices: set[torch.device], where: str) -> Any:
    if isinstance(value, Tensor):
        value = value.detach()
        if value.device.type != "cuda":
            return value.to("cpu", copy=True)
        devices.add(value.device)
        host = torch.empty_like(value, device="cpu", pin_memory=True)
        return host.copy_(value, non_blocking=True)
    if isinstance(value, Mapping):
        return {
            _copy(k, devices, where): _copy(v, devices, f"{where}[{k!r}]") for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        items = (_copy(v, devices, f"{where}[{i}]") for i, v in enumerate(value))
        return tuple(items) if isinstance(value, tuple) else list(items)
    for kind in (bool, int, float, str, bytes):  # NumPy's float64 is a float that torch refuses
        if isinstance(value, kind):
            return kind(value)
    if value is not None:
        raise TypeError(f"{where} is a {type(value).__name__}, which no checkpoint can hold")
    return None


def flaw(path: Path) -> str | None:
    """Return what is wrong with a file that torch wrote, by its directory and check sums."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    # The last is zipfile's own answer to a damaged header.
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        return f"{path.stat().st_size} bytes: {error}"
    return f"{bad} does not fit its check sum" if bad else None


def size(state: Any) -> int:
    """Bytes that the tensors of a state take."""
    if isinstance(state, Tensor):
        return state.nbytes
    items = state.values() if isinstance(state, Mapping) else state
    return sum(map(size, items)) if isinstance(state, Mapping | list | tuple) else 0


def system_error(error: BaseException | None) -> OSError | None:
    """Return the system's error behind one of torch's writer, which reports a consequence."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error
