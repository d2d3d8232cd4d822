"""A state of training as a file: copied out of it, and read only if the file is whole."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def snapshot(value: Any) -> Any:
    """Return a copy of a state in host memory, to the bit.

    Copies from a GPU are queued together into pinned memory and waited for once.

    Raises
    ------
    TypeError
        For a value that is neither tensor, number, text, None nor a container of such.
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
