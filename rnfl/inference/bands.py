"""Bands of a finished run: calibrated on patients it has never seen, kept with it, and used again.

The file lies in the run's folder, sealed; a band holds for the kind of pictures and patients that
it was calibrated on and for no other, which is said wherever it is shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnfl import datasets
from rnfl.core import conformal, schema
from rnfl.core.geometry import QUADRANTS
from rnfl.runs.predictions import predict_with
from rnfl.runs.results import RunResult
from rnfl.storage import errors, provenance, readers

NAME = "band.json"
MEASURES = ("mean", *QUADRANTS)  # each with a band of its own


def calibrate(
    run: RunResult, dataset: str, level: float = conformal.LEVEL, by: str | None = None
) -> dict[str, Any]:
    """Calibrate a run's bands on the labelled eyes of a prepared dataset, and keep them with it.

    Patients that the run, or one it started from, has learnt from are left out. A later calibration
    takes the place of an earlier one.

    Parameters
    ----------
    by : str, optional
        A column of the samples whose groups get quantiles of their own, such as 'sex'.

    Returns
    -------
    dict
        level, dataset, dataset_hash, modality, phantom, eyes, patients, left_out (patients), by;
        ``profile``, the band of 360 angles as :meth:`rnfl.core.conformal.Band.to_dict` has it, None
        where the dataset has quadrants alone; ``measures``, of the mean and the quadrants.

    Raises
    ------
    ValueError
        If too few patients are left, the column is absent, or the run predicts no profiles.
    """
    from rnfl.runs import restore

    prepared = datasets.load(dataset)
    table = predict_with(run, dataset, None)
    samples = prepared.samples.set_index("eye_id").loc[table["eye_id"]].reset_index()
    if by is not None and by not in samples:
        raise ValueError(f"dataset {dataset!r} has no column {by!r}: it has {list(samples)}")
    known = restore.shared_patients(run, prepared, np.arange(len(prepared)))
    mine = ~table["patient_id"].isin(known).to_numpy()
    table, samples = table[mine].reset_index(drop=True), samples[mine].reset_index(drop=True)
    frame = schema.quadrant_frame(table, samples)
    pairs = [frame[[f"{kind}_{q}" for q in QUADRANTS]].to_numpy() for kind in ("pred", "true")]
    measures = [np.column_stack([one.mean(axis=1), one]) for one in pairs]
    has_label = np.isfinite(measures[1]).any(axis=1)
    if not has_label.any():
        raise ValueError(
            f"dataset {dataset!r}: none of {len(mine)} eyes has a label and a patient that "
            f"{run.run_id} has not learnt from ({len(known)} it has): calibrate on others"
        )
    rows = np.flatnonzero(has_label)
    patients = table["patient_id"].iloc[rows].tolist()
    groups = None if by is None else samples[by].iloc[rows].fillna("").astype(str).tolist()
    given = patients, level, groups
    profile = None
    true = schema.matrix(table, "target")[rows]
    if np.isfinite(true).any():
        profile = conformal.calibrate(schema.matrix(table)[rows], true, *given)
    band = conformal.calibrate(*(one[rows] for one in measures), *given)
    record = {
        "level": level,
        "dataset": dataset,
        "dataset_hash": prepared.hash,
        "modality": prepared.manifest["modality"],
        "phantom": prepared.phantom,
        "eyes": len(rows),
        "patients": len(set(patients)),
        "left_out": len(known),
        "by": by,
        "profile": profile and profile.to_dict(),
        "measures": band.to_dict(),
    }
    path = run.folder / NAME
    with errors.writing(path.name, path.parent, "the run itself is whole"):
        provenance.write_json(path, provenance.sealed(provenance.plain(record)))
    return of_run(run.folder)


def of_run(folder: Path) -> dict[str, Any] | None:
    """Return what :func:`calibrate` kept with a run, None where it was never calibrated."""
    path = folder / NAME
    if not path.exists():
        return None
    return readers.read_json(path, f"delete {path} and calibrate again (rnfl calibrate)")


def doubts(record: dict[str, Any]) -> list[str]:
    """Return what is to be said beside a run's bands."""
    where = f"bands hold {record['level']:.0%} of eyes like those of {record['dataset']}"
    where += f" ({record['patients']} patients), and of no other camera or clinic"
    return [where, *conformal.of_dict(record["profile"] or record["measures"]).doubts()]


def profile_limits(record: dict[str, Any], profiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the whole-curve band round profiles (N, 360); NaN without one."""
    if record["profile"] is None:
        nothing = np.full(np.shape(profiles), np.nan)
        return nothing, nothing
    return conformal.of_dict(record["profile"]).limits(profiles)


def columns(record: dict[str, Any], profiles: np.ndarray, means: pd.DataFrame) -> pd.DataFrame:
    """Return the ends of the bands of the mean, the quadrants and the angles, as columns.

    Each of mean and quadrants holds by itself; the angles hold all at once.
    """
    band = conformal.of_dict(record["measures"])
    named = [f"rnfl_{name}" for name in MEASURES]
    low, high = band.limits(means[named].to_numpy(), pointwise=True)
    ends = {"low": (low, profile_limits(record, profiles)[0])}
    ends["high"] = high, profile_limits(record, profiles)[1]
    tables = []
    for end, (of_means, of_angles) in ends.items():
        tables.append(pd.DataFrame(of_means, columns=[f"{name}_{end}" for name in named]))
        if record["profile"] is not None:
            angles = [f"{angle}_{end}" for angle in range(of_angles.shape[1])]
            tables.append(pd.DataFrame(of_angles, columns=angles))
    return pd.concat(tables, axis=1)
