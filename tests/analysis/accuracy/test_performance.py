"""Table 1 and Table 2: joined by key, clustered by patient, compared on the same eyes."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from synthetic_tables import eyes, frame, only, profiles, study

from analysis.accuracy import performance
from analysis.accuracy.quadrants import quadrant_table
from analysis.resampling import Resampling
from analysis.resampling.comparisons import holm
from analysis.resampling.conditions import conditions
from rnfl.core import metrics, schema


@pytest.fixture(scope="module")
def world():
    return study()


@pytest.fixture(scope="module")
def table(world):
    return performance.table1(*world, Resampling(200, 100))


def test_every_cell_has_every_metric_with_its_interval(table):
    schema.validate(table, "statistic")
    assert list(dict.fromkeys(table["protocol"])) == [
        "template", "naive", "structured", "oracle floor"
    ]  # fmt: skip
    overall = table[table["attribute"] == "all"]
    assert set(metrics.METRICS) | {"covered"} <= set(overall["metric"])
    mae = overall[overall["metric"] == "mae"]
    assert (mae["low"] < mae["estimate"]).all() and (mae["estimate"] < mae["high"]).all()
    assert mae["n_seeds"].tolist() == [1, 2, 2, 1]


def test_estimates_are_the_metrics_themselves_averaged_over_seeds(world, table):
    predictions, _, _ = world
    values = [
        metrics.mae(*(schema.matrix(rows, name) for name in ("prediction", "target")))
        for run_id, rows in predictions.groupby("run_id")
        if "structured" in run_id
    ]
    row = only(table, metric="mae", protocol="structured", attribute="all")
    assert row["estimate"] == pytest.approx(np.mean(values))
    assert row["seed_sd"] == pytest.approx(np.std(values, ddof=1))


def test_the_way_from_template_to_floor(table):
    covered = table[table["metric"] == "covered"].set_index("protocol")["estimate"]
    mae = table[(table["metric"] == "mae") & (table["attribute"] == "all")]
    mae = mae.set_index("protocol")["estimate"]
    assert covered["template"] == 0 and covered["oracle floor"] == 1
    way = (mae["template"] - mae["naive"]) / (mae["template"] - mae["oracle floor"])
    assert covered["naive"] == pytest.approx(way)
    assert covered["structured"] < 0.4 < covered["naive"]


def test_row_order_is_irrelevant(world, table):
    predictions, samples, runs = world
    again = performance.table1(
        predictions.sample(frac=1, random_state=2), samples.sample(frac=1, random_state=1), runs,
        resampling=Resampling(200, 100),
    )  # fmt: skip
    keys = ["protocol", "metric", "attribute", "group"]
    one, two = (t.set_index(keys)[["estimate", "low", "high"]] for t in (table, again))
    pd.testing.assert_frame_equal(one, two.loc[one.index], rtol=1e-9)


def test_strangers_are_refused(world):
    predictions, samples, runs = world
    with pytest.raises(ValueError, match="absent from samples"):
        performance.performance_table(predictions, samples.iloc[1:], runs, Resampling(10))
    with pytest.raises(ValueError, match="not listed there"):
        performance.performance_table(
            predictions, samples, runs.iloc[1:], resampling=Resampling(10)
        )
    fewer = predictions[~((predictions.run_id == runs.run_id[0]) & (predictions.index % 5 == 0))]
    with pytest.raises(ValueError, match="different eyes"):
        list(conditions(fewer, runs))


def test_paired_comparisons_find_a_planted_difference(world):
    predictions, _, runs = world
    found = performance.paired_comparisons(predictions, runs, resampling=Resampling(200, 500))
    row = only(found, protocol="structured", against="naive", metric="mae")
    assert row["low"] > 0 and row["p_holm"] < 0.05 and row["n_seeds"] == 2
    row = only(found, protocol="structured", against="naive", metric="sigma_between")
    assert row["high"] < 0 and row["p"] < 0.05
    against_template = only(found, protocol="naive", against="template", metric="mae")
    assert against_template["high"] < 0
    assert not ((found["protocol"] == "naive") & (found["against"] == "naive")).any()


def test_p_values_are_uniform_when_models_are_alike():
    samples, p = eyes(16), []
    truth, label = profiles(samples)
    for seed in range(80):
        rng = np.random.default_rng(seed)
        noise = rng.normal(0, 4, (2, len(samples), 1))  # an error of its own for each eye
        one, other = (frame(n, samples, truth + noise[i], label) for i, n in enumerate("ab"))
        predictions = pd.concat([one, other])
        runs = pd.DataFrame({"run_id": ["a", "b"], "backbone": "x", "protocol": ["naive", "b"]})
        found = performance.paired_comparisons(
            predictions,
            runs,
            against=["naive"],
            metrics=["mae"],
            resampling=Resampling(10, 200, seed),
        )
        p.append(found["p"].iloc[0])
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_holm_agrees_with_statsmodels():
    p = np.random.default_rng(0).uniform(0, 0.1, 9)
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert np.isnan(holm([0.01, np.nan])[1]) and holm([0.01, np.nan])[0] == 0.01


def quadrants(run_id="r", seed=0, missing=True):
    samples = eyes(20)
    rng = np.random.default_rng(seed)
    true = 80 + 20 * np.random.default_rng(9).normal(size=(len(samples), 4))
    pred = true + rng.normal(2, 5, true.shape)
    if missing:
        true[0, 1] = np.nan
    columns = {f"pred_{q}": pred[:, i] for i, q in enumerate("SNIT")}
    columns |= {f"true_{q}": true[:, i] for i, q in enumerate("SNIT")}
    ids = samples[["eye_id", "patient_id"]].assign(run_id=run_id)
    return pd.concat([ids, pd.DataFrame(columns)], axis=1)


def test_quadrant_errors_are_those_of_the_metrics():
    one = quadrants()
    table = quadrant_table({"m": one}, "phantom CFP", Resampling(100))
    pred, true = (one[[f"{side}_{q}" for q in "SNIT"]].to_numpy() for side in ("pred", "true"))
    mae = table[table["metric"] == "mae"].set_index("group")
    expected = metrics.quadrant_mae(pred, true)
    assert mae.loc[list("SNIT"), "estimate"].to_numpy() == pytest.approx(expected)
    assert mae.loc["mean", "estimate"] == pytest.approx(expected.mean())
    assert mae.loc["N", "n"] == len(one) - 1 == mae.loc["global", "n"]
    r = only(table, metric="r", group="S")["estimate"]
    assert r == pytest.approx(np.corrcoef(pred[:, 0], true[:, 0])[0, 1])
    bias = only(table, metric="bias", group="global")["estimate"]
    assert bias == pytest.approx(np.nanmean((pred - true).mean(axis=1)))
    assert (mae["low"] < mae["estimate"]).all() and (mae["estimate"] < mae["high"]).all()


def test_seeds_of_a_method_are_averaged_and_a_constant_has_no_correlation():
    both = pd.concat([quadrants("a", 1), quadrants("b", 2)])
    table = quadrant_table({"m": both, "constant": quadrants()}, "GRAPE", Resampling(50))
    single = [
        only(
            quadrant_table({"m": quadrants(name, seed)}, "GRAPE", Resampling(10)),
            metric="mae", group="S",
        )["estimate"]
        for name, seed in (("a", 1), ("b", 2))
    ]  # fmt: skip
    row = only(table, method="m", metric="mae", group="S")
    assert row["estimate"] == pytest.approx(np.mean(single)) and row["n_seeds"] == 2
    assert table[(table["method"] == "constant") & (table["metric"] == "r")].estimate.isna().all()
    with pytest.raises(ValueError, match="true_T"):
        quadrant_table({"m": both.drop(columns="true_T")}, "GRAPE")
