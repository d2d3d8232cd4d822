"""Does a translated or enhanced picture read better, or only look better: defects planted in twins.

Networks learn to redraw pictures from healthy eyes alone. They are tried on other healthy eyes,
each there twice: as it is, and with one wedge defect planted, everything else in the picture being
the same. What a redrawn pair no longer tells apart is erased; what it shows beyond the true picture
is invented. A fixed reader, trained on true pictures of a third population, reads all of them.
**Ours**, for the phantom, which can be photographed twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from scipy import ndimage

from rnfl import datasets
from rnfl.adaptation import paired
from rnfl.adaptation.diffusion import SIZE
from rnfl.adaptation.recolouring import histogram
from rnfl.core import schema
from rnfl.core.geometry import ANGLES, FIELD_MM, to_right_eye
from rnfl.datasets import phantom
from rnfl.datasets.phantom.eyes import FLOOR, Eye, bump, population
from rnfl.datasets.phantom.render import render
from rnfl.inference import trained
from rnfl.runs.results import RunResult
from rnfl.runs.run import run as train
from rnfl.storage.progress import progress
from rnfl.study.presets import SLO_BACKBONE, Preset
from rnfl.training import batches

SPOILT = {"noise": 0.8, "haze": 0.8, "blur": 0.8}
HEALTHY = "-s3-sick0"  # whom networks learn from
TWINS_SEED = 4
#: What is redrawn as a good SLO picture, by the question it answers.
TASKS = {
    "another camera": ("cfp", ""),
    "enhancement": ("slo", "".join(f"-{name}{value:g}" for name, value in SPOILT.items())),
}
RADII = np.linspace(1.1, 2.0, 10)  # mm from the middle, where nerve fibres show and no disc does
WINDOW = 8  # degrees to either side of a defect's middle
LOST, WIDE = 0.5, 20  # share of a defect's contrast; degrees that an invented one is wide
SHOWN = 112  # px


@dataclass(frozen=True)
class Twins:
    """Healthy eyes without (0) and with (1) a planted defect, in right-eye orientation.

    Attributes
    ----------
    pictures : dict of str to ndarray uint8 (n, 2, S, S) or (n, 2, S, S, 3)
        ``truth``, the good SLO picture, and by task what is redrawn.
    profiles : ndarray (n, 2, 360), µm
        Without measurement noise.
    centres : ndarray (n,), degrees
        Of the defects.
    """

    eyes: list[Eye]
    pictures: dict[str, np.ndarray]
    profiles: np.ndarray
    centres: np.ndarray


def names(study: Preset, task: str, rest: str = "") -> tuple[str, str]:
    """Return the datasets of a task's first and second pictures of the same eyes."""
    modality, spoilt = TASKS[task]
    n = study.shift_eyes
    return f"phantom-{modality}-{n}{rest}{spoilt}", f"phantom-slo-{n}{rest}"


def used(study: Preset) -> list[str]:
    """Return every dataset that is read: those of readers, and those networks learn from."""
    every = [name for rest in ("", HEALTHY) for task in TASKS for name in names(study, task, rest)]
    return list(dict.fromkeys(every))


def twins(study: Preset) -> Twins:
    """Plant one wedge in each of ``study.twins`` healthy eyes, on an arcade, and take pictures."""
    eyes = population(study.twins, TWINS_SEED, sick=0.0)
    random = np.random.default_rng(TWINS_SEED)
    centres, profiles = [], []
    for eye in eyes:
        peak = eye.peaks[int(random.random() < 0.6)]
        centre, width = peak + random.normal(0, 9), random.uniform(7, 16)
        depth = random.uniform(0.3, 0.7) * bump(centre, (57.3 / width) ** 2)
        whole = eye.profile.astype(float)
        profiles.append([whole, FLOOR + (whole - FLOOR) * (1 - depth)])
        centres.append(centre % 360)
    shots = list(zip(eyes, profiles, strict=True))
    taken = list(phantom.each(_taken, shots, f"phantom, {len(eyes)} pairs of twins"))
    kinds = ("truth", *TASKS)
    pictures = {kind: np.stack([one[kind] for one in taken]) for kind in kinds}
    return Twins(eyes, pictures, np.array(profiles), np.array(centres))


