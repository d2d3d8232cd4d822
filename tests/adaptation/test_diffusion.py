"""Diffusion: the schedule, the fusion of content, the directions; interrupted is uninterrupted."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from training_data import make_dataset

pytest.importorskip("diffusers", reason="the extra 'generative' is not installed")

from rnfl.adaptation import diffusion, ways

FEW = {"unet_steps": 4, "content_steps": 2, "batch_size": 2}


@pytest.fixture(scope="module", autouse=True)
def small():
    """A network of few channels for pictures of 32 px: the same code at a tenth of the cost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffusion, "SIZE", 32)
        patch.setattr(diffusion, "WIDTHS", (32, 32, 32))
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("data")
        patch.setenv("RNFL_DATA", str(root))
        source = make_dataset("source", n=12, size=32)
        make_dataset("target", n=12, size=32, colour=True, seed=1, patients="q")
        diffusion.make_source(source, "tiny", out_dir=root, **FEW)
        yield source, ways.take_shots("target", 3), root / "tiny.safetensors"


def test_noise_of_a_picture_gives_the_picture_back():
    model = diffusion.Denoiser()
    pictures, noise = torch.rand(2, 2, 12, 16, 16) * 2 - 1
    times = torch.tensor([10, 700])
    noised = model.noised(pictures, times, noise)
    torch.testing.assert_close(model.cleared(noised, times, noise), pictures, atol=1e-4, rtol=0)
    assert float((noised[0] - pictures[0]).abs().mean()) < float(
        (noised[1] - pictures[1]).abs().mean()
    )


def test_content_is_fused_in_the_middle_alone_and_only_when_given(world):
    model = diffusion.source(world[2]).eval()
    noised, other = torch.randn(2, 1, 12, 16, 16)
    times = torch.tensor([500])
    with torch.no_grad():
        plain = model(noised, times)
        shows = [model.content_of(one, times, torch.zeros_like) for one in (noised, other)]
        fused = [model(noised, times, one) for one in shows]
        assert torch.equal(plain, model(noised, times))  # nothing is left behind
    assert not torch.equal(plain, fused[0]) and not torch.equal(*fused)
    # Below FINE noise takes the content's place.
    low = [model.content_of(one, torch.tensor([100]), torch.ones_like) for one in (noised, other)]
    assert torch.equal(*low) and float(low[0].mean()) == 1


@pytest.mark.parametrize("direction", diffusion.DIRECTIONS)
def test_a_direction_is_static_dynamic_or_between(direction):
    adaptor = diffusion.Adaptor(8, direction)
    features, means = torch.randn(4, 8), torch.randn(2, 8)
    found, gate = adaptor(features, *means)
    static = (means[1] - means[0]).expand_as(found)
    if direction == "static":
        assert torch.equal(found, static)
    elif direction == "dynamic":
        torch.testing.assert_close(found, adaptor.shift(features - means[1]))
    else:  # it begins as the static one
        assert float(gate.detach().max()) < 0.02
        torch.testing.assert_close(found, static, atol=0.1, rtol=0)


def test_a_packaged_source_is_its_recipe_and_is_not_made_twice(world, tmp_path):
    source, _, file = world
    record = json.loads(file.with_suffix(".json").read_text())
    assert record["settings"]["pictures"] == source.hash
    assert {row["part"] for row in record["curve"]} == {"unet", "content"}
    before = file.stat().st_mtime_ns
    diffusion.make_source(source, "tiny", out_dir=file.parent, **FEW)
    assert file.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="of another recipe"):
        diffusion.make_source(source, "tiny", out_dir=file.parent, **FEW | {"unet_steps": 5})
    with pytest.raises(FileNotFoundError, match="make one with"):
        diffusion.source(tmp_path / "none.safetensors")


def _dies_at(monkeypatch, kind, number):
    """Let a training end without a word in a step, once."""
    real, calls = kind.step, iter(range(1000))

    def step(self, batch, at, progress):
        if next(calls) == number:
            raise MemoryError
        return real(self, batch, at, progress)

    monkeypatch.setattr(kind, "step", step)


