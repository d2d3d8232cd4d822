"""Splits, folds and fractions that never share a patient and do not depend on row order.

A run names its split of a dataset: ``own`` is the dataset's ``split`` column, ``all`` trains on
everything but 15 % of the patients, kept for validation, and ``fold-<i>-of-<k>-s<seed>`` is one
fold of a cross-validation.

Every choice is made by hashing the patient's id with a seed, so it is the same in every process
and on every machine. Both eyes of a patient always go together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rnfl.core import identity
from rnfl.storage.tables import listed

FRACTIONS = {"train": 0.70, "val": 0.10, "test": 0.20}
VALIDATION = 0.15  # share of patients that the split 'all' keeps for validation
QUALITIES = ("high", "low")
FOLD = re.compile(r"fold-(\d+)-of-(\d+)-s(\d+)")


@dataclass(frozen=True)
class Lesson:
    """The part of its labelled eyes that a run learns from: teaches, and validates, with.

    Attributes
    ----------
    fraction : float
        Of the patients, (0, 1]; the same in training and validation, as labels that are not there
        cannot validate either. Of one seed, a larger fraction contains a smaller one.
    seed : int
        Which patients they are.
    quality : float or None
        Where a dataset has each picture in high and low quality: the share of patients, [0, 1],
        whose pictures are of high quality, the others' being of low. None: every picture.
    """

    fraction: float = 1.0
    seed: int = 0
    quality: float | None = None

    def __post_init__(self):
        for name in ("fraction", "quality"):  # 1 and 1.0 are one address
            if getattr(self, name) is not None:
                object.__setattr__(self, name, float(getattr(self, name)))
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction {self.fraction}: expected 0 < fraction <= 1")
        if self.quality is not None and not 0 <= self.quality <= 1:
            raise ValueError(f"quality {self.quality}: expected a share from 0 to 1")


EVERYTHING = Lesson()


def _uniform(patient_ids: Sequence[str], purpose: str, seed: int) -> pd.Series:
    """Return a number in [0, 1) for each distinct patient, independent between purposes."""
    patients = sorted(set(patient_ids))
    foreign = [patient for patient in patients if not isinstance(patient, str)]
    if foreign:
        raise ValueError(f"patient ids {foreign[:5]}: expected strings")
    digests = [hashlib.sha256(f"{purpose}/{seed}/{p}".encode()).digest() for p in patients]
    return pd.Series([int.from_bytes(d[:6]) / 2**48 for d in digests], patients, dtype=float)


def patient_split(
    samples: pd.DataFrame, fractions: Mapping[str, float] = FRACTIONS, seed: int = 0
) -> pd.Series:
    """Return the split of each row, decided by its patient's id and the seed alone.

    A patient keeps its split whatever other patients a dataset holds, so datasets of different
    sizes drawn from the same people agree. Fractions are therefore met in expectation, by patient.

    Parameters
    ----------
    samples : DataFrame with a ``patient_id`` column
    fractions : mapping of split name to fraction, summing to 1
    seed : int

    Returns
    -------
    Series of str, with the index of ``samples``

    Raises
    ------
    ValueError
        When the fractions do not sum to 1, or a split would be left without patients.

    Examples
    --------
    >>> eyes = pd.DataFrame({"patient_id": ["ann", "ann", "bob"]})
    >>> patient_split(eyes, {"train": 0.5, "test": 0.5}, seed=3).tolist()
    ['train', 'train', 'test']
    """
    shares = np.array(list(fractions.values()), dtype=float)
    if (shares < 0).any() or not np.isclose(shares.sum(), 1):
        raise ValueError(f"fractions {dict(fractions)}: expected positive numbers summing to 1")
    place = _uniform(samples["patient_id"], "split", seed)
    # The last edge is left out: it may fall short of 1 by rounding.
    bins = np.searchsorted(np.cumsum(shares)[:-1], place, side="right")
    label = pd.Series(np.array(list(fractions), dtype=object)[bins], place.index)
    empty = [name for name, share in fractions.items() if share and name not in set(label)]
    if empty:
        raise ValueError(f"{len(place)} patients leave {empty} empty: give more, or another seed")
    return samples["patient_id"].map(label).rename("split")


def folds_by_patient(patient_ids: Sequence[str], k: int, seed: int = 0) -> np.ndarray:
    """Return the fold (n,), 0 to k-1, of each row; folds differ by one patient at most.

    ``k`` is 2 to the number of patients.

    Examples
    --------
    >>> folds_by_patient(["ann", "bob", "ann"], 2)
    array([0, 1, 0])
    """
    order = _uniform(patient_ids, "fold", seed).sort_values().index
    if len(order) < 2:
        raise ValueError(f"{len(patient_ids)} eyes of one patient or none: folds need 2 patients")
    if not 2 <= k <= len(order):
        raise ValueError(f"{k} folds: expected 2 to {len(order)}, the number of patients")
    fold = {patient: rank % k for rank, patient in enumerate(order)}
    return np.array([fold[patient] for patient in patient_ids])


def nested_fraction(patient_ids: Sequence[str], fraction: float, seed: int = 0) -> np.ndarray:
    """Return the mask (n,) of a fraction, (0, 1], of patients; a larger one contains a smaller one.

    Examples
    --------
    >>> nested_fraction(["ann", "bob", "ann"], 0.5)
    array([ True, False,  True])
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction {fraction}: expected 0 < fraction <= 1")
    order = _uniform(patient_ids, "fraction", seed).sort_values().index
    chosen = set(order[: max(1, round(fraction * len(order)))])
    return np.array([patient in chosen for patient in patient_ids])


