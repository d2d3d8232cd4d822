"""Tables beside npz files: profile CSVs and summary CSVs, one row per image, joined by its name."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pandas as pd

from rnfl.core.demographics import spelt
from rnfl.core.identity import refuse_shared_patients
from rnfl.core.labels import refuse_unit
from rnfl.core.nanstats import mean
from rnfl.core.points import Points, find_points
from rnfl.datasets.npz.files import Entry, Source, key_of
from rnfl.storage.provenance import sha256_bytes
from rnfl.storage.tables import (
    HEAD_BYTES,
    Form,
    column_name,
    form_of,
    identifiers,
    listed,
    numbers,
    with_points,
)

KEYS = ("key", "filename", "file_name", "file", "image", "image_id", "sample_id", "eye_id", "id")
#: Our column: the names it goes by, the first found being taken.
NAMES: dict[str, tuple[str, ...]] = {
    "patient_id": ("patient_id", "patientid", "patient", "subject_id", "subject", "person_id"),
    "split": ("split", "use"),
    "laterality": ("laterality", "eye", "side"),
    "disc_x": ("center_x", "centre_x"),
    "disc_y": ("center_y", "centre_y"),
    "map_x": ("map_x",),
    "map_y": ("map_y",),
}
ONE_ONLY = ("patient_id", "split", "laterality")  # tables must agree on these
BLOCK = 256  # rows of a CSV that are held as Python's texts, which take ten times the file's bytes


@dataclass
class Tables:
    """What the CSVs say of the eyes that have an npz, by the key of the eye."""

    rows: dict[str, list[dict[str, str]]] = field(default_factory=dict)  # other columns, as text
    facts: dict[str, dict] = field(default_factory=dict)  # our columns of NAMES
    columns: set[str] = field(default_factory=set)  # those of NAMES that at least one table has
    profiles: dict[str, np.ndarray] = field(default_factory=dict)  # (360,), µm, of any eye
    resampled: list[str] = field(default_factory=list)  # profile CSVs, and what points they had
    absent: dict[str, str] = field(default_factory=dict)  # of profile CSVs without an npz; its CSV
    read: list[str] = field(default_factory=list)  # CSVs that were used
    unread: list[str] = field(default_factory=list)
    unmatched: int = 0  # rows of summary CSVs without an npz
    hashes: dict[str, str] = field(default_factory=dict)  # SHA-256 of every CSV, by its name


def read_tables(
    source: Source, besides: Collection[Entry] = (), do_resample: bool = False
) -> Tables:
    """Read every CSV of the source, but those that are no tables.

    ``do_resample`` lets profiles have another number of points than 360.

    Raises
    ------
    ValueError
        Naming the file, and listing what is repeated, ragged, misspelt, contradictory, or
        without an npz.
    """
    keys = {entry.key for entry in source.npz}
    tables = Tables()
    origin: dict[str, str] = {}
    for entry in source.csv:
        if entry in besides:
            continue
        where = f"{source.path}: {entry.name}"
        data = source.read(entry)
        tables.hashes[entry.name] = sha256_bytes(data)
        if _is_grid(data):  # the surface of an eye that has no npz
            tables.unread.append(entry.name)
            continue
        frame = _frame(data, where)
        points = find_points(frame, where, do_resample)
        key = next((name for name in KEYS if name in frame), None)
        if key is None and not points.names:
            tables.unread.append(entry.name)
            continue
        if key is None or not len(frame):
            fault = f"no column {' or '.join(KEYS[:2])}" if key is None else "no rows"
            raise ValueError(f"{where}: {fault}; its columns are {listed(frame, 10)}")
        names = identifiers(frame[key], f"{where}: {key}").map(key_of)
        repeated = names[names.duplicated()]
        if len(repeated):
            raise ValueError(
                f"{where}: {repeated.nunique()} {key}s are repeated: {listed(repeated)}; keep one "
                "row of each image"
            )
        known = names.isin(keys)
        if not known.any() and points.names:
            raise ValueError(
                f"{where}: none of its {len(names)} {key}s is the name of an npz: it has "
                f"{listed(names, 3)}, the files are {listed(sorted(keys), 3)}"
            )
        (tables.read if known.any() else tables.unread).append(entry.name)
        if points.names:
            _add_profiles(tables, frame, points, names.tolist(), where, origin)
            tables.resampled += [f"{entry.name}: {points.said}"] if points.said else []
            tables.absent |= dict.fromkeys(names[~known], entry.name)
        else:
            tables.unmatched += int((~known).sum())
        _add_rows(tables, frame[known], names[known].tolist(), where)
    said = pd.DataFrame.from_dict(tables.facts, orient="index", columns=list(NAMES))
    refuse_shared_patients(said.rename_axis("eye_id").reset_index(), str(source.path))
    return tables


def _is_grid(data: bytes) -> bool:
    """Return whether a CSV begins with a row of numbers, as surfaces do, and not with a header."""
    cells = data[: data.find(b"\n")].decode("utf-8", "replace").lstrip("\ufeff").split(",")
    return len(cells) > 1 and not any(character.isalpha() for character in "".join(cells))


def _frame(data: bytes, where: str) -> pd.DataFrame:
    """Return a CSV as text, column names in lower case; every row as long as the header."""
    form = form_of(data[:HEAD_BYTES], where, KEYS, {})
    lines = _lines(data, form, where)
    header = next(lines, None)
    if header is None:
        raise ValueError(f"{where} is empty: expected a header and one row per image")
    header = [column_name(name) for name in header[1]]
    twice = [name for name in header if header.count(name) > 1 and name]
    frames, ragged = [pd.DataFrame(columns=header, dtype=str)], []
    while block := list(islice(lines, BLOCK)):
        ragged += [f"line {line} ({len(row)})" for line, row in block if len(row) != len(header)]
        if not ragged and not twice:
            frames.append(pd.DataFrame([row for _, row in block], columns=header, dtype=str))
    if ragged:
        raise ValueError(
            f"{where}: the header has {len(header)} columns, other rows have not: {listed(ragged)}"
        )
    if twice:
        raise ValueError(f"{where}: columns are repeated: {listed(twice)}")
    frame = pd.concat(frames, ignore_index=True)
    return frame if form.delimiter == "," else frame.apply(with_points)


def _lines(data: bytes, form: Form, where: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV that are not empty, with their numbers, the header's being 1."""
    try:
        data.decode(form.encoding)  # a fault is told by its place in the file
        text = io.TextIOWrapper(io.BytesIO(data), form.encoding, newline="")
        rows = csv.reader(text, delimiter=form.delimiter, strict=True)
        for line, row in enumerate(rows, start=1 - form.skipped):
            if row and line > 0:
                yield line, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{where} cannot be read as a CSV in UTF-8: {error}") from error


