"""A training process may die at any moment: continued, it ends where it would have ended."""

import itertools
import os
import random
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pandas as pd
import torch
from killed_runs import Undisturbed, content, ended, files, start
from pytest import MonkeyPatch, fixture, mark, raises
from safetensors.torch import load_file
from training_data import make_dataset

import rnfl
from rnfl.runs import results as runs
from rnfl.training import losses
from rnfl.training.config import RunConfig

pytestmark = mark.skipif(os.name != "posix", reason="kill -9 and forked processes are POSIX")

CONFIG = RunConfig(
    "tiny-slo", "phantom_scratch", "structured", epochs=3, warmup_epochs=1, batch_size=2,
    lr_scale=5.0, eval_on=("tiny-cfp",), checkpoint_seconds=0.0,
)  # fmt: skip
COMMAND = [
    "train", "tiny-slo", "phantom_scratch", "--protocol", "structured", "--epochs", "3",
    "--warmup-epochs", "1", "--batch-size", "2", "--lr-scale", "5",
]  # fmt: skip
INSTANTS = [
    "half the first checkpoint",
    "half a checkpoint",
    "checkpoint before its renames",
    "checkpoint between its renames",
    "half a table of the run",
    "before the run appears",
    "when the run has appeared",
    "half the checkpoints removed",
    "half a table beside the run",
]
N_KILLS = 5


@fixture(scope="module")
def undisturbed(tmp_path_factory):
    return Undisturbed(CONFIG, tmp_path_factory.mktemp("runs"))


@fixture(scope="module")
def outcomes(undisturbed):
    """Return the outcome of every instant and of random moments, two attempts at a time."""
    seed = time.time_ns()
    moments = (undisturbed.seconds * x for x in iter(random.Random(seed).random, None))
    with ThreadPoolExecutor(2) as pool:
        by_instant = dict(zip(INSTANTS, pool.map(undisturbed.kill, INSTANTS), strict=True))
        at_random = []
        while len(at_random) < N_KILLS:  # a moment may come after the end
            batch = itertools.islice(moments, N_KILLS - len(at_random))
            at_random += filter(None, pool.map(undisturbed.kill, batch))
    return by_instant | {"random": at_random, "seed": seed}


def test_survives_kill_9_at_random_moments(outcomes):
    assert all(outcome.is_good for outcome in outcomes["random"]), outcomes
    assert len(outcomes["random"]) == N_KILLS


@mark.parametrize("instant", INSTANTS)
def test_survives_kill_9_at_the_worst_moments(outcomes, instant):
    assert outcomes[instant].is_good, outcomes[instant]


def test_the_instants_hit_what_they_name(outcomes):
    phases = [outcomes[instant].phase for instant in INSTANTS]
    assert phases == [
        "writing a checkpoint", "writing a checkpoint", "writing a checkpoint",
        "writing a checkpoint", "publishing the run", "publishing the run",
        "after the run appeared", "after the run appeared", "after the run appeared",
    ]  # fmt: skip


@mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_saves_at_the_next_step_and_ends(undisturbed, number, tmp_path):
    root, log = undisturbed.fresh(), tmp_path / "log"
    process = start(COMMAND, root, log, run_id=undisturbed.run_id, instant=number.name)
    assert ended(process) == 128 + number, log.read_text()
    (said,) = (line for line in log.read_text().splitlines() if line.startswith(number.name))
    assert f": training is saved after epoch 1, step 2 in {undisturbed.partial(root)}; ask" in said
    assert "Traceback" not in log.read_text()
    progress = torch.load(undisturbed.partial(root) / "checkpoint.pt", weights_only=True)[
        "progress"
    ]
    assert (progress["epoch"], progress["step"]) == (1, 2)
    assert undisturbed.ask_again(root).is_good


def test_a_full_disk_is_one_message_and_keeps_what_was_written(undisturbed, tmp_path):
    root, log = undisturbed.fresh(), tmp_path / "log"
    process = start(COMMAND, root, log, run_id=undisturbed.run_id, instant="full disk")
    assert ended(process) == 1
    (said,) = (line for line in log.read_text().splitlines() if "error: " in line)
    assert re.search(
        r"error: cannot write a checkpoint of \d+\.\d MiB into .*partial.*No space left.*free some "
        r"space and ask again; the run then goes on from .*checkpoint\.pt",
        said,
    )
    assert "Traceback" not in log.read_text()
    assert {path.name for path in undisturbed.partial(root).iterdir()} == {"checkpoint.pt"}
    assert undisturbed.ask_again(root).is_good


def until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.01)


@mark.parametrize("killed", [False, True], ids=["ends", "is killed"])
def test_who_asks_second_waits_is_told_and_takes_over(undisturbed, killed, tmp_path):
    root, gate = undisturbed.fresh(), tmp_path / "gate"
    logs = [tmp_path / "first", tmp_path / "second"]
    first = start(CONFIG, root, logs[0], pause=(1, gate))
    until(lambda: logs[0].exists() and "epoch 1" in logs[0].read_text(), "first epochs")
    second = start(CONFIG, root, logs[1])
    until(lambda: logs[1].exists() and "waiting" in logs[1].read_text(), "second waits")
    if killed:
        first.kill()
    gate.touch()
    assert ended(first) == (-signal.SIGKILL if killed else 0) and ended(second) == 0
    told, *epochs = logs[1].read_text().splitlines()
    assert told.startswith(f"{undisturbed.run_id}: waiting for process {first.pid} on ")
    assert epochs == (["epoch 2"] if killed else [])
    assert content(root / "runs" / undisturbed.run_id) == undisturbed.content
    assert files(root) == undisturbed.files


@mark.parametrize("augment, batch_size, n", [("intensity", 2, 16), ("mild_to_severe_mix", 4, 32)])
def test_continues_exactly_within_an_epoch(
    tmp_path, monkeypatch: MonkeyPatch, augment, batch_size, n
):
    supervised, calls = losses.supervised, iter(range(1000))

    def fail_at_step_6(*args):
        if next(calls) == 6:
            raise ZeroDivisionError
        return supervised(*args)

    threads, config = torch.get_num_threads(), replace(CONFIG, eval_on=())
    config = replace(config, augment=augment, batch_size=batch_size)
    torch.set_num_threads(1)
    results = []
    for name, fails in (("undisturbed", False), ("interrupted", True)):
        monkeypatch.setenv("RNFL_DATA", str(tmp_path / name))
        make_dataset(n=n)
        if fails:
            with monkeypatch.context() as patch, raises(ZeroDivisionError):
                patch.setattr(losses, "supervised", fail_at_step_6)
                rnfl.run(config, report=lambda row: None)
            partial = runs.partial_folder(results[0].run_id)
            progress = torch.load(partial / "checkpoint.pt", weights_only=True)["progress"]
            assert (progress["epoch"], progress["step"]) == (1, 2)
            assert runs.find_run(config) is None
        results.append(rnfl.run(config, report=lambda row: None))
    torch.set_num_threads(threads)
    expected, found = results
    assert found.run_id == expected.run_id and not partial.exists()
    weights, reference = load_file(found.model_path), load_file(expected.model_path)
    assert all(torch.equal(weights[key], value) for key, value in reference.items())
    columns = ["epoch", "step", "train_loss", "val_mae", "lr_encoder", "lr_head"]
    pd.testing.assert_frame_equal(
        found.history[columns], expected.history[columns], check_exact=True
    )
    pd.testing.assert_frame_equal(found.predictions, expected.predictions, check_exact=True)
