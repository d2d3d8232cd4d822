"""Summaries: counts, means and spreads that can be checked by hand; nobody is left unmentioned."""

import numpy as np
import pytest

from rnfl.core.geometry import QUADRANTS
from rnfl.datasets import summary

ABOUT = {"name": "some", "modality": "SLO", "phantom": False}
UNSURE = [{"id": "a", "confidence": 1.0, "doubts": ["too dark: 20", "no colour: grey"]}]


@pytest.fixture
def eyes(samples):
    profiles = np.full((40, 360), 80.0, np.float32)
    profiles[:, QUADRANTS["S"]] = 100 + np.arange(40)[:, None]
    profiles[3] = np.nan
    profiles[4, :36] = np.nan
    return samples.assign(ethnicity=None, severity=None), profiles


def row(table, quantity, attribute="all", group="all"):
    (found,) = table.query(
        "attribute == @attribute and group == @group and quantity == @quantity"
    ).to_dict("records")
    return found


def test_counts_means_and_spreads(eyes):
    samples, profiles = eyes
    table = summary.summarise(samples, profiles)
    assert tuple(table.columns) == summary.COLUMNS
    assert row(table, "eyes")["n"] == 40 and row(table, "patients")["n"] == 20
    assert np.isnan(row(table, "eyes")["mean"])
    age = row(table, "age")
    assert (age["n"], age["unit"]) == (38, "years")
    assert age["mean"] == pytest.approx(samples["age"].mean())
    assert age["sd"] == pytest.approx(samples["age"].std())
    superior = np.delete(100.0 + np.arange(40), 3)
    s = row(table, "rnfl_S")
    assert (s["n"], s["unit"]) == (39, "µm")
    assert (s["mean"], s["sd"]) == pytest.approx((superior.mean(), superior.std(ddof=1)))
    assert row(table, "rnfl_T")["mean"] == 80 and row(table, "rnfl_hour_9")["mean"] == 80
    assert row(table, "rnfl_hour_12")["mean"] == pytest.approx(superior.mean())
    assert row(table, "angles_missing")["mean"] == pytest.approx((100 + 10) / 40)


def test_groups_and_those_of_whom_it_is_unknown(eyes):
    samples, profiles = eyes
    table = summary.summarise(samples, profiles)
    for attribute in ("split", "laterality", "sex", "race"):
        of = table.query("attribute == @attribute and quantity == 'eyes'")
        assert of["n"].sum() == 40, attribute
    assert row(table, "eyes", "race", "missing")["n"] == 10
    white = (samples["race"] == "White").to_numpy()
    measured = row(table, "rnfl_S", "race", "White")
    assert measured["mean"] == pytest.approx(np.nanmean(profiles[white][:, QUADRANTS["S"]]))
    assert row(table, "patients", "race", "White")["n"] == 5


def test_columns_of_samples_come_before_profiles(eyes):
    samples, _ = eyes
    told = samples.assign(rnfl_mean=np.arange(40.0), rnfl_S=np.nan)
    table = summary.summarise(told, np.full((40, 360), np.nan))
    assert row(table, "rnfl_mean")["mean"] == 19.5
    assert row(table, "rnfl_S")["n"] == 0 and np.isnan(row(table, "rnfl_S")["mean"])
    assert "no profiles" in summary.to_markdown(table, ABOUT)


def test_exclusions_are_counted_by_reason(eyes):
    left_out = [{"id": str(i), "reason": ("dark", "no label")[i % 3 == 0]} for i in range(10)]
    table = summary.summarise(*eyes, left_out)
    of = table[table["attribute"] == "excluded"]
    assert list(zip(of["group"], of["n"], strict=True)) == [("dark", 6), ("no label", 4)]
    text = summary.to_markdown(table, ABOUT)
    assert "| dark     |    6 |" in text and "No eye was left out" not in text
    assert "No eye was left out" in summary.to_markdown(summary.summarise(*eyes), ABOUT)


def test_markdown_is_a_table_a_person_can_read(eyes):
    table = summary.summarise(*eyes)
    text = summary.to_markdown(table, {**ABOUT, "unsure": UNSURE, "findings": ["All well."]})
    lines = text.splitlines()
    assert lines[0] == "# some (SLO; real eyes)"
    head = lines.index(next(line for line in lines if line.startswith("|")))
    rows = [line for line in lines[head:] if line.startswith("| ")][:12]
    assert len({len(line) for line in rows[:10]}) == 1  # columns are aligned
    (everyone,) = [line for line in rows if line.startswith("| all ")]
    cells = [cell.strip() for cell in everyone.strip("|").split("|")]
    assert cells[1:4] == ["40", "20", "50.0 (5.6)"] and cells[-1] == "80.0 (0.0)"
    assert "2 without an age and 1 without an RNFL mean; 2.8 % of all angles" in text
    assert "Unknown of every eye: ethnicity, severity." in text and "race: missing" in text
    assert "ethnicity: missing" not in text
    assert (
        "Unsure are 1 (too dark 1, no colour 1): they come first" in text and "- All well." in text
    )
    assert "phantom: simulated eyes" in summary.to_markdown(table, {**ABOUT, "phantom": True})
