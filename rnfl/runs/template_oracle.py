"""What brackets every model: the training split's template, and the phantom's truth."""

import numpy as np
import pandas as pd

from rnfl import datasets
from rnfl.core import metrics, schema
from rnfl.datasets.prepared import Prepared


def rows_of(prepared: Prepared, split: str | None) -> np.ndarray:
    """Return the rows of a split of a dataset; all of them for None."""
    return np.arange(len(prepared)) if split is None else prepared.subset(split)


def template_predictions(dataset: str, split: str | None = "test") -> pd.DataFrame:
    """Baseline 'template': the training split's mean profile, predicted for every eye."""
    prepared = datasets.load(dataset)
    rows = rows_of(prepared, split)
    learnt = prepared.profiles[prepared.subset("train")]
    return _baseline("template", prepared, rows, metrics.template_predictions(learnt, len(rows)))


def oracle_predictions(dataset: str, split: str | None = "test") -> pd.DataFrame:
    """Floor 'oracle': the phantom's profile before measurement noise.

    Raises
    ------
    ValueError
        If the dataset does not know the truth.
    """
    prepared = datasets.load(dataset)
    if prepared.profiles_true is None:
        raise ValueError(f"dataset {dataset!r} has no noise-free profiles: only phantoms have")
    rows = rows_of(prepared, split)
    return _baseline("oracle", prepared, rows, prepared.profiles_true[rows])


def _baseline(name: str, prepared: Prepared, rows: np.ndarray, profiles) -> pd.DataFrame:
    samples = prepared.samples.iloc[rows]
    eyes, patients = samples["eye_id"].tolist(), samples["patient_id"].tolist()
    return schema.predictions_frame(name, eyes, patients, profiles, prepared.profiles[rows])
