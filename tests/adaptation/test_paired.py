"""Pairs of pictures: what is learnt from them, one draw and several, interrupted training."""

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers", reason="the extra 'generative' is not installed")

from rnfl.adaptation import diffusion, paired


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setattr(diffusion, "SIZE", 32)
    monkeypatch.setattr(diffusion, "WIDTHS", (32, 32, 32))
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))


@pytest.fixture
def pairs():
    """Twelve pictures, and the same ones in negative."""
    pictures = np.random.default_rng(0).integers(0, 256, (12, 32, 32), dtype=np.uint8)
    smooth = pictures.reshape(12, 4, 8, 4, 8).mean(axis=(2, 4)).astype(np.uint8)
    pictures = smooth.repeat(8, axis=1).repeat(8, axis=2)
    return pictures, 255 - pictures


@pytest.mark.parametrize(
    "changes", [{"kind": "gan"}, {"steps": 0}, {"batch_size": 0}], ids=lambda c: next(iter(c))
)
def test_recipes_that_make_no_sense_are_refused(changes):
    with pytest.raises(ValueError, match="expected a kind of mean, diffusion, weighted"):
        paired.Recipe(**changes)


def test_pictures_that_are_no_pairs_are_refused(pairs):
    with pytest.raises(ValueError, match="12 first and 11 second"):
        paired.learnt(pairs[0], pairs[1][:11])


def test_the_second_picture_is_learnt_from_the_first(pairs):
    """A network that redraws at once makes negatives, which no copy of the first picture is."""
    model = paired.learnt(*pairs, paired.Recipe("mean", steps=50, batch_size=4, lr=3e-3))
    made = paired.redrawn(model, pairs[0], range(12))[1].mean(axis=3)
    wrong = np.abs(made - pairs[1]).mean()
    assert wrong < 0.5 * np.abs(pairs[1] - pairs[1].mean(axis=0)).mean()
    assert wrong < 0.5 * np.abs(pairs[0].astype(float) - pairs[1]).mean()


def test_an_interrupted_training_ends_in_the_same_bits(pairs, monkeypatch, tmp_path):
    recipe = paired.Recipe("weighted", steps=4, batch_size=2)
    whole = paired.learnt(*pairs, recipe).state_dict()
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "again"))
    taken, step = [], paired.PairTraining.step

    def broken(self, batch, number, progress):
        if number == 2 and not taken:
            taken.append(number)
            raise KeyboardInterrupt
        return step(self, batch, number, progress)

    monkeypatch.setattr(paired.PairTraining, "step", broken)
    with pytest.raises(KeyboardInterrupt):
        paired.learnt(*pairs, recipe)
    again = paired.learnt(*pairs, recipe).state_dict()
    assert taken and all(torch.equal(whole[name], again[name]) for name in whole)
    assert not list(
        (tmp_path / "again" / "runs" / ".partial").glob("redrawing-*[!k]")
    )  # but for the lock


def test_kinds_learn_other_things_and_none_is_trained_twice(pairs, monkeypatch):
    learnt = [
        paired.learnt(*pairs, paired.Recipe(kind, steps=2, batch_size=2)) for kind in paired.KINDS
    ]
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in learnt]
    assert not any(torch.equal(weights[i], weights[i - 1]) for i in range(3))
    monkeypatch.setattr(paired.PairTraining, "step", None)
    paired.learnt(*pairs, paired.Recipe("mean", steps=2, batch_size=2))


def test_draws_depend_on_picture_and_seed_alone_and_are_averaged(pairs, monkeypatch):
    monkeypatch.setattr(paired, "DRAWN", 4)
    model = paired.learnt(*pairs, paired.Recipe("diffusion", steps=2, batch_size=2))
    twice = np.stack([pairs[0][0]] * 2)
    found = paired.redrawn(model, twice, [7, 7], draws=(1, 2))
    assert list(found) == [1, 2] and found[1].shape == (2, 32, 32, 3)
    assert np.array_equal(found[1][0], found[1][1])
    other = paired.redrawn(model, pairs[0][:3], [7, 8, 9], draws=(1,))[1]
    assert np.array_equal(other[0], found[1][0]) and not np.array_equal(found[2], found[1])
    changed = paired.redrawn(model, pairs[0][:1], [8], draws=(1,))[1]
    assert not np.array_equal(changed[0], other[0])
    # The mean of draws is nearer the middle than a draw.
    assert found[2].std() < found[1].std()


@pytest.mark.parametrize(
    ("changes", "said"), [({"draws": (0, 4)}, "1 or more"), ({"draws": ()}, "1 or more"),
                          ({"seeds": [1]}, "1 seeds for 2 pictures")]
)  # fmt: skip
def test_draws_and_seeds_that_make_no_sense_are_refused(pairs, changes, said):
    model = paired.Redrawing("diffusion")
    with pytest.raises(ValueError, match=said):
        paired.redrawn(model, pairs[0][:2], **({"seeds": [1, 2]} | changes))


def test_a_damaged_network_is_named_with_what_to_do(pairs, tmp_path):
    recipe = paired.Recipe("mean", steps=1, batch_size=2)
    paired.learnt(*pairs, recipe)
    (file,) = tmp_path.glob("cache/redrawing-*/model.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(
        ValueError, match=r"model.safetensors .*delete .*redrawing-.* and ask again"
    ):
        paired.learnt(*pairs, recipe)
