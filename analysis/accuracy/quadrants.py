"""Quadrant errors of several methods on one dataset (Table 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd

from analysis.resampling import DEFAULT, PAIRED, Resampling
from analysis.resampling.bootstrap import patient_codes, patient_sums
from analysis.resampling.comparisons import holm, mean_difference_row
from analysis.resampling.conditions import row
from analysis.resampling.scales import calibrated
from rnfl.core.geometry import QUADRANTS
from rnfl.core.nanstats import divide

GROUPS = (*QUADRANTS, "mean", "global")


def quadrant_table(
    frames: Mapping[str, pd.DataFrame],
    domain: str,
    resampling: Resampling = DEFAULT,
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
        done = [_statistics(one, resampling) for one in runs]
        key, n_patients = {"domain": domain, "method": method}, frame["patient_id"].nunique()
        for metric, group in product(_VALUES, GROUPS):
            estimates = np.array([one[metric, group][0] for one in done])
            replicates = np.stack([one[metric, group][1] for one in done])
            scale = "global_r" if metric == "r" else metric  # a correlation of means
            replicates = calibrated(scale, estimates[:, None], replicates, n_patients)
            if metric == "r" and method in constant:
                estimates, replicates = estimates * np.nan, replicates * np.nan
            place = done[0]["n", group], resampling, "quadrant", group
            rows.append(row(key, metric, estimates, replicates, *place))
    return pd.DataFrame(rows)


def _statistics(frame: pd.DataFrame, resampling: Resampling) -> dict:
    """Return (estimate, replicates) of each metric and group of one run, and n by group."""
    patients, codes = patient_codes(frame["patient_id"])
    counts = resampling.counts(len(patients))
    pred, true = (np.column_stack([m, m.mean(axis=1)]) for m in _sides(frame))  # S N I T global
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


def _sides(frame: pd.DataFrame) -> Iterator[np.ndarray]:
    """Return predicted and true quadrant means (n, 4), µm."""
    for side in ("pred", "true"):
        yield frame[[f"{side}_{name}" for name in QUADRANTS]].to_numpy(float)


def _r(s: np.ndarray) -> np.ndarray:
    n, _, _, x, y, xx, yy, xy = s
    spread = np.maximum(xx - divide(x * x, n), 0) * np.maximum(yy - divide(y * y, n), 0)
    return divide(xy - divide(x * y, n), np.sqrt(np.where(spread > 1e-9 * xx * yy, spread, 0.0)))


_VALUES = {"mae": lambda s: divide(s[1], s[0]), "bias": lambda s: divide(s[2], s[0]), "r": _r}


def paired_quadrants(
    frames: Mapping[str, pd.DataFrame], against: str, resampling: Resampling = PAIRED
) -> pd.DataFrame:
    """Compare each method's mean quadrant error with that of another one on the same eyes.

    Interval and p as in :mod:`analysis.resampling.comparisons`; Holm corrects over the methods.

    Parameters
    ----------
    frames : mapping of method to DataFrame
        Quadrant frames as for :func:`quadrant_table`; several runs in one frame are seeds (of folds
        or of networks) in the same order in every frame, or one run where nothing is random.
    against : str
        The method to compare with.

    Returns
    -------
    DataFrame
        method, against, metric 'mae', attribute, group 'mean', estimate (method minus ``against``,
        µm), low, high, n, n_seeds, seed_sd, p, p_holm.

    Raises
    ------
    ValueError
        When ``against`` is unknown, or two methods differ in their eyes or number of runs.
    """
    if against not in frames:
        raise ValueError(f"method {against!r} is unknown: expected one of {', '.join(frames)}")
    other, patients = _errors_by_run(frames[against])
    codes, rows = patient_codes(patients)[1], []
    for method, frame in frames.items():
        if method == against:
            continue
        own = _errors_by_run(frame)[0]
        n_runs = max(len(own), len(other))
        if list(own.columns) != list(other.columns) or {len(own), len(other)} - {1, n_runs}:
            raise ValueError(f"{method} and {against} differ in their eyes or number of runs")
        key, about = {"method": method, "against": against}, (resampling, "quadrant", "mean")
        difference = own.to_numpy() - other.to_numpy()  # a single run is compared with each
        rows.append(mean_difference_row(key, "mae", difference, codes, *about))
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p"]))


def _errors_by_run(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the mean quadrant error, µm, one row per run and one column per eye, and patients.

    Only eyes of which all four quadrants were measured have one.
    """
    error = frame.assign(error=np.abs(np.subtract(*_sides(frame))).mean(axis=1))
    wide = error.pivot(index="run_id", columns="eye_id", values="error")
    wide = wide.loc[list(dict.fromkeys(frame["run_id"]))].dropna(axis=1)
    owner = frame.drop_duplicates("eye_id").set_index("eye_id")["patient_id"]
    return wide, owner.loc[wide.columns].tolist()
