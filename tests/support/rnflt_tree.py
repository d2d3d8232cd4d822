"""A small Harvard-GF look-alike, drawn on the spot: thickness maps of known profiles, in npz files.

Drawn without `rnfl.core.geometry`, so that the two can be held against each other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

MAP_MM = 6.0
DISC_MM = 0.9  # radius
EYES = {
    "data_0001": ("OD", 11), "data_0002": ("OS", 12), "data_0003": ("OD", 13),
    "data_0004": ("OS", 14), "data_0005": ("OD", 15), "data_0006": ("OS", 16),
}  # fmt: skip


def true_profile(seed: int) -> np.ndarray:
    """Return a double hump (360,), µm, in right-eye orientation; no two quadrants are alike."""
    rng = np.random.default_rng(seed)
    theta = np.deg2rad(np.arange(360))
    s, i = np.deg2rad(rng.normal((75, 290), 4))
    humps = rng.uniform(55, 75) * np.exp(3 * (np.cos(theta - s) - 1))
    humps += rng.uniform(75, 95) * np.exp(3 * (np.cos(theta - i) - 1))
    return 55 + humps + 12 * np.cos(theta - np.pi)


def draw_map(
    profile: np.ndarray,
    laterality: str = "OD",
    size: int = 200,
    shift: tuple[float, float] = (0.0, 0.0),
    stray: int = 0,
    missing: tuple[int, int] | None = None,
) -> np.ndarray:
    """Return a map (size, size) float32 whose thickness depends on the angle alone.

    Parameters
    ----------
    profile : (360,), µm, right-eye orientation
    laterality : {'OD', 'OS'}
        An OS map is drawn as it is taken: temporal is image-right.
    shift : (x, y), mm
        Of the disc from the middle of the map.
    stray : int
        Number of −1 pixels along an artefact's edge, in the lower left corner.
    missing : (from, to), degrees
        An arc that was not measured.
    """
    middle, px = (size - 1) / 2, size / MAP_MM
    y, x = np.mgrid[:size, :size].astype(float)
    right, up = x - middle - shift[0] * px, -(y - middle - shift[1] * px)
    temporal = -right if laterality == "OD" else right
    degrees = np.rad2deg(np.arctan2(up, temporal)) % 360
    drawn = np.interp(degrees, np.arange(361), np.append(profile, profile[0]))
    if missing is not None:
        drawn[(degrees >= missing[0]) & (degrees <= missing[1])] = 0
    radius = np.hypot(right, up) / px
    drawn[radius <= DISC_MM] = -1
    drawn[radius <= 0.5 * DISC_MM] = -2
    row, column = np.divmod(np.arange(stray), size // 4)
    drawn[size - 1 - 2 * row, column] = -1  # every other row: many small patches
    return drawn.astype(np.float32)


def draw_fundus(laterality: str, shift: tuple[float, float] = (0, 0), size: int = 400):
    """Return an en-face image (size, size) uint8: the disc white, a black dot temporal of it."""
    middle, px = (size - 1) / 2, size / MAP_MM
    y, x = np.mgrid[:size, :size].astype(float)
    right, down = x - middle - shift[0] * px, y - middle - shift[1] * px
    image = np.full((size, size), 120, np.uint8)
    image[np.hypot(right, down) / px <= DISC_MM] = 250
    side = -1 if laterality == "OD" else 1
    image[np.hypot(right - side * 1.73 * px, down) / px <= 0.15] = 1
    return image


def shift_of(seed: int) -> tuple[float, float]:
    """Return where the disc of an eye of the tree lies from the middle of its map, mm."""
    x, y = np.random.default_rng(seed + 1000).uniform(-0.25, 0.25, 2)
    return float(x), float(y)


def arrays(laterality: str, seed: int, size: int = 200) -> dict[str, np.ndarray]:
    """Return what the npz of one eye holds."""
    shift = shift_of(seed)
    return {
        "rnflt": draw_map(true_profile(seed), laterality, size, shift, stray=300),
        "slo_fundus": draw_fundus(laterality, shift),
        "laterality": np.array(laterality),
        "age": np.array(40 + seed), "male": np.array(seed % 2), "race": np.array(seed % 3),
        "hispanic": np.array(-1), "glaucoma": np.array(1), "md": np.array(-7.5),
    }  # fmt: skip


def write_eye(path: Path, held: dict, drop: tuple[str, ...] = (), **changes) -> Path:
    """Write one npz: what the eye holds, without some arrays and with others changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {key: value for key, value in (held | changes).items() if key not in drop}
    np.savez_compressed(path, **held)
    return path


def write_tree(folder: Path, size: int = 200, drop: tuple[str, ...] = ()) -> Path:
    """Write the six eyes, two of them for each split by folder."""
    for i, (key, (laterality, seed)) in enumerate(EYES.items()):
        split = ("Training", "Validation", "Test")[i // 2]
        write_eye(folder / split / f"{key}.npz", arrays(laterality, seed, size), drop)
    return folder
