"""What a folder of result tables says of itself: ``about.json``, the sidecar of its tables.

It names the runs and the hashes of the inputs the tables came from, holds the hash of each table,
and the conclusions that were drawn from them. A figure's own sidecar then names the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from rnfl.storage import provenance, readers

ABOUT = "about.json"

# Raised by whoever changes what a statistic gives for the same predictions, so that committed
# tables are made again; tests/analysis/presentation/test_analysis_version.py says when that is.
ANALYSIS_VERSION = 2


def phantom_name(*phantoms: int | Sequence[int]) -> str:
    """Name the phantom behind tables: what their captions and figures say of simulated eyes.

    Parameters
    ----------
    *phantoms : int or sequence of int
        Versions of the phantom, as in ``about.json``; 0 or false for real eyes. True is refused,
        for it does not say which.

    Examples
    --------
    >>> phantom_name(2), phantom_name([1, 2], False), phantom_name(0)
    ('phantom 2', 'phantom 1 and 2', '')
    """
    if any(one is True for one in phantoms):
        raise ValueError("phantom=True: expected the phantom's version, such as prepared.phantom")
    versions = sorted({int(one) for some in phantoms for one in np.ravel(some)} - {0})
    return f"phantom {' and '.join(map(str, versions))}" if versions else ""


def said_first(*phantoms: int | Sequence[int]) -> str:
    """Return what a caption begins with, of the phantom whose eyes are shown.

    Examples
    --------
    >>> said_first(2), said_first(0)
    ('Phantom 2 data. ', '')
    """
    name = phantom_name(*phantoms)
    return f"{name.capitalize()} data. " if name else ""


def write_about(
    folder: Path,
    *,
    phantom: int | Sequence[int],
    preset: str,
    run_ids: Iterable[str] = (),
    runs: Iterable[Mapping] = (),
    inputs: Mapping[str, str] | None = None,
    note: str = "",
    conclusions: Iterable[str] = (),
) -> Path:
    """Write ``about.json`` beside a notebook's tables, after all of them are written.

    Parameters
    ----------
    folder : Path
        ``<results>/<stem>``. Every file there is listed with its SHA-256.
    phantom : int or sequence of int
        Version of the phantom whose eyes any of the tables shows, 0 for none: ``phantom`` of the
        prepared datasets.
    preset : str
        Preset that made them.
    run_ids : iterable of str
        Runs whose predictions the tables summarise, where nothing more is known of them.
    runs : iterable of mapping
        Instead, :func:`rnfl.configs_of` them, so that a test can compute their addresses again.
    inputs : mapping of str to str
        Hashes of what else they came from, prepared datasets or files, by name.
    note : str
        Added to the caption of the figure, such as "One seed.".
    conclusions : iterable of str
        Sentences drawn from the tables; the report shows them.
    """
    folder, runs = Path(folder), list(runs)
    phantom_name(phantom)  # refuses what does not say which
    own = (run_id for condition in runs for run_id in condition["runs"])
    value = {
        "phantom": phantom,
        "preset": preset,
        "note": note,
        "conclusions": list(conclusions),
        "inputs": dict(inputs or {}),
        "run_ids": sorted({*run_ids, *own}),
        "runs": runs,
        "analysis_version": ANALYSIS_VERSION,
        "tables": table_hashes(folder),
    }
    return provenance.write_json(folder / ABOUT, value)


def table_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a results folder but ``about.json``, by name."""
    files = sorted(path for path in Path(folder).glob("*") if path.is_file())
    return {path.name: provenance.sha256_file(path) for path in files if path.name != ABOUT}


def read_about(folder: Path) -> dict:
    """Return what :func:`write_about` wrote; before the phantom had versions it wrote true for 1.

    Raises
    ------
    FileNotFoundError
        When the folder does not say whether its data are phantom.
    """
    path = Path(folder) / ABOUT
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: write it with analysis.tables.write_about")
    about = readers.read_json(path, "write it with analysis.tables.write_about")
    if not isinstance(about, dict) or "phantom" not in about:
        raise ValueError(f"{path} does not say whether its data are phantom: make it again")
    return about | {"phantom": 1} if about["phantom"] is True else about
