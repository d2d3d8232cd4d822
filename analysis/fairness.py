"""Fairness gaps between groups of patients, beside the gap that chance alone would make.

The paper's gap is, per attribute, the largest minus the smallest group mean of the per-eye MAE,
averaged over attributes. A maximum minus a minimum is never zero: with small groups it is large
whatever the model does. So each gap stands beside its null: the gaps found when the patients'
labels are permuted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.bootstrap import patient_counts, patient_sums
from analysis.cells import BY, Cell, cells, row
from rnfl import metrics, schema

ATTRIBUTES = ("age", "sex", "race")
AGE_BINS = {"<40": (-np.inf, 40.0), "40-60": (40.0, 60.0), ">=60": (60.0, np.inf)}
MIN_EYES = 10
LEVELS: dict[str, tuple[str, ...]] = {
    "age": tuple(AGE_BINS),
    "sex": schema.SEXES,
    "race": schema.RACES,
    "ethnicity": schema.ETHNICITIES,
    "severity": schema.SEVERITIES,
}


def age_group(ages: Sequence[float]) -> np.ndarray:
    """Return the paper's age group of each age in years, '' where missing.

    Examples
    --------
    >>> age_group([39.9, 40, 60, float("nan")]).tolist()
    ['<40', '40-60', '>=60', '']
    """
    ages = np.asarray(ages, float)
    labels = np.full(len(ages), "", dtype=object)
    for name, (low, high) in AGE_BINS.items():
        labels[(ages >= low) & (ages < high)] = name
    return labels


def fairness_table(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    by: Sequence[str] = BY,
    attributes: Sequence[str] = ATTRIBUTES,
    n_boot: int = 2000,
    n_perm: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return group errors, gaps and null gaps of each cell.

    Parameters
    ----------
    predictions, runs, by
        As in :func:`analysis.cells.cells`.
    samples : DataFrame
        Holds the attributes; joined by eye.
    attributes : sequence of str
        Of 'age', 'sex', 'race', 'ethnicity', 'severity'. The paper's gap uses the first three.

    Returns
    -------
    DataFrame
        Long: ``by``, metric, attribute, group, estimate, low, high, n, n_seeds, seed_sd with

        - ``mae``: one row per group, NaN below 10 eyes;
        - ``worst_group``: the group with the largest error, and that error;
        - ``gap``: group 'max-min' per attribute, and attribute 'mean', the paper's gap. Its
          interval leans upwards, as a maximum's does;
        - ``null_gap``: the mean of the gaps under permutation, low and high its central 95 %;
        - ``gap_p``: the share of permuted gaps at least as large (one is added to both counts).

    Raises
    ------
    ValueError
        For an unknown attribute, or an eye absent from ``samples``.
    """
    unknown = [name for name in attributes if name not in LEVELS]
    if unknown:
        raise ValueError(f"attributes {unknown}: expected some of {', '.join(LEVELS)}")
    schema.join_samples(predictions[["run_id", "eye_id", "patient_id"]], samples)
    by_eye = samples.set_index("eye_id")
    rows: list[dict] = []
    for cell in cells(predictions, runs, by):
        groups = _groups(by_eye.loc[cell.runs[0].eye_ids], attributes)
        rows += _cell_rows(cell, groups, n_boot, n_perm, seed)
    return pd.DataFrame(rows)


