"""The freezing regression against NumPy, SciPy and the hat matrix, and on planted curves."""

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from planted_ablations import SHARES, freezing, planted
from scipy import optimize, stats
from synthetic_tables import eyes

from analysis.freezing import (
    HALF_LIFE,
    aicc,
    compare,
    linear,
    linear_band,
    power,
    saturating,
    saturating_band,
    slopes,
    step,
)
from analysis.published import ablations as published_ablations
from analysis.resampling import Resampling
from analysis.resampling.bootstrap import mean_interval
from rnfl.core import metrics, schema
from rnfl.study import ablations
from rnfl.training.protocols import settings

X = np.repeat([0, 100 / 6, 100 / 3, 50, 100], 3)
CURVES = {
    "constant": lambda x: 12 + 0 * x,
    "line": lambda x: 12 + 0.03 * x,
    "step": lambda x: 12 + 2.0 * (x > 0),
    "saturating": lambda x: 12 + 3 * (1 - np.exp(-x / 25)),
}


def points(x, mae, **more):
    return pd.DataFrame({"percent_frozen": x, "mae": mae, **more})


def noisy(curve, seed, sd=0.1, x=X):
    return points(x, CURVES[curve](x) + sd * np.random.default_rng(seed).standard_normal(len(x)))


def test_published_submission_points_give_104_and_086():
    table = published_ablations.freezing_points()
    line = linear(table[table.edition == "submission"])
    assert line.n == 4
    assert line.slope_per_10 == pytest.approx(1.04, abs=0.005)
    assert line.r_squared == pytest.approx(0.86, abs=0.005)
    assert line.low < 0 < 3.6 and line.high < 3.6  # the stated slope is outside the interval
    lines = published_ablations.freezing_lines(table).set_index("edition")
    assert lines.claimed_per_10["submission"] == 3.6
    assert lines.claimed_relative_per_10["submission"] == pytest.approx(360 / 19.25)
    assert (lines.r_squared_step > lines.r_squared_line).all()
    assert (lines.r_squared_saturating > lines.r_squared_line).all()


def test_published_changes_are_percent_of_the_unfrozen_error():
    table = published_ablations.freezing_points().set_index(["edition", "percent_frozen"])
    assert table.change_percent["submission", 50] == pytest.approx(100 * (24.80 / 19.25 - 1))
    assert table.change_percent["august", 50] == pytest.approx(100 * (23.71 / 19.25 - 1))
    loss = published_ablations.loss_points().set_index("lambda_pearson")
    assert loss.mae_change[0.5] == pytest.approx(100 * (24.80 / 19.76 - 1))
    assert loss.sigma_change[30] == pytest.approx(100 * (4.8 / 12.3 - 1))


@pytest.mark.parametrize("seed", range(3))
def test_line_agrees_with_polyfit_and_linregress(seed):
    data = noisy("saturating", seed)
    line, oracle = linear(data), stats.linregress(data.percent_frozen, data.mae)
    slope, intercept = np.polyfit(data.percent_frozen, data.mae, 1)
    assert [line.slope_per_10 / 10, line.intercept] == pytest.approx([slope, intercept])
    half = 10 * oracle.stderr * stats.t.ppf(0.975, len(data) - 2)
    assert line.high - line.slope_per_10 == pytest.approx(half)
    assert line.slope_per_10 - line.low == pytest.approx(half)
    assert line.p == pytest.approx(oracle.pvalue)
    assert line.r_squared == pytest.approx(oracle.rvalue**2)


def test_leverage_is_the_hat_matrix_and_cooks_distance_is_deletion():
    data = noisy("line", 1).sample(frac=1, random_state=0).iloc[:9]
    line = linear(data)
    design = np.column_stack([np.ones(len(data)), data.percent_frozen])
    hat = design @ np.linalg.inv(design.T @ design) @ design.T
    assert line.leverage == pytest.approx(np.diag(hat))
    assert line.leverage.sum() == pytest.approx(2)
    scale = 2 * line.rss / (len(data) - 2)
    for i in range(len(data)):
        without = linear(data.drop(data.index[i]))
        moved = without.at(data.percent_frozen) - line.at(data.percent_frozen)
        assert line.cooks[i] == pytest.approx(np.sum(moved**2) / scale)


