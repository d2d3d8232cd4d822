"""Quadrant errors of several methods on one dataset (Table 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.bootstrap import patient_codes, patient_counts, patient_sums
from analysis.cells import row
from rnfl.geometry import QUADRANTS

GROUPS = (*QUADRANTS, "mean", "global")


def quadrant_table(
    frames: Mapping[str, pd.DataFrame],
    domain: str,
    n_boot: int = 2000,
    seed: int = 0,
    constant: Sequence[str] = ("constant", "template"),
) -> pd.DataFrame:
    """Return error, bias and correlation by quadrant, with intervals by patient.

    Group ``mean`` averages the four quadrants' statistics (the paper's global MAE); ``global``
    concerns the mean of the four quadrants of each eye, and needs all four.

    Parameters
    ----------
    frames : mapping of method to DataFrame
        Each a quadrant frame: run_id, eye_id, patient_id, pred_S ... pred_T, true_S ... true_T, µm.
        Several runs in one frame are seeds and are averaged.
    domain : str
        Dataset, as it is to appear in the table.
    constant : sequence of str
        Methods that predict no differences between eyes. Their correlation is NaN: across folds it
        would only mirror the folds' means.

    Returns
    -------
    DataFrame
        Long: domain, method, metric ('mae', 'bias', 'r'), attribute 'quadrant', group, estimate,
        low, high, n, n_seeds, seed_sd. Bias is predicted minus true.

    Raises
    ------
    ValueError
        When a frame lacks a column, or its runs predict different eyes.
    """
    rows = []
    for method, frame in frames.items():
        columns = ["run_id", "eye_id", "patient_id"]
        columns += [f"{side}_{name}" for side in ("pred", "true") for name in QUADRANTS]
        absent = [name for name in columns if name not in frame]
        if absent or frame.empty:
            raise ValueError(f"{domain}, {method}: columns {absent} missing, {len(frame)} rows")
        runs = [one.sort_values("eye_id") for _, one in frame.groupby("run_id", sort=False)]
        if any(list(one["eye_id"]) != list(runs[0]["eye_id"]) for one in runs):
            raise ValueError(f"{domain}, {method}: its runs predict different eyes")
        done = [_statistics(one, n_boot, seed) for one in runs]
        for metric in ("mae", "bias", "r"):
            for group in GROUPS:
                estimates = np.array([one[metric, group][0] for one in done])
                replicates = np.stack([one[metric, group][1] for one in done])
                if metric == "r" and method in constant:
                    estimates, replicates = estimates * np.nan, replicates * np.nan
                key, n = {"domain": domain, "method": method}, done[0]["n", group]
                rows.append(row(key, metric, estimates, replicates, n, seed, "quadrant", group))
    return pd.DataFrame(rows)


def _statistics(frame: pd.DataFrame, n_boot: int, seed: int) -> dict:
    """Return (estimate, replicates) of each metric and group of one run, and n by group."""
    patients, codes = patient_codes(frame["patient_id"])
    counts = patient_counts(len(patients), n_boot, seed)
    pred, true = (
        frame[[f"{side}_{name}" for name in QUADRANTS]].to_numpy(float) for side in ("pred", "true")
    )
    pred, true = (np.column_stack([m, m.mean(axis=1)]) for m in (pred, true))  # S N I T global
    out: dict = {}
    for j, group in enumerate((*QUADRANTS, "global")):
        there = np.isfinite(pred[:, j]) & np.isfinite(true[:, j])
        x, y = (np.where(there, m[:, j], 0.0) for m in (pred, true))
        sums = np.column_stack([there, np.abs(x - y), x - y, x, y, x * x, y * y, x * y])
        whole, resampled = sums.sum(axis=0)[None], counts @ patient_sums(sums, codes)
        out["n", group] = int(there.sum())
        for metric, value in _VALUES.items():
            out[metric, group] = (value(whole.T)[0], value(resampled.T))
    for metric in _VALUES:
        parts = [out[metric, name] for name in QUADRANTS]
        out[metric, "mean"] = tuple(np.mean(values, axis=0) for values in zip(*parts, strict=True))
    out["n", "mean"] = min(out["n", name] for name in QUADRANTS)
    return out


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(np.shape(a), np.nan), where=b > 0)


def _r(s: np.ndarray) -> np.ndarray:
    n, _, _, x, y, xx, yy, xy = s
    spread = np.maximum(xx - _divide(x * x, n), 0) * np.maximum(yy - _divide(y * y, n), 0)
    return _divide(xy - _divide(x * y, n), np.sqrt(np.where(spread > 1e-9 * xx * yy, spread, 0.0)))


_VALUES = {"mae": lambda s: _divide(s[1], s[0]), "bias": lambda s: _divide(s[2], s[0]), "r": _r}
