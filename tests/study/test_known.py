"""What backbones, targets of pretraining and eyes tell of the thickness by linear readers."""

import numpy as np

from analysis import conclusions
from rnfl.datasets import phantom
from rnfl.study import known


def test_no_target_of_pretraining_tells_the_thickness():
    table = known.of_targets(300).set_index("targets")
    # Of 300 eyes, correlations within 0.2 are chance. Of 600 eyes of the first phantom, classes
    # (severity, size of the cup) gave 0.53, heights (made from the cup) 0.65.
    assert (table["r_between"].abs() < 0.2).all() and list(table.index) == ["classes", "heights"]


def test_floors_are_in_order(data_root):
    table = known.floors("phantom-slo-120").set_index("floor")
    assert table.loc["template", "mae"] > table.loc["noise-free cues", "mae"]
    assert table.loc["noise-free cues", "mae"] > table.loc["label noise", "mae"] > 3
    assert (
        table.loc["label noise", "n"]
        == (phantom.prepare("phantom-slo-120").samples.split == "test").sum()
    )


def test_readouts_of_each_gap_and_the_sentence(data_root):
    table = known.readouts(["phantom_scratch"], ["phantom-slo-60-gap0.0", "phantom-slo-60"])
    assert list(table["gap"]) == [0.0, 1.0] and set(table["camera"]) == {"SLO"}
    assert np.isfinite(table[["r_mean", "r_between", "mae"]]).all(axis=None)
    targets, floors = known.of_targets(60), known.floors("phantom-slo-60")
    said = conclusions.known(table, targets, floors)
    assert (
        said[0].startswith("SLO, readouts of frozen backbones") and "label-noise floor" in said[-1]
    )
