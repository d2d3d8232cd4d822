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
    rows = published.load("grape", edition="august")
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


def test_claims_name_edition_table_and_cell():
    rows = published.load()
    named = "claimed|delta|percent_vs|bold|arrow|n_eyes|collapse|proposed"
    claims = rows[rows["metric"].str.contains(named)]
    assert claims.groupby("table").size().to_dict() == {"freezing": 4, "grape": 8, "table1": 17}
    assert (claims["edition"] != "").all()
    deltas = claims[claims["metric"] == "delta_percent"]
    assert deltas["value"].tolist() == [0.7, 24.7, 0.3, 24.2, -1.4, -2.5, 27.0]
    assert set(deltas["edition"]) == {"submission"} and (deltas["protocol"] != "").all()


COLUMNS = {  # of a quoted row, by edition and table; "name" is not a number
    ("submission", "table1"): "name name mae r gap sigma",
    ("august", "table1"): "name name mae r sigma",
    ("submission", "freezing"): "name percent_frozen mae sigma",
    ("august", "freezing"): "name percent_frozen mae r sigma",
    ("august", "loss_complexity"): "lambda_pearson mae r sigma",
    ("submission", "grape"): "name mae_global mae_S mae_N mae_I mae_T sigma",
    ("submission", "quick_start"): "name mae_global sigma",
    ("august", "grape"): "name mae_global mae_S mae_N mae_I mae_T sigma",
}
SENTENCES = {  # where in a quoted sentence a number stands
    "sigma_true": r"σ_true = ([\d.]+) µm",
    "delta_percent": r"\| (\S+) %$",
    "better_percent_vs_structured": r"by (\d+) %",
    "delta_percent_low": r"^(\d+)–\d+ %",
    "delta_percent_high": r"–(\d+) %",
    "sigma_collapse": r"σ < (\d+)",
    "claimed_intercept": r"MAE = ([\d.]+) \+",
    "claimed_slope_per_10_percent": r"\+ ([\d.]+) × \(%frozen/10\)",
    "claimed_r_squared": r"R² = ([\d.]+)",
    "n_eyes": r"^(\d+) eyes",
    "sigma": r"σ ([\d.]+)$",
}
WORDS = {"claimed_saturating": "saturating", "proposed": "proposed method", "mae_T_arrow": "T.*↑"}
FIELD = re.compile(
    r"(?:λp )?(?P<bold>\*\*)?(?P<value>[+−-]?[\d.]+)(?:\*\*)?(?: %)?(?: \(±(?P<pm>.*)\))?"
)


def quoted(row):
    """Return the value and the ± that a row's quote gives it, as text, and whether it is bold."""
    metric, fields = row.metric.removesuffix("_bold"), row.quote.split(" | ")
    names = COLUMNS.get((row.edition, row.table), "").split()
    if metric in WORDS:
        assert re.search(WORDS[metric], row.quote)
        return "1", "", False
    if (metric in SENTENCES and metric not in names) or len(fields) != len(names):
        return re.search(SENTENCES[metric], row.quote)[1], "", False
    found = FIELD.fullmatch(fields[names.index(metric)])
    return found["value"], found["pm"] or "", bool(found["bold"])


@pytest.mark.parametrize("table", published.TABLES)
def test_every_number_is_the_one_in_its_quote(table):
    """Value, sign, digits and ± are read off the quoted row or sentence, and from nothing else."""
    text = pd.read_csv(published.FOLDER / f"{table}.csv", dtype=str, keep_default_na=False)
    for row in text.itertuples():
        value, spread, bold = quoted(row)
        told = row.value if row.plus_minus == "" else f"{row.value} ±{row.plus_minus}"
        found = value.replace("−", "-") + (f" ±{spread}" if spread else "")
        is_bold = row.metric.endswith("_bold")
        assert found == told if not is_bold else (value == row.value and bold), row
        assert row.place and row.edition and row.quote == row.quote.strip()
        names = [row.backbone, row.protocol] if row.table == "table1" and " | " in row.quote else []
        assert row.quote.split(" | ")[: len(names)] == names, row


def test_a_silently_mended_sign_is_seen():
    rows = published.load("table1").query("metric == 'delta_percent'")
    wrong = rows[(rows["backbone"] == "DepthAnything V2-S") & (rows["protocol"] == "aggressive")]
    assert wrong["quote"].iloc[0].endswith("| +0.3 %")
    mended = next(wrong.assign(value="-0.3").itertuples())
    assert quoted(mended)[0] != mended.value


def test_both_editions_print_the_grape_table():
    rows = published.load("grape")
    numbers = rows[~rows["metric"].str.contains("bold|arrow")]
    wide = numbers.pivot(index=["protocol", "metric"], columns="edition", values="value")
    assert wide.notna().all(axis=None) and (wide["submission"] == wide["august"]).all()
    first = rows[(rows["protocol"] == "l1_only")].groupby("edition")["quote"].first()
    assert first["submission"].startswith("RETFound (MAE Only) | 20.12")
    assert first["august"].startswith("Structured (MAE-Only) | 20.12")


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="table1, freezing"):
        published.load("table9")
    with pytest.raises(ValueError, match="submission, august"):
        published.load(edition="2027")
