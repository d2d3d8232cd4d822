"""The published numbers are there as printed, both editions apart."""

import re

import numpy as np
import pandas as pd
import pytest

from analysis import published


def value(rows: pd.DataFrame, **where: str) -> float:
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    assert len(rows) == 1, where
    return float(rows.value.iloc[0])


def test_every_number_appears_once_per_edition():
    rows = published.load()
    assert list(rows.columns) == [*published.COLUMNS, "digits"]
    assert not rows.duplicated(["edition", "table", "backbone", "protocol", "metric"]).any()
    assert rows.value.notna().all()
    assert set(rows.table) == set(published.TABLES)
    assert set(rows.edition) == set(published.EDITIONS)


def test_the_editions_disagree_where_the_paper_does():
    table = published.load("table1")
    retfound = {"backbone": "RETFound ViT-L/16", "protocol": "structured"}
    assert value(table, edition="submission", metric="mae", **retfound) == 24.80
    assert value(table, edition="august", metric="mae", **retfound) == 23.71
    assert value(table, edition="august", metric="r", **retfound) == 0.513
    assert value(table, edition="august", metric="sigma_true") == 18.6
    assert not (table[table.edition == "august"].metric == "gap").any()
    gradient = table.query("protocol == 'gradient_loss' and metric == 'mae'")
    assert gradient.set_index("edition").plus_minus.to_dict() == {
        "submission": 0.06,
        "august": 0.03,
    }
    both = table[table.metric.isin(["mae", "r", "sigma"])].pivot(
        index=["backbone", "protocol", "metric"], columns="edition", values="value"
    )
    differ = both[both.august != both.submission]
    assert {(p, m) for _, p, m in differ.index} == {("structured", "mae"), ("structured", "r")}


def test_the_grape_sectors_average_to_their_global_mae():
    rows = published.load("grape", edition="unstated")
    for protocol, expected in (("l1_only", 20.12), ("gradient_loss", 19.885)):
        sectors = [value(rows, protocol=protocol, metric=f"mae_{s}") for s in "SNIT"]
        assert np.isclose(np.mean(sectors), expected)


def test_the_claimed_freezing_line_is_not_that_of_the_points():
    rows = published.load("freezing", edition="submission")
    points = rows[rows.protocol != ""].pivot(index="protocol", columns="metric", values="value")
    slope, _ = np.polyfit(points.percent_frozen, points.mae, 1)
    assert slope * 10 == pytest.approx(1.04, abs=0.005)
    assert value(rows, metric="claimed_slope_per_10_percent") == 3.6


def test_digits_are_those_that_were_printed():
    rows = published.load()
    found = rows.set_index(["edition", "protocol", "metric"])["digits"]
    assert found["submission", "freeze_12", "mae"] == 2  # 24.80
    assert found["submission", "gradient_loss", "better_percent_vs_structured"] == 0  # 27
    structured = rows.query("protocol == 'structured' and metric == 'delta_percent'")
    assert structured["digits"].tolist() == [1, 1, 1]  # 27.0 among them
    text = "".join((published.FOLDER / f"{name}.csv").read_text() for name in published.TABLES)
    assert {len(n.partition(".")[2]) for n in re.findall(r",(-?[\d.]+),[\d.]*\n", text)} == set(
        rows["digits"]
    )


def test_claims_name_edition_table_and_cell():
    rows = published.load()
    claims = rows[rows["metric"].str.contains("claimed|delta|percent_vs|bold|arrow|n_eyes")]
    assert claims.groupby("table").size().to_dict() == {"freezing": 4, "grape": 3, "table1": 8}
    assert (claims["edition"] != "").all()
    deltas = claims[claims["metric"] == "delta_percent"]
    assert deltas["value"].tolist() == [0.7, 24.7, -0.3, 24.2, -1.4, -2.5, 27.0]
    assert set(deltas["edition"]) == {"submission"} and (deltas["protocol"] != "").all()


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="table1, freezing"):
        published.load("table9")
    with pytest.raises(ValueError, match="submission, august"):
        published.load(edition="2027")
