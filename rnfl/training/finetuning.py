"""Fine-tune a model by gradient, with early stopping."""

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnfl.training import distributed, frozen_prefix, loop, protocols
from rnfl.training.augmentation import epoch_order, mixed_seed, shown_rows
from rnfl.training.batches import Batch, Batches
from rnfl.training.config import RunConfig
from rnfl.training.devices import decide_precision
from rnfl.training.predict import is_whole, mean_error, predict
from rnfl.training.signals import Stop
from rnfl.training.state import Progress, learnt, restore
from rnfl.training.step import Step

ADAPTERS = 2**32 + 1
WATCHED = {"profile": "val_mae", "masks": "val_dice_error"}  # what early stopping looks at, by task


def fit(
    model: nn.Module,
    train: Batches,
    val: Batches,
    config: RunConfig,
    folder: Path,
    report: Callable[[dict], None] | None = None,
    check: Callable[[], None] | None = None,
) -> Progress:
    """Fine-tune a model, leaving it with the weights of its best validation epoch.

    Eyes with a profile teach it through the protocol's loss, eyes with quadrant means alone
    through the quadrant means of the predicted profile (``losses.supervised``). What frozen blocks
    give is computed once where :mod:`rnfl.training.frozen_prefix` can.

    Parameters
    ----------
    model : RNFLRegressor or Segmenter
        A regressor with its targets' mean and SD set.
    folder, report
        See :func:`rnfl.training.loop.train`, whose errors are passed on.
    check : callable, optional
        Called before every epoch; what it raises ends training, with its checkpoints kept.

    Raises
    ------
    ValueError
        If the protocol has a term on profiles and no eye has a profile.
    """
    protocols.check_labels(config.protocol, train.target)
    training = FineTuning(model, train, val, config, check)
    progress = loop.train(training, folder, report)
    restore(model, training.optimizer, progress.best)
    return progress


