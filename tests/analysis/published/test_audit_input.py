"""Anybody's results, long or wide, reach the same engine; what is wrong with a file is named."""

import numpy as np
import pandas as pd
import pytest

from analysis import published
from analysis.published import audit

WIDE = """model,mae,r,sigma_flat,sigma_true,delta_percent,percent_frozen
naive,20.00,0.66,12.0,18.6,,0
mine,19.00 ± 0.05,0.70,11.5,18.6,−5.0,50
"""
LONG = """backbone,protocol,metric,value
b,naive,mae,20.00
b,mine,mae,19.00
b,mine,delta_percent,-5.0
"""


@pytest.fixture
def file(tmp_path):
    def write(text, name="results.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return path

    return write


def test_the_papers_own_files_give_the_papers_audit(file, monkeypatch, tmp_path):
    monkeypatch.setenv("RNFL_GRAPE", str(tmp_path))
    texts = [(published.FOLDER / f"{name}.csv").read_text() for name in published.TABLES]
    head = texts[0].splitlines()[0]
    path = file("\n".join([head, *(line for t in texts for line in t.splitlines()[1:])]))
    pd.testing.assert_frame_equal(audit.audit_file(path), audit.audit(published.load()))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_wide_and_long_are_read_as_printed(file, encoding):
    wide = audit.read_results(file(WIDE, encoding=encoding))
    mine = wide[(wide["protocol"] == "mine")].set_index("metric")
    assert mine.loc["mae", ["value", "plus_minus", "digits"]].tolist() == [19.0, 0.05, 2]
    assert mine.loc["delta_percent", "value"] == -5.0
    assert "delta_percent" not in set(wide[wide["protocol"] == "naive"]["metric"])
    assert set(wide["table"]) == {"results"} and set(wide["edition"]) == {""}
    long = audit.read_results(file(LONG, "long.csv"))
    assert long[["backbone", "protocol", "metric"]].values.tolist()[1] == ["b", "mine", "mae"]
    for rows in (wide, long):
        findings = audit.audit(rows)
        percent = findings[findings["check"] == "percentage"].iloc[0]
        assert percent["recomputed"] == pytest.approx(-5.0) and percent["verdict"] == "holds"


def test_what_a_users_table_is_checked_for(file):
    text = WIDE.replace("−5.0", "-8.0").replace("0.70", "1.70")
    findings = audit.audit_file(file(text))
    failed = findings[findings["verdict"] == "does not hold"]
    assert set(failed["check"]) == {"percentage", "constant bound", "possible"}
    printed = audit.format_audit(findings)
    assert printed.index("DOES NOT HOLD") < printed.index("HOLDS  [")
    assert "stated −8.0 %, recomputed −5.0 %" in printed
    assert "mine: R is 1.70" in printed and "possible are −1 to 1" in printed
    counted = [line for line in printed.splitlines() if ", of which " in line]
    assert counted == printed.splitlines()[-3:] and counted[0].startswith("What is claimed: 1, of")
    assert max(map(len, printed.splitlines()[:-3])) <= 100
    stated = "backbone,protocol,mae,percent_frozen,claimed_slope_per_10_percent,claimed_r_squared\n"
    points = "".join(f"b,f{x},{10 + 0.2 * x:.1f},{x},,\n" for x in (0, 25, 50, 100))
    for slope, verdict in (("2.0", "holds"), ("2.4", "does not hold")):
        lines = audit.audit_file(file(f"{stated}{points}b,,,,{slope},1.00\n"))
        found = lines[lines["check"] == "line"].set_index("unit")["verdict"]
        assert found.to_dict() == {"µm/10 %": verdict, "R²": "holds"}


def test_unrounded_numbers_and_an_empty_audit_are_readable(file):
    text = "model,mae,sigma_true\na,12.345678901234,11.987654321\n"
    printed = audit.format_audit(audit.audit_file(file(text)))
    assert "stated 12.3457 µm, bound 11.9877 µm" in printed
    empty = audit.audit(published.load().iloc[:0])
    assert audit.format_audit(empty) == "Nothing in this table can be audited."


def test_digits_are_guessed_from_the_column_where_they_were_not_kept():
    rows = published.load("table1", "submission").drop(columns="digits")
    findings = audit.audit(rows)
    wrong = findings[findings["claim"].str.contains("better than")].iloc[0]
    assert wrong["published_digits"] == 0 and "24.80" in wrong["detail"]


@pytest.mark.parametrize(
    "text",
    [
        "Model,MAE (µm) ↓,R ↑,Sigma_True,MAE_S\na,19.04 ± 0.06,.66,18.6,20.10\n",
        "MODEL;mae;r;σ_true;mae_s\na;19,04 ± 0,06;0,66;18,6;20,10\n",
        "model\tmae\tR\tsigma_true\tmae_S\na\t19.04 +/- 0.06\t.66\t18.6\t20.10\n",
        "sep=|\nmodel|mae [µm]|r|sigma_true|mae_S\na|19.04 (0.06)|.66|18.6|20.10\n",
        "protocol,Metric,Value\na,MAE (µm),19.04 +- 0.06\na,R,.66\na,σ_true,18.6\na,MAE_S,20.10\n",
    ],
)
def test_headers_and_numbers_are_read_in_every_usual_form(file, text):
    rows = audit.read_results(file(text)).set_index("metric")
    assert rows["value"].to_dict() == {"mae": 19.04, "r": 0.66, "sigma_true": 18.6, "mae_S": 20.1}
    assert rows.loc["mae", ["plus_minus", "digits"]].tolist() == [0.06, 2]
    assert set(rows["protocol"]) == {"a"} and rows.loc["mae_S", "digits"] == 2


def test_bold_is_a_claim_and_percent_and_methods_keep_their_meaning(file):
    text = "model,mae,delta_percent_vs_My Model,delta_percent\n"
    rows = audit.read_results(file(f"{text}My Model,20.00,,\nb,**19.00**,-5.0 %,-4.0%\n"))
    b = rows[rows["protocol"] == "b"].set_index("metric")["value"]
    assert b["mae_bold"] == b["mae"] == 19.0 and len(rows) == 5
    assert b["delta_percent_vs_My Model"] == -5.0 and b["delta_percent"] == -4.0
    findings = audit.audit(rows)
    assert {"bold", "percentage"} & set(findings["check"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backbone,maee,foo\nb,1,2\n", "unknown columns: maee, foo; expected mae, rmse"),
        ("a,b,metric,value\nx,y,mae,1\n", "unknown columns: a, b; expected edition, table"),
        ("protocol,metric,value\np,mea,1\np,mae,2\n", "unknown metrics: mea; expected mae"),
        (WIDE.replace("0.66", "good").replace("11.5", "n/a"),
         "not numbers: line 2, column r: 'good', line 3, column sigma_flat: 'n/a'"),
        (LONG.replace("20.00", "inf"), "not numbers: line 2, column value: 'inf'"),
        (LONG.replace("19.00", "19 ± x"), r"line 3, column value: '19 ± x'"),
        (WIDE + "naive,1,,,,,\n", "rows of one model: line 2, line 4; expected one row per model"),
        (LONG + "b,mine,mae,19.10\n", r"repeated cells: line 5 \(results/b/mine/mae\)"),
        ("mae,r\n1,2\n", "no column backbone, protocol or model; found mae, r"),
        ("model,protocol,mae\na,b,1\n", "both name the model"),
        ("model\na\n", "no column is a metric"),
        ('model,mae\na,"19,04"\n', "line 2, column mae: '19,04'.*decimal points"),
        ("model,mae\na,20.1%\n", "line 2, column mae: '20.1%'"),
        ("model,mae\na,19.04(6)\n", r"not numbers: line 2, column mae: '19.04\(6\)'"),
        ("model,mae\na,19.04 (18.9-19.2)\n", "not numbers: line 2, column mae"),
        ("model,mae,MAE (µm)\na,1,2\n", r"columns that mean the same: mae \(mae, MAE"),
        ("Table 1\nmodel,mae\na,1\n", "line 1 is no header: 'Table 1'"),
        ("model,mae\na,\n", "no numbers"),
        ("", "cannot be read as a table"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_named(file, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        audit.read_results(file(text))
    assert "results.csv" in str(caught.value)


def test_frames_are_checked_too():
    rows = published.load("grape")
    with pytest.raises(ValueError, match=r"columns \['metric'\] are missing"):
        audit.audit(rows.drop(columns="metric"))
    with pytest.raises(ValueError, match=r"repeated cells: row \d+ \(submission/grape/l1_only"):
        audit.audit(pd.concat([rows, rows.iloc[:1]]))
    with pytest.raises(ValueError, match="not finite: row 2"):
        audit.audit(rows.assign(value=rows["value"].where(rows.index != 2, np.nan)))
