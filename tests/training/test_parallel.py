"""Two processes that share every batch train as one process does."""

import os
import socket
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import torch
from pytest import MonkeyPatch, approx, fixture, raises
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


def in_two_processes(config):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT.format(config=config)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    return said


def alone(config, patch):
    from rnfl.models import regressor as model

    original = model.RNFLRegressor.__init__
    with MonkeyPatch.context() as without_dropout:
        without_dropout.setattr(
            model.RNFLRegressor,
            "__init__",
            lambda self, *a, **k: original(self, *a, **(k | {"dropout": 0.0})),
        )
        return rnfl.run(config, report=lambda row: None)


def test_same_loss_curve_at_the_same_effective_batch(root, tmp_path):
    expected = alone(CONFIG, root)
    with MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(tmp_path))
        make_dataset(n=22)
        first, second = in_two_processes(CONFIG)
        result = results.find_run(CONFIG)
    assert result.run_id == expected.run_id and result.folder != expected.folder
    columns = ["epoch", "step", "train_loss", "val_mae", "lr_encoder", "lr_head"]
    pd.testing.assert_frame_equal(
        result.history[columns], expected.history[columns], rtol=1e-4, check_exact=False
    )
    weights, reference = load_file(result.model_path), load_file(expected.model_path)
    assert all(torch.allclose(weights[k], v, atol=1e-4) for k, v in reference.items())
    assert first[0].split() == ["0", "0", "0", "1", "0", "2"] and second[0] == ""
    assert not list(results.runs_root().glob(".partial/*/checkpoint*"))


def test_one_process_is_left_as_it_is(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    model, index = torch.nn.Linear(1, 1), torch.arange(5)
    with distributed.joined():
        assert (distributed.size(), distributed.rank(), distributed.is_first()) == (1, 0, True)
        assert distributed.wrap(model) is model and torch.equal(distributed.share(index), index)
        assert distributed.agreed("x") == "x" and distributed.total(torch.tensor(2.0)) == approx(
            2.0
        )


def test_memory_that_runs_out_among_several_is_an_error(root, monkeypatch):
    from rnfl.training import step as stepping

    def exhausted(*args):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(stepping.Step, "_backward", exhausted)
    monkeypatch.setattr(stepping.distributed, "size", lambda: 2)
    monkeypatch.setattr(stepping.distributed, "wrap", lambda model: model)
    model = torch.nn.Linear(1, 1)
    step = stepping.Step(model, torch.optim.AdamW(model.parameters()), None, CONFIG, "fp32")
    with raises(RuntimeError, match="set micro_batch to 2"):
        step((torch.zeros(5, 1), torch.zeros(5, 360), None), 10, 0)
    assert replace(CONFIG, micro_batch=2).micro_batch == 2
