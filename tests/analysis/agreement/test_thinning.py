"""Thinned sectors are found as scikit-learn's ROC finds them, in resamples as in the data."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score, roc_curve
from synthetic_tables import eyes, frame, only, profiles, study

from analysis.agreement import thinning
from analysis.resampling import Resampling, bootstrap, conditions
from rnfl.core.geometry import SECTORS, sector_means
from rnfl.datasets import normative


def sensitivity_by_roc(score, thinned, specificity, weight=None):
    fpr, tpr, _ = roc_curve(thinned, -score, sample_weight=weight, drop_intermediate=False)
    return tpr[fpr <= 1 - specificity + 1e-9].max()


@pytest.mark.parametrize("decimals", [6, 0])  # 0: many equal scores
@pytest.mark.parametrize("specificity", [0.95, 0.8])
def test_detection_is_that_of_scikit_learn_weights_and_ties_included(decimals, specificity):
    rng = np.random.default_rng(4)
    thinned = rng.random(120) < 0.3
    score = np.round(rng.normal(0, 3, 120) - 3 * thinned, decimals)
    weights = rng.integers(0, 4, (6, 120)).astype(np.float32)
    weights[0] = 1
    found = (score < thinning.threshold(score, thinned, specificity))[thinned].mean()
    assert found == pytest.approx(sensitivity_by_roc(score, thinned, specificity))
    for row, area in zip(weights, thinning.auc(score, thinned, weights), strict=True):
        assert area == pytest.approx(roc_auc_score(thinned, -score, sample_weight=row))


def test_equal_scores_flag_nobody_and_are_chance():
    thinned = np.arange(40) < 12
    equal = np.full(40, 80.0)
    assert not (equal < thinning.threshold(equal, thinned)).any()
    assert thinning.auc(equal, thinned, np.ones((1, 40))).tolist() == [0.5]
    alone = thinning.auc(np.arange(3.0), np.ones(3, bool), np.ones((1, 3)))
    assert np.isnan(alone).all()


@pytest.fixture(scope="module")
def both():
    """Predictions of 60 patients to evaluate and of 60 others, and the runs."""
    predictions, _, runs = study(n_patients=120, missing=0.01)
    patients = sorted(set(predictions["patient_id"]))
    first = predictions["patient_id"].isin(patients[:60])
    return predictions[first], predictions[~first], runs


@pytest.fixture(scope="module")
def world(both):
    return both[0], None, both[2]


@pytest.fixture(scope="module")
def tuning(both):
    return both[1]


@pytest.fixture(scope="module")
def reference():
    truth, _ = profiles(eyes(100, seed=9), seed=9)
    return truth[truth.mean(axis=1) > 76]


@pytest.fixture(scope="module")
def table(world, reference, tuning):
    predictions, _, runs = world
    return thinning.thinning_table(predictions, reference, runs, Resampling(100), tuning=tuning)


def test_table_against_the_roc_of_each_run(world, reference, table, tuning):
    predictions, _, runs = world
    masks = thinning.BY_SECTOR
    cutoff = np.percentile(sector_means(reference, masks), 5, axis=0)
    for group in ("global", "TS", "N"):
        j = list(masks).index(group)
        found, reached, area, as_read = [], [], [], []
        for run_id in runs[runs.protocol == "structured"].run_id:
            run = conditions.load_run(predictions, run_id)
            pred, true = (sector_means(m, masks)[:, j] for m in (run.prediction, run.target))
            thinned = true < cutoff[j]
            other = conditions.load_run(tuning, run_id)
            score, label = (sector_means(m, masks)[:, j] for m in (other.prediction, other.target))
            passing = np.sort(score[label >= cutoff[j]])
            cut = passing[int(0.05 * len(passing) + 1e-9)]
            assert (passing < cut).mean() <= 0.05
            found.append((pred[thinned] < cut).mean())
            reached.append((pred[~thinned] >= cut).mean())
            area.append(roc_auc_score(thinned, -pred))
            as_read.append((pred[thinned] < cutoff[j]).mean())
        for metric, values in (
            ("sensitivity", found), ("auc", area), ("sensitivity_as_read", as_read)
        ):  # fmt: skip
            row = only(table, protocol="structured", metric=metric, group=group)
            assert row["estimate"] == pytest.approx(np.mean(values)), (metric, group)
            assert row["n"] == thinned.sum() and row["n_seeds"] == 2
        row = only(table, protocol="structured", metric="specificity_reached", group=group)
        assert row["estimate"] == pytest.approx(np.mean(reached)) and row["n"] == (~thinned).sum()
        limit = only(table, protocol="structured", metric="limit", group=group)
        assert limit["estimate"] == pytest.approx(cutoff[j]) and limit["n"] == len(reference)


def test_the_template_finds_nothing_and_the_oracle_nearly_all(table):
    measures = table.set_index(["protocol", "metric", "group"])["estimate"]
    for group in ("global", "TS", "TI"):
        assert measures["template", "auc", group] == 0.5
        assert measures["template", "sensitivity", group] == 0
        assert measures["oracle floor", "auc", group] > 0.95
        assert measures["oracle floor", "sensitivity", group] > measures["template", "auc", group]
    # a shrunken model ranks eyes almost as well, but reads hardly any as thin as they are
    assert measures["structured", "auc", "global"] > 0.9
    assert measures["structured", "sensitivity_as_read", "global"] < 0.3


def test_no_threshold_depends_on_the_eyes_that_are_evaluated(world, reference, tuning, table):
    """Where thinned eyes of the evaluated set look healthy, they are missed; no choice hides it."""
    predictions, _, runs = world
    key = ["protocol", "metric", "group"]
    lifted = predictions.assign(prediction=[one + 15 for one in predictions["prediction"]])
    again = thinning.thinning_table(lifted, reference, runs, Resampling(20), tuning=tuning)
    before, after = (one.set_index(key)["estimate"] for one in (table, again))
    for group in ("global", "TS", "TI"):
        for protocol in ("naive", "structured"):
            place = protocol, "sensitivity", group
            assert after[place] < 0.7 * before[place]
            assert after[protocol, "auc", group] == pytest.approx(before[protocol, "auc", group])
            assert (after[protocol, "specificity_reached", group]
                    >= before[protocol, "specificity_reached", group])  # fmt: skip
        assert after["naive", "limit", group] == before["naive", "limit", group]
    some = predictions[predictions["patient_id"] != predictions["patient_id"].iloc[0]]
    fewer = thinning.thinning_table(some, reference, runs, Resampling(20), tuning=tuning)
    assert only(fewer, protocol="naive", metric="limit", group="TS")["estimate"] == pytest.approx(
        before["naive", "limit", "TS"]
    )
    with pytest.raises(ValueError, match="60 patients are evaluated and set the thresholds"):
        thinning.thinning_table(predictions, reference, runs, Resampling(20), tuning=predictions)


def test_without_training_eyes_there_is_no_sensitivity_at_a_specificity(world, reference, table):
    predictions, _, runs = world
    bare = thinning.thinning_table(predictions, reference, runs, Resampling(100))
    gone = bare["metric"].isin(["sensitivity", "specificity_reached"])
    assert bare.loc[gone, "estimate"].isna().all()
    pd.testing.assert_frame_equal(bare[~gone], table[~gone])


def test_the_limits_may_come_from_the_band_of_a_run(reference, tmp_path):
    samples = pd.DataFrame({"severity": ["healthy"] * len(reference)})
    normative.band(reference, samples).to_csv(tmp_path / "reference.csv", index=False)
    read = thinning.read_reference(tmp_path / "reference.csv")
    known, banded = thinning.limits(reference), thinning.limits(read)
    assert list(known) == list(banded)
    for name, (limit, n) in known.items():
        assert banded[name] == (pytest.approx(limit), n)
    pd.DataFrame(reference).to_csv(tmp_path / "profiles.csv", index=False)
    np.testing.assert_allclose(thinning.read_reference(tmp_path / "profiles.csv"), reference)
    for named, factor in (("look like mm", 1e-3), ("found .* line 2 at 0°: -", -1)):
        pd.DataFrame(reference * factor).to_csv(tmp_path / "wrong.csv", index=False)
        with pytest.raises(ValueError, match=rf"wrong\.csv: .*{named}"):
            thinning.read_reference(tmp_path / "wrong.csv")
    with pytest.raises(ValueError, match=r"band is of all eyes with .*expected healthy"):
        thinning.limits(read.assign(population="all"))
    with pytest.raises(ValueError, match="expected healthy eyes alone, and p10"):
        thinning.limits(read, 10)
    pd.DataFrame(reference[:, ::2]).to_csv(tmp_path / "half.csv", index=False)
    with pytest.raises(ValueError, match="seen 180 points, 0 to 179; say --resample"):
        thinning.read_reference(tmp_path / "half.csv")
    assert thinning.read_reference(tmp_path / "half.csv", True).shape == reference.shape
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"other\.csv: expected the reference.csv of a run.*a, b"):
        thinning.read_reference(tmp_path / "other.csv")


def test_the_area_is_taken_again_in_each_resample_of_patients(world, reference, table):
    predictions, _, runs = world
    kept = runs[(runs.protocol == "naive") & (runs.seed == 42)]
    one = predictions[predictions.run_id.isin(kept.run_id)]
    found = thinning.thinning_table(one, reference, kept, resampling=Resampling(60, seed=3))
    row = only(found, metric="auc", group="TS")
    run = conditions.load_run(predictions, kept.run_id.iloc[0])
    pred, true = (
        sector_means(m, {"TS": SECTORS["TS"]})[:, 0] for m in (run.prediction, run.target)
    )
    cutoff = only(found, metric="limit", group="TS")["estimate"]
    counts = bootstrap.patient_counts(len(run.patients), 60, seed=3)
    rows = [np.repeat(np.arange(len(pred)), c[run.codes].astype(int)) for c in counts]
    auc = np.array([roc_auc_score(true[r] < cutoff, -pred[r]) for r in rows])
    widened = row["estimate"] + bootstrap.widening(len(run.patients)) * (auc - row["estimate"])
    expected = np.clip(bootstrap.interval(widened), 0, 1)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
    shares = table[table["metric"].isin([*thinning.METRICS, "thinned"])].dropna(subset="low")
    assert shares["low"].min() >= 0 and shares["high"].max() <= 1


def test_planted_blindness_in_one_sector_is_found_there_only(reference):
    samples = eyes(80)
    truth, _ = profiles(samples)
    blind = np.where(SECTORS["TS"], truth.mean(axis=0), truth)
    predictions = frame("r", samples, blind, truth).assign(backbone="b", protocol="p")
    table = thinning.thinning_table(predictions, reference, resampling=Resampling(50))
    auc = table[table.metric == "auc"].set_index("group")["estimate"]
    assert auc["TS"] == 0.5 and auc.drop("TS").min() > 0.9


def test_few_thinned_eyes_are_nan_rows_with_their_number(reference):
    samples = eyes(20)
    truth, _ = profiles(samples)
    truth = truth + 25
    truth[:4] -= 60
    predictions = frame("r", samples, truth, truth).assign(backbone="b", protocol="p")
    table = thinning.thinning_table(predictions, reference, resampling=Resampling(20))
    rows = table[table.metric.isin(thinning.METRICS) & (table.group == "TS")]
    assert rows["estimate"].isna().all() and len(rows) == 5
    assert only(table, metric="sensitivity", group="TS")["n"] == 4
    assert only(table, metric="thinned", group="TS")["estimate"] == pytest.approx(4 / len(samples))
    scarce = thinning.thinning_table(predictions, reference[:5], resampling=Resampling(20))
    assert scarce[scarce.metric == "limit"]["estimate"].isna().all()
    assert (scarce[scarce.metric == "limit"]["n"] == 5).all()


def test_the_reference_is_healthy_eyes_of_training_or_an_error():
    samples = eyes(40).assign(split=["train"] * 35 + ["test"] * 35)
    truth, _ = profiles(samples)
    found = thinning.healthy_profiles(samples, truth)
    wanted = (samples["severity"] == "healthy") & (samples["split"] == "train")
    np.testing.assert_array_equal(found, truth[wanted])
    for lacking in (samples.drop(columns="severity"), samples.assign(severity=None)):
        with pytest.raises(ValueError, match="give thinning_table profiles of healthy eyes"):
            thinning.healthy_profiles(lacking, truth)
    with pytest.raises(ValueError, match="expected as many"):
        thinning.healthy_profiles(samples, truth[:-1])


def test_a_wrong_reference_or_specificity_is_refused(world, reference):
    predictions, _, runs = world
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(m, 360\)"):
        thinning.thinning_table(predictions, np.ones((3, 4)), runs)
    with pytest.raises(ValueError, match="specificity 95"):
        thinning.thinning_table(predictions, reference, runs, specificity=95)


def test_the_order_of_rows_does_not_matter(world, reference, table, tuning):
    predictions, _, runs = world
    shuffled = predictions.sample(frac=1, random_state=0)
    again = thinning.thinning_table(shuffled, reference, runs, Resampling(100), tuning=tuning)
    key = ["backbone", "protocol", "metric", "group"]
    pd.testing.assert_frame_equal(
        again.sort_values(key, ignore_index=True), table.sort_values(key, ignore_index=True)
    )
