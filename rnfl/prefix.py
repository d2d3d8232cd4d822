"""The output of a frozen prefix, computed once, so that each epoch starts behind it.

With the first blocks frozen and nothing random before them, an image's tokens behind these blocks
are the same in every epoch. They are kept in the run's precision: in fp32 they are what the blocks
would give again, in bf16 they are rounded to it. Augmentation comes before the prefix, so it needs
``RunConfig.views``: so many augmented views of each image are drawn once, and epoch e sees view
e modulo their number (ours); without it, an augmented run computes its prefix in every epoch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from rnfl import memory, parallel
from rnfl.backbones import Backbone
from rnfl.batches import Batches
from rnfl.devices import autocast
from rnfl.randomness import augmented, seeded_generator

if TYPE_CHECKING:
    from rnfl.runs import RunConfig

BATCH_SIZE = 64


def applies(backbone: Backbone, config: RunConfig) -> bool:
    """Whether a run, with its stages frozen by now, can start its epochs behind a prefix."""
    return backbone.n_prefix > 0 and (config.augment is None or config.views is not None)


def behind(
    backbone: Backbone,
    train: Batches,
    val: Batches,
    config: RunConfig,
    precision: str,
    folder: Path,
) -> tuple[list[Batches], Batches]:
    """Return training images, one item per view, and validation images as tokens of the prefix.

    They lie on the device where half of its free memory holds them, else in host memory, else in a
    file of ``folder``. Where there is no room at all, images stay images, which a line says.

    Parameters
    ----------
    backbone : Backbone
        With its stages frozen.
    train, val : Batches
    config : RunConfig
    precision : {'fp32', 'bf16'}
    folder : Path
        Of the unfinished run.

    Raises
    ------
    ValueError
        If views are asked for, and there is no frozen prefix to keep them behind or no room.
    """
    if config.views and not backbone.n_prefix:
        raise ValueError(
            f"{config.slug}: views {config.views} are kept behind frozen blocks, and protocol "
            f"{config.protocol.name!r} freezes none from the first on, or the architecture of "
            f"{backbone.spec.name!r} cannot start behind them: leave views out"
        )
    if not applies(backbone, config):
        return [train], val
    count = (config.views or 1) if config.augment else 1
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with torch.no_grad(), autocast(train.device, precision):
        shape = backbone.prefix(train.take(torch.tensor([0]))[0]).shape[1:]
    parts = [train] * count + [val]
    room: list[Tensor | None] = []
    for i, part in enumerate(parts):
        promised = sum(one.nbytes for one in room if one is not None and one.device.type == "cpu")
        file = folder / f"prefix-{parallel.rank()}-{i}.bin"
        room.append(memory.place((len(part), *shape), dtype, part.device, file, promised))
    if any(tokens is None for tokens in room):
        n_bytes = sum(map(len, parts)) * shape.numel() * dtype.itemsize
        text = (
            f"{config.slug}: no room for {n_bytes / 1e9:.1f} GB of tokens behind the frozen "
            f"blocks, in memory or in {folder}"
        )
        if config.views:
            raise ValueError(f"{text}: free some, or ask for fewer views than {config.views}")
        tqdm.write(f"{text}: every epoch computes these blocks again")
        return [train], val
    for view, (part, tokens) in enumerate(zip(parts, room, strict=True)):
        augment = config.augment if view < count else None
        _fill(tokens, backbone, part, augment, precision, config.seed, view)
    moved = [_replaced(part, tokens) for part, tokens in zip(parts, room, strict=True)]
    return moved[:-1], moved[-1]


def _fill(
    tokens: Tensor,
    backbone: Backbone,
    data: Batches,
    augment: str | None,
    precision: str,
    seed: int,
    view: int,
) -> None:
    """Compute the prefix of all images, in order, in evaluation mode."""
    random, start = seeded_generator(seed, view, 2), 0
    bar = {"desc": "frozen blocks", "leave": False, "disable": not parallel.is_first()}
    for images, *_ in tqdm(data.in_order(BATCH_SIZE), total=-(-len(data) // BATCH_SIZE), **bar):
        with torch.no_grad(), autocast(data.device, precision):
            found = backbone.prefix(augmented(images, augment, random))
        tokens[start : start + len(found)].copy_(found, non_blocking=True)
        start += len(found)
    if data.device.type == "cuda":
        torch.cuda.synchronize(data.device)


def _replaced(data: Batches, tokens: Tensor) -> Batches:
    return Batches(tokens, data.profiles, data.device, data.quadrants)
