"""Eyes made of noise for benchmarks: what is in them does not matter, only how many there are."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from rnfl import datasets
from rnfl.core import schema
from rnfl.core.geometry import N_ANGLES

SLO_SIZE = (512, 664)  # px, of FairFedMed's SLO images
DISTINCT = 1000  # files that are written; more eyes than these share them by hard links
THETA = np.deg2rad(np.arange(N_ANGLES))
HUMP = 90 - 30 * np.cos(2 * THETA)  # µm
RACES = ("Asian", "Black", "White")


@contextmanager
def workspace() -> Iterator[Path]:
    """Yield a temporary folder that is the data root meanwhile; nothing else is touched."""
    before = os.environ.get("RNFL_DATA")
    with tempfile.TemporaryDirectory(prefix="rnfl-benchmark-", ignore_cleanup_errors=True) as name:
        os.environ["RNFL_DATA"] = str(Path(name, "data"))
        try:
            yield Path(name)
        finally:
            if before is None:
                del os.environ["RNFL_DATA"]
            else:
                os.environ["RNFL_DATA"] = before


def samples(n: int, n_val: int = 0, split: str = "train") -> pd.DataFrame:
    """Return ``n`` eyes, two of each patient, the last ``n_val`` of them for validation."""
    index = np.arange(n)
    patient = index // 2
    table = pd.DataFrame(
        {
            "eye_id": [eye_id(i) for i in index],
            "patient_id": [f"p{i:06d}" for i in patient],
            "laterality": np.where(index % 2, "OS", "OD"),
            "modality": "SLO",
            "age": 25.0 + patient * 7 % 60,
            "sex": np.where(patient % 2, "M", "F"),
            "race": np.array(RACES)[patient % 3],
            "severity": np.array(schema.SEVERITIES)[patient % len(schema.SEVERITIES)],
            "split": np.where(index < n - n_val, split, "val"),
        }
    )
    return schema.validate(table, "samples")


def eye_id(i: int) -> str:
    return f"data_{i:06d}"


def profiles(n: int, seed: int = 0) -> np.ndarray:
    """Return profiles (n, 360) in µm, float32: a double hump whose level differs by patient."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.normal(0, 12, -(-n // 2)), 2)[:n, None]
    noise = rng.standard_normal((n, N_ANGLES), np.float32)
    return (HUMP + level).astype(np.float32) + 4 * noise


def dataset(name: str, n: int, n_val: int, size: int) -> datasets.Prepared:
    """Write a prepared dataset of ``n`` grey images for training and ``n_val`` for validation."""
    total = n + n_val
    few = np.random.default_rng(1).integers(0, 256, (min(total, 512), size, size), np.uint8)
    images = few if total <= len(few) else few[np.arange(total) % len(few)]
    about = {"dataset": "noise", "modality": "SLO", "phantom": True, "settings": {"n": total}}
    return datasets.write(name, images, profiles(total), samples(total, n_val), about)


def npz_files(folder: Path, n: int, size: tuple[int, int] = SLO_SIZE) -> list[Path]:
    """Write FairFedMed-like files with an SLO image and its profile, not compressed."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, paths = np.random.default_rng(2), []
    for i, profile in enumerate(profiles(n)):
        path = folder / f"{eye_id(i)}.npz"
        np.savez(path, slo_fundus=rng.integers(0, 256, size, np.uint8), rnfl=profile)
        paths.append(path)
    return paths


def fairfedmed_tree(folder: Path, n: int, size: tuple[int, int] = SLO_SIZE) -> Path:
    """Write the raw folder of ``n`` eyes: npz files, attributes and a profile CSV.

    Files beyond the first :data:`DISTINCT` are hard links to these; every eye has its own row in
    the tables, hence its own patient, attributes and profile.
    """
    distinct = npz_files(folder / "distinct", min(n, DISTINCT), size)
    (folder / "raw" / "all").mkdir(parents=True)
    for i in range(n):
        os.link(distinct[i % len(distinct)], folder / "raw" / "all" / f"{eye_id(i)}.npz")
    table = samples(n)
    meta = table[["patient_id", "laterality", "age", "race"]].assign(
        filename=[f"{eye}.npz" for eye in table["eye_id"]],
        gender=table["sex"].map({"F": "Female", "M": "Male"}),
    )
    meta.to_csv(folder / "raw" / "meta_all.csv", index=False)
    height, width = size
    splits = ("train", "train", "val", "test", "train")
    with open(folder / "raw" / "rnfl_profiles.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "split", "Center_X", "Center_Y", *range(N_ANGLES)])
        for i, profile in enumerate(profiles(n)):
            centre = width // 2 + i % 9 - 4, height // 2 + i % 7 - 3
            values = np.char.mod("%.2f", profile)
            writer.writerow([eye_id(i), splits[i // 2 % len(splits)], *centre, *values])
    return folder / "raw"
