"""A dataset of npz files, one per eye, in a folder, a zip or tar shards, with CSVs beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rnfl.datasets.base import RawDataset
from rnfl.datasets.npz.files import Entry, Source
from rnfl.datasets.npz.tables import Tables, read_tables


class NpzDataset(RawDataset):
    """What FairFedMed and the thickness maps share.

    Attributes
    ----------
    raw : Source
        The npz files and CSVs.
    """

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
