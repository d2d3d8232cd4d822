"""Train a regressor: one loop, resumable to the bit on the CPU, with early stopping."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from rnfl.core import metrics
from rnfl.storage import malloc
from rnfl.training import distributed, frozen_prefix, protocols
from rnfl.training.augmentation import epoch_order
from rnfl.training.batches import Batches
from rnfl.training.checkpointing import Checkpoints, interruptible
from rnfl.training.devices import decide_precision
from rnfl.training.predict import mean_quadrant_mae, predict
from rnfl.training.protocols import Protocol
from rnfl.training.state import Progress, collected, learnt, restore, resume
from rnfl.training.step import Step

if TYPE_CHECKING:
    from rnfl.training.config import RunConfig


def fit(
    model: nn.Module,
    train: Batches,
    val: Batches,
    protocol: Protocol,
    config: "RunConfig",
    folder: Path,
    report: Callable[[dict], None] | None = None,
) -> Progress:
    """Fine-tune a model, leaving it with the weights of its best validation epoch.

    Eyes with a profile teach it through the protocol's loss, eyes with quadrant means alone
    through the quadrant means of the predicted profile (``losses.supervised``).

    Training continues exactly from the checkpoint in ``folder``, which is written after every
    epoch, every ``config.checkpoint_seconds`` between, and when the process is asked to end
    (SIGTERM, SIGINT). What frozen blocks give is computed once where
    :mod:`rnfl.training.frozen_prefix` can.

    Parameters
    ----------
    model : RNFLRegressor
        With its targets' mean and SD set.
    train, val : Batches
    protocol : Protocol
    config : RunConfig
    folder : Path
    report : callable, optional
        Receives the history row of each epoch, in place of a progress bar.

    Returns
    -------
    Progress

    Raises
    ------
    ValueError
        If the protocol has a term on profiles and no eye has a profile.
    FloatingPointError
        If the loss is no longer finite; checkpoints stay.
    """
    protocols.check_labels(protocol, train.target)
    device = train.device
    decided = decide_precision(config.precision, device, model.backbone.embed_dim)
    optimizer = torch.optim.AdamW(protocols.apply(model, protocol, config.lr_scale), fused=True)
    per_epoch = -(-len(train) // config.batch_size)
    with (
        Checkpoints(folder) as checkpoints,
        malloc.freed_pages_kept(),
        torch.random.fork_rng(),
    ):
        progress = resume(checkpoints, model, optimizer, device)
        # A run ends in the precision it began in, and that is the same in all processes.
        progress.precision = progress.precision or distributed.agreed(decided)
        precision = progress.precision["precision"]
        views, clock = [train], time.monotonic()
        saved = clock
        if not progress.is_over(config.epochs, config.patience):
            views, val = frozen_prefix.behind(model.backbone, train, val, config, precision, folder)
        step = Step(model, optimizer, protocol, config, precision, progress.micro_batch)
        loss = torch.tensor(progress.loss, device=device)

        def save() -> None:
            nonlocal clock, saved
            progress.loss = _finite(loss.item(), config, progress, folder)
            progress.seconds += time.monotonic() - clock
            if distributed.is_first():
                checkpoints.save(collected(model, optimizer, progress))
            clock = saved = time.monotonic()

        done = progress.epoch * per_epoch + progress.step
        shown = report is None and distributed.is_first()
        options = {"initial": done, "disable": not shown, "unit": "step"}
        with interruptible() as stop, tqdm(total=config.epochs * per_epoch, **options) as bar:
            while not progress.is_over(config.epochs, config.patience):
                model.train()
                data = views[progress.epoch % len(views)]
                order = epoch_order(len(train), config.seed, progress.epoch)
                indices = order.split(config.batch_size)[progress.step :]
                shares = data.stream(map(distributed.share, indices))
                for index, batch in zip(indices, shares, strict=True):
                    number = progress.epoch * per_epoch + progress.step
                    _set_rates(optimizer, number, per_epoch, config)
                    loss += step(batch, len(index), number)
                    progress.step, progress.micro_batch = progress.step + 1, step.micro_batch
                    bar.update()
                    if stop.requested and distributed.is_first():
                        save()
                        checkpoints.close()
                        stop.leave(
                            f"after epoch {progress.epoch}, step {progress.step} in {folder}"
                        )
                    if time.monotonic() - saved > config.checkpoint_seconds:
                        save()
                mean_loss = _finite(loss.item(), config, progress, folder) / len(train)
                val_mae = validation_mae(step.compiled, val, precision)
                row = {
                    "epoch": progress.epoch,
                    "step": (progress.epoch + 1) * per_epoch,
                    "train_loss": mean_loss,
                    "val_mae": _finite(val_mae, config, progress, folder),
                    **_rates(optimizer),
                    "seconds": progress.seconds + time.monotonic() - clock,
                }
                progress.history.append(row)
                if progress.best_row is row:
                    progress.best = {k: v.detach().clone() for k, v in learnt(model).items()}
                progress.epoch, progress.step = progress.epoch + 1, 0
                loss.zero_()
                save()
                bar.set_postfix(epoch=progress.epoch, val_mae=f"{val_mae:.2f}")
                if report and distributed.is_first():
                    report(row)
    restore(model, progress.best)
    return progress


def validation_mae(model: nn.Module, val: Batches, precision: str) -> float:
    """Mean absolute error (µm) on the validation split; NaN if a prediction is not finite.

    Of profiles, or of quadrant means where no eye has a profile.
    """
    own = val if distributed.size() == 1 else val.select(distributed.share(torch.arange(len(val))))
    prediction = distributed.gathered(predict(model, own, precision), len(val)).cpu().numpy()
    if not np.isfinite(prediction).all():
        return float("nan")
    if val.target == "quadrants":
        return mean_quadrant_mae(prediction, val.quadrants.cpu().numpy())
    return metrics.mae(prediction, val.profiles.cpu().numpy())


def _set_rates(
    optimizer: torch.optim.Optimizer, step: int, per_epoch: int, config: "RunConfig"
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = protocols.learning_rate(
            step, config.epochs * per_epoch, config.warmup_epochs * per_epoch, group["peak_lr"]
        )


def _rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    return {"lr_encoder": rates.get("encoder", 0.0), "lr_head": rates["head"]}


def _finite(value: float, config: "RunConfig", progress: Progress, folder: Path) -> float:
    if not math.isfinite(value):
        raise FloatingPointError(
            f"{config.slug}: loss or validation MAE is {value} in epoch {progress.epoch}, "
            f"step {progress.step}; checkpoints are kept in {folder}. "
            f"Lower lr_scale (now {config.lr_scale:g}) or look for bad labels"
        )
    return value
