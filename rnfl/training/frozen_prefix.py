"""The output of a frozen prefix, computed once, so that each epoch starts behind it.

With the first blocks frozen and nothing random before them, an image's tokens behind these blocks
are the same in every epoch. They are kept in the run's precision: in fp32 they are what the blocks
would give again, in bf16 they are rounded to it. Augmentation comes before the prefix, so it needs
``RunConfig.views``: so many augmented views of each image are drawn once, and epoch e sees view
e modulo their number (ours); without it, an augmented run computes its prefix in every epoch.

Tokens last as long as the process: a run that goes on from its checkpoint computes them again, and
one that is asked to end (SIGTERM, SIGINT) while it computes them ends after the batch at hand.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from rnfl.models.backbone import Backbone
from rnfl.training import distributed, memory, protocols
from rnfl.training.augmentation import augmented, seeded_generator
from rnfl.training.batches import Batches
from rnfl.training.config import RunConfig
from rnfl.training.devices import autocast
from rnfl.training.protocols import Phase
from rnfl.training.signals import Stop

BATCH_SIZE = 64


def applies(backbone: Backbone, config: RunConfig) -> bool:
    """Whether a run, with its stages frozen by now, can start its epochs behind a prefix."""
    return backbone.n_prefix > 0 and (config.augment is None or config.views is not None)


def check(backbone: Backbone, config: RunConfig, phases: Iterable[Phase]) -> None:
    """Refuse views where no phase of a protocol has a frozen prefix to keep them behind."""
    for phase in phases if config.views else ():
        protocols.enter(backbone, phase)
        if backbone.n_prefix:
            return
    if config.views:
        raise ValueError(
            f"{config.slug}: views {config.views} are kept behind frozen blocks, and protocol "
            f"{config.protocol.name!r} freezes none from the first on, or the architecture of "
            f"{backbone.spec.name!r} cannot start behind them: leave views out"
        )


def behind(
    backbone: Backbone,
    train: Batches,
    val: Batches,
    config: RunConfig,
    precision: str,
    folder: Path,
    stop: Stop,
) -> tuple[list[Batches], Batches]:
    """Return training images, one item per view, and validation images as tokens of the prefix.

    They lie on the device where half of its free memory holds them, else in host memory, else in a
    file of ``folder``. Where there is no room at all, images stay images, which a line says. Where
    memory runs out as they are computed, fewer images are computed at once, as in a training step.

    Parameters
    ----------
    backbone : Backbone
        With its stages frozen.
    precision : {'fp32', 'bf16'}
    folder : Path
        Of the unfinished run.
    stop : Stop
        Looked at after every batch.

    Raises
    ------
    ValueError
        If views are asked for, and there is no room to keep them.
    KeyboardInterrupt, SystemExit
        If the process is asked to end meanwhile, as :meth:`~rnfl.training.signals.Stop.leave`
        has it.
    """
    if not applies(backbone, config):
        return [train], val
    count = (config.views or 1) if config.augment else 1
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with torch.no_grad(), autocast(train.device, precision):
        shape = backbone.prefix(train.take(torch.tensor([0]))[0]).shape[1:]
    # What each part becomes, and where it has room: the views of the training images, then the
    # validation images, which are never augmented.
    parts = [train] * count + [val]
    files = [folder / f"prefix-{distributed.rank()}-{i}.bin" for i in range(len(parts))]
    room: list[Tensor] = []
    for part, file in zip(parts, files, strict=True):
        promised = sum(tokens.nbytes for tokens in room if tokens.device.type == "cpu")
        tokens = memory.place((len(part), *shape), dtype, part.device, file, promised)
        if tokens is not None:
            room.append(tokens)
            continue
        n_bytes = sum(map(len, parts)) * shape.numel() * dtype.itemsize
        text = (
            f"{config.slug}: no room for {n_bytes / 1e9:.1f} GB of tokens behind the frozen "
            f"blocks, in memory or in {folder}"
        )
        if config.views:
            raise ValueError(f"{text}: free some, or ask for fewer views than {config.views}")
        tqdm.write(f"{text}: every epoch computes these blocks again")
        return [train], val

    try:
        at_once = BATCH_SIZE
        for view, (part, tokens) in enumerate(zip(parts, room, strict=True)):
            name = config.augment if view < count else None
            random = seeded_generator(config.seed, view, 2)
            for place, images in _in_turn(part, tokens, name, random):
                with torch.no_grad(), autocast(part.device, precision):
                    at_once = _compute(backbone, images, place, at_once, config.slug)
                if stop.requested:
                    text = "training is saved as it was before frozen blocks were computed, in"
                    stop.leave(f"{text} {folder}")
    except BaseException:
        for file in files:
            with suppress(OSError):  # some systems keep a file that is still mapped
                file.unlink()
        raise
    moved = [
        Batches(tokens, part.profiles, part.device, part.quadrants)
        for part, tokens in zip(parts, room, strict=True)
    ]
    return moved[:-1], moved[-1]


def _in_turn(
    data: Batches, tokens: Tensor, augment: str | None, random: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield room for tokens and the images they come from, augmented, batch by batch."""
    # What is random is drawn for a whole batch, so that it does not depend on its parts.
    batches = zip(tokens.split(BATCH_SIZE), data.in_order(BATCH_SIZE), strict=True)
    bar = {"desc": "frozen blocks", "leave": False, "disable": not distributed.is_first()}
    for room, (images, *_) in tqdm(batches, total=-(-len(data) // BATCH_SIZE), **bar):
        yield room, augmented(images, augment, random)
    if data.device.type == "cuda":  # copies to host memory may still be under way
        torch.cuda.synchronize(data.device)


def _compute(backbone: Backbone, images: Tensor, room: Tensor, at_once: int, name: str) -> int:
    """Fill ``room`` with the prefix of images; return how many at once memory holds."""

    def compute(size: int) -> None:
        for tokens, part in zip(room.split(size), images.split(size), strict=True):
            tokens.copy_(backbone.prefix(part), non_blocking=True)

    def halved(too_many: int, size: int) -> None:
        text = f"{name}: memory ran out at {too_many} images at once in frozen blocks"
        tqdm.write(f"{text}; from here on {size}")

    return memory.halve_until_it_fits(compute, at_once, len(images), halved)[1]
