"""One eye with a thickness map: from its npz and what the tables say to a crop and a profile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnfl.core.geometry import N_ANGLES, to_right_eye
from rnfl.datasets.fairfedmed.files import Entry, Source
from rnfl.datasets.fairfedmed.labels import severity
from rnfl.datasets.fairfedmed.tables import Tables
from rnfl.datasets.fairfedmed.targets import check_profile
from rnfl.datasets.harvard_gf.images import crop, draw_map, see
from rnfl.datasets.harvard_gf.labels import WANTED, read_labels
from rnfl.datasets.harvard_gf.options import Options
from rnfl.datasets.reading import Excluded, Eye
from rnfl.imaging import thickness_map
from rnfl.storage.provenance import sha256_array, sha256_file

PREFIX = "harvard_gf-"  # of eye and patient ids

NO_MAP = "no array rnflt in the npz"
BAD_MAP = "unusable rnflt map"
NO_LATERALITY = "laterality not stated"


def read_eye(
    entry: Entry, source: Source, tables: Tables, photos: Mapping[str, Path], options: Options
) -> Eye:
    """Return one eye, or raise :class:`Excluded`.

    Row and exclusion have ``found``: the hashes of the npz and of its photo, and of its map.
    """
    photo = photos.get(entry.key)
    found = {"npz": source.fingerprint(entry, WANTED), "photo": photo and sha256_file(photo)}
    try:
        image, profile, row, thickness = _read(entry, source, tables, photo, options)
    except Excluded as left_out:
        raise Excluded(left_out.reason, left_out.detail, found=found) from left_out
    return Eye(image, profile, {**row, "found": {**found, "map": sha256_array(thickness)}})


def _read(
    entry: Entry, source: Source, tables: Tables, photo: Path | None, options: Options
) -> tuple[np.ndarray, np.ndarray, dict[str, Any], np.ndarray]:
    """Return the crop, the profile, the row of ``samples`` and the upright map."""
    arrays = source.arrays(entry, WANTED)
    if "rnflt" not in arrays:
        raise Excluded(NO_MAP, f"it has {', '.join(sorted(arrays)) or 'none of the known arrays'}")
    facts = tables.facts.get(entry.key, {})
    labels = read_labels(arrays, tables.rows.get(entry.key, []), facts)
    laterality = labels["laterality"] or options.laterality
    if not laterality:
        raise Excluded(NO_LATERALITY)
    try:
        thickness = thickness_map.check_map(arrays["rnflt"])
    except ValueError as error:
        raise Excluded(BAD_MAP, str(error)) from error
    thickness = thickness.T if options.map_orientation == "transposed" else thickness
    poor = thickness_map.check_quality(thickness)
    if poor:
        reason, _, detail = poor.partition(": ")
        raise Excluded(reason, detail)
    lies = laterality if options.left_eyes == "as taken" else "OD"
    found, field_mm = thickness_map.find_disc(thickness), options.map_mm
    profile = check_profile(thickness_map.profile(thickness, lies, field_mm))
    if options.image == "map":
        seen = draw_map(thickness)
    else:
        seen = see(arrays, photo, options.map_orientation)
    scale = seen.shape[1] / thickness.shape[1]
    x, y = (found.x + 0.5) * scale - 0.5, (found.y + 0.5) * scale - 0.5
    row = {
        "eye_id": f"{PREFIX}{entry.key}",
        **labels,
        "patient_id": f"{PREFIX}{labels['patient_id'] or entry.key}",
        "laterality": laterality,
        "severity": severity(labels),
        "disc_x": found.x,
        "disc_y": found.y,
        "disc_mm2": found.area * (field_mm / thickness.shape[1]) ** 2,
        "invalid": thickness_map.invalid_share(thickness),
        "measured": float(np.isfinite(profile).sum() / N_ANGLES),
    }
    return to_right_eye(crop(seen, x, y, field_mm), lies), profile, row, thickness
