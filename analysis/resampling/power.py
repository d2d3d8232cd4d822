"""How many eyes and seeds a difference of two models needs, and what those at hand can find.

A difference by patient p and seed s is taken as µ + patient_p + seed_s + both_ps, and decided as
the project's tables decide it (:mod:`analysis.resampling.comparisons`): patients' signs exchanged,
the noise of few seeds added. Power is the share of studies, drawn from these parts, that find the
difference. **Ours.**
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.resampling.bootstrap import LEVEL, patient_codes, patient_sums
from rnfl.core import schema
from rnfl.core.metrics import mae_per_eye

STUDIES = 4000  # drawn for a power: its own error is below 1 point
POINTS = 499  # of a null
LARGEST = 1_000_000  # patients
COLUMNS = ("against", "metric", "estimate", "low", "high", "n", "n_seeds", "seed_sd")


@dataclass(frozen=True)
class Parts:
    """The SDs (µm) of a difference's parts: a patient's, a seed's, and of one patient and seed."""

    patient: float
    seed: float
    both: float
    eyes_per_patient: float = 1.0


@dataclass(frozen=True)
class Pilot:
    """What runs at hand say: their parts, how many there are, and the difference they show."""

    parts: Parts
    patients: int
    seeds: int
    difference: float


def parts(differences: np.ndarray, eyes_per_patient: float = 1.0) -> Parts:
    """Return the parts of differences (P, k) of P patients and k seeds, by analysis of variance.

    A ValueError for fewer than two patients or seeds: one seed says nothing about others.

    Examples
    --------
    >>> parts(np.array([[1.0, 2.0], [3.0, 4.0]]))
    Parts(patient=1.4142135623730951, seed=0.7071067811865476, both=0.0, eyes_per_patient=1.0)
    """
    n, k = differences.shape
    if n < 2 or k < 2:
        raise ValueError(
            f"{n} patients and {k} seeds: expected two of each at least, as one says nothing about "
            "others; train both models with another seed"
        )
    by_patient, by_seed = differences.mean(axis=1), differences.mean(axis=0)
    rest = differences - by_patient[:, None] - by_seed + differences.mean()
    both = (rest**2).sum() / ((n - 1) * (k - 1))
    patient = max(by_patient.var(ddof=1) - both / k, 0.0)
    seed = max(by_seed.var(ddof=1) - both / n, 0.0)
    return Parts(*(float(one**0.5) for one in (patient, seed, both)), eyes_per_patient)


