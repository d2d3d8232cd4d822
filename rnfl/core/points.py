"""Profiles of any regular number of points: what their columns or angles say, and the 360 angles.

A table made elsewhere numbers its points from 0 (0 ... 255), from 1 (1 ... 360) or by degrees
(0.0, 0.5 ... 359.5). 0 ... 359 is taken as it is. Anything else is refused with what was seen,
unless its owner asks for it to be resampled, see :func:`rnfl.core.geometry.resample`; the first
point is at 0° then, temporal, unless the names are degrees. Twelve columns 1 ... 12 are clock hours
of a right eye, 9 o'clock temporal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rnfl.core.geometry import CLOCK_HOURS, N_ANGLES, resample
from rnfl.storage.tables import listed

LEAST = 12  # points that make a profile
FEWEST = 37  # numbered columns that make one even where some are missing
LOST = (N_ANGLES - 2, N_ANGLES - 1)  # points: a column was lost, nobody measures so many
NUMBER = re.compile(r"\d+(\.\d+)?")
REMEDY = "say --resample to have them resampled to the 360 angles"


@dataclass(frozen=True)
class Points:
    """Which names hold the points of a profile, in order, and where the first of them lies."""

    names: list[str]
    first_angle: float = 0.0  # degrees
    said: str = ""  # what was resampled from what, '' for the 360 angles themselves

    def profiles(self, values: np.ndarray) -> np.ndarray:
        """Return the profiles (n, 360) of the values (n, m) at these points, µm."""
        return resample(values, self.first_angle) if self.said else values


def find_points(
    names: Iterable[str], where: str, do_resample: bool = False, prefix: str = ""
) -> Points:
    """Return the points among the names of columns, none where there is no profile.

    Parameters
    ----------
    names : iterable of str
        Columns of a table; those that are no numbers do not count.
    where : str
        What a ValueError begins with; it says how many points were seen, what is missing or over.
    do_resample : bool
        Whether another number of points than 360 is to be resampled.
    prefix : str
        What stands before the numbers in the file, for messages.
    """
    numbered = {float(name): name for name in names if NUMBER.fullmatch(name)}
    at = np.array(sorted(numbered))
    m = len(at)
    if m < LEAST:
        return Points([])
    ordered = [numbered[one] for one in at]
    if m == N_ANGLES and np.array_equal(at, np.arange(N_ANGLES)):
        return Points(ordered)
    seen = f"{m} points, {ordered[0]} to {ordered[-1]}"
    steps = np.diff(at)
    regular = bool(np.ptp(steps) < 1e-3 * steps.mean()) and m not in LOST
    degrees = regular and abs(steps.mean() * m - N_ANGLES) < 1e-3 * N_ANGLES
    counted = regular and abs(steps[0] - 1) < 1e-9 and at[0] in (0, 1)
    again = regular and at[0] == 0 and abs(at[-1] - N_ANGLES) < 1e-9  # 360° is 0°
    possible = degrees or counted or again
    if m < FEWEST and not possible:
        return Points([])
    if not (do_resample and possible):
        raise ValueError(f"{where}: {_fault(at, seen, possible, prefix)}")
    if again and not (counted and m != N_ANGLES + 1):
        return Points(ordered[:-1], 0.0, f"{m - 1} points (360° is 0° again and left out)")
    if m == len(CLOCK_HOURS) and at[0] == 1:
        clockwise = [*range(9, 13), *range(1, 9)]
        return Points([numbered[hour] for hour in clockwise], 0.0, "12 clock hours of a right eye")
    first = 0.0 if counted else float(at[0])
    return Points(ordered, first, f"{seen}, the first at {first:g}°")


def _fault(at: np.ndarray, seen: str, possible: bool, prefix: str) -> str:
    """Return what is wrong with the points of a profile, and what to do."""
    wanted = np.arange(N_ANGLES)
    missing, beyond = np.setdiff1d(wanted, at), np.setdiff1d(at, wanted)
    told = f"; missing {listed(f'{prefix}{one}' for one in missing)}" if len(missing) else ""
    told += f"; too much is {listed(f'{prefix}{one:g}' for one in beyond)}" if len(beyond) else ""
    told += " (360° is 0° again)" if N_ANGLES in beyond else ""
    remedy = f"; {REMEDY}" if possible else ""
    wanted = f"{prefix}0 to {prefix}{N_ANGLES - 1}" if prefix else "profile columns 0 to 359"
    return f"expected {wanted}{told}; seen {seen}{remedy}"
