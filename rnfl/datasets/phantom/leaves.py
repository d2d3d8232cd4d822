"""Drawn leaves: pictures that are no eyes, for a small generalist to learn from.

Outlines, branching veins, colour, texture, specks, light and grain as in photographs of plants:
single leaves, litter and close-ups, a third of them grey, so that channels do not give them away.
Veins spring from a midrib along its whole length or run side by side; none spread from one point,
and nothing is round and bright like a disc. Each picture has a seed of its own. Sines, cosines and
powers are rounded before use and all else is arithmetic that IEEE 754 defines, or Pillow's on
integers, so that the pictures are the same on every machine. **Ours**.
"""

import numpy as np
from PIL import Image, ImageDraw

from rnfl.datasets import phantom

SIZE = 112
SEED = 2_000_003  # of pretraining; no eye has it
SUPERSAMPLE = 3
STEPS = 96  # along a midrib
#: Blades and soils (r, g, b): greens, autumn, flowers, earth, stone.
BLADES = np.array(
    [(70, 120, 50), (40, 85, 45), (120, 150, 60), (150, 165, 110), (190, 165, 60), (200, 120, 45),
     (165, 70, 40), (120, 75, 45), (125, 60, 95), (90, 105, 130), (175, 150, 160), (60, 65, 40)],
    float,
)  # fmt: skip
SOILS = np.array(
    [(60, 50, 40), (110, 95, 75), (30, 35, 25), (150, 145, 135), (205, 200, 190), (80, 100, 60),
     (95, 110, 125), (20, 20, 22)],
    float,
)  # fmt: skip


def pictures(n: int, seed: int = SEED) -> np.ndarray:
    """Draw leaves, uint8 (n, 112, 112, 3); the first ones are the same whatever `n`."""
    images = np.empty((n, SIZE, SIZE, 3), np.uint8)
    seeds = [(seed, k) for k in range(n)]
    for k, image in enumerate(phantom.each(draw, seeds, f"leaves, {n} pictures")):
        images[k] = image
    return images


