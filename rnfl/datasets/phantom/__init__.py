"""The phantom: seeded eyes with known truth, for machines without access to the gated datasets.

Every eye is rendered by two cameras, so ``phantom-slo-2400`` and ``phantom-cfp-2400`` hold the
same 2,400 eyes. What follows the number of eyes changes one thing each, in any order:

=====================  =============================================================================
``-s1``                another population (seed 1)
``-gap0.5``            cameras half way from the families of pretraining (0) to the default ones (1)
``-severity0.4``       everything that spoils a picture, two fifths of the way to its worst
``-blur0.8`` ...       one of `cameras.FACTORS` alone
``-views2``            two photographs of each eye, a row each; label and patient are the same
``-qualities``         two renderings of each photograph, a row each: as it is, and with `LOW`
``-visits5``           five dates of each eye, with a scan each; the planted rate is in the samples
``-linear``            with visits: the null, loss that neither spreads nor speeds up
``-sick0.9``           the share of patients with glaucoma; 0.6 where nothing is said
``-lei``               a population calibrated without GRAPE
=====================  =============================================================================

Eyes and their profiles come from `phantom.eyes`, pictures from `phantom.render` and
`phantom.cameras`; the label of an eye is its true profile with the noise of one simulated OCT scan,
so the error of the truth itself, the *label-noise floor*, is known. Beside the images lie the
truth, the parts of the noise (``noise.npy``: offset, smooth, white) and the masks of disc and cup
(``masks.npy``, half the size: 1 rim, 2 cup). The default population is calibrated to GRAPE's
quadrants and the default colour cameras to GRAPE's colours: to them GRAPE is not wholly unseen.
Every result from here must say "phantom". All of it is **ours**.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import get_context

import numpy as np
import pandas as pd

from rnfl.core.geometry import FIELD_MM, to_right_eye
from rnfl.core.splits import patient_split
from rnfl.datasets.phantom.cameras import FACTORS, WORST
from rnfl.datasets.phantom.eyes import GLAUCOMA_SHARE, POPULATIONS, Eye, population
from rnfl.datasets.phantom.render import members, render
from rnfl.datasets.prepared import Prepared, Publication, publish
from rnfl.storage import locks
from rnfl.storage.processes import end_with
from rnfl.storage.progress import progress

SIZE = 224
PRETRAINING_SEED = 1_000_001  # a population of its own, never met in an experiment
#: Raise when eyes or images of the same seed change, so that prepared copies are made anew.
VERSION = 2
FLAGS = ("linear", "lei", "qualities")
KEYS = ("s", "gap", "severity", "views", "visits", "sick", *FLAGS, *FACTORS)
#: What spoils a picture of low quality, beside what spoils all: haze by 0.3, blur and grain.
LOW = {"haze": 0.3 / WORST["haze"], "blur": 0.3, "noise": 0.3}
OPTION = re.compile(rf"-({'|'.join(KEYS)})(\d*\.?\d*)(?=-|$)")


@dataclass(frozen=True)
class Recipe:
    """What the name of a phantom dataset says."""

    modality: str
    n_eyes: int
    seed: int = 0
    gap: float = 1.0
    severity: dict[str, float] = field(default_factory=dict)
    views: int = 1
    visits: int = 1
    linear: bool = False
    sick: float = GLAUCOMA_SHARE
    calibrated: str = "grape"
    qualities: bool = False

    @property
    def spoilt(self) -> list[dict[str, float]]:
        """What spoils each rendering of a photograph, by factor."""
        return [self.severity, self.severity | LOW] if self.qualities else [self.severity]

    def eyes(self) -> list[Eye]:
        """Return its eyes, one per visit."""
        p = POPULATIONS[self.calibrated]
        return population(self.n_eyes, self.seed, p, self.visits, self.linear, self.sick)


def parse(name: str) -> Recipe:
    """Read the name of a phantom dataset.

    Examples
    --------
    >>> parse("phantom-cfp-300-s1-gap0.5-blur0.8")
    Recipe(modality='cfp', n_eyes=300, seed=1, gap=0.5, severity={'blur': 0.8}, views=1, visits=1, \
linear=False, sick=0.6, calibrated='grape', qualities=False)
    """
    match = re.fullmatch(r"phantom-(slo|cfp)-([1-9]\d*)((?:-[a-z]+[\d.]*)*)", name)
    options = OPTION.findall(match[3]) if match else []
    said: dict = {}
    try:
        if not match or "".join(f"-{key}{value}" for key, value in options) != match[3]:
            raise ValueError("not a form of a phantom's name")
        if len({key for key, _ in options}) < len(options):
            raise ValueError("something is said twice")
        for key, value in options:
            if key in FLAGS:
                if value:
                    raise ValueError(f"{key} takes no number")
                said |= {"calibrated": "lei"} if key == "lei" else {key: True}
            elif key in ("s", "views", "visits"):
                said["seed" if key == "s" else key] = int(value)
            elif not 0 <= float(value) <= 1:
                raise ValueError(f"{key} {value} is not in [0, 1]")
            elif key in ("gap", "sick"):
                said[key] = float(value)
            else:
                factors = FACTORS if key == "severity" else (key,)
                said["severity"] = said.get("severity", {}) | dict.fromkeys(factors, float(value))
        if min(said.get("views", 1), said.get("visits", 1)) < 1:
            raise ValueError("views and visits are at least 1")
        if said.get("linear") and said.get("visits", 1) == 1:
            raise ValueError("linear needs visits")
    except ValueError as error:
        raise ValueError(
            f"no phantom dataset {name!r} ({error}): expected phantom-slo-N or phantom-cfp-N with "
            "N >= 1 eyes, optionally followed by -sSEED, -gapG, -severityS, "
            f"{', '.join(f'-{factor}S' for factor in FACTORS)}, -sickP (G, S, P from 0 to 1), "
            "-viewsK, -visitsK, -qualities, -linear and -lei, such as phantom-slo-2400-s1"
        ) from None
    return Recipe(match[1], int(match[2]), **said)


Shot = tuple[Eye, int, dict[str, float]]  # an eye, its view, and what spoils that


def _cameras(shot: Shot, gap: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    eye, view, spoilt = shot
    seen = render(eye, None, SIZE, gap, spoilt, view)
    masks = (seen.disc.astype(np.uint8) + seen.cup)[::2, ::2]
    return tuple(to_right_eye(one, eye.laterality) for one in (seen.slo, seen.cfp, masks))


def _pretraining(eye: Eye) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Return pictures (2, s, s, 3), height (s, s) and traits of an eye, at half size."""
    seen, half = render(eye, None, SIZE, gap=0.0), SIZE // 2

    def halve(image: np.ndarray) -> np.ndarray:
        blocks = to_right_eye(image, eye.laterality).reshape(half, 2, half, 2, -1)
        return blocks.mean(axis=(1, 3), dtype=np.float32)

    slo, cfp = (np.rint(halve(image)).astype(np.uint8) for image in (seen.slo, seen.cfp))
    pictures = np.stack([np.repeat(slo, 3, axis=2), cfp])
    return pictures, halve(seen.height)[..., 0].astype(np.float16), seen.traits


