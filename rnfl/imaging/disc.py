"""Optic disc localisation in a full colour fundus photograph.

The disc is the place where three things meet: a disc-sized patch brighter than the ring round it
(a matched filter on log intensity, so that illumination cancels), narrow vertical vessels (the
arcades leave the disc upwards and downwards), and the place where a photograph of that laterality
has it. Each map is in standard deviations over the field of view, so their sum reads as a log
posterior up to a constant. Vessels and brightness choose the place; within one disc radius of it
the mean of the posterior without the vessels, which lie nasal of the centre, gives the centre.

On 102 photographs of GRAPE no disc is missed by more than its radius, where the brightest blurred
spot misses four; changed on purpose (cut, moved, mirrored, the disc painted over) most of those
that are missed are unsure. ``benchmarks/disc.py`` measures it, ``data/README.md`` has the table.

Nothing here was fitted to eyes, except the means of the position prior, which are published
figures of GRAPE; its widths are twice the published spread, so that a photograph framed
differently is not refused. The method and its constants are **ours**.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.signal import fftconvolve

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import check_laterality
from rnfl.imaging.pixels import shrink

PHOTOGRAPH_MM = 13.0  # width of retina on a 45° photograph: 45 · 0.288 mm (ours)
#: Disc radius as a fraction of the width of a 45° photograph (0.91 mm of 13.0 mm).
DISC_RADIUS = 0.07
FRAMINGS = ("macula", "disc")
#: Disc centre by laterality: x/W, y/H (GRAPE, 263 eyes), and the standard deviation of the prior,
#: on a 45° photograph with the macula in its middle.
PRIOR_CENTRE = {"OD": (0.738, 0.48), "OS": (0.280, 0.48)}
PRIOR_SD = (0.10, 0.06)
VESSEL_WEIGHT = 0.5
WORKING_WIDTH = 256  # px
FIELD_EDGE = 0.1  # of the way from the darkest to the bright parts of a photograph
MIN_FIELD = 0.2  # share of the picture that the field of view must cover
UNSURE_BELOW = 0.9
NO_FIELD = "no field of view in the photograph"

#: What a prepared dataset records of this method.
SETTINGS = {
    "disc_radius": DISC_RADIUS,
    "prior_centre": PRIOR_CENTRE,
    "prior_sd": PRIOR_SD,
    "vessel_weight": VESSEL_WEIGHT,
    "working_width_px": WORKING_WIDTH,
}


@dataclass(frozen=True)
class Disc:
    """A localised disc."""

    x: float  # px of the photograph (pixel centres at whole numbers), of the centre, as y
    y: float
    #: 0.5 to 1: posterior probability of this place against the best 1.5 disc radii away or more.
    confidence: float

    @property
    def unsure(self) -> bool:
        """Whether a rival place is nearly as likely, so that a person should look."""
        return self.confidence < UNSURE_BELOW


def doubt(confidence: float) -> str:
    """Say that a disc is unsure."""
    return f"disc unsure: confidence {confidence:.2f}"


def locate(
    photo: np.ndarray, laterality: str, width_mm: float = PHOTOGRAPH_MM, framing: str = "macula"
) -> Disc:
    """Return the optic disc of a fundus photograph (H, W, 3), uint8, the whole one as taken.

    Parameters
    ----------
    laterality : {'OD', 'OS'}
        Of the eye; the photograph is not mirrored.
    width_mm : float
        Width of retina on the photograph (mm); on a 45° one 13.0.
    framing : {'macula', 'disc'}
        What the middle of the photograph shows; the disc is looked for accordingly.

    Raises
    ------
    Excluded
        For a picture without a field of view.
    """
    check_laterality(laterality)
    if framing not in FRAMINGS:
        raise ValueError(f"framing {framing!r}: expected {' or '.join(FRAMINGS)}")
    small = to_working_width(photo)
    height, width = small.shape[:2]
    field = field_of_view(small)
    log = np.log(small + 8.0)  # +8 grey levels: keeps sensor noise in the dark from mattering
    zoom = PHOTOGRAPH_MM / width_mm
    radius = DISC_RADIUS * zoom * width
    y, x = np.mgrid[:height, :width]
    # Places as on a square photograph of 45° whose side is 1, about the same middle.
    u, v = (0.5 + (z + 0.5 - n / 2) / (width * zoom) for z, n in ((x, width), (y, height)))

    (u0, v0), (sd_u, sd_v) = PRIOR_CENTRE[laterality], PRIOR_SD
    if framing == "disc":
        u0, v0 = 0.5, 0.5
    bright = _standardise(_disc_filter(log[..., :2].mean(axis=-1), field, radius), field)
    bright -= ((u - u0) / sd_u) ** 2 / 2 + ((v - v0) / sd_v) ** 2 / 2
    vessels = _standardise(_vertical_vessels(log[..., 1], field, radius), field)
    score = np.where(field, bright + VESSEL_WEIGHT * vessels, -np.inf)

    row, column = np.unravel_index(np.argmax(score), score.shape)
    distance = np.hypot(x - column, y - row) / radius
    rival = score[distance >= 1.5].max()
    near = field & (distance <= 1)
    weight = np.where(near, np.exp(bright - bright[near].max()), 0.0)
    scale = photo.shape[1] / width
    return Disc(
        x=float((np.average(x, weights=weight) + 0.5) * scale - 0.5),
        y=float((np.average(y, weights=weight) + 0.5) * scale - 0.5),
        confidence=float(1 / (1 + np.exp(rival - score[row, column]))),
    )


def field_of_view(photo: np.ndarray) -> np.ndarray:
    """Return the mask (H, W) of :func:`lit_field`, its rim eroded."""
    return ndimage.binary_erosion(lit_field(photo), iterations=round(0.02 * photo.shape[1]))


def lit_field(photo: np.ndarray) -> np.ndarray:
    """Return the mask (H, W) of the illuminated field of a photograph (H, W, 3).

    A picture of which the largest bright region covers less than a fifth is :class:`Excluded`.
    """
    level = photo.max(axis=-1)
    dark, bright = np.percentile(level, [1, 90])
    edge = dark + FIELD_EDGE * (bright - dark)
    labels, _ = ndimage.label(ndimage.binary_opening(level > edge, iterations=3))
    sizes = np.bincount(labels.ravel(), minlength=2)
    sizes[0] = 0
    if sizes.max() < MIN_FIELD * labels.size:
        raise Excluded(
            NO_FIELD,
            f"the largest region brighter than {edge:.0f} grey levels covers "
            f"{sizes.max() / labels.size:.0%} of the picture, at least {MIN_FIELD:.0%} expected",
        )
    return ndimage.binary_fill_holes(labels == sizes.argmax())


def to_working_width(photo: np.ndarray) -> np.ndarray:
    """Return the photograph area-averaged to the working width, float (h, 256, 3)."""
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise ValueError(f"photograph {photo.shape} {photo.dtype}: expected (H, W, 3) uint8")
    return shrink(photo, photo.shape[1] / WORKING_WIDTH)


def _disc_filter(image: np.ndarray, field: np.ndarray, radius: float) -> np.ndarray:
    """Return disc mean minus mean of the ring round it, at the best of three disc sizes."""
    responses = []
    for r in radius * np.array([0.8, 1.0, 1.2]):
        reach = int(np.ceil(1.8 * r))
        q = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) / r
        disc, ring = q <= 1, (q > 1.15) & (q <= 1.8)
        responses.append(_masked_mean(image, field, disc) - _masked_mean(image, field, ring))
    return np.maximum.reduce(responses)


def _masked_mean(image: np.ndarray, field: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return the mean of the image over a symmetric kernel, field of view only."""
    total = fftconvolve(image * field, kernel.astype(float), mode="same")
    count = fftconvolve(field.astype(float), kernel.astype(float), mode="same")
    return total / np.maximum(count, 1)


def _vertical_vessels(green: np.ndarray, field: np.ndarray, radius: float) -> np.ndarray:
    """Return the density of dark, narrow, vertical lines within about a disc radius."""
    filled = np.where(field, green, _masked_blur(green, field, (3, 3)))
    lines = np.maximum(ndimage.gaussian_filter(filled, radius * 0.086, order=(0, 2)), 0)
    lines *= ndimage.binary_erosion(field, iterations=4)
    lines = np.minimum(lines, np.percentile(lines[field], 99))  # one lash must not win
    return _masked_blur(lines, field, (1.2 * radius, 0.5 * radius))


def _masked_blur(image: np.ndarray, field: np.ndarray, sigma: tuple[float, float]) -> np.ndarray:
    weight = ndimage.gaussian_filter(field.astype(float), sigma)
    return ndimage.gaussian_filter(image * field, sigma) / np.maximum(weight, 1e-3)


def _standardise(values: np.ndarray, field: np.ndarray) -> np.ndarray:
    return (values - values[field].mean()) / max(values[field].std(), 1e-9)
