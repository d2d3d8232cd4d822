"""A figure that no longer belongs to its tables is noticed, whatever was changed meanwhile."""

import json
import shutil

import pandas as pd
import pytest

from analysis import figures, tables
from analysis.figures.__main__ import main
from rnfl.storage import provenance
from rnfl.storage.paths import project_root

STEM = "10_pretraining"


def test_committed_figures_and_tables_belong_together():
    assert figures.stale(project_root() / "data" / "results", project_root() / "figures") == []


def test_every_figure_is_committed():
    drawn = {path.stem for path in (project_root() / "figures").glob("*.png")}
    assert drawn == set(figures.FIGURES)


def test_tables_name_runs_or_inputs():
    for path in (project_root() / "data" / "results").glob("*/about.json"):
        about = json.loads(path.read_text(encoding="utf-8"))
        assert about["run_ids"] or about["inputs"], path


@pytest.fixture(scope="module")
def drawn_once(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    losses = pd.DataFrame({"backbone": "a", "step": [0, 1], "loss": 1.0, "val_metric": 0.5})
    provenance.write_csv(root / "results" / STEM / "losses.csv", losses)
    tables.write_about(root / "results" / STEM, phantom=2, preset="smoke")
    figures.make(STEM, root / "results", root / "figures")
    return root


@pytest.fixture
def folders(drawn_once, tmp_path):
    shutil.copytree(drawn_once, tmp_path, dirs_exist_ok=True)
    results, drawn = tmp_path / "results", tmp_path / "figures"
    assert figures.stale(results, drawn) == []
    return results, drawn


def test_a_changed_table_is_noticed_twice(folders):
    results, drawn = folders
    path = results / STEM / "losses.csv"
    path.write_text(path.read_text().replace("1.0", "1.1"))
    one, two = figures.stale(results, drawn)
    assert "losses.csv not as about.json lists them" in one
    assert "losses.csv has changed since it was drawn" in two


def test_tables_made_again_leave_the_figure_behind(folders):
    results, drawn = folders
    tables.write_about(results / STEM, phantom=2, preset="smoke", run_ids=["another"])
    (problem,) = figures.stale(results, drawn)
    assert problem.startswith(f"figure {STEM}") and "about.json has changed" in problem
    figures.make(STEM, results, drawn)
    assert figures.stale(results, drawn) == []


def test_the_command_says_what_is_stale(folders, capsys):
    results, drawn = folders
    options = ["--check", "--results", str(results), "--figures", str(drawn)]
    assert main(options) == 0
    (drawn / f"{STEM}.png").write_bytes(b"another")
    assert main(options) == 1
    assert f"{STEM}.png is not the file" in capsys.readouterr().out


def test_an_unlisted_table_is_noticed(folders):
    results, drawn = folders
    provenance.write_text(results / STEM / "extra.csv", "a,b")
    (problem,) = figures.stale(results, drawn)
    assert "extra.csv" in problem


def test_changed_drawing_code_is_noticed(folders, monkeypatch):
    monkeypatch.setattr(figures, "drawing_code", lambda stem: "other")
    (problem,) = figures.stale(*folders)
    assert "the code that draws it has changed" in problem


def test_the_drawing_code_is_its_module_and_the_style(monkeypatch, tmp_path):
    before = figures.drawing_code(STEM)
    assert before != figures.drawing_code("02_protocols")
    module = figures.pretraining
    copy = tmp_path / "module.py"
    text = open(module.__file__, encoding="utf-8").read()
    monkeypatch.setattr(module, "__file__", str(copy))
    copy.write_text(text + "\n# a comment\n")
    assert figures.drawing_code(STEM) == before
    copy.write_text(text + "\nCAPTION = 'other'\n")
    assert figures.drawing_code(STEM) != before


def test_a_replaced_or_missing_picture_is_noticed(folders):
    results, drawn = folders
    (drawn / f"{STEM}.png").write_bytes(b"another")
    (problem,) = figures.stale(results, drawn)
    assert f"{STEM}.png is not the file" in problem
    (drawn / f"{STEM}.pdf").unlink()
    assert figures.stale(results, drawn) == [f"figure {STEM}: {STEM}.pdf missing"]


def test_a_figure_without_notebook_or_tables_is_noticed(folders):
    results, drawn = folders
    shutil.copy(drawn / f"{STEM}.png", drawn / "99_lost.png")
    assert figures.stale(results, drawn) == ["figure 99_lost: no notebook makes it"]
    (drawn / "99_lost.png").unlink()
    shutil.rmtree(results / STEM)
    assert all("which is gone" in problem for problem in figures.stale(results, drawn))
