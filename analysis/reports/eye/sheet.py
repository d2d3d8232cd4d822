"""An A4 sheet addressed in millimetres from its top left corner, and the eye that it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from analysis.presentation import style
from rnfl.imaging.disc import Disc

WIDTH, HEIGHT = 210.0, 297.0  # mm, A4 portrait


@dataclass(frozen=True)
class Eye:
    """What a page shows.

    Attributes
    ----------
    photo : ndarray (H, W, 3), uint8
        As taken, not mirrored: the whole photograph, or a crop round the disc.
    laterality : {'OD', 'OS'}
    disc : Disc
        Where the circle is centred, px of ``photo``.
    width_mm : float
        Width of retina on ``photo`` (mm).
    profile : ndarray (360,)
        Predicted thickness, µm, right-eye orientation.
    doubts : sequence of str
        Why the photograph is unsure, see :mod:`rnfl.imaging.inspection`.
    """

    photo: np.ndarray
    laterality: str
    disc: Disc
    width_mm: float
    profile: np.ndarray
    doubts: Sequence[str] = ()


@dataclass(frozen=True)
class Sheet:
    """An empty A4 page; positions and sizes are millimetres, y downwards."""

    figure: Figure = field(default_factory=lambda: Figure(figsize=(WIDTH / 25.4, HEIGHT / 25.4)))

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return new axes in the rectangle."""
        box = (left / WIDTH, 1 - (top + height) / HEIGHT, width / WIDTH, height / HEIGHT)
        return self.figure.add_axes(box)

    def text(self, x: float, y: float, text: str, **options) -> None:
        """Write text with its baseline at y."""
        options = {"va": "baseline", "color": style.INK} | options
        self.figure.text(x / WIDTH, 1 - y / HEIGHT, text, **options)

    def box(self, left: float, top: float, width: float, height: float, fill: str) -> None:
        """Fill a rectangle."""
        corner = left / WIDTH, 1 - (top + height) / HEIGHT
        self.figure.add_artist(Rectangle(corner, width / WIDTH, height / HEIGHT, color=fill, lw=0))

    def rule(self, y: float, left: float = 15, right: float = 195, width: float = 0.6) -> None:
        """Draw a horizontal line."""
        ends = [left / WIDTH, right / WIDTH]
        line = Line2D(ends, [1 - y / HEIGHT] * 2, color=style.INK, lw=width)
        self.figure.add_artist(line)
