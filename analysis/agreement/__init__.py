"""Agreement as clinicians read it: Bland-Altman, and error against thickness.

A difference is predicted minus label. Limits of agreement are bias ± 1.96 SD of the differences
over eyes (Bland and Altman, Lancet 1986): what to expect of one more eye. Where an error depends on
the thickness, two slopes say so, and they answer different questions:

- ``slope_on_label``, of the difference on the label, is the one to read. It says how far thin eyes
  are overestimated, as a share of how thin they are: 0 for none, −1 for a template. The label is
  the reference here, so it is the abscissa (Krouwer, Stat Med 2008). Its noise pulls the slope
  below 0 even for the truth itself (Bland and Altman, Lancet 1995); the label-noise floor's row
  shows how far.
- ``slope_on_mean``, of the difference on the mean of both, is the customary one. It compares
  spreads and nothing else: it is 0 whenever predictions vary as much as labels, right or wrong, and
  −2 for a template.

A model that is unsure predicts something near the average. Binned by the label, thin places then
come out too thick and thick ones too thin (regression to the mean), which hides disease. Binning by
a noisy label shows a little of that for the truth itself too, see the label-noise floor.

Everything is a function of sums over eyes, patients are resampled, and training seeds are a random
effect (:func:`analysis.resampling.conditions.row`): limits describe one training run and average
over seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.bootstrap import patient_sums, weighted_totals
from analysis.resampling.conditions import Condition, Run, conditions, row
from analysis.resampling.patient_sums import beyond_rounding
from analysis.resampling.scales import on_scale
from rnfl.core.geometry import N_ANGLES, QUADRANTS, SECTORS, sector_means
from rnfl.core.nanstats import BLOCK, divide

Sums = dict[str, np.ndarray]  # by name: of eyes (n,), or of rows of weights (1 + n_boot,)

GLOBAL = "global"
CIRCLE: dict[str, np.ndarray] = {GLOBAL: np.ones(N_ANGLES, bool)}
BY_QUADRANT: dict[str, np.ndarray] = {**CIRCLE, **QUADRANTS}
BY_SECTOR: dict[str, np.ndarray] = {**CIRCLE, **SECTORS}
MIN_EYES = 10  # fewer in a group give a NaN row (ours)
WIDTH = 1.96  # SDs from the bias to a limit of agreement
# Bins of the label's thickness, µm (ours): at each angle, of quadrant means, of global means.
EDGES: dict[str, tuple[float, ...]] = {
    "local": (40, 60, 80, 100, 120, 140, 160),
    "quadrant": (50, 60, 70, 80, 90, 100, 110, 120, 130),
    "global": (50, 60, 70, 80, 90, 100, 110),
}


def _region_means(run: Run, regions: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted and measured means (n, k) of each eye and region, µm.

    Both cover the measured angles only. NaN where more than half of a region is missing.
    """
    masked = np.where(np.isfinite(run.target), run.prediction, np.nan)
    return sector_means(masked, regions), sector_means(run.target, regions)


def _rows(
    condition: Condition,
    columns: Sequence[Sums],
    statistics: Callable[[Sums, int], dict[str, np.ndarray]],
    resampling: Resampling,
    *place: str,
) -> Iterator[dict[str, object]]:
    """Yield a row per statistic of weighted sums over eyes; NaN below 10 eyes.

    ``columns`` are what is summed, one set per run; 'n' counts an eye's values.
    """
    weights, n = resampling.weights(condition.n_patients), np.count_nonzero(columns[0]["n"])
    found = []
    for run, one in zip(condition.runs, columns, strict=True):
        sums = patient_sums(np.column_stack(list(one.values())), run.codes)
        totals = dict(zip(one, weighted_totals(weights, sums).T, strict=True))
        found.append(statistics(totals, condition.n_patients))
    for metric in found[0]:
        values = np.stack([one[metric] for one in found])
        values = values if n >= MIN_EYES else np.full_like(values, np.nan)
        yield row(condition.key, metric, values[:, 0], values[:, 1:], n, resampling, *place)


def _columns(pred: np.ndarray, true: np.ndarray) -> Sums:
    there = np.isfinite(pred) & np.isfinite(true)
    d, t = (np.where(there, values, 0.0) for values in (pred - true, true))
    return {"n": there.astype(float), "d": d, "t": t, "dd": d * d, "tt": t * t, "dt": d * t,
            "e": np.abs(d)}  # fmt: skip


def _spread(s: Sums, a: str, b: str) -> np.ndarray:
    """Return the sum of co-deviations of two columns; exactly 0 where it is rounding."""
    product = s["".join(sorted((a, b)))]
    return beyond_rounding(product - divide(s[a] * s[b], s["n"]), product)


def _slope_on_mean(s: Sums) -> np.ndarray:
    # The mean of both is t + d / 2.
    with_mean = _spread(s, "d", "t") + _spread(s, "d", "d") / 2
    of_mean = _spread(s, "t", "t") + _spread(s, "d", "t") + _spread(s, "d", "d") / 4
    return divide(with_mean, of_mean)


FROM_SUMS: dict[str, Callable[[Sums], np.ndarray]] = {
    "bias": lambda s: divide(s["d"], s["n"]),
    "sd": lambda s: np.sqrt(divide(np.maximum(_spread(s, "d", "d"), 0.0), s["n"] - 1)),
    "slope_on_label": lambda s: divide(_spread(s, "d", "t"), _spread(s, "t", "t")),
    "slope_on_mean": _slope_on_mean,
    "mae": lambda s: divide(s["e"], s["n"]),
}
SCALES = {"sd": "sigma_between"}  # an SD of differences is resampled as an SD between eyes is
BLAND_ALTMAN = ("bias", "sd", "limit_low", "limit_high", "slope_on_label", "slope_on_mean", "mae")


