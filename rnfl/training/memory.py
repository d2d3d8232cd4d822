"""How much memory there is, and how many images of a training step fit into it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
import torch
from torch import Tensor, nn

SHARE = 0.5  # of the free memory that one thing may take
ROOM = 0.8  # of the free memory that a training step may take
T = TypeVar("T")


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def fits(n_bytes: int, device: torch.device) -> bool:
    """Whether so many bytes take at most half of what is free on a device."""
    return n_bytes <= SHARE * free_memory(device)


def place(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, file: Path, promised: int = 0
) -> Tensor | None:
    """Return room for a large array, the fastest that has it, or None where there is none.

    Parameters
    ----------
    shape, dtype
        Of the array; its values are undefined.
    device : torch.device
        Where it is wanted; else it lies in host memory, else it is mapped to ``file``.
    promised : int
        Bytes of host memory that were given away before and are not written to yet: until then
        the system counts them as free.
    """
    numel = torch.Size(shape).numel()
    n_bytes = numel * dtype.itemsize
    for candidate in dict.fromkeys((device, torch.device("cpu"))):
        if fits(n_bytes + promised * (candidate.type == "cpu"), candidate):
            return torch.empty(shape, dtype=dtype, device=candidate)
    file.unlink(missing_ok=True)  # of a run that was killed
    if n_bytes > SHARE * psutil.disk_usage(str(file.parent)).free:
        return None
    if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
        with open(file, "wb") as reserved:  # a hole that fills up later would end the process
            os.posix_fallocate(reserved.fileno(), 0, n_bytes)
    return torch.from_file(str(file), shared=True, size=numel, dtype=dtype).view(shape)


def saved_bytes(compute: Callable[[], Tensor]) -> int:
    """Return the bytes that ``compute`` keeps for its backward pass, parameters aside.

    And views of parameters, such as transposed weights.
    """
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        owner = tensor if tensor._base is None else tensor._base
        if not (owner.is_leaf and isinstance(owner, nn.Parameter)):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kept = compute()
    return sum(storages.values()) + 0 * kept.numel()


def step_bytes(compute: Callable[[int], Tensor], n: int, weights: int, moving: int) -> int:
    """Estimate the memory of a training step of ``n`` images, from one image and from two.

    Weights, gradients and AdamW's two moments of those that move (bytes), and what the forward pass
    keeps: a part that grows with the images, and one that does not, such as weights in bf16.
    """
    one, two = (saved_bytes(lambda k=k: compute(k)) for k in (1, 2))
    per_image = max(two - one, 0)
    return weights + 3 * moving + (one - per_image) + n * per_image


def images_that_fit(
    compute: Callable[[int], Tensor], parameters: int, wanted: int, device: torch.device
) -> int:
    """Return how many images a training step may compute at once.

    What a step keeps grows by the same bytes with each image; gradients and AdamW's two moments
    take three times the trainable parameters.

    Parameters
    ----------
    compute : callable
        Forward pass of so many images.
    parameters : int
        Bytes of the trainable parameters.
    wanted : int
        Images of the whole batch, the most that is returned.

    Returns
    -------
    int
        From 1 to ``wanted``.
    """
    one, two = (saved_bytes(lambda n=n: compute(n)) for n in (1, 2))
    per_image = max(two - one, 1)
    room = ROOM * free_memory(device) - 3 * parameters - (one - per_image)
    return int(min(max(room // per_image, 1), wanted))


def halve_until_it_fits(
    compute: Callable[[int], T], at_once: int, n: int, halved: Callable[[int, int], None]
) -> tuple[T, int]:
    """Compute ``n`` images in parts; where memory runs out, again in parts half as large.

    Parameters
    ----------
    compute : callable
        Computes all the images, at most so many of them at once; called again, it begins anew. Its
        RuntimeErrors pass, if a single image is too many or if they do not come from memory.
    at_once : int
        Images at once to begin with.
    halved : callable
        Hears before each further try how many images at once were too many and how many come next.
        An error that it raises ends the tries.

    Returns
    -------
    T, int
        What ``compute`` returned, and the images at once to begin with the next time.
    """
    while True:
        try:
            return compute(at_once), at_once
        except RuntimeError as error:
            too_many = min(at_once, n)
            on_host = "can't allocate memory" in str(error)
            if not (on_host or isinstance(error, torch.OutOfMemoryError)) or too_many <= 1:
                raise
            at_once = too_many // 2
            halved(too_many, at_once)
        # Only out here are the frames gone that held what had been computed.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
