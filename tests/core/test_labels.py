"""What a label can be: units, codes, contradictions."""

import numpy as np
import pandas as pd
import pytest

from rnfl.core import labels
from rnfl.core.exclusion import Excluded
from rnfl.core.orientation import REFERENCE

QUADRANTS = pd.DataFrame(
    {"rnfl_mean": 85.0, "rnfl_S": 100.0, "rnfl_N": 70.0, "rnfl_I": 110.0, "rnfl_T": 60.0},
    index=range(4),
)
LINES = [f"line {i}" for i in range(2, 6)]


@pytest.mark.parametrize(
    ("factor", "unit"),
    [(1e-3, "mm"), (1e-4, "cm"), (1e-6, "m"), (1e3, "nm"), (1 / 3.87, "px of 3.87 µm")],
)
def test_another_unit_is_refused_with_the_right_value(factor, unit):
    means = factor * np.array([84.0, 85, 86, np.nan])
    with pytest.raises(ValueError, match=f"t.csv: the median .* of 3 eyes is .*like {unit}: .* 85"):
        labels.refuse_unit(means, "t.csv", LINES)


def test_pixels_that_could_be_thin_eyes_are_doubted():
    means = np.array([84.0, 85, 86, np.nan])
    samples = pd.DataFrame({"eye_id": list("abcd"), "rnfl_mean": means / 1.95})
    (said,) = labels.check(samples, np.full((4, 360), np.nan), "t.csv")
    assert "3 eyes is 43.59 µm" in said and said.endswith("1.95 µm would be 85 µm.")
    assert not labels.doubt_unit(means, "t.csv") and not labels.doubt_unit(means[:2] / 1.95, "")


def test_thin_cohorts_are_in_micrometres():
    labels.refuse_unit(np.full(50, 43.3), "t.csv")  # the thinnest eye of LEI-SFD
    labels.refuse_unit(np.array([20.0, np.nan]), "t.csv")  # one eye proves no unit
    with pytest.raises(ValueError, match="whole retina"):
        labels.refuse_unit(np.full(50, 280.0), "t.csv")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (-1, "not measured"),
        (999, "leave the cell empty"),
        (0, "a code"),
        (0.1, "0.1 mm are 100 µm"),
    ],
)
def test_what_is_no_thickness_says_what_it_may_be(value, said):
    with pytest.raises(Excluded, match=f"rnfl_S {value:g} µm .*{said}"):
        labels.check_label({"rnfl_S": value, "rnfl_N": 70.0, "rnfl_T": np.nan})
    profile = REFERENCE.copy()
    profile[7] = value if value != 0.1 else -9
    with pytest.raises(Excluded, match="not measured"):
        labels.check_profile(profile)


@pytest.mark.parametrize("wrong", [8.5, 300.0, 20.0, 95.0, 70.0])
def test_a_mean_that_contradicts_its_quadrants_names_the_row(wrong):
    table = QUADRANTS.copy()
    table.loc[2, "rnfl_mean"] = wrong
    with pytest.raises(ValueError, match=f"in 1 of 4 rows: line 4: mean {wrong:g}, quadrants 85"):
        labels.refuse_contradictions(table, None, "t.csv", LINES)


def test_rounding_and_unequal_sectors_are_no_contradiction():
    for mean in (84.5, 81.0, 89.0, np.nan):
        labels.refuse_contradictions(QUADRANTS.assign(rnfl_mean=mean), None, "t.csv", LINES)
    for code in (np.nan, -1, 0, 999):  # left out elsewhere, as what it is
        labels.refuse_contradictions(QUADRANTS.assign(rnfl_S=code), None, "t.csv", LINES)


def test_quadrants_that_are_not_those_of_the_profile_name_both():
    quadrants = labels.quadrant_means(np.tile(REFERENCE, (4, 1))).add_prefix("rnfl_")
    profiles = np.tile(REFERENCE, (4, 1))
    labels.refuse_contradictions(quadrants + 5, profiles, "t.csv", LINES)
    profiles[1] = np.roll(REFERENCE, 90)
    with pytest.raises(ValueError, match=r"in 1 rows: line 3: rnfl_S .*, profile 6"):
        labels.refuse_contradictions(quadrants, profiles, "t.csv", LINES)


@pytest.mark.parametrize(("unit", "um"), [("mm", 1e3), ("cm", 1e4), ("px of 3.87 µm", 3.87)])
def test_a_dataset_of_quadrants_alone_in_another_unit_is_refused(unit, um):
    samples = QUADRANTS.drop(columns="rnfl_mean").div(um).assign(eye_id=LINES)
    with pytest.raises(ValueError, match=f"dataset x: the median .*looks like {unit}: .* 85 µm"):
        labels.check(samples, np.full((4, 360), np.nan), "dataset x")