def _taken(shot: tuple[Eye, list[np.ndarray]]) -> dict[str, np.ndarray]:
    """Return both pictures of an eye by every camera."""
    eye, profiles = shot
    good = [render(eye, one, phantom.SIZE) for one in profiles]
    bad = [render(eye, one, phantom.SIZE, severity=SPOILT) for one in profiles]
    turned = partial(to_right_eye, laterality=eye.laterality)
    return {
        "truth": np.stack([turned(one.slo) for one in good]),
        "another camera": np.stack([turned(one.cfp) for one in good]),
        "enhancement": np.stack([turned(one.slo) for one in bad]),
    }


def redrawings(study: Preset, task: str, seen: Twins) -> Iterator[tuple[str, np.ndarray]]:
    """Yield ways and what they make of a task's pictures (2 n, S, S[, 3]), cheap ones first.

    The last two are the true pictures at the size of what is redrawn, and as they are.
    """
    first, truth = (np.concatenate(seen.pictures[kind]) for kind in (task, "truth"))
    learnt = [np.asarray(datasets.prepare(name).images) for name in names(study, task, HEALTHY)]
    yield "original", first
    grey = first
    if first.ndim == 4:
        grey = first[..., 1]
        yield "green", grey
    random = np.random.default_rng(TWINS_SEED)
    like = np.repeat(random.integers(len(learnt[1]), size=len(seen.eyes)), 2)  # one for both twins
    pairs = zip(grey[..., None], learnt[1][like][..., None], strict=True)
    yield "histogram", np.stack([histogram(*pair) for pair in pairs])[..., 0]
    seeds = np.repeat(np.arange(len(seen.eyes)), 2).tolist()
    for kind in paired.KINDS:
        recipe = paired.Recipe(kind, study.pair_steps, seed=study.ablation_seeds[0])
        model = paired.learnt(*learnt, recipe)
        draws = {"mean": (1,), "diffusion": study.pair_draws, "weighted": study.pair_draws[-1:]}
        for n, made in paired.redrawn(model, first, seeds, draws[kind]).items():
            whole = made.mean(axis=3).round().astype(np.uint8)
            yield (kind if kind == "mean" else f"{kind}{n}"), whole
    yield "small", batches.at_size(truth.copy(), SIZE)
    yield "truth", truth


def readers(study: Preset) -> dict[str, RunResult]:
    """Return readouts by the dataset they learnt from: true SLO pictures, then each task's."""
    true = names(study, "another camera")[1]
    of = [true, *(names(study, task)[0] for task in TASKS)]
    configs = {name: study.config(SLO_BACKBONE, "readout", study.ablation_seeds[0]) for name in of}
    for name in of:
        datasets.prepare(name)
    return {name: train(replace(one, dataset=name)) for name, one in configs.items()}


def measured(
    study: Preset, runs: dict[str, RunResult]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, np.ndarray]]:
    """Redraw twins in every way, read them, and measure what became of the defects.

    Parameters
    ----------
    runs : dict of str to RunResult
        Of :func:`readers`.

    Returns
    -------
    predictions : DataFrame
        A predictions table with ``task`` and ``way``: what the fixed reader reads, and ``own``, a
        reader of the same kind that learnt from such pictures as they are. The target is the
        profile without noise; of an eye and its twin the second is ``<eye>-defect``.
    defects : DataFrame
        See :func:`defects`, with ``task`` and ``way``.
    pictures : dict of str to ndarray
        By task: images uint8 (k, 112, 112, 3) of one eye with its defect; by ``<task>, ways``: what
        made them (k,).
    """
    seen, tables, found, pictures = twins(study), [], [], {}
    loaded = {name: trained.load(run.folder) for name, run in runs.items()}
    reader = loaded[names(study, "another camera")[1]]
    for task in TASKS:
        own, strip = loaded[names(study, task)[0]], {}
        for way, images in progress(redrawings(study, task, seen), task, None, unit="way"):
            readings = {way: reader.predict(images)}
            if way == "original":
                readings["own"] = own.predict(images)
            for name, profiles in readings.items():
                told = {"task": task, "way": name}
                tables.append(_predictions(seen, f"{task}: {name}", profiles).assign(**told))
                found.append(defects(seen, images, profiles).assign(**told))
            small = batches.at_size(images[1:2].copy(), SHOWN)[0]
            strip[way] = small if small.ndim == 3 else np.repeat(small[..., None], 3, axis=2)
        pictures |= {task: np.stack(list(strip.values())), f"{task}, ways": np.array(list(strip))}
    return pd.concat(tables, ignore_index=True), pd.concat(found, ignore_index=True), pictures


