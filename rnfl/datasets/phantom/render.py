"""Render a phantom eye: scanning laser image (SLO), colour photograph (CFP), masks and height map.

The RNFL is physically in the image. Its thickness map brightens the retina, gives it fine
striations along the fibre bundles and veils the choroid; where fibres are lost the retina darkens
and the choroid shows, and the neuroretinal rim, made of the same fibres, narrows.
`render(eye, profile)` takes the profile as an argument, so that a flattened RNFL can be rendered
into an otherwise identical eye. Colours, tilt of the disc and peripapillary atrophy vary as in
GRAPE's photographs and do not depend on the thickness; `cameras` decides what each picture makes of
the eye. **Ours**.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from rnfl.core.geometry import FIELD_MM, SCAN_RADIUS_MM, to_right_eye
from rnfl.datasets.phantom import cameras
from rnfl.datasets.phantom.cameras import log_normal
from rnfl.datasets.phantom.eyes import Eye
from rnfl.datasets.phantom.vessels import bend, grow, paint

#: SD (log scale) of how strongly the fibres of different eyes reflect. It bounds how well the
#: mean thickness of an eye can be read from its image.
REFLECTANCE_SPREAD = 0.20
#: Logarithms of the retina's red, green and blue in GRAPE's 95 photographs, between 1.15 and 2.2 mm
#: from the disc: mean, and a factor of their covariance.
COLOUR = np.array([-0.678, -1.532, -2.276])
COLOUR_SPREAD = np.array([[0.277, 0, 0], [0.337, 0.137, 0], [0.374, 0.221, 0.229]])
#: The same of the brightest part of the disc, and its SDs.
CUP_COLOUR = np.array([0.99, 0.74, 0.43])
CUP_SPREAD = np.array([[0.04, 0, 0], [0.16, 0.08, 0], [0.24, 0.14, 0.12]])
ATROPHY_SHARE = 0.45  # of eyes with a crescent

#: Profile of a typical healthy eye, smoothed by eye; rims are wide where a profile reaches it.
TYPICAL = (
    66.0
    + 56.0 * np.exp(3.5 * (np.cos(np.deg2rad(np.arange(360) - 78.0)) - 1.0))
    + 60.0 * np.exp(4.0 * (np.cos(np.deg2rad(np.arange(360) - 282.0)) - 1.0))
)


@dataclass(frozen=True)
class Rendering:
    """One eye as its cameras see it, in the eye's own laterality.

    slo uint8 (s, s), cfp uint8 (s, s, 3), disc and cup bool (s, s), height float32 (s, s): surface
    of the fundus in mm without RNFL and cup. ``traits`` are classes of the eye and of its picture
    that do not depend on the thickness.
    """

    slo: np.ndarray
    cfp: np.ndarray
    disc: np.ndarray
    cup: np.ndarray
    height: np.ndarray
    traits: dict[str, int]


def _cast(x: np.ndarray) -> np.ndarray:
    # Transcendental functions are evaluated in double precision and rounded: in single precision
    # they differ in the last bit between processors, and what is hashed must not.
    return np.asarray(x, np.float32)


@lru_cache(maxsize=2)
def _grid(size: int):
    """Pixel grid in mm (x right, y up) of a crop that spans `FIELD_MM`."""
    at = ((np.arange(size) + 0.5) / size - 0.5) * FIELD_MM
    return tuple(_cast(one) for one in np.meshgrid(at, -at))


def _smooth_noise(rng, size: int, cells: int) -> np.ndarray:
    """Noise of unit variance with `cells` correlation lengths across the image."""
    coarse = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    edge, wide = size // cells, size + 2 * (size // cells)
    image = Image.fromarray(coarse).resize((wide, wide), Image.Resampling.BICUBIC)
    return np.asarray(image)[edge : edge + size, edge : edge + size] / np.float32(0.75)


def _step(distance: np.ndarray, softness) -> np.ndarray:
    """Smooth step: 1 where `distance` is well above 0, 0 well below. Algebraic: no exponential."""
    u = distance * np.float32(1.0 / softness)
    return np.float32(0.5) + np.float32(0.5) * u / np.sqrt(np.float32(1.5) + u * u)


class _Anatomy:
    """Everything both cameras share: where disc, cup, fibres and vessels are."""

    def __init__(self, eye: Eye, profile: np.ndarray, size: int, off: np.ndarray):
        rng = np.random.default_rng([*eye.seed, 1])
        offset = rng.normal(0.0, 0.04, 2) + off
        x, y = (one - np.float32(shift) for one, shift in zip(_grid(size), offset, strict=True))
        self.r = np.sqrt(x * x + y * y) + np.float32(1e-6)
        self.theta = _cast(np.rad2deg(np.arctan2(y.astype(float), -x.astype(float))) % 360.0)

        self.density = rng.uniform(0.5, 1.5)
        self.vessels = grow(rng, eye.peaks, self.density)
        centre = (np.array([offset[0], -offset[1]]) / FIELD_MM + 0.5) * size - 0.5
        self.veins, self.arteries, self.reflex = paint(self.vessels, size, size / FIELD_MM, centre)

        # disc, tilted in some eyes, and the cup that the fibres of `profile` leave free
        self.tilt = max(0.0, rng.normal(-0.05, 0.13))  # share by which it is foreshortened
        a, b = rng.normal(0.86, 0.075) * (1.0 - self.tilt), rng.normal(0.94, 0.08)
        turn = np.deg2rad(rng.normal(0.0, 14.0))
        c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        u, v = (x * c + y * s) / np.float32(a), (y * c - x * s) / np.float32(b)
        self.rho = np.sqrt(u * u + v * v)  # 1 on the disc margin
        thinned = 1.0 - gaussian_filter1d(np.asarray(profile, float), 14.0, mode="wrap") / TYPICAL
        wobble = rng.normal(0.0, 0.03) * np.cos(np.deg2rad(np.arange(360)))
        ratio = np.clip(0.48 + 0.55 * thinned + rng.normal(0.0, 0.10) + wobble, 0.12, 0.92)
        self.ratio = _cast(np.round(ratio, 5))
        self.cup_ratio = self.ratio[self.theta.astype(np.int32) % 360]
        self.in_disc = _step(1.0 - self.rho, rng.uniform(0.012, 0.04))
        self.in_cup = _step(self.cup_ratio - self.rho, rng.uniform(0.03, 0.11))
        self.crescent, self.zone = self._atrophy(rng)

        # fibres: bundles turn towards the macula, and thin out away from the disc
        bundle = self.theta + _cast(bend(self.theta)) * (self.r - np.float32(SCAN_RADIUS_MM))
        at = np.floor(bundle).astype(np.int32) % 360
        far = np.clip(SCAN_RADIUS_MM / np.maximum(self.r.astype(float), 0.8), 0.4, 1.9)
        self.rnfl = _cast(profile)[at] / np.float32(100.0) * _cast(far**0.6)
        self.striae = self._striae(rng, bundle)
        self.choroid = _smooth_noise(rng, size, 5)
        self.tessellation = self._tessellation(rng, size, x, y)
        self.media = float(np.clip(rng.normal(1.0 + 0.02 * (eye.age - 60.0), 0.45), 0.1, 3.0))
        dark = {"Asian": 0.55, "Black": 0.75, "White": 0.35}[eye.race]
        self.pigment = float(np.clip(rng.normal(dark, 0.15), 0.02, 0.98))
        self.scatter = float(log_normal(rng, REFLECTANCE_SPREAD))
        # Globe, tilt and the relief of the vessels; not the cup, which the thickness decides.
        slope = rng.normal(0.0, 0.05, 2).astype(np.float32)
        relief = np.float32(0.06) * self.veins + np.float32(0.05) * self.arteries
        globe = np.float32(rng.uniform(0.03, 0.09)) * self.r * self.r
        self.height = (
            relief - globe / 6 + slope[0] * x + slope[1] * y - np.float32(0.1) * self.in_disc
        )

    def _atrophy(self, rng) -> tuple[np.ndarray, np.ndarray]:
        """Peripapillary atrophy: a pale, mottled crescent and a darker zone, mostly temporal."""
        there, reach = rng.random() < ATROPHY_SHARE, rng.uniform(0.08, 0.75)
        facing = np.deg2rad(self.theta.astype(float) - rng.normal(0.0, 28.0))
        towards = _cast(np.clip(np.cos(facing), 0.0, 1.0) ** 1.5)
        soft, strength, zone = rng.uniform(0.03, 0.10), rng.uniform(0.3, 1.0), rng.uniform(0.0, 0.5)
        outside = np.float32(1.0) - self.in_disc
        pale = _step(1.0 + np.float32(reach) * towards - self.rho, soft) * outside
        dim = _step(1.0 + np.float32(1.5 * reach + 0.1) * towards - self.rho, 0.12) * outside
        return pale * np.float32(strength * there), dim * np.float32(zone)

    def _striae(self, rng, bundle: np.ndarray) -> np.ndarray:
        """Texture of unit variance, fine across the bundles and long along them."""
        texture = rng.standard_normal((720, 9)).astype(np.float32)
        texture = texture + np.float32(0.7) * gaussian_filter1d(texture[::-1], 1.2, 0, mode="wrap")
        across = np.floor(2.0 * bundle).astype(np.int32) % 720
        along = np.clip(self.r * np.float32(2.0), 0.0, np.float32(7.999))
        near = along.astype(np.int32)
        share = along - near
        return texture[across, near] * (1 - share) + texture[across, near + 1] * share

    def _tessellation(self, rng, size: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Choroidal vessels: broad bright bands that branch between dark islands, about [-1, 1]."""
        # Stretched along a direction of the eye, as the choroid's vessels run to a vortex vein.
        cells = int(rng.integers(8, 18))
        ridge = _smooth_noise(rng, size, cells) + np.float32(0.6) * _smooth_noise(
            rng, size, 2 * cells
        )
        bands = np.float32(1.0) / (np.float32(1.0) + np.float32(2.2) * ridge * ridge)
        return (
            np.float32(1.6) * bands
            - np.float32(0.9)
            + np.float32(0.35) * _smooth_noise(rng, size, 8)
        )


