"""Disc and cup: learnt better than one mask for all, resumed to the bit, refused by name."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_masks import make_masked
from killed_runs import content
from training_data import make_dataset, silent
from typer.testing import CliRunner

import rnfl
from analysis.accuracy.segmentation import segmentation_table
from analysis.reports.evaluation.predictions import read_predictions
from rnfl import cli, datasets
from rnfl.core import masks
from rnfl.inference import trained
from rnfl.models.backbone import build
from rnfl.models.segmenter import Segmenter
from rnfl.runs.predictions import predicted_masks
from rnfl.training import batches, protocols, segmentation
from rnfl.training.config import RunConfig

CONFIG = RunConfig(  # the backbone is frozen: what it gives is computed once, and steps are cheap
    "tiny-discs", "phantom_mae", "probe", epochs=5, warmup_epochs=0, batch_size=4, lr_scale=100.0,
    augment=None, task="masks", checkpoint_seconds=0.0,
)  # fmt: skip
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("data")
        patch.setenv("RNFL_DATA", str(folder))
        make_masked(n=32, unmasked=[0, 31])
        make_masked("tiny-other", n=8, seed=1)
        make_dataset("tiny-profiles", n=8)
        yield folder


@pytest.fixture(scope="module")
def result(root):
    return rnfl.run(CONFIG, silent)


def test_masks_are_learnt_better_than_one_mask_for_all(result):
    prepared = rnfl.load("tiny-discs")
    train, test = (batches.masks_of(prepared, prepared.subset(s)) for s in ("train", "test"))
    train = train[masks.known(train)]
    shares = [(train == k).mean(axis=0) for k in range(3)]
    constant = np.broadcast_to(np.argmax(shares, axis=0), test.shape)
    table, summary = result.segmentation, result.summary
    assert table["dice_disc"].mean() > masks.dice_disc(constant, test)[:-1].mean() + 0.1
    assert table["dice_cup"].mean() > masks.dice_cup(constant, test)[:-1].mean() + 0.2
    assert table["eye_id"].tolist() == prepared.samples["eye_id"][prepared.subset("test")].tolist()
    assert np.isnan(table.loc[7, ["dice_disc", "dice_cup", "cdr_true"]].to_list()).all()
    assert summary["test_dice_disc"] == pytest.approx(table["dice_disc"].mean())
    assert (summary["n_train"], summary["n_unlabelled"]) == (15, 1)
    assert summary["best_val_dice_error"] == result.history["val_dice_error"].min()
    assert "val_mae" not in result.history and "best_val_mae" not in summary
    assert rnfl.runs_table([result]).loc[0, "task"] == "masks"
    statistic = segmentation_table(table).set_index("metric")
    assert statistic.loc["dice_disc", "low"] < summary["test_dice_disc"]
    assert statistic.loc["dice_disc", "n"] == 7


def test_a_run_that_stopped_within_an_epoch_ends_with_the_same_bits(
    result, root, tmp_path, monkeypatch
):
    for name in ("prepared", "cache"):
        if (root / name).exists():
            shutil.copytree(root / name, tmp_path / name)
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    step, calls = segmentation.loss, iter(range(100))

    def interrupted(*args):
        if next(calls) == 5:
            raise RuntimeError("stopped")
        return step(*args)

    monkeypatch.setattr(segmentation, "loss", interrupted)
    with pytest.raises(RuntimeError, match="stopped"):
        rnfl.run(CONFIG, silent)
    again = rnfl.run(CONFIG, silent)
    assert next(calls) == 1 + 5 * 4  # no step that was saved is taken again
    assert content(again.folder) == {
        name: said for name, said in content(result.folder).items() if "tiny-other" not in name
    }


def test_the_loss_does_not_depend_on_how_a_batch_is_cut(rng):
    logits = torch.from_numpy(rng.normal(size=(6, 3, 16, 16))).float()
    target = torch.from_numpy(rng.integers(0, 3, (6, 16, 16))).to(torch.uint8)
    parts = [segmentation.loss(logits[i : i + 2], target[i : i + 2]) for i in (0, 2, 4)]
    torch.testing.assert_close(torch.stack(parts).mean(), segmentation.loss(logits, target))
    certain = torch.nn.functional.one_hot(target.long(), 3).movedim(-1, 1) * 100.0
    assert segmentation.loss(certain, target) < 1e-3 < segmentation.loss(logits, target)


@pytest.mark.parametrize("name", ["lora", "structured"])
def test_protocols_move_of_a_segmenter_what_they_declare(name):
    model, protocol = Segmenter(build("phantom_scratch", False)), protocols.PROTOCOLS[name]
    protocols.apply(model, protocol)
    moving = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n for n in moving if not n.startswith("backbone")} == {
        n for n, _ in model.named_parameters() if n.startswith("head")
    }
    learnt, _ = protocols.n_trainable(model, protocol)
    assert 0 < learnt < sum(p.numel() for p in model.backbone.parameters())


def test_another_dataset_is_measured_once_and_masks_come_on_request(result, monkeypatch):
    table = rnfl.segment_with(result, "tiny-other", split=None)
    other = rnfl.load("tiny-other")
    found = predicted_masks(result, "tiny-other", np.arange(8))
    assert found.dtype == np.uint8 and found.shape == other.masks.shape
    np.testing.assert_array_equal(masks.dice_disc(found, other.masks), table["dice_disc"])
    monkeypatch.setattr(rnfl.runs.predictions, "_ready", None)  # it is kept: no model is loaded
    assert rnfl.segment_with(result, "tiny-other", split=None).equals(table)
    bare = predicted_masks
    monkeypatch.undo()
    assert bare(result, "tiny-profiles", np.arange(2)).shape == (2, 112, 112)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "readout"}, "cannot have a readout: it solves for profiles"),
        ({"protocol": "structured"}, "terms {'pearson': 10.0} of the loss: they compare profiles"),
        ({"output_scale": "raw"}, "output_scale 'raw': it is of profiles: leave it out"),
        ({"radius_ratio": 0.3}, "radius_ratio 0.3: it is of profiles"),
        ({"task": "vessels"}, "task 'vessels': expected one of"),
    ],
)
def test_what_masks_cannot_have_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)


def test_datasets_and_commands_without_masks_are_refused_in_words(result, root):
    with pytest.raises(ValueError, match=r"none of its 8 eyes has a mask .*column mask"):
        rnfl.run(replace(CONFIG, dataset="tiny-profiles"), silent)
    with pytest.raises(ValueError, match="'tiny-profiles' has no masks to compare with"):
        rnfl.segment_with(result, "tiny-profiles")
    asked = "predicts masks of disc and cup, expected one that predicts profiles: .*segment"
    with pytest.raises(ValueError, match=asked):
        rnfl.predict_with(result, "tiny-profiles")
    with pytest.raises(ValueError, match=asked):
        trained.load(result.run_id)
    with pytest.raises(ValueError, match=asked):
        _ = result.predictions
    done = CliRunner().invoke(cli.app, ["export", result.run_id])
    assert re.search(asked, str(done.exception))
    with pytest.raises(ValueError, match="has task 'masks', expected 'profile'"):
        rnfl.run(RunConfig("tiny-profiles", "phantom_mae", start=result.run_id, protocol="naive"))
    with pytest.raises(ValueError, match="compares masks of disc and cup; evaluated here are"):
        read_predictions(result.folder / "segmentation.parquet")
    made = make_masked("tiny-wrong", n=8)
    fields = {key: made.manifest[key] for key in ("dataset", "modality", "phantom", "settings")}
    wrong = {"masks.npy": np.where(made.masks == 2, 7, made.masks).astype(np.uint8)}
    datasets.write("tiny-wrong", made.images, made.profiles, made.samples, fields, extra=wrong)
    with pytest.raises(ValueError, match=r"masks of 8 eyes, such as eye00, have other values"):
        batches.load(rnfl.load("tiny-wrong"), np.arange(8), 112, CPU, "masks")
