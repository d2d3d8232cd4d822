"""The two layouts of profiles in a CSV: one row per angle (long), one row per sample (wide)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from rnfl.core.geometry import N_ANGLES
from rnfl.storage.tables import listed, numbers

NUMBERED = re.compile(r"(prediction|pred|ground_truth|true|target)_(\d+)")

Profiles = tuple[pd.DataFrame, np.ndarray, np.ndarray]


def from_wide(frame: pd.DataFrame, path: Path) -> Profiles:
    """Return rows, predictions and ground truth (n, 360) of numbered columns.

    Raises
    ------
    ValueError
        When an angle is there twice, is missing, or is beyond 359.
    """
    sides: dict[bool, dict[int, str]] = {True: {}, False: {}}
    for name in frame:
        if match := NUMBERED.fullmatch(name):
            side, angle = sides[match[1].startswith("pred")], int(match[2])
            if angle in side:
                raise ValueError(f"{path}: columns {side[angle]} and {name} are the same angle")
            side[angle] = name
    for side, what in ((sides[True], "prediction"), (sides[False], "ground_truth")):
        gaps = [f"{what}_{angle}" for angle in range(N_ANGLES) if angle not in side]
        beyond = [side[angle] for angle in sorted(side) if angle >= N_ANGLES]
        if gaps or beyond:
            raise ValueError(
                f"{path}: expected {what}_0 to {what}_359"
                + (f"; missing {listed(gaps)}" if gaps else "")
                + (f"; too much is {listed(beyond)} (360° is 0° again)" if beyond else "")
            )
    prediction, target = (
        np.column_stack([numbers(frame[s[k]], f"{path}: {s[k]}") for k in range(N_ANGLES)])
        for s in (sides[True], sides[False])
    )
    return frame, prediction, target


def from_long(frame: pd.DataFrame, path: Path) -> Profiles:
    """Return one row per model and sample, its predictions and ground truth (n, 360).

    Raises
    ------
    ValueError
        Listing samples with repeated, missing or impossible angles, or whose patient or laterality
        is not the same in all rows.
    """
    angle = _angles(frame, path)
    model, models = pd.factorize(frame["model"], sort=True)
    sample, samples = pd.factorize(frame["sample_id"], sort=True)
    pairs, row = np.unique(model * len(samples) + sample, return_inverse=True)
    several = len(models) > 1

    def name(i: int) -> str:
        text = samples[pairs[i] % len(samples)]
        return f"{text} of {models[pairs[i] // len(samples)]}" if several else text

    count = np.bincount(row * N_ANGLES + angle, minlength=len(pairs) * N_ANGLES)
    count = count.reshape(-1, N_ANGLES)
    repeated, gaps = np.argwhere(count > 1), np.argwhere(count == 0)
    if len(repeated):
        found = [f"{name(i)} at {k}° ({count[i, k]} rows)" for i, k in repeated[:6]]
        raise ValueError(
            f"{path}: {len(repeated)} angles of {len(set(repeated[:, 0]))} samples are repeated: "
            f"{listed(found, 5, len(repeated))}"
        )
    if len(gaps):
        short = np.unique(gaps[:, 0])
        found = [
            f"{name(i)} lacks {listed(f'{k}°' for k in np.flatnonzero(count[i] == 0))}"
            for i in short[:6]
        ]
        raise ValueError(
            f"{path}: {len(short)} samples have fewer than {N_ANGLES} angles: "
            f"{listed(found, 5, len(short), '; ')}"
        )
    first = np.zeros(len(pairs), dtype=int)
    first[row[::-1]] = np.arange(len(frame))[::-1]
    for column in {"patient_id", "laterality"} & set(frame):
        codes = pd.factorize(frame[column], use_na_sentinel=False)[0]
        differ = np.unique(row[codes != codes[first[row]]])
        if len(differ):
            found = listed((name(i) for i in differ[:6]), 5, len(differ))
            raise ValueError(f"{path}: {column} changes within samples: {found}")
    matrices = []
    for column in ("prediction", "ground_truth"):
        matrix = np.empty((len(pairs), N_ANGLES))
        matrix[row, angle] = numbers(frame[column], f"{path}: {column}")
        matrices.append(matrix)
    return frame.iloc[first].reset_index(drop=True), *matrices


def _angles(frame: pd.DataFrame, path: Path) -> np.ndarray:
    """Return the angles as whole degrees 0 to 359, or say what they seem to be."""
    angle = numbers(frame["angle"], f"{path}: angle")
    bad = ~np.isfinite(angle) | (angle != np.floor(angle)) | (angle < 0) | (angle >= N_ANGLES)
    if not bad.any():
        return angle.astype(int)
    known = angle[np.isfinite(angle)]
    whole = (known == np.floor(known)).all()
    if len(known) and not whole and np.abs(known).max() < 2 * np.pi + 0.01:
        hint = " They look like radians: multiply by 180/π."
    elif len(known) and whole and known.max() == N_ANGLES and known.min() == 1:
        hint = (
            " They run from 1 to 360: write the place of the first value as 0 (degrees, or "
            "subtract 1 if these are positions in an array)."
        )
    elif len(known) and whole and known.max() == N_ANGLES:
        hint = " 360° is 0° again: leave it out."
    else:
        hint = ""
    rows = frame.loc[bad, "sample_id"].to_numpy()
    found = [f"{s} at {a:g}" for s, a in zip(rows[:6], angle[bad][:6], strict=True)]
    raise ValueError(
        f"{path}: angles of {len(set(rows))} samples are not whole degrees from 0 to 359: "
        f"{listed(found, 5, int(bad.sum()))}.{hint}"
    )