def taught(samples: pd.DataFrame, lesson: Lesson) -> np.ndarray:
    """Return the mask (n,) of the rows that a lesson teaches with.

    Parameters
    ----------
    samples : DataFrame with the column ``patient_id``, and ``quality`` where the lesson names one

    Raises
    ------
    ValueError
        Where the lesson mixes qualities and the dataset does not say which its pictures have.

    Examples
    --------
    >>> eyes = pd.DataFrame({"patient_id": ["ann", "ann", "bob", "bob"],
    ...                      "quality": ["high", "low", "high", "low"]})
    >>> taught(eyes, Lesson(quality=0.5)).tolist()
    [True, False, False, True]
    """
    patients = samples["patient_id"].tolist()
    if lesson.fraction == 1:
        chosen = np.ones(len(samples), bool)
    else:
        chosen = nested_fraction(patients, lesson.fraction, lesson.seed)
    if lesson.quality is None:
        return chosen
    if "quality" not in samples or not samples["quality"].isin(QUALITIES).all():
        raise ValueError(
            f"quality {lesson.quality}: expected a dataset whose column 'quality' says 'high' or "
            "'low' of every picture, such as phantom-slo-1200-qualities"
        )
    order = _uniform(patients, "quality", lesson.seed).sort_values().index
    high = set(order[: round(lesson.quality * len(order))])
    shown = np.where([one in high for one in patients], *QUALITIES)
    return chosen & (samples["quality"] == shown).to_numpy()


def check(split: str) -> tuple[int, int, int] | None:
    """Refuse a name that is no split; return fold, number of folds and seed of one of folds.

    There are 3 folds at least, one each to train, validate and test.
    """
    if split in ("own", "all"):
        return None
    match = FOLD.fullmatch(split)
    if match is None:
        raise ValueError(
            f"unknown split {split!r}; valid ones are 'own', 'all' and "
            f"'fold-<i>-of-<k>-s<seed>' such as 'fold-0-of-10-s0'"
        )
    fold, k, seed = map(int, match.groups())
    if not (k >= 3 and fold < k and split == fold_name(fold, k, seed)):
        raise ValueError(
            f"split {split!r}: expected 0 <= i < k, at least 3 folds and no leading zeros"
        )
    return fold, k, seed


def fold_name(fold: int, k: int, seed: int = 0) -> str:
    """Return the split that tests on one of ``k`` folds.

    Examples
    --------
    >>> fold_name(0, 10)
    'fold-0-of-10-s0'
    """
    return f"fold-{fold}-of-{k}-s{seed}"


def divide(samples: pd.DataFrame, split: str = "own") -> pd.Series:
    """Return what a run uses each row of ``samples`` for: 'train', 'val' or 'test'.

    Parameters
    ----------
    samples : DataFrame with the columns ``patient_id`` and ``split``
    split : str
        ``own``, ``all`` (no row is left to test on) or ``fold-<i>-of-<k>-s<seed>``: fold ``i`` of
        :func:`folds_by_patient` is tested on, the next one validates and the others train.

    Returns
    -------
    Series of str, with the index of ``samples``

    Raises
    ------
    ValueError
        For an unknown split, more folds than patients, or a patient that would be divided because
        its id is spelt in two ways.

    Examples
    --------
    >>> eyes = pd.DataFrame({"patient_id": ["ann", "bob", "cat", "ann"]})
    >>> divide(eyes, "fold-0-of-3-s0").tolist()
    ['val', 'train', 'test', 'val']
    """
    folds = check(split)
    patients = samples["patient_id"].tolist()
    if split == "own":
        return samples["split"]
    if split == "all":
        label = np.where(nested_fraction(patients, VALIDATION), "val", "train")
    else:
        fold, k, seed = folds
        uses = np.array(["test", "val"] + ["train"] * (k - 2))
        label = uses[(folds_by_patient(patients, k, seed) - fold) % k]
    people = pd.Series(patients, dtype=object).map(identity.bare)
    parts = pd.Series(label).groupby(people).transform("nunique")
    if apart := [one for one, n in zip(patients, parts, strict=True) if n > 1]:
        raise ValueError(
            f"split {split!r} divides patients whose ids differ in zeros, case, spaces or '.0' "
            f"alone: {listed(identity.alike(apart))}: spell an id in one way and prepare again"
        )
    return pd.Series(label.astype(object), samples.index, name="split")
