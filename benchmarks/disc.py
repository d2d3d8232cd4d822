"""How well the optic disc is found on the photographs of GRAPE, as they are and changed on purpose.

    python benchmarks/disc.py --source ../GRAPE

The truth is where the published regions of interest lie in their photographs; the disc's radius is
taken as a quarter of their width. Errors are in disc radii. Only photographs that have a region
count. Photographs are made smaller before they are changed, since the method looks at small ones
anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import measure
import numpy as np
from PIL import Image
from scipy import ndimage

from rnfl.datasets import grape
from rnfl.datasets.grape.annotations import find_region
from rnfl.imaging import crops
from rnfl.imaging.disc import PRIOR_CENTRE, WORKING_WIDTH, locate
from rnfl.imaging.pixels import shrink
from rnfl.storage.progress import progress

LONGEST = 800  # px of the width of a photograph that is looked at
SEARCHED = 10  # px round the place of a region, in the photograph as published
NOISE = 15.0  # grey levels, standard deviation


@dataclass(frozen=True)
class Case:
    """A photograph (H, W, 3) of an eye, with its disc: middle and radius, px."""

    photo: np.ndarray
    eye: str
    x: float
    y: float
    radius: float

    def error(self, x: float, y: float) -> float:
        """Return how far a place (px) is from the disc's middle, in disc radii."""
        return float(np.hypot(x - self.x, y - self.y) / self.radius)


def mirrored(case: Case) -> Case:
    """The photograph of the other eye, called by this one's name."""
    return replace(case, photo=case.photo[:, ::-1], x=case.photo.shape[1] - 1 - case.x)


def painted(case: Case) -> Case:
    """The disc painted over with what surrounds it."""
    v, u = np.mgrid[: case.photo.shape[0], : case.photo.shape[1]]
    away, photo = np.hypot(u - case.x, v - case.y) / case.radius, case.photo.copy()
    photo[away < 1.6] = np.median(photo[(away >= 1.6) & (away < 2.2)], axis=0)
    return replace(case, photo=photo)


def moved(case: Case, share: float) -> Case:
    """The picture moved to the right by a share of its width, black where nothing is."""
    step, width = round(share * case.photo.shape[1]), case.photo.shape[1]
    photo = np.zeros_like(case.photo)
    photo[:, max(step, 0) : width + min(step, 0)] = case.photo[
        :, max(-step, 0) : width - max(step, 0)
    ]
    return replace(case, photo=photo, x=case.x + step)


def cut(case: Case, sides: float, ends: float) -> Case:
    """Shares of the width cut off on both sides, and of the height above and below."""
    height, width = case.photo.shape[:2]
    left, top = int(sides * width), int(ends * height)
    photo = case.photo[top : height - top, left : width - left]
    return replace(case, photo=photo, x=case.x - left, y=case.y - top)


def halved(case: Case) -> Case:
    """Half the size."""
    small = np.asarray(Image.fromarray(case.photo).reduce(2))
    x, y = ((c + 0.5) / 2 - 0.5 for c in (case.x, case.y))
    return Case(small, case.eye, x, y, case.radius / 2)


def shown(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Case], Case]:
    """Return a change of grey levels alone."""
    return lambda case: replace(
        case, photo=change(case.photo.astype(float)).clip(0, 255).astype(np.uint8)
    )


def noisy(photo: np.ndarray) -> np.ndarray:
    """Noise, the same in every photograph of this size."""
    return photo + np.random.default_rng(0).normal(0, NOISE, photo.shape)


def uneven(photo: np.ndarray) -> np.ndarray:
    """Light that falls off to 0.4 towards the left."""
    return photo * np.linspace(0.4, 1, photo.shape[1])[:, None]


def blurred(photo: np.ndarray) -> np.ndarray:
    """Out of focus: a Gaussian of 0.5 % of the width."""
    sigma = 0.005 * photo.shape[1]
    return ndimage.gaussian_filter(photo, (sigma, sigma, 0))


def brightest_spot(photo: np.ndarray, blur: float = 0.025) -> tuple[float, float]:
    """Return ``(x, y)`` in px of the brightest spot of the blurred grey photograph.

    The usual shortcut, to be measured beside ours. ``blur`` is the standard deviation of the
    Gaussian as a fraction of the width; 0.025 was the kindest to it on GRAPE.
    """
    scale = photo.shape[1] / WORKING_WIDTH
    small = shrink(photo, scale).mean(axis=-1)
    grey = ndimage.gaussian_filter(small, blur * WORKING_WIDTH)
    row, column = np.unravel_index(np.argmax(grey), grey.shape)
    return float((column + 0.5) * scale - 0.5), float((row + 0.5) * scale - 0.5)


