"""Tables in the paper's columns, labelled as phantom, safe in Markdown and LaTeX."""

import numpy as np
import pandas as pd
import pytest
from synthetic_tables import study

from analysis import tables
from analysis.accuracy import performance
from analysis.presentation import text as printed
from analysis.resampling import Resampling
from rnfl.storage import provenance


@pytest.fixture(scope="module")
def table():
    return performance.table1(*study(), Resampling(50, 50))


def test_table1_has_a_row_per_cell_with_both_baselines(table):
    wide = tables.table1_wide(table)
    assert wide["Protocol"].tolist() == ["template", "naive", "structured", "label-noise floor"]
    assert wide["Backbone"].tolist() == ["—", "phantom classifier", "phantom classifier", "—"]
    paper = {"MAE (µm)", "R per eye", "R pooled", "Gap (µm)", "σ flat (µm)"}
    ours = {"R between eyes", "Null gap (µm)", "σ between (µm)", "σ ratio", "Covered (%)"}
    assert paper | ours <= set(wide)
    template = wide.iloc[0]
    assert template["R between eyes"] == "—" and template["σ between (µm)"].startswith("0.0 [")
    assert template["σ flat (µm)"] != "0.0"
    assert " ± " in wide.loc[1, "MAE (µm)"] and " ± " not in template["MAE (µm)"]
    assert wide["Seeds"].tolist() == ["1", "2", "2", "1"]


def test_files_carry_the_caption_and_say_phantom(table, tmp_path):
    wide = tables.table1_wide(table)
    paths = tables.write(wide, tmp_path, "table1", "One seed.", phantom=2)
    assert [path.name for path in paths.values()] == ["table1_wide.csv", "table1.md", "table1.tex"]
    pd.testing.assert_frame_equal(
        pd.read_csv(paths["csv"], dtype=str, keep_default_na=False).astype(object),
        wide.astype(object),
    )
    caption = paths["md"].read_text().splitlines()[0]
    assert caption == f"Phantom 2 data. {wide.attrs['caption']} One seed."
    assert r"\caption{Phantom 2 data. " in paths["tex"].read_text()
    real = tables.write(wide, tmp_path / "real", "table1", "", phantom=0)
    assert "phantom" not in real["md"].read_text().split("\n")[0].lower()


def test_latex_is_balanced_and_escaped(table, tmp_path):
    text = printed.latex(tables.table1_wide(table), "5 % & more_of_it", "table1")
    lines = text.splitlines()
    assert r"\caption{5 \% \& more\_of\_it}" in lines
    body = [line for line in lines if line.endswith(r" \\")]
    assert {line.count(" & ") for line in body} == {tables.table1_wide(table).shape[1] - 1}
    for name in ("table*", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    assert text.isascii()


def test_signs_that_mean_something_else_are_escaped():
    wide = pd.DataFrame({"a|b": ["5 % & x_y", "<40\n≥ 3"]})
    text = printed.markdown(wide, "caption")
    assert text == "caption\n\n| a\\|b |\n| --- |\n| 5 % & x_y |\n| <40 ≥ 3 |\n"
    rows = [line for line in printed.latex(wide, "caption", "t").splitlines() if "\\\\" in line]
    assert rows == [r"a|b \\", r"5 \% \& x\_y \\", r"$<$40 $\geq$ 3 \\"]


def test_a_table_without_a_caption_is_refused(tmp_path):
    with pytest.raises(ValueError, match="table9: the table has no caption"):
        tables.write(pd.DataFrame({"a": ["1"]}), tmp_path, "table9", "", phantom=2)


def test_table2_and_comparisons():
    quadrants = pd.DataFrame([
        {"domain": "GRAPE", "method": "constant", "metric": metric, "attribute": "quadrant",
         "group": group, "estimate": np.nan if metric == "r" else 9.0, "low": 8.0, "high": 10.0,
         "n": 95, "n_seeds": 1, "seed_sd": np.nan}
        for metric in ("mae", "bias", "r") for group in ("S", "N", "I", "T", "mean", "global")
    ])  # fmt: skip
    row = tables.table2_wide(quadrants).iloc[0]
    assert row["S (µm)"] == "9.0 [8.0, 10.0]" and row["R global"] == "—" and row["Eyes"] == "95"
    predictions, _, runs = study()
    compared = performance.paired_comparisons(predictions, runs, resampling=Resampling(50, 100))
    wide = tables.comparisons_wide(compared)
    assert len(wide) == len(compared) and wide["Against"].unique().tolist() == ["naive", "template"]
    assert set(wide["Metric"]) == {"MAE (µm)", "σ between (µm)"}


def test_about_is_required_and_read_back(tmp_path):
    with pytest.raises(FileNotFoundError, match="write_about"):
        tables.read_about(tmp_path)
    tables.write_about(tmp_path, phantom=[1, 2], preset="smoke", run_ids=["b", "a", "b"])
    about = tables.read_about(tmp_path)
    assert about["phantom"] == [1, 2] and about["run_ids"] == ["a", "b"]


def test_phantom_eyes_are_named_by_their_phantom(tmp_path):
    with pytest.raises(ValueError, match=r"phantom=True: expected the phantom's version"):
        tables.write_about(tmp_path, phantom=True, preset="smoke")
    provenance.write_json(tmp_path / tables.ABOUT, {"phantom": True})  # before there were versions
    assert tables.read_about(tmp_path)["phantom"] == 1
