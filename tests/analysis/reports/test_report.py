"""The report is one file that needs nothing else, except the notebooks it links."""

import base64
import re
from xml.etree import ElementTree

import pandas as pd
import pytest

from analysis import figures, tables
from analysis.reports import study
from rnfl.storage import provenance


@pytest.fixture
def folders(tmp_path):
    results, drawn = tmp_path / "data" / "results", tmp_path / "figures"
    losses = pd.DataFrame(
        {"backbone": "phantom_cls", "step": [0, 1], "loss": 1.0, "val_metric": 0.5}
    )
    folder = results / "10_pretraining"
    provenance.write_csv(folder / "losses.csv", losses)
    about = {"phantom": 1, "preset": "smoke", "run_ids": ["run-1"], "inputs": {"eyes": "a1b2"}}
    tables.write_about(folder, **about, conclusions=["The loss is < 2."])
    figures.make("10_pretraining", results, drawn)
    wide = pd.DataFrame({"Method": ["<constant>"], "MAE (µm)": ["9.0 [8.0, 10.0]"]})
    wide.attrs["caption"] = "Errors & more."
    tables.write(wide, results / "06_cross_modality", "table2", "", phantom=2)
    notebooks = tmp_path / "data" / "runs" / "notebooks"
    provenance.write_text(notebooks / "10_pretraining.ipynb", "{}")
    return results, drawn, notebooks, tmp_path / "data" / "report.html"


def test_everything_is_inside(folders):
    results, drawn, notebooks, path = folders
    made = study.build(results, drawn, path, title="RNFL <test>", notebooks=notebooks, intro="Hi.")
    text = made.read_text(encoding="utf-8")
    assert made == path and "<title>RNFL &lt;test&gt;</title>" in text
    assert "http://" not in text and "https://" not in text and "<script" not in text
    (image,) = re.findall(r'<img src="data:image/png;base64,([^"]+)"', text)
    assert base64.b64decode(image) == (drawn / "10_pretraining.png").read_bytes()
    links = re.findall(r'href="([^"]+)"', text)
    assert [link for link in links if link.startswith("#")] == [
        "#06_cross_modality", "#06_cross_modality-table2", "#10_pretraining"
    ]  # fmt: skip
    assert "<li>The loss is &lt; 2.</li>" in text and ">Errors &amp; more</a>" in text
    (notebook,) = [link for link in links if not link.startswith("#")]
    assert notebook == "runs/notebooks/10_pretraining.ipynb"
    assert (path.parent / notebook).is_file()
    for anchor in ("06_cross_modality", "06_cross_modality-table2", "10_pretraining"):
        assert f'id="{anchor}"' in text
    assert "&lt;constant&gt;" in text and "Phantom 2 data. Errors &amp; more." in text
    assert provenance.sha256_file(results / "10_pretraining" / "losses.csv") in text
    assert (
        "run-1" in text
        and "eyes: a1b2" in text
        and "<strong>Phantom 1 data.</strong>" in text
        and "no number here is a result on patients" in text
    )


def test_hostile_text_is_text(tmp_path):
    hostile = """<script>alert("1")</script> & 'so' <img src=x onerror=y> {{ title }}"""
    folder = tmp_path / "results" / "06_cross_modality"
    wide = pd.DataFrame({hostile: [hostile], "MAE": ["1.0"]})
    wide.attrs["caption"] = f"{hostile}."
    tables.write(wide, folder, "table2", "", phantom=False)
    about = {"phantom": False, "preset": hostile, "run_ids": [hostile], "note": hostile}
    tables.write_about(folder, **about, inputs={hostile: hostile}, conclusions=[hostile])
    path = tmp_path / "report.html"
    results, drawn = tmp_path / "results", tmp_path / "figures"
    text = study.build(results, drawn, path, title=hostile, intro=hostile).read_text("utf-8")
    assert "<script" not in text and "onerror=y>" not in text and "<img" not in text
    page = xml(text)
    said = [" ".join("".join(one.itertext()).split()) for one in page.iter() if len(one) == 0]
    assert said.count(hostile) >= 6  # title twice, intro, conclusion, column and cell


def xml(text):
    """Return a page as a tree; tags that are not closed, or quotes that end early, are errors."""
    body = re.sub(r"<(meta|img)([^>]*)>", r"<\1\2/>", text.removeprefix("<!DOCTYPE html>"))
    return ElementTree.fromstring(body)


def test_tags_are_balanced(folders):
    results, drawn, _, path = folders
    text = study.build(results, drawn, path, title="t").read_text(encoding="utf-8")
    assert xml(text).tag == "html"


def test_nothing_to_report_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no figure"):
        study.build(tmp_path, tmp_path, tmp_path / "report.html", title="t")
