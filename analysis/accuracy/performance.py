"""How well each backbone and protocol predicts, with patient-clustered intervals (Table 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.accuracy.quadrants import quadrant_table
from analysis.accuracy.significance import paired_comparisons
from analysis.collapse import DEFINITIONS
from analysis.fairness import fairness_table
from analysis.resampling.conditions import BY, cells, check_same_eyes, estimate, row
from analysis.resampling.patient_sums import MetricFunction
from rnfl.core import metrics, schema

__all__ = ["paired_comparisons", "performance_table", "quadrant_table", "table1"]

Values = tuple[np.ndarray, np.ndarray]  # estimates (k,), replicates (k, n_boot)


def performance_table(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    by: Sequence[str] = BY,
    n_boot: int = 2000,
    seed: int = 0,
    definitions: dict[str, MetricFunction] = metrics.METRICS,
) -> pd.DataFrame:
    """Return every metric of each cell, and of the template and the oracle floor.

    Parameters
    ----------
    predictions, runs, by
        As in :func:`analysis.resampling.conditions.cells`.
    samples : DataFrame
        Every predicted eye must be there and belong to the same patient.
    n_boot : int
        Resamples of patients.
    definitions : dict
        Metrics by name; by default :data:`rnfl.core.metrics.METRICS`.

    Returns
    -------
    DataFrame
        Long: ``by``, metric, attribute 'all', group 'all', estimate, low, high, n, n_seeds,
        seed_sd. With both baselines there is also ``covered``, the share of the way from the
        template to the oracle floor that the MAE covers: 0 at the template, 1 at the floor.

    Raises
    ------
    ValueError
        When an eye is absent from ``samples``, a run from ``runs``, or the baselines and the
        models were evaluated on different eyes.
    """
    schema.join_samples(predictions[["run_id", "eye_id", "patient_id"]], samples)
    wanted = {"mae": metrics.mae, **definitions}
    found = [(cell, estimate(cell, wanted, n_boot, seed)) for cell in cells(predictions, runs, by)]
    rows = [
        row(cell.key, name, *values[name], cell.n, seed)
        for cell, values in found
        for name in definitions
    ]
    ends = {cell.runs[0].run_id: values["mae"] for cell, values in found if cell.is_baseline}
    if {"template", "oracle"} <= ends.keys():
        check_same_eyes([cell for cell, _ in found])
        rows += [
            row(cell.key, "covered", *_covered(values["mae"], **ends), cell.n, seed)
            for cell, values in found
        ]
    return pd.DataFrame(rows)


def _covered(mae: Values, template: Values, oracle: Values) -> Values:
    """Return (template - mae) / (template - oracle), in the data and within each resample."""
    return tuple((t - m) / (t - o) for m, t, o in zip(mae, template, oracle, strict=True))


def table1(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    by: Sequence[str] = BY,
    n_boot: int = 2000,
    n_perm: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return everything Table 1 is made from, as one long frame.

    That is :func:`performance_table` with the measures of collapse among its metrics, and
    :func:`analysis.fairness.fairness_table`.
    """
    table = performance_table(predictions, samples, runs, by, n_boot, seed, DEFINITIONS)
    fair = fairness_table(predictions, samples, runs, by, n_boot=n_boot, n_perm=n_perm, seed=seed)
    return pd.concat([table, fair], ignore_index=True)
