"""From a prepared dataset to batches: resident images, batched indexing and augmentation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rnfl.backbones import resize
from rnfl.geometry import QUADRANTS
from rnfl.schema import SPLITS

if TYPE_CHECKING:
    from rnfl.prepare import Prepared

AUGMENTATIONS = ("intensity", None)
QUADRANT_COLUMNS = [f"rnfl_{name}" for name in QUADRANTS]


@dataclass(frozen=True)
class Batches:
    """The images and labels of one split, ready on a device.

    Attributes
    ----------
    images : uint8 Tensor (N, 1 or 3, S, S)
        On ``device`` where they fit, else in host memory.
    profiles : float32 Tensor (N, 360)
        Labels (µm) on ``device``, NaN = missing.
    quadrants : float32 Tensor (N, 4) or None
        Measured quadrant means S, N, I, T (µm) of eyes that have no profile, NaN = missing and for
        eyes that have one; None where no eye needs them.
    """

    images: Tensor
    profiles: Tensor
    device: torch.device
    quadrants: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def target(self) -> str:
        """What errors are measured on: 'profile', or 'quadrants' where no eye has a profile."""
        only_quadrants = self.quadrants is not None and bool(self.profiles.isnan().all())
        return "quadrants" if only_quadrants else "profile"

    @property
    def labels(self) -> Tensor:
        """The labels that ``target`` names: (N, 360) or (N, 4), µm, NaN = missing."""
        return self.quadrants if self.target == "quadrants" else self.profiles

    def take(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images as float (B, C, S, S) in [0, 1], profiles and quadrants of the rows ``index``."""
        images = self.images[index.to(self.images.device)].to(self.device, non_blocking=True)
        index = index.to(self.device)
        quadrants = None if self.quadrants is None else self.quadrants[index]
        return images.float().div_(255), self.profiles[index], quadrants

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
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
    quadrants = measured_quadrants(prepared, rows)
    rows = torch.as_tensor(np.asarray(rows))
    images = _resized(prepared.folder / "images.npy", prepared.manifest["hash"], size)[rows]
    if device.type == "cuda" and images.nbytes < torch.cuda.mem_get_info(device)[0] / 2:
        images = images.to(device)
    profiles = torch.from_numpy(np.array(prepared.profiles, dtype=np.float32))[rows]
    if quadrants is not None:
        quadrants = torch.from_numpy(quadrants.astype(np.float32)).to(device)
    return Batches(images, profiles.to(device), device, quadrants)


def measured_quadrants(prepared: "Prepared", rows: np.ndarray) -> np.ndarray | None:
    """Return the measured quadrants (n, 4), µm, of eyes without a profile, NaN elsewhere.

    None where no eye of ``rows`` has quadrants in place of a profile.
    """
    if not set(QUADRANT_COLUMNS) <= set(prepared.samples):
        return None
    has_profile = np.isfinite(np.asarray(prepared.profiles)[rows]).any(axis=1, keepdims=True)
    measured = prepared.samples.iloc[rows][QUADRANT_COLUMNS].to_numpy(dtype=float)
    quadrants = np.where(has_profile, np.nan, measured)
    return quadrants if np.isfinite(quadrants).any() else None


def rows_by_split(prepared: "Prepared", needed: Sequence[str] = ("test",)) -> dict[str, np.ndarray]:
    """Return the rows of 'train', 'val' and 'test'; eyes without labels only are in the last.

    Parameters
    ----------
    prepared : Prepared
    needed : sequence of str
        Splits that must not be empty, beside 'train' and 'val'.

    Raises
    ------
    ValueError
        If a needed split is empty.
    """
    rows = {name: prepared.subset(name) for name in SPLITS}
    rows |= {name: _labelled(prepared, rows[name]) for name in ("train", "val")}
    for name in ("train", "val", *needed):
        if not len(rows[name]):
            raise ValueError(
                f"dataset {prepared.name!r} has no {name} images with labels; beside its own "
                f"split there are 'all' (train on every patient but 15 % for validation) and "
                f"'fold-0-of-10-s0' (one fold of a cross-validation)"
            )
    return rows


def _labelled(prepared: "Prepared", rows: np.ndarray) -> np.ndarray:
    """Return the rows whose eyes have something to learn from: a profile or a quadrant."""
    has_label = np.isfinite(np.asarray(prepared.profiles)[rows]).any(axis=1)
    quadrants = measured_quadrants(prepared, rows)
    if quadrants is not None:
        has_label |= np.isfinite(quadrants).any(axis=1)
    return np.asarray(rows)[has_label]


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