def each(task: Callable, items: Sequence, title: str) -> Iterator:
    """Yield `task(item)` in order, on every core when there are enough items to be worth it.

    That a worker process died is a RuntimeError.
    """
    cores = os.cpu_count() or 1
    if len(items) < 200 or cores == 1:
        yield from progress(map(task, items), title, len(items))
        return
    # spawn, not fork: the parent may be a notebook kernel with threads of its own
    how = {"mp_context": get_context("spawn"), "initializer": end_with, "initargs": (os.getpid(),)}
    pool = ProcessPoolExecutor(cores, **how)
    try:
        yield from progress(pool.map(task, items, chunksize=16), title, len(items))
    except BrokenProcessPool:
        why = f"a worker process ended: out of memory, or this: {locks.UNGUARDED}"
        raise RuntimeError(f"{title}: {why}") from None
    finally:
        pool.shutdown(cancel_futures=True)


def samples_table(
    eyes: Sequence[Eye], modality: str, views: int = 1, qualities: bool = False
) -> pd.DataFrame:
    """Return the samples table of phantom eyes, with a patient-disjoint split.

    ``device`` is the camera's family. With several views, qualities or visits a row says which it
    shows, and the planted course: years since the first visit, ``disease_years`` at the first,
    ``rate``.
    """
    fields = ["patient_id", "laterality", "age", "sex", "race", "ethnicity", "severity"]
    several = any(eye.visit > 1 for eye in eyes)
    if several:
        fields += ["visit", "years", "rate"]
    rows = []
    for eye in eyes:
        for view in range(1, views + 1):
            row = {"eye_id": eye.eye_id + (f"-view{view}" if views > 1 else "")}
            row |= {name: getattr(eye, name) for name in fields}
            row |= {"disease_years": eye.offset} if several else {}
            row |= {"view": view} if views > 1 else {}
            member = members(eye, view)[modality == "cfp"]
            row |= {"device": f"phantom {modality.upper()} {'AB'[member]}"}
            if qualities:
                rows.append(row | {"quality": "high"})
                row |= {"eye_id": f"{row['eye_id']}-low", "quality": "low"}
            rows.append(row)
    samples = pd.DataFrame(rows)
    samples["modality"] = modality.upper()
    samples["split"] = patient_split(samples)
    return samples


