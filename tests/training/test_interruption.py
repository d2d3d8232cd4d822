"""Checkpoints survive whatever happens to their writer; a signal is heeded between two steps."""

import errno
import os
import signal
import threading
import warnings

import numpy as np
import torch
from pytest import MonkeyPatch, fixture, mark, raises, warns

from rnfl.storage import provenance
from rnfl.training.checkpointing import Checkpoints, snapshot
from rnfl.training.signals import SIGNALS, Stop, interruptible

CPU = torch.device("cpu")


def state(number, size=1000):
    """Return a state as training has it, told from others by its number."""
    return {
        "model": {"weight": torch.full((size,), float(number))},
        "optimizer": {"state": {0: {"step": torch.tensor(float(number))}}, "lr": [1e-4, None]},
        "progress": {"epoch": number, "history": [{"val_mae": np.float64(1 / 3)}]},
    }


def number_in(loaded):
    assert (loaded["model"]["weight"] == loaded["progress"]["epoch"]).all()
    return loaded["progress"]["epoch"]


def written(folder, *numbers):
    with Checkpoints(folder) as checkpoints:
        for number in numbers:
            checkpoints.save(state(number))
    return checkpoints


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@fixture
def gate(monkeypatch: MonkeyPatch):
    """An event that the writing thread waits for."""
    event, save = threading.Event(), torch.save

    def wait_and_save(*args):
        assert event.wait(10)
        save(*args)

    monkeypatch.setattr(torch, "save", wait_and_save)
    yield event
    event.set()


def test_what_is_saved_comes_back_to_the_bit(tmp_path, rng):
    bits = torch.from_numpy(rng.integers(-(2**31), 2**31, 4000, dtype=np.int32))
    tensors = [
        bits.view(torch.float32),  # with NaNs of all kinds
        bits.view(torch.bfloat16)[::3],
        bits.reshape(40, 100).T,
        torch.zeros(0, 5),
        torch.random.get_rng_state(),
        torch.nn.Parameter(torch.randn(3)),
    ]
    others = [True, 2**70, 0.1 + 0.2, float("-inf"), "µm", None, (1, [2.0])]
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save({"tensors": tensors, "others": others, 3: "three"})
    found = Checkpoints(tmp_path).load(CPU)
    assert found["others"] == others and found[3] == "three"
    for one, other in zip(found["tensors"], tensors, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        other = other.detach().contiguous().view(torch.uint8)
        assert torch.equal(one.contiguous().view(torch.uint8), other)


def test_training_goes_on_in_place_while_the_writer_writes(tmp_path, gate):
    kept = state(1)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(kept)
        kept["model"]["weight"].add_(1)
        kept["progress"]["history"].append({"val_mae": 0.0})
        assert not checkpoints.newest.exists()
        threading.Timer(0.05, gate.set).start()
    found = checkpoints.load(CPU)
    assert number_in(found) == 1 and len(found["progress"]["history"]) == 1


def test_a_save_waits_for_the_one_before(tmp_path, gate):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1))
        threading.Timer(0.05, gate.set).start()
        checkpoints.save(state(2))
        assert checkpoints.newest.exists()


def test_the_newest_and_the_one_before_are_kept(tmp_path):
    assert Checkpoints(tmp_path / "none").load(CPU) is None
    checkpoints = written(tmp_path, 1, 2, 3)
    assert names(tmp_path) == ["checkpoint.previous.pt", "checkpoint.pt"]
    assert number_in(checkpoints.load(CPU)) == 3
    assert number_in(torch.load(checkpoints.previous, weights_only=True)) == 2


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(3).tobytes() * 9)] ^= 1
    path.write_bytes(content)


def empty(path):
    os.truncate(path, 0)


