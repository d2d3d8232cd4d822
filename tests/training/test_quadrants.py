"""Learning from quadrant means: the loss, mixed datasets, missing quadrants, refusals, resuming."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from pytest import MonkeyPatch, approx, fixture, mark, raises
from safetensors.torch import load_file
from test_train import CONFIG, fit
from training_data import make_dataset, silent

import rnfl
from rnfl import datasets
from rnfl.core import geometry, metrics, schema
from rnfl.runs.run import run
from rnfl.training import batches, losses, predict

CPU = torch.device("cpu")
RUN = replace(CONFIG, dataset="tiny-quadrants", epochs=2, batch_size=5)


@fixture(scope="module")
def root(tmp_path_factory):
    with MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("data")
        patch.setenv("RNFL_DATA", str(folder))
        make_dataset(n=20)
        make_dataset("tiny-quadrants", n=20, quadrants=np.arange(20))
        make_dataset("tiny-mixed", n=20, quadrants=np.arange(0, 20, 2))
        yield folder


@fixture
def labels():
    rng = np.random.default_rng(0)
    prediction, profiles = rng.normal(90, 20, (2, 6, 360)).astype("float32")
    quadrants = rng.normal(90, 20, (6, 4)).astype("float32")
    profiles[3:] = np.nan
    quadrants[:3], quadrants[4, 1] = np.nan, np.nan
    return prediction, profiles, quadrants


def load(name, split="train"):
    prepared = datasets.load(name)
    return batches.load(prepared, prepared.subset(split), 112, CPU)


def test_quadrant_loss_is_the_error_of_the_profiles_quadrant_means(labels):
    prediction, _, quadrants = labels
    error = np.abs(geometry.quadrant_means(prediction).to_numpy() - quadrants)
    value = losses.quadrant_l1(torch.tensor(prediction), torch.tensor(quadrants))
    assert value.item() == approx(np.nanmean(error), rel=1e-5)


def test_each_eye_counts_once_whatever_its_label(labels):
    prediction, profiles, quadrants = map(torch.tensor, labels)
    loss = losses.supervised(prediction, profiles, quadrants, 10.0, 0.2)
    on_profiles = losses.combined(prediction[:3], profiles[:3], 10.0, 0.2)
    on_quadrants = losses.quadrant_l1(prediction[3:], quadrants[3:])
    assert loss.item() == approx((on_profiles.item() + on_quadrants.item()) / 2, rel=1e-5)
    alone = losses.supervised(prediction, profiles, None, 10.0, 0.2)
    assert torch.equal(alone, losses.combined(prediction, profiles, 10.0, 0.2))


def test_missing_quadrants_have_no_gradient(labels):
    _, profiles, quadrants = map(torch.tensor, labels)
    prediction = torch.tensor(labels[0], requires_grad=True)
    losses.supervised(prediction, profiles, quadrants).backward()
    nasal = torch.tensor(geometry.QUADRANTS["N"])
    assert (prediction.grad[4, nasal] == 0).all() and (prediction.grad[4, ~nasal] != 0).all()
    nothing = torch.full((2, 360), torch.nan)
    assert losses.supervised(torch.ones(2, 360), nothing, nothing[:, :4]).item() == 0


def test_quadrants_stand_in_only_where_a_profile_is_missing(root):
    assert load("tiny-slo").quadrants is None
    mixed, alone = load("tiny-mixed"), load("tiny-quadrants")
    truth = geometry.quadrant_means(datasets.load("tiny-slo").profiles).to_numpy()
    assert (mixed.target, alone.target) == ("profile", "quadrants")
    assert mixed.quadrants[1::2].isnan().all() and mixed.labels is mixed.profiles
    np.testing.assert_allclose(mixed.quadrants[::2], truth[:10:2], rtol=1e-5)
    np.testing.assert_allclose(alone.labels, truth[:10], rtol=1e-5)
    both = datasets.load("tiny-mixed")
    both.samples[[f"rnfl_{name}" for name in "SNIT"]] = 50.0
    quadrants = batches.measured_quadrants(both, np.arange(4))
    assert (quadrants[::2] == 50).all() and np.isnan(quadrants[1::2]).all()
    np.testing.assert_allclose(alone.take(torch.tensor([3]))[2][0], truth[3], rtol=1e-5)


def test_eight_eyes_can_be_overfitted_from_quadrants(root, tmp_path):
    eight = load("tiny-quadrants").select(torch.arange(8))
    config = replace(CONFIG, epochs=30, batch_size=8, lr_scale=10.0, augment=None, patience=30)
    _, progress = fit([eight, eight], tmp_path, config, dropout=0.0)
    truth = eight.quadrants.numpy()
    constant = metrics.quadrant_mae(np.tile(truth.mean(axis=0), (8, 1)), truth).mean()
    assert progress.best_row["val_mae"] < 0.5 * constant


def test_a_run_on_quadrants_says_so_and_measures_them(root):
    result = run(RUN, silent)
    samples = datasets.load("tiny-quadrants").samples
    frame = schema.quadrant_frame(result.predictions, samples)
    pred, true = (
        frame[[f"{side}_{name}" for name in "SNIT"]].to_numpy() for side in ("pred", "true")
    )
    assert result.summary["test_mae"] == approx(np.abs(pred - true).mean(), rel=1e-4)
    assert (result.summary["target"], result.summary["val_target"]) == ("quadrants", "quadrants")
    weights = load_file(result.model_path)
    train = samples.loc[samples["split"] == "train", [f"rnfl_{name}" for name in "SNIT"]]
    assert weights["target_mean"].item() == approx(train.to_numpy().mean(), rel=1e-5)


def test_a_mixed_run_measures_profiles_and_may_use_their_terms(root):
    result = run(replace(RUN, dataset="tiny-mixed", protocol="structured"), silent)
    assert (result.summary["target"], result.summary["n_train"]) == ("profile", 10)
    assert np.isfinite(result.history["train_loss"]).all()


@mark.parametrize(("protocol", "term"), [("structured", "pearson"), ("gradient_loss", "gradient")])
def test_terms_on_profiles_are_refused_without_profiles(root, protocol, term):
    with raises(ValueError, match=rf"'{protocol}' has .*{term}.*only quadrant means.*aggressive"):
        run(replace(RUN, protocol=protocol), silent)


def test_eyes_without_any_label_are_left_out_and_counted(root):
    prepared = datasets.load("tiny-quadrants")
    rows = prepared.subset("train")
    columns = [f"rnfl_{name}" for name in "SNIT"]
    prepared.samples.loc[rows[0], columns] = np.nan
    prepared.samples.loc[rows[1], columns[:3]] = np.nan
    assert batches.rows_by_split(prepared)["train"].tolist() == rows[1:].tolist()
    prepared.samples[columns] = np.nan
    with raises(ValueError, match="none of its 20 eyes has a profile or a quadrant"):
        batches.rows_by_split(prepared)


def test_validation_leaves_out_quadrants_that_nobody_measured(labels):
    prediction, _, quadrants = labels
    error = np.abs(geometry.quadrant_means(prediction).to_numpy() - quadrants)
    assert predict.mean_error(prediction, quadrants) == approx(np.nanmean(error), rel=1e-5)
    quadrants[:, 1] = np.nan
    assert np.isfinite(predict.mean_error(prediction, quadrants))
    assert np.isnan(predict.mean_error(prediction, quadrants * np.nan))


def test_continues_exactly_with_quadrants(root, tmp_path, monkeypatch):
    config = replace(RUN, seed=3, checkpoint_seconds=0.0)
    expected = run(config, silent)
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    make_dataset("tiny-quadrants", n=20, quadrants=np.arange(20))
    supervised, calls = losses.supervised, iter(range(1000))

    def fail_at_step_3(*args):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return supervised(*args)

    with monkeypatch.context() as patch:
        patch.setattr(losses, "supervised", fail_at_step_3)
        with raises(KeyboardInterrupt):
            run(config, silent)
    result = rnfl.run(config, silent)
    assert result.run_id == expected.run_id and result.folder != expected.folder
    weights = load_file(result.model_path)
    for name, value in load_file(expected.model_path).items():
        assert torch.equal(weights[name], value), name
    pd.testing.assert_frame_equal(result.predictions, expected.predictions, check_exact=True)