def defects(seen: Twins, images: np.ndarray, profiles: np.ndarray) -> pd.DataFrame:
    """Measure what became of planted defects in redrawn pictures, and in what was read of them.

    Light round the disc is compared in the true pictures' grey levels, to which that of all
    pictures is brought by one straight line: a picture that is darker has erased nothing.

    Parameters
    ----------
    images : ndarray uint8 (2 n, S, S[, 3])
        An eye and its twin with the defect, next to each other.
    profiles : ndarray (2 n, 360), µm
        Read of them.

    Returns
    -------
    DataFrame
        A row per eye: eye_id, patient_id; ``erased``, 1 where the defect has less than half of its
        true contrast; ``invented``, how many dark stretches the picture of the whole eye has that
        the true one has not, as dark as half of a typical defect over 20°; ``read``, the share of
        the defect's depth that the reader sees; ``psnr`` of the whole eye at 64 px, dB, NaN where
        nothing differs.
    """
    shape = len(seen.eyes), 2, len(ANGLES)
    truth = batches.at_size(np.concatenate(seen.pictures["truth"]), SIZE)
    true, light = ring(truth), ring(images)
    slope, offset = np.polyfit(light.ravel(), true.ravel(), 1)
    true, light = true.reshape(shape), (slope * light + offset).reshape(shape)
    inside = np.abs((ANGLES - seen.centres[:, None] + 180) % 360 - 180) <= WINDOW

    def depth(pairs: np.ndarray) -> np.ndarray:
        """By how much the second twin is less than the first, mean over the defect."""
        return ((pairs[:, 0] - pairs[:, 1]) * inside).sum(axis=1) / inside.sum(axis=1)

    beyond = light[:, 0] - true[:, 0]
    beyond = beyond - np.median(beyond, axis=1, keepdims=True)
    beyond = ndimage.uniform_filter1d(beyond, WIDE, axis=1, mode="wrap")
    dark = beyond < -LOST * np.median(depth(true))
    small = batches.at_size(images.copy(), SIZE).astype(float)
    small = (small.mean(axis=3) if small.ndim == 4 else small)[::2]
    wrong = np.square(small - truth[::2]).mean(axis=(1, 2))
    return pd.DataFrame(
        {
            "eye_id": [eye.eye_id for eye in seen.eyes],
            "patient_id": [eye.patient_id for eye in seen.eyes],
            "erased": (depth(light) < LOST * depth(true)).astype(float),
            "invented": (dark & ~np.roll(dark, 1, axis=1)).sum(axis=1).astype(float),
            "read": depth(profiles.reshape(shape).astype(float)) / depth(seen.profiles),
            "psnr": 10 * np.log10(255**2 / np.where(wrong > 0, wrong, np.nan)),
        }
    )


def ring(images: np.ndarray) -> np.ndarray:
    """Return the light round the disc (N, 360), grey levels: the median over :data:`RADII`.

    Images are (N, S, S[, 3]), in right-eye orientation.
    """
    grey = images.mean(axis=3) if images.ndim == 4 else images.astype(float)
    radii, angles = RADII[:, None] / FIELD_MM * grey.shape[1], np.deg2rad(ANGLES)
    middle = (grey.shape[1] - 1) / 2
    at = np.stack([middle - radii * np.sin(angles), middle - radii * np.cos(angles)])
    light = np.stack([ndimage.map_coordinates(one, at, order=1) for one in grey])
    return ndimage.gaussian_filter1d(np.median(light, axis=1), 3, axis=1, mode="wrap")


def _predictions(seen: Twins, run_id: str, profiles: np.ndarray) -> pd.DataFrame:
    eyes = [f"{eye.eye_id}{twin}" for eye in seen.eyes for twin in ("", "-defect")]
    patients = [eye.patient_id for eye in seen.eyes for _ in range(2)]
    return schema.predictions_frame(run_id, eyes, patients, profiles, np.concatenate(seen.profiles))
