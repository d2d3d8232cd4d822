"""Tables are checked against their columns, and joined by key."""

import numpy as np
import pandas as pd
import pytest

from rnfl.core import schema
from rnfl.core.geometry import QUADRANTS


@pytest.fixture
def predictions(samples, rng):
    """Two runs over the same eyes, each in an order of its own."""
    frames = []
    for run in ("a", "b"):
        eyes = samples.sample(frac=1, random_state=rng.integers(1000))
        profiles = rng.normal(80, 10, (2, len(eyes), 360))
        frames.append(schema.predictions_frame(run, eyes["eye_id"], eyes["patient_id"], *profiles))
    return pd.concat(frames, ignore_index=True)


def test_valid_samples_come_back_complete_and_in_order(samples):
    reordered = samples[samples.columns[::-1]].assign(device="a camera", rnfl_S=100)
    checked = schema.validate(reordered, "samples")
    standard = [c for c in schema.TABLES["samples"] if c in checked]
    assert list(checked) == [*standard, "device"]
    assert checked["severity"].isna().all()
    assert checked["rnfl_S"].dtype == float
    assert checked["race"][0] is None
    again = schema.validate(checked, "samples")
    pd.testing.assert_frame_equal(again, checked)


def test_samples_survive_parquet(samples, tmp_path):
    checked = schema.validate(samples, "samples")
    checked.to_parquet(tmp_path / "samples.parquet")
    read = schema.validate(pd.read_parquet(tmp_path / "samples.parquet"), "samples")
    pd.testing.assert_frame_equal(read, checked)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.drop(columns="split"), r"columns \['split'\] are missing"),
        (lambda s: s.assign(laterality="left"), "laterality: left: expected OD, OS"),
        (lambda s: s.assign(modality=None), "modality: 40 values are missing"),
        (lambda s: s.assign(sex="female"), "sex: female: expected F, M"),
        (lambda s: s.assign(patient_id=range(40)), r"patient_id: 0, 1, 2, 3, 4 and 35 more"),
        (lambda s: s.assign(age="old"), "age: .*old.*: expected float"),
        (lambda s: s.assign(eye_id="same"), "eye_id repeated: same"),
        (
            lambda s: s.assign(split=["train", "test"] * 20),
            "in more than one split: p00",
        ),
    ],
)
def test_wrong_samples_are_named_with_their_source(samples, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        schema.validate(change(samples), "samples", "eyes.csv")
    assert "samples (eyes.csv)" in str(caught.value)


def test_unknown_table_lists_the_valid_ones(samples):
    with pytest.raises(ValueError, match="expected one of samples, predictions, history"):
        schema.validate(samples, "eyes")


def test_whole_numbers_are_not_rounded_silently():
    row = {"metric": "mae", "attribute": None, "group": None}
    row |= {"estimate": 8.0, "low": 7.0, "high": np.nan, "n": 12.0}
    checked = schema.validate(pd.DataFrame([row]), "statistic")
    assert checked["n"].tolist() == [12] and checked["n"].dtype == int
    with pytest.raises(ValueError, match=r"n: 12\.5: expected int"):
        schema.validate(pd.DataFrame([row | {"n": 12.5}]), "statistic")


def test_history_and_runs():
    history = pd.DataFrame({
        "run_id": ["r"] * 2, "epoch": [0, 1], "step": [10, 20], "train_loss": [9.0, 8.0],
        "val_mae": [8.0, np.nan], "lr_encoder": 1e-4, "lr_head": 1e-4, "seconds": 1.0,
    })  # fmt: skip
    assert len(schema.validate(history, "history")) == 2
    run = {"run_id": "r", "dataset": "tiny", "backbone": "b", "protocol": "naive", "seed": 42}
    runs = schema.validate(pd.DataFrame([run | {"stopped_early": True, "epochs": 80}]), "runs")
    assert runs["stopped_early"].dtype == bool
    with pytest.raises(ValueError, match="run_id repeated: r"):
        schema.validate(pd.DataFrame([run, run]), "runs")


def test_profiles_round_trip(samples, tmp_path, rng):
    prediction, target = rng.normal(80, 10, (2, 40, 360)).astype(np.float32)
    target[0, :9] = np.nan
    frame = schema.predictions_frame(
        "r", samples["eye_id"], samples["patient_id"], prediction, target
    )
    frame.to_parquet(tmp_path / "predictions.parquet")
    read = schema.validate(pd.read_parquet(tmp_path / "predictions.parquet"), "predictions")
    assert schema.matrix(read).dtype == np.float64
    np.testing.assert_array_equal(schema.matrix(read, "prediction"), prediction)
    np.testing.assert_array_equal(schema.matrix(read, "target"), target)
    assert schema.matrix(read.head(0)).shape == (0, 360)


def test_wrong_predictions_are_refused(samples):
    ids = samples["eye_id"][:2], samples["patient_id"][:2]
    ones = np.ones((2, 360))
    with pytest.raises(ValueError, match=r"target of shape \(1, 360\): expected \(2, 360\)"):
        schema.predictions_frame("r", *ids, ones, ones[:1])
    with pytest.raises(ValueError, match="run_id/eye_id repeated: r/e"):
        schema.predictions_frame("r", ["e", "e"], ["p", "p"], ones, ones)
    frame = schema.predictions_frame("r", *ids, ones, ones)
    frame.at[0, "target"] = np.ones(359, np.float32)
    with pytest.raises(ValueError, match=r"target: profiles of length \[359\]: expected 360"):
        schema.validate(frame, "predictions")


def test_attributes_are_joined_by_eye_not_by_row(predictions, samples):
    joined = schema.join_samples(predictions, samples.sample(frac=1, random_state=5))
    assert joined["eye_id"].tolist() == predictions["eye_id"].tolist()
    assert joined["run_id"].tolist() == predictions["run_id"].tolist()
    age = samples.set_index("eye_id")["age"]
    np.testing.assert_array_equal(joined["age"], age[predictions["eye_id"]])
    assert list(joined.columns).count("patient_id") == 1


def test_an_attribute_named_as_a_prediction_s_column_does_not_take_its_place(predictions, samples):
    named = samples.assign(target="profile CSV", run_id="x")
    joined = schema.join_samples(predictions, named)
    pd.testing.assert_frame_equal(joined, schema.join_samples(predictions, samples))
    schema.quadrant_frame(predictions, named)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, s: (p, s.iloc[1:]), "absent from samples: p00-OD"),
        (lambda p, s: (p, pd.concat([s, s.head(1)])), "samples: eye_id repeated: p00-OD"),
        (lambda p, s: (pd.concat([p, p.head(1)]), s), "predictions: run_id/eye_id repeated: a/"),
        (lambda p, s: (p.assign(patient_id="x"), s), "patient_id differs from samples: p"),
    ],
)
def test_a_join_that_is_not_one_to_one_is_refused(predictions, samples, change, message):
    with pytest.raises(ValueError, match=message):
        schema.join_samples(*change(predictions, samples))


