"""Gaps are joined by eye, cover every group, and stand beside what chance would give."""

import numpy as np
import pandas as pd
import pytest
from synthetic_tables import eyes, frame, only, profiles

from analysis import fairness

OPTIONS = {"n_boot": 200, "n_perm": 300}


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
    assert only(table, metric="gap_p", attribute="race")["estimate"] < 0.01
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
        table = fairness.fairness_table(predictions, samples, n_boot=20, n_perm=100)
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
