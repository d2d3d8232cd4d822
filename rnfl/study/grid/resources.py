"""How the processes of one machine divide it: cores of their own, and a GPU each."""

import os
from dataclasses import dataclass

MAX_WORKERS = 4


@dataclass(frozen=True)
class Share:
    """What one worker process may use."""

    cores: tuple[int, ...]  # their numbers; other workers have others
    threads: int  # the same for all workers: the last digits of a result depend on it
    gpu: str | None = None  # its name, as in CUDA_VISIBLE_DEVICES

    def take(self) -> None:
        """Confine the calling thread, and the threads it will start, to this share.

        The GPU is chosen for the process, which must not have used one before.
        """
        os.environ["OMP_NUM_THREADS"] = str(self.threads)
        if self.gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpu
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, self.cores)
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(self.threads)
        # NumPy's own threads, as many as the machine has cores, began when it was imported: on the
        # few cores of a share they would wait for each other.
        threadpool_limits(self.threads)


def divide(tasks: int, workers: int | None = None) -> list[Share]:
    """Return the share of each worker process that ``tasks`` runs keep busy.

    By default there is a worker per GPU or, without GPUs, per core, at most 4. Beyond that, workers
    have a core or a GPU together.
    """
    have, devices = cores(), gpus()
    n = min(workers or len(devices) or min(len(have), MAX_WORKERS), tasks)
    threads = max(1, len(have) // n)
    return [
        Share(
            tuple(have[i * len(have) // n : (i + 1) * len(have) // n]) or (have[i % len(have)],),
            threads,
            devices[i % len(devices)] if devices else None,
        )
        for i in range(n)
    ]


def cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def gpus() -> list[str]:
    """Return the names of the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` does."""
    import torch

    n = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:n] if named else [str(i) for i in range(n)]
