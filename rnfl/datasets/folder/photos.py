"""One photograph of a folder: from its file to a disc-centred crop, and what its labels say."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnfl.core.exclusion import Excluded
from rnfl.core.labels import check_label, check_profile
from rnfl.core.schema import RNFL_COLUMNS
from rnfl.datasets.folder.options import Options
from rnfl.datasets.folder.table import Row
from rnfl.datasets.reading import Eye
from rnfl.imaging import crops
from rnfl.storage.provenance import sha256_bytes

NO_LABEL = "no RNFL label, which other rows have"


def read_eye(row: Row, options: Options, labels: str, label: str, found: dict[str, Any]) -> Eye:
    """Return the eye of one row, whose file is read once.

    Parameters
    ----------
    row : Row
    options : Options
    labels : {'profiles', 'quadrants', 'both', 'none'}
        What the CSV has.
    label : str
        What the file is called in the fingerprint.
    found : dict
        Takes the file's hash, by its label.

    Raises
    ------
    Excluded
        When row or photograph cannot be used.
    """
    profile, means = _labels(row, labels)
    data = row.path.read_bytes()
    found["hashes"][label] = sha256_bytes(data)
    photo = crops.read(row.path, data)
    height, width = photo.shape[:2]
    modality = row.columns.get("modality") or "CFP"
    lies = row.eye if options.left_eyes == "as taken" else "OD"
    if options.images == "crops":
        crop, how, scale = crops.prepare_crop(photo, lies, modality), "crop", {}
    else:
        crop = crops.prepare(photo, lies, row.centre, row.width_mm, options.framing, modality)
        how = "stated" if row.centre else "located"
        scale = {"width_mm": crop.width_mm, "field_share": crop.field_share}
    found["doubts"] = crop.doubts
    columns: dict[str, Any] = {
        "eye_id": row.eye_id,
        "patient_id": row.eye_id,
        "laterality": row.eye,
        **row.columns,
        **means,
        "modality": modality,
        "disc_x": crop.disc.x,
        "disc_y": crop.disc.y,
        "disc_confidence": crop.disc.confidence,
        "disc_source": how,
        "doubts": "; ".join(crop.doubts),
        **scale,
        "width_px": width,
        "height_px": height,
    }
    return Eye(crop.image, profile, columns)


def _labels(row: Row, labels: str) -> tuple[np.ndarray, dict[str, float]]:
    """Return the profile (360,), and quadrants and mean by column."""
    profile = row.profile
    means = {name: row.columns[name] for name in RNFL_COLUMNS if name in row.columns}
    values = np.array(list(means.values()))
    if labels == "none":
        return profile, {}
    if not np.isfinite(values).any() and not np.isfinite(profile).any():
        raise Excluded(NO_LABEL, "put photographs without labels into a folder or CSV of their own")
    check_label(means)
    if np.isfinite(profile).any():
        profile = check_profile(profile)
    if means and not np.isfinite(means.get("rnfl_mean", np.nan)):
        means["rnfl_mean"] = float(np.mean([means[name] for name in RNFL_COLUMNS[1:]]))
    return profile, means
