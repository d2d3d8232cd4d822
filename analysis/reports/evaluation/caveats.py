"""What a reader of an evaluation must know: notes on the eyes, their attributes and the names."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.fairness import ATTRIBUTES
from analysis.reports.evaluation.sections import Study
from analysis.resampling.regions import MIN_EYES
from rnfl.core import schema
from rnfl.storage.tables import listed


def notes(study: Study) -> list[str]:
    """Return the notes on a study, one sentence each."""
    return [*_names(study.runs), *_eyes(study), *_attributes(study)]


def _names(runs: pd.DataFrame) -> list[str]:
    changed = runs[runs["protocol"] != runs["run_id"]]
    return [f"{row.run_id} is shown as {row.protocol}." for row in changed.itertuples()]


def _eyes(study: Study) -> list[str]:
    out = []
    rows = study.labels
    none = rows.loc[np.isnan(schema.matrix(rows, "target")).all(axis=1), "eye_id"]
    if len(none):
        out.append(f"{len(none)} eyes have no ground truth and count only in n: {listed(none)}.")
    if len(rows) < MIN_EYES:
        out.append(f"Below {MIN_EYES} eyes agreement is not evaluated.")
    patients = study.samples["patient_id"].nunique()
    if patients == 1:
        out.append("With one patient there is nothing to resample: intervals say nothing.")
    elif patients < 30:
        out.append(f"With {patients} patients, intervals are somewhat too narrow.")
    return out


def _attributes(study: Study) -> list[str]:
    """Say which attributes of the paper's gap are absent, and how many eyes lack a value."""
    have, eyes = study.attributes, study.samples
    absent = [name for name in ATTRIBUTES if name not in have]
    out = []
    if have and absent:
        out.append(f"No {' and no '.join(absent)}: the mean gap is over {' and '.join(have)} only.")
    unknown = {name: int(eyes[name].isna().sum()) for name in have}
    found = ", ".join(f"{name} of {n}" for name, n in unknown.items() if n)
    return [*out, f"Eyes without a value belong to no group: {found}."] if found else out
