"""What all datasets of raw files have in common: found, read with resume, split, written.

A dataset is a subclass of :class:`RawDataset` that says how one eye is read and what decides it.
:meth:`RawDataset.prepare` is the way from a raw folder to a prepared dataset, the same for all.
"""

from __future__ import annotations

import os
import tomllib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import pandas as pd

from rnfl.core import identity, labels, masks, orientation
from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import FIELD_MM
from rnfl.core.splits import patient_split
from rnfl.datasets.prepared import (
    MASKS,
    Prepared,
    keep_source,
    manifest_of,
    source_of,
    write,
)
from rnfl.datasets.reading import WORKERS, Eye, KeptEye, read_eyes
from rnfl.imaging.inspection import WIDTHS_MM
from rnfl.storage.paths import data_root
from rnfl.storage.progress import progress
from rnfl.storage.readers import read_bytes, readable
from rnfl.storage.tables import listed

FRACTIONS = {"train": 0.70, "val": 0.15, "test": 0.15}  # of a dataset that brings no split
Chosen = TypeVar("Chosen")


@dataclass(frozen=True)
class NoOptions:
    """Of a dataset of which everything is known."""

    FILE: ClassVar[str] = ""


def read_options(source: Path, options: type[Chosen]) -> Chosen:
    """Return what the owner of raw files says of them in a TOML file, every entry checked.

    Parameters
    ----------
    source : Path
        Folder that holds the file, or archive beside which it lies; without it defaults hold.
    options : type
        Dataclass: ``FILE`` names the file, each field has its default and one of type ``Literal``
        its valid values. Names in ``_mm`` are widths of retina, those in ``_seed`` whole numbers.

    Raises
    ------
    ValueError
        Naming the file, the option or value that is not valid, and the valid ones.
    """
    path = (source if source.is_dir() else source.parent) / options.FILE
    if not path.is_file():
        return options()
    with readable(path, "TOML", "write it as data/README.md shows"):
        given = tomllib.loads(read_bytes(path).decode("utf-8"))
    kinds = {name: kind for name, kind in get_type_hints(options).items() if name != "FILE"}
    for name, value in given.items():
        if name not in kinds:
            raise ValueError(f"{path}: option {name!r}: expected {', '.join(kinds)}")
        if wanted := _wanted(name, kinds[name], value):
            raise ValueError(f"{path}: {name} = {value!r}: expected {wanted}")
    return options(**given)


def _wanted(name: str, kind: Any, value: Any) -> str | None:
    """Return in words what an option may be where its value is something else."""
    valid, (low, high) = get_args(kind), WIDTHS_MM
    if get_origin(kind) is Literal and value not in valid:
        return " or ".join(map(repr, valid))
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name.endswith("_mm") and not (number and low <= value <= high):
        return f"{low:g} to {high:g} mm"
    if kind is bool and type(value) is not bool:
        return "true or false"
    return "a whole number" if name.endswith("_seed") and type(value) is not int else None


def _masks(eyes: Sequence[KeptEye]) -> dict[str, np.ndarray]:
    """Return the file of the eyes' masks, none where no eye has one."""
    if all(eye.mask is None for eye in eyes):
        return {}
    none = np.full((masks.SIDE, masks.SIDE), masks.UNKNOWN, np.uint8)
    return {MASKS: np.stack([none if eye.mask is None else eye.mask for eye in eyes])}


