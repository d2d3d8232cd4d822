"""Collapse is seen between eyes, where the published spread cannot see it."""

import numpy as np
import pytest
from synthetic_tables import HUMP, eyes, frame, only, profiles, study

from analysis import collapse


@pytest.fixture(scope="module")
def world():
    return study()


@pytest.fixture(scope="module")
def table(world):
    predictions, _, runs = world
    return collapse.collapse_table(predictions, runs, n_boot=100)


def value(table, protocol, metric):
    return only(table, protocol=protocol, metric=metric)["estimate"]


def test_one_double_hump_for_every_eye_looks_healthy_only_as_published():
    samples = eyes(20)
    truth, _ = profiles(samples)
    predictions = frame("template", samples, np.tile(HUMP, (len(samples), 1)), truth)
    table = collapse.collapse_table(predictions, n_boot=50)
    assert value(table, "template", "sigma_flat") == pytest.approx(24.7, abs=0.1)
    assert value(table, "template", "sigma_between") == 0
    assert value(table, "template", "sigma_ratio") == 0
    assert value(table, "template", "template_share") == pytest.approx(1)
    assert np.isnan(value(table, "template", "calibration_slope"))


def test_targets_and_baselines_have_rows(table):
    assert list(dict.fromkeys(table["protocol"])) == [
        "template", "naive", "structured", "oracle floor", "target"
    ]  # fmt: skip
    assert value(table, "target", "sigma_ratio") == 1
    assert value(table, "target", "calibration_slope") == pytest.approx(1)
    assert value(table, "structured", "sigma_ratio") < 0.5 < value(table, "naive", "sigma_ratio")


def test_total_variance_adds_up(table):
    for protocol in table["protocol"].unique():
        flat, between, template = (
            value(table, protocol, f"sigma_{name}") for name in ("flat", "between", "template")
        )
        assert flat**2 == pytest.approx(between**2 + template**2)


def test_the_slope_undoes_a_planted_shrinkage():
    truth, label = profiles(eyes(30), missing=0.05)
    mean = truth.mean(axis=0)
    assert collapse.calibration_slope(mean + 0.5 * (truth - mean), truth) == pytest.approx(2)
    noisy = collapse.calibration_slope(mean + 0.5 * (truth - mean), label)
    assert noisy == pytest.approx(2, rel=0.05)


def test_curves_show_the_same_eyes_under_every_protocol(world):
    predictions, _, runs = world
    curves = collapse.curves_table(predictions, runs, n_eyes=6)
    assert curves.groupby("protocol")["panel"].apply(list).map(len).to_dict() == {
        "naive": 6, "structured": 6
    }  # fmt: skip
    first, second = (
        np.stack(list(curves[curves["protocol"] == name]["target"]))
        for name in ("naive", "structured")
    )
    np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="predicted are phantom_cls"):
        collapse.curves_table(predictions, runs, backbone="resnet")
