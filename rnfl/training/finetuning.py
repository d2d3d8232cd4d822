"""Fine-tune a regressor by gradient, with early stopping."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnfl.training import distributed, frozen_prefix, loop, protocols
from rnfl.training.augmentation import epoch_order
from rnfl.training.batches import Batch, Batches
from rnfl.training.config import RunConfig
from rnfl.training.devices import decide_precision
from rnfl.training.predict import mean_error, predict
from rnfl.training.signals import Stop
from rnfl.training.state import Progress, learnt, restore
from rnfl.training.step import Step


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
    model : RNFLRegressor
        With its targets' mean and SD set.
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
    restore(model, progress.best)
    return progress


@dataclass(eq=False)
class FineTuning(loop.Training):
    """A run by gradient: see :func:`fit`."""

    model: nn.Module
    train: Batches
    val: Batches
    config: RunConfig
    check: Callable[[], None] | None

    watched = "val_mae"

    def __post_init__(self):
        config, model = self.config, self.model
        self.checkpoint_seconds, self.device = config.checkpoint_seconds, self.train.device
        self.remedy = f"Lower lr_scale (now {config.lr_scale:g}) or look for bad labels"
        self.decided = decide_precision(config.precision, self.device, model.backbone.embed_dim)
        groups = protocols.apply(model, config.protocol, config.lr_scale)
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        self.per_epoch = -(-len(self.train) // config.batch_size)
        self.n_steps = config.epochs * self.per_epoch

    @property
    def name(self) -> str:  # only when there is something to say of it
        return self.config.slug

    def begin(self, progress: Progress, folder: Path, stop: Stop) -> None:
        given = self.model.backbone, self.train, self.val, self.config, self.precision
        self.views, self.val = frozen_prefix.behind(*given, folder, stop)
        given = self.model, self.optimizer, self.config, self.precision
        self.take_step = Step(*given, progress.micro_batch)

    def steps_before(self, epoch: int) -> int:
        return epoch * self.per_epoch

    def is_over(self, progress: Progress) -> bool:
        return progress.is_over(self.config.epochs, self.config.patience)

    def batches(self, progress: Progress) -> Iterator[tuple[int, Batch]]:
        """Yield the size of each batch and this process's share of it."""
        if self.check:
            self.check()
        view = self.views[progress.epoch % len(self.views)]
        order = epoch_order(len(self.train), self.config.seed, progress.epoch)
        indices = order.split(self.config.batch_size)[progress.step :]
        return zip(map(len, indices), view.stream(map(distributed.share, indices)), strict=True)

    def step(self, batch: tuple[int, Batch], number: int, progress: Progress) -> Tensor:
        n, share = batch
        warmup = self.config.warmup_epochs * self.per_epoch
        for group in self.optimizer.param_groups:
            group["lr"] = protocols.learning_rate(number, self.n_steps, warmup, group["peak_lr"])
        loss = self.take_step(share, n, number)
        progress.micro_batch = self.take_step.micro_batch
        return loss

    def row(self, progress: Progress, loss: float) -> dict[str, Any]:
        clock = time.monotonic()
        val_mae = validation_mae(self.take_step.compiled, self.val, self.precision)
        if progress.best_row is None or val_mae < progress.best_row["val_mae"]:
            progress.best = {k: v.detach().clone() for k, v in learnt(self.model).items()}
        rates = {group["name"]: group["lr"] for group in self.optimizer.param_groups}
        return {
            "epoch": progress.epoch,
            "step": self.steps_before(progress.epoch + 1),
            "train_loss": loss / len(self.train),
            "val_mae": val_mae,
            "lr_encoder": rates.get("encoder", 0.0),
            "lr_head": rates["head"],
            "seconds": progress.seconds + time.monotonic() - clock,
        }


def validation_mae(model: nn.Module, val: Batches, precision: str) -> float:
    """Mean absolute error (µm) on the validation split; NaN if a prediction is not finite.

    Of profiles, or of quadrant means where no eye has a profile.
    """
    own = val if distributed.size() == 1 else val.select(distributed.share(torch.arange(len(val))))
    prediction = distributed.gathered(predict(model, own, precision), len(val)).cpu().numpy()
    if not np.isfinite(prediction).all():
        return float("nan")
    return mean_error(prediction, val.labels.cpu().numpy())
