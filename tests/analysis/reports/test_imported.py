"""Foreign predictions and demographics: read exactly, joined by key, and refused with a list."""

import re

import numpy as np
import pandas as pd
import pytest
import synthetic_tables as synthetic

from analysis.reports.evaluation import joined
from analysis.reports.evaluation import predictions as imported
from rnfl.core import demographics, geometry, orientation, schema


def study(n_patients=8, models=("kept",), missing=0.0):
    """Return samples, labels (n, 360) and predictions by model, as float32 would hold them."""
    samples = synthetic.eyes(n_patients)
    truth, label = synthetic.profiles(samples, missing=missing)
    noise = np.random.default_rng(5).normal(0, 1, (len(models), *truth.shape))
    pairs = zip(models, noise, strict=True)
    predictions = {name: (truth + error).astype(np.float32) for name, error in pairs}
    return samples, label.astype(np.float32), predictions


def as_long(samples, label, predictions):
    n = len(samples)
    parts = [
        pd.DataFrame({
            "sample_id": np.repeat(samples["eye_id"].to_numpy(), 360),
            "model": name,
            "angle": np.tile(np.arange(360), n),
            "prediction": matrix.ravel(),
            "ground_truth": label.ravel(),
        })
        for name, matrix in predictions.items()
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def as_wide(samples, label, predictions, names=("prediction_{}", "ground_truth_{}")):
    parts = []
    for model, matrix in predictions.items():
        keys = pd.DataFrame({"sample_id": samples["eye_id"], "model": model})
        sides = [
            pd.DataFrame(values, columns=[name.format(k) for k in range(360)])
            for values, name in zip((matrix, label), names, strict=True)
        ]
        parts.append(pd.concat([keys, *sides], axis=1))
    return pd.concat(parts, ignore_index=True)


def saved(frame, folder, name="predictions.csv"):
    path = folder / name
    frame.to_parquet(path, index=False) if path.suffix == ".parquet" else frame.to_csv(
        path, index=False
    )
    return path


@pytest.fixture(scope="module")
def small():
    return study()


@pytest.fixture(scope="module")
def long(small):
    return as_long(*small)


def refused(frame, folder, *fragments):
    """Check that a file is refused with all the fragments in its message."""
    with pytest.raises(ValueError) as caught:
        imported.read_predictions(saved(frame, folder))
    for fragment in fragments:
        assert fragment in str(caught.value), str(caught.value)


# reading


@pytest.mark.parametrize(
    "layout", ["long", "wide", "padded", "pred_true", "own", "long.csv.gz", "long.parquet"]
)
def test_every_layout_gives_the_values_back_bit_for_bit(layout, tmp_path):
    samples, label, predictions = study(models=("b", "a"), missing=0.02)
    expected = pd.concat(
        [synthetic.frame(name, samples, predictions[name], label) for name in ("a", "b")],
        ignore_index=True,
    )
    names = {
        "padded": ("prediction_{:03d}", "ground_truth_{:03d}"),
        "pred_true": ("pred_{}", "true_{}"),
    }
    if layout == "own":
        path = saved(expected, tmp_path, "predictions.parquet")
    elif layout.startswith("long"):
        name = f"x.{layout.partition('.')[2] or 'csv'}"
        path = saved(as_long(samples, label, predictions), tmp_path, name)
    else:
        given = [names[layout]] if layout in names else []
        path = saved(as_wide(samples, label, predictions, *given), tmp_path)
    read = imported.read_predictions(path)
    assert list(read.predictions) == ["a", "b"]
    table = read.table(samples.set_index("eye_id").loc[read.keys["sample_id"], "patient_id"])
    expected = expected.sort_values(["run_id", "eye_id"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(table[["run_id", "eye_id", "patient_id"]],
                                  expected[["run_id", "eye_id", "patient_id"]])  # fmt: skip
    for column in ("prediction", "target"):
        np.testing.assert_array_equal(schema.matrix(table, column), schema.matrix(expected, column))


def test_rows_and_columns_may_stand_in_any_order(small, long, tmp_path):
    mixed = long.sample(frac=1, random_state=1)[list(long)[::-1]]
    wide = as_wide(*small)
    mixed_wide = wide.sample(frac=1, random_state=2)[list(wide)[::-1]]
    plain = imported.read_predictions(saved(long, tmp_path))
    for frame in (mixed, mixed_wide):
        other = imported.read_predictions(saved(frame, tmp_path))
        pd.testing.assert_frame_equal(plain.keys, other.keys)
        np.testing.assert_array_equal(plain.target, other.target)
        np.testing.assert_array_equal(plain.predictions["kept"], other.predictions["kept"])


def test_identifiers_are_text(small, long, tmp_path):
    names = dict(zip(small[0]["eye_id"], ["007", "7", "0070", "NA", "1e3"], strict=False))
    kept = long[long["sample_id"].isin(names)].replace({"sample_id": names})
    read = imported.read_predictions(saved(kept, tmp_path))
    assert set(read.keys["sample_id"]) == {"007", "7", "0070", "NA", "1e3"}


def test_a_file_without_models_is_named_after_itself(long, tmp_path):
    path = saved(long.drop(columns="model"), tmp_path, "retfound.v2.csv")
    assert list(imported.read_predictions(path).predictions) == ["retfound"]


@pytest.mark.parametrize("name", imported.RESERVED)
def test_a_model_never_passes_for_a_baseline(name, long, tmp_path):
    read = imported.read_predictions(saved(long.assign(model=name), tmp_path))
    assert read.runs()["run_id"].tolist() == [f"{name} (file)"]


def test_a_name_of_dollars_is_no_formula_of_a_figure(long, tmp_path):
    read = imported.read_predictions(saved(long.assign(model="$x_^{$"), tmp_path))
    assert read.runs()["protocol"].tolist() == [r"\$x_^{\$"]


def test_long_names_stay_distinct_when_shortened(long, tmp_path):
    name = "phantom-slo-2400-phantom_mae-naive-s42-01b4395359"
    read = imported.read_predictions(saved(long.assign(model=name), tmp_path))
    assert read.runs().iloc[0].tolist() == [name, "imported", "phanto…aive-s42"]
    twins = [f"retfound-large-{k}-epoch-eighty" for k in "ab"]
    assert imported.shortened(twins) == ["model 1", "model 2"]


def test_a_file_of_1700_eyes_is_read(tmp_path):
    rng = np.random.default_rng(0)
    label = rng.uniform(20, 200, (1700, 360)).astype(np.float32)
    samples = pd.DataFrame({"eye_id": [f"e{i}" for i in range(1700)]})
    frame = as_long(samples, label, {"m": label}).sample(frac=1, random_state=0)
    read = imported.read_predictions(saved(frame, tmp_path))
    order = read.keys["sample_id"].str[1:].astype(int)
    np.testing.assert_array_equal(read.target.astype(np.float32), label[order])


# refusing


def test_angles_are_whole_degrees_from_0_to_359(long, tmp_path):
    refused(long.assign(angle=long["angle"] + 1), tmp_path, "p000-OD at 360", "from 1 to 360")
    radians = long.assign(angle=np.deg2rad(long["angle"]))
    refused(radians, tmp_path, "radians", "of 14 samples", "p000-OD at 0.0174533")
    refused(long.assign(angle=long["angle"] + 0.5), tmp_path, "p000-OD at 0.5", "more")
    again = pd.concat([long, long[long["angle"] == 0].assign(angle=360)])
    refused(again, tmp_path, "angles of 14 samples", "360° is 0° again", "p000-OD at 360",
            "Seen 361 angles, 0 to 360")  # fmt: skip
    refused(long.assign(angle=long["angle"] - 1), tmp_path, "p000-OD at -1")
    refused(long.assign(angle=long["angle"].astype(str) + "°"), tmp_path, "'0°'", "line 2, 3")


def test_gaps_and_repetitions_are_listed(long, tmp_path):
    hole = long[~((long["sample_id"] == "p001-OS") & long["angle"].isin([12, 13]))]
    refused(hole, tmp_path, "1 samples", "p001-OS lacks 12°, 13°")
    short = long[long["angle"] < 350]
    refused(short, tmp_path, "14 samples", "lacks 350°, 351°", "and 5 more", "and 9 more")
    refused(pd.concat([long, long.iloc[[725]]]), tmp_path, "p001-OS at 5° (2 rows)")
    twice = pd.concat([long, long])
    refused(twice, tmp_path, "5040 angles of 14 samples are repeated", "and 5035 more")


def test_models_must_cover_the_same_samples_and_agree_on_the_truth(tmp_path):
    frame = as_long(*study(models=("a", "b")))
    second = (frame["model"] == "b") & (frame["sample_id"] == "p002-OD")
    refused(frame[~second], tmp_path, "1 samples lack model b: p002-OD")
    other = frame.assign(ground_truth=frame["ground_truth"] + second)
    refused(other, tmp_path, "ground truth of model b differs", "p002-OD")
    blank = frame.assign(ground_truth=frame["ground_truth"].mask(second & (frame["angle"] == 3)))
    refused(blank, tmp_path, "ground truth of model b differs", "p002-OD")
    gone = frame[~(second & (frame["angle"] == 7))]
    refused(gone, tmp_path, "p002-OD of b lacks 7°")
    owners = frame.assign(patient_id=np.where(second, "x", "y"))
    refused(owners, tmp_path, "patient_id of model b differs", "p002-OD")
    owners = frame.assign(patient_id=np.where(second & (frame["angle"] > 3), "x", "y"))
    refused(owners, tmp_path, "patient_id changes within samples: p002-OD of b")


def test_ground_truth_may_be_missing_but_no_prediction(long, tmp_path):
    hole = (long["sample_id"] == "p001-OS") & (long["angle"] == 4)
    read = imported.read_predictions(
        saved(long.assign(ground_truth=long["ground_truth"].mask(hole)), tmp_path)
    )
    assert np.argwhere(np.isnan(read.target)).tolist() == [[2, 4]]
    refused(long.assign(prediction=long["prediction"].mask(hole)), tmp_path, "p001-OS at 4°: nan")
    endless = long.assign(prediction=long["prediction"].mask(hole, np.inf))
    refused(endless, tmp_path, "1 values of 1 samples: p001-OS at 4°: inf")
    refused(long.assign(ground_truth=np.nan), tmp_path, "ground truth: every value is missing")
    refused(long.assign(sample_id=long["sample_id"].mask(hole)), tmp_path, "missing in 1 rows",
            "line 726")  # fmt: skip


def test_thickness_is_in_micrometres(long, tmp_path):
    in_mm = long.assign(prediction=long["prediction"] / 1000)
    refused(in_mm, tmp_path, "predictions of kept", "expected µm", "mm")
    refused(long.assign(ground_truth=long["ground_truth"] / 1000), tmp_path, "ground truth", "mm")
    standardised = long.assign(prediction=long["prediction"] - 80)
    refused(standardised, tmp_path, "expected 0 to 400 µm", "values of 14 samples", "p000-OD at")
    hole = (long["sample_id"] == "p001-OS") & (long["angle"] == 4)
    thick = long.assign(ground_truth=long["ground_truth"].mask(hole, 512.25))
    refused(thick, tmp_path, "ground truth", "p001-OS at 4°: 512.25")
    zero = long.assign(ground_truth=long["ground_truth"].mask(hole, 0.0))
    refused(zero, tmp_path, "ground truth", "leave the cell empty", "p001-OS at 4°: 0")
    dead = long.assign(prediction=long["prediction"].mask(hole, 0.0))
    assert imported.read_predictions(saved(dead, tmp_path)).predictions["kept"][2, 4] == 0
    comma = long.assign(prediction=long["prediction"].astype(str).mask(hole, "95,5"))
    refused(comma, tmp_path, "prediction: not numbers: '95,5' (line 726)")


def test_what_is_no_known_layout_is_refused(small, long, tmp_path):
    wide = as_wide(*small)
    refused(long.drop(columns="ground_truth"), tmp_path, "'ground_truth'] are missing", "Expected")
    refused(long.drop(columns="angle"), tmp_path, "no known layout", "sample_id, model, prediction")
    refused(long.rename(columns={"sample_id": "eye"}), tmp_path, "['sample_id'] are missing")
    samples, label, predictions = small
    own = synthetic.frame("a", samples, next(iter(predictions.values())), label)
    own = own.drop(columns="target")
    with pytest.raises(
        ValueError, match=r"predictions.parquet: columns \['ground_truth'\] are miss"
    ):
        imported.read_predictions(saved(own, tmp_path, "predictions.parquet"))
    refused(long.assign(eye_id="1"), tmp_path, "mean the same: sample_id (sample_id, eye_id)")
    refused(wide.drop(columns=["prediction_7", "prediction_8"]), tmp_path, "prediction_7", "_8")
    refused(wide.assign(ground_truth_360=1.0), tmp_path, "ground_truth_360", "0° again")
    refused(wide.assign(pred_005=1.0), tmp_path, "prediction_5 and pred_005 are the same angle")
    refused(pd.concat([wide, wide.iloc[[3]]]), tmp_path, "more than one row: p002-OD")
    refused(wide.iloc[:1], tmp_path, "one sample only")
    refused(long.iloc[:0], tmp_path, "no rows")
    bars = tmp_path / "bars.csv"
    bars.write_text("sample_id;angle;prediction;ground_truth\n1;0;1,5;2\n")
    with pytest.raises(ValueError, match="1 samples have fewer than 360 angles"):
        imported.read_predictions(bars)
    for name in ("absent.csv", "notes.md"):
        (tmp_path / "notes.md").write_text("not a table")
        with pytest.raises(ValueError, match=rf"{name} cannot be read.*Expected a CSV"):
            imported.read_predictions(tmp_path / name)


# demographics


@pytest.fixture
def read(long, tmp_path):
    return imported.read_predictions(saved(long, tmp_path))


def people(samples, folder, **changed):
    frame = samples[["eye_id", "patient_id", "age", "sex", "race"]].assign(**changed)
    frame = frame.rename(columns={"eye_id": "sample_id"})
    return demographics.read_demographics(saved(frame, folder, "people.csv"))


def test_eyes_find_their_attributes_by_key(small, read, tmp_path):
    samples = small[0]
    found, notes = joined.join(read, people(samples.sample(frac=1, random_state=3), tmp_path))
    assert found["eye_id"].tolist() == read.keys["sample_id"].tolist()
    columns = ["eye_id", "patient_id", "age", "sex", "race"]
    pd.testing.assert_frame_equal(found[columns], samples[columns])
    assert found["laterality"].isna().all() and not notes


def test_keys_in_one_table_only_are_listed(small, read, tmp_path):
    samples = small[0]
    with pytest.raises(ValueError, match=r"1 of 14 samples of .*csv are absent: p001-OS\."):
        joined.join(read, people(samples[samples["eye_id"] != "p001-OS"], tmp_path))
    more = pd.concat([samples, samples.iloc[:2].assign(eye_id=["x1", "x2"])])
    with pytest.raises(ValueError, match=r"2 samples of demographics have no prediction: x1, x2\."):
        joined.join(read, people(more, tmp_path))
    found, notes = joined.join(read, people(more, tmp_path), allow_unpredicted=True)
    assert len(found) == 14 and "x1, x2" in notes[0]
    with pytest.raises(ValueError, match=r"2 samples are repeated: p000-OD, p001-OD"):
        people(pd.concat([samples, samples.iloc[:2]]), tmp_path)


def test_eyes_of_other_splits_need_no_prediction(small, read, tmp_path):
    more = pd.concat([small[0], small[0].iloc[:2].assign(eye_id=["x1", "x2"], patient_id="x")])
    more["age"] = 60.0
    split = np.where(more["patient_id"] == "x", "Train", "test")
    found, notes = joined.join(read, people(more, tmp_path, split=split))
    assert len(found) == 14 and not notes
    leak = people(more.assign(patient_id=more["patient_id"].replace("x", "p003")), tmp_path,
                  split=split)  # fmt: skip
    _, notes = joined.join(read, leak)
    assert "WARNING: 1 predicted patients" in notes[0] and "p003" in notes[0]
    _, notes = joined.join(read, people(small[0], tmp_path, split="train"))
    assert "of split train, not of test" in notes[0]


def test_lost_leading_zeros_are_recognised_and_not_mended(small, long, tmp_path):
    names = {name: f"{i:03d}" for i, name in enumerate(small[0]["eye_id"])}
    read = imported.read_predictions(saved(long.replace({"sample_id": names}), tmp_path))
    stripped = small[0].assign(eye_id=[str(i) for i in range(14)])
    with pytest.raises(ValueError, match=r"000, 001, 002, 003, 004 and 9 more.*leading zeros"):
        joined.join(read, people(stripped, tmp_path))


@pytest.mark.parametrize("spell", [str.upper, lambda one: one.replace("p", "ｐ")])
def test_ids_spelt_otherwise_are_named_beside_those_they_look_like(spell, small, read, tmp_path):
    other = small[0].assign(patient_id="x", sex=None, race=None, age=50.0)
    padded = other.assign(eye_id="\u200b" + other["eye_id"] + " ")
    assert len(joined.join(read, people(padded, tmp_path))[0]) == 14
    other["eye_id"] = other["eye_id"].map(spell)
    with pytest.raises(ValueError, match="14 of them match once leading zeros, case") as caught:
        joined.join(read, people(other, tmp_path))
    assert f"p000-OD is {spell('p000-OD')}" in str(caught.value)


def test_people_are_said_who_look_like_one_and_refused_where_they_are_of_two_sexes(
    small, read, tmp_path
):
    twin = small[0].assign(patient_id=small[0]["patient_id"].replace("p001", " P00 0"))
    twin = twin.assign(race=None, sex=None)
    _, notes = joined.join(read, people(twin, tmp_path))
    assert any("P00 0/p000" in note for note in notes)
    sexes = small[0].assign(sex=np.resize(["F", "M"], 14))
    with pytest.raises(ValueError, match=r"people\.csv\): sex of \d patients differs.*p001 \("):
        joined.join(read, people(sexes, tmp_path), source="people.csv")


def test_patients_are_named_or_it_is_said_that_they_are_not(small, read, long, tmp_path):
    anonymous = people(small[0], tmp_path).drop(columns="patient_id")
    with pytest.raises(ValueError, match=r"no column patient_id.*--one-eye-per-patient"):
        joined.join(read, anonymous)
    found, notes = joined.join(read, anonymous, one_eye_per_patient=True)
    assert (found["patient_id"] == found["eye_id"]).all() and "patient of its own" in notes[0]
    found, notes = joined.join(read, None)
    assert (found["patient_id"] == found["eye_id"]).all()
    assert "No demographics" in notes[0] and "patient of its own" in notes[1]
    with pytest.raises(ValueError, match="patients are named"):
        joined.join(read, people(small[0], tmp_path), one_eye_per_patient=True)
    with pytest.raises(ValueError, match=r"patient_id is missing in 2 rows: line 4, 5"):
        people(small[0], tmp_path, patient_id=["a", "b", "", "", *"cdefghijkl"])
    owner = dict(zip(small[0]["eye_id"], small[0]["patient_id"], strict=True))
    named = imported.read_predictions(
        saved(long.assign(patient_id=long["sample_id"].map(owner)), tmp_path)
    )
    assert joined.join(named, None)[0]["patient_id"].nunique() == 8
    assert joined.join(named, anonymous)[0]["patient_id"].nunique() == 8
    with pytest.raises(ValueError, match=r"patient_id of 14 samples differs .*p000-OD"):
        joined.join(named, people(small[0], tmp_path, patient_id="x"))


def test_spellings_are_mapped_or_listed_with_the_valid_ones(small, tmp_path):
    n = len(small[0])
    sexes = np.resize(["female", "M", "Male", "f", "", "unknown"], n)
    races = np.resize(["white", "Black or African American", "ASIAN"], n)
    found = people(small[0], tmp_path, sex=sexes, race=races)
    assert found["sex"].tolist()[:6] == ["F", "M", "M", "F", None, None]
    assert found["race"].tolist()[:3] == ["White", "Black", "Asian"]
    message = r"race has values '5' \(\d+\), 'caucasian\?' \(\d+\): expected Asian, Black, White"
    with pytest.raises(ValueError, match=message):
        people(small[0], tmp_path, race=np.resize(["5", "5", "caucasian?", "White"], n))
    with pytest.raises(ValueError, match=r"sex has values '0'.*expected F, M"):
        people(small[0], tmp_path, sex="0")
    with pytest.raises(
        ValueError, match=r"age in years, expected 0 to 120: p000-OD: 1961, p001-OD.* and 9 more"
    ):
        people(small[0], tmp_path, age=1961)
    with pytest.raises(ValueError, match=r"age: not numbers: '>89' \(line 2,"):
        people(small[0], tmp_path, age=">89")
    unknown = people(small[0], tmp_path, age=np.resize(["", "61", "unknown"], n))["age"]
    np.testing.assert_array_equal(unknown[:3], [np.nan, 61, np.nan])


def test_demographics_without_identifiers_are_refused(tmp_path):
    path = saved(pd.DataFrame({"age": [1.0]}), tmp_path, "people.csv")
    with pytest.raises(ValueError, match=re.escape("no column sample_id or eye_id; found age")):
        demographics.read_demographics(path)


def test_unmirrored_left_eyes_are_noticed(tmp_path):
    # Temporally shifted humps, as real ones are: the mirror image differs.
    theta = np.arange(360)
    hump = 60 + sum(60 * np.exp(4 * (np.cos(np.deg2rad(theta - at)) - 1)) for at in (75, 290))
    samples = synthetic.eyes(12)
    label = hump + np.random.default_rng(0).normal(0, 3, (len(samples), 360))
    left = (samples["laterality"] == "OS").to_numpy()[:, None]
    wrong = np.where(left, geometry.mirror_profile(label), label)
    for profiles, named in ((label, []), (wrong, ["predictions of swapped"])):
        frame = as_long(samples, label, {"right": label, "swapped": profiles})
        read = imported.read_predictions(saved(frame, tmp_path))
        found, _ = joined.join(read, people(samples, tmp_path, laterality=samples["laterality"]))
        sides = {"right": read.predictions["right"]}
        sides |= {"predictions of swapped": read.predictions["swapped"]}
        told = [
            warning
            for name, one in sides.items()
            for warning in orientation.doubt_left_eyes(one, found["laterality"], name)
        ]
        assert [one.split(": ")[1] for one in told] == named
    none = found.assign(laterality=None)["laterality"]
    assert not orientation.doubt_left_eyes(read.predictions["swapped"], none, "x")
