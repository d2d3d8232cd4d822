"""Groups of eyes: who is in which, how large a group must be, and what chance makes of them.

A group is a level of one attribute ('race' = Black) or of two at once ('sex × race' = F, Black).
Membership is read off the attributes of each eye by key; per-eye values are then added up by
patient and group once, and group means, their resamples and their permutations are one matrix
product each.

Permutation (ours): patients exchange the labels of all their eyes, in order and all attributes
together, with patients who have as many measured eyes and the same attributes on record. Errors of
fellow eyes and of visits are alike, so labels of single eyes are not exchangeable; and patients
with one eye and with two differ in how much they weigh. What differs within a patient (severity of
fellow eyes, age over visits) moves with its place. Every group keeps its number of eyes and of
patients, and a test is exact as soon as labels say nothing about errors among patients with as many
eyes, whoever is more often seen with one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.resampling.bootstrap import blocks, patient_sums, weighted_totals
from analysis.resampling.scales import calibrated
from rnfl.core import schema
from rnfl.core.nanstats import divide

ATTRIBUTES = ("age", "sex", "race")  # the paper's
PAIRS = (("age", "sex"), ("sex", "race"), ("age", "race"))
AGE_BINS = {"<40": (-np.inf, 40.0), "40-60": (40.0, 60.0), ">=60": (60.0, np.inf)}
LEVELS: dict[str, tuple[str, ...]] = {
    "age": tuple(AGE_BINS),
    "sex": schema.SEXES,
    "race": schema.RACES,
    "ethnicity": schema.ETHNICITIES,
    "severity": schema.SEVERITIES,
}
MIN_EYES = 10  # the paper's
#: Ours, for intersections: ten eyes can be five people, whose percentile interval of a mean covers
#: some 83 % instead of 95 % (eight people: 87 %, fifteen: 91 %, simulated with skewed errors).
MIN_PATIENTS = 8


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


@dataclass(frozen=True, eq=False)
class Grouping:
    """One attribute or several crossed: its levels, and who is in them (n_eyes, n_levels)."""

    name: str
    levels: tuple[str, ...]
    members: np.ndarray


def grouping(eyes: pd.DataFrame, attribute: str | Sequence[str]) -> Grouping:
    """Return the groups of one attribute, or of several crossed; a missing value is in none.

    Parameters
    ----------
    eyes : DataFrame
        One row per eye, in the order of the values that will be compared.
    attribute : str or sequence of str
        Of 'age', 'sex', 'race', 'ethnicity', 'severity'.

    Raises
    ------
    ValueError
        For an unknown attribute.

    Examples
    --------
    >>> eyes = pd.DataFrame({"sex": ["F", "M"], "age": [30.0, 70.0]})
    >>> both = grouping(eyes, ("sex", "age"))
    >>> both.name, both.levels[0], both.members[0].tolist()
    ('sex × age', 'F, <40', [True, False, False, False, False, False])
    """
    names = [attribute] if isinstance(attribute, str) else list(attribute)
    unknown = [name for name in names if name not in LEVELS]
    if unknown:
        raise ValueError(f"attributes {unknown}: expected some of {', '.join(LEVELS)}")
    levels, members = [""], np.ones((len(eyes), 1), bool)
    for name in names:
        labels = age_group(eyes["age"]) if name == "age" else eyes[name].to_numpy(object)
        own = np.stack([labels == level for level in LEVELS[name]], axis=1)
        members = (members[:, :, None] & own[:, None, :]).reshape(len(eyes), -1)
        levels = [f"{a}, {b}" if a else b for a in levels for b in LEVELS[name]]
    return Grouping(" × ".join(names), tuple(levels), members)


class Tally:
    """Groups of several groupings side by side, G in all, by patient.

    Parameters
    ----------
    groupings : sequence of Grouping
    codes : ndarray (n_eyes,)
        Place of each eye's patient, from :func:`analysis.resampling.bootstrap.patient_codes`.
    measured : ndarray (n_eyes,) of bool
        Eyes that have a value; the others are in no group.
    min_patients : int
        Groups of fewer, or of fewer than :data:`MIN_EYES`, are not ``large``: not compared.
    """

    def __init__(
        self,
        groupings: Sequence[Grouping],
        codes: np.ndarray,
        measured: np.ndarray,
        min_patients: int = 1,
    ) -> None:
        self.groupings, self.codes, self.measured = tuple(groupings), codes, measured
        self.members = np.hstack([g.members for g in groupings]) & measured[:, None]
        self.counts = patient_sums(self.members.astype(float), codes)  # (P, G)
        self.eyes = patient_sums(measured.astype(float), codes)  # (P,)
        self.n = self.members.sum(axis=0)  # (G,), as the next two
        self.n_patients = (self.counts > 0).sum(axis=0)
        self.large = (self.n >= MIN_EYES) & (self.n_patients >= min_patients)
        # Measured eyes by patient, in order: (P, m), m those of the patient who has most.
        kept = np.flatnonzero(measured)[np.argsort(codes[measured], kind="stable")]
        own = codes[kept]
        self._seats = kept, own, np.arange(len(own)) - np.searchsorted(own, own)
        self._labels = self._seated(self.members.astype(float))  # (P, m, G)
        ends = np.cumsum([len(g.levels) for g in groupings])  # of each grouping among the G
        self.slices = {
            g.name: slice(end - len(g.levels), end) for g, end in zip(groupings, ends, strict=True)
        }

    @property
    def sizes(self) -> dict[str, int]:
        """Eyes in the large groups of each grouping."""
        return {name: int(self.pick(self.n, name).sum()) for name in self.slices}

    def pick(self, means: np.ndarray, name: str) -> np.ndarray:
        """Return the means (..., g) of the large groups of one grouping among all (..., G)."""
        where = self.slices[name]
        return means[..., where][..., self.large[where]]

    def means(self, values: np.ndarray) -> np.ndarray:
        """Return the mean of each group (k, G) for values (k, n_eyes)."""
        return divide(self._sums(values).sum(axis=1), self.n.astype(float))

    def resampled(self, metric: str, values: np.ndarray, resamples: np.ndarray) -> np.ndarray:
        """Return group means (k, n_boot, G) under counts of patients (n_boot, P).

        On the scale of :mod:`analysis.resampling.scales`, each group widened for its own patients.
        """
        *sums, counts = (weighted_totals(resamples, s) for s in (*self._sums(values), self.counts))
        means, again = self.means(values)[:, None], divide(np.stack(sums), counts)
        return calibrated(metric, means, again, self.n_patients)

    def permuted(self, values: np.ndarray, permutations: np.ndarray) -> np.ndarray:
        """Return group means (k, n_perm, G) when patients exchange labels.

        ``permutations`` is of :meth:`permutations`: row b gives patient p the errors of patient
        ``permutations[b, p]``, who has as many eyes.
        """
        seated = np.stack([self._seated(one) for one in self._filled(values)])  # (k, P, m)
        labels = self._labels.reshape(-1, self._labels.shape[-1])
        moved = np.empty((len(seated), len(permutations), labels.shape[1]))
        for rows in blocks(len(permutations)):
            for one, out in zip(seated, moved, strict=True):
                out[rows] = one[permutations[rows]].reshape(-1, len(labels)) @ labels
        return divide(moved, self.n.astype(float))

    def permuted_sums(
        self, values: np.ndarray, permutations: np.ndarray
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the same of one row of values (n_eyes,) as sums by patient (rows, P, G)."""
        seated = self._seated(self._filled(values))
        size = max(2**21 // (len(self._labels) * self._labels.shape[-1]), 1)  # 16 MB
        for rows in blocks(len(permutations), size):
            moved = seated[permutations[rows]]  # (b, P, m)
            places = range(moved.shape[2])
            yield rows, sum(moved[:, :, p, None] * self._labels[:, p] for p in places)

    def permutations(self, n_perm: int, seed: int) -> np.ndarray:
        """Return who takes whose place (n_perm, P), within the strata of the module's docstring."""
        stratum = self._strata()
        own, rng = np.argsort(stratum, kind="stable"), np.random.default_rng([seed, 2])
        moved = np.empty((n_perm, len(stratum)), np.int32)
        for rows in blocks(n_perm):
            draws = rng.random((rows.stop - rows.start, len(stratum)))
            moved[rows, own] = np.argsort(stratum + draws, axis=1)
        return moved

    def exchangeable(self, name: str) -> bool:
        """Return whether any exchange changes who is in which large group of a grouping."""
        stratum = self._strata()
        labels = self.pick(self._labels, name).reshape(len(stratum), -1)
        distinct = np.unique(np.column_stack([stratum, labels]), axis=0)
        return len(distinct) > stratum.max() + 1

    def _strata(self) -> np.ndarray:
        recorded = [self.counts[:, where].sum(axis=1) for where in self.slices.values()]
        rows = np.stack([self.eyes, *recorded], axis=1)
        return np.unique(rows, axis=0, return_inverse=True)[1].ravel()

    def _seated(self, values: np.ndarray) -> np.ndarray:
        """Return values (n_eyes, ...) of measured eyes by patient (P, m, ...), 0 where none is."""
        kept, own, place = self._seats
        seated = np.zeros((len(self.eyes), place.max(initial=0) + 1, *values.shape[1:]))
        seated[own, place] = values[kept]
        return seated

    def _filled(self, values: np.ndarray) -> np.ndarray:
        return np.where(self.measured, values, 0.0)

    def _sums(self, values: np.ndarray) -> np.ndarray:
        """Return sums by patient and group (k, P, G)."""
        filled = self._filled(values)
        return np.stack([patient_sums(one[:, None] * self.members, self.codes) for one in filled])
