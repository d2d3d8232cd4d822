"""Training one model in several processes, each with its share of every batch.

``torchrun --nproc-per-node 4 -m rnfl train ...`` starts the processes, on one machine or several.
Every process holds the whole model; gradients are averaged over processes, so that a step is that
of the whole batch. The first process alone writes: checkpoints, the finished run, progress.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that torchrun started; alone, do nothing.

    GPUs talk through NCCL, CPUs through Gloo.

    Raises
    ------
    ValueError
        If there are more processes on this machine than GPUs.
    RuntimeError
        If another process has ended while this one was waiting for it.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or dist.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        place, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if place >= gpus:
            raise ValueError(
                f"process {place + 1} of this machine has no GPU of its own, it has {gpus}: use "
                "--nproc-per-node up to that, or hide them for CPUs (CUDA_VISIBLE_DEVICES=)"
            )
        torch.cuda.set_device(place)
    # Host values, such as a signal, go through Gloo on GPUs as well.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise RuntimeError(
            f"process {rank() + 1} of {size()}: another one has ended and said why; what it saved "
            "is kept: start all of them again to go on from there"
        ) from error
    finally:
        dist.destroy_process_group()


def size() -> int:
    """Return the number of processes that train together, 1 when alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the place of this process among them, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def wait() -> None:
    """Wait until every process is here."""
    if size() > 1:
        dist.barrier()


def agreed(value: object) -> object:
    """Return the first process's value in every process."""
    values = [value]
    if size() > 1:
        dist.broadcast_object_list(values)
    return values[0]


def any_signal(number: int | None) -> int | None:
    """Return the signal that any of the processes was sent, so that all end at the same step."""
    if size() == 1:
        return number
    heard = torch.tensor(number or 0)  # in host memory: no process waits for its GPU here
    dist.all_reduce(heard, dist.ReduceOp.MAX)
    return int(heard) or None


def wrap(model: nn.Module) -> nn.Module:
    """Return the model so that its gradients are averaged over processes; alone, the model."""
    return nn.parallel.DistributedDataParallel(model) if size() > 1 else model


def gradients_stay(network: nn.Module) -> AbstractContextManager:
    """Context whose backward passes add to the gradients of this process alone."""
    return network.no_sync() if size() > 1 else nullcontext()


def share(index: Tensor) -> Tensor:
    """Return the rows of a batch that this process computes: every ``size()``-th, maybe none."""
    return index[rank() :: size()]


def total(value: Tensor) -> Tensor:
    """Add up a tensor over processes, in place."""
    if size() > 1:
        dist.all_reduce(value)
    return value


def gathered(values: Tensor, n: int) -> Tensor:
    """Put the shares (n_i, k) of ``n`` rows back together: (n, k) in every process."""
    if size() == 1:
        return values
    whole = values.new_zeros(n, *values.shape[1:])
    whole[rank() :: size()] = values
    return total(whole)