def draw(seed: tuple[int, int]) -> np.ndarray:
    """Draw the picture of a seed, uint8 (112, 112, 3)."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, p=(0.45, 0.25, 0.3))  # a few leaves, litter, a close-up
    n_leaves = (rng.integers(1, 5), rng.integers(6, 14), 1)[kind]
    length = (rng.uniform(50, 110), rng.uniform(22, 50), rng.uniform(180, 360))[kind]
    soil = SOILS[rng.integers(len(SOILS))] * rng.uniform(0.7, 1.2)
    image = soil * (1 + rng.uniform(0.05, 0.5) * _noise(rng, (3, 40)))
    base, veined = BLADES[rng.integers(len(BLADES))], rng.uniform(0.15, 0.75)
    for _ in range(n_leaves):
        own = base if rng.random() < 0.6 else BLADES[rng.integers(len(BLADES))]
        leaf = _Leaf(rng, length * rng.uniform(0.7, 1.25), close=kind == 2)
        image = leaf.over(image, rng, own * rng.uniform(0.7, 1.25, 3), veined)
    image = image * _light(rng)
    if rng.random() < 0.35:  # grey: any one mixture of the channels
        red, green = rng.uniform(0.1, 0.5, 2)
        mixed = red * image[..., 0] + green * image[..., 1] + (1 - red - green) * image[..., 2]
        image = np.repeat(mixed[..., None], 3, axis=2)
    image = np.clip(rng.uniform(-25, 25) + image * rng.uniform(0.7, 1.25), 0, 255)
    blurred = np.rint(image).astype(np.uint8)
    if rng.random() < 0.4:  # out of focus
        small = (int(rng.integers(40, 90)),) * 2
        blurred = Image.fromarray(blurred).resize(small, Image.Resampling.BOX)
        blurred = np.asarray(blurred.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    grain = int(rng.integers(0, 9))
    shape = (SIZE, SIZE, 1 if (blurred[..., :1] == blurred).all() else 3)
    noisy = blurred.astype(np.int16) + rng.integers(-grain, grain + 1, shape, np.int16)
    return np.clip(noisy, 0, 255).astype(np.uint8)


class _Leaf:
    """A leaf in coordinates of its own: `t` along the midrib, `s` from it (-1) to the margins (1).

    Whatever is drawn in them stays within the blade.
    """

    def __init__(self, rng: np.random.Generator, length: float, close: bool):
        at = np.arange(STEPS + 1) / STEPS
        heading = rng.uniform(0, 2 * np.pi) + rng.uniform(-0.9, 0.9) * at
        along = np.stack([_rounded(np.cos(heading)), _rounded(np.sin(heading))], axis=1)
        self.normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
        spine = np.cumsum(along, axis=0) * (length / STEPS)
        middle = rng.uniform(0.25, 0.75, 2) if close else rng.uniform(0.05, 0.95, 2)
        self.spine = spine - spine[STEPS // 2] + middle * SIZE
        first, last = rng.uniform(0.35, 1.1), rng.uniform(0.5, 1.5)
        outline = _rounded(np.maximum(at, 1e-9) ** first * np.maximum(1 - at, 1e-9) ** last)
        outline = outline / outline.max()
        lobes = rng.choice((0.0, rng.uniform(0.15, 0.5))), rng.integers(2, 7)
        teeth = rng.choice((0.0, rng.uniform(0.02, 0.1))), rng.integers(12, 32)
        for depth, number in (lobes, teeth):
            outline = outline * (1 + depth * _rounded(np.sin(2 * np.pi * number * at)))
        self.narrow = rng.random() < 0.2 and not close  # blades of grass
        share = rng.uniform(0.05, 0.1) if self.narrow else rng.uniform(0.18, 0.42)
        self.width, self.length = outline * share * length, length

    def points(self, t: np.ndarray, s: np.ndarray) -> list[tuple[int, int]]:
        """Points of the supersampled canvas for `t` in [0, 1] and `s` in [-1, 1]."""
        k = np.minimum(np.maximum(np.rint(t * STEPS), 0), STEPS).astype(int)
        s = np.minimum(np.maximum(s, -1), 1)
        xy = self.spine[k] + (s * self.width[k])[:, None] * self.normal[k]
        return list(map(tuple, np.rint(xy * SUPERSAMPLE).astype(int).tolist()))

    def over(self, image, rng, colour: np.ndarray, veined: float) -> np.ndarray:
        """Lay the leaf over an image (112, 112, 3), with the shadow that it casts."""
        blade, veins = self._blade(), self._veins(rng)
        shift = rng.integers(-3, 4, 2)
        shadow = np.roll(blade, tuple(shift.tolist()), (0, 1)) * rng.uniform(0.0, 0.5)
        image = image * (1 - shadow)[..., None]
        other = np.clip(colour + rng.uniform(-45, 45, 3), 5, 250)
        turn = np.clip(0.5 + rng.uniform(0.2, 0.6) * _noise(rng, (2, 6)), 0, 1)
        surface = colour + (other - colour) * turn
        surface = surface * (1 + rng.uniform(0.02, 0.22) * _noise(rng, (8, 50)))
        pale = rng.choice((-0.55, 0.8), p=(0.3, 0.7)) * veined  # veins darker or lighter
        surface = surface * (1 + pale * veins)[..., None]
        spots = _noise(rng, (10, 45)) > rng.uniform(0.75, 1.3)
        surface = surface * (1 - rng.uniform(0.1, 0.6) * spots)
        return image + (surface - image) * blade[..., None]

    def _blade(self) -> np.ndarray:
        t = np.arange(STEPS + 1) / STEPS
        outline = self.points(t, np.ones_like(t)) + self.points(t[::-1], -np.ones_like(t))
        canvas = _canvas()
        ImageDraw.Draw(canvas).polygon(outline, fill=255)
        return _shrunk(canvas)

    def _veins(self, rng: np.random.Generator) -> np.ndarray:
        canvas = _canvas()
        pen = ImageDraw.Draw(canvas)
        t = np.arange(0, STEPS + 1, 4) / STEPS
        if self.narrow:  # parallel veins
            for s in np.linspace(-0.8, 0.8, int(rng.integers(3, 8))):
                pen.line(self.points(t, np.full(t.size, s)), fill=150, width=1)
            return _shrunk(canvas)
        thick = max(2, round(self.length * rng.uniform(0.015, 0.035)))
        for k in range(t.size - 1):  # the midrib tapers
            width = max(1, round(thick * (1 - 0.8 * t[k])))
            pen.line(self.points(t[k : k + 2], np.zeros(2)), fill=255, width=width)
        number, reach = int(rng.integers(5, 14)), rng.uniform(0.08, 0.35)
        bend, apart = rng.choice((1, 2)), rng.choice((0.0, 0.5))  # straight or arched; alternate
        u = np.arange(9) / 8
        for side, offset in ((1, 0.0), (-1, apart)):
            for k in range(number):
                start = 0.04 + 0.86 * (k + offset + rng.uniform(-0.15, 0.15)) / number
                t, s = start + reach * (u if bend == 1 else u * u), side * 0.95 * u
                pen.line(self.points(t, s), fill=210, width=max(1, thick // 2))
                if self.length > 80:  # in smaller ones it would not be seen
                    self._net(rng, pen, t[1:-1], s[1:-1], 0.86 / number)
        return _shrunk(canvas)

    def _net(self, rng, pen: ImageDraw.ImageDraw, t, s, gap: float) -> None:
        """Draw fine veins from a side vein to the next, and twigs from those."""
        # From where they leave it: half way, their end, and the end of a twig of theirs.
        far = gap * rng.uniform(0.3, 1.1, (t.size, 1)) * np.array([0.0, 0.5, 1.0, 0.8])
        aside = rng.uniform(-0.12, 0.12, (t.size, 4)) * np.array([0.0, 0.5, 0.5, 1.0])
        points = self.points((t[:, None] + far).ravel(), (s[:, None] + aside).ravel())
        for k in range(0, 4 * t.size, 4):
            pen.line(points[k : k + 3], fill=130)
            pen.line([points[k + 1], points[k + 3]], fill=90)


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.round(values, 6)


def _canvas() -> Image.Image:
    return Image.new("L", (SIZE * SUPERSAMPLE,) * 2)


def _shrunk(canvas: Image.Image) -> np.ndarray:
    """Return a canvas at the pictures' size, in [0, 1]."""
    return np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.BOX)).astype(float) / 255


def _noise(rng: np.random.Generator, cells: tuple[int, int]) -> np.ndarray:
    """Smooth noise in about [-1, 1], (112, 112, 1), of a number of cells between two."""
    n = int(rng.integers(*cells))
    coarse = Image.fromarray(rng.integers(0, 256, (n, n), np.uint8))
    fine = np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    return (fine.astype(float) / 127.5 - 1)[..., None]


def _light(rng: np.random.Generator) -> np.ndarray:
    """Light that falls off to one side, (112, 112, 3), of a warm or cold colour."""
    ramp = np.arange(SIZE) / SIZE - 0.5
    fall = rng.uniform(-0.5, 0.5, 2)
    plane = 1 + fall[0] * ramp[:, None, None] + fall[1] * ramp[:, None]
    return (plane + rng.uniform(0, 0.2) * _noise(rng, (2, 4))) * rng.uniform(0.85, 1.15, 3)
