"""Datasets of npz files, one per eye, in a folder, a zip or tar shards, with CSVs beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from rnfl.core.exclusion import Excluded
from rnfl.datasets.base import RawDataset
from rnfl.datasets.npz import labels
from rnfl.datasets.npz.files import Entry, Source
from rnfl.datasets.npz.tables import NAMES, Tables, read_tables

MAP = "rnflt"  # array of the thickness map
IMAGES = ("slo_fundus", "fundus_slo", "slo", "fundus", "slo_image")  # arrays, the first is taken
MIN_SIDE = 32  # px
MAX_ASPECT = 2.0

WRONG_SHAPE = "SLO image of wrong shape"
WRONG_TYPE = "SLO image of wrong type"
NOT_FINITE = "SLO image with NaN or infinite values"
CONSTANT = "SLO image without contrast"


class NpzDataset(RawDataset):
    """What FairFedMed and the thickness maps share; ``raw`` are the npz files and CSVs."""

    wanted: ClassVar[frozenset[str]]  # arrays of an npz that are used

    def __init__(self, name: str, place: Path) -> None:
        super().__init__(name, place)
        self.raw = Source(place)

    def close(self) -> None:
        self.raw.close()

    def besides(self) -> Collection[Entry]:
        """Return the CSVs that are no tables."""
        return ()

    @cached_property
    def csv(self) -> Tables:
        """What the tables say."""
        return read_tables(self.raw, self.besides(), getattr(self.options, "resample", False))

    def tables(self) -> dict[str, Any]:
        return self.csv.hashes

    def items(self) -> Sequence[Entry]:
        return self.raw.npz

    def key(self, item: Entry) -> str:
        return item.key

    def stamp(self, item: Entry) -> str:
        return self.raw.stamp(item)

    def take(self, entry: Entry, found: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the arrays of an npz that are used, its hash noted; see :meth:`Source.take`."""
        return self.raw.take(entry, self.wanted, found["hashes"])

    def file_hashes(self, known: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the hashes of the npz files and of the CSVs, by name."""
        npz = {e.name: partial(self.raw.fingerprint, e, self.wanted) for e in self.raw.npz}
        csv = {e.name: partial(self.raw.fingerprint, e) for e in self.raw.csv}
        read = {**known, **(self.csv.hashes if known else {})}
        return self.hashes(npz, read), self.hashes(csv, read)


def arrays_of(*columns: str) -> frozenset[str]:
    """Return the arrays of an npz that hold map, image, demographics and these columns."""
    names = (*labels.NAMES.values(), *(NAMES[column] for column in columns))
    return frozenset({MAP, *IMAGES}).union(*names)


def find_image(arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the SLO image among the arrays of an npz, as :func:`grey`; None where none is."""
    return next((grey(arrays[name]) for name in IMAGES if name in arrays), None)


def grey(array: np.ndarray) -> np.ndarray:
    """Return an SLO image as uint8 (H, W).

    Parameters
    ----------
    array : ndarray (H, W), or with one or three channels on the first or the last axis
        Whole numbers from 0 to 255. Three channels are weighted as luminance.

    Raises
    ------
    Excluded
        For another shape or type, values that are not finite, or an image of one value.
    """
    found = f"{array.dtype} {array.shape}"
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Excluded(NOT_FINITE, f"{int((~np.isfinite(array)).sum())} values")
    if array.dtype.kind not in "iu":
        raise Excluded(WRONG_TYPE, f"{found}: expected uint8")
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = np.moveaxis(array, 0, -1)
    planes = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))
    sides = sorted(array.shape[:2])
    if not planes or sides[0] < MIN_SIDE or sides[1] > MAX_ASPECT * sides[0]:
        raise Excluded(WRONG_SHAPE, f"{found}: expected one image such as (512, 664)")
    if array.min() < 0 or array.max() > 255:
        raise Excluded(WRONG_TYPE, f"{found}, {array.min()} to {array.max()}: expected 0 to 255")
    if array.min() == array.max():
        raise Excluded(CONSTANT, f"{array.min()} everywhere")
    array = array.astype(np.uint8)
    if array.ndim == 2 or array.shape[2] == 1:
        return array.reshape(array.shape[:2])
    return np.asarray(Image.fromarray(array).convert("L"))
