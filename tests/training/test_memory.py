import platform
import weakref
from dataclasses import replace

import psutil
import torch
from pytest import mark, raises

from rnfl.models import backbone
from rnfl.models.regressor import RNFLRegressor
from rnfl.storage import malloc
from rnfl.training import distributed, finetuning, memory
from rnfl.training.config import RunConfig
from rnfl.training.step import Step

CPU = torch.device("cpu")
CONFIG = RunConfig(
    "tiny-slo", "phantom_scratch", "naive", epochs=2, warmup_epochs=0, batch_size=8, augment=None
)


def fit(data, folder, config):
    torch.manual_seed(0)
    model = RNFLRegressor(backbone.build("phantom_scratch"), dropout=0.0)
    model.set_targets(data[0].labels)
    folder.mkdir()
    return model, finetuning.fit(model, *data, config, folder, lambda row: None)


def only(n, monkeypatch):
    """Let a forward pass in training take at most ``n`` images."""
    forward = RNFLRegressor.forward

    def limited(self, images):
        if self.training and len(images) > n:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, images)

    monkeypatch.setattr(RNFLRegressor, "forward", limited)


def test_out_of_memory_halves_what_is_computed_at_once(data, tmp_path, monkeypatch, capsys):
    whole, expected = fit(data, tmp_path / "whole", CONFIG)
    only(3, monkeypatch)
    parts, progress = fit(data, tmp_path / "parts", CONFIG)
    assert (expected.micro_batch, progress.micro_batch) == (8, 2)
    said = capsys.readouterr().out
    assert "8 images at once" in said and "4 images at once" in said
    assert said.count("effective batch of 8") == 2
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert (a - b).abs().max() < 2e-4
    for row, other in zip(progress.history, expected.history, strict=True):
        assert abs(row["train_loss"] - other["train_loss"]) < 1e-2


def test_gradients_of_a_try_that_ran_out_of_memory_do_not_count(data, tmp_path, monkeypatch):
    expected, _ = fit(data, tmp_path / "halves", replace(CONFIG, micro_batch=2))
    forward, calls = RNFLRegressor.forward, iter(range(1000))

    def out_of_memory_in_the_second_part(self, images):
        if self.training and next(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, images)

    monkeypatch.setattr(RNFLRegressor, "forward", out_of_memory_in_the_second_part)
    found, progress = fit(data, tmp_path / "halved", replace(CONFIG, micro_batch=4))
    assert progress.micro_batch == 2
    for a, b in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-6)


@mark.parametrize("at_once, n, told", [(3, 9, []), (8, 3, []), (9, 9, [(9, 4), (4, 2)]),
                                       (64, 9, [(9, 4), (4, 2)])])  # fmt: skip
def test_what_is_too_much_is_halved_until_it_fits(at_once, n, told):
    alive, heard = weakref.WeakSet(), []

    def compute(size):
        assert not alive, "what the try before had computed is still there"
        alive.add(kept := torch.zeros(1))
        if min(size, n) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return float(kept)

    found = memory.halve_until_it_fits(compute, at_once, n, lambda *sizes: heard.append(sizes))
    assert found == (0.0, 2 if told else at_once) and heard == told


def test_among_several_processes_a_fitting_size_is_named(monkeypatch):
    def exhausted(*args):
        raise torch.OutOfMemoryError("no room")

    model = torch.nn.Linear(1, 1)
    step = Step(model, torch.optim.AdamW(model.parameters()), CONFIG, "fp32")
    monkeypatch.setattr(step, "_backward", exhausted)
    monkeypatch.setattr(distributed, "size", lambda: 2)
    share = torch.zeros(4, 1), torch.zeros(4, 360), None
    with raises(RuntimeError, match="4 images at once in each process: set micro_batch to 2") as e:
        step(share, 8, 0)
    assert "no room" in str(e.value.__context__)


def test_not_even_one_image_is_an_error(data, tmp_path, monkeypatch):
    only(0, monkeypatch)
    with raises(torch.OutOfMemoryError):
        fit(data, tmp_path / "none", CONFIG)


def test_other_errors_are_not_taken_for_a_lack_of_memory(data, tmp_path, monkeypatch):
    def broken(self, images):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(RNFLRegressor, "forward", broken)
    with raises(RuntimeError, match="shapes"):
        fit(data, tmp_path / "broken", CONFIG)


def test_auto_takes_what_free_memory_holds(data, tmp_path, monkeypatch, capsys):
    auto = replace(CONFIG, micro_batch="auto")
    _, roomy = fit(data, tmp_path / "roomy", auto)
    assert roomy.micro_batch == 8
    model = RNFLRegressor(backbone.build("phantom_scratch")).train()
    images = data[0].take(torch.arange(2))[0]
    one, two = (memory.saved_bytes(lambda n=n: model(images[:n])) for n in (1, 2))
    trainable = sum(p.nbytes for p in model.parameters())
    assert 5e5 < two - one < 5e7
    free = (3 * trainable + one + 3.5 * (two - one)) / memory.ROOM
    monkeypatch.setattr(memory, "free_memory", lambda device: free)
    _, tight = fit(data, tmp_path / "tight", auto)
    assert tight.micro_batch in (3, 4) and "of 8 images at once" in capsys.readouterr().out


def test_what_is_saved_is_counted_once():
    x = torch.ones(1000, requires_grad=True)
    weight = torch.nn.Parameter(torch.ones(1000))
    assert memory.saved_bytes(lambda: x * weight) == 4000
    assert memory.saved_bytes(lambda: (y := x.exp()) * y) == 4000
    assert (
        memory.images_that_fit(lambda n: torch.ones(n, 10, requires_grad=True).exp(), 0, 4, CPU)
        == 4
    )


@mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed pages on demand")
def test_freed_pages_are_kept_within_and_given_back_at_the_end():
    resident = psutil.Process().memory_info
    with malloc.freed_pages_kept():
        before = resident().rss
        torch.ones(50, 2**20)  # 200 MB, freed at once
        kept = resident().rss - before
    assert kept > 1e8 > resident().rss - before


def test_room_that_is_promised_is_not_given_away_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 1000)
    given = (100,), torch.float32, CPU, tmp_path / "tokens.bin"
    first = memory.place(*given)
    assert not (tmp_path / "tokens.bin").exists()
    second = memory.place(*given, promised=first.nbytes)
    assert (tmp_path / "tokens.bin").stat().st_size == second.nbytes == 400
    second.fill_(1.0)
    assert memory.place(*given, promised=first.nbytes).shape == (100,)  # as after a kill


def test_a_prediction_takes_fewer_images_where_memory_runs_out(data, monkeypatch):
    from rnfl.training import predict

    model = RNFLRegressor(backbone.build("phantom_scratch")).eval()
    expected = predict.predict(model, data[0])
    forward = RNFLRegressor.forward

    def limited(self, images):
        if len(images) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, images)

    monkeypatch.setattr(RNFLRegressor, "forward", limited)
    assert torch.allclose(predict.predict(model, data[0]), expected, atol=1e-3)
