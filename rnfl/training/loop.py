"""The one training loop, of fine-tuning as of pretraining: resumable to the bit on the CPU."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rnfl.storage import malloc
from rnfl.training import distributed
from rnfl.training.checkpointing import Checkpoints
from rnfl.training.signals import Stop, interruptible
from rnfl.training.state import Progress, collected, resume


class Training(ABC):
    """What the loop does not know of the kinds of training.

    An epoch is what ends with a row of the history. All that is random must be a function of the
    seed and of the number of the epoch or step, so that training goes on as if nothing had been.
    """

    name: str  # what messages call it
    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    decided: dict  # in which precision to begin (devices.decide_precision)
    precision: str  # in which it goes on, 'fp32' or 'bf16': set by the loop, before begin()
    n_steps: int  # in all, unless training stops early
    checkpoint_seconds: float  # between checkpoints within an epoch
    watched: str  # the column of the history that is validated, and diverges with the loss
    remedy: str  # what to do where it diverges

    # Not abstract: pretraining has nothing to begin with.
    def begin(self, progress: Progress, folder: Path, stop: Stop) -> None:  # noqa: B027
        """Prepare what only a training needs that is not over yet."""

    @abstractmethod
    def steps_before(self, epoch: int) -> int:
        """Return the steps of all epochs before this one."""

    @abstractmethod
    def is_over(self, progress: Progress) -> bool:
        """Whether nothing is left to do."""

    @abstractmethod
    def batches(self, progress: Progress) -> Iterator[Any]:
        """Yield the batches of the epoch that are left."""

    @abstractmethod
    def step(self, batch: Any, number: int, progress: Progress) -> Tensor:
        """Take a step; return what it adds to the epoch's loss, a scalar on ``device``."""

    @abstractmethod
    def row(self, progress: Progress, loss: float) -> dict[str, Any]:
        """Validate after the last step of an epoch; return its row of the history."""

    def place(self, progress: Progress) -> str:
        """Say how far training has come."""
        return f"epoch {progress.epoch}, step {progress.step}"


class Steps(Training):
    """A training of so many steps, of which an epoch, the way to a point of the curve, is a part.

    ``every`` are the steps between two points.
    """

    watched = "loss"
    every: int

    def steps_before(self, epoch: int) -> int:
        return min(epoch * self.every, self.n_steps)

    def is_over(self, progress: Progress) -> bool:
        return self.steps_before(progress.epoch) == self.n_steps

    def place(self, progress: Progress) -> str:
        return f"step {self.steps_before(progress.epoch) + progress.step}"

    def left(self, progress: Progress) -> range:
        """Return the numbers of the steps of the epoch that are left."""
        first = self.steps_before(progress.epoch) + progress.step
        return range(first, self.steps_before(progress.epoch + 1))


def train(
    training: Training, folder: Path, report: Callable[[dict], None] | None = None
) -> Progress:
    """Train, or go on exactly from the checkpoint in ``folder``.

    A checkpoint is written after every epoch, every ``checkpoint_seconds`` between, and when the
    process is asked to end (SIGTERM, SIGINT).

    Parameters
    ----------
    folder : Path
        For checkpoints; of this training alone.
    report : callable, optional
        Receives the history row of each epoch, in place of a progress bar.

    Raises
    ------
    FloatingPointError
        If the loss is no longer finite; a checkpoint from before stays.
    KeyboardInterrupt, SystemExit
        If SIGINT or SIGTERM came; all is saved before.
    """
    with (
        interruptible() as stop,  # outermost: checkpoints are whole before a signal is delivered
        Checkpoints(folder) as checkpoints,
        malloc.freed_pages_kept(),
        torch.random.fork_rng(),
    ):
        progress = resume(checkpoints, training.model, training.optimizer, training.device)
        # It ends in the precision it began in, and that is the same in all processes.
        progress.precision = progress.precision or distributed.agreed(training.decided)
        training.precision = progress.precision["precision"]
        progress.watched = training.watched
        run = _Run(training, progress, checkpoints, stop)
        if not training.is_over(progress):
            training.begin(progress, folder, stop)
        with run.bar(shown=report is None) as bar:
            while not training.is_over(progress):
                row = run.epoch(bar)
                if report and distributed.is_first():
                    report(row)
                run.leave_if_asked()
    return progress


class _Run:
    """A training under way: how far it is, its loss and its clocks."""

    def __init__(
        self, training: Training, progress: Progress, checkpoints: Checkpoints, stop: Stop
    ):
        self.training, self.progress = training, progress
        self.checkpoints, self.stop = checkpoints, stop
        # It stays on the device: reading it at every step would wait for the GPU.
        self.loss = torch.tensor(progress.loss, device=training.device)
        self.clock = self.saved = time.monotonic()

    @property
    def number(self) -> int:
        return self.training.steps_before(self.progress.epoch) + self.progress.step

    def bar(self, shown: bool) -> tqdm:
        hidden = not (shown and distributed.is_first())
        return tqdm(total=self.training.n_steps, initial=self.number, disable=hidden, unit="step")

    def epoch(self, bar: tqdm) -> dict[str, Any]:
        """Do what is left of an epoch and save; return its row of the history."""
        training, progress = self.training, self.progress

        # Train
        training.model.train()
        for batch in training.batches(progress):
            self.loss += training.step(batch, self.number, progress)
            progress.step += 1
            bar.update()
            self.leave_if_asked()
            if time.monotonic() - self.saved > training.checkpoint_seconds:
                self.save()

        # Validate
        loss = self.finite(self.loss.item())
        self.count_seconds()
        row = training.row(progress, loss)
        self.finite(row[training.watched])

        # Save
        progress.history.append(row)
        progress.epoch, progress.step = progress.epoch + 1, 0
        self.loss.zero_()
        self.save()
        bar.set_postfix(epoch=progress.epoch, **{training.watched: f"{row[training.watched]:.4g}"})
        return row

    def save(self) -> None:
        self.progress.loss = self.finite(self.loss.item())  # what has diverged is not worth keeping
        self.count_seconds()
        if distributed.is_first():
            state = collected(self.training.model, self.training.optimizer, self.progress)
            self.checkpoints.save(state)
        self.clock = self.saved = time.monotonic()

    def count_seconds(self) -> None:
        now = time.monotonic()
        self.progress.seconds, self.clock = self.progress.seconds + now - self.clock, now

    def leave_if_asked(self) -> None:
        """Save and end if this process was asked to, or one of those that train with it."""
        self.stop.requested = distributed.any_signal(self.stop.requested)
        if not self.stop.requested:
            return
        place = f"after {self.training.place(self.progress)} in {self.checkpoints.folder}"
        said = f"process {distributed.rank() + 1} ends with the first, which saves {place}"
        if distributed.is_first():
            said = f"training is saved {place}"
            self.save()
            self.checkpoints.close()
        self.stop.leave(said)

    def finite(self, value: float) -> float:
        if math.isfinite(value):
            return value
        last = self.checkpoints.last()
        kept = f"the last checkpoint is kept in {last}" if last else "no checkpoint was written yet"
        raise FloatingPointError(
            f"{self.training.name}: loss or {self.training.watched} is {value} in "
            f"{self.training.place(self.progress)}; {kept}. {self.training.remedy}"
        )
