"""Collapse is seen between eyes, where the published spread cannot see it."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as oracle
from synthetic_tables import HUMP, eyes, frame, only, profiles, study

from analysis import collapse
from analysis.collapse import templates
from analysis.resampling import Resampling


@pytest.fixture(scope="module")
def world():
    return study()


@pytest.fixture(scope="module")
def table(world):
    predictions, _, runs = world
    return collapse.collapse_table(predictions, runs, Resampling(100))


def value(table, protocol, metric):
    return only(table, protocol=protocol, metric=metric)["estimate"]


def test_one_double_hump_for_every_eye_looks_healthy_only_as_published():
    samples = eyes(20)
    truth, _ = profiles(samples)
    predictions = frame("template", samples, np.tile(HUMP, (len(samples), 1)), truth)
    table = collapse.collapse_table(predictions, resampling=Resampling(50))
    assert value(table, "template", "sigma_flat") == pytest.approx(24.7, abs=0.1)
    assert value(table, "template", "sigma_between") == 0
    assert value(table, "template", "sigma_ratio") == 0
    assert value(table, "template", "response_slope") == 0
    assert value(table, "template", "template_distance") == pytest.approx(0, abs=1e-9)
    assert value(table, "template", "template_share") == pytest.approx(1)
    assert np.isnan(value(table, "template", "calibration_slope"))


def test_targets_and_baselines_have_rows(table):
    assert list(dict.fromkeys(table["protocol"])) == [
        "template", "naive", "structured", "oracle floor", "target"
    ]  # fmt: skip
    for metric in ("sigma_ratio", "response_slope", "calibration_slope", "template_distance_ratio"):
        assert value(table, "target", metric) == pytest.approx(1)
    assert value(table, "structured", "sigma_ratio") < 0.5 < value(table, "naive", "sigma_ratio")
    assert (table.groupby("protocol").size() == table["metric"].nunique()).all()


def test_total_variance_adds_up(table):
    for protocol in table["protocol"].unique():
        flat, between, template = (
            value(table, protocol, f"sigma_{name}") for name in ("flat", "between", "template")
        )
        assert flat**2 == pytest.approx(between**2 + template**2)


def test_the_slopes_find_a_planted_shrinkage():
    truth, label = profiles(eyes(30), missing=0.05)
    mean = truth.mean(axis=0)
    shrunk = mean + 0.5 * (truth - mean)
    assert collapse.calibration_slope(shrunk, truth) == pytest.approx(2)
    assert collapse.response_slope(shrunk, truth) == pytest.approx(0.5)
    assert collapse.calibration_slope(shrunk, label) == pytest.approx(2, rel=0.05)


def test_the_response_is_the_pooled_regression_and_noise_of_labels_lowers_it():
    truth, label = profiles(eyes(30), missing=0.05)
    pred = truth + np.random.default_rng(2).normal(0, 8, truth.shape)
    there = np.isfinite(label)
    x, y = np.where(there, pred, np.nan), label
    x, y = x - np.nanmean(x, axis=0), y - np.nanmean(y, axis=0)
    slope = oracle.linregress(y[there], x[there]).slope
    assert collapse.response_slope(pred, label) == pytest.approx(slope)
    spread = np.var(truth, axis=0).mean()
    expected = spread / (spread + 9)  # labels carry noise of 3 µm
    assert collapse.response_slope(truth, label) == pytest.approx(expected, rel=0.01)
    product = collapse.response_slope(pred, label) * collapse.calibration_slope(pred, label)
    assert product == pytest.approx(np.corrcoef(x[there], y[there])[0, 1] ** 2)


def test_a_few_templates_are_exposed_though_they_differ_between_eyes():
    samples = eyes(40)
    truth, label = profiles(samples)
    thin = (truth.mean(axis=1) < np.median(truth.mean(axis=1)))[:, None]
    two = np.where(thin, HUMP - 14, HUMP + 14)
    healthy = HUMP + 0.8 * (truth - HUMP)
    tables = [frame(name, samples, one, label) for name, one in (("two", two), ("ok", healthy))]
    runs = pd.DataFrame({"run_id": ["two", "ok"], "backbone": "b", "protocol": ["two", "ok"]})
    table = collapse.collapse_table(pd.concat(tables, ignore_index=True), runs, Resampling(200))
    assert value(table, "two", "sigma_ratio") > value(table, "ok", "sigma_ratio")  # looks healthier
    assert value(table, "two", "template_distance") == pytest.approx(0, abs=1e-6)
    ok = only(table, protocol="ok", metric="template_distance_ratio")
    assert 0.4 < ok["low"] < ok["estimate"] < ok["high"] < 1


def test_curves_show_the_same_eyes_from_thin_to_thick(world):
    predictions, _, runs = world
    few, row = templates.plant(predictions, runs.run_id[0])
    predictions = pd.concat([predictions, few], ignore_index=True)
    runs = pd.concat([runs, pd.DataFrame([row])], ignore_index=True)
    curves = collapse.curves_table(predictions, runs, n_eyes=8)
    assert curves.groupby("protocol", sort=False).size().to_dict() == dict.fromkeys(
        ("target", "template", "naive", "structured", "few templates"), 8
    )
    drawn = {name: np.stack(list(g["profile"])) for name, g in curves.groupby("protocol")}
    assert (np.diff(np.nanmean(drawn["target"], axis=1)) > 0).all()
    assert np.ptp(drawn["template"], axis=0).max() == 0
    assert len(np.unique(drawn["few templates"], axis=0)) <= templates.K
    # naive keeps 80 % of an eye: its rows must follow those of the labels
    r = np.corrcoef(np.nanmean(drawn["target"], axis=1), drawn["naive"].mean(axis=1))[0, 1]
    assert r > 0.99
    only_one = collapse.curves_table(predictions, runs, protocols=["naive"], n_eyes=8)
    assert "structured" not in set(only_one["protocol"])
    with pytest.raises(ValueError, match="predicted are phantom_cls"):
        collapse.curves_table(predictions, runs, backbone="resnet")


def judged(n_templates=None, kept=0.7, noise=0.0, n_patients=90):
    """Return the verdict on predictions of eyes that differ in ten ways, planted as told."""
    samples, rng = eyes(n_patients), np.random.default_rng(1)
    theta = np.deg2rad(np.arange(360))
    waves = np.vstack([f(k * theta) for k in range(1, 6) for f in (np.sin, np.cos)])
    truth = HUMP + rng.normal(0, 6, (len(samples), 10)) @ waves
    pred = HUMP + kept * (truth - HUMP)
    if n_templates:
        found = templates.find_templates(pred, n_templates)
        pred = found[templates.distance_to_nearest(pred, found)[1]]
    pred = pred + rng.normal(0, noise, pred.shape)
    runs = pd.DataFrame({"run_id": ["m"], "backbone": "b", "protocol": "p"})
    table = collapse.collapse_table(
        frame("m", samples, pred, truth + rng.normal(0, 2, truth.shape)), runs, Resampling(200)
    )
    return collapse.verdicts(table)["b", "p"]


def test_a_model_that_reads_every_eye_is_diverse_and_a_template_is_one():
    assert judged() == collapse.DIVERSE
    assert judged(kept=0.2) == judged(1) == collapse.ONE
    assert judged(n_patients=8) == collapse.UNDECIDED  # too few eyes for 16 templates


@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize("n_templates", [2, 3, 4, 8, 12, 16])
def test_no_number_of_few_templates_is_diverse(n_templates, noise):
    assert judged(n_templates, kept=1.0, noise=noise) in (collapse.ONE, collapse.REPEATS)
