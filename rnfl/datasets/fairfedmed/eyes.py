"""One eye of FairFedMed: from its npz and what the tables say to a crop, a profile and labels."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rnfl.core.demographics import SPELLINGS
from rnfl.core.geometry import to_right_eye
from rnfl.datasets.fairfedmed import images, labels, targets
from rnfl.datasets.fairfedmed import tables as tables_of
from rnfl.datasets.fairfedmed.files import UNREADABLE, Entry, Source
from rnfl.datasets.fairfedmed.options import Options
from rnfl.datasets.fairfedmed.tables import Tables
from rnfl.datasets.reading import Excluded, Eye
from rnfl.storage.tables import listed

NO_LATERALITY = "laterality unknown"
NO_SPLIT = "no split in the tables"

LATERALITY = {"od": "OD", "os": "OS", **SPELLINGS["laterality"]}
IN_NAME = re.compile(r"(?:^|[_\-. ])(OD|OS)(?:$|[_\-. ])", re.IGNORECASE)
#: Arrays of an npz that are used; the OCT volumes are not among them.
WANTED = frozenset(
    {*images.NAMES, targets.MAP_NAME}
    | {name for names in labels.NAMES.values() for name in names}
    | {name for key, names in tables_of.NAMES.items() if key != "split" for name in names}
)


def read_eye(entry: Entry, source: Source, tables: Tables, options: Options) -> Eye:
    """Read one npz; what is wrong with it leaves out this eye and no other.

    Returns
    -------
    Eye
        Beside its columns of ``samples`` the row has ``found``, as has an exclusion: ``npz`` and
        ``surfaces``, the hashes of its files; ``shape`` of the image; ``differ``, attributes for
        which npz and tables differ; ``unknown``, codes that no table of codes has.

    Raises
    ------
    Excluded
    """
    pair = tables.surfaces.get(entry.key, {})
    found = {
        "npz": source.fingerprint(entry, WANTED),
        "surfaces": {layer: source.fingerprint(file, ()) for layer, file in pair.items()},
        **{"shape": "", "differ": [], "unknown": []},
    }
    try:
        image, profile, columns = _read(entry, source, tables, options, found)
    except Excluded as left_out:
        raise Excluded(left_out.reason, left_out.detail, found=found) from left_out
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:  # of a surface
        raise Excluded(UNREADABLE, f"{type(error).__name__}: {error}", found=found) from error
    return Eye(image, profile, {"eye_id": entry.key, "modality": "SLO", **columns, "found": found})


def _read(
    entry: Entry, source: Source, tables: Tables, options: Options, found: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return image, profile and columns; note in ``found`` what is not a reason to leave it out."""
    arrays = source.arrays(entry, WANTED)
    facts = tables.facts.get(entry.key, {})
    columns = _labels(arrays, tables.rows.get(entry.key, []), found)
    side = _laterality(entry.key, arrays, facts, options, found)
    name = next((name for name in images.NAMES if name in arrays), None)
    if name is None:
        raise Excluded(images.NO_IMAGE, f"arrays used: {listed(arrays) or 'none'}")
    image = images.grey(arrays[name])
    found["shape"] = images.orientation_of(image)
    image = images.turn_upright(image, options.orientation)
    x, y = (_number(arrays, facts, axis) for axis in ("disc_x", "disc_y"))
    stated = {"disc_x", "disc_y"} <= tables.columns or np.isfinite([x, y]).all()
    x, y = images.place(image, x, y, bool(stated))
    lies = side if options.left_eyes == "as taken" else "OD"
    profile, target = _target(entry.key, arrays, side, lies, source, tables, options)
    if "split" in tables.columns and facts.get("split") is None:
        raise Excluded(NO_SPLIT)
    patient = facts.get("patient_id") or _patient(arrays)
    columns |= {
        "patient_id": patient or entry.key,
        "laterality": side,
        "split": facts.get("split"),
        "target_source": target,
        "disc_x": float(x),
        "disc_y": float(y),
        "disc_stated": bool(stated),
        "patient_stated": patient is not None,
    }
    crop = images.crop(image, x, y, options.short_side_mm)
    return to_right_eye(crop, lies), profile, columns


