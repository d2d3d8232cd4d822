"""Discs and cups whose masks are known: a prepared dataset, and a folder of photographs."""

import numpy as np
import pandas as pd
from PIL import Image

from rnfl import datasets
from rnfl.core import masks

GREY = np.array([60, 150, 230])  # of background, rim and cup


def draw_mask(rng, size=masks.SIDE, spread=0.15):
    """Return a mask (size, size): the disc anywhere near the middle, the cup anywhere in it."""
    v, u = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    x, y = rng.uniform(-spread, spread, 2)
    radius, ratio = rng.uniform(0.12, 0.3), rng.uniform(0.3, 0.7)
    away = np.hypot(u - x, v - y) / radius
    return (away < 1).astype(np.uint8) + (away < ratio)


def make_masked(name="tiny-discs", n=32, unmasked=(), seed=0):
    """Write ``n`` eyes, half to train and a quarter each to validate and test; no profiles."""
    rng = np.random.default_rng(seed)
    made = np.stack([draw_mask(rng) for _ in range(n)])
    images = (GREY[made] + rng.normal(0, 5, made.shape)).astype(np.uint8)
    made[list(unmasked)] = masks.UNKNOWN
    samples = pd.DataFrame({
        "eye_id": [f"eye{i:02}" for i in range(n)],
        "patient_id": [f"p{i:02}" for i in range(n)],
        "laterality": "OD",
        "modality": "SLO",
        "split": np.repeat(["train", "val", "test"], [n - 2 * (n // 4), n // 4, n // 4]),
    })  # fmt: skip
    fields = {"dataset": "tiny", "modality": "SLO", "phantom": True, "settings": {"seed": seed}}
    nothing = np.full((n, 360), np.nan)
    return datasets.write(name, images, nothing, samples, fields, extra={"masks.npy": made})


def photograph(mask, grey=GREY):
    """Return a photograph (H, W, 3) of a mask (H, W), lit everywhere, with some texture."""
    rng = np.random.default_rng(int(mask.sum()))
    picture = grey[mask] + rng.normal(0, 6, mask.shape)
    return np.stack([picture, picture * 0.6, picture * 0.3], axis=-1).clip(0, 255).astype(np.uint8)


def save_levels(path, mask, levels=(255, 128, 0)):
    """Save a mask as an image of grey levels, by default those of REFUGE."""
    Image.fromarray(np.array(levels, np.uint8)[mask]).save(path)
