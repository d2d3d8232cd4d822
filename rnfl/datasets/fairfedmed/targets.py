"""FairFedMed's targets: the profile of one eye, from the first source that has it.

The 360 values are not in the public release. They come, in this order, from a profile CSV
(``key, split, Center_X, Center_Y, age, gender, race, glaucoma, 0 ... 359``), from an ``rnflt`` map
in the npz, or from the ILM and RNFL boundaries of the OCT, two CSVs of 200×200 depths each in
pixels of 1.95503 µm.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import numpy as np

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import N_ANGLES, centre, circle, mirror_profile, scan_radius_px
from rnfl.core.labels import check_profile
from rnfl.datasets.npz import MAP as MAP_NAME
from rnfl.datasets.npz.files import Entry, key_of
from rnfl.imaging import thickness_map
from rnfl.imaging.thickness_map import BAD_MAP

PROFILE, MAP, SURFACES = "profile CSV", "rnflt map", "RNFL surfaces"
DEPTH_UM = 1.95503  # µm of depth per pixel of a surface
SURFACE_SIDE = 200  # px

NO_TARGET = "no RNFL target"
BAD_SURFACES = "unusable RNFL surfaces"

EXPECTED = (
    f"Expected one of: (1) a profile CSV with the columns key, 0 ... {N_ANGLES - 1} (µm by "
    f"degree; also split, Center_X, Center_Y); (2) an array '{MAP_NAME}' (thickness map, µm) in "
    f"the npz files; (3) RNFL surfaces, two CSVs of {SURFACE_SIDE}x{SURFACE_SIDE} depths per eye "
    "named <key>_ILM.csv and <key>_RNFL.csv. They are not in the public release of FairFedMed"
)


def from_table(profile: np.ndarray, laterality: str, orientation: str) -> np.ndarray:
    """Return the profile of a table, in right-eye orientation.

    ``orientation`` is 'tsnit' when 0° is temporal in both eyes already, 'image' when angles were
    counted on the image as it was taken, so that a left eye's profile is mirrored here.
    """
    as_taken = orientation == "image" and laterality == "OS"
    return check_profile(mirror_profile(profile) if as_taken else profile)


def from_map(thickness: np.ndarray, lies: str, orientation: str, map_mm: float) -> np.ndarray:
    """Return the profile of an ``rnflt`` map round the disc that is marked in it.

    Parameters
    ----------
    thickness : ndarray (S, S), µm; -2 cup, -1 rim, 0 missing
    lies : {'OD', 'OS'}
        Which eye it looks like.
    orientation : {'upright', 'transposed'}
    map_mm : float
        Width of the map.
    """
    try:
        thickness = thickness_map.upright(thickness, orientation)
    except Excluded as poor:  # one reason for all of it: another source may have the profile
        detail = str(poor).removeprefix(f"{BAD_MAP}: ")
        raise Excluded(BAD_MAP, detail) from poor
    return check_profile(thickness_map.profile(thickness, lies, map_mm).astype(float))


def from_surfaces(
    ilm: bytes, rnfl: bytes, lies: str, orientation: str, map_mm: float, disc: tuple[float, float]
) -> np.ndarray:
    """Return the profile of the thickness between two surfaces, as :func:`from_map` of a map.

    Parameters
    ----------
    ilm, rnfl : bytes
        CSVs of 200×200 depths in px, rows from superior to inferior.
    disc : (x, y)
        Disc centre in px of the upright map; NaN for the map's centre.
    """
    thickness = (_surface(rnfl, "RNFL") - _surface(ilm, "ILM")) * DEPTH_UM
    known = np.isfinite(thickness)
    if known.any() and np.median(thickness[known]) < 0:
        raise Excluded(BAD_SURFACES, "the RNFL boundary lies above the ILM: exchanged files?")
    if known.any() and np.mean(thickness[known] > thickness_map.THICK_UM) > thickness_map.MAX_THICK:
        raise Excluded(BAD_SURFACES, f"more than 2 % above {thickness_map.THICK_UM:g} µm")
    thickness = np.where(known & (thickness > 0), thickness, thickness_map.MISSING)
    thickness = thickness.T if orientation == "transposed" else thickness
    x, y = disc if np.isfinite(disc).all() else centre(SURFACE_SIDE, SURFACE_SIDE)
    radius = scan_radius_px(SURFACE_SIDE, map_mm)
    return check_profile(thickness_map.sample(thickness, *circle(x, y, radius, lies)).astype(float))


def _surface(data: bytes, layer: str) -> np.ndarray:
    """Return the depths of one boundary, float (200, 200), px, NaN where missing."""
    try:
        lines = [line for line in data.decode("utf-8-sig").splitlines() if line.strip(", ")]
        rows = [line.split(",") for line in lines]
        widths = {len(row) for row in rows}
        if len(rows) != SURFACE_SIDE or widths != {SURFACE_SIDE}:
            shape = f"{len(rows)} rows of {', '.join(map(str, sorted(widths)))}"
            raise ValueError(f"{shape} values: expected {SURFACE_SIDE} of {SURFACE_SIDE}")
        for i in (i for i, row in enumerate(rows) if "" in row):
            lines[i] = ",".join(cell or "nan" for cell in rows[i])
        return np.loadtxt(lines, delimiter=",", comments=None, quotechar='"')
    except ValueError as error:
        raise Excluded(BAD_SURFACES, f"{layer}: {error}") from error


def find_surfaces(entries: list[Entry], keys: set[str]) -> dict[str, dict[str, Entry]]:
    """Return the surface files of each eye, by layer ('ilm', 'rnfl').

    The name of the layer stands in the file's name, before or after the eye's (``data_1_ILM.csv``),
    or is that of its folder (``ILM/data_1.csv``).
    """
    found: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        path = PurePosixPath(entry.name)
        stem, folder = path.stem, path.parent.name
        for layer in ("ilm", "rnfl"):
            named = re.fullmatch(rf"{layer}[_-](.+)|(.+)[_-]{layer}", stem, re.IGNORECASE)
            candidates = [named[1] or named[2]] if named else []
            candidates += [stem] if folder.lower() == layer else []
            candidates += [folder] if stem.lower() == layer else []
            for key in filter(keys.__contains__, map(key_of, candidates)):
                found.setdefault(key, {})[layer] = entry
    return found