def test_quadrants_of_profiles_and_of_measured_columns(predictions, samples):
    eye = predictions["eye_id"][3]
    frame = schema.quadrant_frame(predictions, samples)
    names = ["S", "N", "I", "T"]
    assert list(frame.columns[3:]) == [f"{side}_{q}" for side in ("pred", "true") for q in names]
    target = schema.matrix(predictions, "target")[3]
    assert frame["true_I"][3] == pytest.approx(target[QUADRANTS["I"]].mean())

    measured = samples.assign(**{f"rnfl_{q}": np.arange(40.0) + 100 * i
                                 for i, q in enumerate(names)})  # fmt: skip
    frame = schema.quadrant_frame(predictions, measured)
    row = samples.index[samples["eye_id"] == eye][0]
    assert frame.loc[3, [f"true_{q}" for q in names]].tolist() == [row + 100 * i for i in range(4)]
    prediction = schema.matrix(predictions)[3]
    assert frame["pred_T"][3] == pytest.approx(prediction[QUADRANTS["T"]].mean())

    some = measured.assign(**{f"rnfl_{q}": measured[f"rnfl_{q}"].mask(measured.index == row)
                              for q in names})  # fmt: skip
    of_profile = schema.quadrant_frame(predictions, samples).loc[3]
    frame = schema.quadrant_frame(predictions, some)
    assert frame.loc[3].equals(of_profile) and frame["true_N"].notna().all()