def _slo(a: _Anatomy, rng: np.random.Generator) -> np.ndarray:
    retina = 0.22 + 0.05 * (1.0 - a.pigment) + np.float32(0.020) * a.choroid
    veil = np.float32(1.0) / (np.float32(1.0) + np.float32(0.8) * a.rnfl)
    retina = retina + np.float32(0.05 * rng.uniform(0.2, 1.5)) * a.tessellation * veil
    striation = np.float32(rng.uniform(0.03, 0.07))
    image = retina + np.float32(a.scatter) * a.rnfl * (np.float32(0.22) + striation * a.striae)
    image = image + np.float32(0.14) * a.crescent - np.float32(0.05) * a.zone
    head = 0.36 + np.float32(rng.uniform(0.12, 0.28)) * a.in_cup + np.float32(0.03) * a.choroid
    image = image + a.in_disc * (head - image)
    vessel = np.maximum(a.veins, np.float32(0.9) * a.arteries)
    image = image * (1 - np.float32(0.6) * vessel) + np.float32(0.09) * a.reflex * (1 - a.veins)
    level = np.round(image.mean(dtype=np.float64), 4)  # automatic gain
    return image * np.float32(np.clip(rng.normal(0.42, 0.055), 0.28, 0.6) / max(level, 0.05))


