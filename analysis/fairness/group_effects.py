"""How much groups differ in thickness, and whether a model reproduces, shrinks or exaggerates it.

A model can err equally much in every group and still be unfair: a model that draws everybody
towards the average eye overestimates the group with thin fibre layers and underestimates the one
with thick ones. So three differences between groups stand side by side, in µm: of labelled
thickness, of predicted thickness, and of the bias (predicted minus labelled), which is the second
minus the first; and, fourth, of the error.

Groups also differ in age and in disease. Differences are therefore coefficients of one ordinary
least-squares fit over eyes, value ~ sex + race + age + severity, with patients resampled for the
intervals (ours). The phantom has known answers: the shifts of ``GROUP_SHIFT`` and ``AGE_SLOPE`` in
:mod:`rnfl.datasets.phantom.eyes`, in full in healthy eyes, and thinned along with the fibre layer
where there is glaucoma.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtr

from analysis.fairness.groups import LEVELS, MIN_EYES
from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.bootstrap import patient_codes, patient_sums, seed_noise, weighted_totals
from analysis.resampling.comparisons import holm
from analysis.resampling.conditions import Condition, conditions_and_eyes, row
from analysis.resampling.scales import calibrated
from rnfl.core.nanstats import masked, mean
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
METRICS = ("thickness", "predicted", "bias", "error")


def group_effects(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    resampling: Resampling = DEFAULT,
    planted: bool = False,
) -> pd.DataFrame:
    """Return the adjusted differences between groups in the test eyes of each condition.

    ``predictions``, ``samples`` and ``runs`` are those of :func:`analysis.fairness.fairness_table`;
    ``planted`` says whether these are phantom eyes, see :func:`adjusted_effects`.

    Returns
    -------
    DataFrame
        Long: backbone, protocol, metric, attribute, group, estimate, low, high, n, n_seeds,
        seed_sd, p, p_holm. Metrics 'thickness' (labelled), 'predicted', 'bias' and 'error' (MAE),
        µm; groups 'F − M', 'Asian − White', 'Black − White', 'per decade'. NaN where a level has
        fewer than 10 eyes. p, of the bias only, is two-sided (:func:`patients_and_seeds_p`); Holm's
        correction covers the trained conditions of one difference.
    """
    rows: list[dict] = []
    for condition, eyes in conditions_and_eyes(predictions, samples, runs):
        rows += _condition_rows(condition, eyes, resampling, planted)
    frame = pd.DataFrame(rows)
    tested = frame[frame["trained"] & (frame["metric"] == "bias")]
    frame["p_holm"] = tested.groupby("group")["p"].transform(holm)
    return frame.drop(columns="trained")


def label_effects(
    samples: pd.DataFrame,
    profiles: np.ndarray,
    resampling: Resampling = DEFAULT,
    planted: bool = False,
) -> pd.DataFrame:
    """Return the adjusted differences in labelled thickness in all eyes of a dataset.

    ``samples`` have one row per profile (n_eyes, 360), µm, in the same order, as
    :func:`rnfl.datasets.prepared.load` gives both.

    Returns
    -------
    DataFrame
        Long: eyes ('all' or 'healthy'), metric 'thickness', attribute, group, estimate, low, high,
        n, n_seeds, seed_sd, planted (in eyes without disease; NaN where unknown). No rows for
        'healthy' where no eye is known to be.
    """
    if len(samples) != len(profiles):
        raise ValueError(f"{len(samples)} samples for {len(profiles)} profiles: expected as many")
    thickness = _mean_thickness(np.asarray(profiles, float), profiles)
    expected = {**PLANTED, ALONG: 1.0} if planted else {}
    rows = []
    healthy = (samples["severity"] == "healthy").to_numpy()
    for name, chosen in {"all": np.ones(len(samples), bool), "healthy": healthy}.items():
        if not chosen.any():
            continue
        here, value = samples[chosen], thickness[None, chosen]
        found = adjusted_effects(value, here, resampling, planted)
        for key, (estimates, replicates, _, n) in found.items():
            made = row({"eyes": name}, "thickness", estimates, replicates, n, resampling, *key)
            rows.append({**made, "planted": expected.get(key, np.nan)})
    return pd.DataFrame(rows)


def _mean_thickness(profiles: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the mean over the angles measured in the target (n,), NaN where there is none."""
    return mean(masked(profiles, target)[0], axis=1)


def _condition_rows(
    condition: Condition, eyes: pd.DataFrame, resampling: Resampling, planted: bool
) -> list[dict]:
    truth = np.stack([_mean_thickness(run.target, run.target) for run in condition.runs])
    predicted = np.stack([_mean_thickness(run.prediction, run.target) for run in condition.runs])
    values = np.concatenate([truth, predicted, predicted - truth, condition.errors])  # as METRICS
    found = adjusted_effects(values, eyes, resampling, planted)
    rows = []
    for m, metric in enumerate(METRICS):
        own = slice(m * len(truth), (m + 1) * len(truth))
        for key, (estimates, replicates, influence, n) in found.items():
            made = row(condition.key, metric, estimates[own], replicates[own], n, resampling, *key)
            p = patients_and_seeds_p(estimates[own], influence[own].mean(axis=0))
            p = p if metric == "bias" else np.nan
            rows.append({**made, "p": p, "trained": not condition.is_baseline})
    return rows


