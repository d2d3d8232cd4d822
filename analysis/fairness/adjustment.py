"""Differences between groups of eyes by least squares, adjusted for one another and disease."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.fairness.groups import LEVELS, MIN_EYES
from analysis.resampling.bootstrap import (
    patient_codes,
    patient_counts,
    patient_sums,
    weighted_totals,
)
from rnfl.datasets.phantom.eyes import AGE_SLOPE, GROUP_SHIFT

#: What is compared: attribute -> (level, reference); age is a slope.
LEVELS_COMPARED = {"sex": ("F", "M"), "race": ("Asian", "Black", "White")}
DECADE = "per decade"
#: Planted differences of the phantom, µm, in eyes without disease.
PLANTED: dict[tuple[str, str], float] = {
    ("sex", "F − M"): GROUP_SHIFT["F"] - GROUP_SHIFT["M"],
    ("race", "Asian − White"): GROUP_SHIFT["Asian"] - GROUP_SHIFT["White"],
    ("race", "Black − White"): GROUP_SHIFT["Black"] - GROUP_SHIFT["White"],
    ("age", DECADE): 10 * AGE_SLOPE,
}
CONTRASTS = tuple(PLANTED)
ALONG = ("planted", "per planted µm")  # all planted differences as one axis


def adjusted_effects(
    values: np.ndarray,
    patient_ids: Sequence[str],
    eyes: pd.DataFrame,
    n_boot: int,
    seed: int,
    planted: bool = False,
) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray, int]]:
    """Fit value ~ sex + race + age + severity and return the group differences.

    Parameters
    ----------
    values : ndarray (k, n_eyes), µm
        NaN where missing; one row per run.
    patient_ids : sequence of str (n_eyes,)
    eyes : DataFrame
        Attributes, one row per eye in the same order. An attribute nobody has is left out of the
        fit; eyes that lack one of the others are left out of it.

    planted : bool
        Also fit value ~ planted + severity, where ``planted`` is the shift that the phantom gives
        an eye of that sex, race and age: one coefficient, :data:`ALONG`, about 1 in labels (less
        what disease took) and 0 in a model that tells no group from another.

    Returns
    -------
    dict
        By (attribute, group) of :data:`CONTRASTS`: estimates (k,), replicates (k, n_boot) and the
        number of eyes in the fit; NaN where one of the two levels has fewer than 10 eyes.
    """
    _, codes = patient_codes(patient_ids)
    found = _fit(values, codes, eyes, _design(eyes), CONTRASTS, n_boot, seed)
    if planted:
        found |= _fit(values, codes, eyes, _planted_design(eyes), (ALONG,), n_boot, seed)
    return found


def _fit(
    values: np.ndarray, codes: np.ndarray, eyes: pd.DataFrame, design: tuple, wanted: Sequence,
    n_boot: int, seed: int,
) -> dict:  # fmt: skip
    columns, whole = design
    kept = whole & np.isfinite(values).all(axis=0)
    x = np.where(kept[:, None], np.stack(list(columns.values()), axis=1), 0.0)
    y = np.where(kept, values, 0.0)
    xx = patient_sums(x[:, :, None] * x[:, None, :], codes)
    xy = np.stack([patient_sums(x * one[:, None], codes) for one in y])  # (k, P, c)
    counts = patient_counts(len(xx), n_boot, seed)
    own = _solve(xx.sum(axis=0)[None], xy.sum(axis=1)[:, None])[:, 0]  # (k, c)
    summed = weighted_totals(counts, xx.reshape(len(xx), -1)).reshape(n_boot, *xx.shape[1:])
    again = _solve(summed, np.stack([weighted_totals(counts, one) for one in xy]))  # (k, n_boot, c)
    found = {}
    for key in wanted:
        found[key] = np.full(len(y), np.nan), np.full((len(y), n_boot), np.nan), int(kept.sum())
        if key in columns and _large(eyes[kept], key):
            place = list(columns).index(key)
            found[key] = own[:, place], again[..., place], int(kept.sum())
    return found


def _design(eyes: pd.DataFrame) -> tuple[dict[object, np.ndarray], np.ndarray]:
    """Return the columns of the fit (n_eyes,) by contrast, and which eyes have all attributes."""
    columns: dict[object, np.ndarray] = {"intercept": np.ones(len(eyes))}
    whole = np.ones(len(eyes), bool)
    for name in ("sex", "race", "severity"):
        labels = eyes[name].to_numpy(object)
        *others, reference = LEVELS_COMPARED.get(name, LEVELS[name][::-1])
        known = np.isin(labels.astype(str), [*others, reference])
        if known.any():
            whole &= known
            for level in others:
                columns[name, f"{level} − {reference}"] = (labels == level).astype(float)
    ages = eyes["age"].to_numpy(float)
    if np.isfinite(ages).any():
        whole &= np.isfinite(ages)
        columns["age", DECADE] = np.nan_to_num((ages - np.nanmean(ages)) / 10)
    return columns, whole


def _planted_design(eyes: pd.DataFrame) -> tuple[dict[object, np.ndarray], np.ndarray]:
    """Return the same with all planted shifts as one column, in µm; it knows the phantom."""
    columns, whole = _design(eyes)
    score = AGE_SLOPE * (eyes["age"].to_numpy(float) - 60.0)
    for name in ("sex", "race"):
        score = score + eyes[name].map(GROUP_SHIFT).to_numpy(float)
    kept = {key: one for key, one in columns.items() if key[0] not in ("sex", "race", "age")}
    return {**kept, ALONG: np.nan_to_num(score)}, whole & np.isfinite(score)


def _large(eyes: pd.DataFrame, key: tuple[str, str]) -> bool:
    attribute, group = key
    if attribute in ("age", ALONG[0]):
        return len(eyes) >= MIN_EYES
    return all((eyes[attribute] == level).sum() >= MIN_EYES for level in group.split(" − "))


def _solve(xx: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Return least-squares coefficients (k, b, c); a column without eyes gets NaN."""
    coefficients = np.einsum("bij,kbj->kbi", np.linalg.pinv(xx, hermitian=True), xy)
    absent = np.diagonal(xx, axis1=1, axis2=2) <= 0
    return np.where(absent, np.nan, coefficients)
