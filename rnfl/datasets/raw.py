"""Where a dataset's raw files are: as told, else where they were when it was prepared.

A prepared dataset keeps to the folder it was made from, so that another folder in a default place,
or an environment variable, does not take its place; and where that folder is gone, the manifest
answers for the files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rnfl.storage.paths import data_root, prepared_root
from rnfl.storage.tables import listed


def manifest_of(name: str) -> dict[str, Any]:
    """Return the manifest of a prepared dataset; empty where there is none or it is damaged."""
    try:
        return json.loads((prepared_root() / name / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def candidates(
    name: str, source: str | Path | None, variable: str | None, defaults: Sequence[Path]
) -> list[Path]:
    """Return the places where raw files may be, in the order in which to look.

    Parameters
    ----------
    name : str
        Name of the prepared dataset.
    source : path, optional
        As told; then it is the only place.
    variable : str, optional
        Environment variable; the only place where the dataset was not prepared before.
    defaults : sequence of Path
    """
    if source:
        return [Path(source).expanduser()]
    before = manifest_of(name).get("source")
    if before:
        return [Path(before), *defaults]
    told = os.environ.get(variable) if variable else None
    return [Path(told).expanduser()] if told else list(defaults)


def existing(
    name: str, source: str | Path | None, advice: str, variable: str | None = None
) -> Path:
    """Return the first of the :func:`candidates` that exists, absolute.

    Parameters
    ----------
    name : str
        Name of the prepared dataset; by default its raw files are ``<data root>/raw/<name>``.
    source : path, optional
    advice : str
        What to name, as "Name the folder of ...", for the error.
    variable : str, optional

    Raises
    ------
    FileNotFoundError
        With all places that were looked at.
    """
    places = candidates(name, source, variable, [data_root() / "raw" / name])
    for place in places:
        if place.exists():
            return place.absolute()
    told = f", or {variable}=<path>" if variable else ""
    raise FileNotFoundError(
        f"{name} not found: there is no {listed(places)}. {advice}: rnfl prepare {name} --source "
        f"<path>{told}; see data/README.md."
    )


def remembered(
    name: str,
    source: str | Path | None,
    method: Mapping[str, Any],
    holds: Callable[[Path], bool],
) -> dict[str, Any] | None:
    """Return the settings of a prepared dataset whose raw files are gone, None for another one.

    Parameters
    ----------
    name : str
    source : path, optional
        Where the files are, as told: then nothing is remembered.
    method : mapping
        The constants of today, which take the place of those in the manifest.
    holds : callable
        Whether a folder holds the raw files.
    """
    made = manifest_of(name)
    if source or "settings" not in made or (made.get("source") and holds(Path(made["source"]))):
        return None
    return {**made["settings"], **method}
