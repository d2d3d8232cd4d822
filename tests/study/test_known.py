"""What backbones, targets of pretraining and eyes tell of the thickness by linear readers."""

import numpy as np

from analysis import conclusions
from rnfl.datasets import phantom
from rnfl.models.registry import WEIGHTS
from rnfl.runs.run import run
from rnfl.study import known
from rnfl.training.config import RunConfig


def test_no_target_of_pretraining_tells_the_thickness():
    table = known.of_targets(199).set_index("targets")
    # Of 199 eyes, correlations within 0.2 are chance. Of 600 eyes of the first phantom, classes
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
    table = known.readouts(
        ["phantom_scratch"], ["phantom-slo-60", "phantom-slo-60-gap0.0"], "serial"
    )
    assert table["gap"].tolist() == [0.0, 0.0, 1.0, 1.0] and set(table["camera"]) == {"SLO"}
    assert table["learnt"].tolist() == ["at this gap", "at gap 0"] * 2
    scores = table[["r_mean", "r_between", "mae"]]
    assert np.isfinite(scores).all(axis=None)
    # One reader at the near end, two at the far one.
    assert scores.loc[0].equals(scores.loc[1]) and not scores.loc[2].equals(scores.loc[3])
    own = run(RunConfig("phantom-slo-60", "phantom_scratch", "readout"), lambda row: None)
    assert table.loc[2, "mae"] == own.summary["test_mae"]
    targets, floors = known.of_targets(60), known.floors("phantom-slo-60")
    said = conclusions.known(table, targets, floors)
    assert said[0].startswith("SLO, readouts of frozen backbones learnt at this gap")
    assert "learnt at gap 0" in said[1] and "label-noise floor" in said[-1]


def test_photographs_are_told_apart_from_either_phantom_where_there_are_any(data_root):
    simulated = phantom.prepare("phantom-cfp-60")
    table = known.appearance(simulated, simulated).set_index("eyes")  # taken for real ones
    n = simulated.samples["patient_id"].nunique()
    assert table["n"].to_dict() == {"phantom 1": 60, "phantom 2": n}
    assert table.loc["phantom 2", "auc"] < 0.6 < 0.9 < table.loc["phantom 1", "auc"]
    nothing = known.appearance(None, simulated)
    assert nothing.empty and "was not asked" in conclusions.appearance(nothing)


def test_backbones_at_hand_are_those_whose_files_are_here():
    names = known.at_hand()
    packaged = {path.stem for path in WEIGHTS.glob("*.safetensors")}
    assert names[0] == "phantom_scratch" and packaged - {"phantom_slo_ddpm"} < {*names}
    assert "retfound_mae_naturecfp" not in names
