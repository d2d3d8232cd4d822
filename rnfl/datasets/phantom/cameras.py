"""Cameras of the phantom: families that look apart, and how far a picture has gone wrong.

A picture belongs to a *family*: one make of camera with its field, resolution, colour, sharpness,
haze, vignetting, grain and compression. Backbones are pretrained on the families of `gap` 0;
those of `gap` 1 are set to look like GRAPE (colour photographs; their colours are drawn from the
mean and covariance of its 95 photographs) or like an older scanner (SLO). In between, every
setting lies in between. On top of that, `severity` in [0, 1] takes what spoils a picture from
nothing to its worst, all at once or one factor at a time. **Ours**.
"""

import io
from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from rnfl.core.geometry import FIELD_MM

#: What spoils a picture, and how much of it severity 1 is.
WORST = {
    "haze": 0.65,  # share of veiling light
    "blur": 0.085,  # mm, SD
    "tilt": 0.9,  # log units of light from one side of the picture to the other
    "exposure": 0.8,  # log units, darker or lighter
    "noise": 0.13,  # SD of a grey level in [0, 1]
    "resolution": 0.75,  # share of the pixels per mm that is lost
    "jpeg": 0.9,  # share of the way from the family's quality to 5
    "gain": 0.30,  # log units, SD between channels
    "decentring": 0.45,  # mm by which the disc lies off the middle
}
FACTORS = tuple(WORST)
#: Light that haze veils a picture with: of a colour photograph, of an SLO image.
VEILING = {"cfp": (0.60, 0.32, 0.20), "slo": (0.42,)}
BRIGHTER = 0.6  # an exposure that is too bright is off by this share of one that is too dark


@dataclass(frozen=True)
class Family:
    """One make of camera. Lengths are in mm on the retina; light is in log units."""

    reach: float  # radius of its field
    pixels: float  # across the crop of `FIELD_MM`
    blur: float  # SD of its point spread
    haze: float  # veiling light, mean share
    vignette: float  # loss of light at the border of the field
    grain: float  # SD of grey levels
    quality: float  # of JPEG
    red: float  # gains against the colours of GRAPE
    green: float
    blue: float
    contrast: float  # about mid-grey


#: By modality: the families of gap 0, and those of gap 1 that they move to.
FAMILIES: dict[str, tuple[tuple[Family, ...], tuple[Family, ...]]] = {
    "slo": (
        (
            Family(9.0, 224, 0.010, 0.10, 0.05, 0.050, 95, 0, 0.05, 0, 1.10),
            Family(9.0, 200, 0.014, 0.16, 0.15, 0.075, 90, 0, -0.10, 0, 0.95),
        ),
        (
            Family(6.5, 150, 0.026, 0.22, 0.35, 0.075, 80, 0, -0.25, 0, 0.80),
            Family(6.0, 170, 0.018, 0.28, 0.50, 0.065, 70, 0, 0.15, 0, 1.25),
        ),
    ),
    "cfp": (
        (
            Family(12.0, 224, 0.014, 0.06, 0.10, 0.010, 95, 0.10, 0.42, 0.60, 0.85),
            Family(11.0, 190, 0.020, 0.10, 0.20, 0.022, 85, -0.15, 0.25, 0.75, 0.95),
        ),
        (
            Family(6.6, 224, 0.009, 0.08, 0.45, 0.005, 94, 0.0, 0.0, 0.0, 1.06),
            Family(6.0, 190, 0.016, 0.14, 0.55, 0.008, 86, 0.0, 0.0, 0.0, 1.06),
        ),
    ),
}


def family(modality: str, member: int, gap: float) -> Family:
    """Return family `member` (0 or 1) of a modality ('slo' or 'cfp') at `gap` in [0, 1]."""
    near, far = (astuple(ends[member]) for ends in FAMILIES[modality])
    return Family(*((1.0 - gap) * a + gap * b for a, b in zip(near, far, strict=True)))


