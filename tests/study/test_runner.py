"""The notebook runner is strict: unknown parameters, failures and foreign kernels do not pass."""

import json
import shutil
import sys
import threading
import time

import nbformat
import pytest

from rnfl.storage import locks
from rnfl.study import notebooks


@pytest.fixture
def notebook(tmp_path):
    """Return a writer of notebooks with a ``parameters`` cell (x = 1, names) and given cells."""

    def write(*cells: str):
        parameters = nbformat.v4.new_code_cell('x = 1\nnames = ["a"]')
        parameters.metadata["tags"] = ["parameters"]
        book = nbformat.v4.new_notebook(
            cells=[parameters, *map(nbformat.v4.new_code_cell, cells)],
            metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
        )
        path = tmp_path / "book.ipynb"
        nbformat.write(book, path)
        return path

    return write


def test_parameters_reach_the_notebook_in_this_interpreter(notebook, tmp_path, monkeypatch):
    foreign = tmp_path / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    spec = {"argv": ["/nonexistent/python"], "display_name": "foreign", "language": "python"}
    (foreign / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    source = notebook("import sys\nprint(sys.executable, x, names)")
    output = tmp_path / "out" / "book.ipynb"

    notebooks.run_notebook(source, output, {"x": 7, "names": ["b", "c"]}, progress=False)

    printed = nbformat.read(output, as_version=4).cells[-1].outputs[0].text
    assert printed.split(maxsplit=2) == [sys.executable, "7", "['b', 'c']\n"]
    assert "b', 'c" in output.with_suffix(".html").read_text().replace("&#39;", "'")
    assert sorted(p.name for p in output.parent.glob("[!.]*")) == ["book.html", "book.ipynb"]


def test_unknown_parameter_is_refused_with_the_valid_ones(notebook, tmp_path):
    with pytest.raises(ValueError, match="unknown parameter y; it has x, names"):
        notebooks.run_notebook(notebook(), tmp_path / "out.ipynb", {"y": 2})
    assert not (tmp_path / "out.ipynb").exists()


@pytest.mark.parametrize("value", [(1, 2), {"a": 1}, [[1], [2]]])
def test_parameters_that_papermill_distorts_are_refused(notebook, tmp_path, value):
    with pytest.raises(ValueError, match="neither a scalar nor a flat list"):
        notebooks.run_notebook(notebook(), tmp_path / "out.ipynb", {"x": value})


def test_failing_cell_is_named_and_its_notebook_kept(notebook, tmp_path):
    source = notebook("print('before')", "ratio = x / 0")
    output = tmp_path / "out.ipynb"
    with pytest.raises(notebooks.NotebookError, match=r"cell \[3\]\n    ratio = x / 0") as caught:
        notebooks.run_notebook(source, output, progress=False)
    assert "ZeroDivisionError" in str(caught.value)
    kept = tmp_path / "out.failed.ipynb"
    assert str(kept) in str(caught.value)
    assert "before" in kept.read_text()
    assert not output.exists()


def test_killed_kernel_is_a_failure(notebook, tmp_path):
    source = notebook("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(notebooks.NotebookError, match="DeadKernelError"):
        notebooks.run_notebook(source, tmp_path / "out.ipynb", progress=False)
    assert not (tmp_path / "out.ipynb").exists()
    assert (tmp_path / "out.failed.ipynb").exists()


def test_refresh_runs_only_what_changed(notebook, tmp_path, monkeypatch):
    executed = []

    def fake_run(source, output, parameters):
        executed.append(dict(parameters))
        output.write_text("{}")
        output.with_suffix(".html").write_text("")
        product.write_text("made")

    monkeypatch.setattr(notebooks, "run_notebook", fake_run)
    source, output, product = notebook(), tmp_path / "out.ipynb", tmp_path / "figure.png"

    def refresh(x=1, runs=("r1",)):
        return notebooks.refresh(source, output, {"x": x}, {"runs": list(runs)}, [product])

    assert refresh() and not refresh()
    assert refresh(x=2) and not refresh(x=2)
    assert refresh(x=2, runs=("r1", "r2"))
    product.unlink()
    assert refresh(x=2, runs=("r1", "r2"))
    source.write_text(source.read_text() + "\n")
    assert refresh(x=2, runs=("r1", "r2"))
    assert len(executed) == 5


def test_a_second_call_waits_for_the_first(notebook, tmp_path, capsys, monkeypatch):
    running, others = [], []

    def execute(source, partial, *given, **more):
        assert not running and partial.name == "out.ipynb"
        running.append(partial)
        if not others:
            others.append(threading.Thread(target=execute_it))
            others[0].start()
            time.sleep(1.5 * locks.PATIENCE)
        shutil.copy(source, partial)
        running.remove(partial)

    def execute_it():
        notebooks.run_notebook(notebook(), tmp_path / "out.ipynb", progress=False)

    monkeypatch.setattr(notebooks.papermill, "execute_notebook", execute)
    execute_it()
    others[0].join()
    assert "out: waiting for process" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.glob("out.*")) == ["out.html", "out.ipynb"]