def _cfp(a: _Anatomy, rng: np.random.Generator) -> np.ndarray:
    z = np.clip(rng.standard_normal(3), -2, 1.6)
    z[0] = 0.8 * z[0] - 1.3 * (a.pigment - 0.47)  # darker eyes have more pigment
    base = COLOUR + 1.2 * (COLOUR_SPREAD * z).sum(1)
    base = _cast(np.exp(base))
    fibres = np.float32(a.scatter) * a.rnfl
    veil = np.float32(1.0) / (np.float32(1.0) + np.float32(0.9) * fibres)  # fibres hide the choroid
    visible = np.float32(1.5 * rng.beta(1.1, 1.8))
    mottle = np.float32(0.09) * a.choroid + visible * veil * a.tessellation
    weights = np.array([0.26, 0.40, 0.34]) * log_normal(rng, (0.35, 0.2, 0.3))
    image = base * (1 + mottle[..., None] * _cast(weights))
    island = visible * veil * _smooth_noise(rng, a.r.shape[0], int(rng.integers(12, 30)))
    image *= 1 + island[..., None] * np.array([-0.03, 0.07, 0.06], np.float32)
    own = np.stack([_smooth_noise(rng, a.r.shape[0], cells) for cells in (60, 40, 28)], axis=-1)
    image *= 1 + np.float32(rng.uniform(0.005, 0.03)) * np.array([0.5, 1, 1.2], np.float32) * own
    # The sheen is about grey against the eye's mean, so that colour as a whole says little of it.
    sheen = fibres * (1 + np.float32(rng.uniform(0.10, 0.30)) * a.striae) - np.float32(0.62)
    strength = np.float32(rng.uniform(0.8, 1.2)) * np.array([0.055, 0.085, 0.062], np.float32)
    image += sheen[..., None] * strength * np.float32(np.sqrt(base[1] / 0.22))
    light = np.float32(min(1.0, 1.5 * float(base[0])))
    image *= 1 - np.float32(0.35) * a.zone[..., None]
    mottled = 1 + np.float32(0.28) * a.tessellation + np.float32(0.10) * a.choroid
    pale = light * np.array([0.92, 0.66, 0.34], np.float32) * mottled[..., None]
    image += np.float32(0.8) * a.crescent[..., None] * (pale - image)
    tone = (CUP_SPREAD * (0.5 * z + 0.85 * rng.standard_normal(3))).sum(1)
    cup = _cast(np.minimum(CUP_COLOUR * np.exp(tone), 1.1))
    pallor = rng.uniform(0.35, 0.75)  # of the rim, between retina and cup
    rim = (1 - pallor) * base * 1.5 + pallor * cup * _cast([0.97, 0.80, 0.80])
    rim = _cast(np.minimum(rim, cup))
    head = rim + a.in_cup[..., None] * (cup - rim)
    head = head * (1 + np.float32(0.05) * a.choroid[..., None])
    image += a.in_disc[..., None] * (head - image)
    margin = (a.rho - 1) * np.float32(1 / 0.06)
    image *= 1 - np.float32(rng.uniform(0, 0.2)) / (1 + margin * margin)[..., None]
    depth = np.float32(rng.uniform(0.75, 1.1))  # vessels absorb; the light path differs
    for vessels, absorbs in (
        (a.veins, (0.26, 0.56, 0.42)),
        (a.arteries * (1 - a.veins), (0.12, 0.40, 0.34)),
    ):
        image *= 1 - vessels[..., None] * (depth * np.array(absorbs, np.float32))
    image += (np.float32(0.10) * a.reflex * (1 - a.veins))[..., None] * base
    return image


