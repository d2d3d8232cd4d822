"""Baselines: exact fold means, no leak between fellow eyes, and a linear signal that is found."""

import numpy as np
import pandas as pd
import pytest

from rnfl import datasets
from rnfl.core.splits import divide, fold_name, folds_by_patient
from rnfl.study import baselines

TRUE = ["true_S", "true_N", "true_I", "true_T"]
PRED = ["pred_S", "pred_N", "pred_I", "pred_T"]


def make(n_patients: int = 40, labels: str = "columns", order: slice = slice(None)):
    """Two eyes a patient; the brightness of each half of the crop carries the thickness."""
    rng = np.random.default_rng(0)
    upper, lower = rng.normal(0, 1, (2, n_patients)).repeat(2, axis=1)
    quadrants = np.stack([90 + 20 * upper, 70 + 0 * upper, 90 + 20 * lower, 65 + 5 * lower], axis=1)
    images = rng.integers(0, 20, (2 * n_patients, 56, 56, 3)) + 90.0
    images[:, :28] += 15 * upper[:, None, None, None]
    images[:, 28:] += 15 * lower[:, None, None, None]
    samples = pd.DataFrame(
        {
            "eye_id": [f"p{i // 2}-{'OD' if i % 2 == 0 else 'OS'}" for i in range(2 * n_patients)],
            "patient_id": [f"p{i // 2}" for i in range(2 * n_patients)],
            "laterality": ["OD", "OS"] * n_patients,
            "modality": "CFP",
            "split": "test",
        }
    )
    profiles = np.repeat(quadrants[:, [3, 0, 1, 2]], 90, axis=1)
    profiles = np.roll(profiles, -45, axis=1)
    if labels == "columns":
        samples[["rnfl_S", "rnfl_N", "rnfl_I", "rnfl_T"]] = quadrants
        profiles = np.full_like(profiles, np.nan)
    images = images.clip(0, 255).astype(np.uint8)
    fields = {"dataset": "made", "modality": "CFP", "phantom": True, "settings": {}}
    return datasets.write("made", images[order], profiles[order], samples[order], fields)


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))


def mae(frame):
    return np.abs(frame[PRED].to_numpy() - frame[TRUE].to_numpy()).mean()


def test_constant_is_the_mean_of_the_other_folds():
    prepared = make()
    frame = baselines.constant(prepared, k=5, seed=1)
    fold = folds_by_patient(prepared.samples["patient_id"], 5, 1)
    truth = prepared.samples[["rnfl_S", "rnfl_N", "rnfl_I", "rnfl_T"]].to_numpy()
    for i in range(5):
        np.testing.assert_allclose(
            frame.loc[fold == i, PRED], np.tile(truth[fold != i].mean(0), ((fold == i).sum(), 1))
        )


def test_quadrant_frame_columns():
    frame = baselines.pca_ridge(make(), k=4)
    assert list(frame) == ["run_id", "eye_id", "patient_id", *PRED, *TRUE, "fold", "inner_error"]
    assert set(frame["run_id"]) == {"pca_ridge"} and not frame.isna().any().any()
    assert set(baselines.constant(make(), k=4)["run_id"]) == {"constant"}


@pytest.mark.parametrize("baseline", [baselines.constant, baselines.pca_ridge])
def test_folds_are_those_of_runs(baseline):
    prepared = make(20)
    fold = baseline(prepared, k=5, seed=2)["fold"]
    for i in range(5):
        label = divide(prepared.samples, fold_name(i, 5, 2))
        assert ((label == "test").to_numpy() == (fold == i)).all()


def test_the_inner_error_is_that_of_folds_within_the_training_eyes():
    prepared = make(20)
    truth = prepared.samples[["rnfl_S", "rnfl_N", "rnfl_I", "rnfl_T"]].to_numpy()
    patients = prepared.samples["patient_id"].to_numpy()
    inner = folds_by_patient(patients, 5, 7)
    off = [np.abs(truth[inner == i] - truth[inner != i].mean(0)).sum() for i in range(5)]
    learnt = baselines.fit_constant(prepared.images, truth, patients, seed=7)
    assert learnt.error == pytest.approx(sum(off) / truth.size)
    better = baselines.fit_pca_ridge(prepared.images, truth, patients, seed=7)
    assert better.error < 0.5 * learnt.error
    frame = baselines.constant(prepared, k=4, seed=1, inner_seed=7)
    for i, rows in frame.groupby("fold"):
        train = (frame["fold"] != i).to_numpy()
        fitted = baselines.fit_constant(
            prepared.images[train], truth[train], patients[train], seed=7
        )
        assert rows["inner_error"].unique() == pytest.approx([fitted.error])


def test_an_eye_upside_down_is_another_example():
    prepared = make()
    truth = prepared.samples[["rnfl_S", "rnfl_N", "rnfl_I", "rnfl_T"]].to_numpy()
    patients = prepared.samples["patient_id"].to_numpy()
    taught = np.array(prepared.images)
    taught[:, 28:] = 100  # of these eyes the upper half alone says something, of S alone
    quadrants = truth * [1, 0, 0, 0] + [0, 70, 90, 65]
    shown = np.array(prepared.images)
    shown[:, :28] = 100
    predicted = baselines.fit_pca_ridge(taught, quadrants, patients)(shown)
    assert np.corrcoef(predicted[:, 2], truth[:, 2])[0, 1] > 0.9