def patients_and_seeds_p(estimates: np.ndarray, influence: np.ndarray) -> float:
    """Return the two-sided p of a mean over runs against 0, from standard errors alone.

    Parameters
    ----------
    estimates : ndarray (k,)
        By run.
    influence : ndarray (P,)
        What each patient adds to their mean; the sum of squares is its variance over patients.

    Notes
    -----
    The error is a sum of two: of patients, Student's t with P - 1 degrees of freedom, and of
    seeds, as in the interval (:func:`analysis.resampling.bootstrap.seed_noise`). Its tail is
    averaged over evenly spaced quantiles of the second, and no resample is drawn: with 3 seeds that
    part is Student's t with 2 degrees of freedom, which has no variance, so that the SD of draws
    would grow with their number and p with it.
    """
    n_patients, effect = len(influence), abs(np.mean(estimates))
    error = np.sqrt((influence**2).sum() * n_patients / max(n_patients - 1, 1))
    if not (np.isfinite(effect) and error > 0 and n_patients > 1):
        return float("nan")
    noise = seed_noise(estimates, 5000 if len(estimates) > 1 else 1, 0)
    beyond = (effect - noise) / error
    return float(min(2 * stdtr(n_patients - 1, -beyond).mean(), 1.0))


def adjusted_effects(
    values: np.ndarray, eyes: pd.DataFrame, resampling: Resampling, planted: bool = False
) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """Fit value ~ sex + race + age + severity and return the group differences.

    Parameters
    ----------
    values : ndarray (k, n_eyes), µm
        NaN where missing; one row per run.
    eyes : DataFrame
        Patient and attributes of each eye, in the same order. An attribute nobody has is left out
        of the fit; eyes that lack one of the others are left out of it.
    planted : bool
        Also fit value ~ planted + severity, where ``planted`` is the shift that the phantom gives
        an eye of that sex, race and age: one coefficient, :data:`ALONG`, about 1 in labels (less
        what disease took) and 0 in a model that tells no group from another.

    Returns
    -------
    dict
        By (attribute, group) of :data:`CONTRASTS`: estimates (k,), replicates (k, n_boot) widened
        as all are, what each patient adds to the estimate (k, P), and the number of eyes in the
        fit; NaN where one of the two levels has fewer than 10 eyes.
    """
    found = _fit(values, eyes, _design(eyes), CONTRASTS, resampling)
    if planted:
        found |= _fit(values, eyes, _planted_design(eyes), (ALONG,), resampling)
    return found


def _fit(
    values: np.ndarray,
    eyes: pd.DataFrame,
    design: tuple[dict, np.ndarray],
    wanted: Sequence[tuple[str, str]],
    resampling: Resampling,
) -> dict:
    """Return the wanted columns of a design, as :func:`adjusted_effects` does."""
    (columns, whole), codes = design, patient_codes(eyes["patient_id"])[1]
    kept = whole & np.isfinite(values).all(axis=0)
    x = np.where(kept[:, None], np.stack(list(columns.values()), axis=1), 0.0)
    y = np.where(kept, values, 0.0)
    xx = patient_sums(x[:, :, None] * x[:, None, :], codes)
    xy = np.stack([patient_sums(x * one[:, None], codes) for one in y])  # (k, P, c)
    counts, n_boot = resampling.counts(len(xx)), resampling.n_boot
    own = _solve(xx.sum(axis=0)[None], xy.sum(axis=1)[:, None])[:, 0]  # (k, c)
    summed = weighted_totals(counts, xx.reshape(len(xx), -1)).reshape(n_boot, *xx.shape[1:])
    again = _solve(summed, np.stack([weighted_totals(counts, one) for one in xy]))  # (k, n_boot, c)
    again = calibrated("bias", own[:, None], again, len(xx))
    # A patient's score times the inverse: the linearised change of each coefficient, (k, P, c).
    scores = xy - np.einsum("pij,kj->kpi", xx, np.nan_to_num(own))
    influence = scores @ np.linalg.pinv(xx.sum(axis=0), hermitian=True)
    found = {}
    for key in wanted:
        shown = key in columns and _large(eyes[kept], key)
        place, blank = list(columns).index(key) if shown else 0, 1.0 if shown else np.nan
        found[key] = *(v[..., place] * blank for v in (own, again, influence)), int(kept.sum())
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
    if key[0] in ("age", ALONG[0]):
        return len(eyes) >= MIN_EYES
    return all((eyes[key[0]] == level).sum() >= MIN_EYES for level in key[1].split(" − "))


def _solve(xx: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Return least-squares coefficients (k, b, c); a column without eyes gets NaN."""
    coefficients = np.einsum("bij,kbj->kbi", np.linalg.pinv(xx, hermitian=True), xy)
    absent = np.diagonal(xx, axis1=1, axis2=2) <= 0
    return np.where(absent, np.nan, coefficients)
