"""The command line: thin, and its errors name what would be right."""

import subprocess

import numpy as np
import pytest
from typer.testing import CliRunner

from rnfl import cli
from rnfl.cli import evaluate
from rnfl.core import metrics, schema
from rnfl.storage import provenance
from rnfl.storage.paths import project_root


def run(*arguments: str):
    return CliRunner().invoke(cli.app, list(arguments))


def test_evaluate_prints_every_metric_of_a_predictions_file(tmp_path, rng):
    target = 90 + 20 * rng.standard_normal((6, 360))
    eyes = [f"e{i}" for i in range(6)]
    table = schema.predictions_frame("run-1", eyes, eyes, np.full((6, 360), 90.0), target)
    path = provenance.write_parquet(tmp_path / "predictions.parquet", table)
    printed = run("evaluate", str(path), "--output", str(tmp_path / "mine")).stdout
    assert "run-1, 6 eyes" in printed
    first = dict(line.split()[:2] for line in printed.splitlines() if len(line.split()) > 2)
    assert set(first) >= set(metrics.METRICS)
    assert float(first["sigma_between"]) == 0
    assert (tmp_path / "mine" / "report.html").is_file()


def test_audit_prints_findings_and_keeps_them(tmp_path):
    table = tmp_path / "results.csv"
    table.write_text("protocol,mae,sigma_true\nnaive,19.5,18.6\nstructured,12.0,18.6\n")
    printed = run("audit", str(table), "--output", str(tmp_path / "findings.csv")).stdout
    assert "DOES NOT HOLD  [constant bound" in printed
    assert "naive" in (tmp_path / "findings.csv").read_text()
    unwritten = run("audit", str(table), "--output", str(table / "findings.csv"))
    assert "DOES NOT HOLD" in unwritten.stdout
    assert "cannot write findings findings.csv into" in str(unwritten.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["notebook", "99_none"], "notebook '99_none' is unknown: expected one of 00_quickstart"),
        (["notebook", "../notebooks/08_audit"], "notebook '../notebooks/08_audit': expected a na"),
        (["notebook", "08_audit", "--preset", "../escaped"], "unknown preset '../escaped'; valid"),
        (["notebook", "09_phantom", "-p", "eyes=3"], "unknown parameter eyes; it has preset"),
        (["reproduce", "--preset", "full"], "unknown preset 'full'; valid names are"),
        (["prepare", "unknown-7"], "dataset 'unknown-7' is unknown"),
        (["reproduce", "--profile", "smoke"], "--profile is called --preset now: give --preset sm"),
        (["notebook", "09_phantom", "--profile", "smoke"], "--profile is called --preset now"),
        (["notebook", "09_phantom", "-p", 'profile="smoke"'], "'profile' is called 'preset' now"),
        (["train", "absent", "phantom_mae", "--augment", "None"], "or 'none' in small letters"),
        (["train", "absent", "phantom_mae", "--micro-batch", "0"], "--micro-batch '0': expected"),
        (["train", "absent", "phantom_mae", "--micro-batch", "-3"], "--micro-batch '-3': expected"),
        (["train", "absent", "phantom_mae", "--micro-batch", "abc"], "1 or more, or 'auto' or"),
    ],
)
def test_errors_name_the_valid_values(arguments, message, monkeypatch):
    assert message in str(run(*arguments).exception)
    monkeypatch.setattr("sys.argv", ["rnfl", *arguments])
    with pytest.raises(SystemExit, match=r"^error: "):
        cli.main()


def test_the_old_name_of_a_preset_is_refused_by_make():
    asked = ["make", "--dry-run", "reproduce", "PROFILE=smoke"]
    done = subprocess.run(asked, cwd=project_root(), capture_output=True, text=True)
    assert done.returncode and "PROFILE is called PRESET now: give PRESET=smoke" in done.stderr


def test_evaluate_says_which_file_it_needs(tmp_path):
    (tmp_path / "notes.md").write_text("not a table")
    for name in ("absent.parquet", "notes.md"):
        with pytest.raises(ValueError, match=rf"{name} cannot be read.*<run id>/predictions"):
            evaluate.evaluate(tmp_path / name)


def test_a_repeated_export_says_that_it_was_done(monkeypatch, tmp_path):
    from rnfl.inference import onnx, trained

    about = {"input": {"name": "images", "shape": [1]}, "max_relative_difference": 0.0}
    about["checked_on"] = {"images": 1, "crops": 0}
    monkeypatch.setattr(trained, "load", lambda run: None)
    monkeypatch.setattr(onnx, "export", lambda used, path: about)
    given = "export", "run", "--output", str(tmp_path / "m.onnx")
    assert "exported before" not in run(*given).stdout
    for suffix in ("onnx", "json"):
        (tmp_path / f"m.{suffix}").touch()
    again = run(*given)
    assert again.exit_code == 0 and "this model was exported before" in again.stdout


def test_what_a_notebook_made_is_missed_when_it_is_gone(tmp_path, monkeypatch):
    from rnfl.cli.reproduce import _products

    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    results = tmp_path / "results" / "02_protocols"
    assert not any(path.exists() for path in _products(results, tmp_path, "02_protocols"))
    about = {"tables": {"a.csv": "0"}, "run_ids": ["run-1"]}
    provenance.write_json(results / "about.json", about)
    gone = [path for path in _products(results, tmp_path, "02_protocols") if not path.exists()]
    figure = [tmp_path / f"02_protocols.{kind}" for kind in ("png", "pdf", "json")]
    assert gone == [*figure, results / "a.csv", tmp_path / "runs" / "run-1" / "summary.json"]


def test_nobody_is_told_of_what_is_used():
    from huggingface_hub import constants

    assert constants.HF_HUB_DISABLE_TELEMETRY
