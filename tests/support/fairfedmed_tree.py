"""A small FairFedMed look-alike, drawn on the spot: npz files, tables, and each form of target."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np

THETA = np.deg2rad(np.arange(360))
SIZE = (128, 166)  # px, the shape of 512 x 664
MAP = 200  # px
DEPTH_UM = 1.95503
RACES = ("Asian", "Black", "White")


def true_profile(i: int) -> np.ndarray:
    """Return the profile (360,) of eye ``i``, µm: a double hump, thicker on the nasal side."""
    return 85 + i % 7 - 30 * np.cos(2 * THETA) - 12 * np.cos(THETA) + 4 * np.sin(THETA)


def side(i: int) -> str:
    return ("OD", "OS")[i % 2]


def disc(i: int, size=SIZE) -> tuple[int, int]:
    """Return the disc centre (x, y) in px of the upright SLO."""
    height, width = size
    return width // 2 + (i % 5 - 2) * width // 40, height // 2 + (i % 3 - 1) * height // 30


def draw_slo(i: int, size=SIZE) -> np.ndarray:
    """Return an upright SLO, uint8: a bright disc, and a black mark temporal of it."""
    y, x = np.mgrid[: size[0], : size[1]]
    cx, cy = disc(i, size)
    radius = size[0] / 10
    image = np.random.default_rng(i).integers(60, 90, size).astype(np.uint8)
    image[np.hypot(x - cx, y - cy) <= radius] = 220
    temporal = -1 if side(i) == "OD" else 1
    image[np.hypot(x - cx - temporal * 2 * radius, y - cy) <= radius / 3] = 0
    return image


@cache
def _radius_and_angle(dx: float, dy: float, temporal: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:MAP, :MAP] - (MAP - 1) / 2
    x, y = x - dx, y - dy
    return np.hypot(x, y), np.rad2deg(np.arctan2(-y, temporal * x)) % 360


def draw_map(i: int, dx: float = 6.0, dy: float = -4.0, marked: bool = True) -> np.ndarray:
    """Return a thickness map (200, 200), µm, of the eye as it was taken; its disc is off centre."""
    radius, theta = _radius_and_angle(dx, dy, -1 if side(i) == "OD" else 1)
    profile = np.append(true_profile(i), true_profile(i)[0])
    thickness = np.interp(theta, np.arange(361), profile)
    if marked:
        thickness[radius < 26] = -1
        thickness[radius < 14] = -2
    return thickness


def key(i: int) -> str:
    return f"data_{i:05d}"


def arrays(i: int, size=SIZE) -> dict:
    """Return what an npz holds: image, OCT volume and integer labels."""
    patient = i // 2
    return {
        "slo_fundus": draw_slo(i, size),
        "oct_bscans": np.zeros((2, 8, 8), np.uint8),
        "race": np.array(patient % 3),
        "male": np.array(patient % 2),
        "hispanic": np.array(-1 if patient == 1 else 0),
        "language": np.array(0),
        "maritalstatus": np.array(1),
        "age": np.array(50.5 + patient % 30),
        "md": np.array(-3.0 - patient % 20),
        "glaucoma": np.array(patient % 2),
    }


def save(folder: Path, i: int, **changes) -> Path:
    """Write the npz of eye ``i``; a change of None leaves the array out."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {**arrays(i), **changes}
    path = folder / f"{key(i)}.npz"
    np.savez(path, **{name: value for name, value in values.items() if value is not None})
    return path


def profile_row(i: int, size=SIZE) -> dict:
    """Return one row of a profile CSV; patients go to train, val and test in turn."""
    x, y = disc(i, size)
    row = {"key": key(i), "split": ("train", "train", "val", "test", "train")[i // 2 % 5]}
    row |= {"Center_X": x, "Center_Y": y, "age": 50.5 + i // 2 % 30, "gender": i // 2 % 2}
    row |= {"race": RACES[i // 2 % 3], "glaucoma": i // 2 % 2}
    return row | {str(a): round(v, 4) for a, v in enumerate(true_profile(i))}


def meta_row(i: int) -> dict:
    """Return one row of the summary table, in words."""
    return {
        "filename": f"{key(i)}.npz",
        "patient_id": f"p{i // 2:04d}",
        "laterality": side(i),
        "gender": ("Female", "Male")[i // 2 % 2],
        "race": RACES[i // 2 % 3],
        "hispanic": "unknown" if i // 2 == 1 else "no",
    }


def write_csv(path: Path, rows: list[dict]) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@cache
def surface(i: int, layer: str) -> bytes:
    """Return the CSV of a boundary of eye ``i``, its disc in the middle of the map."""
    depth = 300 + np.add.outer(np.arange(MAP), np.arange(MAP)) / 20
    if layer == "RNFL":
        depth = depth + draw_map(i, 0, 0, marked=False) / DEPTH_UM
    lines = [",".join(f"{value:.2f}" for value in row) for row in depth]
    return ("\n".join(lines) + "\n").encode()


def write_surfaces(folder: Path, i: int) -> None:
    """Write the ILM and RNFL boundaries of eye ``i``; every fourteenth eye has the same ones."""
    folder.mkdir(exist_ok=True)
    for layer in ("ILM", "RNFL"):
        (folder / f"{key(i)}_{layer}.csv").write_bytes(surface(i % 14, layer))


def write_tree(
    folder: Path, n: int = 10, profiles=True, maps=(), surfaces=(), transposed=(), size=SIZE
) -> Path:
    """Write ``all/*.npz``, ``meta_all.csv`` and targets.

    ``profiles`` is True for all eyes, or the eyes of the profile CSV; ``maps``, ``surfaces`` and
    ``transposed`` list eyes.
    """
    for i in range(n):
        values = arrays(i, size)
        if i in transposed:
            values["slo_fundus"] = values["slo_fundus"].T
        save(folder / "all", i, **values, **({"rnflt": draw_map(i)} if i in maps else {}))
    for i in surfaces:
        write_surfaces(folder / "surfaces", i)
    meta = [meta_row(i) for i in range(n)]
    in_csv = range(n) if profiles is True else profiles
    if in_csv:
        write_csv(folder / "rnfl_profiles.csv", [profile_row(i, size) for i in in_csv])
    else:
        meta = [{**row, **_centre(i, size)} for i, row in enumerate(meta)]
    write_csv(folder / "meta_all.csv", meta)
    return folder


def _centre(i: int, size) -> dict:
    return dict(zip(("Center_X", "Center_Y"), disc(i, size), strict=True))