def test_pca_ridge_finds_a_linear_signal_that_the_constant_cannot():
    prepared = make()
    assert mae(baselines.pca_ridge(prepared)) < 0.3 * mae(baselines.constant(prepared))


def test_images_without_signal_do_no_better_than_the_constant():
    prepared = make()
    noise = np.random.default_rng(1).integers(0, 255, prepared.images.shape).astype(np.uint8)
    object.__setattr__(prepared, "images", noise)
    assert mae(baselines.pca_ridge(prepared)) > 0.95 * mae(baselines.constant(prepared))


@pytest.mark.parametrize("baseline", [baselines.constant, baselines.pca_ridge])
def test_a_patients_labels_never_reach_their_own_predictions(baseline):
    prepared = make(20)
    before = baseline(prepared, k=5).set_index("eye_id")
    mine = prepared.samples["patient_id"] == "p3"
    prepared.samples.loc[mine, ["rnfl_S", "rnfl_I"]] = 500.0
    after = baseline(prepared, k=5).set_index("eye_id")
    eyes = ["p3-OD", "p3-OS"]
    np.testing.assert_allclose(after.loc[eyes, PRED], before.loc[eyes, PRED])
    assert (after.loc[eyes, "true_S"] == 500).all()


@pytest.mark.parametrize("baseline", [baselines.constant, baselines.pca_ridge])
def test_row_order_does_not_matter(baseline):
    straight = baseline(make(20), k=5).set_index("eye_id")
    reverse = baseline(make(20, order=slice(None, None, -1)), k=5).set_index("eye_id")
    np.testing.assert_allclose(reverse.loc[straight.index, PRED], straight[PRED], rtol=1e-3)


def test_labels_may_come_from_profiles():
    columns, profiles = baselines.constant(make()), baselines.constant(make(labels="profiles"))
    np.testing.assert_allclose(columns[PRED + TRUE], profiles[PRED + TRUE], rtol=1e-5)


def test_profiles_and_quadrants_of_one_dataset_are_one_truth():
    columns, profiles = make(), make(labels="profiles")
    mixed = profiles.samples.assign(**{f"rnfl_{name}": np.nan for name in "SNIT"})
    for name in "SNIT":  # eyes 0 to 9 have quadrants, the others profiles
        mixed.loc[:9, f"rnfl_{name}"] = columns.samples.loc[:9, f"rnfl_{name}"]
    labels = np.where(np.arange(80)[:, None] < 10, np.nan, profiles.profiles)
    fields = {"dataset": "made", "modality": "CFP", "phantom": True, "settings": {}}
    both = datasets.write("mixed", np.array(profiles.images), labels, mixed, fields)
    for baseline in (baselines.constant, baselines.pca_ridge):
        expected, found = baseline(columns, k=5), baseline(both, k=5)
        np.testing.assert_allclose(found[PRED + TRUE], expected[PRED + TRUE], rtol=1e-4)


@pytest.mark.parametrize("baseline", [baselines.constant, baselines.pca_ridge])
def test_eyes_without_a_quadrant_are_predicted_and_not_learnt_from(baseline):
    prepared = make(20)
    prepared.samples.loc[4, "rnfl_T"] = np.nan
    once = baseline(prepared, k=5)
    assert np.isfinite(once[PRED]).all(axis=None)
    assert once["true_T"].isna().tolist() == [i == 4 for i in range(40)]
    prepared.samples.loc[4, "rnfl_S"] = 500.0
    np.testing.assert_array_equal(baseline(prepared, k=5)[PRED], once[PRED])
    prepared.samples["rnfl_N"] = np.nan
    with pytest.raises(ValueError, match="made: of the 32 eyes of 4 folds none has all four"):
        baseline(prepared, k=5)


def test_too_few_patients_are_named():
    prepared = make(20)
    with pytest.raises(ValueError, match="30 folds"):
        baselines.constant(prepared, k=30)
    images, one = np.asarray(prepared.images[:2]), np.array(["p0", "p0"])
    with pytest.raises(ValueError, match="2 eyes of 1 patients to learn from: expected 2"):
        baselines.fit_pca_ridge(images, np.full((2, 4), 90.0), one)


def test_a_model_of_grey_images_reads_colour_ones_and_the_reverse():
    prepared = make()
    colour, grey = np.asarray(prepared.images), np.asarray(prepared.images)[..., 0]
    truth = prepared.samples[[f"rnfl_{name}" for name in "SNIT"]].to_numpy()
    patients = prepared.samples["patient_id"].to_numpy()
    spread = np.abs(truth - truth.mean(axis=0)).mean()
    for seen, shown in ((grey, colour), (colour, grey)):
        predicted = baselines.fit_pca_ridge(seen, truth, patients)(shown)
        assert np.abs(predicted - truth).mean() < 0.2 * spread