def test_an_interrupted_source_ends_in_the_same_bits(world, tmp_path, monkeypatch):
    source, _, file = world
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    for number in (3, 2):  # in the network, then in the content
        with monkeypatch.context() as patch, pytest.raises(MemoryError):
            _dies_at(patch, diffusion.SourceTraining, number)
            diffusion.make_source(source, "tiny", out_dir=tmp_path, **FEW)
    diffusion.make_source(source, "tiny", out_dir=tmp_path, **FEW)
    whole, again = load_file(file), load_file(tmp_path / "tiny.safetensors")
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


def test_an_interrupted_adaptation_ends_in_the_same_bits_and_curve(world, monkeypatch, tmp_path):
    source, shots, file = world
    recipe = diffusion.Recipe(steps=4, batch_size=2)
    whole = diffusion.adapted(source, shots, recipe, file)
    assert len(whole.curve) == 4 and {"gate", "cosine_with_static"} <= whole.curve[0].keys()
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        _dies_at(patch, diffusion.AdaptationTraining, 2)
        diffusion.adapted(source, shots, recipe, file)
    again = diffusion.adapted(source, shots, recipe, file)
    assert again.curve == whole.curve and again.digest == whole.digest
    theirs = again.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in whole.model.state_dict().items())
    assert not torch.equal(
        whole.model.unet.conv_in.weight, diffusion.source(file).unet.conv_in.weight
    )


def test_a_curve_is_that_of_all_steps_wherever_training_stopped(world, monkeypatch, tmp_path):
    source, shots, file = world
    recipe, found = diffusion.Recipe(steps=4, batch_size=1), []
    monkeypatch.setattr(diffusion, "POINTS", 1)  # one point, four steps
    monkeypatch.setattr(diffusion, "CHECKPOINT_SECONDS", 0.0)  # a checkpoint after every step
    for name in ("whole", "stopped"):
        monkeypatch.setenv("RNFL_DATA", str(tmp_path / name))
        if name == "stopped":
            with monkeypatch.context() as patch, pytest.raises(MemoryError):
                _dies_at(patch, diffusion.AdaptationTraining, 2)
                diffusion.adapted(source, shots, recipe, file)
        found.append(diffusion.adapted(source, shots, recipe, file).curve)
    assert found[0] == found[1] and len(found[0]) == 1


def test_a_translation_depends_on_its_picture_and_seed_alone(world):
    source, shots, file = world
    learnt = diffusion.adapted(source, shots, diffusion.Recipe(steps=1, batch_size=1), file)
    images = np.asarray(source.images[:3])
    given = {"n_steps": 4}
    together = diffusion.translate(learnt.model, images, [5, 6, 7], **given)
    alone = diffusion.translate(learnt.model, images[1:2], [6], **given)
    assert together.shape == (3, 32, 32, 3)
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 1
    other = diffusion.translate(learnt.model, images[1:2], [8], **given)
    assert np.abs(other.astype(int) - alone).max() > 3


def test_recipes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="direction 'up': expected one of"):
        diffusion.Recipe(direction="up")
    with pytest.raises(ValueError, match="expected 1 or more"):
        diffusion.Recipe(steps=0)


@pytest.mark.parametrize("damage", ["cut", "text", "another network", "empty"])
def test_a_damaged_model_is_named_with_what_to_do(world, tmp_path, damage):
    bad = tmp_path / "bad.safetensors"
    whole = world[2].read_bytes()
    bad.write_bytes({"cut": whole[: len(whole) // 2], "text": b"not weights", "empty": b"",
                     "another network": save({"a": torch.zeros(2)})}[damage])  # fmt: skip
    with pytest.raises(ValueError, match=r"bad\.safetensors is damaged or holds no DDPM"):
        diffusion.source(bad)


def test_a_damaged_adaptation_is_named_with_what_to_do(world):
    source, shots, file = world
    recipe = diffusion.Recipe(steps=1, batch_size=1)
    learnt = diffusion.adapted(source, shots, recipe, file)
    kept = diffusion.cache_root() / f"adapted-{learnt.digest}" / "model.safetensors"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=f"delete .*adapted-{learnt.digest} and ask again"):
        diffusion.adapted(source, shots, recipe, file)
    kept.write_bytes(whole)


def test_a_source_whose_file_was_damaged_is_not_taken_for_finished(world, tmp_path):
    source, _, _ = world
    diffusion.make_source(source, "small", out_dir=tmp_path, **FEW)
    (tmp_path / "small.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="of another recipe, or damaged"):
        diffusion.make_source(source, "small", out_dir=tmp_path, **FEW)
