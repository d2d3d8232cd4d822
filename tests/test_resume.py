"""A training process may die at any moment: continued, it ends where it would have ended."""

import os
import random
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import torch
from pytest import MonkeyPatch, fixture, raises
from safetensors.torch import load_file
from training_data import make_dataset

from rnfl import experiment, losses, prepare, runs
from rnfl.runs import RunConfig

CONFIG = RunConfig(
    "tiny-slo", "phantom_scratch", "structured",
    epochs=10, warmup_epochs=1, batch_size=2, lr_scale=5.0, checkpoint_seconds=0.0,
)  # fmt: skip

START = """
import torch
torch.set_num_threads(1)
from rnfl.experiment import RunConfig, run
from rnfl.protocols import Protocol
run({config!r}, report=lambda row: None)
"""


@fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@fixture
def undisturbed(tmp_path, monkeypatch: MonkeyPatch, one_thread):
    """The result of the same run without interruption; leaves an empty data root behind it."""
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "undisturbed"))
    make_dataset(n=16)
    result = experiment.run(replace(CONFIG, checkpoint_seconds=1000.0), report=lambda row: None)
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "interrupted"))
    make_dataset(n=16)
    return result


def assert_same(result, expected):
    assert result.run_id == expected.run_id and result.folder != expected.folder
    weights, reference = load_file(result.model_path), load_file(expected.model_path)
    assert all(torch.equal(weights[key], value) for key, value in reference.items())
    columns = ["epoch", "step", "train_loss", "val_mae", "lr_encoder", "lr_head"]
    pd.testing.assert_frame_equal(
        result.history[columns], expected.history[columns], check_exact=True
    )
    pd.testing.assert_frame_equal(result.predictions, expected.predictions, check_exact=True)


def test_continues_exactly_within_an_epoch(undisturbed, monkeypatch: MonkeyPatch):
    combined, calls = losses.combined, iter(range(1000))

    def fail_at_step_6(*args):
        if next(calls) == 6:
            raise KeyboardInterrupt
        return combined(*args)

    with monkeypatch.context() as patch:
        patch.setattr(losses, "combined", fail_at_step_6)
        with raises(KeyboardInterrupt):
            experiment.run(CONFIG, report=lambda row: None)
    partial = runs.partial_folder(undisturbed.run_id)
    progress = torch.load(partial / "checkpoint.pt", weights_only=True)["progress"]
    assert (progress["epoch"], progress["step"]) == (1, 2)
    assert runs.find(CONFIG) is None
    assert_same(experiment.run(CONFIG, report=lambda row: None), undisturbed)
    assert not partial.exists()


def test_survives_kill_9_at_random_moments(undisturbed):
    checkpoint = runs.partial_folder(undisturbed.run_id) / "checkpoint.pt"
    wait = random.Random(int(time.time()))
    killed = 0
    for _ in range(2):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = subprocess.Popen(
            [sys.executable, "-c", START.format(config=CONFIG)], env=dict(os.environ)
        )
        while process.poll() is None and (
            not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before
        ):
            time.sleep(0.01)
        time.sleep(wait.uniform(0, 0.2))
        process.kill()
        killed += process.wait() == -9
    assert killed == 2
    state = torch.load(checkpoint, weights_only=True)
    assert 0 < state["progress"]["epoch"] * 4 + state["progress"]["step"] < 40
    assert_same(experiment.run(CONFIG, report=lambda row: None), undisturbed)
    left = [p.name for p in runs.runs_root().rglob("*") if "partial." in p.name]
    assert not left and prepare.load("tiny-slo").manifest["n"] == 16
