"""What was learnt from few eyes: table, sentences and figure say what planted numbers say."""

import re

import numpy as np
import pandas as pd
import pytest

from analysis import conclusions, tables
from analysis.accuracy import external, learning
from analysis.accuracy.learning import BASELINE, PLAINEST, SELECTED, gains, group_of
from analysis.accuracy.quadrants import quadrant_table
from analysis.figures import learning as drawing
from analysis.presentation import style
from analysis.resampling import Resampling
from rnfl.core.geometry import QUADRANTS
from rnfl.runs.results import RunResult
from rnfl.study import presets, small_data
from rnfl.training.config import RunConfig

START = RunResult(None, "a-run", RunConfig("phantom-cfp-64", "phantom_mae", "naive"))
METHODS = tuple(small_data.configs(presets.get("smoke"), "grape", START))
MANIFEST = {
    "name": "grape", "dataset": "grape", "phantom": False, "n": 95, "counts": {"patients": 53},
    "exclusions": [{"id": "a", "reason": "no photograph"}, {"id": "b", "reason": "no photograph"}],
}  # fmt: skip


def frame(rng, error, draws=2, n=60):
    """Return a quadrant frame whose mean absolute error is about ``error`` µm, two eyes a patient.

    Draws differ a little, as those of folds do.
    """
    truth = 90 + np.repeat(rng.normal(0, 12, (n // 2, 1)), 2, axis=0) + np.zeros((n, 4))
    sign = rng.choice([-1, 1], (n, 4))
    parts = []
    for draw in range(draws):
        off = sign * (error + rng.uniform(-0.5, 0.5, (n, 4)) + 0.05 * draw)
        parts.append(pd.DataFrame({
            "run_id": f"draw-{draw}",
            "eye_id": [f"e{i:03}" for i in range(n)],
            "patient_id": [f"p{i // 2:03}" for i in range(n)],
            **{f"pred_{name}": (truth + off)[:, j] for j, name in enumerate(QUADRANTS)},
            **{f"true_{name}": truth[:, j] for j, name in enumerate(QUADRANTS)},
            "fold": [i // 2 % 5 for i in range(n)],
            "inner_error": error,
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def study(errors=None, draws=6, step=100):
    """Return quadrants, paired, gains and chosen of all methods, 14 µm off but for ``errors``.

    With a ``step`` of 0 methods of the same error make the same errors.
    """
    given = {"constant": 16.0, BASELINE: 14.0} | dict.fromkeys(METHODS, 14.0) | (errors or {})
    frames = {
        name: frame(np.random.default_rng(step * i), error, draws)
        for i, (name, error) in enumerate(given.items())
    }
    truth = frames["constant"].filter(like="true_")
    for one in frames.values():  # the same eyes for all
        for name in QUADRANTS:
            one[f"pred_{name}"] += truth[f"true_{name}"] - one[f"true_{name}"]
        one[truth.columns] = truth
    for name in METHODS[:2]:
        frames[name]["inner_error"] = np.nan
    selected = learning.nested(frames)
    return (
        quadrant_table(frames | {SELECTED: selected}, "GRAPE", Resampling(200)),
        learning.against_baseline(frames, selected, Resampling(200, 2000)),
        gains(frames, Resampling(200, 2000)),
        learning.chosen_table(frames, selected),
    )


@pytest.fixture(scope="module")
def mixed():
    """Fine-tuned networks lose, the last readout wins, the start of networks gains."""
    return study({"fine-tuned": 17, "fine-tuned, phantom start": 15.5, METHODS[-1]: 12})


def test_every_method_has_a_group_and_a_look_of_its_own():
    methods = small_data.configs(presets.get("phantom"), "grape", START)  # those in fields too
    every = ("constant", BASELINE, *methods, SELECTED)
    assert set(METHODS) < set(methods)
    assert [group_of(name) for name in every].count("readouts") == 8
    assert set(every) <= set(style.LOOKS)
    looks = [style.look(name) for name in every]
    assert len({(one.colour, one.marker) for one in looks}) == len(every)
    assert set(PLAINEST.values()) <= set(METHODS)
    with pytest.raises(ValueError, match="wisdom"):
        group_of("wisdom")


def test_methods_are_compared_within_their_group(mixed):
    found = mixed[2].groupby("against", sort=False)["method"].apply(list)
    assert found["fine-tuned"] == ["fine-tuned, phantom start"]
    assert len(found["readout, random"]) == 5 and len(found["constant"]) == 9
    start = mixed[2].query("against == 'fine-tuned'").iloc[0]
    assert start["estimate"] == pytest.approx(-1.5, abs=0.2)


def test_table_has_a_row_per_method_with_its_paired_difference(mixed):
    wide = tables.learning_wide(*mixed[:2]).set_index("Method")
    assert list(wide.index) == ["constant", BASELINE, *METHODS, SELECTED]
    assert wide.loc[BASELINE, f"Against {BASELINE} (µm)"] == "—"
    difference = wide.loc[METHODS[-1], f"Against {BASELINE} (µm)"]
    assert re.fullmatch(r"−[12]\.\d\d \[−\d\.\d\d, −[12]\.\d\d\]", difference)
    assert wide.loc[METHODS[-1], "p (Holm)"] != "—" and wide.loc["constant", "R global"] == "—"
    assert float(wide.loc["constant", "S (µm)"]) == pytest.approx(16, abs=0.2)


def test_note_counts_eyes_patients_folds_and_the_left_out():
    text = tables.learning_note(MANIFEST, 10, (0, 1, 2))
    assert text == (
        "GRAPE: 95 eyes of 53 patients; 10 folds by patient, drawn 3 times (seeds 0, 1, 2). "
        "Left out: 2 with no photograph."
    )
    phantom = MANIFEST | {"name": "phantom-cfp-64-s1", "phantom": True, "exclusions": []}
    text = tables.learning_note(phantom, 3, (0,), "no files")
    assert "95 phantom eyes" in text and "drawn once (seed 0)" in text
    assert "Left out: none" in text and text.endswith(
        "A phantom stands in for real eyes: no files."
    )


def test_sentences_say_who_wins_and_who_loses(mixed):
    quadrants, paired, gained, _ = mixed
    best = conclusions.best_method(quadrants, paired)
    assert f"Lowest error of 8 methods: {METHODS[-1]}, 12" in best and "lower, −" in best
    counted, networks = conclusions.better_methods(paired)
    assert f"1 of 8 methods ({METHODS[-1]}); clearly worse: 2 (fine-tuned; fine" in counted
    assert networks.count("higher, +") == 2
    assert "phantom start: lower, −1" in conclusions.phantom_start(gained)
    assert "clearly better 1 of 5, clearly worse 0" in conclusions.pretrained_readouts(gained)
    assert "higher, +" in conclusions.baselines(quadrants, paired)
    learnt = conclusions.anything_learnt(gained)
    assert "8 of 9 methods" in learnt and learnt.endswith("not clearly: fine-tuned.")


def test_sentences_turn_round_with_the_numbers():
    errors = dict.fromkeys(METHODS, 18.0) | {
        BASELINE: 17.0,
        "fine-tuned": 12,
        "readout, random": 15,
    }
    quadrants, paired, gained, _ = study(errors)
    best = conclusions.best_method(quadrants, paired)
    assert "8 methods: fine-tuned, 12" in best and "lower, −" in best
    counted, networks = conclusions.better_methods(paired)
    assert "2 of 8 methods (fine-tuned; readout, random); clearly worse: 6" in counted
    assert "fine-tuned: lower" in networks and "phantom start: higher" in networks
    assert "phantom start: higher, +" in conclusions.phantom_start(gained)
    assert "better 0 of 5, clearly worse 5" in conclusions.pretrained_readouts(gained)
    assert "lower, −" in conclusions.baselines(quadrants, paired)
    assert "2 of 9 methods (fine-tuned; readout, random)" in conclusions.anything_learnt(gained)


def test_where_nothing_differs_nothing_is_claimed():
    quadrants, paired, gained, _ = study({"constant": 14.0}, draws=1, step=0)
    assert "not distinguishable" in conclusions.best_method(quadrants, paired)
    assert "0 of 8 methods; clearly worse: 0." in conclusions.better_methods(paired)[0]
    assert "0 of 9 methods; not clearly: " in conclusions.anything_learnt(gained)
    assert "drawn once" in conclusions.luck_of_folds(quadrants)


@pytest.mark.parametrize(
    ("low", "high", "p", "words"),
    [
        (-2.0, -0.2, 0.01, "lower, −1"),
        (-2.0, 0.1, 0.01, "lower by Holm's p alone, −1"),
        (-2.0, -0.2, 0.2, "lower by its interval alone, −1"),
        (-2.0, 0.1, 0.2, "not distinguishable, −1"),
    ],
)
def test_a_difference_is_clear_only_by_interval_and_p(mixed, low, high, p, words):
    paired = mixed[1].copy()
    chosen = paired["method"] == METHODS[-1]
    paired.loc[chosen, ["estimate", "low", "high", "p_holm"]] = -1.0, low, high, p
    assert words in conclusions.best_method(mixed[0], paired)
    assert (METHODS[-1] in conclusions.better_methods(paired)[0]) is (words == "lower, −1")


def test_each_fold_is_predicted_by_the_method_that_errs_least_within_the_others():
    frames = {name: frame(np.random.default_rng(i), 10 + i) for i, name in enumerate("abc")}
    for one in frames.values():  # a is best on the eyes reported on, which must not matter
        first = one["run_id"] == "draw-0"
        one["inner_error"] = np.where(first & one["fold"].isin([0, 1]), 9.0, 12.0)
    frames["c"].loc[frames["c"]["fold"] == 0, "inner_error"] = 1.0
    frames["b"].loc[frames["b"]["fold"] > 0, "inner_error"] = 2.0
    selected = learning.nested(frames)
    expected = pd.concat([frames["c"].query("fold == 0"), frames["b"].query("fold > 0")])
    columns = ["eye_id", *(f"pred_{name}" for name in QUADRANTS)]
    for draw, one in selected.groupby("run_id"):
        other = expected[expected["run_id"] == f"draw-{draw[-1]}"].sort_values("eye_id")
        pd.testing.assert_frame_equal(
            one.sort_values("eye_id")[columns].reset_index(drop=True),
            other[columns].reset_index(drop=True),
        )
    found = learning.chosen_table(frames, selected).set_index("method")
    assert found["chosen"].to_dict() == {"a": 0, "b": 8, "c": 2} and set(found["folds"]) == {10}
    shuffled = {
        name: one.sample(frac=1, random_state=1).sort_values("run_id", kind="stable")
        for name, one in frames.items()
    }
    again = learning.nested(shuffled).sort_values(["run_id", "eye_id"])
    np.testing.assert_array_equal(
        again[columns], selected.sort_values(["run_id", "eye_id"])[columns]
    )


def test_the_best_of_equals_looks_better_than_it_is_and_the_nested_choice_does_not():
    """Eight methods of one skill: by the table the lowest error, by folds any of them."""
    rng, apparent, nested = np.random.default_rng(0), [], []
    for _ in range(150):
        off = rng.normal(0, 10, (8, 60))
        frames = {}
        for i, one in enumerate(np.abs(off)):
            eyes = frame(np.random.default_rng(0), 0, draws=1)
            eyes[[f"pred_{name}" for name in QUADRANTS]] = np.repeat(off[i][:, None], 4, axis=1)
            eyes[[f"true_{name}" for name in QUADRANTS]] = 0.0
            eyes["inner_error"] = eyes["fold"].map(
                lambda fold, one=one, held=eyes["fold"]: one[held != fold].mean()
            )
            frames[f"readout, {i}"] = eyes
        apparent.append(np.abs(off).mean(axis=1).min())
        nested.append(learning.nested(frames)["pred_S"].abs().mean())
    truth = 10 * np.sqrt(2 / np.pi)
    sd = np.std(nested) / np.sqrt(len(nested))
    assert np.mean(apparent) < truth - 0.8 and abs(np.mean(nested) - truth) < 3 * sd + 0.3


def test_methods_that_divide_the_eyes_differently_cannot_be_chosen_from():
    a, b = (frame(np.random.default_rng(i), 10) for i in range(2))
    with pytest.raises(ValueError, match="differ in their eyes, folds"):
        learning.nested({"a": a, "b": b.assign(fold=(b["fold"] + 1) % 5)})
    with pytest.raises(ValueError, match="differ in their eyes, folds"):
        learning.nested({"a": a, "b": b[b["run_id"] == "draw-0"]})
    with pytest.raises(ValueError, match="none of a, b has an inner error"):
        learning.nested({k: one.assign(inner_error=np.nan) for k, one in (("a", a), ("b", b))})


def test_apparent_and_nested_stand_side_by_side(mixed):
    quadrants, paired, _, chosen = mixed
    wide = tables.selection_wide(quadrants, paired, chosen).set_index("Choice")
    assert wide.loc["apparent", "Method"] == METHODS[-1]
    assert wide.loc["nested", "Method"] == f"{METHODS[-1]} 30 (of 30 folds)"
    assert wide.loc["apparent", "Mean (µm)"] == wide.loc["nested", "Mean (µm)"]  # chosen throughout
    both, often = conclusions.selection(quadrants, paired, chosen)
    assert "One of 8 methods" in both and both.count("12.1 µm") == 2 and "lower, −" in both
    assert f"within 30 folds: {METHODS[-1]} in 30. Fine-tuned networks are no" in often
    row = paired[paired["method"] == SELECTED].iloc[0]
    assert row["p"] == row["p_holm"]


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        ((-1.4, -2.4, -0.5, 0.01), None, "cross-validation was not seen there; the cross"),
        ((-0.7, -1.5, 0.1, 0.1), None, "an advantage is shown by neither"),
        ((-1.4, -2.4, -0.5, 0.01), (-1.2, -2.0, -0.4, 0.01), "was seen there too"),
        ((-0.7, -1.5, 0.1, 0.1), (-1.2, -2.0, -0.4, 0.01), "an advantage was seen there alone"),
    ],
)
def test_what_other_subjects_say_follows_from_both_tables(mixed, here, there, words):
    quadrants, paired, others = mixed[0], mixed[1].copy(), external.load_external()
    ends = ["estimate", "low", "high", "p_holm"]
    paired.loc[paired["method"] == METHODS[-1], ends] = here
    if there:
        rows = (others["method"] == METHODS[-1]) & (others["against"] == BASELINE)
        others.loc[rows, ends] = there
    levels, compared = conclusions.other_subjects(others, quadrants, paired)
    assert "85 eyes" in levels and "16.85" in levels and "zero-shot, 23.91" in levels
    assert words in compared
    inside = (there or (0, -1.05, 0.93))[1] <= here[0]
    assert ("lies inside" if inside else "lies outside") in compared
    wide = tables.other_subjects_wide(others, quadrants, paired)
    assert len(wide) == 10 and "calibrated to the mean" in wide.attrs["caption"]
    assert wide["Cross-validated: mean (µm)"].ne("—").sum() == 4


def test_luck_of_folds_names_every_method_of_several_draws(mixed):
    text = conclusions.luck_of_folds(mixed[0])
    assert "(6 draws, µm)" in text and all(f"{name} 0." in text for name in METHODS)


def test_figure_shows_every_method_and_fills_what_is_clear(mixed):
    with style.theme():
        figure = drawing.draw(*mixed[:2], external.load_external())
    error, difference, correlation, level, apart = figure.axes
    names = [label.get_text() for label in error.get_yticklabels()]
    assert names[0] == "baselines" and len(names) == 4 + 11 and "classifier + depth" in names
    symbols = [line for line in difference.lines if line.get_marker() not in ("None", "")]
    hollow = [line.get_markerfacecolor() == "white" for line in symbols]
    assert len(symbols) == 11  # PCA + ridge marks the zero line
    assert hollow.count(True) == (mixed[1]["p_holm"] >= 0.05).sum()
    assert "95" not in error.get_title(loc="left") and "60 GRAPE eyes" in error.get_title("left")
    assert len([line for line in correlation.lines if line.get_marker() not in ("None", "")]) == 10
    names = [label.get_text() for label in level.get_yticklabels()]
    assert len(names) == 6 and names[-1] == "phantom SLO model, zero-shot"
    count = [
        sum(line.get_marker() not in ("None", "") for line in one.lines) for one in (level, apart)
    ]
    assert count == [10, 6]  # four methods are cross-validated too; differences but for PCA + ridge
    assert "85 eyes of other subjects" in level.get_title("left")
    with style.theme():
        alone = drawing.draw(*mixed[:2], external.load_external().head(0))
    assert len(alone.axes) == 3