def settings(name: str, source: None = None) -> dict:
    """Return all that decides the eyes of a phantom dataset and their images."""
    if source is not None:
        raise ValueError(f"{name} is generated and takes no source, got {source}")
    said = asdict(parse(name))
    del said["modality"]
    for later, default in (("sick", GLAUCOMA_SHARE), ("qualities", False)):
        if said[later] == default:  # an option that came later renews no dataset
            del said[later]
    return {**said, "size": SIZE, "version": VERSION}


def prepare(name: str, source: None = None) -> Prepared:
    """Make the phantom eyes of `name` and both cameras' images of them.

    Parameters
    ----------
    name : str
        ``phantom-{slo|cfp}-N`` and what may follow, see the package's documentation.
    source : None
        The phantom needs no files.

    Returns
    -------
    Prepared
        The dataset of the camera asked for; the other camera's is written beside it.
    """
    recipe, decided = parse(name), settings(name, source)
    eyes = recipe.eyes()
    views = range(1, recipe.views + 1)
    shots = [(eye, view, spoilt) for eye in eyes for view in views for spoilt in recipe.spoilt]
    labels, truth, noise = (
        np.stack([getattr(eye, part) for eye, *_ in shots])
        for part in ("label", "profile", "noise")
    )
    masks = np.zeros((len(shots), SIZE // 2, SIZE // 2), np.uint8)

    def camera(modality: str) -> AbstractContextManager[Publication]:
        sibling = name.replace(f"phantom-{recipe.modality}", f"phantom-{modality}", 1)
        about = {
            "dataset": "phantom",
            "modality": modality.upper(),
            "phantom": True,
            "field_mm": FIELD_MM,
            "settings": decided,
        }
        samples = samples_table(eyes, modality, recipe.views, recipe.qualities)
        extra = {"noise.npy": noise, "masks.npy": masks}
        return publish(sibling, labels, samples, about, truth, extra)

    # The one asked for is outermost and appears last: where a process dies between the two, it is
    # asked for again, and both are made.
    first, second = ("slo", "cfp") if recipe.modality == "slo" else ("cfp", "slo")
    with camera(first) as asked, camera(second) as beside:
        by = {first: asked, second: beside}
        title = f"phantom, {recipe.n_eyes} eyes"
        for k, made in enumerate(each(partial(_cameras, gap=recipe.gap), shots, title)):
            *pictures, masks[k] = made
            for modality, picture in zip(("slo", "cfp"), pictures, strict=True):
                by[modality].add(picture)
    return asked.prepared


def pretraining_set(n_eyes: int, seed: int = PRETRAINING_SEED):
    """Make images and targets for pretraining, from patients and cameras no experiment meets.

    Returns
    -------
    images : uint8 (2 n, 112, 112, 3)
        SLO (grey, repeated) and CFP of each eye, adjacent, in right-eye orientation, by the cameras
        of `gap` 0.
    labels : dict of str to int64 (2 n,)
        Classes of eye and picture for `phantom_cls`: family of the camera (four), pigmentation,
        media, number of small vessels, tilt of the disc, atrophy. None is made from the thickness.
    heights : float16 (2 n, 112, 112)
        Surface of the fundus in mm, of globe, tilt and vessels, without RNFL and cup: for
        `phantom_depth`.
    """
    half = SIZE // 2
    images = np.empty((n_eyes, 2, half, half, 3), np.uint8)
    heights = np.empty((n_eyes, 2, half, half), np.float16)
    traits = []
    eyes = population(n_eyes, seed)
    for k, made in enumerate(each(_pretraining, eyes, f"phantom, {n_eyes} eyes")):
        images[k], heights[k], seen = made
        traits.append(seen)
    table = pd.DataFrame(traits)
    camera = np.stack([table.pop("slo_camera"), table.pop("cfp_camera") + 2], axis=1).ravel()
    labels = {name: np.repeat(values.to_numpy(), 2) for name, values in table.items()}
    return (
        images.reshape(-1, half, half, 3),
        labels | {"camera": camera.astype(np.int64)},
        heights.reshape(-1, half, half),
    )