def _labels(arrays: dict, rows: list[dict[str, str]], found: dict[str, Any]) -> dict[str, Any]:
    """Return the demographics: the npz first, then each table; note codes that are not valid."""
    columns: dict[str, Any] = {}
    for attribute, names in labels.NAMES.items():
        said = []
        for values, name in ((values, name) for values in (arrays, *rows) for name in names):
            if name in values:
                try:
                    said.append(labels.decode(attribute, name, values[name]))
                except labels.UnknownCode as error:
                    found["unknown"].append([attribute, error.value])
        known = [value for value in said if value is not None]
        columns[attribute] = known[0] if known else None
        if len(set(known)) > 1:
            found["differ"].append(attribute)
    return {**columns, "severity": labels.severity(columns)}


def _laterality(
    key: str, arrays: dict, facts: dict, options: Options, found: dict[str, Any]
) -> str:
    """Return 'OD' or 'OS': from the tables, the npz, the file's name or the option."""
    named = next((n for n in tables_of.NAMES["laterality"] if n in arrays), None)
    code = labels.text(arrays[named]).lower() if named else ""
    if code not in LATERALITY and code not in labels.UNKNOWN_CODES:
        found["unknown"].append(["laterality", code])
    marks = {mark.upper() for mark in IN_NAME.findall(key)}
    in_name = marks.pop() if len(marks) == 1 else None
    side = facts.get("laterality") or LATERALITY.get(code) or in_name or options.laterality
    if not side:
        raise Excluded(NO_LATERALITY)
    return side


def _number(arrays: dict, facts: dict, column: str) -> float:
    """Return a number of the tables, else of the npz, else NaN."""
    value = facts.get(column)
    if value is not None and np.isfinite(value):
        return float(value)
    name = next((name for name in tables_of.NAMES[column] if name in arrays), None)
    try:
        return float(labels.text(arrays[name])) if name else np.nan
    except ValueError:
        return np.nan


def _patient(arrays: dict) -> str | None:
    name = next((name for name in tables_of.NAMES["patient_id"] if name in arrays), None)
    found = labels.text(arrays[name]) if name else ""
    return None if found.lower() in labels.UNKNOWN_CODES else found


def _target(
    key: str, arrays: dict, side: str, lies: str, source: Source, tables: Tables, options: Options
) -> tuple[np.ndarray, str]:
    """Return the profile and where it came from: the first of the three that the eye has."""
    if key in tables.profiles:
        profile = targets.from_table(tables.profiles[key], side, options.profile_orientation)
        return profile, targets.PROFILE
    how = (lies, options.map_orientation, options.map_mm)
    if targets.MAP_NAME in arrays:
        return targets.from_map(arrays[targets.MAP_NAME], *how), targets.MAP
    pair = tables.surfaces.get(key, {})
    if not pair:
        raise Excluded(targets.NO_TARGET)
    if len(pair) < 2:
        raise Excluded(targets.BAD_SURFACES, f"only the {next(iter(pair)).upper()} boundary")
    with source.open(pair["ilm"]) as ilm, source.open(pair["rnfl"]) as rnfl:
        facts = tables.facts.get(key, {})
        disc = _number({}, facts, "map_x"), _number({}, facts, "map_y")
        profile = targets.from_surfaces(ilm.read(), rnfl.read(), *how, disc)
    return profile, targets.SURFACES


def refuse_unknown_codes(found: Mapping[str, Mapping[str, Any]], where: str) -> None:
    """Raise a ValueError that lists codes which no code table has, and how often they occur.

    Parameters
    ----------
    found : mapping of key to what :func:`read_eye` found
    where : str
    """
    seen: dict[tuple[str, str], list[str]] = {}
    for key, of_eye in found.items():
        for attribute, code in dict.fromkeys(map(tuple, of_eye["unknown"])):
            seen.setdefault((attribute, code), []).append(key)
    if seen:
        raise ValueError(f"{where}: {'; '.join(_described(seen))}; -1 or nothing where unknown")


def _described(seen: dict[tuple[str, str], list[str]]) -> Iterator[str]:
    for attribute in dict.fromkeys(attribute for attribute, _ in seen):
        values = [
            f"{value!r} ({len(keys)}, as {keys[0]})"
            for (of, value), keys in sorted(seen.items())
            if of == attribute
        ]
        valid = "OD or OS" if attribute == "laterality" else labels.expected(attribute)
        yield f"{attribute} has values {listed(values, 10)}: expected {valid}"
