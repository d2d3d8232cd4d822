"""What is random in training: order and augmentation, functions of a seed and a step alone."""

import numpy as np
import torch
from torch import Tensor

from rnfl.training import degradation


def augmented(
    images: Tensor, name: str | None, random: torch.Generator, places: Tensor | None = None
) -> Tensor:
    """Return float images (B, C, H, W) as ``RunConfig.augment`` has them, maybe changed in place.

    ``places`` (B,), in host memory, are those of the images in the whole batch, which say how
    graded views are graded; by default the images are the whole batch.
    """
    if name is None:
        return images
    if name == "intensity":
        return jitter(images, random)
    places = torch.arange(len(images)) if places is None else places
    return degradation.graded_views(images, name, random, places)


def seeded_generator(*numbers: int) -> torch.Generator:
    """A CPU generator that depends on all the numbers, e.g. on (seed, epoch)."""
    return torch.Generator().manual_seed(mixed_seed(*numbers))


def mixed_seed(*numbers: int) -> int:
    """One 63-bit seed out of several numbers; neighbours give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """The order of ``n`` rows in an epoch: a permutation that depends on (seed, epoch) alone."""
    return torch.randperm(n, generator=seeded_generator(seed, epoch))


def shown_rows(n: int, seed: int, epoch: int, copies: int) -> Tensor:
    """The rows an epoch shows, each ``copies`` times running: one in ``copies``, and all in turn.

    Examples
    --------
    >>> [len(shown_rows(10, 0, epoch, 4).unique()) for epoch in range(4)]
    [3, 3, 3, 3]
    >>> len(torch.cat([shown_rows(10, 0, epoch, 4) for epoch in range(4)]).unique())
    10
    """
    shown = -(-n // copies)
    order = epoch_order(n, seed, epoch // copies).roll(-(epoch % copies) * shown)
    return order[:shown].repeat_interleave(copies)


def jitter(images: Tensor, random: torch.Generator, strength: float = 0.2) -> Tensor:
    """Change brightness and contrast of each image, in place.

    Parameters
    ----------
    images : float Tensor (B, C, H, W) in [0, 1]
    random : torch.Generator
        Source of all randomness.
    strength : float
        Largest change: of contrast as a factor about the image's mean, of brightness as a share
        of that mean (ours; the paper says only that augmentation is of intensity).
    """
    drawn = (torch.rand(2, len(images), generator=random) * 2 - 1) * strength
    contrast, brightness = drawn.to(images.device, non_blocking=True).view(2, -1, 1, 1, 1)
    centre = images.mean(dim=(1, 2, 3), keepdim=True)
    images.mul_(1 + contrast).add_(centre * (brightness - contrast))
    return images.clamp_(0, 1)
