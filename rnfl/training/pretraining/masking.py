"""Masked autoencoding of a dataset's own pictures: what the protocol 'mae' does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnfl.datasets.prepared import Prepared
from rnfl.models.backbone import Backbone
from rnfl.models.checkpoints import files, reading
from rnfl.training import batches, loop
from rnfl.training.config import RunConfig
from rnfl.training.pretraining import Pretraining
from rnfl.training.pretraining.tasks import MaskedAutoencoder
from rnfl.training.state import Progress

WATCHED = "val_masked_error"


class Masking(Pretraining):
    """A run of the protocol 'mae'; its rows are those of a run's history."""

    watched = WATCHED
    still = 0  # steps in which the decoder learns alone
    moves = True  # whether the backbone does

    def step(self, batch: Tensor, number: int, progress: Progress) -> Tensor:
        if self.moves != (number >= self.still):
            self.moves = not self.moves
            self.model.backbone.requires_grad_(self.moves)
        return super().step(batch, number, progress)

    def row(self, progress: Progress, loss: float) -> dict[str, Any]:
        return {
            "epoch": progress.epoch,
            "step": self.steps_before(progress.epoch + 1),
            "train_loss": loss / progress.step,
            WATCHED: 1 - self.score(),
            "lr_encoder": self.optimizer.param_groups[0]["lr"] if self.moves else 0.0,
            "lr_head": self.optimizer.param_groups[0]["lr"],
            "seconds": progress.seconds,
        }


def published_decoder(backbone: Backbone) -> dict[str, Tensor] | None:
    """Return the decoder that a backbone's published file has beside it, by our names; or None.

    Such files have it as He et al. published theirs (``decoder_embed``, ``decoder_blocks`` ...),
    for colour; a file that was converted has lost it. None as well where it is of another grid.
    """
    source = backbone.spec.source
    path = files.find(backbone.spec) if source else None
    held = path and reading.read(path).under(source.layout.top)
    if not held or "decoder_pred.weight" not in held:
        return None
    patch, cells = backbone.spec.patch, backbone.grid[0] * backbone.grid[1]
    if held["decoder_pos_embed"].shape[1] != cells + 1:
        return None
    # Its pixels are in the order row, column, channel; ours channel, row, column.
    order = torch.arange(3 * patch**2).reshape(patch, patch, 3).permute(2, 0, 1).flatten()
    found = {"mask_token": held["mask_token"]}
    for name, value in held.items():
        if name.startswith("decoder_"):
            ours = name.removeprefix("decoder_").replace("pos_embed", "position")
            ours = ours.replace("pred.", "pixels.")
            found[ours] = value[order] if ours.startswith("pixels.") else value
    return {name: value.float() for name, value in found.items()}


def around(
    backbone: Backbone, channels: int = 1, published: dict[str, Tensor] | None = None
) -> MaskedAutoencoder:
    """Return an autoencoder round a backbone, or a ValueError for one that cannot be masked."""
    side, cells = backbone.spec.input_size, backbone.grid[0]
    with torch.no_grad():  # refused now rather than after the data are loaded
        backbone.visible(backbone.mean.new_zeros(1, 3, side, side), torch.zeros(1, 1).long())
    if backbone.grid[0] != backbone.grid[1] or side % cells:
        raise ValueError(f"backbone {backbone.spec.name!r}: its patches do not fill the picture")
    return MaskedAutoencoder(backbone, channels=channels, published=published)


def fit(
    model: MaskedAutoencoder,
    prepared: Prepared,
    config: RunConfig,
    device: torch.device,
    folder: Path,
    report: Callable[[dict], None] | None = None,
    known: bool = False,
) -> Progress:
    """Teach a backbone the pictures to train with; those to validate with are held out.

    ``known`` says that the backbone has learnt before and the decoder has not. Other parameters and
    errors are those of :func:`rnfl.training.loop.train`; that a split has no picture is a
    ValueError. The model is left as the last step leaves it.
    """
    rows = [prepared.subset(name) for name in ("train", "val")]
    for name, found in zip(("train", "val"), rows, strict=True):
        if not len(found):
            raise ValueError(f"dataset {prepared.name!r} has no {name} pictures to mask")
    size = model.backbone.spec.input_size
    shown = np.array(batches.images_at(prepared, size)[np.concatenate(rows)])
    per_pass = max(1, len(rows[0]) // config.batch_size)
    settings = {
        "kind": "mae", "steps": config.steps or config.epochs * per_pass, "seed": config.seed,
        "batch_size": config.batch_size, "lr": config.protocol.rate * config.lr_scale,
        "weight_decay": config.protocol.weight_decay,
        "warmup_fraction": config.warmup_epochs / config.epochs,
    }  # fmt: skip
    images = torch.from_numpy(shown).to(device)
    training = Masking(model, images, settings, config.checkpoint_seconds, len(rows[0]))
    training.every = -(-settings["steps"] // config.epochs)
    training.still = round(config.protocol.still * settings["steps"]) if known else 0
    training.name = config.slug
    training.remedy = f"Lower lr_scale (now {config.lr_scale:g})"
    return loop.train(training, folder, report)
