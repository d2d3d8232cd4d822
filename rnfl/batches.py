"""From a prepared dataset to batches: resident images, batched indexing and augmentation."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rnfl.backbones import resize

if TYPE_CHECKING:
    from rnfl.prepare import Prepared

AUGMENTATIONS = ("intensity", None)


@dataclass(frozen=True)
class Batches:
    """The images and labels of one split, ready on a device.

    Attributes
    ----------
    images : uint8 Tensor (N, 1 or 3, S, S)
        On ``device`` where they fit, else in host memory.
    profiles : float32 Tensor (N, 360)
        Labels (µm) on ``device``, NaN = missing.
    """

    images: Tensor
    profiles: Tensor
    device: torch.device

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images as float (B, C, S, S) in [0, 1] and profiles (B, 360) of the rows ``index``."""
        images = self.images[index.to(self.images.device)].to(self.device, non_blocking=True)
        return images.float().div_(255), self.profiles[index.to(self.device)]

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All rows, in their order, ``batch_size`` at a time."""
        for index in torch.arange(len(self)).split(batch_size):
            yield self.take(index)


def load(prepared: "Prepared", rows: np.ndarray, size: int, device: torch.device) -> Batches:
    """Put rows of a prepared dataset on a device, resized once to the model's input size.

    Parameters
    ----------
    prepared : Prepared
    rows : int array
        Rows of the dataset, e.g. ``prepared.subset("train")``.
    size : int
        Side of the images the model takes (px).
    device : torch.device
    """
    rows = torch.as_tensor(np.asarray(rows))
    images = _resized(prepared.folder / "images.npy", prepared.manifest["hash"], size)[rows]
    if device.type == "cuda" and images.nbytes < torch.cuda.mem_get_info(device)[0] / 2:
        images = images.to(device)
    profiles = torch.from_numpy(np.array(prepared.profiles, dtype=np.float32))[rows]
    return Batches(images, profiles.to(device), device)


@lru_cache(maxsize=4)
def _resized(path: Path, digest: str, size: int) -> Tensor:
    # The dataset's hash is part of the key so that a dataset prepared anew is read anew.
    images = np.load(path, mmap_mode="r")
    chunks = []
    for start in range(0, len(images), 256):
        chunk = torch.from_numpy(np.array(images[start : start + 256]))
        chunk = chunk.unsqueeze(1) if chunk.ndim == 3 else chunk.permute(0, 3, 1, 2)
        if chunk.shape[-2:] != (size, size):
            chunk = resize(chunk.float(), size).round_().clamp_(0, 255).to(torch.uint8)
        chunks.append(chunk.contiguous())
    return torch.cat(chunks)


def check_augmentation(name: str | None) -> None:
    """Refuse a name that is not in ``AUGMENTATIONS``."""
    if name not in AUGMENTATIONS:
        raise ValueError(f"unknown augmentation {name!r}; valid ones are {AUGMENTATIONS}")


def seeded_generator(*numbers: int) -> torch.Generator:
    """A CPU generator that depends on all the numbers, e.g. on (seed, epoch)."""
    return torch.Generator().manual_seed(mixed_seed(*numbers))


def mixed_seed(*numbers: int) -> int:
    """One 63-bit seed out of several numbers; neighbours give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """The order of ``n`` rows in an epoch: a permutation that depends on (seed, epoch) alone."""
    return torch.randperm(n, generator=seeded_generator(seed, epoch))


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
    contrast, brightness = (torch.rand(2, len(images), generator=random) * 2 - 1) * strength
    centre = images.mean(dim=(1, 2, 3), keepdim=True)
    contrast = contrast.to(images.device).view(-1, 1, 1, 1)
    brightness = brightness.to(images.device).view(-1, 1, 1, 1)
    images.mul_(1 + contrast).add_(centre * (brightness - contrast))
    return images.clamp_(0, 1)
