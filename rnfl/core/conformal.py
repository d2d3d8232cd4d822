"""How far a curve can be trusted: bands that hold the true one in a stated share of eyes.

Split conformal (Vovk et al., 2005; Lei et al., 2018): on patients whom the model has never seen,
the score of an eye is its largest error over the angles, in units of what errors usually are there.
A band of the right quantile of scores holds the *whole* curve of a new eye in that share of cases,
whatever the model is, as long as eye and patients come from the same source. A pointwise band holds
each angle in that share and hardly ever the whole curve; it stands beside.

One eye of a patient gives a score, for two of them are alike. A third of the patients says what
errors usually are at each angle, the others give the scores **(ours)**. The guarantee is of a mean
over all patients: a group that is read worse is covered less, unless it has a quantile of its own
(Mondrian). Nothing of it holds on another camera: calibrate there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any

import numpy as np

from rnfl.core.nanstats import mean
from rnfl.core.splits import nested_fraction

SHAPED = 30  # patients from which on a third of them says how errors vary with the angle
FEW = 50  # patients of a quantile below which its coverage is uncertain by more than 4 %
LEVEL = 0.9


@dataclass(frozen=True)
class Band:
    """Half-widths of bands round a prediction, by angle (or by quadrant, where these are known).

    Attributes
    ----------
    level : float
        Share of eyes that the band is to hold.
    whole : tuple of float (k,)
        µm; of the simultaneous band, which holds all angles at once; NaN where none was measured.
    pointwise : tuple of float (k,)
        µm; of the band that holds each angle by itself; NaN where too few patients were measured.
    patients : int
        Whose scores made the quantile.
    groups : dict
        Of a group that has its own quantile: by how much its whole band is wider, and its patients.
    """

    level: float
    whole: tuple[float, ...]
    pointwise: tuple[float, ...]
    patients: int
    groups: dict[str, tuple[float, int]] = field(default_factory=dict)

    def limits(
        self, predicted: np.ndarray, group: str | None = None, pointwise: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower and upper ends round predictions (..., k), µm, the lower at least 0.

        A ValueError for a group without a quantile of its own.
        """
        if group is not None and group not in self.groups:
            raise ValueError(f"group {group!r}: the band has quantiles of {sorted(self.groups)}")
        factor = 1.0 if group is None else self.groups[group][0]
        width = np.array(self.pointwise) if pointwise else factor * np.array(self.whole)
        predicted = np.asarray(predicted, float)
        return np.maximum(predicted - width, 0), predicted + width

    def doubts(self) -> list[str]:
        """Return what is to be said beside the band: quantiles of few patients."""
        few = {"all patients": self.patients} | {g: n for g, (_, n) in self.groups.items()}
        return [
            f"band of {name}: {n} patients, below {FEW} its coverage is uncertain"
            for name, n in few.items() if n < FEW
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        lists = {name: list(getattr(self, name)) for name in ("whole", "pointwise")}
        return asdict(self) | lists | {"groups": {k: list(v) for k, v in self.groups.items()}}


def of_dict(held: Mapping[str, Any]) -> Band:
    """Return the band that :meth:`Band.to_dict` wrote."""
    groups = {name: (float(factor), int(n)) for name, (factor, n) in held["groups"].items()}
    ends = {
        name: tuple(np.array(held[name], float)) for name in ("whole", "pointwise")
    }  # None: NaN
    return Band(float(held["level"]), **ends, patients=int(held["patients"]), groups=groups)


def needed(level: float) -> int:
    """Return the fewest patients of whom a quantile exists.

    Examples
    --------
    >>> needed(0.9), needed(0.95)
    (9, 19)
    """
    return ceil(round(level / (1 - level), 9))


def quantile(scores: np.ndarray, level: float) -> float:
    """Return the score that a new one does not exceed with a chance of at least ``level``.

    The ceil((n + 1) · level)-th smallest; infinity where n is too small for one.

    Examples
    --------
    >>> quantile(np.arange(1, 10), 0.9), quantile(np.arange(1, 9), 0.9)
    (9.0, inf)
    """
    rank = ceil(round((len(scores) + 1) * level, 9))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else float("inf")


def calibrate(
    predicted: np.ndarray,
    true: np.ndarray,
    patients: Sequence[str],
    level: float = LEVEL,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Band:
    """Return a band from eyes of patients whom the model has never seen, in no way.

    Parameters
    ----------
    predicted, true : ndarray (n, k), µm
        Profiles, or quadrants; NaN where not measured.
    patients : sequence of str (n,)
    groups : sequence of str (n,), optional
        Whose own quantiles are wanted; an eye without a group has "" and gives none.
    seed : int
        Which eye of a patient, and which third of the patients.

    Raises
    ------
    ValueError
        Where a quantile would rest on fewer patients than :func:`needed`, or the level is none.
    """
    if not 0.5 <= level < 1:
        raise ValueError(f"level {level}: expected a share from 0.5 to below 1")
    error, who = np.abs(np.asarray(predicted, float) - true), np.asarray(patients, object)
    measured = np.isfinite(error).any(axis=1)
    order = np.random.default_rng(seed).permutation(len(who))
    _, first = np.unique(who[order][measured[order]].astype(str), return_index=True)
    rows = np.sort(order[measured[order]][first])  # one eye of each patient
    error, who = error[rows], who[rows]
    shapes = len(rows) >= SHAPED
    aside = nested_fraction(list(who), 1 / 3, seed) if shapes else np.zeros(len(rows), bool)
    scale = np.ones(error.shape[1])
    if shapes:
        scale = np.sqrt(mean(error[aside] ** 2, axis=0))
        scale = np.where(np.isfinite(scale) & (scale > 0), scale, mean(scale))
    scored = ~aside
    scores = np.nanmax(error[scored] / scale, axis=1)
    _refuse_few(len(scores), level, "all patients")
    whole = quantile(scores, level)
    found = {}
    for name in sorted({str(one) for one in groups} - {""}) if groups is not None else ():
        own = scores[np.asarray(groups, object)[rows][scored] == name]
        _refuse_few(len(own), level, f"group {name!r}")
        found[name] = quantile(own, level) / whole, len(own)
    points = np.array([quantile(one[np.isfinite(one)], level) for one in error[scored].T])
    points[np.isinf(points)] = np.nan
    widths = np.where(np.isfinite(error).any(axis=0), whole * scale, np.nan)
    return Band(level, tuple(widths.tolist()), tuple(points.tolist()), len(scores), found)


def _refuse_few(n: int, level: float, whose: str) -> None:
    if n < needed(level):
        raise ValueError(
            f"{whose}: {n} patients give no band of {level:.0%}, expected {needed(level)} at least "
            f"({FEW} for a steady one): leave it out, or calibrate on more"
        )


def coverage(
    low: np.ndarray, high: np.ndarray, true: np.ndarray, groups: Sequence[str] | None = None
) -> dict[str, float]:
    """Return the share of eyes whose whole curve is held, that of angles, and of eyes by group.

    Examples
    --------
    >>> coverage(np.zeros((2, 2)), np.ones((2, 2)), np.array([[0.5, 0.5], [0.5, 2.0]]))
    {'whole': 0.5, 'angles': 0.75}
    """
    measured = np.isfinite(true)
    inside = (low <= true) & (true <= high)
    held = (inside | ~measured).all(axis=1)[measured.any(axis=1)]
    found = {"whole": float(held.mean()), "angles": float(inside[measured].mean())}
    if groups is not None:
        names = np.asarray(groups, object)[measured.any(axis=1)]
        found |= {name: float(held[names == name].mean()) for name in sorted(set(names) - {""})}
    return found
