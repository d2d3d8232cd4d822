"""What was learnt from few eyes: table, sentences and figure say what planted numbers say."""

import re

import numpy as np
import pandas as pd
import pytest

from analysis import conclusions, tables
from analysis.accuracy.learning import PLAINEST, YARDSTICK, gains, group_of
from analysis.accuracy.quadrants import paired_quadrants, quadrant_table
from analysis.figures import learning as drawing
from analysis.presentation import style
from analysis.resampling import Resampling
from rnfl.core.geometry import QUADRANTS
from rnfl.runs.results import RunResult
from rnfl.study import presets, small_data
from rnfl.training.config import RunConfig

START = RunResult(None, "a-run", RunConfig("phantom-cfp-64", "phantom_mae", "naive"))
WAYS = tuple(small_data.configs(presets.get("smoke"), "grape", START))
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
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def study(errors=None, draws=2, step=100):
    """Return quadrants, paired and gains of all ways, 14 µm off but for ``errors``.

    With a ``step`` of 0 ways of the same error make the same errors.
    """
    given = {"constant": 16.0, YARDSTICK: 14.0} | dict.fromkeys(WAYS, 14.0) | (errors or {})
    frames = {
        way: frame(np.random.default_rng(step * i), error, draws)
        for i, (way, error) in enumerate(given.items())
    }
    truth = frames["constant"].filter(like="true_")
    for one in frames.values():  # the same eyes for all
        for name in QUADRANTS:
            one[f"pred_{name}"] += truth[f"true_{name}"] - one[f"true_{name}"]
        one[truth.columns] = truth
    return (
        quadrant_table(frames, "GRAPE", Resampling(200)),
        paired_quadrants(frames, YARDSTICK, Resampling(200, 2000)),
        gains(frames, Resampling(200, 2000)),
    )


@pytest.fixture(scope="module")
def mixed():
    """Fine-tuned networks lose, the last readout wins, the start of networks gains."""
    return study({"fine-tuned": 17, "fine-tuned, phantom start": 15.5, WAYS[-1]: 12})


def test_every_way_has_a_group_and_a_look_of_its_own():
    every = ("constant", YARDSTICK, *WAYS)
    assert [group_of(way) for way in every].count("readouts") == 6
    assert set(every) <= set(style.LOOKS)
    looks = [style.look(way) for way in every]
    assert len({(one.colour, one.marker) for one in looks}) == len(every)
    assert set(PLAINEST.values()) <= set(WAYS)
    with pytest.raises(ValueError, match="wisdom"):
        group_of("wisdom")


def test_ways_are_compared_within_their_group(mixed):
    found = mixed[2].groupby("against", sort=False)["method"].apply(list)
    assert found["fine-tuned"] == ["fine-tuned, phantom start"]
    assert len(found["readout, random"]) == 5 and len(found["constant"]) == 9
    start = mixed[2].query("against == 'fine-tuned'").iloc[0]
    assert start["estimate"] == pytest.approx(-1.5, abs=0.2)


def test_table_has_a_row_per_way_with_its_paired_difference(mixed):
    wide = tables.learning_wide(*mixed[:2]).set_index("Way")
    assert list(wide.index) == ["constant", YARDSTICK, *WAYS]
    assert wide.loc[YARDSTICK, f"Against {YARDSTICK} (µm)"] == "—"
    difference = wide.loc[WAYS[-1], f"Against {YARDSTICK} (µm)"]
    assert re.fullmatch(r"−[12]\.\d\d \[−\d\.\d\d, −[12]\.\d\d\]", difference)
    assert wide.loc[WAYS[-1], "p (Holm)"] != "—" and wide.loc["constant", "R global"] == "—"
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
    quadrants, paired, gained = mixed
    best = conclusions.best_way(quadrants, paired)
    assert f"Lowest error of 8 ways: {WAYS[-1]}, 12" in best and "lower, −" in best
    counted, networks = conclusions.better_ways(paired)
    assert f"1 of 8 ways ({WAYS[-1]}); clearly worse: 2 (fine-tuned; fine" in counted
    assert networks.count("higher, +") == 2
    assert "phantom start: lower, −1" in conclusions.phantom_start(gained)
    assert "clearly better 1 of 5, clearly worse 0" in conclusions.pretrained_readouts(gained)
    assert "higher, +" in conclusions.yardsticks(quadrants, paired)
    learnt = conclusions.anything_learnt(gained)
    assert "8 of 9 ways" in learnt and learnt.endswith("not clearly: fine-tuned.")


def test_sentences_turn_round_with_the_numbers():
    errors = dict.fromkeys(WAYS, 18.0) | {YARDSTICK: 17.0, "fine-tuned": 12, "readout, random": 15}
    quadrants, paired, gained = study(errors)
    best = conclusions.best_way(quadrants, paired)
    assert "8 ways: fine-tuned, 12" in best and "lower, −" in best
    counted, networks = conclusions.better_ways(paired)
    assert "2 of 8 ways (fine-tuned; readout, random); clearly worse: 6" in counted
    assert "fine-tuned: lower" in networks and "phantom start: higher" in networks
    assert "phantom start: higher, +" in conclusions.phantom_start(gained)
    assert "better 0 of 5, clearly worse 5" in conclusions.pretrained_readouts(gained)
    assert "lower, −" in conclusions.yardsticks(quadrants, paired)
    assert "2 of 9 ways (fine-tuned; readout, random)" in conclusions.anything_learnt(gained)


def test_where_nothing_differs_nothing_is_claimed():
    quadrants, paired, gained = study({"constant": 14.0}, draws=1, step=0)
    assert "not distinguishable" in conclusions.best_way(quadrants, paired)
    assert "0 of 8 ways; clearly worse: 0." in conclusions.better_ways(paired)[0]
    assert "0 of 9 ways; not clearly: " in conclusions.anything_learnt(gained)
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
    chosen = paired["method"] == WAYS[-1]
    paired.loc[chosen, ["estimate", "low", "high", "p_holm"]] = -1.0, low, high, p
    assert words in conclusions.best_way(mixed[0], paired)
    assert (WAYS[-1] in conclusions.better_ways(paired)[0]) is (words == "lower, −1")


def test_luck_of_folds_names_every_way_of_several_draws(mixed):
    text = conclusions.luck_of_folds(mixed[0])
    assert "(2 draws, µm)" in text and all(f"{way} 0.0" in text for way in WAYS)


def test_figure_shows_every_way_and_fills_what_is_clear(mixed):
    with style.theme():
        figure = drawing.draw(*mixed[:2])
    error, difference, correlation = figure.axes
    names = [label.get_text() for label in error.get_yticklabels()]
    assert names[0] == "yardsticks" and len(names) == 3 + 10 and "classifier + depth" in names
    symbols = [line for line in difference.lines if line.get_marker() not in ("None", "")]
    hollow = [line.get_markerfacecolor() == "white" for line in symbols]
    assert len(symbols) == 10  # PCA + ridge marks the zero line
    assert hollow.count(True) == (mixed[1]["p_holm"] >= 0.05).sum()
    assert "95" not in error.get_title(loc="left") and "60 GRAPE eyes" in error.get_title("left")
    assert len([line for line in correlation.lines if line.get_marker() not in ("None", "")]) == 9