def test_step_is_the_two_sample_t_test():
    data = noisy("step", 2)
    none, some = data.mae[data.percent_frozen == 0], data.mae[data.percent_frozen > 0]
    fit, oracle = step(data), stats.ttest_ind(some, none)
    limits = oracle.confidence_interval(0.95)
    assert fit.difference == pytest.approx(some.mean() - none.mean())
    assert [fit.low, fit.high, fit.p] == pytest.approx([limits.low, limits.high, oracle.pvalue])


def test_planted_saturating_curve_is_recovered_and_its_scale_identified():
    exact = saturating(points(X, CURVES["saturating"](X)))
    assert [exact.a, exact.b, exact.c] == pytest.approx([12, 3, 25], rel=1e-4)
    assert exact.half_life == pytest.approx(25 * np.log(2), rel=1e-4)
    fits = [saturating(noisy("saturating", seed)) for seed in range(60)]
    assert np.mean([fit.c for fit in fits]) == pytest.approx(25, rel=0.1)
    covered = np.mean([fit.c_low <= 25 <= fit.c_high for fit in fits])
    assert covered >= 0.88  # 95 % nominal; 60 draws have an SD of 2.8 %
    assert all(fit.identified for fit in fits)


@pytest.mark.parametrize("seed", range(4))
def test_saturating_fit_is_no_worse_than_curve_fit(seed):
    data = noisy("saturating", seed, sd=0.3)
    fit = saturating(data)
    best, _ = optimize.curve_fit(
        lambda x, a, b, c: a + b * (1 - np.exp(-x / c)), X, data.mae, p0=(12, 3, 25)
    )
    residual = data.mae - (best[0] + best[1] * (1 - np.exp(-X / best[2])))
    assert fit.rss == pytest.approx(np.sum(residual**2), rel=1e-6)
    assert fit.c == pytest.approx(best[2], rel=1e-2)


def test_scale_of_a_line_a_step_and_nothing_is_not_identified():
    line, jump = saturating(noisy("line", 0)), saturating(noisy("step", 0))
    assert not line.identified and line.c_high == np.inf and line.c_low > 0
    assert not jump.identified and jump.c_low == 0 and jump.c_high < 17
    assert not saturating(noisy("constant", 0)).identified


@pytest.mark.parametrize("planted", CURVES)
def test_aicc_prefers_the_planted_model(planted):
    tables = [compare(noisy(planted, seed)) for seed in range(20)]
    chosen = [table.loc[table.aicc.idxmin(), "model"] for table in tables]
    assert chosen.count(planted) >= 15, chosen
    assert all(table.weight.sum() == pytest.approx(1) for table in tables)
    assert all(table.delta.min() == 0 for table in tables)


def test_aicc_is_that_of_the_likelihood():
    data = noisy("line", 5)
    fit, n = smf.ols("mae ~ percent_frozen", data).fit(), len(data)
    assert linear(data).aicc == pytest.approx(-2 * fit.llf + 2 * 3 + 2 * 3 * 4 / (n - 3 - 1))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([], []),
        ([0], [12.0]),
        ([0, 0, 0], [12.0, 13, 14]),
        ([0, 50], [12.0, 13]),
        ([17, 50, 100], [12.0, 13, 13.5]),
        ([0, 0, 0, 50], [1.0, 2, 3, 5]),
        ([0, 17, 33, 50], [12.0, 12, 12, 12]),
        ([0, 10, 20, 30, 40], [1.0, 2, 3, 4, 5]),
        ([0, 10, 20, 30, 40], [1.0, 2, 2, 2, 2]),
    ],
)
def test_too_few_or_too_perfect_points_are_nan_and_no_warning(x, y):
    data = points(np.array(x, float), np.array(y, float))
    line, curve, table = linear(data), saturating(data), compare(data)
    assert line.n == curve.n == len(x) and len(line.leverage) == len(line.cooks) == len(x)
    assert table.weight.isna().all()
    assert not curve.identified or len(x) > 3
    if len(x) <= 2:
        assert np.isnan(
            [line.low, line.high, line.p, line.r_squared, line.aicc, line.rss * 0]
        ).any()
        assert np.isnan(line.r_squared)
    assert len(slopes.by_seed(data.assign(seed=42))["note"]) > 0


def test_points_are_checked():
    with pytest.raises(ValueError, match=r"\['mae'\] are missing"):
        linear(pd.DataFrame({"percent_frozen": [0.0]}))
    with pytest.raises(ValueError, match="row 1"):
        linear(points([0, 17.0], [12, np.nan]))
    with pytest.raises(ValueError, match="0 to 100"):
        saturating(points([0, 170.0], [12, 13.0]))


