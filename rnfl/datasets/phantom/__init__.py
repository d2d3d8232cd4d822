"""The phantom: seeded eyes with known truth, for machines without access to the gated datasets.

Every eye is rendered by two cameras, so ``phantom-slo-2400`` and ``phantom-cfp-2400`` hold the
same 2,400 eyes. ``phantom-slo-2400-s1`` is another population (seed 1). Eyes and their profiles
come from `phantom.eyes`, images from `phantom.render`; the label of an eye is its true profile
with the noise of one simulated OCT scan, so the error of the truth itself, the *oracle floor*, is
known. Every result from here must say "phantom". All of it is **ours**.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import pandas as pd

from rnfl.core.geometry import FIELD_MM, to_right_eye
from rnfl.core.schema import SEVERITIES
from rnfl.core.splits import patient_split
from rnfl.datasets.phantom.eyes import Eye, population
from rnfl.datasets.phantom.render import render
from rnfl.datasets.prepared import Prepared, Publication, publish
from rnfl.storage.progress import progress

NAME = re.compile(r"phantom-(?P<modality>slo|cfp)-(?P<n>\d+)(-s(?P<seed>\d+))?")
SIZE = 224
PRETRAINING_SEED = 1_000_001  # a population of its own, never met in an experiment
#: Pretraining images are of another, kinder source than those of the experiments: their fibres
#: reflect more alike.
PRETRAINING_SPREAD = 0.09
CUP_SIZES = (0.15, 0.25, 0.35, 0.45)  # bounds of five classes: the cup as a share of the disc
#: Raise when eyes or images of the same seed change, so that prepared copies are made anew.
VERSION = 1


def parse(name: str) -> tuple[str, int, int]:
    """Split a dataset name into modality ('slo' or 'cfp'), number of eyes, and seed.

    Examples
    --------
    >>> parse("phantom-cfp-2400")
    ('cfp', 2400, 0)
    """
    match = NAME.fullmatch(name)
    if not match or int(match["n"]) < 1:
        raise ValueError(
            f"no phantom dataset {name!r}: expected phantom-slo-N or phantom-cfp-N with N >= 1 "
            "eyes, optionally followed by -sSEED, such as phantom-slo-2400-s1"
        )
    return match["modality"], int(match["n"]), int(match["seed"] or 0)


def _cameras(eye: Eye) -> tuple[np.ndarray, np.ndarray]:
    seen = render(eye, size=SIZE)
    return to_right_eye(seen.slo, eye.laterality), to_right_eye(seen.cfp, eye.laterality)


@dataclass(frozen=True)
class _Pretraining:
    """What one eye contributes to pretraining, at half size and in right-eye orientation."""

    views: np.ndarray  # uint8 (2, s, s, 3): SLO and CFP
    height: np.ndarray  # float16 (s, s)
    cup_share: float  # of the disc's area


def _pretraining(eye: Eye) -> _Pretraining:
    seen = render(eye, size=SIZE, spread=PRETRAINING_SPREAD)
    half = SIZE // 2

    def halve(image: np.ndarray) -> np.ndarray:
        blocks = to_right_eye(image, eye.laterality).reshape(half, 2, half, 2, -1)
        return blocks.mean(axis=(1, 3), dtype=np.float32)

    slo, cfp = (np.rint(halve(image)).astype(np.uint8) for image in (seen.slo, seen.cfp))
    return _Pretraining(
        np.stack([np.repeat(slo, 3, axis=2), cfp]),
        halve(seen.height)[..., 0].astype(np.float16),
        float(seen.cup.sum() / seen.disc.sum()),
    )


def _each(task: Callable, eyes: Sequence[Eye], title: str) -> Iterator:
    """Yield `task(eye)` in order, on every core when there are enough eyes to be worth it."""
    cores = os.cpu_count() or 1
    if len(eyes) < 200 or cores == 1:
        yield from progress(map(task, eyes), title, len(eyes))
        return
    # spawn, not fork: the parent may be a notebook kernel with threads of its own
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        yield from progress(pool.map(task, eyes, chunksize=16), title, len(eyes))


def samples_table(eyes: Sequence[Eye], modality: str) -> pd.DataFrame:
    """Return the samples table of phantom eyes, with a patient-disjoint split."""
    fields = ("eye_id", "patient_id", "laterality", "age", "sex", "race", "ethnicity", "severity")
    samples = pd.DataFrame([{name: getattr(eye, name) for name in fields} for eye in eyes])
    samples["modality"] = modality.upper()
    samples["split"] = patient_split(samples)
    return samples


def settings(name: str, source: None = None) -> dict:
    """Return all that decides the eyes of a phantom dataset and their images."""
    if source is not None:
        raise ValueError(f"{name} is generated and takes no source, got {source}")
    _, n_eyes, seed = parse(name)
    return {"n_eyes": n_eyes, "seed": seed, "size": SIZE, "version": VERSION}


def prepare(name: str, source: None = None) -> Prepared:
    """Make the phantom eyes of `name` and both cameras' images of them.

    Parameters
    ----------
    name : str
        ``phantom-{slo|cfp}-N`` or ``phantom-{slo|cfp}-N-sSEED``.
    source : None
        The phantom needs no files.

    Returns
    -------
    Prepared
        The dataset of the camera asked for; the other camera's is written beside it.
    """
    wanted, n_eyes, seed = parse(name)
    decided = settings(name, source)
    eyes = population(n_eyes, seed)
    labels = np.stack([eye.label for eye in eyes])
    truth = np.stack([eye.profile for eye in eyes])

    def camera(modality: str) -> AbstractContextManager[Publication]:
        sibling = name.replace(f"phantom-{wanted}", f"phantom-{modality}", 1)
        about = {
            "dataset": "phantom",
            "modality": modality.upper(),
            "phantom": True,
            "field_mm": FIELD_MM,
            "settings": decided,
        }
        return publish(sibling, labels, samples_table(eyes, modality), about, truth)

    with camera("slo") as grey, camera("cfp") as colour:
        for slo, cfp in _each(_cameras, eyes, f"phantom, {n_eyes} eyes"):
            grey.add(slo)
            colour.add(cfp)
    return (grey if wanted == "slo" else colour).prepared


def pretraining_set(n_eyes: int, seed: int = PRETRAINING_SEED):
    """Make images and targets for pretraining, from patients that no experiment meets.

    Returns
    -------
    images : uint8 (2 n, 112, 112, 3)
        SLO (grey, repeated) and CFP of each eye, adjacent, in right-eye orientation.
    labels : dict of str to int64 (2 n,)
        Classes that an image shows as a whole, for `phantom_cls`: camera, severity of glaucoma,
        and size of the cup.
    heights : float16 (2 n, 112, 112)
        Surface of the optic nerve head in mm, without the RNFL: for `phantom_depth`.
    """
    eyes = population(n_eyes, seed)
    half = SIZE // 2
    images = np.empty((n_eyes, 2, half, half, 3), np.uint8)
    heights = np.empty((n_eyes, 2, half, half), np.float16)
    cups = np.empty(n_eyes)
    for k, made in enumerate(_each(_pretraining, eyes, f"phantom, {n_eyes} eyes")):
        images[k], heights[k], cups[k] = made.views, made.height, made.cup_share
    per_eye = {
        "severity": np.array([SEVERITIES.index(eye.severity) for eye in eyes]),
        "cup_size": np.digitize(cups, CUP_SIZES),
    }
    labels = {name: np.repeat(values, 2) for name, values in per_eye.items()}
    labels["camera"] = np.tile([0, 1], n_eyes)
    return (
        images.reshape(-1, half, half, 3),
        labels,
        heights.reshape(-1, half, half),
    )
