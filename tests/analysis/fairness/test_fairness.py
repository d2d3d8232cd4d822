"""Gaps are joined by eye, cover every group, and stand beside what chance would give."""

import numpy as np
import pandas as pd
import pytest
from synthetic_tables import eyes, frame, only, profiles

from analysis import conclusions, fairness, published, tables
from analysis.fairness import gap_differences
from analysis.fairness.groups import Tally, grouping
from analysis.resampling import Resampling
from analysis.resampling.bootstrap import patient_codes
from rnfl.core import metrics

OPTIONS = {"resampling": Resampling(200, 300)}


def planted(shift, n_patients=40, change=None):
    """Return the fairness table of a model whose error is larger by ``shift`` in black eyes."""
    samples = eyes(n_patients)
    if change is not None:
        samples = change(samples)
    truth, _ = profiles(samples)
    extra = np.where(samples["race"] == "Black", shift, 0.0)[:, None]
    predictions = frame("m", samples, truth + 5 + extra, truth)
    predictions = predictions.assign(backbone="b", protocol="naive").sample(frac=1, random_state=4)
    return fairness.fairness_table(predictions, samples.sample(frac=1, random_state=5), **OPTIONS)


def test_a_planted_gap_is_found_whatever_the_row_order():
    table = planted(15.0)
    gap = only(table, metric="gap", attribute="race")
    assert gap["estimate"] == pytest.approx(15.0, abs=1e-4)
    assert only(table, metric="worst_group", attribute="race")["group"] == "Black"
    p = only(table, metric="gap_p", attribute="race")["estimate"]
    assert p == pytest.approx(
        1 / (OPTIONS["resampling"].n_perm + 1)
    )  # never 0: the data are one exchange
    assert only(table, metric="null_gap", attribute="race")["high"] < 15.0
    groups = table[(table["metric"] == "mae") & (table["attribute"] == "race")].set_index("group")
    assert groups["estimate"].to_dict() == pytest.approx({"Asian": 5, "Black": 20, "White": 5})
    assert groups["n"].sum() == only(table, metric="gap", attribute="mean")["n"]


def test_the_papers_gap_is_the_mean_over_attributes():
    table = planted(15.0)
    gaps = table[table["metric"] == "gap"].set_index("attribute")["estimate"]
    assert gaps["mean"] == pytest.approx(gaps[["age", "sex", "race"]].mean())


def test_chance_alone_gives_a_gap_like_the_null():
    p = []
    for seed in range(25):
        samples = eyes(30, seed)
        truth, _ = profiles(samples)
        patient = pd.factorize(samples["patient_id"])[0]
        error = np.random.default_rng(seed).gamma(4, 2, patient.max() + 1)[patient]
        predictions = frame("m", samples, truth + error[:, None], truth)
        predictions = predictions.assign(backbone="b", protocol="naive")
        table = fairness.fairness_table(predictions, samples, resampling=Resampling(20, 100))
        p.append(only(table, metric="gap_p", attribute="race")["estimate"])
    assert 0.3 < np.mean(p) < 0.7 and np.mean(np.array(p) < 0.1) <= 0.3


def test_small_and_absent_groups_are_rows_without_an_estimate():
    def change(samples):
        few = samples["patient_id"].isin(sorted(samples["patient_id"].unique())[:4])
        return samples.assign(race=np.where(few, "Asian", "White"), sex=None)

    table = planted(0.0, change=change)
    race = table[(table["metric"] == "mae") & (table["attribute"] == "race")].set_index("group")
    assert race["n"].to_dict() == {"Asian": 7, "Black": 0, "White": len(eyes(40)) - 7}
    assert race["estimate"].isna().to_dict() == {"Asian": True, "Black": True, "White": False}
    for attribute in ("race", "sex"):  # one group left, and none
        gap = only(table, metric="gap", attribute=attribute)
        assert np.isnan(gap["estimate"])
        assert np.isnan(only(table, metric="gap_p", attribute=attribute)["estimate"])
    worst = only(table, metric="worst_group", attribute="sex")
    assert worst["group"] == "none" and worst["n"] == 0


def test_ages_fall_in_the_papers_groups():
    ages = [39.999, 40, 59.999, 60, np.nan]
    assert fairness.age_group(ages).tolist() == ["<40", "40-60", "40-60", ">=60", ""]