class RawDataset(ABC):
    """A dataset called ``name`` and the raw files that it is made of, opened at one ``place``."""

    dataset: ClassVar[str]  # name that the registry knows it by
    title: ClassVar[str]  # in progress bars
    variable: ClassVar[str | None] = None  # of the environment, that names the raw files
    advice: ClassVar[str]  # what to name, as "Name the folder of ..."
    Options: ClassVar[type] = NoOptions
    hashed_again: ClassVar[bool] = True  # whether a later call looks if the raw files have changed

    def __init__(self, name: str, place: Path) -> None:
        self.name, self.place = name, place
        self.options = read_options(place, self.Options)
        self.exclusions: list[dict] = []  # eyes left out: id, reason, detail and facts
        self.found: dict[str, dict] = {}  # what read() noted of each eye, also of one left out

    def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """Close what is open of the raw files."""

    # What a dataset says of itself.

    @classmethod
    @abstractmethod
    def method(cls, options: Any) -> dict[str, Any]:
        """Return the constants and choices that decide the result, besides the files."""

    @abstractmethod
    def tables(self) -> dict[str, Any]:
        """Return the hashes of the tables, which decide every eye."""

    @abstractmethod
    def fingerprint(self, known: Mapping[str, str]) -> dict[str, Any]:
        """Return hashes of all files that decide the result, for the settings.

        ``known`` are those that :meth:`read` has noted, by file: they need not be read again.
        """

    @abstractmethod
    def items(self) -> Sequence[Any]:
        """Return what there is one of for each eye."""

    @abstractmethod
    def key(self, item: Any) -> str:
        """Return the id of an item's eye."""

    @abstractmethod
    def stamp(self, item: Any) -> str:
        """Return a text that changes when the raw bytes of an eye do."""

    @abstractmethod
    def read(self, item: Any, found: dict[str, Any]) -> Eye:
        """Return one eye, or raise :class:`Excluded`.

        ``found`` takes what is no column of ``samples``, of both: ``hashes`` of the files that were
        read, and whatever :meth:`choose`, :meth:`samples` and :meth:`about` need.
        """

    def choose(self, eyes: list[KeptEye]) -> list[KeptEye]:
        """Return the eyes that stay, and add to the exclusions, when all eyes have been read."""
        return eyes

    @abstractmethod
    def samples(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the eyes that stay, with modality and split."""

    @abstractmethod
    def about(self, samples: pd.DataFrame) -> dict[str, Any]:
        """Return the fields of the manifest that only this dataset has.

        Among them ``counts``, and ``findings``: sentences on what was found and assumed, and
        whether each applies.
        """

    def none_left(self) -> str:
        """Say why no eye is left."""
        told = "; ".join(f"{n} x {reason}" for reason, n in self.reasons.most_common())
        return f"no eye is left: {told}, as {(self.exclusions or [{}])[0].get('detail') or '-'}"

    @property
    def reasons(self) -> Counter[str]:
        """How many eyes are left out for which reason."""
        return Counter(one["reason"] for one in self.exclusions)

    def extra(self) -> dict[str, pd.DataFrame]:
        """Return further tables of the prepared dataset, by file name."""
        return {}

    # Where the raw files are.

    @classmethod
    def holds(cls, place: Path) -> bool:
        """Return whether the raw files are at a place."""
        return place.exists()

    @classmethod
    def places(cls, name: str) -> list[Path]:
        """Return where raw files are looked for when nobody says where they are."""
        return [data_root() / "raw" / name]

    @classmethod
    def find_source(cls, source: str | Path | None = None, name: str | None = None) -> Path:
        """Return where the raw files are: as told, else where they were when it was prepared.

        A prepared dataset keeps to the place it was made from, so that another folder in a default
        place, or an environment variable, does not take its place. A place that was named must hold
        the files.

        Parameters
        ----------
        source : path, optional
        name : str, optional
            Of the prepared dataset. The environment variable counts for the dataset's own name.

        Raises
        ------
        FileNotFoundError
            Naming every place that was looked at and what to put there.
        """
        name = name or cls.dataset
        variable = cls.variable if name == cls.dataset else None
        before = source_of(name)
        told = os.environ.get(variable) if variable else None
        if source or (told and not before):
            places = [Path(source or told).expanduser()]
        else:
            places = [*([before] if before else []), *cls.places(name)]
        for place in places:
            if cls.holds(place):
                return place.absolute()
        named = f", or {variable}=<path>" if variable else ""
        raise FileNotFoundError(
            f"{name} not found: there is no {listed(places)}, or not what is expected in it. "
            f"{cls.advice}: rnfl prepare {name} --source <path>{named}; see data/README.md."
        )

    # From there to the prepared dataset.

    @classmethod
    def open(
        cls, name: str | None = None, source: str | Path | None = None, resample: bool = False
    ) -> Self:
        """Return the dataset with its raw files found and opened, to be closed.

        With ``resample`` profiles may have another number of points than 360; a dataset that was
        prepared so keeps to it.
        """
        name = name or cls.dataset
        raw = cls(name, cls.find_source(source, name))
        before = manifest_of(name).get("settings", {}).get("options", {})
        if resample or before.get("resample"):
            raw.options = replace(raw.options, resample=True)
        return raw

    @classmethod
    def settings(
        cls, name: str | None = None, source: str | Path | None = None, resample: bool = False
    ) -> dict[str, Any]:
        """Return all that decides the prepared dataset: constants, options, hashes of raw files.

        Without a source, a dataset that was prepared before answers for files that are gone.
        """
        made = manifest_of(name or cls.dataset)
        before = source_of(name or cls.dataset)
        gone = not cls.hashed_again or not before or not cls.holds(before)
        if not source and "settings" in made and gone:
            options = cls.Options(**made["settings"].get("options", {}))
            return {**made["settings"], **cls.method(options)}
        with closing(cls.open(name, source, resample)) as raw:
            return {**cls.method(raw.options), **raw.fingerprint({})}

    @classmethod
    def prepare(
        cls, name: str | None = None, source: str | Path | None = None, resample: bool = False
    ) -> Prepared:
        """Prepare the dataset; :func:`rnfl.datasets.prepare` does so when something has changed.

        Name and source are as in :meth:`find_source`, ``resample`` as in :meth:`open`. Every eye
        that is left out is in the manifest's exclusions with its reason, and what was found and
        assumed is in its findings.

        Raises
        ------
        FileNotFoundError
            When the raw files are not there.
        ValueError
            When tables or options are not as expected, or no eye is left.
        """
        with closing(cls.open(name, source, resample)) as raw:
            return raw._prepare()

    def _prepare(self) -> Prepared:
        method = self.method(self.options)
        how = {"name": self.name, "method": {**method, "tables": self.tables()}}
        how |= {"key": self.key, "stamp": self.stamp, "what": self.title}
        eyes, self.exclusions = read_eyes(self.items(), self._read, **how)
        self.found = {eye.row["eye_id"]: eye.row.pop("found") for eye in eyes}
        self.found |= {one["id"]: one.pop("found") for one in self.exclusions}
        eyes = self.choose(eyes)
        if not eyes:
            raise ValueError(f"{self.place}: {self.none_left()}")
        samples = self.samples(pd.DataFrame([eye.row for eye in eyes]))
        identity.check(samples, str(self.place))
        profiles = np.stack([eye.profile for eye in eyes])
        known = {file: value for of in self.found.values() for file, value in of["hashes"].items()}
        about = self.about(samples)
        doubts = labels.check(samples, profiles, str(self.place))
        doubts += [*identity.doubts(samples), *orientation.doubts(samples, profiles)]
        said = [sentence for sentence, applies in about["findings"].items() if applies]
        fields = {
            "dataset": self.dataset,
            "modality": samples["modality"].iloc[0],
            "phantom": False,
            "field_mm": FIELD_MM,
            "settings": {**method, **self.fingerprint(known)},
            "exclusions": self.exclusions,
            "doubts": {eye: of["doubts"] for eye, of in self.found.items() if of.get("doubts")},
            **about,
            "findings": [*said, *doubts],
            "counts": {"excluded": self.reasons, **about["counts"]},
        }
        images = (eye.image for eye in eyes)
        extra = {**self.extra(), **_masks(eyes)}
        made = write(self.name, images, profiles, samples, fields, extra=extra)
        keep_source(self.name, self.place)
        return made

    def _read(self, item: Any) -> Eye:
        """Read one eye with what was found of it, which an exclusion has as well."""
        found: dict[str, Any] = {"hashes": {}}
        try:
            eye = self.read(item, found)
        except Excluded as left_out:
            left_out.facts["found"] = found
            raise
        return replace(eye, row={**eye.row, "found": found})

    def split_by_patient(self, samples: pd.DataFrame) -> pd.Series:
        """Return the split 70/15/15 by the seed of the options, for tables that have none."""
        try:
            return patient_split(samples, FRACTIONS, self.options.split_seed)
        except ValueError as error:
            hint = f"(split_seed in {self.Options.FILE}), or a column split"
            raise ValueError(f"{self.place}: {error} {hint}") from error

    def hashes(
        self, files: Mapping[str, Callable[[], str]], known: Mapping[str, str]
    ) -> dict[str, str]:
        """Return the hash of each file, in threads for those that are not known."""
        missing = [file for file in files if file not in known]
        with ThreadPoolExecutor(WORKERS) as pool:
            computed = pool.map(lambda file: files[file](), missing)
            if len(missing) > WORKERS:
                computed = progress(computed, f"{self.title}, hashing", len(missing))
            new = dict(zip(missing, computed, strict=True))
        return {file: known[file] if file in known else new[file] for file in files}
