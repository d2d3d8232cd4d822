"""One eye of a raw dataset as it was read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnfl.core.geometry import N_ANGLES


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
