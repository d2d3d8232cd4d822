"""One eye of a raw dataset as it was read, and what a profile must be to be used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import N_ANGLES

MIN_MEASURED = N_ANGLES // 2  # angles of a usable profile (ours)
THICKEST = 400.0  # µm, at any angle (ours)
MEAN_RANGE = (15.0, 250.0)  # µm, over all angles (ours)

ALL_MISSING = "RNFL profile without values"
FEW_MEASURED = "RNFL profile with less than half of its angles"
NOT_POSITIVE = "RNFL profile with values of 0 µm or less"
ABSURD = "RNFL profile beyond what a retina can be"


@dataclass(frozen=True)
class Eye:
    """One eye that is not left out, as it was read.

    Attributes
    ----------
    image : ndarray uint8 (S, S) or (S, S, 3)
        Disc-centred, in right-eye orientation.
    profile : ndarray float32 (360,), µm, NaN where missing
    row : dict
        Its row of ``samples`` with ``eye_id``, in JSON's types.

    Raises
    ------
    ValueError
        When image, profile or row are not so.
    """

    image: np.ndarray
    profile: np.ndarray
    row: dict[str, Any]

    def __post_init__(self) -> None:
        image, profile = np.asarray(self.image), np.asarray(self.profile, dtype=np.float32)
        square = image.ndim in (2, 3) and image.shape[0] == image.shape[1]
        if image.dtype != np.uint8 or not square or image.shape[2:] not in ((), (3,)):
            raise ValueError(
                f"image {image.dtype} {image.shape}: expected uint8 (S, S) or (S, S, 3)"
            )
        if profile.shape != (N_ANGLES,):
            raise ValueError(f"profile of shape {profile.shape}: expected ({N_ANGLES},)")
        if "eye_id" not in self.row:
            raise ValueError(f"row {sorted(self.row)}: expected eye_id in it")
        fields = {"image": image, "profile": profile, "row": plain(self.row)}
        for name, value in fields.items():
            object.__setattr__(self, name, value)  # as it will be read back


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as JSON gives it back: NumPy's scalars become Python's, NaN stays NaN."""
    return json.loads(json.dumps(dict(row), default=lambda value: value.item()))


def check_profile(profile: np.ndarray) -> np.ndarray:
    """Return a profile (360,) as float32 µm, NaN where missing.

    Raises
    ------
    Excluded
        When it is empty, mostly missing, not positive or absurd.
    """
    measured = profile[~np.isnan(profile)]
    if not measured.size:
        raise Excluded(ALL_MISSING)
    if measured.size < MIN_MEASURED:
        raise Excluded(FEW_MEASURED, f"{measured.size} of {N_ANGLES} angles")
    if measured.min() <= 0:
        raise Excluded(NOT_POSITIVE, f"{measured.min():g} µm at its thinnest")
    if measured.max() > THICKEST:
        raise Excluded(ABSURD, f"{measured.max():g} µm at its thickest")
    mean = float(measured.mean())
    if not MEAN_RANGE[0] <= mean <= MEAN_RANGE[1] or measured.min() == measured.max():
        raise Excluded(ABSURD, f"mean {mean:g} µm, SD {measured.std():g} µm")
    return profile.astype(np.float32)
