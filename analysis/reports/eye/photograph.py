"""The photograph as it was taken: the disc with its ring and letters, and the whole picture."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image

from analysis.presentation import style
from analysis.reports.eye.page import Eye
from rnfl.core import geometry

WHOLE_PX = 700  # the whole photograph is shown small
OUTLINE = [withStroke(linewidth=2.2, foreground="black", alpha=0.55)]


def draw_disc(axes: Axes, eye: Eye) -> None:
    """Show the 4.943 mm round the disc, with the 3.46 mm circle and T S N I in their places."""
    width = eye.photo.shape[1]
    half = geometry.FIELD_MM / eye.width_mm * width / 2
    axes.imshow(eye.photo, interpolation="lanczos", zorder=0)
    _ring(axes, eye)
    radius = 1.2 * geometry.scan_radius_px(width, eye.width_mm)
    x, y = geometry.circle(eye.disc.x, eye.disc.y, radius, eye.laterality, n=4)
    for name, at_x, at_y in zip("TSNI", x, y, strict=True):
        axes.text(at_x, at_y, name, color="white", ha="center", va="center", fontsize=11,
                  fontweight="bold", path_effects=OUTLINE)  # fmt: skip
    axes.set(xlim=(eye.disc.x - half, eye.disc.x + half),
             ylim=(eye.disc.y + half, eye.disc.y - half), facecolor="black")  # fmt: skip
    _bare(axes)
    _scale_bar(axes, eye, half)


def _ring(axes: Axes, eye: Eye) -> None:
    radius = geometry.scan_radius_px(eye.photo.shape[1], eye.width_mm)
    x, y = geometry.circle(eye.disc.x, eye.disc.y, radius, eye.laterality)
    axes.plot(np.append(x, x[0]), np.append(y, y[0]), color="white", lw=1.1, ls=(0, (4, 2.5)),
              path_effects=OUTLINE, scalex=False, scaley=False)  # fmt: skip


def _scale_bar(axes: Axes, eye: Eye, half: float) -> None:
    length = eye.photo.shape[1] / eye.width_mm
    right, bottom = eye.disc.x + 0.93 * half, eye.disc.y + 0.93 * half
    axes.plot([right - length, right], [bottom, bottom], color="white", lw=1.6,
              path_effects=OUTLINE, solid_capstyle="butt")  # fmt: skip
    axes.text(right - length / 2, bottom - 0.03 * half, "1 mm", color="white", ha="center",
              va="bottom", fontsize=7, path_effects=OUTLINE)  # fmt: skip


def draw_whole(axes: Axes, eye: Eye) -> None:
    """Show the whole photograph with the located disc and the square that the model was shown."""
    height, width = eye.photo.shape[:2]
    scale = WHOLE_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(eye.photo).resize(size, Image.Resampling.BOX)
    axes.imshow(small, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="lanczos")
    side = geometry.FIELD_MM / eye.width_mm * width
    corner = eye.disc.x - side / 2, eye.disc.y - side / 2
    axes.add_patch(Rectangle(corner, side, side, fill=False, ec="white", lw=0.9, clip_on=True,
                             path_effects=OUTLINE))  # fmt: skip
    axes.plot(eye.disc.x, eye.disc.y, "+", color="white", ms=7, mew=1.3, path_effects=OUTLINE)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), anchor="N")
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    axes.spines[:].set(color=style.GREY, linewidth=0.5)