def test_bands_are_those_of_statsmodels_and_hold_the_truth():
    at, data = np.array([0.0, 40, 100]), noisy("line", 3)
    fit = smf.ols("mae ~ percent_frozen", data).fit()
    oracle = fit.get_prediction(pd.DataFrame({"percent_frozen": at})).conf_int()
    assert np.column_stack(linear_band(data, at)) == pytest.approx(oracle)
    hits = []
    for seed in range(40):
        low, high = saturating_band(noisy("saturating", seed), at, n_boot=200)
        hits.append((low <= CURVES["saturating"](at)) & (CURVES["saturating"](at) <= high))
    assert 0.88 <= np.mean(hits) <= 1  # 120 correlated checks of a nominal 95 %


@pytest.mark.parametrize("n_seeds", [2, 3, 10])
def test_slope_over_seeds_covers_random_slopes(n_seeds):
    """95 % nominal; 1,000 studies, SD 0.7 %. A random intercept alone covers 43 to 66 %."""
    rng, x, hits = np.random.default_rng(n_seeds), np.tile(np.array(SHARES) * 100, n_seeds), []
    seeds = np.repeat(range(n_seeds), len(SHARES))
    for _ in range(1000):
        steep, start = rng.normal(0.02, 0.02, n_seeds)[seeds], rng.normal(12, 0.3, n_seeds)[seeds]
        data = points(x, start + steep * x + rng.normal(0, 0.1, len(x)), seed=seeds)
        found = slopes.by_seed(data)
        hits.append(found["low"] <= 0.2 <= found["high"])
    assert 0.93 <= np.mean(hits) <= 0.97


