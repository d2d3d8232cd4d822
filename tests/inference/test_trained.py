"""Trained models: loaded from their folder alone, and the same numbers as in the run's table."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from training_data import make_dataset

import rnfl
from rnfl import datasets
from rnfl.core import metrics, schema
from rnfl.datasets import normative
from rnfl.inference import trained
from rnfl.training.config import RunConfig

CONFIG = RunConfig("tiny-cfp", "phantom_mae", "naive", epochs=1, warmup_epochs=0, batch_size=6)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("data")
        patch.setenv("RNFL_DATA", str(folder))
        make_dataset("tiny-cfp", n=60, colour=True, size=150)
        yield folder


@pytest.fixture(scope="module")
def result(root):
    return rnfl.run(CONFIG, lambda row: None)


@pytest.fixture(scope="module")
def model(result):
    return trained.load(result.folder)


@pytest.fixture
def copy(result, tmp_path):
    """The run in a folder of its own, to be changed: as before runs kept hashes of their files."""
    folder = shutil.copytree(result.folder, tmp_path / result.run_id)
    (folder / "files.json").unlink()
    return folder


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_predicts_what_the_run_predicted(model, result):
    prepared = datasets.load("tiny-cfp")
    images = np.asarray(prepared.images)[prepared.subset("test")]
    profiles = model.predict(images)
    expected = schema.matrix(result.predictions)
    assert profiles.shape == expected.shape and profiles.dtype == np.float32
    np.testing.assert_allclose(profiles, expected, rtol=1e-5)
    assert not np.allclose(profiles, model.predict(images[:, :, ::-1]), rtol=1e-3)


def test_grey_images_are_three_equal_channels_and_no_images_no_profiles(model, rng):
    grey = rng.integers(0, 255, (3, 224, 224), dtype=np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=-1)
    np.testing.assert_array_equal(model.predict(grey), model.predict(colour))
    assert model.predict(grey[:0]).shape == (0, 360)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 8, 8), float), np.zeros((2, 8, 9), np.uint8), np.zeros((8, 8), "u1")]
)
def test_other_arrays_are_refused(model, images):
    with pytest.raises(ValueError, match=r"expected uint8 \(N, S, S\[, 3\]\)"):
        model.predict(images)


def test_the_card_says_what_it_is(model, result):
    card, target = model.card, schema.matrix(result.predictions, "target")
    assert card["dataset"] == "tiny-cfp" and card["modality"] == "CFP" and card["phantom"] is True
    assert card["train_eyes"] == 30 and card["test_eyes"] == 15
    assert card["test_mae"] == metrics.mae(schema.matrix(result.predictions), target)
    assert "masked autoencoding of phantom eyes" in card["sentence"]
    assert "30 phantom fundus photographs" in card["sentence"]
    assert card["notes"] == ["trained on phantom eyes: its numbers mean nothing for a patient"]
    assert json.loads(json.dumps(card)) == card


def test_the_band_is_kept_with_the_run_and_needs_no_dataset(copy, model, monkeypatch, tmp_path):
    prepared = datasets.load("tiny-cfp")
    expected = normative.training_band(prepared)
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "elsewhere"))
    loaded = trained.load(copy)
    pd.testing.assert_frame_equal(loaded.reference, expected, check_dtype=False)
    assert loaded.card == model.card


def test_an_old_run_takes_its_band_from_the_dataset_while_it_is_there(copy, model, monkeypatch):
    (copy / "training_set.json").unlink()
    (copy / "reference.csv").unlink()
    assert trained.load(copy).card == model.card
    assert len(trained.load(copy).reference) == len(model.reference)
    edit(copy / "config.json", dataset_hash="another")
    loaded = trained.load(copy)
    assert loaded.reference is None and loaded.card["phantom"] is None
    assert "the run does not say what it was" in loaded.card["notes"][0]


def test_another_version_of_the_code_is_a_note_and_another_backbone_an_error(copy):
    edit(copy / "config.json", training_version=0)
    assert (
        "a version of the training code that gave other results"
        in trained.load(copy).card["notes"][-1]
    )
    [spec] = json.loads((copy / "config.json").read_text())["backbone_specs"]
    edit(copy / "config.json", backbone_specs=[spec | {"mean": [0.4, 0.5, 0.5]}])
    with pytest.raises(ValueError, match=r"'phantom_mae' had another mean"):
        trained.load(copy)


def test_a_run_is_found_by_id_beginning_or_folder(result):
    for name in (result.run_id, result.run_id[:20], result.folder, str(result.folder)):
        assert trained.find(name) == result.folder
    with pytest.raises(ValueError, match=rf"(?s)neither the folder.*{result.run_id}.*test MAE"):
        trained.find("unknown")
    shutil.copytree(result.folder, result.folder.with_name(f"{result.run_id}-b"))
    with pytest.raises(ValueError, match="ambiguous"):
        trained.find(result.run_id[:20])


def test_without_runs_the_error_says_how_to_make_one(monkeypatch, tmp_path):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="make one with 'rnfl train'"):
        trained.find("unknown")


def test_the_list_begins_with_what_a_photograph_should_be_read_with(monkeypatch, tmp_path):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    asked = [  # name, phantom, modality, training eyes, test MAE, as they should be listed
        ("real-many", False, "CFP", 1200, 9.0),
        ("real-few-good", False, "CFP", 20, 1.0),
        ("real-few", False, "CFP", 20, 30.0),
        ("real-slo", False, "SLO", 5000, 4.0),
        ("phantom-cfp", True, "CFP", 1700, 3.0),
        ("phantom-tiny", True, "CFP", 6, 0.5),
        ("phantom-all", True, "CFP", 6, None),
        ("phantom-old", None, None, 1700, 2.0),  # of before runs kept their training set
    ]
    for name, phantom, modality, eyes, error in reversed(asked):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps({"n_train": eyes, "test_mae": error}))
        if modality:
            facts = {"phantom": phantom, "modality": modality}
            (folder / "training_set.json").write_text(json.dumps(facts))
    lines = trained.at_hand().splitlines()[1:]
    assert [line.split()[0] for line in lines] == [name for name, *_ in asked]
    assert lines[0] == "  real-many  (1,200 fundus photographs, test MAE 9.0 µm)"
    assert lines[6] == "  phantom-all  (6 phantom fundus photographs)"
    monkeypatch.setattr(trained, "LISTED", 2)
    assert trained.at_hand().endswith(" µm) and 6 more")
