"""A tiny prepared dataset that can be learnt: brighter sectors of the image mean thicker RNFL."""

import numpy as np
import pandas as pd

from rnfl import datasets
from rnfl.core import geometry


def make_dataset(
    name="tiny-slo", n=24, size=112, colour=False, missing=0.0, seed=0, quadrants=(), patients="p"
):
    """Write ``n`` eyes, one per patient: half train, a quarter each val and test.

    The rows ``quadrants`` have quadrant means in place of a profile.
    """
    rng = np.random.default_rng(seed)
    template = 90 + 30 * np.cos(np.deg2rad(2 * geometry.ANGLES - 180))
    loss = rng.uniform(0, 40, (n, 4))
    true = np.full((n, 360), template)
    images = np.full((n, size, size), 60.0)
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    angle = np.rad2deg(np.arctan2(-rows, -columns)) % 360
    for quadrant in range(4):
        true[:, quadrant * 90 : quadrant * 90 + 90] -= loss[:, quadrant, None]
        inside = angle // 90 == quadrant
        images[:, inside] += 3 * (40 - loss[:, quadrant, None])
    images = np.clip(images + rng.normal(0, 5, images.shape), 0, 255).astype(np.uint8)
    labels = true + rng.normal(0, 2, true.shape)
    labels[rng.random(labels.shape) < missing] = np.nan
    split = np.repeat(["train", "val", "test"], [n - 2 * (n // 4), n // 4, n // 4])
    samples = pd.DataFrame({
        "eye_id": [f"eye{i:03}" for i in range(n)],
        "patient_id": [f"{patients}{i:03}" for i in range(n)],
        "laterality": "OD",
        "modality": "CFP" if colour else "SLO",
        "split": split,
        "age": rng.uniform(30, 80, n),
        "sex": rng.choice(["F", "M"], n),
    })  # fmt: skip
    if len(quadrants):
        for column, values in geometry.quadrant_means(labels).items():
            samples.loc[quadrants, f"rnfl_{column}"] = values[quadrants]
        labels[quadrants] = np.nan
    if colour:
        images = np.repeat(images[..., None], 3, axis=-1)
    fields = {
        "dataset": "tiny",
        "modality": "CFP" if colour else "SLO",
        "phantom": True,
        "settings": {"seed": seed, "n": n},
    }
    return datasets.write(name, images, labels, samples, fields, profiles_true=true)


def silent(row):
    """Report nothing, in place of a progress bar."""
