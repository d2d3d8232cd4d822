"""What an RNFL label can be: the range of a thickness, the unit it is likely in, and whether the
numbers that are given for one eye agree.

All readers of labels ask here, so that one table gets one answer: a folder's CSV, GRAPE's workbook,
the npz datasets, and predictions made elsewhere. One value that cannot be leaves out its eye or is
an error, as the reader has it; a unit that cannot be, and numbers that contradict each other, are
errors that name the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import N_ANGLES, QUADRANTS, quadrant_means
from rnfl.core.nanstats import mean
from rnfl.storage.tables import listed

MIN_MEASURED = N_ANGLES // 2  # angles of a usable profile (ours)
THICKEST = 400.0  # µm, at any angle (ours)
MEAN_RANGE = (25.0, 250.0)  # µm, over all angles (ours)
REGION_RANGE = (10.0, 300.0)  # µm, of a quadrant (ours; LEI-SFD and GRAPE: 29 to 174)
#: Median over eyes of their means, µm. No cohort is thinner: glia and vessels remain when every
#: axon is gone (the thinnest eye of LEI-SFD has 43 µm, of GRAPE 46). Beyond it is another unit.
COHORT_RANGE = (35.0, 160.0)
END_STAGE = 52.0  # µm; a median below it is doubtful (ours; the thinnest third of LEI-SFD has 60)
NOT_MICROMETRES = 2.0  # µm; a profile nowhere thicker is in mm or normalised (ours)
FEWEST = 3  # eyes whose median tells a unit (ours)
USUAL = (40.0, 145.0)  # µm, what a mean is after the right conversion
UNITS = {  # µm in one of them; an OCT's pixel is that of Spectralis or of Cirrus
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "nm": 1e-3,
    "px of 3.87 µm": 3.87,
    "px of 1.95 µm": 1.95,
}
CODES = {-1, 0, 99, 999, 9999, 99999, 888, 8888, 777, 7777}  # and their negatives
#: Two statements of one quantity may differ by this, µm and as a share. The mean of GRAPE's four
#: quadrants is within 1.75 µm of the printed mean in all eyes; where quadrants come from sectors of
#: unequal width, as in LEI-SFD, within 4.5 µm and 5 %. A profile is often another scan.
MEAN_TOLERANCE = (6.0, 0.10)
PROFILE_TOLERANCE = (10.0, 0.20)

ALL_MISSING = "RNFL profile without values"
FEW_MEASURED = "RNFL profile with less than half of its angles"
NOT_POSITIVE = "RNFL profile with values of 0 µm or less"
ABSURD = "RNFL profile beyond what a retina can be"
ABSURD_LABEL = "RNFL label beyond what a retina can be"


def explain(value: float, usual: tuple[float, float] = USUAL) -> str:
    """Return what a number that is no thickness in µm probably is, '' where nothing is likely.

    Examples
    --------
    >>> explain(0.1), explain(21.8)
    ('looks like mm: 0.1 mm are 100 µm', 'looks like px of 3.87 µm: 21.8 are 84.366 µm')
    >>> explain(-1)
    "looks like a code for 'not measured': leave the cell empty"
    """
    if value < 0 or abs(value) in CODES:
        return "looks like a code for 'not measured': leave the cell empty"
    known = {unit: value * um for unit, um in UNITS.items() if usual[0] <= value * um <= usual[1]}
    if known:
        unit = min(known, key=lambda one: abs(np.log(known[one] / 85)))
        named = f"{value:g}" if unit.startswith("px") else f"{value:g} {unit}"
        return f"looks like {unit}: {named} are {known[unit]:g} µm"
    if value <= 2:
        return "looks like a normalised value: undo the scaling to µm"
    return "looks like the whole retina, or tenths of µm" if value > usual[1] else ""


def fault(value: float, limits: tuple[float, float] = REGION_RANGE) -> str | None:
    """Return in words why a number cannot be a thickness in µm; None where it can, or is NaN.

    Examples
    --------
    >>> fault(0.1)
    '0.1 µm (expected 10 to 300 µm; looks like mm: 0.1 mm are 100 µm)'
    """
    if np.isnan(value) or limits[0] <= value <= limits[1]:
        return None
    likely = explain(value)
    said = f"expected {limits[0]:g} to {limits[1]:g} µm" + (f"; {likely}" if likely else "")
    return f"{value:g} µm ({said})"


def check_profile(profile: np.ndarray) -> np.ndarray:
    """Return a profile (360,) as float32 µm, NaN where missing.

    An eye is :class:`Excluded` when it is empty, mostly missing, not positive or absurd.
    """
    measured = profile[~np.isnan(profile)]
    if not measured.size:
        raise Excluded(ALL_MISSING)
    if measured.size < MIN_MEASURED:
        raise Excluded(FEW_MEASURED, f"{measured.size} of {N_ANGLES} angles")
    low, high, mean = float(measured.min()), float(measured.max()), float(measured.mean())
    if low <= 0:
        raise Excluded(NOT_POSITIVE, f"{low:g} µm at its thinnest; {explain(low)}")
    if high > THICKEST and (mean < MEAN_RANGE[1] or np.isinf(high)):
        hint = f"; {explain(high)}" if high in CODES else ""
        raise Excluded(ABSURD, f"{high:g} µm at its thickest{hint}")
    if not MEAN_RANGE[0] <= mean <= MEAN_RANGE[1] or low == high:
        likely = "" if MEAN_RANGE[0] <= mean <= MEAN_RANGE[1] else f"; {explain(mean)}"
        raise Excluded(ABSURD, f"mean {mean:g} µm, SD {measured.std():g} µm{likely}")
    return profile.astype(np.float32)


def refuse_values(
    values: np.ndarray, rows: Sequence[str], where: str, may_be_missing: bool
) -> None:
    """Refuse profiles (n, 360) with a value that cannot be a thickness in µm.

    The ValueError begins with ``where`` and names ``rows`` (n names), angles and values.
    """
    absent = np.isinf(values) if may_be_missing else ~np.isfinite(values)
    if absent.any():
        raise ValueError(f"{where}: missing or infinite: {_places(absent, values, rows)}")
    if np.isnan(values).all():
        return
    largest = float(np.nanmax(np.abs(values)))
    if largest < NOT_MICROMETRES:
        likely = explain(float(np.nanmean(values)))
        raise ValueError(
            f"{where}: no value exceeds {largest:g}: expected µm, these look like mm or "
            f"normalised values{f' (their mean {likely})' if 'looks like' in likely else ''}"
        )
    outside = (values < 0) | (values > THICKEST) | (may_be_missing & (values == 0))
    if outside.any():
        first = values[tuple(np.argwhere(outside)[0])]
        code = may_be_missing or abs(first) in CODES - {0}
        hint = " (leave the cell empty where nothing was measured)" if code else ""
        raise ValueError(
            f"{where}: expected 0 to {THICKEST:g} µm{hint}, found {_places(outside, values, rows)}"
        )


def _places(bad: np.ndarray, values: np.ndarray, rows: Sequence[str]) -> str:
    found = [f"{rows[i]} at {k}°: {values[i, k]:g}" for i, k in np.argwhere(bad)[:6]]
    eyes = f"{bad.any(axis=1).sum()} samples"
    return f"{bad.sum()} values of {eyes}: {listed(found, 5, int(bad.sum()))}"


def check_label(means: Mapping[str, float]) -> None:
    """Leave out an eye of which a quadrant or the mean (µm, NaN where missing) cannot be.

    What :class:`Excluded` says names each of them, and what it looks like.
    """
    faults = {name: fault(value) for name, value in means.items()}
    if absurd := [f"{name} {said}" for name, said in faults.items() if said]:
        raise Excluded(ABSURD_LABEL, "; ".join(absurd))


def refuse_unit(means: np.ndarray, where: str, rows: Sequence[str] = ()) -> None:
    """Refuse labels whose typical eye cannot be in µm, naming the unit that fits.

    Parameters
    ----------
    means : ndarray (n,)
        Mean thickness of each eye, NaN where missing.
    where : str
        What the message begins with.
    rows : sequence of n str, optional
        What each eye is called, for an example.
    """
    (low, high), (middle, n) = COHORT_RANGE, _median(means)
    if n < FEWEST or low <= middle <= high:
        return
    i = int(np.nanargmin(np.abs(means - middle)))
    example = f" ({rows[i]} has {means[i]:g})" if len(rows) else ""
    raise ValueError(
        f"{where}: the median of the mean thickness of {n} eyes is {middle:.4g}{example}: "
        f"expected µm, a median of {low:g} to {high:g}; {explain(middle) or 'check the unit'}"
    )


def doubt_unit(means: np.ndarray, what: str) -> list[str]:
    """Return a warning, if any, that half of the eyes (n,) are nearly without axons, µm."""
    middle, n = _median(means)
    if n < FEWEST or not COHORT_RANGE[0] <= middle < END_STAGE:
        return []
    px = UNITS["px of 1.95 µm"] * middle
    return [
        f"WARNING: {what}: the median of the mean thickness of {n} eyes is {middle:.4g} "
        f"µm, as in eyes that have lost every axon; pixels of 1.95 µm would be {px:.4g} µm."
    ]


def _median(means: np.ndarray) -> tuple[float, int]:
    """Return the median of what is finite, and of how many eyes it is."""
    known = means[np.isfinite(means)]
    return float(np.median(known)) if len(known) else np.nan, len(known)


def check(samples: pd.DataFrame, profiles: np.ndarray, where: str) -> list[str]:
    """Refuse a dataset whose profiles (n, 360), or else means and quadrants, cannot be in µm.

    Returns a warning, if any, where that is in doubt.
    """
    means = mean(np.asarray(profiles, dtype=float), axis=1)
    given = [name for name in ("rnfl_mean", *(f"rnfl_{q}" for q in QUADRANTS)) if name in samples]
    if given:  # the mean of mean and quadrants is the mean
        means = np.where(np.isfinite(means), means, mean(samples[given].to_numpy(float), axis=1))
    refuse_unit(means, where, samples["eye_id"].tolist())
    return doubt_unit(means, "labels")


def refuse_contradictions(
    labels: pd.DataFrame, profiles: np.ndarray | None, where: str, rows: Sequence[str]
) -> None:
    """Refuse labels whose stated mean is not that of the quadrants, or these not the profile's.

    Parameters
    ----------
    labels : DataFrame of n rows
        ``rnfl_mean`` and ``rnfl_S`` ... ``rnfl_T`` where they are given, µm, NaN where missing.
    profiles : ndarray (n, 360), optional
        µm, NaN where missing, in right-eye orientation.
    where : str
        What the message begins with; it lists rows with both numbers.
    rows : sequence of n str
        What each row is called: its line, its eye.
    """
    names = [f"rnfl_{name}" for name in QUADRANTS]
    given = labels.reindex(columns=["rnfl_mean", *names]).to_numpy(dtype=float)
    given = np.where((given > 0) & (given <= THICKEST), given, np.nan)  # codes contradict nothing
    stated, quadrants = given[:, 0], given[:, 1:]
    own = quadrants.mean(axis=1)  # NaN unless all four are known
    differ = np.flatnonzero(_beyond(stated, own, MEAN_TOLERANCE))
    if len(differ):
        found = [f"{rows[i]}: mean {stated[i]:g}, quadrants {own[i]:g}" for i in differ]
        raise ValueError(
            f"{where}: the mean is not that of S, N, I and T in {len(differ)} of "
            f"{np.isfinite(stated + own).sum()} rows: {listed(found, comma='; ')}. "
            "One of the two is wrong, or its column is another's: correct it or leave it out"
        )
    if profiles is None or not np.isfinite(quadrants).any():
        return
    measured = quadrant_means(profiles).to_numpy()
    differ = _beyond(quadrants, measured, PROFILE_TOLERANCE)
    if differ.any():
        found = [
            f"{rows[i]}: {names[k]} {quadrants[i, k]:g}, profile {measured[i, k]:.4g}"
            for i, k in np.argwhere(differ)
        ]
        raise ValueError(
            f"{where}: quadrants are not those of the profile in {differ.any(axis=1).sum()} rows: "
            f"{listed(found, comma='; ')}. Are the columns of the profile in the order temporal, "
            "superior, nasal, inferior, and is it the same scan? Leave out one of the two"
        )


def _beyond(a: np.ndarray, b: np.ndarray, tolerance: tuple[float, float]) -> np.ndarray:
    """Return where two numbers are known and differ by more than both tolerances."""
    absolute, share = tolerance
    with np.errstate(invalid="ignore"):
        return np.abs(a - b) > np.maximum(absolute, share * np.minimum(a, b))
