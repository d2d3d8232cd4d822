"""Train a regressor: one loop, resumable to the bit on the CPU, with early stopping."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from rnfl import losses, metrics, protocols, provenance
from rnfl.batches import Batches, epoch_order, jitter, mixed_seed
from rnfl.devices import autocast, resolve_precision
from rnfl.predict import mean_quadrant_mae, predict
from rnfl.protocols import Protocol

if TYPE_CHECKING:
    from rnfl.runs import RunConfig


@dataclass
class Progress:
    """How far training has come; with weights and optimiser, all that a checkpoint holds.

    Attributes
    ----------
    epoch, step : int
        Epochs finished, and steps done of the next one.
    loss : float
        Sum of the training loss over those steps, weighted by images.
    history : list of dict
        One row per finished epoch.
    best : dict of str to Tensor
        Weights of the epoch with the lowest validation MAE.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def best_row(self) -> dict | None:
        """The epoch with the lowest validation MAE; the first of equals."""
        return min(self.history, key=lambda row: row["val_mae"], default=None)

    def stalled(self, patience: int) -> bool:
        """Whether ``patience`` epochs have passed without a better one."""
        return bool(self.history) and self.epoch - 1 - self.best_row["epoch"] >= patience


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

    All randomness comes from (seed, epoch) and (seed, step), so that training continues exactly
    from ``folder/checkpoint.pt``, which is written after every epoch and every
    ``config.checkpoint_seconds`` between.

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
    precision = resolve_precision(config.precision, device, model.backbone.embed_dim)
    optimizer = torch.optim.AdamW(protocols.apply(model, protocol, config.lr_scale), fused=True)
    progress = load_checkpoint(folder / "checkpoint.pt", model, optimizer, device)
    per_epoch = -(-len(train) // config.batch_size)
    loss = torch.tensor(progress.loss, device=device)
    clock = saved = time.monotonic()

    def save() -> None:
        nonlocal clock, saved
        progress.loss = _finite(loss.item(), config, progress, folder)
        progress.seconds += time.monotonic() - clock
        save_checkpoint(folder / "checkpoint.pt", model, optimizer, progress)
        clock = saved = time.monotonic()

    bar = tqdm(total=config.epochs * per_epoch, disable=report is not None, unit="step")
    bar.update(progress.epoch * per_epoch + progress.step)
    with torch.random.fork_rng():
        while progress.epoch < config.epochs and not progress.stalled(config.patience):
            model.train()
            order = epoch_order(len(train), config.seed, progress.epoch)
            for index in order.split(config.batch_size)[progress.step :]:
                step = progress.epoch * per_epoch + progress.step
                _set_rates(optimizer, step, per_epoch, config)
                loss += _update(model, optimizer, train, index, step, protocol, config, precision)
                progress.step += 1
                bar.update()
                if time.monotonic() - saved > config.checkpoint_seconds:
                    save()
            mean_loss = _finite(loss.item(), config, progress, folder) / len(train)
            val_mae = validation_mae(model, val, precision)
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
                progress.best = {k: v.detach().clone() for k, v in model.state_dict().items()}
            progress.epoch, progress.step = progress.epoch + 1, 0
            loss.zero_()
            save()
            bar.set_postfix(epoch=progress.epoch, val_mae=f"{val_mae:.2f}")
            if report:
                report(row)
    bar.close()
    model.load_state_dict(progress.best)
    return progress


def _update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Batches,
    index: Tensor,
    step: int,
    protocol: Protocol,
    config: "RunConfig",
    precision: str,
) -> Tensor:
    """Take one optimiser step on the rows ``index``; return the loss summed over images."""
    total = torch.zeros((), device=train.device)
    # Dropout draws from the global state, so that is what a step must set.
    random = torch.manual_seed(mixed_seed(config.seed, step, 1))
    for part in index.split(config.micro_batch or len(index)):
        images, profiles, quadrants = train.take(part)
        if config.augment == "intensity":
            images = jitter(images, random)
        with autocast(train.device, precision):
            prediction = model(images)
        loss = len(part) * losses.supervised(
            prediction, profiles, quadrants, protocol.lambda_pearson, protocol.lambda_gradient
        )
        (loss / len(index)).backward()
        total += loss.detach()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, config.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


def validation_mae(model: nn.Module, val: Batches, precision: str) -> float:
    """Mean absolute error (µm) on the validation split; NaN if a prediction is not finite.

    Of profiles, or of quadrant means where no eye has a profile.
    """
    prediction = predict(model, val, precision).cpu().numpy()
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


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write everything that training needs to go on, atomically."""
    state = {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": vars(progress)
    }  # fmt: skip
    with provenance.publish_file(path) as aside:
        torch.save(state, aside)


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> Progress:
    """Restore model and optimiser in place; without a checkpoint, start at the beginning."""
    if not path.exists():
        return Progress()
    state = torch.load(path, weights_only=True, map_location=device)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])
