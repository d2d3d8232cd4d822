"""Rotation response: does a prediction turn with its image? (ours)

An image turned about the disc by φ shows the profile shifted by φ. A model that reads this eye
shifts its prediction as far; one that repeats a shape leaves it where it was. The slope of the
shift on φ is 1 for the first and 0 for the second, whatever the spread between eyes is. It says
nothing of *what* is read: a model that follows the vessels alone turns as well.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.bootstrap import mean_replicates
from analysis.resampling.conditions import Condition, conditions, row
from analysis.resampling.scales import on_scale
from rnfl.core import metrics

REACH = 45  # degrees: the largest shift looked for; the double hump repeats itself at 180


def shifts(profiles: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """Return by how many degrees each turned profile is shifted (n,), where the two agree best.

    The lag of the largest circular covariance within ±45°, between whole degrees by a parabola; 0
    where a profile has no shape.

    Parameters
    ----------
    profiles, turned : ndarray (n, 360), µm

    Examples
    --------
    >>> hump = np.cos(np.deg2rad(np.arange(360)))[None]
    >>> shifts(hump, np.roll(hump, 7, axis=1)).tolist(), shifts(hump, hump).tolist()
    ([7.0], [0.0])
    """
    a, b = (np.fft.fft(x - x.mean(axis=1, keepdims=True)) for x in (profiles, turned))
    lags = np.arange(-REACH - 1, REACH + 2)
    agreement = np.fft.ifft(b * a.conj()).real[:, lags]
    best = agreement[:, 1:-1].argmax(axis=1) + 1
    before, at, after = (agreement[np.arange(len(best)), best + i] for i in (-1, 0, 1))
    bend = before - 2 * at + after
    between = np.divide(before - after, 2 * bend, out=np.zeros(len(best)), where=bend < 0)
    shapeless = (np.ptp(profiles, axis=1) == 0) | (np.ptp(turned, axis=1) == 0)
    # Rounding leaves a template's two neighbours a hair apart, and its shift must be 0.
    return np.where(shapeless, 0.0, (lags[best] + np.clip(between, -0.5, 0.5)).round(6))


def rotation_table(
    turned: pd.DataFrame, runs: pd.DataFrame | None = None, resampling: Resampling = DEFAULT
) -> pd.DataFrame:
    """Return the rotation response of each condition, and what it is made of.

    ``turned`` is a predictions table with ``turn`` (whole degrees), 0 among them, ``runs`` that of
    :func:`analysis.resampling.conditions.conditions`.

    Returns
    -------
    DataFrame
        Long, as of :func:`analysis.collapse.collapse_table`. Metrics: ``rotation_response``, the
        slope through 0 of the shift on the turn, the mean over eyes; and by ``turn`` (group: its
        degrees) ``shift`` (degrees), ``turned_mae`` and ``rolled_mae`` (µm), the error of the
        prediction as it is and rolled back by the turn.

    Raises
    ------
    ValueError
        When no images were turned by 0°, or by nothing else.
    """
    turns = sorted(turned["turn"].unique())
    if 0 not in turns or len(turns) < 2:
        raise ValueError(f"turns {turns}: expected 0 and at least one other")
    at = {one: list(conditions(turned[turned["turn"] == one], runs)) for one in turns}
    rows = []
    for i, still in enumerate(at[0]):
        rows += _rows(still, {one: at[one][i] for one in turns}, resampling)
    return pd.DataFrame(rows)


def _rows(
    still: Condition, at: dict[int, Condition], resampling: Resampling
) -> Iterator[dict[str, object]]:
    def measured(metric: str, values: np.ndarray, **group: str) -> dict[str, object]:
        drawn = mean_replicates(values, still.runs[0].codes, resampling).T  # (k, 1 + n_boot)
        wide = on_scale(metric, drawn, still.n_patients)
        return row(still.key, metric, wide[:, 0], wide[:, 1:], still.n, resampling, **group)

    moved = {}  # (k, n) by turn
    for one, there in at.items():
        pairs = zip(still.runs, there.runs, strict=True)
        moved[one] = np.stack([shifts(a.prediction, b.prediction) for a, b in pairs])
    weight = sum(one**2 for one in at)
    yield measured("rotation_response", sum(one * moved[one] for one in at) / weight)
    for one, there in at.items():
        group = {"attribute": "turn", "group": f"{one:+d}"}
        rolled = [
            metrics.mae_per_eye(np.roll(run.prediction, -int(one), axis=1), run.target)
            for run in there.runs
        ]
        yield measured("shift", moved[one], **group)
        yield measured("turned_mae", there.errors, **group)
        yield measured("rolled_mae", np.stack(rolled), **group)
