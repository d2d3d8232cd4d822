"""Simulated eyes of a test set, and the bootstrap of their metrics: ours and scipy's.

``bootstrap.py`` measures what is here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from analysis.collapse import DEFINITIONS
from analysis.fairness.gaps import max_min, tally_of
from analysis.fairness.groups import ATTRIBUTES, MIN_EYES, Tally
from analysis.resampling.bootstrap import patient_counts
from analysis.resampling.patient_sums import PatientSums, replicates
from rnfl.core import metrics

SEED = 0
GAPS = tuple(f"gap by {name}" for name in (*ATTRIBUTES, "mean"))

Statistic = Callable[[np.ndarray], float]


class Study:
    """Predictions and targets (n, 360) of eyes of patients with attributes, and their bootstraps.

    Every patient has one eye or two.
    """

    def __init__(self, n_eyes: int, n_patients: int, n_boot: int) -> None:
        rng = np.random.default_rng(SEED)
        self.n_patients, self.n_boot = n_patients, n_boot
        both = rng.permutation(n_patients)[: n_eyes - n_patients]
        self.codes = np.sort(np.concatenate([np.arange(n_patients), both]))
        depth = rng.normal(0, 14, (n_patients, 1))[self.codes] + rng.normal(0, 7, (n_eyes, 1))
        angle = np.deg2rad(np.arange(360))
        hump, tilt = 88 - 26 * np.cos(2 * angle), 6 * rng.normal(size=(n_eyes, 1)) * np.sin(angle)
        self.target = hump + depth + tilt + rng.normal(0, 4, (n_eyes, 360))
        self.prediction = hump + 0.6 * depth + rng.normal(0, 9, (n_eyes, 360))
        self.eyes = pd.DataFrame({
            "age": rng.uniform(20, 90, n_patients),
            "sex": rng.choice(["F", "M"], n_patients),
            "race": rng.choice(["Asian", "Black", "White"], n_patients),
        }).iloc[self.codes]  # fmt: skip
        first = np.searchsorted(self.codes, np.arange(n_patients))
        second = np.append(first[1:], n_eyes) - 1
        self.eyes_of = np.stack([first, np.where(second > first, second, -1)], axis=1)

    def tally(self, errors: np.ndarray) -> Tally:
        """Return the groups of all attributes."""
        return tally_of(errors, self.codes, self.eyes, ATTRIBUTES, MIN_EYES, 1)

    def ours(self, names: tuple[str, ...], shared: bool = False) -> dict[str, np.ndarray]:
        """Return our replicates of metrics and gaps; all is made again but, if shared, the draw."""
        if not shared:
            patient_counts.cache_clear()
        counts = patient_counts(self.n_patients, self.n_boot, SEED)
        sums = PatientSums(self.prediction, self.target, self.codes)
        out = replicates([name for name in names if name not in GAPS], sums, counts)
        if set(names) & set(GAPS):
            errors = metrics.mae_per_eye(self.prediction, self.target)[None]
            tally = self.tally(errors)
            means = tally.resampled(errors, counts)[0]
            gaps = [
                max_min(means[:, where][:, tally.large[where]]) for where in tally.slices.values()
            ]
            found = dict(zip(GAPS, [*gaps, np.mean(gaps, axis=0)], strict=True))
            out |= {name: found[name] for name in names if name in GAPS}
        return out

    def by_definition(self, name: str) -> Statistic:
        """Return a statistic of drawn patients (P,) that gathers their eyes."""
        tally = self.tally(np.zeros((1, len(self.codes))))

        def gap(rows: np.ndarray) -> float:
            errors = metrics.mae_per_eye(self.prediction[rows], self.target[rows])
            members, sizes = tally.members[rows], []
            for where in tally.slices.values():
                chosen = members[:, where][:, tally.large[where]]
                sizes.append(np.ptp([errors[group].mean() for group in chosen.T]))
            return float(np.mean(sizes) if name == GAPS[-1] else sizes[GAPS.index(name)])

        def statistic(drawn: np.ndarray) -> float:
            rows = self.eyes_of[drawn.astype(int)].ravel()
            rows = rows[rows >= 0]
            if name in GAPS:
                return gap(rows)
            return DEFINITIONS[name](self.prediction[rows], self.target[rows])

        return statistic

    def scipy(self, statistic: Callable, n_boot: int, rng: np.random.Generator, **options):
        """Return scipy's percentile bootstrap of a statistic of drawn patients."""
        patients = (np.arange(self.n_patients),)
        options = {"vectorized": False, **options}
        return stats.bootstrap(
            patients,
            statistic,
            n_resamples=n_boot,
            method="percentile",
            random_state=rng,
            **options,
        )

    def vectorized(self, rng: np.random.Generator, batch: int):
        """Return scipy's bootstrap of the mean absolute error, errors gathered by the batch."""
        errors = np.abs(self.prediction - self.target)
        present = self.eyes_of >= 0
        padded = np.where(present[..., None], errors[self.eyes_of], 0.0)
        padded, sizes = padded.reshape(self.n_patients, -1), 360 * present.sum(axis=1)

        def mean(drawn: np.ndarray, axis: int) -> np.ndarray:
            return padded[drawn].sum(axis=(-1, -2)) / sizes[drawn].sum(axis=axis)

        return self.scipy(mean, self.n_boot, rng, vectorized=True, batch=batch)

    def with_sums(self, rng: np.random.Generator, batch: int = 100):
        """Return scipy's bootstrap of the mean absolute error from per-patient sums."""
        total, count = PatientSums(self.prediction, self.target, self.codes)["mae"].T

        def ratio(drawn: np.ndarray, axis: int) -> np.ndarray:
            return total[drawn].sum(axis=axis) / count[drawn].sum(axis=axis)

        return self.scipy(ratio, self.n_boot, rng, vectorized=True, batch=batch)
