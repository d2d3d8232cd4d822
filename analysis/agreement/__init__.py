"""Agreement as clinicians read it: Bland-Altman, and error against thickness.

A difference is predicted minus label. Limits of agreement are bias ± 1.96 SD of the differences
over eyes (Bland and Altman, Lancet 1986): what to expect of one more eye. Where an error depends on
the thickness, two slopes say so, and they answer different questions:

- ``slope_on_label``, of the difference on the label, is the one to read. It says how far thin eyes
  are overestimated, as a share of how thin they are: 0 for none, −1 for a template. The label is
  the reference here, so it is the abscissa (Krouwer, Stat Med 2008). Its noise pulls the slope
  below 0 even for the truth itself (Bland and Altman, Lancet 1995); the oracle floor's row shows
  how far.
- ``slope_on_mean``, of the difference on the mean of both, is the customary one. It compares
  spreads and nothing else: it is 0 whenever predictions vary as much as labels, right or wrong, and
  −2 for a template.

Everything is a function of sums over eyes, patients are resampled, and training seeds are a random
effect (:func:`analysis.resampling.conditions.row`): limits describe one training run and average
over seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from analysis.agreement.thickness import thickness_table
from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.conditions import conditions
from analysis.resampling.regions import (
    BY_QUADRANT,
    CIRCLE,
    Sums,
    group_row,
    on_scale,
    patient_weights,
    region_means,
    weighted_sums,
)
from rnfl.core.nanstats import divide

__all__ = ["BLAND_ALTMAN", "agreement_table", "points_table", "thickness_table"]

WIDTH = 1.96  # SDs from the bias to a limit of agreement
TINY = 1e-9  # a variance below this share of the mean square is rounding, not spread


def _columns(pred: np.ndarray, true: np.ndarray) -> Sums:
    there = np.isfinite(pred) & np.isfinite(true)
    d, t = (np.where(there, values, 0.0) for values in (pred - true, true))
    return {"n": there.astype(float), "d": d, "t": t, "dd": d * d, "tt": t * t, "dt": d * t,
            "e": np.abs(d)}  # fmt: skip


def _spread(s: Sums, a: str, b: str) -> np.ndarray:
    """Return the sum of co-deviations of two columns; exactly 0 where it is rounding."""
    product = s["".join(sorted((a, b)))]
    deviation = product - divide(s[a] * s[b], s["n"])
    return np.where(np.abs(deviation) < TINY * np.abs(product), 0.0, deviation)


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
    out = {}
    for metric, value in FROM_SUMS.items():
        values = value(sums)
        out[metric] = on_scale(SCALES.get(metric, metric), values, n_patients)
    half = WIDTH * out["sd"]
    return out | {"limit_low": out["bias"] - half, "limit_high": out["bias"] + half}


def agreement_table(
    predictions: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """Return the Bland-Altman statistics of the global mean and of the quadrant means.

    Parameters
    ----------
    predictions, runs
        As in :func:`analysis.resampling.conditions.conditions`; template and oracle floor are rows
        when predicted.

    Returns
    -------
    DataFrame
        Long: backbone, protocol, metric (:data:`BLAND_ALTMAN`), attribute 'region', group,
        estimate, low, high, n, n_seeds, seed_sd. µm, and µm per µm for slopes. NaN below 10 eyes.
    """
    rows = []
    for condition in conditions(predictions, runs):
        weights = patient_weights(condition, resampling)
        means = [region_means(run, BY_QUADRANT) for run in condition.runs]
        for j, region in enumerate(BY_QUADRANT):
            sums = [
                weighted_sums(run, weights, _columns(pred[:, j], true[:, j]))
                for run, (pred, true) in zip(condition.runs, means, strict=True)
            ]
            n = int(sums[0]["n"][0])
            found = [bland_altman(s, condition.n_patients) for s in sums]
            for metric in BLAND_ALTMAN:
                values = np.stack([one[metric] for one in found])
                rows.append(group_row(condition, metric, values, n, resampling, "region", region))
    return pd.DataFrame(rows)


def points_table(
    predictions: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    shown: Sequence[tuple[str, str]] = (),
) -> pd.DataFrame:
    """Return each eye's mean thickness, for drawing: backbone, protocol, eye_id, label, predicted.

    Parameters
    ----------
    predictions, runs
        As in :func:`analysis.resampling.conditions.conditions`. The first run of each condition is
        taken.
    shown : sequence of (backbone, protocol)
        By default every condition.
    """
    parts = []
    for condition in conditions(predictions, runs):
        if not shown or tuple(condition.key.values()) in shown:
            pred, true = (means[:, 0] for means in region_means(condition.runs[0], CIRCLE))
            values = {"eye_id": condition.runs[0].eye_ids, "label": true, "predicted": pred}
            parts.append(pd.DataFrame({**condition.key, **values}).round(2))
    return pd.concat(parts, ignore_index=True)