def _add_profiles(tables, frame, points: Points, names, where, origin) -> None:
    columns = [numbers(frame[name], f"{where}: {name}") for name in points.names]
    values = points.profiles(np.column_stack(columns))
    refuse_unit(mean(values, axis=1), where, names)
    for name, profile in zip(names, values, strict=True):
        if name in origin:
            raise ValueError(f"{where}: {name!r} has a profile in {origin[name]} too; keep one")
        origin[name] = where
        tables.profiles[name] = profile


def _add_rows(tables: Tables, frame: pd.DataFrame, names: list[str], where: str) -> None:
    """Add what one table says of eyes that have an npz."""
    found = {ours: next((n for n in theirs if n in frame), None) for ours, theirs in NAMES.items()}
    found = {ours: theirs for ours, theirs in found.items() if theirs}
    columns: dict[str, list] = {}
    for ours, theirs in found.items():
        if ours in ("split", "laterality"):
            columns[ours] = spelt(frame[theirs], ours, where).tolist()
        else:
            convert = identifiers if ours == "patient_id" else numbers
            columns[ours] = convert(frame[theirs], f"{where}: {theirs}").tolist()
    if None in columns.get("split", []):
        without = [n for n, split in zip(names, columns["split"], strict=True) if split is None]
        raise ValueError(f"{where}: {found['split']} is empty or unknown for {listed(without)}")
    tables.columns |= set(columns)
    others = [name for name in frame if not name.isdigit()]
    for i, (name, row) in enumerate(zip(names, frame[others].to_dict("records"), strict=True)):
        tables.rows.setdefault(name, []).append(row)
        facts = tables.facts.setdefault(name, {})
        for ours, values in columns.items():
            held, value = facts.get(ours), values[i]
            if ours in ONE_ONLY and None not in (held, value) and held != value:
                raise ValueError(f"{where}: {ours} of {name!r} is {value!r}, elsewhere {held!r}")
            if held is None or held != held:  # nothing yet, or NaN
                facts[ours] = value
