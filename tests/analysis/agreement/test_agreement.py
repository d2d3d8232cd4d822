"""Bland-Altman and error by thickness against hand computation and planted truths."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as oracle
from synthetic_tables import HUMP, eyes, frame, only, profiles, study

from analysis import agreement
from analysis.resampling import Resampling, bootstrap
from rnfl.core.geometry import QUADRANTS


@pytest.fixture(scope="module")
def world():
    return study(n_patients=30, missing=0.02)


@pytest.fixture(scope="module")
def table(world):
    predictions, _, runs = world
    return agreement.agreement_table(predictions, runs, Resampling(200))


def matrices(predictions, run_id):
    rows = predictions[predictions.run_id == run_id].sort_values("eye_id")
    return (np.stack(rows[name].to_list()).astype(float) for name in ("prediction", "target"))


def one(table, metric, group="global", protocol="naive"):
    return only(table, metric=metric, group=group, protocol=protocol)["estimate"]


@pytest.mark.parametrize("group", ["global", "S", "T"])
def test_statistics_are_those_computed_by_hand_and_by_scipy(world, table, group):
    predictions, _, runs = world
    ids = runs[runs.protocol == "naive"].run_id
    mask = QUADRANTS.get(group, np.ones(360, bool))
    by_hand = []
    for run_id in ids:
        pred, true = matrices(predictions, run_id)
        pred = np.where(np.isfinite(true), pred, np.nan)
        p, t = np.nanmean(pred[:, mask], axis=1), np.nanmean(true[:, mask], axis=1)
        d = p - t
        bias, sd = d.mean(), np.std(d, ddof=1)
        on_label = oracle.linregress(t, d).slope
        on_mean = oracle.linregress((p + t) / 2, d).slope
        by_hand.append(
            (bias, sd, bias - 1.96 * sd, bias + 1.96 * sd, on_label, on_mean, np.abs(d).mean())
        )
    found = [one(table, metric, group) for metric in agreement.BLAND_ALTMAN]
    assert found == pytest.approx(np.mean(by_hand, axis=0), rel=1e-6, abs=1e-6)


def test_a_template_has_slopes_minus_one_and_minus_two_and_a_small_bias(table):
    assert one(table, "slope_on_label", protocol="template") == pytest.approx(-1, abs=0.01)
    assert one(table, "slope_on_mean", protocol="template") == pytest.approx(-2, abs=0.01)
    assert abs(one(table, "bias", protocol="template")) < 1


def test_planted_bias_scatter_and_shrinkage_are_found():
    samples = eyes(300)
    truth, _ = profiles(samples)
    own = np.random.default_rng(3).normal(0, 5, (len(truth), 1))
    mean = truth.mean()
    pred = mean + 0.7 * (truth - mean) + 2.5 + own
    predictions = frame("r", samples, pred, truth).assign(backbone="b", protocol="p")
    table = agreement.agreement_table(predictions, resampling=Resampling(300))
    for metric, planted in (("bias", 2.5), ("slope_on_label", -0.3)):
        row = only(table, metric=metric, group="global")
        assert row["low"] < planted < row["high"]
    whole = truth.mean(axis=1)
    sd = np.hypot(5, 0.3 * whole.std())
    row = only(table, metric="limit_high", group="global")
    assert row["low"] < 2.5 + 1.96 * sd < row["high"]


def test_the_slope_on_the_mean_cannot_see_shrinkage_that_noise_makes_up_for():
    samples = eyes(300)
    truth, _ = profiles(samples)
    whole = truth.mean(axis=1, keepdims=True)
    own = np.random.default_rng(3).normal(0, np.sqrt(1 - 0.7**2) * whole.std(), whole.shape)
    predictions = frame("r", samples, truth - 0.3 * (whole - whole.mean()) + own, truth)
    table = agreement.agreement_table(
        predictions.assign(backbone="b", protocol="p"), resampling=Resampling(300)
    )
    on_mean, on_label = (
        only(table, metric=f"slope_on_{name}", group="global") for name in ("mean", "label")
    )
    assert on_mean["low"] < 0 < on_mean["high"] and on_label["high"] < -0.2


def test_intervals_resample_patients_and_seeds_are_averaged(world, table):
    row = only(table, metric="bias", group="global", protocol="naive")
    assert row["n_seeds"] == 2 and row["n"] == 52 and np.isfinite(row["seed_sd"])
    predictions, _, runs = world
    single = runs[runs.seed == 42]
    kept = predictions[predictions.run_id.isin([*single.run_id, "template", "oracle"])]
    alone = agreement.agreement_table(kept, single, resampling=Resampling(200))
    assert np.isnan(only(alone, metric="bias", group="global", protocol="naive")["seed_sd"])
    doubled = predictions[predictions.run_id == "template"]
    twin = doubled.assign(eye_id=doubled.eye_id + "b")  # the same patients measured twice
    both = agreement.agreement_table(
        pd.concat([doubled, twin], ignore_index=True), resampling=Resampling(500)
    )
    first = agreement.agreement_table(doubled, resampling=Resampling(500))
    ends = ["low", "high"]
    wide, narrow = (only(t, metric="bias", group="global")[ends] for t in (both, first))
    assert (wide - narrow).abs().max() == pytest.approx(0, abs=1e-6)  # no false certainty


def test_intervals_cover_the_planted_limits():
    """300 studies of 40 patients with alike eyes: the Monte-Carlo SE of 95 % is 1.3 %."""
    rng, patients, studies = np.random.default_rng(1), 40, 300
    planted = {"bias": 1.0, "sd": 7.0, "limit_low": 1 - 1.96 * 7, "limit_high": 1 + 1.96 * 7}
    hits = dict.fromkeys([*planted, "slope_on_label"], 0)
    codes = np.repeat(np.arange(patients), 2)

    def alike(sd, shared):
        own = rng.normal(0, np.sqrt(1 - shared), 2 * patients)
        return sd * (np.repeat(rng.normal(0, np.sqrt(shared), patients), 2) + own)

    for i in range(studies):
        deviation = alike(15, 0.7)
        difference = 1 - 0.3 * deviation + alike(np.sqrt(49 - 4.5**2), 0.6)
        columns = agreement._columns(85 + deviation + difference, 85 + deviation)
        by_patient = bootstrap.patient_sums(np.column_stack(list(columns.values())), codes)
        weights = np.vstack([np.ones(patients), bootstrap.patient_counts(patients, 300, i)])
        sums = dict(zip(columns, (weights @ by_patient).T, strict=True))
        found = agreement.bland_altman(sums, patients)
        for metric, value in (planted | {"slope_on_label": -0.3}).items():
            low, high = bootstrap.interval(found[metric][1:])
            hits[metric] += low <= value <= high
    assert all(0.91 <= hit / studies <= 0.98 for hit in hits.values()), hits


def test_too_few_eyes_are_nan_rows_with_their_number():
    samples = eyes(5)
    truth, label = profiles(samples)
    label[:, QUADRANTS["S"]] = np.nan
    predictions = frame("r", samples, truth, label).assign(backbone="b", protocol="p")
    table = agreement.agreement_table(predictions, resampling=Resampling(20))
    assert table["estimate"].isna().all() and table["n"].max() == len(samples) < agreement.MIN_EYES
    assert (table.loc[table["group"] == "S", "n"] == 0).all()


def test_points_are_what_the_statistics_rest_on(world, table):
    predictions, _, runs = world
    points = agreement.points_table(
        predictions, runs, [("phantom_cls", "naive"), ("—", "template")]
    )
    assert points.groupby("protocol").size().to_dict() == {"naive": 52, "template": 52}
    template = points[points.protocol == "template"]
    bias = (template["predicted"] - template["label"]).mean()
    assert bias == pytest.approx(one(table, "bias", protocol="template"), abs=0.01)


def by_thickness(shift, level="local", edges=None, n=60):
    samples = eyes(n)
    truth, _ = profiles(samples)
    predictions = frame("r", samples, truth + shift(truth), truth)
    predictions = predictions.assign(backbone="b", protocol="p")
    return agreement.thickness_table(
        predictions, level=level, resampling=Resampling(100), edges=edges
    )


def test_a_planted_floor_is_found_in_its_bin_and_nowhere_else():
    table = by_thickness(lambda t: np.where(t < 60, 12.0, 0.0))
    bias = table[table.metric == "bias"].set_index("group")["estimate"]
    assert bias["<40"] == pytest.approx(12, abs=1e-4) == bias["40–60"]
    assert bias.drop(["<40", "40–60"]).dropna().abs().max() < 1e-4
    mae = table[table.metric == "mae"].set_index("group")["estimate"]
    assert mae["40–60"] == pytest.approx(12, abs=1e-4)


@pytest.mark.parametrize("level", ["local", "quadrant", "global"])
def test_bins_hold_each_value_once_and_regression_to_the_mean_has_both_signs(level):
    table = by_thickness(lambda t: -0.4 * (t - 80), level)
    rows = table[table.metric == "bias"].dropna(subset="estimate")
    middle = table[table.metric == "thickness"].set_index("group")["estimate"]
    expected = -0.4 * (middle[rows["group"]] - 80)
    assert rows["estimate"].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-3)
    assert rows["estimate"].iloc[0] > 0 > rows["estimate"].iloc[-1]
    if level == "global":
        assert table[table.metric == "bias"]["n"].sum() == len(eyes(60))


def test_bins_are_by_the_label_with_edges_below_included():
    samples = eyes(12)
    label = np.full((len(samples), 360), 50.0)
    label[:, 0] = np.nan
    predictions = frame("r", samples, label * 0 + HUMP, label)
    predictions["prediction"] = [np.full(360, 90.0)] * len(samples)
    predictions = predictions.assign(backbone="b", protocol="p")
    table = agreement.thickness_table(
        predictions, level="local", resampling=Resampling(10), edges=(50, 70)
    )
    rows = table[table.metric == "bias"].set_index("group")
    assert rows.loc["50–70", "estimate"] == pytest.approx(40) and rows.loc["50–70", "n"] == 21
    assert rows.loc[["<50", "≥70"], "estimate"].isna().all()
    assert rows.loc[["<50", "≥70"], "n"].eq(0).all()


def test_unknown_levels_and_falling_edges_are_refused(world):
    predictions, _, runs = world
    with pytest.raises(ValueError, match=r"sector.*local, quadrant, global"):
        agreement.thickness_table(predictions, runs, level="sector")
    with pytest.raises(ValueError, match="rising"):
        agreement.thickness_table(predictions, runs, edges=(60, 60))