def _groups(eyes: pd.DataFrame, attributes: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the membership (n_eyes, n_groups) of each attribute; a missing value is in none."""
    members = {}
    for name in attributes:
        labels = age_group(eyes["age"]) if name == "age" else eyes[name].to_numpy(object)
        members[name] = np.stack([labels == level for level in LEVELS[name]], axis=1)
    return members


@dataclass(frozen=True, eq=False)
class _Attribute:
    """What one attribute's groups show: n (G,), means (k, G), replicates (k, n_boot, G), µm,
    and over the groups that are large enough: gap (k,), its replicates and the null (k, n_perm).
    """

    n: np.ndarray
    means: np.ndarray
    replicates: np.ndarray
    gap: np.ndarray
    gap_replicates: np.ndarray
    null: np.ndarray

    @property
    def large(self) -> np.ndarray:
        """Groups of at least 10 eyes."""
        return self.n >= MIN_EYES


def _ratio(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def _max_min(means: np.ndarray) -> np.ndarray:
    """Return max - min over groups, (..., G) to (...,); NaN when there are fewer than two."""
    if means.shape[-1] < 2:
        return np.full(means.shape[:-1], np.nan)
    return means.max(axis=-1) - means.min(axis=-1)


def _measure(
    errors: np.ndarray, members: np.ndarray, codes: np.ndarray, resamples: np.ndarray,
    permutations: np.ndarray,
) -> _Attribute:  # fmt: skip
    """Return the groups' errors and gaps for errors (k, n_eyes) and members (n_eyes, G)."""
    measured = np.isfinite(errors).all(axis=0)
    members, errors = members & measured[:, None], np.where(measured, errors, 0.0)
    n = members.sum(axis=0)
    sums = np.stack([patient_sums(one[:, None] * members, codes) for one in errors])  # (k, P, G)
    counts = patient_sums(members.astype(float), codes)  # (P, G)
    means = _ratio(sums.sum(axis=1), np.broadcast_to(n, (len(errors), len(n))))
    replicates = np.stack([_ratio(resamples @ one, resamples @ counts) for one in sums])
    # Whole patients exchange their group; all attributes of a patient move together, so that they
    # keep their dependence and the mean over attributes has its own null.
    large = n >= MIN_EYES
    moved = (counts[:, large] > 0)[permutations].astype(float)  # (n_perm, P, G)
    eyes = np.einsum("bpg,p->bg", moved, patient_sums(measured.astype(float), codes))
    null = [_ratio(np.einsum("bpg,p->bg", moved, patient_sums(e, codes)), eyes) for e in errors]
    return _Attribute(
        n,
        means,
        replicates,
        _max_min(means[:, large]),
        _max_min(replicates[..., large]),
        _max_min(np.stack(null)),
    )


def _cell_rows(
    cell: Cell, groups: dict[str, np.ndarray], n_boot: int, n_perm: int, seed: int
) -> list[dict]:
    first = cell.runs[0]
    resamples = patient_counts(len(first.patients), n_boot, seed)
    shuffle = np.random.default_rng([seed, 2]).random((n_perm, len(first.patients)))
    permutations = np.argsort(shuffle, axis=1)
    errors = np.stack([metrics.mae_per_eye(run.prediction, run.target) for run in cell.runs])
    rows = []

    def add(metric: str, attribute: str, group: str, estimates, replicates, n: int) -> None:
        rows.append(row(cell.key, metric, estimates, replicates, n, seed, attribute, group))

    def add_gap(attribute: str, gap, replicates, null, n: int) -> None:
        expected = null.mean(axis=0)  # over seeds, as the gap itself
        same = np.broadcast_to(expected, null.shape)
        add("gap", attribute, "max-min", gap, replicates, n)
        add("null_gap", attribute, "max-min", null.mean(axis=1), same, n)
        reached = np.count_nonzero(expected >= gap.mean() * (1 - 1e-12))
        p = (reached + 1) / (len(expected) + 1) if np.isfinite(gap).all() else np.nan
        add("gap_p", attribute, "max-min", np.full(len(gap), p), same * np.nan, n)
        rows[-1]["seed_sd"] = np.nan

    found = {
        name: _measure(errors, members, first.codes, resamples, permutations)
        for name, members in groups.items()
    }
    for name, one in found.items():
        shown = np.where(one.large, 1.0, np.nan)
        for g, group in enumerate(LEVELS[name]):
            values = one.means[:, g] * shown[g], one.replicates[..., g] * shown[g]
            add("mae", name, group, *values, one.n[g])
        g = int(np.argmax(np.where(one.large, one.means.mean(axis=0), -np.inf)))
        group = LEVELS[name][g] if one.large.any() else "none"
        values = one.means[:, g] * shown[g], one.replicates[..., g] * shown[g]
        add("worst_group", name, group, *values, one.n[g] if one.large.any() else 0)
        add_gap(name, one.gap, one.gap_replicates, one.null, one.n[one.large].sum())
    parts = zip(*((o.gap, o.gap_replicates, o.null) for o in found.values()), strict=True)
    add_gap("mean", *(np.mean(part, axis=0) for part in parts), cell.n)
    return rows
