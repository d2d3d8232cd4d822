"""Ways of adapting to another camera: planted levels and responses come back as such."""

import re

import numpy as np
import pandas as pd
import pytest
from planted_cameras import PLANTED, statistics
from synthetic_tables import eyes, frame, profiles

from analysis import conclusions, tables
from analysis.accuracy import camera_shift
from analysis.resampling import Resampling


@pytest.fixture(scope="module")
def found():
    return statistics()


def test_a_level_is_bias_and_a_response_is_spread(found):
    table, _ = found
    at = table[(table["shots"] == 10) & (table["attribute"] == "all")]
    at = at.set_index(["protocol", "metric"])["estimate"]
    for way, (level, kept) in PLANTED.items():
        assert at[way, "bias"] == pytest.approx(level, abs=0.3)
        assert at[way, "sigma_ratio"] == pytest.approx(kept, abs=0.01)
    assert at["none", "mae"] > 20 > at["none+prior", "mae"] > at["full+prior", "mae"]


def test_a_dear_way_is_compared_with_the_cheap_one_at_its_own_shots(found):
    _, comparisons = found
    pairs = comparisons[comparisons["against"] == camera_shift.CHEAP]
    assert set(pairs["shots"]) == {10, 30}
    at = pairs[pairs["shots"] == 30].set_index("protocol")
    assert at.loc["full+prior", "high"] < 0 < at.loc["stage1+prior", "low"]
    assert at.loc["full+prior", "p_holm"] < 0.05


def test_the_table_begins_with_what_costs_nothing(found):
    wide = tables.camera_shift_wide(*found)
    ways = wide[wide["Shots"] == "10"]["Way"].tolist()
    assert ways[:2] == ["untouched", "Fourier (FDA)"]
    assert ways.index("MFM-DA, full") < ways.index("true photographs, labelled")
    assert wide.loc[0, "MAE, level matched (µm)"] != "—"


def test_sentences_say_who_beats_the_cheap_way(found):
    said = " ".join(conclusions.camera_shift(*found))
    assert "MFM-DA, full with matching beats it: −" in said
    assert "MFM-DA, stage 1 with matching loses to it: +" in said
    assert "with a bias of −30" in said


def test_matching_that_is_wrong_is_said_with_its_bias(found):
    table, _ = found
    sick = table.copy()
    off = (sick["protocol"] == "fourier+prior") & (sick["metric"] == "bias")
    sick.loc[off, ["estimate", "low", "high"]] = [12.0, 11.0, 13.0]
    said = conclusions.label_shift(table, sick)
    assert "90 % glaucoma" in said and "(bias +12.00 µm [+11.00, +13.00])" in said


def test_labels_that_are_kept_are_read_from_translations():
    samples = eyes(40)
    truth, label = profiles(samples)
    mean, made, rows = label.mean(axis=0), [], []
    made.append(frame("template", samples, np.tile(mean, (len(samples), 1)), label))
    made.append(frame("oracle", samples, truth, label))
    for way, kept in {"none": 0.2, "fourier": 0.8, "stage1": 0.0, "oracle": 0.9}.items():
        made.append(frame(f"{way}-read-0", samples, mean + kept * (label - mean) + 1, label))
        rows.append({"run_id": f"{way}-read-0", "backbone": "b", "protocol": way, "seed": 0})
    given = pd.concat(made, ignore_index=True), samples, pd.DataFrame(rows)
    table = camera_shift.performance_table(
        *given, resampling=Resampling(100), definitions=camera_shift.SHOWN
    )
    wide = tables.kept_labels_wide(table).set_index("Pictures")["MAE (µm)"]
    assert list(wide.index[:2]) == ["untouched", "Fourier (FDA)"] and "true photographs" in wide
    said = conclusions.kept_labels(table)
    errors = [float(one) for one in re.findall(r"(\d+\.\d+) µm", said)]
    assert "truly photographed" in said and errors[0] < errors[1] < errors[2]
