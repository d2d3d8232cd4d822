"""Parts shared by figures of eyes: an image with its scan circle, and a TSNIT axis."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from rnfl.core import geometry

TICKS = {0: "T", 90: "S", 180: "N", 270: "I", 360: "T"}


def show_eye(axes: Axes, image: np.ndarray, letters: bool = True) -> None:
    """Show a prepared crop, right-eye oriented, with the 3.46 mm circle and T S N I outside it.

    Parameters
    ----------
    image : ndarray (H, W) or (H, W, 3) of uint8
    letters : bool
        Whether to name the four directions.
    """
    height, width = image.shape[:2]
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="lanczos")
    x, y = geometry.centred_circle(height, width)
    outline = [withStroke(linewidth=1.8, foreground="black", alpha=0.55)]
    axes.plot(np.append(x, x[0]), np.append(y, y[0]), color="white", lw=0.8, ls=(0, (3, 2)),
              path_effects=outline)  # fmt: skip
    cx, cy = geometry.centre(height, width)
    x, y = geometry.circle(cx, cy, (geometry.RADIUS_RATIO + 0.075) * min(height, width), n=4)
    for name, at_x, at_y in zip("TSNI", x, y, strict=True):
        if letters:
            axes.text(at_x, at_y, name, color="white", ha="center", va="center", fontsize=7,
                      fontweight="bold", path_effects=outline)  # fmt: skip
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def tsnit_axis(axes: Axes, labels: bool = True) -> None:
    """Prepare an axis of angle: 0° to 360°, ticks at T, S, N, I, T, quadrants shaded in turn."""
    for start in (45, 225):
        axes.axvspan(start, start + 90, color="#f4f4f4", lw=0, zorder=0)
    axes.set(xlim=(0, 360), xticks=list(TICKS))
    axes.set_xticklabels(list(TICKS.values()) if labels else [])


def closed(profile: np.ndarray) -> np.ndarray:
    """Return a profile (360,) with its first value repeated, to be drawn over 0° to 360°."""
    return np.append(profile, profile[0])
