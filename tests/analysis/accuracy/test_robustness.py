"""Arms on pictures that get worse: planted errors come back, and their mean over severities."""

import planted_robustness
import pytest
from planted_robustness import PLANTED
from synthetic_tables import only

from analysis import conclusions, published, tables
from analysis.accuracy.robustness import MEAN, statistics
from analysis.resampling import Resampling


@pytest.fixture(scope="module")
def found():
    return statistics(*planted_robustness.study(), Resampling(60, 400))


def test_errors_by_condition_and_their_mean_are_the_planted_ones(found):
    table, comparisons = found
    for arm, (clean, more) in PLANTED.items():
        for condition, severity in (("clean", 0), ("severity0.8", 0.8), (MEAN, 0.4)):
            row = only(table, condition=condition, protocol=arm, metric="mae")
            assert row["estimate"] == pytest.approx(clean + more * severity, abs=0.02)
    eyes = only(table, condition="clean", protocol="template", metric="mae")["n"]
    assert only(table, condition=MEAN, protocol="template", metric="mae")["n"] == 3 * eyes
    row = only(comparisons, condition=MEAN, protocol="severe", metric="mae", against="intensity")
    assert row["estimate"] == pytest.approx(2 - 8 * 0.4, abs=0.02) and row["low"] < row["high"]
    assert row["p_holm"] >= row["p"]


def test_an_eye_under_every_severity_is_one_patient_still(found):
    """The interval of the template's mean is that of its error on one kind of picture."""
    table, _ = found
    one, several = (
        only(table, condition=c, protocol="template", metric="mae") for c in ("clean", MEAN)
    )
    for end in ("estimate", "low", "high"):
        assert several[end] == pytest.approx(one[end], abs=0.02)


def test_sentences_and_table_say_which_pictures_and_which_arm(found):
    said = conclusions.robustness(*found)
    assert said[0].startswith("Mean over severities 0, 0.4, 0.8: intensity 8.0")
    assert "mild to severe: lower, −1.9" in said[1] and "specialist" not in said[1]
    assert "clean pictures, against intensity: severe: higher, +2.00" in said[2]
    assert said[3].startswith("Held out (jpeg0.8)") and said[4].startswith("Unseen camera")
    assert "equivalence is not claimed below 10 seeds, here 2" in said[5]
    wide = tables.robustness_wide(*found)
    assert len(wide) == 6 * len(PLANTED) + 2
    assert "mild to severe" in set(wide["Training"]) and "label-noise floor" in set(
        wide["Training"]
    )
    assert "not read" in set(published.elsewhere("21_mild_to_severe")["value"])