@dataclass(eq=False)
class FineTuning(loop.Training):
    """A run by gradient: see :func:`fit`."""

    model: nn.Module
    train: Batches
    val: Batches
    config: RunConfig
    check: Callable[[], None] | None

    def __post_init__(self):
        config, model = self.config, self.model
        self.checkpoint_seconds, self.device = config.checkpoint_seconds, self.train.device
        self.watched = WATCHED[config.task]
        self.remedy = f"Lower lr_scale (now {config.lr_scale:g}) or look for bad labels"
        self.decided = decide_precision(config.precision, self.device, model.backbone.embed_dim)
        # A number beyond those of epochs and steps, so that nothing else is drawn from this seed.
        seed = mixed_seed(config.seed, ADAPTERS)
        groups = protocols.apply(model, config.protocol, config.lr_scale, seed)
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        if config.protocol.loss.align and distributed.size() > 1:
            raise ValueError(f"{config.slug}: a loss that aligns pictures is of one process")
        if config.protocol.loss.align and (len(self.train) % 2 or config.batch_size % 2):
            raise ValueError(
                f"{config.slug}: a loss that aligns pictures needs two of each eye, one behind the "
                f"other, and an even batch_size; got {len(self.train)} to train on in batches of "
                f"{config.batch_size}: make them with rnfl.adaptation.ways.translated"
            )
        self.per_pass = -(-len(self.train) // config.batch_size)
        self.n_steps = config.steps or config.epochs * self.per_pass
        self.starts = protocols.starts(config.protocol, config.epochs)
        self.drawn_to = []
        if config.protocol.loss.l2_start:
            moving = (group for group in groups if group["name"] == "encoder")
            moving = [p for group in moving for p in group["params"]]
            self.drawn_to = [(p, p.detach().clone()) for p in moving]

    @property
    def name(self) -> str:  # only when there is something to say of it
        return self.config.slug

    def begin(self, progress: Progress, folder: Path, stop: Stop) -> None:
        self.folder, self.stop = folder, stop
        frozen_prefix.check(self.model.backbone, self.config, self.config.protocol.phases)
        if self.config.protocol.ema and not progress.average:
            start = learnt(self.model, self.optimizer)
            progress.average = {name: value.detach().clone() for name, value in start.items()}
        self._enter(progress)

    def _enter(self, progress: Progress) -> None:
        """Begin the phase of an epoch, or go on in it."""
        phases = self.config.protocol.phases
        self.phase = bisect_right(self.starts, progress.epoch) - 1
        if progress.epoch == self.starts[self.phase] and not progress.step:
            progress.micro_batch = 0  # another part moves, and takes other memory
        protocols.enter(self.model.backbone, phases[self.phase])
        self.views = self.behind = None  # what earlier phases kept gives its room back
        given = self.model.backbone, self.train, self.val, self.config, self.precision
        self.views, self.behind = frozen_prefix.behind(*given, self.folder, self.stop)
        given = self.model, self.optimizer, self.config, self.precision
        self.take_step = Step(*given, progress.micro_batch, self.drawn_to)
        self.estimated = False
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def steps_before(self, epoch: int) -> int:
        return epoch * self.n_steps // self.config.epochs

    def is_over(self, progress: Progress) -> bool:
        return progress.is_over(self.config.epochs, self.config.patience, self.starts[-2])

    def batches(self, progress: Progress) -> Iterator[tuple[int, Batch]]:
        """Yield the size of each batch and this process's share of it."""
        if self.check:
            self.check()
        if progress.epoch == self.starts[self.phase + 1]:
            self._enter(progress)
            self.model.train()
        for turn, shown in groupby(self._shown(progress.epoch, progress.step), itemgetter(0)):
            view, indices = self.views[turn % len(self.views)], [index for _, index in shown]
            shares = view.stream(map(distributed.share, indices))
            yield from zip(map(len, indices), shares, strict=True)

    def _shown(self, epoch: int, first: int = 0) -> Iterator[tuple[int, Tensor]]:
        """Yield the rows of each step of an epoch from one on, and which pass they are of."""
        made = None
        for number in range(self.steps_before(epoch) + first, self.steps_before(epoch + 1)):
            turn, within = divmod(number, self.per_pass)
            if turn != made:
                made, indices = turn, self._order(turn).split(self.config.batch_size)
            yield turn, indices[within]

    def _order(self, turn: int) -> Tensor:
        seed = self.config.seed
        if not self.config.protocol.loss.align:
            return shown_rows(len(self.train), seed, turn, self.config.copies)
        eyes = epoch_order(len(self.train) // 2, seed, turn)
        return torch.stack([2 * eyes, 2 * eyes + 1], dim=1).flatten()

    def step(self, batch: tuple[int, Batch], number: int, progress: Progress) -> Tensor:
        n, share = batch
        first, epochs = 0, self.config.epochs
        if self.config.protocol.rates.each_phase:
            first, end = self.starts[self.phase : self.phase + 2]
            epochs = end - first
        begun = self.steps_before(first)
        last = self.steps_before(first + epochs) - begun
        warmup = self.steps_before(first + min(self.config.warmup_epochs, epochs)) - begun
        place = number - begun, last, warmup
        for group in self.optimizer.param_groups:
            group["lr"] = protocols.learning_rate(*place, group["peak_lr"])
        loss = self.take_step(share, n, number)
        progress.micro_batch = self.take_step.micro_batch
        if self.device.type != "cuda" and not self.estimated:
            progress.peak_bytes = max(progress.peak_bytes, self.take_step.estimated_bytes(share))
            self.estimated = True
        if progress.average:
            self._average(progress, number)
        return loss

    def _average(self, progress: Progress, number: int) -> None:
        """Move the average towards the weights after a step."""
        # Growing decay: else the average of a short training would be its start.
        decay = min(self.config.protocol.ema, (1 + number) / (10 + number))
        now = learnt(self.model, self.optimizer)
        floating = [name for name, value in now.items() if value.is_floating_point()]
        average = [progress.average[name] for name in floating]
        torch._foreach_lerp_(average, [now[name].detach() for name in floating], 1 - decay)
        for name in now.keys() - set(floating):
            progress.average[name].copy_(now[name])

    def row(self, progress: Progress, loss: float) -> dict[str, Any]:
        clock = time.monotonic()
        with self._averaged(progress):
            # What a prefix gave was computed with the weights themselves, not with their average.
            val = self.val if progress.average else self.behind
            error = validation_error(self.take_step.compiled, val, self.precision)
            if progress.best_row is None or error < progress.best_row[self.watched]:
                now = learnt(self.model, self.optimizer)
                progress.best = {name: value.detach().clone() for name, value in now.items()}
        if self.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.device)
            progress.peak_bytes = max(progress.peak_bytes, peak)
        rates = {group["name"]: group["lr"] for group in self.optimizer.param_groups}
        return {
            "epoch": progress.epoch,
            "step": self.steps_before(progress.epoch + 1),
            "train_loss": loss / sum(len(index) for _, index in self._shown(progress.epoch)),
            self.watched: error,
            "lr_encoder": rates.get("encoder", 0.0) if self._encoder_moves() else 0.0,
            "lr_head": rates["head"],
            "seconds": progress.seconds + time.monotonic() - clock,
        }

    def _encoder_moves(self) -> bool:
        return any(p.requires_grad for p in self.model.backbone.parameters())

    @contextmanager
    def _averaged(self, progress: Progress) -> Iterator[None]:
        """Let the model have the average of its weights, where the protocol asks for one."""
        if not progress.average:
            yield
            return
        own = learnt(self.model, self.optimizer)
        own = {name: value.detach().clone() for name, value in own.items()}
        restore(self.model, self.optimizer, progress.average)
        try:
            yield
        finally:
            restore(self.model, self.optimizer, own)


def validation_error(model: nn.Module, val: Batches, precision: str) -> float:
    """Error on the validation split; NaN if a prediction is not finite.

    Of profiles the mean absolute error (µm), or of quadrant means where no eye has a profile; of
    masks 1 - mean Dice.
    """
    own = val if distributed.size() == 1 else val.select(distributed.share(torch.arange(len(val))))
    prediction = distributed.gathered(predict(model, own, precision), len(val)).cpu().numpy()
    if not is_whole(prediction):
        return float("nan")
    return mean_error(prediction, val.labels.cpu().numpy())