def pilot(a: Sequence[pd.DataFrame], b: Sequence[pd.DataFrame]) -> Pilot:
    """Return what the predictions of two models say, seed by seed, of their difference in MAE.

    Parameters
    ----------
    a, b : sequence of DataFrame (k,)
        Predictions tables of the same eyes, paired by place; the difference is a - b.

    Raises
    ------
    ValueError
        When they are not of the same eyes, not as many, or fewer than two.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} runs against {len(b)}: expected pairs, seed by seed")
    eyes, found = a[0][["eye_id", "patient_id"]].reset_index(drop=True), []
    for pair in zip(a, b, strict=True):
        for table in pair:
            if not table[["eye_id", "patient_id"]].reset_index(drop=True).equals(eyes):
                raise ValueError(
                    "runs to compare predict different eyes: expected runs tested on the same ones"
                )
        errors = [mae_per_eye(schema.matrix(t), schema.matrix(t, "target")) for t in pair]
        found.append(errors[0] - errors[1])
    differences = np.stack(found, axis=1)
    measured = np.isfinite(differences).all(axis=1)
    patients, codes = patient_codes(eyes["patient_id"][measured].tolist())
    ratio = int(measured.sum()) / len(patients)
    by_patient = patient_sums(differences[measured], codes) / ratio  # whose mean is that over eyes
    return Pilot(parts(by_patient, ratio), *by_patient.shape, float(by_patient.mean()))


def of_table(comparisons: pd.DataFrame) -> tuple[list[tuple[str, Pilot]], list[str]]:
    """Return what rows of a notebook's comparisons say: those of the MAE, of many seeds.

    An interval holds both kinds of noise; what is not that of the seeds is the patients'. Most
    tables take one SD over seeds for all comparisons with the same model, some take each row's own,
    and none says which: it is the one SD if that leaves every row a patients' part. Eyes stand for
    patients, and a seed's part holds that of one patient and seed.

    Returns
    -------
    list of (str, Pilot)
    list of str
        Rows left out: the noise of their seeds is all that their interval shows.

    Raises
    ------
    ValueError
        For a table that is none of comparisons, has one seed alone, or of which no row is left.
    """
    if missing := [name for name in COLUMNS if name not in comparisons]:
        raise ValueError(
            f"columns {missing} are missing, found {list(comparisons)}: expected a notebook's "
            "comparisons.csv"
        )
    rows = comparisons[(comparisons["metric"] == "mae") & (comparisons["n_seeds"] > 1)]
    rows = rows.dropna(subset=["low", "high", "seed_sd"])
    if not len(rows):
        raise ValueError(
            "no row has metric 'mae' and more than one seed: one says nothing about others"
        )
    by = rows.groupby("against")["seed_sd"]
    pooled = by.transform(lambda sd: float(np.sqrt(np.mean(sd**2))))
    freedom = by.transform("size") * (rows["n_seeds"] - 1)
    for sds, degrees in ((pooled, freedom), (rows["seed_sd"], rows["n_seeds"] - 1)):
        luck = sds / rows["n_seeds"] ** 0.5
        halves = (rows["high"] - rows["low"]) / 2
        found = [_patients_error(*one) for one in zip(halves, luck, degrees, strict=True)]
        shown = np.array(found) > 0.1 * halves.to_numpy()
        if shown.all():
            break
    keys = list(rows.columns[: rows.columns.get_loc("against")])
    keys += [name for name in rows.columns[rows.columns.get_loc("seed_sd") + 1 :]]
    made, left_out = [], []
    for (_, row), sd, patients, told in zip(rows.iterrows(), sds, found, shown, strict=True):
        said = ", ".join(str(row[name]) for name in keys if pd.notna(row[name]))
        said += f" against {row['against']}"
        if not told:
            left_out.append(said)
            continue
        parts_ = Parts(patients * row["n"] ** 0.5, float(sd), 0.0)
        sizes = int(row["n"]), int(row["n_seeds"])
        made.append((said, Pilot(parts_, *sizes, row["estimate"])))
    if not made:
        raise ValueError(
            "no interval shows more than the noise of its seeds: plan from the runs "
            "(rnfl power RUN ... --against RUN ...)"
        )
    return made, left_out


def _patients_error(half: float, luck: float, degrees: int) -> float:
    """Return the standard error of patients that, with that of seeds, gives half an interval."""
    low, high = 0.0, half / stats.norm.ppf((1 + LEVEL) / 2)
    for _ in range(40):
        middle = (low + high) / 2
        wide = float(_critical(np.array([middle]), np.array([luck]), degrees, 1 - LEVEL)[0]) > half
        low, high = (low, middle) if wide else (middle, high)
    return low


def _critical(patients: np.ndarray, luck: np.ndarray, degrees: int, alpha: float) -> np.ndarray:
    """Return the size (n,) that a difference must have: of errors (n,) of patients and seeds."""
    shares = (np.arange(POINTS) + 0.5) / POINTS
    t = stats.t.ppf(shares, degrees)
    # The normal error of patients is averaged over exactly, at each point of the seeds' t.
    low, high = np.zeros(len(patients)), 40 * (patients + luck) + 1e-12
    for _ in range(40):
        size = (low + high) / 2
        z = (size[:, None] - luck[:, None] * t) / np.maximum(patients, 1e-12)[:, None]
        beyond = 2 * stats.norm.sf(z).mean(axis=1) > alpha
        low, high = np.where(beyond, size, low), np.where(beyond, high, size)
    return high


def power(parts: Parts, difference: float, patients: int, seeds: int, family: int = 1) -> float:
    """Return the chance that a study finds a difference in MAE.

    Parameters
    ----------
    difference : float
        µm, of the true means.
    patients, seeds : int
        Of the study; with one seed, seeds' noise is there and unseen, as in a table of one seed.
    family : int
        Comparisons that Holm's correction covers; the smallest p of them is multiplied by as many,
        which is taken for all (ours: on the safe side).
    """
    rng = np.random.default_rng(0)
    by_seed = np.hypot(parts.seed, parts.both / patients**0.5)
    luck = rng.standard_normal((STUDIES, seeds)) * by_seed
    shown = difference + luck.mean(axis=1)
    shown += rng.standard_normal(STUDIES) * parts.patient / patients**0.5
    spread = luck.std(axis=1, ddof=1) if seeds > 1 else np.zeros(STUDIES)
    # Exchanged, a patient's difference is as far from zero as it is: the mean difference counts.
    squares = parts.patient**2 + parts.both**2 / seeds + difference**2
    # A grid of what seeds may show, in place of a null for each study.
    grid = np.quantile(spread, np.linspace(0, 1, 60))
    error = np.full(len(grid), (squares / patients) ** 0.5)
    critical = _critical(error, grid / seeds**0.5, max(seeds - 1, 1), (1 - LEVEL) / family)
    limits = np.interp(spread, grid, critical)
    return float((np.abs(shown) >= limits).mean())


def needed(
    parts: Parts, difference: float, seeds: int, share: float = 0.8, family: int = 1
) -> int | None:
    """Return the fewest patients with which a difference is found with that chance.

    None where no number of patients is enough: the seeds are too few.
    """
    few, many = 1, LARGEST
    if power(parts, difference, many, seeds, family) < share:
        return None
    while many > 1.02 * few + 1:  # to 2 %
        middle = int((few * many) ** 0.5) if few > 1 else max(2, int(many**0.5))
        enough = power(parts, difference, middle, seeds, family) >= share
        few, many = (few, middle) if enough else (middle, many)
    return many


def detectable(
    parts: Parts, patients: int, seeds: int, share: float = 0.8, family: int = 1
) -> float:
    """Return the smallest difference (µm) that a study finds with that chance, to 1 %."""
    scale = (parts.patient + parts.both) / patients**0.5 + parts.seed + 1e-9
    low, high = 0.0, 100 * scale
    while high - low > 0.01 * high:
        middle = (low + high) / 2
        enough = power(parts, middle, patients, seeds, family) >= share
        low, high = (low, middle) if enough else (middle, high)
    return high


def design(pilot: Pilot, difference: float, share: float = 0.8, family: int = 1) -> pd.DataFrame:
    """Return the patients needed for a difference, by number of seeds.

    Returns
    -------
    DataFrame
        seeds, patients, eyes; <NA> where no number of patients is enough.
    """
    rows = []
    for seeds in (2, 3, 5, 10, 20):
        patients = needed(pilot.parts, difference, seeds, share, family)
        eyes = None if patients is None else round(patients * pilot.parts.eyes_per_patient)
        rows.append({"seeds": seeds, "patients": patients, "eyes": eyes})
    return pd.DataFrame(rows).astype({"patients": "Int64", "eyes": "Int64"})