def bland_altman(sums: Sums, n_patients: int) -> dict[str, np.ndarray]:
    """Return every statistic of sums (1 + n_boot,): its estimate, then its scaled replicates.

    The limits are made of the scaled replicates of bias and SD: resampling loses some of the SD,
    and limits made of it unscaled would cover too little.
    """
    out = {
        metric: on_scale(SCALES.get(metric, metric), value(sums), n_patients)
        for metric, value in FROM_SUMS.items()
    }
    half = WIDTH * out["sd"]
    out |= {"limit_low": out["bias"] - half, "limit_high": out["bias"] + half}
    return {metric: out[metric] for metric in BLAND_ALTMAN}


def agreement_table(
    predictions: pd.DataFrame, runs: pd.DataFrame | None = None, resampling: Resampling = DEFAULT
) -> pd.DataFrame:
    """Return the Bland-Altman statistics of the global mean and of the quadrant means.

    ``predictions`` and ``runs`` are those of :func:`analysis.resampling.conditions.conditions`,
    here and below; template and label-noise floor are rows when predicted.

    Returns
    -------
    DataFrame
        Long: backbone, protocol, metric (:data:`BLAND_ALTMAN`), attribute 'region', group,
        estimate, low, high, n, n_seeds, seed_sd. µm, and µm per µm for slopes. NaN below 10 eyes.
    """
    rows: list[dict] = []
    for condition in conditions(predictions, runs):
        means = [_region_means(run, BY_QUADRANT) for run in condition.runs]
        for j, region in enumerate(BY_QUADRANT):
            columns = [_columns(pred[:, j], true[:, j]) for pred, true in means]
            rows += _rows(condition, columns, bland_altman, resampling, "region", region)
    return pd.DataFrame(rows)


def thickness_table(
    predictions: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    resampling: Resampling = DEFAULT,
    level: str = "local",
    edges: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Return error and bias in bins of the label's thickness.

    Parameters
    ----------
    level : {'local', 'quadrant', 'global'}
        What is binned: each angle, each quadrant mean, or each eye's mean.
    edges : sequence of float, optional
        Rising edges of the bins, µm; by default :data:`EDGES`.

    Returns
    -------
    DataFrame
        Long: backbone, protocol, metric ('thickness', the bin's mean label; 'mae'; 'bias',
        predicted minus label; µm), attribute ``level``, group (the bin), estimate, low, high, n
        (eyes with a value in the bin), n_seeds, seed_sd. NaN below 10 eyes.

    Raises
    ------
    ValueError
        For an unknown level, or edges that do not rise.
    """
    if level not in EDGES:
        raise ValueError(f"level {level!r}: expected one of {', '.join(EDGES)}")
    edges = EDGES[level] if edges is None else tuple(edges)
    if not edges or any(a >= b for a, b in pairwise(edges)):
        raise ValueError(f"edges {edges}: expected rising thicknesses in µm")
    regions = QUADRANTS if level == "quadrant" else CIRCLE
    rows: list[dict] = []
    for condition in conditions(predictions, runs):
        values = [
            (run.prediction, run.target) if level == "local" else _region_means(run, regions)
            for run in condition.runs
        ]
        label = values[0][1]
        places = np.where(np.isfinite(label), np.digitize(label, edges), -1).astype(np.int8)
        for place, group in enumerate(bin_names(edges)):
            columns = [_binned(*one, places == place) for one in values]
            rows += _rows(condition, columns, _means_of_bin, resampling, level, group)
    return pd.DataFrame(rows)


def bin_names(edges: Sequence[float]) -> list[str]:
    """Return the names of the bins below, between and above edges.

    Examples
    --------
    >>> bin_names([40, 60])
    ['<40', '40–60', '≥60']
    """
    inner = [f"{low:g}–{high:g}" for low, high in pairwise(edges)]
    return [f"<{edges[0]:g}", *inner, f"≥{edges[-1]:g}"]


def _binned(pred: np.ndarray, true: np.ndarray, inside: np.ndarray) -> Sums:
    """Return each eye's count (n), label (t), difference (d) and error (e), summed over a bin."""
    sums = np.empty((4, len(inside)))
    for start in range(0, len(inside), BLOCK):
        rows = slice(start, start + BLOCK)
        there = inside[rows]
        d, t = (np.where(there, v, 0.0) for v in (pred[rows] - true[rows], true[rows]))
        for total, values in zip(sums, (there, t, d, np.abs(d)), strict=True):
            total[rows] = values.sum(axis=1)
    return dict(zip("ntde", sums, strict=True))


def _means_of_bin(sums: Sums, n_patients: int) -> dict[str, np.ndarray]:
    return {
        metric: on_scale(metric, divide(sums[total], sums["n"]), n_patients)
        for metric, total in {"thickness": "t", "mae": "e", "bias": "d"}.items()
    }


def points_table(
    predictions: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    shown: Sequence[tuple[str, str]] = (),
) -> pd.DataFrame:
    """Return each eye's mean thickness, for drawing: backbone, protocol, eye_id, label, predicted.

    Of the first run of each condition, or of those ``shown`` as (backbone, protocol).
    """
    parts = []
    for condition in conditions(predictions, runs):
        if not shown or tuple(condition.key.values()) in shown:
            pred, true = (means[:, 0] for means in _region_means(condition.runs[0], CIRCLE))
            values = {"eye_id": condition.runs[0].eye_ids, "label": true, "predicted": pred}
            parts.append(pd.DataFrame({**condition.key, **values}).round(2))
    return pd.concat(parts, ignore_index=True)