def test_unknown_attributes_are_named():
    samples = eyes(12)
    predictions = frame("template", samples, *profiles(samples))
    with pytest.raises(ValueError, match=r"\['income'\].*severity"):
        fairness.fairness_table(predictions, samples, attributes=["income"])
    table = fairness.fairness_table(predictions, samples, attributes=["severity"], **OPTIONS)
    assert set(table["attribute"]) == {"severity", "mean"}


def test_shuffled_samples_change_nothing():
    samples = eyes(40)
    truth, _ = profiles(samples)
    predictions = frame("m", samples, truth + np.arange(len(samples))[:, None] % 7, truth)
    predictions = predictions.assign(backbone="b", protocol="naive")
    one = fairness.fairness_table(predictions, samples, **OPTIONS)
    for seed in range(3):
        shuffled = (t.sample(frac=1, random_state=seed) for t in (predictions, samples))
        pd.testing.assert_frame_equal(fairness.fairness_table(*shuffled, **OPTIONS), one)


def test_tiling_demographics_would_hide_a_gap_of_fifteen_micrometres():
    # The old script repeated the whole column of labels angle by angle while the data went eye by
    # eye, so that every eye was in every group in equal parts.
    samples = eyes(42).groupby("patient_id").head(1).reset_index(drop=True)
    error = np.where(samples["race"] == "Black", 20.0, 5.0)
    long = np.repeat(error, 360)
    tiled = pd.Series(long).groupby(np.tile(samples["race"], 360)).mean()
    assert np.ptp(tiled) == pytest.approx(0.0, abs=1e-9)
    predictions = frame(
        "m", samples, np.full((42, 360), 80.0) + error[:, None], np.full((42, 360), 80.0)
    )
    table = fairness.fairness_table(
        predictions.assign(backbone="b", protocol="p"), samples, **OPTIONS
    )
    assert only(table, metric="gap", attribute="race")["estimate"] == pytest.approx(15.0, abs=1e-4)


def test_equity_scaled_error_is_the_error_and_how_far_groups_lie_from_it():
    table = planted(15.0)
    groups = table[(table["metric"] == "mae") & (table["attribute"] == "race")]
    overall = np.average(groups["estimate"], weights=groups["n"])
    expected = overall + np.abs(groups["estimate"] - overall).sum()
    equity = only(table, metric="equity_mae", attribute="race")
    assert equity["estimate"] == pytest.approx(expected)
    assert equity["low"] <= equity["estimate"] <= equity["high"]
    null = only(table, metric="null_equity_mae", attribute="race")
    assert overall < null["estimate"] < null["high"] < equity["estimate"]
    same = planted(0.0)  # every eye errs alike: nothing to scale, and nothing by chance
    for metric in ("equity_mae", "null_equity_mae"):
        assert only(same, metric=metric, attribute="race")["estimate"] == pytest.approx(5, abs=1e-4)


def test_bias_has_a_sign_where_error_has_none():
    samples = eyes(40)
    truth, _ = profiles(samples)
    shift = np.where(samples["sex"] == "F", 4.0, -4.0)[:, None]
    predictions = frame("m", samples, truth + shift, truth).assign(backbone="b", protocol="naive")
    table = fairness.fairness_table(predictions, samples, **OPTIONS)
    bias = table[(table["metric"] == "bias") & (table["attribute"] == "sex")].set_index("group")
    assert bias["estimate"].to_dict() == pytest.approx({"F": 4.0, "M": -4.0}, abs=1e-4)
    assert only(table, metric="gap", attribute="sex")["estimate"] == pytest.approx(0, abs=1e-4)


def crossed(extra=8.0, **options):
    """Return the table of a model that errs more in black women only."""
    samples = eyes(60)
    truth, _ = profiles(samples)
    both = (samples["race"] == "Black") & (samples["sex"] == "F")
    predictions = frame("m", samples, truth + 5 + extra * both.to_numpy()[:, None], truth)
    predictions = predictions.assign(backbone="b", protocol="naive")
    return samples, fairness.intersections_table(predictions, samples, **OPTIONS, **options)