@mark.parametrize("damage", [cut, flip, empty])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, damage):
    checkpoints = written(tmp_path, 2, 3)
    damage(checkpoints.newest)
    with warns(UserWarning, match=r"checkpoint\.pt was damaged .*goes on from .*previous\.pt"):
        assert number_in(checkpoints.load(CPU)) == 2
    assert names(tmp_path) == ["checkpoint.previous.pt"]
    written(tmp_path, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert number_in(checkpoints.load(CPU)) == 3


def test_nothing_readable_is_an_error_that_names_all(tmp_path):
    checkpoints = written(tmp_path, 3, 3)
    flip(checkpoints.newest)
    cut(checkpoints.previous)
    with raises(ValueError, match=r"point\.pt: .*check sum; .*previous\.pt: \d+ bytes.*delete"):
        checkpoints.load(CPU)


def test_a_writer_killed_between_its_renames_leaves_the_one_before(tmp_path):
    checkpoints = written(tmp_path, 1, 2)
    os.replace(checkpoints.newest, checkpoints.previous)
    left = tmp_path / ".checkpoint.pt.0123abcd.partial" / "new"
    left.mkdir(parents=True)
    (left / "checkpoint.pt").write_bytes(b"PK")
    with provenance.publish_file(tmp_path / "others.pt") as other:
        other.touch()
        assert number_in(checkpoints.load(CPU)) == 2
        assert not left.parent.exists() and other.exists()


def fill_disk(monkeypatch, code=errno.ENOSPC):
    def fail(content, file):
        file.write(b"half")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(torch, "save", fail)


def test_a_full_disk_is_said_with_what_is_kept_by_the_next_save(tmp_path, monkeypatch):
    written(tmp_path, 1)
    checkpoints = Checkpoints(tmp_path)
    with monkeypatch.context() as patch:
        fill_disk(patch)
        checkpoints.save(state(2))
        message = r"0\.0 MiB into .*No space left.*free some.*goes on from .*checkpoint\.pt, which"
        with raises(OSError, match=message) as caught:
            checkpoints.save(state(3))
    assert caught.value.errno == errno.ENOSPC
    assert names(tmp_path) == ["checkpoint.pt"] and number_in(checkpoints.load(CPU)) == 1
    checkpoints.save(state(4))
    checkpoints.close()
    assert number_in(checkpoints.load(CPU)) == 4


def test_an_error_of_the_writer_comes_at_the_end_but_hides_no_other(tmp_path, monkeypatch):
    fill_disk(monkeypatch, errno.EDQUOT)
    with raises(OSError, match=r"free some space and ask again; .* no checkpoint yet"):
        written(tmp_path, 1)
    with raises(FloatingPointError) as caught, Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1))
        raise FloatingPointError("loss is nan")
    assert any("cannot write a checkpoint" in note for note in caught.value.__notes__)


@mark.skipif(os.name != "posix", reason="limits of a process are POSIX")
@mark.parametrize("limit", [10, 500, 100_000])
def test_a_real_refusal_of_the_system_is_an_os_error(tmp_path, limit):
    # torch's own writer reports such a refusal as a RuntimeError about positions in the file.
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with raises(OSError, match=r"File too large\): put that right") as caught:
            with Checkpoints(tmp_path) as checkpoints:
                checkpoints.save(state(1, size=100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG and not names(tmp_path)


def test_what_could_not_be_read_again_is_refused_at_once(tmp_path):
    with (
        Checkpoints(tmp_path) as checkpoints,
        raises(TypeError, match=r"\['a'\]\[1\] is a ndarray"),
    ):
        checkpoints.save({"a": [0, np.zeros(3)]})


@mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_snapshot_of_a_gpu_is_of_its_moment():
    weights = [torch.full((1 << 20,), float(i), device="cuda") for i in range(20)]
    kept = snapshot(weights)
    for weight in weights:
        weight.zero_()
    assert all((one == i).all() and one.is_pinned() for i, one in enumerate(kept))


def test_a_signal_is_only_noted_until_the_body_leaves(capsys):
    before = [signal.getsignal(number) for number in SIGNALS]
    with raises(SystemExit) as caught, interruptible() as stop:
        assert stop.requested is None
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested == signal.SIGTERM
        stop.leave("training is saved after epoch 3, step 5 in here")
    assert caught.value.code == 143
    assert capsys.readouterr().err.splitlines() == [
        "SIGTERM: training is saved after epoch 3, step 5 in here; "
        "ask for the same run again to go on from there"
    ]
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_second_interrupt_does_not_wait():
    steps = []
    with raises(KeyboardInterrupt, match="SIGINT: all is saved; ask"), interruptible() as stop:
        signal.raise_signal(signal.SIGINT)
        steps.append(stop.requested)
        stop.leave("all is saved")
    with raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(signal.SIGINT)
        steps.append("first")
        signal.raise_signal(signal.SIGINT)
        steps.append("second")
    assert steps == [signal.SIGINT, "first"]


def test_a_signal_that_nobody_heeded_is_delivered_at_the_end():
    with raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(signal.SIGINT)
    with raises(SystemExit) as caught, interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 143


def test_threads_hear_no_signals():
    heard = []

    def work():
        with interruptible() as stop:
            heard.append((stop, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [(Stop(None), signal.getsignal(signal.SIGTERM))]