def log_normal(rng: np.random.Generator, sd) -> np.ndarray:
    """Gains whose logarithms have this SD."""
    return np.exp(rng.normal(0.0, sd))


def take(
    image: np.ndarray,
    camera: Family,
    severity: Mapping[str, float],
    rng: np.random.Generator,
    x: np.ndarray,
    y: np.ndarray,
    haze: float,
) -> np.ndarray:
    """Take a picture of light.

    Parameters
    ----------
    image : float32 (s, s) or (s, s, 3)
        Light that the eye sends back, about [0, 1].
    severity : mapping of factor to [0, 1]
        Some of `FACTORS`; absent ones are 0.
    x, y : float32 (s, s)
        mm from the middle of the crop.
    haze : float
        Of the eye itself, a factor on the camera's veiling light.

    Returns
    -------
    uint8, as the image
    """
    size, colour = image.shape[0], image.ndim == 3
    bad = {name: severity.get(name, 0.0) * worst for name, worst in WORST.items()}
    # Everything random is drawn whatever the severity, so that views differ by severity alone.
    lean, tint = rng.normal(0.0, 1.0, 3), rng.standard_normal(3)
    light, off, bright = (
        rng.uniform(0.0, 2.0 * np.pi, 2),
        rng.uniform(0.0, 1.0),
        rng.choice((-1, 1)),
    )
    middle = np.float32(camera.reach - 2.0) * np.float32(off)
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    coarse = rng.standard_normal((6, 6)).astype(np.float32)

    def directed(angle: float) -> np.ndarray:
        return np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y

    # the crop lies off the centre of the photograph, so its light falls to one side
    along, across = directed(light[0]) + middle, directed(light[0] + np.pi / 2)
    radius = np.sqrt(along * along + across * across)
    fall = -np.float32(camera.vignette) * (radius / np.float32(camera.reach)) ** 3
    slope = np.float32(0.06 * lean[0] + bad["tilt"] / FIELD_MM) * directed(light[1])
    uneven = np.asarray(
        Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC), np.float32
    )
    log_light = fall + slope + np.float32(0.045) * uneven
    image = 0.4 + np.float32(camera.contrast) * (image - 0.4)
    veil = np.float32(min(0.9, camera.haze * haze + bad["haze"]))
    veiling = np.array(VEILING["cfp"] if colour else VEILING["slo"][0], np.float32)
    image = image + veil * (veiling - image)
    sigma = np.hypot(camera.blur * (1.0 + 0.25 * abs(lean[1])) + 0.01 * veil, bad["blur"])
    sigma = sigma * size / FIELD_MM
    image = gaussian_filter(image, (sigma, sigma, 0.0)[: image.ndim], truncate=3.0)
    lit = _exp(log_light + np.float32(bright * bad["exposure"] * (1.0 if bright < 0 else BRIGHTER)))
    image = image * (lit[..., None] if colour else lit)
    gains = np.array([camera.red, camera.green, camera.blue]) + bad["gain"] * tint
    image = image * np.exp(gains if colour else gains[1]).astype(np.float32)
    spread = np.float32(np.hypot(camera.grain, bad["noise"]))
    image = image + spread * grain * (np.float32(1.0) if colour else 0.4 + image)
    inside = radius < camera.reach
    image = np.clip(image, 0.0, 1.0) * (inside[..., None] if colour else inside)
    picture = Image.fromarray(np.rint(image * 255.0).astype(np.uint8))
    pixels = max(24, round(camera.pixels * (1.0 - bad["resolution"])))
    if pixels < size:
        picture = picture.resize((pixels, pixels), Image.Resampling.BOX)
    written = io.BytesIO()
    quality = camera.quality + bad["jpeg"] * (5 - camera.quality)
    picture.save(written, "JPEG", quality=round(quality), subsampling=0)
    picture = Image.open(written)
    if picture.size[0] != size:
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def _exp(x: np.ndarray) -> np.ndarray:
    # In double precision: float32 exponentials differ in the last bit between processors, and
    # what is hashed must not.
    return np.exp(x.astype(np.float64)).astype(np.float32)
