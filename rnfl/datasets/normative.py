"""The training set as a trained model remembers it: its facts, and the reference band.

The band holds percentiles of what was measured in the eyes the model learnt from: at each angle and
for the means of quadrants, clock hours, six sectors and the whole circle. It says where a
prediction lies among those eyes, and nothing about a population.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rnfl.core.geometry import ANGLES, CLOCK_HOURS, N_ANGLES, QUADRANTS, SECTORS, sector_means
from rnfl.core.schema import RNFL_COLUMNS
from rnfl.imaging.inspection import summarise
from rnfl.storage.readers import read_csv

if TYPE_CHECKING:
    from rnfl.datasets.prepared import Prepared

PERCENTILES = (1, 5, 50, 95, 99)
IMAGES = 64  # training images, at most, of which is kept what they look like
MIN_HEALTHY = 40  # with fewer healthy eyes the band is that of all eyes (ours)
COLUMNS = ("kind", "name", "population", "n", *(f"p{p}" for p in PERCENTILES))
CIRCLE = {"mean": np.ones(N_ANGLES, dtype=bool)}
REGIONS = {"mean": CIRCLE, "quadrant": QUADRANTS, "clock_hour": CLOCK_HOURS, "sector": SECTORS}
POSITIONS = ("below 1 %", "below 5 %", "within", "above 95 %")


def facts(prepared: Prepared) -> dict[str, Any]:
    """Return what a model's card says of the dataset it was trained on, and of its images."""
    rows = prepared.subset("train")
    some = rows[:: -(-len(rows) // IMAGES)] if len(rows) else rows
    train = prepared.samples.iloc[rows]
    return {
        "dataset": prepared.name,
        "modality": prepared.manifest["modality"],
        "phantom": prepared.manifest["phantom"],
        "train_eyes": len(train),
        "train_patients": train["patient_id"].nunique(),
        "images": summarise(prepared.images[row] for row in some),
    }


def training_band(prepared: Prepared) -> pd.DataFrame:
    """Return the :func:`band` of a prepared dataset's training split."""
    rows = prepared.subset("train")
    return band(np.asarray(prepared.profiles)[rows], prepared.samples.iloc[rows])


def band(profiles: np.ndarray, samples: pd.DataFrame) -> pd.DataFrame:
    """Return the percentiles of measured thickness at each angle and in each region.

    Parameters
    ----------
    profiles : ndarray (N, 360), µm, NaN where missing
    samples : DataFrame of N rows in the same order
        ``severity`` chooses healthy eyes, where at least 40 measured eyes are known to be healthy;
        ``rnfl_mean`` and ``rnfl_S`` ... ``rnfl_T`` (µm) stand in where no profile was measured.

    Returns
    -------
    DataFrame
        kind ('mean', 'quadrant', 'clock_hour', 'sector', 'angle'), name, population ('healthy' or
        'all'), n (eyes measured there) and p1 ... p99, µm. A percentile that lies beyond what n
        eyes can show (1 % needs 100 eyes, 5 % needs 20) is NaN; what nobody measured has no row.
    """
    profiles = np.asarray(profiles, dtype=float)
    values = [_region_values(profiles, samples, kind) for kind in REGIONS]
    values.append(pd.DataFrame(profiles, columns=_keys("angle", ANGLES)))
    table = pd.concat(values, axis=1)
    healthy = _healthy(table, samples)
    population = "all" if healthy is None else "healthy"
    table = table if healthy is None else table[healthy]
    measured = {key: column.dropna().to_numpy() for key, column in table.items()}
    rows = [(*key, population, len(m), *_percentiles(m)) for key, m in measured.items() if len(m)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _region_values(profiles: np.ndarray, samples: pd.DataFrame, kind: str) -> pd.DataFrame:
    regions = REGIONS[kind]
    values = sector_means(profiles, regions)
    for column, name in enumerate(regions):
        given = f"rnfl_{name}"
        if kind in ("mean", "quadrant") and given in RNFL_COLUMNS and given in samples:
            labels = samples[given].to_numpy(dtype=float)
            values[:, column] = np.where(np.isfinite(values[:, column]), values[:, column], labels)
    return pd.DataFrame(values, columns=_keys(kind, regions))


def _keys(kind: str, names) -> pd.MultiIndex:
    return pd.MultiIndex.from_tuples([(kind, str(name)) for name in names])


def _healthy(table: pd.DataFrame, samples: pd.DataFrame) -> np.ndarray | None:
    """Return the mask of measured healthy eyes, or None where they are too few."""
    if "severity" not in samples:
        return None
    healthy = (samples["severity"] == "healthy").to_numpy() & table.notna().any(axis=1).to_numpy()
    return healthy if healthy.sum() >= MIN_HEALTHY else None


def _percentiles(measured: np.ndarray) -> np.ndarray:
    shown = [min(p, 100 - p) * len(measured) >= 100 for p in PERCENTILES]
    return np.where(shown, np.percentile(measured, PERCENTILES), np.nan)


def limits(reference: pd.DataFrame | None, kind: str, name: str = "mean") -> dict | None:
    """Return a region's row of a band as a dict, or None where the band lacks it."""
    if reference is None:
        return None
    rows = reference[(reference["kind"] == kind) & (reference["name"] == name)]
    return rows.iloc[0].to_dict() if len(rows) else None


def position(value: float, row: Mapping[str, Any] | None) -> str | None:
    """Return where a thickness (µm) lies among the reference eyes, or None if that is unknown.

    Parameters
    ----------
    value : float
    row : mapping with p1, p5 and p95, as :func:`limits` gives it

    Returns
    -------
    str or None
        One of ``POSITIONS``. Where the eyes are too few for a first percentile, what lies below it
        is 'below 5 %'; where they are too few for a fifth, nothing is said.

    Examples
    --------
    >>> position(62.0, {"p1": 60.0, "p5": 70.0, "p95": 110.0})
    'below 5 %'
    """
    if row is None or not all(np.isfinite([value, row["p5"], row["p95"]])):
        return None
    below = value < row["p1"], value < row["p5"], value <= row["p95"], True
    return POSITIONS[below.index(True)]


def read(path) -> pd.DataFrame:
    """Read a band from the ``reference.csv`` of a run; a ValueError names columns that it lacks."""
    frame = read_csv(path, dtype={"kind": str, "name": str, "population": str})
    absent = [name for name in COLUMNS if name not in frame]
    if absent:
        raise ValueError(f"{path}: columns {absent} are missing from the reference band")
    return frame