def test_slope_over_seeds_is_that_of_the_mixed_model():
    rng, x, seeds = (
        np.random.default_rng(0),
        np.tile(np.array(SHARES) * 100, 6),
        np.repeat(range(6), 5),
    )
    steep = rng.normal(0.02, 0.02, 6)[seeds]
    data = points(x, 12 + steep * x + rng.normal(0, 0.1, len(x)), seed=seeds)
    found = slopes.by_seed(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its variances are near 0, its slope is what counts
        oracle = smf.mixedlm(
            "mae ~ x", data.assign(x=x / 100), groups=data.seed, re_formula="~x"
        ).fit()
    assert found["slope_per_10"] == pytest.approx(oracle.fe_params["x"] / 10, rel=1e-4)
    one = slopes.by_seed(data[data.seed == 0])
    assert one["note"] == "one seed: not possible" and np.isnan(one["slope_per_10"])


def test_power_is_the_share_of_studies_in_which_a_curve_is_seen():
    rise, half = 2.0, HALF_LIFE
    curve = rise * -np.expm1(-X * np.log(2) / half)

    def study(sd, seed):
        return points(X, 12 + curve + sd * np.random.default_rng(seed).standard_normal(len(X)))

    assert power(study(0.05, 1)) > 95 and power(study(3.0, 1)) < 50
    assert np.isnan(power(points([0.0, 50, 100], [12.0, 13, 14])))
    flat = points(X, 12 + 0.02 * X + 0.5 * np.random.default_rng(3).standard_normal(len(X)))
    within = flat.mae - flat.groupby("percent_frozen").mae.transform("mean")
    sd, height = np.sqrt(np.sum(within**2) / 10), linear(flat).slope_per_10 * 10
    chosen = []
    for seed in range(60):
        drawn = points(X, curve / curve.max() * height
                       + sd * np.random.default_rng(seed).standard_normal(len(X)))  # fmt: skip
        chosen.append(compare(drawn).aicc.idxmin() >= 2)
    assert 100 * np.mean(chosen) == pytest.approx(power(flat), abs=3 * 100 * 0.5 / np.sqrt(60))


def views(table, span=None):
    rows = table[(table.metric == "slope_per_10") & (table.span == (span or table.span.iloc[-1]))]
    return rows.set_index("model")


def test_views_share_the_slope_and_differ_in_what_they_cover():
    predictions, _, runs = freezing(sd=0.3)
    slope = views(
        slopes.regressions(slopes.run_points(predictions, runs), predictions, Resampling(300))
    )
    assert slope.estimate.to_numpy() == pytest.approx([slope.estimate.iloc[0]] * 4)
    # each eye has the same error here, so that patients add nothing and runs are everything
    assert slope.high["patients"] - slope.low["patients"] == pytest.approx(0, abs=1e-6)
    assert slope.high["patients and seeds"] - slope.low["patients and seeds"] > 0.01
    assert slope.n["line"] == len(runs) and slope.n["patients"] == 35
    assert slope.n_seeds["patients and seeds"] == 3


def test_patient_interval_covers_planted_slopes_of_patients():
    """Eyes of a patient share a slope; the mean over many such studies is covered."""
    hits = []
    for draw in range(40):
        rng = np.random.default_rng(draw)
        steep = rng.normal(0.02, 0.02, 40)

        def error(samples, x, steep=steep):
            return 6 + steep[pd.factorize(samples.patient_id)[0]] * x

        x = np.array([0.0, 50, 100])
        samples = eyes(40)
        errors = np.stack([error(samples, one) for one in x])
        of_eyes = 10 * slopes.slope_weights(x) @ errors
        _, low, high = mean_interval(of_eyes, samples.patient_id, Resampling(400, seed=draw))
        hits.append(low <= 0.2 <= high)
    assert np.mean(hits) >= 0.82  # 95 % nominal, 40 draws: SD 3.4 %


def test_eyes_of_one_patient_do_not_count_twice():
    def error(protocol, backbone, seed, samples):
        number = samples.patient_id.str[1:].astype(int).to_numpy()
        return 5 + (number % 7) * 0.005 * 100 * settings(protocol)["freeze_fraction"]

    predictions, _, runs = planted(ablations.freezing(SHARES), error, seeds=(42,))
    one_eye = predictions[predictions.eye_id.str.endswith("OD")]
    wide = {}
    for name, table in {"both": predictions, "one": one_eye}.items():
        points = slopes.run_points(table, runs)
        row = views(slopes.regressions(points, table, Resampling(400))).loc["patients"]
        wide[name] = row.high - row.low
    assert wide["both"] > 0.8 * wide["one"]


def test_regressions_have_the_papers_span_and_all_shares():
    predictions, _, runs = freezing(lambda x: 0.0 if x <= 50 else 5.0, backbones=("a", "b"), sd=0)
    table = slopes.regressions(slopes.run_points(predictions, runs), predictions, Resampling(50))
    assert list(dict.fromkeys(table.span)) == ["0 to 50 %", "0 to 100 %"]
    assert set(table.backbone) == {"a", "b"}
    here = table[table.backbone == "a"]
    assert views(here, "0 to 50 %").estimate["patients"] == pytest.approx(0, abs=1e-9)
    assert views(here).estimate["patients"] > 0.3
    relative = here[(here.metric == "relative_per_10") & (here.span == "0 to 100 %")].iloc[0]
    expected = 100 * views(here).estimate["line"] / 4
    assert relative.estimate == pytest.approx(expected, rel=1e-3)
    assert list(table.columns) == list(slopes.COLUMNS)
    skill = here[(here.metric == "skill_per_10") & (here.span == "0 to 100 %")].iloc[0]
    known = predictions[predictions.run_id == "template"]
    template = metrics.mae(*(schema.matrix(known, name) for name in ("prediction", "target")))
    assert skill.estimate == pytest.approx(100 * views(here).estimate["line"] / (template - 4))


def test_one_seed_or_three_runs_degrade_to_nan():
    predictions, _, runs = freezing(shares=(0, 1 / 2, 1), seeds=(42,))
    points = slopes.run_points(predictions, runs)
    table = slopes.regressions(points, predictions, Resampling(50))
    seeds = table[(table.model == "seeds") & (table.metric == "slope_per_10")]
    assert seeds.estimate.isna().all() and (seeds.note == "one seed: not possible").all()
    assert table[table.metric == "weight"].estimate.isna().all()
    curves = slopes.curves(points, n_boot=20)
    assert curves.groupby("model").size().to_dict() == {"line": 61, "saturating": 61}
    assert slopes.influence(points).leverage.sum() == pytest.approx(2)


def test_goodness_has_no_likelihood_for_an_exact_fit():
    y = np.array([1.0, 2, 4, 5, 7])
    assert np.isnan(aicc(0.0, y, 2)) and np.isnan(aicc(1.0, y[:4], 2))
    assert np.isfinite(aicc(1.0, y, 2))
