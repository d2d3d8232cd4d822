"""Trained models: loaded from their folder alone, and the same numbers as in the run's table."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from training_data import make_dataset

import rnfl
from rnfl import datasets
from rnfl.core import geometry, metrics, schema
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
    """The run in a folder of its own, to be damaged."""
    return shutil.copytree(result.folder, tmp_path / result.run_id)


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def eyes(n, mean=100.0, sd=10.0, severity="healthy"):
    """Flat profiles of exact quantiles, and their samples."""
    level = mean + sd * np.linspace(-1, 1, n)
    return np.repeat(level[:, None], 360, axis=1), pd.DataFrame({"severity": [severity] * n})


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
    assert trained.at_hand().splitlines()[-1] == "  and 6 more"


def test_the_band_is_that_of_healthy_eyes_where_they_are_enough():
    healthy, known = eyes(normative.MIN_HEALTHY)
    ill, ill_known = eyes(200, mean=60.0, severity="severe")
    band = normative.band(np.r_[healthy, ill], pd.concat([known, ill_known]))
    assert set(band["population"]) == {"healthy"} and set(band["n"]) == {len(healthy)}
    assert normative.limits(band, "mean")["p50"] == pytest.approx(100)
    band = normative.band(np.r_[healthy[1:], ill], pd.concat([known[1:], ill_known]))
    assert set(band["population"]) == {"all"} and set(band["n"]) == {239}


def test_percentiles_are_those_of_numpy_at_each_angle_and_in_each_region(rng):
    profiles = rng.normal(100, 15, (150, 360))
    profiles[:30, 100] = np.nan
    samples = pd.DataFrame({"severity": [None] * 150})
    band = normative.band(profiles, samples)
    assert band["kind"].value_counts().to_dict() == {
        "angle": 360, "clock_hour": 12, "sector": 6, "quadrant": 4, "mean": 1,
    }  # fmt: skip
    row = normative.limits(band, "angle", "100")
    assert row["n"] == 120
    assert row["p5"] == pytest.approx(np.nanpercentile(profiles[:, 100], 5))
    sector = geometry.sector_means(profiles, geometry.SECTORS)[
        :, list(geometry.SECTORS).index("TI")
    ]
    assert normative.limits(band, "sector", "TI")["p99"] == pytest.approx(np.percentile(sector, 99))


def test_quadrant_labels_alone_give_a_band_of_quadrants_and_mean():
    level = np.linspace(50, 150, 101)
    columns = {f"rnfl_{name}": level + i for i, name in enumerate(("mean", "S", "N", "I", "T"))}
    band = normative.band(np.full((101, 360), np.nan), pd.DataFrame(columns))
    assert band[["kind", "name"]].agg("/".join, axis=1).tolist() == [
        "mean/mean", "quadrant/S", "quadrant/N", "quadrant/I", "quadrant/T",
    ]  # fmt: skip
    assert normative.limits(band, "quadrant", "T")["p50"] == 104
    assert normative.limits(band, "clock_hour", "3") is None
    assert len(normative.band(np.full((3, 360), np.nan), pd.DataFrame(index=range(3)))) == 0


def test_few_eyes_do_not_pretend_to_know_a_tail():
    nothing, five, one = (normative.limits(normative.band(*eyes(n)), "mean") for n in (19, 20, 100))
    assert np.isnan(nothing["p5"]) and nothing["p50"] == pytest.approx(100)
    assert np.isfinite(five["p5"]) and np.isnan(five["p1"])
    assert np.isfinite(one["p1"]) and np.isfinite(one["p99"])
    assert normative.position(50.0, nothing) is None and normative.position(50.0, None) is None
    assert normative.position(50.0, five) == "below 5 %"
    assert normative.position(50.0, one) == "below 1 %"
    assert normative.position((one["p1"] + one["p5"]) / 2, one) == "below 5 %"
    assert normative.position(100.0, one) == "within"
    assert normative.position(150.0, one) == "above 95 %"
    assert normative.position(float("nan"), one) is None
