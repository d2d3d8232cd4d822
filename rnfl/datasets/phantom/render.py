"""Render a phantom eye: scanning laser image (SLO), colour photograph (CFP), masks and height map.

The RNFL is physically in the image. Its thickness map brightens the retina and gives it fine
striations along the fibre bundles; where fibres are lost the retina darkens, and the
neuroretinal rim, made of the same fibres, narrows. `render(eye, profile)` takes the profile as an
argument, so that a flattened RNFL can be rendered into an otherwise identical eye. Haze (more in
older eyes), pigmentation, illumination and exposure hide part of it. **Ours**.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from rnfl.core.geometry import FIELD_MM, SCAN_RADIUS_MM, to_right_eye
from rnfl.datasets.phantom.eyes import Eye
from rnfl.datasets.phantom.vessels import bend, grow, paint

#: Spread (log scale) of how strongly the fibres of different eyes reflect. It bounds how well the
#: mean thickness of an eye can be read from its image.
REFLECTANCE_SPREAD = 0.20

#: Profile of a typical healthy eye, smoothed by eye; rims are wide where a profile reaches it.
TYPICAL = (
    68.0
    + 50.0 * np.exp(3.5 * (np.cos(np.deg2rad(np.arange(360) - 82.0)) - 1.0))
    + (54.0 * np.exp(4.0 * (np.cos(np.deg2rad(np.arange(360) - 278.0)) - 1.0)))
)


@dataclass(frozen=True)
class Rendering:
    """One eye as its cameras see it, in the eye's own laterality.

    slo uint8 (s, s), cfp uint8 (s, s, 3), disc and cup bool (s, s), height float32 (s, s):
    surface of the optic nerve head in mm, without the RNFL itself.
    """

    slo: np.ndarray
    cfp: np.ndarray
    disc: np.ndarray
    cup: np.ndarray
    height: np.ndarray


@lru_cache(maxsize=2)
def _grid(size: int):
    """Pixel grid in mm (x right, y up) of a crop that spans `FIELD_MM`."""
    at = ((np.arange(size) + 0.5) / size - 0.5) * FIELD_MM
    x, y = np.meshgrid(at, -at)
    return x.astype(np.float32), y.astype(np.float32)


def _smooth_noise(rng, size: int, cells: int) -> np.ndarray:
    """Noise of unit variance with `cells` correlation lengths across the image."""
    coarse = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    edge, wide = size // cells, size + 2 * size // cells
    image = Image.fromarray(coarse).resize((wide, wide), Image.Resampling.BICUBIC)
    fine = np.asarray(image)[edge : edge + size, edge : edge + size]
    return fine / 0.75


def _step(distance: np.ndarray, softness: float) -> np.ndarray:
    """Smooth step: 1 where `distance` is well above 0, 0 well below."""
    return 1.0 / (1.0 + np.exp(-np.clip(distance / softness, -30.0, 30.0)))


class _Anatomy:
    """Everything both cameras share: where disc, cup, fibres and vessels are."""

    def __init__(self, eye: Eye, profile: np.ndarray, size: int, spread: float):
        rng = np.random.default_rng([*eye.seed, 1])
        x, y = _grid(size)
        self.offset = rng.normal(0.0, 0.04, 2)
        x, y = x - np.float32(self.offset[0]), y - np.float32(self.offset[1])
        self.x, self.y = x, y
        self.r = np.sqrt(x * x + y * y) + 1e-6
        self.theta = np.rad2deg(np.arctan2(y, -x)) % 360.0

        self.vessels = grow(rng, eye.peaks)
        centre = (np.array([self.offset[0], -self.offset[1]]) / FIELD_MM + 0.5) * size - 0.5
        self.veins, self.arteries, self.reflex = paint(self.vessels, size, size / FIELD_MM, centre)

        # disc, and the cup that the fibres of `profile` leave free
        a, b, tilt = rng.normal(0.82, 0.07), rng.normal(0.91, 0.075), np.deg2rad(rng.normal(0, 12))
        u = (x * np.cos(tilt) + y * np.sin(tilt)) / a
        v = (-x * np.sin(tilt) + y * np.cos(tilt)) / b
        self.rho = np.sqrt(u * u + v * v)  # 1 on the disc margin
        thinned = 1.0 - gaussian_filter1d(np.asarray(profile, float), 14.0, mode="wrap") / TYPICAL
        ratio = (
            0.42
            + 0.55 * thinned
            + rng.normal(0.0, 0.085)
            + rng.normal(0, 0.03) * np.cos(np.deg2rad(np.arange(360)))
        )
        index = self.theta.astype(np.int32) % 360
        self.cup_ratio = np.clip(ratio, 0.12, 0.92).astype(np.float32)[index]
        self.in_disc = _step(1.0 - self.rho, 0.022)
        self.in_cup = _step(self.cup_ratio - self.rho, rng.uniform(0.03, 0.07))
        self.crescent = self._crescent(rng)

        # fibres: bundles turn towards the macula, and thin out away from the disc
        bundle = self.theta + bend(self.theta) * (self.r - SCAN_RADIUS_MM)
        index = bundle.astype(np.int32) % 360
        spreading = np.clip(SCAN_RADIUS_MM / np.maximum(self.r, 0.8), 0.4, 1.9) ** 0.6
        self.rnfl = np.asarray(profile, np.float32)[index] / 100.0 * spreading
        self.striae = self._striae(rng, bundle)
        self.choroid = _smooth_noise(rng, size, 5)
        self.tessellation = self._tessellation(rng, size)
        self.haze = float(np.clip(rng.normal(0.16 + 0.004 * (eye.age - 60.0), 0.07), 0.0, 0.55))
        dark = {"Asian": 0.55, "Black": 0.75, "White": 0.35}[eye.race]
        self.pigment = float(np.clip(rng.normal(dark, 0.13), 0.05, 0.95))
        self.scatter = float(np.exp(rng.normal(0.0, spread)))
        depth = rng.normal(0.55, 0.12) * _step(self.cup_ratio - self.rho, 0.08)
        slope = rng.normal(0.0, 0.04, 2)
        self.height = -depth - 0.05 * self.r**2 / 6.0 + slope[0] * x + slope[1] * y

    def _crescent(self, rng) -> np.ndarray:
        """Peripapillary atrophy: a pale, mottled crescent on the temporal side of some discs."""
        if rng.random() > 0.4:
            return np.zeros_like(self.r)
        reach = rng.uniform(0.08, 0.42)
        facing = np.deg2rad(self.theta - rng.normal(0.0, 22.0))
        edge = 1.0 + reach * np.clip(np.cos(facing), 0.0, 1.0) ** 1.5
        return _step(edge - self.rho, 0.03) * (1.0 - self.in_disc) * rng.uniform(0.4, 1.0)

    def _striae(self, rng, bundle: np.ndarray) -> np.ndarray:
        """Texture of unit variance, fine across the bundles and long along them."""
        texture = rng.standard_normal((720, 9)).astype(np.float32)
        texture = texture + 0.7 * gaussian_filter1d(texture[::-1], 1.2, axis=0, mode="wrap")
        across = (2.0 * bundle).astype(np.int32) % 720
        along = np.clip(self.r * 2.0, 0.0, 7.999)
        near = along.astype(np.int32)
        share = along - near
        return texture[across, near] * (1.0 - share) + texture[across, near + 1] * share

    def _tessellation(self, rng, size: int) -> np.ndarray:
        """Choroidal vessels: bright branching bands between dark ones, in [0, 1]."""
        ridge = np.abs(_smooth_noise(rng, size, 17) + 0.5 * _smooth_noise(rng, size, 40))
        return np.exp(-((ridge / 0.75) ** 2))

    def illumination(self, rng, tilt: float, uneven: float) -> np.ndarray:
        slope = rng.normal(0.0, tilt, 2) / FIELD_MM * 2.0
        light = slope[0] * self.x + slope[1] * self.y
        light = light + uneven * _smooth_noise(rng, self.r.shape[0], 3)
        return np.exp(light - 0.012 * self.r**2)


def _expose(image: np.ndarray, target: float) -> np.ndarray:
    """Scale like an automatic exposure: the mean of the field becomes `target`."""
    return image * (target / max(float(image.mean()), 1e-3))


def _slo(a: _Anatomy, rng: np.random.Generator) -> np.ndarray:
    retina = 0.30 + 0.05 * (1.0 - a.pigment) + 0.020 * a.choroid + 0.03 * a.tessellation
    fibres = a.scatter * a.rnfl * (0.23 + 0.060 * a.striae)
    image = retina + fibres + 0.16 * a.crescent
    head = 0.44 + 0.22 * a.in_cup + 0.02 * a.striae * (1.0 - a.in_cup) + 0.03 * a.choroid
    image = image * (1.0 - a.in_disc) + head * a.in_disc
    vessel = np.maximum(a.veins, 0.92 * a.arteries)
    image = image * (1.0 - 0.62 * vessel) + 0.10 * a.reflex * (1.0 - a.veins)
    image = image * (1.0 - a.haze) + a.haze * 0.42
    image = gaussian_filter(image, rng.uniform(0.45, 0.9) + 1.0 * a.haze)
    image = image * a.illumination(rng, 0.07, 0.030)
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    image = image * (1.0 + rng.uniform(0.05, 0.09) * grain)
    return _expose(image, np.clip(rng.normal(0.44, 0.06), 0.28, 0.62))


def _cfp(a: _Anatomy, rng: np.random.Generator) -> np.ndarray:
    p = a.pigment
    light, dark = np.array([0.75, 0.28, 0.11]), np.array([0.46, 0.125, 0.052])
    base = (light * (1.0 - p) + dark * p) * np.exp(rng.normal(0.0, (0.05, 0.09, 0.14)))
    visible = 0.5 * rng.beta(1.0, 2.5)  # how much of the choroid shows through
    mottle = 0.05 * a.choroid + visible * (a.tessellation - 0.5)
    image = base.astype(np.float32) * (1.0 + mottle[..., None] * np.array([0.7, 1, 1], np.float32))
    sheen = a.scatter * a.rnfl * (0.14 + 0.045 * a.striae)
    image = image + sheen[..., None] * np.array([0.55, 1.00, 0.95], np.float32)
    pale = np.array([0.86, 0.66, 0.40], np.float32) * (1.0 + 0.12 * a.tessellation[..., None])
    image += (0.75 * a.crescent)[..., None] * (pale - image)
    rim = np.array([0.95, 0.56, 0.33]) * np.exp(rng.normal(0.0, (0.03, 0.06, 0.08)))
    cup = np.array([1.02, 0.86, 0.60]) * np.exp(rng.normal(0.0, (0.02, 0.04, 0.08)))
    head = rim + a.in_cup[..., None] * (cup - rim)
    head = head * (1.0 + 0.035 * (a.striae * (1.0 - a.in_cup)))[..., None]
    ring = np.exp(-(((a.rho - 1.0) / 0.05) ** 2))[..., None]
    image += a.in_disc[..., None] * (head.astype(np.float32) - image)
    image *= 1.0 - 0.13 * ring.astype(np.float32)  # the margin of the disc is a little darker
    blood = base * np.array([0.62, 0.32, 0.42]) + np.array([0.06, 0.02, 0.02])
    fresh = base * np.array([0.80, 0.46, 0.50]) + np.array([0.10, 0.03, 0.02])
    image += (0.80 * a.veins)[..., None] * (blood.astype(np.float32) - image)
    image += (0.72 * a.arteries * (1.0 - a.veins))[..., None] * (fresh.astype(np.float32) - image)
    image += (0.22 * a.reflex * (1.0 - a.veins))[..., None] * np.array([1, 0.7, 0.5], np.float32)
    veil = np.array([0.50, 0.36, 0.22], np.float32)
    image = image * (1.0 - 0.8 * a.haze) + 0.8 * a.haze * veil
    sigma = rng.uniform(0.5, 1.0) + 1.2 * a.haze
    image = gaussian_filter(image, (sigma, sigma, 0.0))
    image = image * a.illumination(rng, 0.13, 0.045)[..., None]
    toward = rng.uniform(0.0, 2.0 * np.pi)  # the crop lies off the centre of the photograph
    fall = np.clip(a.x * np.cos(toward) + a.y * np.sin(toward) + rng.uniform(-0.8, 1.0), 0.0, None)
    image = image * np.exp(-0.11 * fall**2)[..., None]
    image = image + 0.013 * rng.standard_normal(image.shape, dtype=np.float32)
    balance = np.exp(rng.normal(0.0, (0.03, 0.04, 0.08)))
    return _expose(image * balance, np.clip(rng.normal(0.33, 0.06), 0.18, 0.52))


def render(
    eye: Eye,
    profile: np.ndarray | None = None,
    size: int = 224,
    spread: float = REFLECTANCE_SPREAD,
) -> Rendering:
    """Render one eye, in its own laterality.

    Parameters
    ----------
    eye : Eye
    profile : (360,) array, optional
        RNFL profile in µm, right-eye orientation, to be put into the image; the eye's own by
        default. Everything else in the image stays as it is.
    size : int
        Side of the square crop in px; it spans `FIELD_MM` and is centred on the disc.
    spread : float
        SD, on a log scale, of the reflectance of the fibres between eyes.
    """
    anatomy = _Anatomy(eye, eye.profile if profile is None else profile, size, spread)
    slo = _slo(anatomy, np.random.default_rng([*eye.seed, 2]))
    cfp = _cfp(anatomy, np.random.default_rng([*eye.seed, 3]))

    def finish(image: np.ndarray) -> np.ndarray:
        # mirroring is its own inverse: right-eye orientation <-> the eye's own laterality
        return np.ascontiguousarray(to_right_eye(image, eye.laterality))

    def to_uint8(image: np.ndarray) -> np.ndarray:
        return finish(np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8))

    return Rendering(
        slo=to_uint8(slo),
        cfp=to_uint8(cfp),
        disc=finish(anatomy.rho < 1.0),
        cup=finish(anatomy.rho < np.minimum(anatomy.cup_ratio, 1.0)),
        height=finish(anatomy.height.astype(np.float32)),
    )
