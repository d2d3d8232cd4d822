"""Conditions of a study: the runs that share a backbone and a protocol, and their statistics.

A condition holds one run per seed. Its estimate is the mean over seeds; its interval covers
patients and, with several seeds, seeds (:func:`analysis.resampling.bootstrap.seed_noise`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from analysis.resampling.bootstrap import (
    Resampling,
    RunNoise,
    interval,
    patient_codes,
    seed_noise,
)
from analysis.resampling.patient_sums import MetricFunction, PatientSums, replicates
from analysis.resampling.scales import calibrated
from rnfl.core import metrics, schema

BASELINES = {"template": "template", "oracle": "oracle floor"}  # run_id -> protocol shown
NO_BACKBONE = "—"
BY = ("backbone", "protocol")


@dataclass(frozen=True, eq=False)
class Run:
    """The predictions of one run, eyes sorted by id: matrices (n, 360) in µm."""

    run_id: str
    seed: int | None
    eye_ids: np.ndarray
    patients: np.ndarray
    codes: np.ndarray
    prediction: np.ndarray
    target: np.ndarray

    @cached_property
    def sums(self) -> PatientSums:
        """Sums over the eyes of each patient."""
        return PatientSums(self.prediction, self.target, self.codes)


@dataclass(frozen=True, eq=False)
class Condition:
    """One condition: its identifying columns and its runs, one per seed, on the same eyes."""

    key: dict[str, str]
    runs: tuple[Run, ...]

    @property
    def n(self) -> int:
        """Number of eyes."""
        return len(self.runs[0].eye_ids)

    @property
    def n_patients(self) -> int:
        """Number of patients."""
        return len(self.runs[0].patients)

    @property
    def is_baseline(self) -> bool:
        """Whether this is the template or the label-noise floor, and not a trained model."""
        return self.runs[0].run_id in BASELINES

    @property
    def errors(self) -> np.ndarray:
        """Mean absolute error of each run and eye (k, n), µm, NaN for an eye without a label."""
        return np.stack([metrics.mae_per_eye(run.prediction, run.target) for run in self.runs])


def load_run(predictions: pd.DataFrame, run_id: str, seed: int | None = None) -> Run:
    """Return one run of a predictions table with its eyes sorted by id."""
    rows = predictions[predictions["run_id"] == run_id].sort_values("eye_id")
    if rows.empty:
        raise ValueError(f"run {run_id!r} has no predictions; found {_ids(predictions)}")
    patients, codes = patient_codes(rows["patient_id"])
    matrices = (schema.matrix(rows, name) for name in ("prediction", "target"))
    return Run(run_id, seed, rows["eye_id"].to_numpy(), patients, codes, *matrices)


def _ids(predictions: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(predictions["run_id"]))


def conditions(
    predictions: pd.DataFrame, runs: pd.DataFrame | None = None, by: Sequence[str] = BY
) -> Iterator[Condition]:
    """Yield template (if predicted), conditions in the order of ``runs``, label-noise floor.

    Parameters
    ----------
    predictions : DataFrame
        Concatenated predictions of several runs; ``template`` and ``oracle`` are the baselines.
    runs : DataFrame, optional
        ``run_id``, the columns ``by`` that identify a condition and, where there are several,
        ``seed``. By default the predictions carry these columns themselves.

    Raises
    ------
    ValueError
        When a predicted run is absent from ``runs``, a column is missing, or the runs of one
        condition predict different eyes.
    """
    present = _ids(predictions)
    table = predictions if runs is None else runs
    others = [run_id for run_id in present if run_id not in BASELINES]
    absent = [name for name in by if name not in table] if others else []
    if absent:
        raise ValueError(f"runs: columns {absent} are missing; found {list(table.columns)}")
    if others:
        table = table[table["run_id"].isin(others)].drop_duplicates("run_id")
        unknown = sorted(set(others) - set(table["run_id"]))
        if unknown:
            raise ValueError(f"runs: {unknown[:5]} predicted but not listed there")
    if "template" in present:
        yield _baseline(predictions, "template", by)
    if others:
        for key, rows in table.groupby(list(by), sort=False, dropna=False):
            seeds = rows["seed"] if "seed" in rows else [None] * len(rows)
            made = (load_run(predictions, *one) for one in zip(rows["run_id"], seeds, strict=True))
            condition = Condition(dict(zip(by, key, strict=True)), tuple(made))
            check_same_eyes([condition])
            yield condition
    if "oracle" in present:
        yield _baseline(predictions, "oracle", by)


def conditions_and_eyes(
    predictions: pd.DataFrame, samples: pd.DataFrame, runs: pd.DataFrame | None = None
) -> Iterator[tuple[Condition, pd.DataFrame]]:
    """Yield each condition with the rows of ``samples`` of its eyes, in its order.

    Every predicted eye must be in ``samples`` and belong to the same patient (ValueError).
    """
    schema.join_samples(predictions[["run_id", "eye_id", "patient_id"]], samples)
    by_eye = samples.set_index("eye_id")
    for condition in conditions(predictions, runs):
        yield condition, by_eye.loc[condition.runs[0].eye_ids]


def _baseline(predictions: pd.DataFrame, run_id: str, by: Sequence[str]) -> Condition:
    key = dict.fromkeys(by, NO_BACKBONE)
    key["protocol" if "protocol" in key else by[-1]] = BASELINES[run_id]
    return Condition(key, (load_run(predictions, run_id),))


def check_same_eyes(table: Sequence[Condition]) -> None:
    """Raise a ValueError unless all runs of all conditions predict the same eyes."""
    runs = [run for condition in table for run in condition.runs]
    for run in runs[1:]:
        if not np.array_equal(run.eye_ids, runs[0].eye_ids):
            raise ValueError(f"runs {runs[0].run_id} and {run.run_id} predict different eyes")


def counterpart(
    condition: Condition, protocol: str, among: Sequence[Condition]
) -> Condition | None:
    """Return the condition that differs in its protocol alone; None if there is no other."""
    wanted = {**condition.key, "protocol": protocol}
    found = next((one for one in among if one.key == wanted), None)
    return None if found is condition else found


def paired_runs(a: Condition, b: Condition) -> list[tuple[Run, Run]]:
    """Return the runs of two conditions by shared seed, or two single runs whatever their seeds.

    ValueError when the two predict different eyes or share no seed.
    """
    check_same_eyes([a, b])
    if len(a.runs) == len(b.runs) == 1:
        return [(a.runs[0], b.runs[0])]
    by_seed = {run.seed: run for run in b.runs}
    pairs = [(run, by_seed[run.seed]) for run in a.runs if run.seed in by_seed]
    if not pairs:
        raise ValueError(f"{a.key} and {b.key} share no seed")
    return pairs


def row(
    key: Mapping[str, str],
    metric: str,
    estimates: Sequence[float],
    replicates: np.ndarray,
    n: int,
    resampling: Resampling,
    attribute: str = "all",
    group: str = "all",
    noise: RunNoise | None = None,
) -> dict[str, object]:
    """Return a row of a long table from a condition's estimates (k,) and replicates (k, n_boot).

    ``noise`` is that of :func:`analysis.resampling.bootstrap.seed_noise`.
    """
    estimates = np.asarray(estimates, float)
    averaged = np.asarray(replicates, float).mean(axis=0)
    low, high = interval(averaged + seed_noise(estimates, len(averaged), resampling.seed, noise))
    return {
        **key,
        "metric": metric,
        "attribute": attribute,
        "group": group,
        "estimate": float(estimates.mean()),
        "low": low,
        "high": high,
        "n": int(n),
        "n_seeds": len(estimates),
        "seed_sd": float(estimates.std(ddof=1)) if len(estimates) > 1 else float("nan"),
    }


def estimate(
    condition: Condition, definitions: Mapping[str, MetricFunction], resampling: Resampling
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return each metric of a condition: estimates (k,) by run and replicates (k, n_boot).

    The estimate is the metric itself; replicates come from its restatement in
    :data:`analysis.resampling.patient_sums.VALUES`, on the scale of
    :mod:`analysis.resampling.scales`. Conditions on the same patients get the same resamples.
    """
    counts = resampling.counts(condition.n_patients)
    resampled = [replicates(definitions, run.sums, counts) for run in condition.runs]
    out = {}
    for name, definition in definitions.items():
        values = np.array([definition(run.prediction, run.target) for run in condition.runs])
        drawn = np.stack([one[name] for one in resampled])
        out[name] = values, calibrated(name, values[:, None], drawn, condition.n_patients)
    return out
