"""GRAPE: real colour fundus photographs with the four quadrant means of the RNFL.

Huang et al., Scientific Data 2023, doi 10.1038/s41597-023-02424-4. There is no thickness profile,
so ``profiles.npy`` is all NaN and the labels are the ``rnfl_*`` columns of ``samples``; they exist
at the first visit only. Every eye is in the test split: a training that wants GRAPE takes patients
out of it by itself. Later visits are a table, ``visits.parquet``, see :func:`visits`.

A raw folder holds ``VF and clinical information.xlsx`` (also seen with underscores for spaces) and
``CFPs/{subject}_{OD|OS}_{visit}.jpg``; ``ROI images`` and ``json`` (outlines of disc and cup) are
used where they are there. A missing value is ``/``.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnfl.core.geometry import FIELD_MM
from rnfl.datasets.grape.files import (
    PHOTOGRAPHS,
    WORKBOOK,
    Files,
    find_files,
    read_eye,
    stamp,
)
from rnfl.datasets.grape.findings import describe
from rnfl.datasets.grape.workbook import VISIT_COLUMNS, read_baseline, read_visits
from rnfl.datasets.prepared import Prepared, write
from rnfl.datasets.raw import candidates, remembered
from rnfl.datasets.reading import read_eyes
from rnfl.imaging import disc, fundus
from rnfl.storage.paths import data_root, prepared_root, project_root

VERSION = 2  # of this preparation; raise it when the same files would give other output
VISITS = "visits.parquet"


def find_source(source: str | Path | None = None, name: str = "grape") -> Path:
    """Return the raw GRAPE folder.

    Parameters
    ----------
    source : path, optional
        By default the folder that the dataset was prepared from before. Else, for ``grape``,
        ``$RNFL_GRAPE``, ``<data root>/raw/grape`` or a ``shared/data/grape`` beside the project;
        for another name ``<data root>/raw/<name>`` alone. A place that was named must hold the
        files.
    name : str
        Name of the prepared dataset.

    Raises
    ------
    FileNotFoundError
        Naming every place that was looked at and what to put there.
    """
    variable, defaults = None, [data_root() / "raw" / name]
    if name == "grape":
        variable = "RNFL_GRAPE"
        defaults.append(project_root().parent / "shared" / "data" / "grape")
    places = candidates(name, source, variable, defaults)
    for place in places:
        if find_files(place):
            return place
    listing = "\n".join(f"  {place}" for place in places)
    named = f"rnfl prepare {name} --source <folder>" + (f" or {variable}=<folder>" * bool(variable))
    raise FileNotFoundError(
        f"{name} not found. Looked in:\n{listing}\n"
        f"Put '{WORKBOOK}' and the photographs' folder '{PHOTOGRAPHS}' there (unpacked from "
        f"CFPs.rar), or name the folder that holds them: {named}. The dataset is open: "
        f"doi 10.1038/s41597-023-02424-4; see data/README.md."
    )


def _method() -> dict[str, Any]:
    return {
        "version": VERSION,
        "size_px": fundus.SIZE,
        "crop_width": fundus.CROP_WIDTH,
        "disc": disc.SETTINGS,
    }


def settings(name: str = "grape", source: str | Path | None = None) -> dict[str, Any]:
    """Return all that decides the prepared dataset: constants and the hashes of the raw files.

    Without a source, a dataset that was prepared before answers for the files it was made from.
    """
    known = remembered(name, source, _method(), lambda place: find_files(place) is not None)
    if known is not None:
        return known
    files = find_files(find_source(source, name))
    return _method() | files.fingerprint(_tables(files)[-1])


def _tables(files: Files) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Return baseline, visits (none where their sheet cannot be read), and photographs' names."""
    table = read_baseline(files.workbook)
    try:
        seen = read_visits(files.workbook)
    except ValueError as error:
        seen = pd.DataFrame(columns=list(VISIT_COLUMNS)).astype({"visit": int})
        seen.attrs["faults"] = [str(error)]
    names = pd.concat([table["photograph"], seen["photograph"]]).dropna()
    return table, seen, sorted(set(names))


def visits(name: str = "grape") -> pd.DataFrame:
    """Return the visits of a prepared GRAPE dataset: those without labels, and the first ones.

    Returns
    -------
    DataFrame
        As :func:`rnfl.datasets.grape.workbook.read_visits`, with ``photograph_present``: whether
        the photograph was among the raw files. RNFL thickness exists at the first visit only.

    Raises
    ------
    FileNotFoundError
        When the dataset was not prepared, or by an earlier version.
    """
    path = prepared_root() / name / VISITS
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there: run `rnfl prepare {name}`, its folder deleted first"
        )
    return pd.read_parquet(path)


def prepare(name: str = "grape", source: str | Path | None = None) -> Prepared:
    """Prepare GRAPE; :func:`rnfl.datasets.prepare` returns it at once when nothing has changed.

    Parameters
    ----------
    name : str
        Name of the prepared dataset.
    source : path, optional
        Raw folder; see :func:`find_source`.

    Returns
    -------
    Prepared
        Disc-centred RGB crops in right-eye orientation; quadrant labels, age, sex, pressure,
        progression, device and the disc (photograph px, confidence) in ``samples``; eyes without
        thickness or usable photograph in the manifest's exclusions, each with its reason; what
        else was found in its notes.

    Raises
    ------
    FileNotFoundError
        When the raw files are not there.
    ValueError
        When the workbook is not as expected or no eye is left.
    """
    place = find_source(source, name)
    files = find_files(place)
    table, seen, names = _tables(files)
    there = [bool(photo) and files.of(photo)[0] is not None for photo in seen["photograph"]]
    seen = seen.assign(photograph_present=there)
    chosen = _method() | files.fingerprint(names)
    eyes, exclusions = read_eyes(
        list(table.itertuples()),
        partial(read_eye, files=files),
        name=name,
        method=_method() | {"workbook": chosen["workbook"]},
        key=lambda row: row.eye_id,
        stamp=partial(stamp, files=files),
        what="GRAPE",
    )
    if not eyes:
        raise ValueError(f"{place}: no eye has both RNFL thickness and a usable photograph")
    samples = pd.DataFrame([eye.row for eye in eyes]).assign(modality="CFP", split="test")
    faults = samples.set_index("eye_id")["annotation_fault"].dropna()
    samples = samples.drop(columns="annotation_fault")
    strangers = files.strangers(set(names))
    later = seen[seen["visit"] > 1]
    fields = {
        "dataset": "grape",
        "modality": "CFP",
        "phantom": False,
        "field_mm": FIELD_MM,
        "settings": chosen,
        "source": str(place.resolve()),
        "counts": {
            "workbook_eyes": len(table),
            "excluded": Counter(one["reason"] for one in exclusions),
            "visits": len(seen),
            "later_photographs": {
                "present": later["photograph_present"].sum(),
                "absent": (later["photograph"].notna() & ~later["photograph_present"]).sum(),
                "none_taken": later["photograph"].isna().sum(),
            },
            "annotations": {
                "used": (samples["disc_source"] == "annotation").sum(),
                "unusable": len(faults),
            },
            "not_in_workbook": len(strangers),
        },
        "exclusions": exclusions,
        "notes": describe(samples, faults, table, seen, strangers, exclusions),
    }
    profiles = np.stack([eye.profile for eye in eyes])
    images = (eye.image for eye in eyes)
    return write(name, images, profiles, samples, fields, extra={VISITS: seen})