def test_an_intersection_is_found_where_two_attributes_meet():
    samples, table = crossed()
    assert set(table["attribute"]) == {"age × sex", "sex × race", "age × race", "mean"}
    worst = only(table, metric="worst_group", attribute="sex × race")
    assert worst["group"] == "F, Black" and worst["estimate"] == pytest.approx(13.0, abs=1e-4)
    assert only(table, metric="gap", attribute="sex × race")["estimate"] == pytest.approx(
        8, abs=1e-4
    )
    assert only(table, metric="gap_p_holm", attribute="sex × race")["estimate"] < 0.05
    assert "of 3 gaps over intersections" in conclusions.intersections(table)
    chosen = samples[(samples["race"] == "Black") & (samples["sex"] == "F")]
    place = {"attribute": "sex × race", "group": "F, Black"}
    assert only(table, metric="mae", **place)["n"] == len(chosen)
    assert only(table, metric="patients", **place)["estimate"] == chosen["patient_id"].nunique()


def test_small_intersections_are_counted_and_not_compared():
    samples, table = crossed(min_patients=11)
    groups = table[table["metric"] == "mae"]
    sizes = table[table["metric"] == "patients"].set_index(["attribute", "group"])["estimate"]
    for row in groups.itertuples():
        enough = row.n >= 10 and sizes[row.attribute, row.group] >= 11
        assert np.isfinite(row.estimate) == enough
    assert groups.groupby("attribute")["n"].sum().eq(len(samples)).all()  # none dropped
    assert groups["estimate"].isna().any()
    wide = tables.groups_wide(table, "b", "naive")
    assert len(wide) == len(groups) and (wide["MAE (µm)"] == "—").any()
    assert wide["Eyes"].astype(int).tolist() == groups["n"].tolist()


def test_exchanged_labels_keep_every_group_as_large_as_it_was():
    samples = eyes(50).sort_values("eye_id")
    samples["sex"] = samples["sex"].where(np.arange(len(samples)) % 11 > 0, None)
    _, codes = patient_codes(samples["patient_id"])
    measured = np.arange(len(samples)) % 13 > 0
    groups = [grouping(samples, name) for name in ("sex", ("sex", "race"))]
    tally = Tally(groups, codes, measured)
    moved = tally.permutations(40, seed=0)
    assert (np.sort(moved, axis=1) == np.arange(50)).all() and (moved != np.arange(50)).any()
    assert (tally.eyes[moved] == tally.eyes).all()
    ones = np.ones((1, len(samples)))
    assert tally.permuted(ones, moved)[..., tally.n > 0] == pytest.approx(1.0)
    # Values that sit in one patient turn up whole, in one group.
    one = (codes == 3).astype(float)[None]
    sums = tally.permuted(one, moved)[0, :, :2] * tally.n[:2]
    assert set(sums.sum(axis=1).round(9)) <= {0.0, float(tally.eyes[3])}


def test_eyes_without_a_target_are_in_no_group():
    samples = eyes(40)
    truth, _ = profiles(samples)
    blind = truth.copy()
    blind[:6] = np.nan
    predictions = frame("m", samples, truth + 5, blind).assign(backbone="b", protocol="naive")
    table = fairness.fairness_table(predictions, samples, **OPTIONS)
    sex = table[(table["metric"] == "mae") & (table["attribute"] == "sex")]
    assert sex["n"].sum() == len(samples) - 6
    assert sex["estimate"].tolist() == pytest.approx([5.0, 5.0], abs=1e-4)