CHANGES: dict[str, Callable[[Case], Case]] = {
    "none": lambda case: case,
    "cut by 5 % on all sides": lambda case: cut(case, 0.05, 0.05),
    "cut by 10 % on all sides": lambda case: cut(case, 0.10, 0.10),
    "cut by 15 % above and below": lambda case: cut(case, 0.0, 0.15),
    "darkened to 0.15": shown(lambda photo: 0.15 * photo),
    "half the contrast": shown(lambda photo: 0.5 * photo + 0.5 * photo.mean()),
    "noise": shown(noisy),
    "blur": shown(blurred),
    "uneven light": shown(uneven),
    "half the size": halved,
    "moved by 10 % to the right": lambda case: moved(case, 0.1),
    "moved by 10 % to the left": lambda case: moved(case, -0.1),
    "moved by 20 % to the right": lambda case: moved(case, 0.2),
    "moved by 20 % to the left": lambda case: moved(case, -0.2),
    "wrong laterality (mirrored)": mirrored,
    "disc painted over": painted,
}
METHODS: dict[str, Callable[[Case], tuple[float, float]]] = {
    "disc localisation": lambda case: (
        (found := locate(np.ascontiguousarray(case.photo), case.eye)).x,
        found.y,
    ),
    "brightest blurred spot": lambda case: brightest_spot(case.photo),
    "always the mean position": lambda case: tuple(
        share * size - 0.5
        for share, size in zip(PRIOR_CENTRE[case.eye], case.photo.shape[1::-1], strict=True)
    ),
}


def corner(photo: np.ndarray, region: np.ndarray) -> tuple[int, int] | None:
    """Return the first column and row of a region in its photograph, None where it is in none."""
    middle = find_region(photo, region)
    if middle is None:
        return None
    height, width = region.shape[:2]
    left, top = round(middle[0] - (width - 1) / 2), round(middle[1] - (height - 1) / 2)
    part, best = region[::4, ::4, 1].astype(int), {}
    for y in range(max(top - SEARCHED, 0), top + SEARCHED + 1):
        for x in range(max(left - SEARCHED, 0), left + SEARCHED + 1):
            there = photo[y : y + height : 4, x : x + width : 4, 1]
            if there.shape == part.shape:
                best[x, y] = np.abs(there - part).mean()
    return min(best, key=best.get)


def cases(source: Path, most: int | None = None) -> Iterator[Case]:
    """Yield the photographs that have a region of interest, made smaller, with their discs."""
    files = grape.find_files(source)
    if files.regions is None:
        raise SystemExit(
            f"{source}: the regions of interest, which say where discs are, are absent"
        )
    paths = sorted(files.regions.glob("[!.]*_O[DS]_*"))[:most]
    for path in progress(paths, "photographs", len(paths)):
        whole = files.of(path.name)[0]
        if whole is None:
            continue
        photo, region = crops.read(whole), crops.read(path)
        at = corner(photo, region)
        if at is None:
            continue
        factor = -(-photo.shape[1] // LONGEST)
        x, y = (
            (start + size / 2) / factor - 0.5
            for start, size in zip(at, region.shape[1::-1], strict=True)
        )
        small = np.asarray(Image.fromarray(photo).reduce(factor))
        yield Case(small, path.stem.split("_")[1], x, y, region.shape[1] / 4 / factor)


def main(arguments: list[str] | None = None) -> Path:
    """Measure, print both tables, write the JSON and return its path."""
    parser = measure.parser(__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, help="raw GRAPE folder; by default as for prepare")
    given = parser.parse_args(arguments)
    try:
        source = grape.Grape.find_source(given.source)
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from error
    found = list(cases(source, 3 if given.smoke else None))
    if not found:
        raise SystemExit(f"{source}: no photograph has a region of interest that was cut from it")
    rows = []
    for name, method in METHODS.items():
        errors = np.array([case.error(*method(case)) for case in found])
        middle, most, worst = (round(float(np.quantile(errors, q)), 4) for q in (0.5, 0.9, 1))
        rows.append({
            "method": name, "median": middle, "90 %": most, "worst": worst,
            "beyond 1 radius": int((errors > 1).sum()), "photographs": len(found),
        })  # fmt: skip
    measure.show(rows, "errors in disc radii")
    changed = []
    for name, change in progress(CHANGES.items(), "changes", len(CHANGES), unit="change"):
        errors, unsure = [], []
        for case in map(change, found):
            disc = locate(np.ascontiguousarray(case.photo), case.eye)
            errors.append(case.error(disc.x, disc.y))
            unsure.append(disc.unsure)
        lost, unsure = np.array(errors) > 1, np.array(unsure)
        changed.append({
            "change": name, "beyond 1 radius": int(lost.sum()), "photographs": len(found),
            "of these unsure": int((lost & unsure).sum()),
            "unsure though within": int((~lost & unsure).sum()),
        })  # fmt: skip
    measure.show(changed, "photographs changed on purpose")
    record = {
        "settings": {"photographs": len(found), "longest_px": LONGEST},
        "rows": [
            {k: round(v, 4) if isinstance(v, float) else v for k, v in r.items()} for r in rows
        ],
        "changes": changed,
        "medians": {row["method"]: row["median"] for row in rows},
        "ratios": {},
    }
    return measure.publish("disc", record, given)


if __name__ == "__main__":
    main()
