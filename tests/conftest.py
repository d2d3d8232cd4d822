"""Shared fixtures: a data folder of the tests' own, seeded randomness and a small dataset."""

import numpy as np
import pandas as pd
import pytest

from rnfl import datasets
from rnfl.core.splits import patient_split


@pytest.fixture(scope="session", autouse=True)
def data_root(tmp_path_factory):
    """Keep every prepared dataset and run of the tests out of the project's data folder."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(root))
        yield root


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def samples():
    """Forty eyes of twenty patients, both lateralities, some attributes missing."""
    n = 40
    frame = pd.DataFrame(
        {
            "eye_id": [f"p{i // 2:02d}-{'OD' if i % 2 == 0 else 'OS'}" for i in range(n)],
            "patient_id": [f"p{i // 2:02d}" for i in range(n)],
            "laterality": ["OD", "OS"] * (n // 2),
            "modality": "SLO",
            "age": [float("nan") if i < 2 else 40.0 + i // 2 for i in range(n)],
            "sex": [("F", "M")[i // 2 % 2] for i in range(n)],
            "race": [(None, "Asian", "Black", "White")[i // 2 % 4] for i in range(n)],
        }
    )
    frame["split"] = patient_split(frame, {"train": 0.5, "val": 0.25, "test": 0.25})
    return frame


@pytest.fixture(scope="session")
def prepared(data_root, samples):
    """A prepared dataset of 32 px grey images whose brightness follows the eye's mean thickness."""
    rng = np.random.default_rng(1)
    hump = 90 - 30 * np.cos(np.deg2rad(2 * np.arange(360)))
    level = rng.normal(0, 12, len(samples))
    truth = hump + level[:, None]
    profiles = truth + rng.normal(0, 4, truth.shape)
    profiles[0, :20] = np.nan
    noise = rng.integers(0, 20, (len(samples), 32, 32))
    images = np.clip(110 + 2 * level[:, None, None] + noise, 0, 255).astype(np.uint8)
    fields = {"dataset": "tiny", "modality": "SLO", "phantom": True, "settings": {"seed": 1}}
    return datasets.write("tiny", images, profiles, samples, fields, profiles_true=truth)
