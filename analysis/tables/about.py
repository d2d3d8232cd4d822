"""What a folder of result tables says of itself: ``about.json``, the sidecar of its tables.

It names the runs and the hashes of the inputs the tables came from, holds the hash of each table,
and the conclusions that were drawn from them. A figure's own sidecar then names the tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from rnfl import provenance

ABOUT = "about.json"


def write_about(
    folder: Path,
    *,
    phantom: bool,
    profile: str,
    run_ids: Iterable[str] = (),
    inputs: Mapping[str, str] | None = None,
    note: str = "",
    conclusions: Iterable[str] = (),
) -> Path:
    """Write ``about.json`` beside a notebook's tables, after all of them are written.

    Parameters
    ----------
    folder : Path
        ``<results>/<stem>``. Every file there is listed with its SHA-256.
    phantom : bool
        Whether any of the tables shows phantom data.
    profile : str
        Preset that made them.
    run_ids : iterable of str
        Runs whose predictions the tables summarise.
    inputs : mapping of str to str
        What else they came from: prepared datasets or files by name, with their hash.
    note : str
        Added to the caption of the figure, such as "One seed.".
    conclusions : iterable of str
        Sentences drawn from the tables; the report shows them.
    """
    folder = Path(folder)
    value = {
        "phantom": bool(phantom),
        "profile": profile,
        "note": note,
        "conclusions": list(conclusions),
        "inputs": dict(inputs or {}),
        "run_ids": sorted(set(run_ids)),
        "tables": table_hashes(folder),
    }
    return provenance.write_json(folder / ABOUT, value)


def table_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a results folder but ``about.json``, by name."""
    files = sorted(path for path in Path(folder).glob("*") if path.is_file())
    return {path.name: provenance.sha256_file(path) for path in files if path.name != ABOUT}


def read_about(folder: Path) -> dict:
    """Return what :func:`write_about` wrote.

    Raises
    ------
    FileNotFoundError
        When the folder does not say whether its data are phantom.
    """
    path = Path(folder) / ABOUT
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: write it with analysis.tables.write_about")
    return json.loads(path.read_text(encoding="utf-8"))
