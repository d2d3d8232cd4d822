"""Retinal vessels of a phantom eye, drawn as tapering, branching paths.

Arteries and veins leave the disc along the humps of the RNFL (the arcades follow the thickest
fibre bundles), bend towards the temporal side, branch and taper. Widths are in mm, angles are
TSNIT degrees in right-eye orientation. **Ours**, like all of the phantom.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLE = 3
ARCADE_BEND = 13.0  # degrees per mm by which arcades and fibre bundles turn towards temporal


@dataclass(frozen=True)
class Vessel:
    """A path of points `xy` (n, 2) in mm from the disc centre (x right, y up) with widths (n,)."""

    xy: np.ndarray
    width: np.ndarray
    artery: bool


def bend(theta: np.ndarray) -> np.ndarray:
    """Turn towards the temporal side at TSNIT angle `theta` (degrees), in degrees per mm."""
    rad = np.deg2rad(theta)
    return ARCADE_BEND * np.sin(rad) * (0.3 + 0.7 * (1.0 + np.cos(rad)) / 2.0 + 0.25)


def _wander(rng: np.random.Generator, n: int, size: float) -> np.ndarray:
    """A smooth random walk of `n` steps that starts at 0, with final SD about `size`."""
    return np.cumsum(np.convolve(rng.standard_normal(n + 8), np.ones(9) / 3.0, "valid"))[:n] * (
        size / (3.0 * np.sqrt(n))
    )


def _trunk(rng, theta: float, width: float, artery: bool, entry: np.ndarray) -> Vessel:
    r = np.linspace(0.0, 3.9, 66)
    angle = theta - bend(theta) * np.maximum(r - 0.9, 0.0) * rng.uniform(0.8, 1.3)
    angle = np.deg2rad(angle + _wander(rng, r.size, 9.0))
    xy = np.stack([-r * np.cos(angle), r * np.sin(angle)], axis=1)
    xy = xy + entry * np.exp(-r / 0.45)[:, None]
    return Vessel(xy, width * (1.0 - 0.11 * r) * np.minimum(1.0, 0.4 + 2.0 * r), artery)


def _branch(rng, parent: Vessel, start: int, side: float, ratio: float) -> Vessel:
    heading = parent.xy[start] - parent.xy[start - 2]
    n = int(rng.integers(28, 60))
    turn = np.deg2rad(side * rng.uniform(28.0, 55.0))
    # leaves at an angle, then swings back towards the direction of its parent
    angle = np.arctan2(heading[1], heading[0]) + turn * (0.45 + 0.55 * np.exp(-np.arange(n) / 14.0))
    angle = angle + np.deg2rad(_wander(rng, n, 32.0))
    steps = 0.06 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    xy = parent.xy[start] + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    width = parent.width[start] * ratio * np.linspace(1.0, 0.45, n + 1)
    return Vessel(xy, width, parent.artery)


def grow(
    rng: np.random.Generator, peaks: tuple[float, float], density: float = 1.0
) -> list[Vessel]:
    """Draw the vessel tree of one eye.

    The humps lie at `peaks` (superior, inferior; degrees); `density` is a factor on the number of
    small vessels.
    """
    entry = np.array([rng.normal(0.16, 0.08), rng.normal(0.0, 0.06)])  # nasal is +x
    trunks = []
    for peak, outward in ((peaks[0], 1.0), (peaks[1], -1.0)):
        arcade = peak + rng.normal(0.0, 8.0)
        gap = rng.choice((-1.0, 1.0)) * rng.uniform(5.0, 14.0)
        trunks.append((arcade - gap / 2.0, rng.normal(0.098, 0.010), True))
        trunks.append((arcade + gap / 2.0, rng.normal(0.125, 0.012), False))
        nasal = 90.0 + 90.0 * (1.0 - outward) + outward * rng.normal(38.0, 11.0)
        for artery in (True, False):
            width = rng.normal(0.062 if artery else 0.078, 0.010)
            trunks.append((nasal + rng.normal(0.0, 9.0), width, artery))
    for _ in range(round(density * rng.integers(2, 5))):  # small vessels towards the macula
        trunks.append((rng.normal(0.0, 32.0), rng.uniform(0.022, 0.042), rng.random() < 0.5))
    for _ in range(round(density * rng.integers(1, 4))):
        trunks.append((180.0 + rng.normal(0.0, 22.0), rng.uniform(0.025, 0.05), rng.random() < 0.5))
    vessels = []
    for theta, width, artery in trunks:
        # the central vessels divide inside the disc, above and below its middle
        split = np.array([0.0, 0.11 * np.sin(np.deg2rad(theta))]) + rng.normal(0.0, 0.06, 2)
        trunk = _trunk(rng, theta, max(width, 0.02), artery, entry + split)
        vessels.append(trunk)
        if width < 0.05:
            continue
        side = rng.choice((-1.0, 1.0))
        for start in np.sort(rng.integers(12, 54, size=rng.integers(1, 4))):
            side = -side
            child = _branch(rng, trunk, int(start), side, rng.uniform(0.42, 0.68))
            vessels.append(child)
            if child.width[0] > 0.035 and rng.random() < 0.7:
                grandchild = int(rng.integers(8, len(child.xy) - 4))
                vessels.append(_branch(rng, child, grandchild, -side, rng.uniform(0.5, 0.7)))
    return vessels


def paint(vessels: list[Vessel], size: int, px_per_mm: float, centre: np.ndarray) -> np.ndarray:
    """Masks in [0, 1], float32 (3, size, size): veins, arteries, and the arteries' light reflex.

    `centre` is the disc centre in px (x, y).
    """
    scale = SUPERSAMPLE * px_per_mm
    layers = [Image.new("L", (size * SUPERSAMPLE,) * 2) for _ in range(3)]
    pens = [ImageDraw.Draw(layer) for layer in layers]
    for vessel in vessels:
        x = np.round(SUPERSAMPLE * centre[0] + scale * vessel.xy[:, 0], 3)
        y = np.round(SUPERSAMPLE * centre[1] - scale * vessel.xy[:, 1], 3)
        w = np.round(np.maximum(scale * vessel.width, 1.0), 3)
        shade = np.clip(110.0 + 1700.0 * vessel.width, 0, 255)  # thin vessels are paler
        points = list(zip(x.tolist(), y.tolist(), strict=True))
        for k in range(len(points) - 1):
            line = [points[k], points[k + 1]]
            pens[int(vessel.artery)].line(line, fill=int(shade[k]), width=round(w[k]) + 1)
            if vessel.artery and w[k] > 4.0:
                pens[2].line(line, fill=220, width=max(1, round(0.3 * w[k])))
    shrunk = [layer.resize((size, size), Image.Resampling.BOX) for layer in layers]
    return np.stack([np.asarray(layer, np.float32) for layer in shrunk]) / 255.0
