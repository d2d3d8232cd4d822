"""Templates are found like scikit-learn finds them, with gaps too, and the same ones each time."""

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from synthetic_tables import eyes, frame, only, profiles, study

from analysis import collapse
from analysis.collapse import templates
from analysis.resampling import Resampling, bootstrap, conditions


def template_distance(pred, label, k=templates.K):
    """Return the mean distance to the nearest template where the label was measured."""
    return templates.distances(np.where(np.isfinite(label), pred, np.nan), k).mean()


def clusters(k=3, n=40, noise=2.0, seed=0):
    rng = np.random.default_rng(seed)
    centres = 80 + 15 * rng.normal(size=(k, 360))
    which = np.arange(n) % k
    return centres[which] + noise * rng.normal(size=(n, 360)), centres, which


def test_templates_are_those_of_scikit_learn():
    data, _, _ = clusters(k=4, n=60, noise=12.0)
    expected = KMeans(4, n_init=20, random_state=0).fit(data)
    found = templates.find_templates(data, 4)
    inertia = (templates.distance_to_nearest(data, found)[0] ** 2).sum() * 360
    assert inertia == pytest.approx(expected.inertia_, rel=1e-6)


def test_planted_templates_are_found_with_gaps_in_the_profiles():
    data, centres, which = clusters()
    data[np.random.default_rng(1).random(data.shape) < 0.3] = np.nan
    found = templates.find_templates(data, 3)
    order = np.abs(found[:, None] - centres).mean(axis=2).argmin(axis=1)
    assert sorted(order) == [0, 1, 2]
    assert np.abs(found - centres[order]).mean() < 1
    distance, nearest = templates.distance_to_nearest(data, found)
    assert (order[nearest] == which).all()
    assert distance.mean() == pytest.approx(2, rel=0.05)  # the planted noise


def test_the_same_data_give_the_same_templates_and_more_of_them_lie_nearer():
    truth, label = profiles(eyes(40), missing=0.05)
    np.testing.assert_array_equal(
        templates.find_templates(label, templates.K), templates.find_templates(label, templates.K)
    )
    near = [template_distance(truth, label, k) for k in (1, 2, 4, 8)]
    assert (np.diff(near) < 0).all()
    masked = np.where(np.isfinite(label), truth, np.nan)
    around_mean = np.sqrt(np.nanmean((masked - np.nanmean(masked, axis=0)) ** 2, axis=1)).mean()
    assert near[0] == pytest.approx(around_mean)


def test_starts_are_enough_for_few_eyes_and_as_they_were_for_many():
    for world in range(3):
        _, label = profiles(eyes(40, seed=world), seed=world, missing=0.05)
        few = label[:60]
        found = [templates.find_templates(few, templates.K, seed) for seed in range(4)]
        distance = [templates.distance_to_nearest(few, one)[0].mean() for one in found]
        assert max(distance) / min(distance) < 1.002
    assert [templates._n_starts(n, templates.K) for n in (300, 360, 5000)] == [templates.STARTS] * 3


def test_fewer_eyes_than_templates_are_no_number_and_wrong_counts_an_error():
    truth, label = profiles(eyes(2))
    assert len(truth) <= templates.K
    assert np.isnan(template_distance(truth, label))
    with pytest.raises(ValueError, match="expected 1 to"):
        templates.find_templates(truth, len(truth) + 1)


def test_the_interval_resamples_patients_with_the_templates_held():
    predictions, _, runs = study(n_patients=24, seeds=(42,))
    table = collapse.collapse_table(predictions, runs, Resampling(400, seed=5))
    row = only(table, protocol="naive", metric="template_distance")
    run = conditions.load_run(predictions, runs.run_id[0])
    each = templates.distances(np.where(np.isfinite(run.target), run.prediction, np.nan))
    expected = bootstrap.mean_interval(
        each, run.patients[run.codes], resampling=Resampling(400, seed=5)
    )
    assert (row["estimate"], row["low"], row["high"]) == pytest.approx(expected)
    assert np.isfinite(row["high"] - row["low"]) and row["low"] < row["high"]


def test_a_planted_collapse_keeps_the_eyes_and_knows_few_profiles():
    predictions, samples, runs = study()
    table, row = templates.plant(predictions, runs.run_id[0], k=3)
    original = conditions.load_run(predictions, runs.run_id[0])
    planted = conditions.load_run(table, templates.FEW)
    assert (planted.eye_ids == original.eye_ids).all()
    assert (planted.patients[planted.codes] == original.patients[original.codes]).all()
    assert len(np.unique(planted.prediction, axis=0)) == 3
    assert row["protocol"] == row["run_id"] == templates.FEW
    assert template_distance(planted.prediction, planted.target) == pytest.approx(0, abs=1e-4)
    reversed_rows = pd.concat([frame("r", samples, original.prediction, original.target)[::-1]])
    again, _ = templates.plant(reversed_rows.reset_index(drop=True), "r", k=3)
    np.testing.assert_array_equal(
        conditions.load_run(again, templates.FEW).prediction, planted.prediction
    )
