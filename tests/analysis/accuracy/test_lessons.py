"""Effects of one factor at a time: planted ones are found, and none where none is planted."""

import numpy as np
import planted_lessons
from pytest import approx

from analysis import conclusions, tables
from analysis.accuracy import lessons
from analysis.conclusions.claims import verdict
from analysis.resampling import Resampling

FEW = Resampling(200, 400)


def test_own_pictures_help_where_they_were_made_to():
    predictions, samples, runs = planted_lessons.starts()
    found = lessons.effects(
        predictions, runs, "pretraining", "none", ("start", "fraction"), FEW, ("mae",)
    )
    by = found.set_index(["start", "fraction"])
    assert by.loc[("random", 0.1), "estimate"] == approx(-1, abs=0.15)
    assert by.loc[("domain", 1.0), "estimate"] == approx(0, abs=0.15)
    words = {key: verdict(row) for key, row in by.iterrows()}
    assert words["random", 1.0] == "differs" and words["domain", 0.1] == "undecided"
    factors = ("start", "pretraining", "fraction")
    table = lessons.statistics(predictions, samples, runs, factors, FEW)
    wide = tables.lessons_wide("16_self_pretraining", table, found)
    assert len(wide) == 9 and (wide["Start"] == "template").sum() == 1
    own = wide[wide["Pretraining"] == "own pictures"]
    assert own["Pretraining, against none (µm)"].str.contains("−1.0|−0.9|−1.1").sum() == 2


def test_the_fraction_at_which_a_pretrained_start_equals_a_random_one():
    predictions, _, runs = planted_lessons.growing(crosses=0.2)
    found = lessons.reached(predictions, runs, FEW)
    assert found["said"] == "reached" and found["estimate"] == approx(0.2, rel=0.1)
    assert found["low"] < 0.2 < found["high"] and found["share_reached"] == 1
    assert "at 2" in conclusions.labels_saved(found)
    predictions, _, runs = planted_lessons.growing(crosses=3.0)
    never = lessons.reached(predictions, runs, FEW)
    assert never["said"] == "not reached" and np.isnan(never["estimate"])
    assert "at no fraction" in conclusions.labels_saved(never)
    predictions, _, runs = planted_lessons.growing(crosses=0.001)
    first = lessons.reached(predictions, runs, FEW)
    assert first["said"] == "below the smallest"
    assert "the least tried" in conclusions.labels_saved(first)


def test_passes_are_compared_with_steps_and_runs_arrive():
    predictions, _, runs = planted_lessons.growing()
    few = runs[runs["fraction"] < 1]
    found = lessons.effects(predictions, few, "equal", "steps", ("start", "fraction"), FEW)
    mae = found[found["metric"] == "mae"]
    assert len(mae) == 8 and mae["estimate"].to_numpy() == approx(1, abs=0.2)
    arrived = lessons.arrivals(planted_lessons.histories())
    assert (arrived["steps"] == 20).all() and (arrived["of"] == 30).all()


def test_a_mismatch_of_quality_is_found():
    table, found = lessons.by_quality(*planted_lessons.qualities(mismatch=3.0), FEW)
    mae = found[found["metric"] == "mae"]
    mix = mae[mae["question"] == "mix"].set_index(["start", "mix", "tested"])["estimate"]
    assert mix["domain", 0.0, "high"] == approx(3, abs=0.3)
    assert mix["random", 0.5, "low"] == approx(1.5, abs=0.3)
    start = mae[mae["question"] == "start"]["estimate"]
    assert start.to_numpy() == approx(-1, abs=0.3)
    heat = lessons.heat(table).set_index(["start", "mix", "test_mix"])["above_matched"]
    assert heat["domain", 1.0, 1.0] == 0
    assert heat["domain", 1.0, 0.0] == approx(3, abs=0.3)
    assert heat["domain", 1.0, 0.5] == approx(0, abs=0.4)  # linear: half of both is half way


def test_without_an_effect_of_quality_none_is_claimed():
    """In at most 5 % of worlds anything at all is said to differ."""
    few, claimed, n = Resampling(20, 400), 0, 25
    for seed in range(n):
        made = planted_lessons.qualities(mismatch=0.0, noise=1.0, seed=10 * seed)
        _, found = lessons.by_quality(*made, few)
        mae = found[found["metric"] == "mae"]
        mismatch = mae[mae["question"] == "mix"]
        claimed += any(verdict(row) == "differs" for _, row in mismatch.iterrows())
    assert claimed <= 4  # of 25 at 5 % each: more has a chance of 1 %


def test_thinking_longer_and_its_price():
    predictions, runs = planted_lessons.thinking()
    table = lessons.thinking(predictions, runs, FEW)
    at = table[table["metric"] == "mae"].set_index(["way", "passes"])["estimate"]
    assert at["views", 4] == approx(at["views", 1] - 0.4, abs=0.05)
    found = lessons.longer(predictions, runs, FEW)
    mae = found[found["metric"] == "mae"].set_index("look")
    assert mae.loc["views", "estimate"] == approx(-0.4, abs=0.05)
    assert mae.loc["rotations", "estimate"] == approx(0, abs=0.05)
    assert mae.loc["ensemble", "n_seeds"] == 1
    assert len(tables.thinking_wide(table, found)) == 5
    said = conclusions.thinking(found, table, 0.2)
    assert any("ceiling" in one for one in said) and "0.20" in said[-1]
