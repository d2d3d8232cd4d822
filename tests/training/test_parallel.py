"""Two processes that share every batch train as one process does."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from pytest import MonkeyPatch, approx, fixture, mark
from safetensors.torch import load_file
from training_data import make_dataset

import rnfl
from rnfl.runs import results
from rnfl.training import distributed
from rnfl.training.config import RunConfig

# 11 training eyes in batches of 5: the last one, a single eye, leaves a process without any.
CONFIG = RunConfig(
    "tiny-slo", "phantom_cls", "structured",
    epochs=3, warmup_epochs=0, batch_size=5, lr_scale=5.0, augment=None,
)  # fmt: skip

SCRIPT = """
import torch
torch.set_num_threads(1)
import rnfl
from rnfl.models import regressor
from rnfl.core.splits import Lesson
from rnfl.training.protocols import Loss, Part, Phase, Protocol, Rates
from rnfl.training import distributed as parallel
from rnfl.training.protocols import Protocol
from rnfl.training.config import RunConfig
network = regressor.RNFLRegressor
original = network.__init__
network.__init__ = lambda self, *a, **k: original(self, *a, **(k | {{"dropout": 0.0}}))
with parallel.joined():
    assert parallel.size() == 2
    result = rnfl.run({config!r}, report=lambda row: print(parallel.rank(), row["epoch"]))
    assert result.summary
"""


@fixture(scope="module")
def root(tmp_path_factory):
    with MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(tmp_path_factory.mktemp("data")))
        make_dataset(n=22)
        yield patch


def in_two_processes(config, script=SCRIPT, ends=(0, 0)):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script.format(config=config)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120) for process in processes]
    assert tuple(process.returncode for process in processes) == ends, said
    return said


def alone(config):
    from rnfl.models import regressor as model

    original = model.RNFLRegressor.__init__
    with MonkeyPatch.context() as without_dropout:
        without_dropout.setattr(
            model.RNFLRegressor,
            "__init__",
            lambda self, *a, **k: original(self, *a, **(k | {"dropout": 0.0})),
        )
        return rnfl.run(config, report=lambda row: None)


# Eyes that lack no angle, a few, or almost all.
UNEVEN = np.linspace(0, 0.99, 22)[:, None] ** 0.3


@mark.parametrize(("dataset", "missing"), [("tiny-slo", 0.0), ("tiny-gaps", UNEVEN)])
def test_same_loss_curve_at_the_same_effective_batch(root, tmp_path, dataset, missing):
    make_dataset(dataset, n=22, missing=missing)
    config = replace(CONFIG, dataset=dataset)
    expected = alone(config)
    with MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(tmp_path))
        make_dataset(dataset, n=22, missing=missing)
        first, second = in_two_processes(config)
        result = results.find_run(config)
    assert result.run_id == expected.run_id and result.folder != expected.folder
    columns = ["epoch", "step", "train_loss", "val_mae", "lr_encoder", "lr_head"]
    pd.testing.assert_frame_equal(
        result.history[columns], expected.history[columns], rtol=1e-4, check_exact=False
    )
    weights, reference = load_file(result.model_path), load_file(expected.model_path)
    assert all(torch.allclose(weights[k], v, atol=1e-4) for k, v in reference.items())
    assert first[0].split() == ["0", "0", "0", "1", "0", "2"] and second[0] == ""
    assert not list(results.runs_root().glob(".partial/*/checkpoint*"))


ONE_IS_SIGNALLED = """
import os, signal, sys
from rnfl import cli
from rnfl.training import losses
supervised, calls = losses.supervised, iter(range(100))
def signalled(*args):
    if next(calls) == 4 and os.environ["RANK"] == {rank!r}:
        os.kill(os.getpid(), {number})
    return supervised(*args)
losses.supervised = signalled
sys.argv = ["rnfl", "train", "tiny-slo", "phantom_cls", "--epochs", "3", "--warmup-epochs", "0"]
sys.argv += ["--batch-size", "5"]
cli.main()
"""


def with_signal(number, rank, ends):
    """Signal one of two processes in its fifth step; return what both say on standard error."""
    script = ONE_IS_SIGNALLED.format(rank=str(rank), number=int(number))
    said = [errors for _, errors in in_two_processes(None, script, ends)]
    assert not any("Traceback" in text or "gloo" in text for text in said), said
    return said


def test_processes_end_together_in_words_whichever_is_signalled(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    make_dataset(n=22)
    first, second = with_signal(signal.SIGTERM, 1, (143, 143))
    assert "SIGTERM: training is saved after epoch 1, step 2 in" in first
    assert "SIGTERM: process 2 ends with the first, which saves after epoch 1, step 2" in second
    (checkpoint,) = results.runs_root().glob(".partial/*/checkpoint.pt")
    progress = torch.load(checkpoint, weights_only=True)["progress"]
    assert (progress["epoch"], progress["step"]) == (1, 2)


def test_who_loses_the_others_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    make_dataset(n=22)
    _, second = with_signal(signal.SIGKILL, 0, (-signal.SIGKILL, 1))
    assert "error: process 2 of 2: another one has ended" in second


def test_one_process_is_left_as_it_is(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    model, index = torch.nn.Linear(1, 1), torch.arange(5)
    with distributed.joined():
        assert (distributed.size(), distributed.rank(), distributed.is_first()) == (1, 0, True)
        assert distributed.wrap(model) is model and torch.equal(distributed.share(index), index)
        assert distributed.agreed("x") == "x" and distributed.total(torch.tensor(2.0)) == approx(
            2.0
        )
