"""From a prepared dataset to batches: resident or mapped images, indexed by batch."""

import hashlib
import inspect
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rnfl.core import masks
from rnfl.core.geometry import QUADRANTS
from rnfl.core.schema import SPLITS
from rnfl.datasets.prepared import Prepared, image_file
from rnfl.imaging import pixels
from rnfl.imaging.pixels import at_size
from rnfl.storage import errors, hashed, provenance
from rnfl.storage.paths import cache_root
from rnfl.training.memory import fits

QUADRANT_COLUMNS = [f"rnfl_{name}" for name in QUADRANTS]
AHEAD = 2  # batches collected before they are asked for
Batch = tuple[Tensor, Tensor, Tensor | None]

_RESIZING = hashlib.sha256(inspect.getsource(pixels).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Batches:
    """The inputs and labels of one split, ready for a device; labels are in µm, NaN = missing.

    ``images`` are uint8 (M, 1 or 3, S, S), on the device where they fit, else mapped from disk.
    Behind a frozen prefix (:mod:`rnfl.training.frozen_prefix`) its tokens (M, T, D), floating
    point, stand in their place; under the task 'masks', masks of disc and cup, uint8
    (N, 112, 112), stand in that of ``profiles``. ``quadrants`` are measured means S, N, I, T of
    eyes that have no profile, NaN for others, and None where no eye needs them.
    """

    images: Tensor
    profiles: Tensor  # float32 (N, 360), on the device
    device: torch.device
    quadrants: Tensor | None = None  # float32 (N, 4), on the device
    rows: Tensor | None = None  # int (N,), the image of each row of the labels; None = in order

    def __len__(self) -> int:
        return len(self.profiles)

    @property
    def target(self) -> str:
        """What errors are measured on: 'profile', 'quadrants' where no eye has one, or 'masks'."""
        if self.profiles.ndim == 3:
            return "masks"
        only_quadrants = self.quadrants is not None and bool(self.profiles.isnan().all())
        return "quadrants" if only_quadrants else "profile"

    @property
    def labels(self) -> Tensor:
        """The labels that ``target`` names: (N, 360) or (N, 4), µm, NaN = missing; or masks."""
        return self.quadrants if self.target == "quadrants" else self.profiles

    def select(self, index: Tensor) -> "Batches":
        """The rows ``index`` alone; their images stay where they are."""
        profiles, quadrants = self._labels(index)
        rows = index if self.rows is None else self.rows[index]
        return replace(self, profiles=profiles, quadrants=quadrants, rows=rows)

    def take(self, index: Tensor) -> Batch:
        """Images as float (B, C, S, S) in [0, 1], profiles and quadrants of the rows ``index``."""
        return as_float(self._fetch(index))

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """All rows as :meth:`take` gives them, in their order, ``batch_size`` at a time."""
        return map(as_float, self.stream(torch.arange(len(self)).split(batch_size)))

    def stream(self, indices: Iterable[Tensor]) -> Iterator[Batch]:
        """Batches of the rows that each of ``indices`` names, with images as they are stored.

        From host memory to a GPU they pass through pinned memory, and the next ones are collected
        while this one is computed.
        """
        if self.images.device.type == self.device.type:
            yield from map(self._fetch, indices)
            return
        with ThreadPoolExecutor(1) as reader:
            waiting: deque[Future] = deque()
            for index in indices:
                waiting.append(reader.submit(self._pinned, index))
                if len(waiting) > AHEAD:
                    yield self._send(*waiting.popleft().result())
            while waiting:
                yield self._send(*waiting.popleft().result())

    def _fetch(self, index: Tensor) -> Batch:
        return self._send(self._collect(index), index)

    def _pinned(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return self._collect(index).pin_memory(), index

    def _collect(self, index: Tensor) -> Tensor:
        rows = index if self.rows is None else self.rows[index.to(self.rows.device)]
        return self.images[rows.to(self.images.device, non_blocking=True)].contiguous()

    def _send(self, images: Tensor, index: Tensor) -> Batch:
        return images.to(self.device, non_blocking=True), *self._labels(index)

    def _labels(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        index = index.to(self.device, non_blocking=True)
        return self.profiles[index], None if self.quadrants is None else self.quadrants[index]


def as_float(batch: Batch) -> Batch:
    """Turn stored images into float in [0, 1]; tokens only become float32."""
    images, profiles, quadrants = batch
    values = images.float()
    return values.div_(255) if images.dtype == torch.uint8 else values, profiles, quadrants


def load(
    prepared: Prepared,
    rows: np.ndarray,
    size: int,
    device: torch.device,
    task: str = "profile",
) -> Batches:
    """Put rows of a prepared dataset on a device, resized once to the model's input size.

    Images stay mapped from disk, and are read as they are asked for, unless they fit into half of
    a GPU's free memory.

    Parameters
    ----------
    rows : int array
        Rows of the dataset, e.g. ``prepared.subset("train")``.
    size : int
        Side of the images the model takes (px).
    task : {'profile', 'masks'}
        Which labels come with them.
    """
    if task == "masks":
        labels, quadrants = torch.from_numpy(masks_of(prepared, rows)), None
    else:
        labels = torch.from_numpy(np.array(prepared.profiles, dtype=np.float32)[rows])
        quadrants = measured_quadrants(prepared, rows)
    rows = torch.as_tensor(np.asarray(rows))
    images = channels_first(images_at(prepared, size))
    kept: Tensor | None = rows
    if device.type == "cuda" and fits(len(rows) * images[:1].nbytes, device):
        images, kept = images[rows].to(device), None
    if quadrants is not None:
        quadrants = torch.from_numpy(quadrants.astype(np.float32)).to(device)
    return Batches(images, labels.to(device), device, quadrants, kept)


def masks_of(prepared: Prepared, rows: np.ndarray) -> np.ndarray:
    """Return the masks of rows, uint8 (n, 112, 112), 255 where an eye has none.

    A ValueError names eyes whose masks hold anything but 0, 1 and 2.
    """
    if prepared.masks is None:
        return np.full((len(rows), masks.SIDE, masks.SIDE), masks.UNKNOWN, np.uint8)
    found = np.array(prepared.masks[rows])
    odd = (found >= masks.CLASSES).any(axis=(1, 2)) & (found != masks.UNKNOWN).any(axis=(1, 2))
    if odd.any():
        eyes = prepared.samples["eye_id"].iloc[np.asarray(rows)[odd]]
        raise ValueError(
            f"{prepared.folder}: masks of {odd.sum()} eyes, such as {eyes.iloc[0]}, have other "
            "values than 0 (background), 1 (rim) and 2 (cup); an eye without a mask has 255 alone"
        )
    return found


def measured_quadrants(prepared: Prepared, rows: np.ndarray) -> np.ndarray | None:
    """Return the measured quadrants (n, 4), µm, of eyes without a profile, NaN elsewhere.

    None where no eye of ``rows`` has quadrants in place of a profile.
    """
    if not set(QUADRANT_COLUMNS) <= set(prepared.samples):
        return None
    has_profile = np.isfinite(np.asarray(prepared.profiles)[rows]).any(axis=1, keepdims=True)
    measured = prepared.samples.iloc[rows][QUADRANT_COLUMNS].to_numpy(dtype=float)
    quadrants = np.where(has_profile, np.nan, measured)
    return quadrants if np.isfinite(quadrants).any() else None


def rows_by_split(
    prepared: Prepared, needed: Sequence[str] = ("test",), task: str = "profile"
) -> dict[str, np.ndarray]:
    """Return the rows of 'train', 'val' and 'test'; eyes without labels only are in the last.

    Parameters
    ----------
    needed : sequence of str
        Splits that must not be empty, beside 'train' and 'val'.

    Raises
    ------
    ValueError
        If a needed split is empty, or no eye has anything to learn from.
    """
    rows = {name: prepared.subset(name) for name in SPLITS}
    everyone = np.arange(len(prepared))
    if task == "masks" and not len(_labelled(prepared, everyone, task)):
        raise ValueError(
            f"dataset {prepared.name!r}: none of its {len(prepared)} eyes has a mask of disc and "
            "cup to learn from: phantoms have, and folders of photographs whose CSV has a column "
            "mask; without --task masks profiles are learnt"
        )
    if not len(_labelled(prepared, everyone, task)):
        raise ValueError(
            f"dataset {prepared.name!r}: none of its {len(prepared)} eyes has a profile or a "
            "quadrant to learn from; finished runs can predict it (rnfl predict)"
        )
    rows |= {name: _labelled(prepared, rows[name], task) for name in ("train", "val")}
    for name in ("train", "val", *needed):
        if not len(rows[name]):
            raise ValueError(
                f"dataset {prepared.name!r} has no {name} images with labels; beside its own "
                f"split there are 'all' (train on every patient but 15 % for validation) and "
                f"'fold-0-of-10-s0' (one fold of a cross-validation)"
            )
    return rows


def _labelled(prepared: Prepared, rows: np.ndarray, task: str) -> np.ndarray:
    """Return the rows whose eyes have something to learn from: a profile or quadrant, or a mask."""
    if task == "masks":
        return rows[masks.known(masks_of(prepared, rows))]
    has_label = np.isfinite(np.asarray(prepared.profiles)[rows]).any(axis=1)
    if (quadrants := measured_quadrants(prepared, rows)) is not None:
        has_label |= np.isfinite(quadrants).any(axis=1)
    return np.asarray(rows)[has_label]


def channels_first(images: np.ndarray) -> Tensor:
    """Return images (N, S, S) or (N, S, S, 3) as (N, C, S, S), in the same memory."""
    stack = torch.from_numpy(images)
    return stack.unsqueeze(1) if stack.ndim == 3 else stack.permute(0, 3, 1, 2)


def images_at(prepared: Prepared, size: int) -> np.ndarray:
    """Return the images of a dataset, uint8 (N, S, S[, 3]), mapped from disk."""
    # Copy on write, as PyTorch warns of what cannot be written to; nothing writes to the file.
    return np.load(_resized(prepared, size), mmap_mode="c", allow_pickle=False)


def _resized(prepared: Prepared, size: int) -> Path:
    """Return the file of a dataset's images at a size; made once for every run that asks."""
    source = prepared.folder / "images.npy"
    if prepared.images.shape[1:3] == (size, size):
        return source
    digest = prepared.manifest["files"][source.name]
    path = cache_root() / f"images-{digest[:16]}-{size}px-{_RESIZING}.npy"
    if path.exists() and not hashed.is_as_noted(path):
        tqdm.write(f"{path} is damaged and made again", file=sys.stderr)
        path.unlink()
    if not path.exists():
        what = f"the images of {prepared.name} at {size} px"
        with (
            errors.writing(what, path.parent, "nothing is lost"),
            provenance.publish_file(path) as aside,
            image_file(aside, len(prepared), what) as file,
        ):
            for start in tqdm(range(0, len(prepared), 256), f"images at {size} px", leave=False):
                for image in at_size(np.array(prepared.images[start : start + 256]), size):
                    file.add(image)
        hashed.note(path, file.hash)
    return path