def two_protocols(extra, seeds=(1, 2), n_patients=60):
    """Return predictions of a reference and of a model that errs more in black eyes, and runs."""
    samples = eyes(n_patients)
    truth, _ = profiles(samples)
    made, runs = [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        base = 6 + rng.gamma(4, 0.5, len(samples))
        more = base + 0.1 * rng.normal(size=len(samples)) + extra * (samples["race"] == "Black")
        for name, error in (("aggressive", base), ("gradient_loss", more), ("structured", base)):
            run_id = f"{name}-{seed}"
            made.append(frame(run_id, samples, truth + np.asarray(error)[:, None], truth))
            runs.append({"run_id": run_id, "backbone": "b", "protocol": name, "seed": seed})
    return pd.concat(made, ignore_index=True), samples, pd.DataFrame(runs)


def test_a_widened_gap_is_found_and_the_claim_follows_it():
    printed = published.load("table1", "submission")
    found = gap_differences.gap_differences(*two_protocols(6.0), **OPTIONS)
    assert found.groupby("protocol")["attribute"].agg(list)["gradient_loss"][-1] == "mean"
    race = only(found, protocol="gradient_loss", attribute="race")
    assert race["low"] > 3 and race["p_holm"] < 0.05 and race["n_seeds"] == 2
    same = only(found, protocol="structured", attribute="race")
    assert same["estimate"] == 0 and same["p"] == 1.0 and same["low"] <= 0 <= same["high"]
    widens, narrows = conclusions.gap_claims(found, printed, True)
    assert "1.79 to 2.40" in widens and "phantom eyes that arises in 1 of 1" in widens
    assert "that is not shown" in narrows
    unchanged = gap_differences.gap_differences(*two_protocols(0.0), **OPTIONS)
    widens, _ = conclusions.gap_claims(unchanged, printed, False)
    assert "Here that is not shown" in widens and "phantom" not in widens
    wide = tables.gap_differences_wide(found)
    assert list(wide["Protocol"]) == ["gradient loss", "structured"]


def test_differences_turn_round_with_the_models():
    forth = gap_differences.gap_differences(*two_protocols(3.0), **OPTIONS)
    back = gap_differences.gap_differences(*two_protocols(3.0), against="gradient_loss", **OPTIONS)
    for attribute in ("age", "race", "mean"):
        one = only(forth, protocol="gradient_loss", attribute=attribute)
        other = only(back, protocol="aggressive", attribute=attribute)
        assert one["estimate"] == pytest.approx(-other["estimate"])
        assert one["low"] == pytest.approx(-other["high"])
        assert one["p"] == other["p"]


def test_without_a_reference_or_groups_nothing_is_claimed():
    predictions, samples, runs = two_protocols(0.0, seeds=(1,), n_patients=8)
    printed = published.load("table1", "submission")
    none = gap_differences.gap_differences(predictions, samples, runs, against="naive", **OPTIONS)
    assert none.empty and "p_holm" in none
    small = gap_differences.gap_differences(predictions, samples, runs, **OPTIONS)
    assert small.loc[small["attribute"] == "mean", "estimate"].isna().all()
    for found in (none, small):
        assert all("Not possible" in said for said in conclusions.gap_claims(found, printed, True))


def test_wide_tables_and_sentences_follow_the_alarm():
    printed = published.load("table1", "submission")
    for shift, word in ((15.0, "yes"), (0.0, "no")):
        table = planted(shift)
        wide = tables.fairness_wide(table)
        assert wide["Alarm"].tolist() == [word]
        said = conclusions.gaps_and_chance(table)
        assert said[0].startswith(f"{int(word == 'yes')} of 1 models raise an alarm")
        assert any("gap by race 15.00" in one and "Black" in one for one in said) == bool(shift)
        assert "1.57 to 2.40 µm" in conclusions.published_gaps(table, printed, True)
    assert list(tables.equity_wide(table).columns)[2:] == [
        "Age (µm)", "Age: null", "Sex (µm)", "Sex: null", "Race (µm)", "Race: null",
    ]  # fmt: skip
    none = conclusions.gaps_and_chance(planted(0.0))
    assert any("not shown, which is not none" in one and "µm by race" in one for one in none)

    def both_sexes(samples):  # a man's and a woman's eye in each patient
        two = samples[samples.groupby("patient_id")["eye_id"].transform("size") == 2]
        return two.assign(sex=np.where(two["eye_id"].str.endswith("OD"), "F", "M"))

    said = conclusions.gaps_and_chance(planted(15.0, change=both_sexes))
    assert "Gap by sex: no p and no null" in said[0] and "1 of 1 models" in said[1]
    tiny = planted(15.0, n_patients=5)
    assert "No gap can be tested" in conclusions.gaps_and_chance(tiny)[0]
    assert "too small" in conclusions.published_gaps(tiny, printed, True)
    assert tables.fairness_wide(tiny)["Alarm"].tolist() == ["—"]


def test_group_means_are_those_of_the_metric():
    samples = eyes(40)
    truth, label = profiles(samples, missing=0.05)
    predictions = frame("m", samples, truth, label).assign(backbone="b", protocol="naive")
    table = fairness.fairness_table(predictions, samples, **OPTIONS)
    for group, chosen in samples.groupby("race").groups.items():
        row = only(table, metric="mae", attribute="race", group=group)
        assert row["estimate"] == pytest.approx(metrics.mae(truth[chosen], label[chosen]), rel=1e-5)
