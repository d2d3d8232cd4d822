"""Tiny runs compared with stored numbers: they say when ``TRAINING_VERSION`` must be raised.

When one of them gives other numbers, whoever made the change raises ``TRAINING_VERSION`` in
:mod:`rnfl.runs.address`, so that finished runs are not taken for what the code gives now, and
stores the new numbers with ``PYTHONPATH=tests/support python tests/runs/test_training_version.py``.
"""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from training_data import make_dataset

import rnfl
from rnfl.core import schema

STORED = Path(__file__).with_suffix(".json")
SIZES = {"epochs": 2, "warmup_epochs": 1, "batch_size": 16}
#: Made eyes and a random start: neither a new phantom nor new packaged weights change them.
CONFIGS = {
    "gradient": rnfl.RunConfig("tiny-slo", "phantom_scratch", "structured", **SIZES),
    "micro-batches": rnfl.RunConfig(
        "tiny-slo", "phantom_scratch", "gradient_loss", micro_batch=8, precision="fp32", **SIZES
    ),
    "missing angles": rnfl.RunConfig(
        "tiny-gaps", "phantom_scratch", "structured", micro_batch=3, precision="fp32", **SIZES
    ),
    "readout": rnfl.RunConfig("tiny-cfp", "phantom_scratch", "readout"),
    "fields": rnfl.RunConfig("tiny-cfp", "phantom_scratch", "fields"),
}


def measured(kind):
    """Return the errors of a run and what it predicts of four eyes, every 45 degrees (µm)."""
    config = CONFIGS[kind]
    # from no angle missing to almost all
    missing = np.linspace(0, 0.99, 48)[:, None] ** 0.3 if config.dataset == "tiny-gaps" else 0.0
    make_dataset(config.dataset, n=48, colour=config.dataset == "tiny-cfp", missing=missing)
    result = rnfl.run(config, report=lambda row: None)
    few = schema.matrix(result.predictions)[:4, ::45]
    errors = [result.summary["best_val_mae"], result.summary["test_mae"]]
    return {"errors": np.round(errors, 4).tolist(), "predicted": np.round(few, 3).tolist()}


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_version_stands_for_these_numbers(kind):
    now, then = measured(kind), json.loads(STORED.read_text())[kind]
    # Machines differ in the last digits of a matrix product; two epochs make little more of them.
    np.testing.assert_allclose(now["errors"], then["errors"], atol=2e-3)
    np.testing.assert_allclose(now["predicted"], then["predicted"], atol=2e-2)


if __name__ == "__main__":
    os.environ["RNFL_DATA"] = tempfile.mkdtemp()
    numbers = {kind: measured(kind) for kind in CONFIGS}
    STORED.write_text(json.dumps(numbers, indent=1) + "\n")