def members(eye: Eye, view: int = 1) -> tuple[int, int]:
    """Return the families (0 or 1) of the SLO and of the colour camera that took this picture."""
    slo, cfp = np.random.default_rng([*eye.seed, 4, eye.visit, view]).integers(0, 2, 2)
    return int(slo), int(cfp)


def render(
    eye: Eye,
    profile: np.ndarray | None = None,
    size: int = 224,
    gap: float = 1.0,
    severity: Mapping[str, float] | None = None,
    view: int = 1,
    families: tuple[int, int] | None = None,
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
    gap : float in [0, 1]
        How far the cameras' families are from those of pretraining.
    severity : mapping of factor to [0, 1], optional
        What spoils both pictures: some of `cameras.FACTORS`.
    view : int
        Which of repeat photographs: another picture of the same eye.
    families : (int, int), optional
        Of the SLO and of the colour camera, 0 or 1; those of :func:`members` by default.
    """
    severity, key = severity or {}, [eye.visit, view]
    rng = np.random.default_rng([*eye.seed, 8, *key])
    families = families or members(eye, view)
    angle, steady = rng.uniform(0.0, 2.0 * np.pi), rng.normal(0.0, 0.03, 2)
    reach = severity.get("decentring", 0.0) * cameras.WORST["decentring"]
    off = steady * (view > 1) + reach * np.array([np.cos(angle), np.sin(angle)])
    anatomy = _Anatomy(eye, eye.profile if profile is None else profile, size, off)
    x, y = _grid(size)

    def finish(image: np.ndarray) -> np.ndarray:
        # mirroring is its own inverse: right-eye orientation <-> the eye's own laterality
        return np.ascontiguousarray(to_right_eye(image, eye.laterality))

    pictures, chosen = {}, {}
    for k, (modality, look) in enumerate((("slo", _slo), ("cfp", _cfp))):
        camera = cameras.family(modality, families[k], gap)
        light = look(anatomy, np.random.default_rng([*eye.seed, 2 + k]))
        taken = np.random.default_rng([*eye.seed, 5 + k, *key])
        picture = cameras.take(light, camera, severity, taken, x, y, anatomy.media)
        pictures[modality], chosen[f"{modality}_camera"] = finish(picture), families[k]
    traits = {
        **chosen,
        "pigment": int(np.digitize(anatomy.pigment, (0.35, 0.5, 0.65))),
        "media": int(np.digitize(anatomy.media, (0.8, 1.2))),
        "vessels": int(np.digitize(anatomy.density, (0.8, 1.2))),
        "tilt": int(np.digitize(anatomy.tilt, (0.001, 0.12))),
        "atrophy": int(np.digitize(anatomy.crescent.mean(), (0.001, 0.02))),
    }
    return Rendering(
        **pictures,
        disc=finish(anatomy.rho < 1.0),
        cup=finish(anatomy.rho < np.minimum(anatomy.cup_ratio, 1.0)),
        height=finish(anatomy.height),
        traits=traits,
    )


def cues(eye: Eye) -> np.ndarray:
    """Return what an eye shows of its thickness before any camera: (144,), without noise.

    How strongly the fibres reflect in 72 sectors of the scan circle (the thickness times the eye's
    own reflectance, which nobody knows), and the cup's radius as a share of the disc's in each.
    """
    anatomy = _Anatomy(eye, eye.profile, 32, np.zeros(2))
    shown = np.stack([anatomy.scatter * eye.profile, anatomy.ratio])
    return shown.reshape(2, 72, 5).mean(axis=2).ravel()
