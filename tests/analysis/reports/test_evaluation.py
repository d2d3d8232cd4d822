"""`rnfl evaluate` end to end: the numbers of the study's own path, and collapse called by name."""

import errno
import json
import os
import re

import numpy as np
import pandas as pd
import pytest
import synthetic_tables as synthetic
from test_imported import as_long, as_wide, saved

from analysis import collapse, fairness, tables
from analysis.accuracy import performance
from analysis.figures import stale
from analysis.reports import evaluation
from analysis.reports import study as report
from analysis.resampling import Resampling
from rnfl.core import metrics
from rnfl.datasets.phantom import VERSION
from rnfl.storage import provenance

FEW = {"n_boot": 60, "n_perm": 60}


def run(folder, frame, samples=None, name="predictions.csv", **options):
    """Evaluate a table through files; return the summary and the output folder."""
    people = None
    if samples is not None:
        people = saved(samples.rename(columns={"eye_id": "sample_id"}), folder, "people.csv")
    path, output = saved(frame, folder, name), folder / "out"
    return evaluation.evaluate_files(path, people, output, **{**FEW, **options}), output


def table(output, name="02_protocols/table1"):
    return pd.read_csv(output / "results" / f"{name}.csv")


def study(n_patients=24, missing=0.01):
    """Return samples, labels and predictions of a healthy and of a collapsed model, float32."""
    samples = synthetic.eyes(n_patients)
    truth, label = synthetic.profiles(samples, missing=missing)
    models = {"alive": truth, "flat": np.tile(synthetic.HUMP, (len(samples), 1))}
    return samples, label.astype(np.float32), {k: v.astype(np.float32) for k, v in models.items()}


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the figures out, which take most of the time."""
    monkeypatch.setattr(evaluation.figures, "make_all", lambda *_: [])


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """One evaluation of two models with demographics, from a long file."""
    folder = tmp_path_factory.mktemp("evaluated")
    samples, label, predictions = study()
    healthy, _ = synthetic.profiles(synthetic.eyes(30, seed=5), seed=5)
    pd.DataFrame(healthy).to_csv(folder / "healthy.csv", index=False)
    frame = as_long(samples, label, predictions)
    printed, output = run(folder, frame, samples, reference=folder / "healthy.csv")
    return samples, label, predictions, printed, output


@pytest.mark.parametrize("layout", [as_long, as_wide])
def test_a_constant_template_is_called_collapsed_whatever_its_flat_sigma(layout, tmp_path, undrawn):
    samples, label, predictions = study()
    flat = {"template": predictions["flat"]}
    printed, output = run(tmp_path, layout(samples, label, flat).drop(columns="model"),
                          samples, name="template.csv")  # fmt: skip
    found = table(output)
    mine = {"backbone": "imported", "protocol": "template (file)"}
    assert synthetic.only(found, **mine, metric="sigma_between").estimate == 0.0
    assert synthetic.only(found, **mine, metric="sigma_flat").estimate == pytest.approx(
        24.7, abs=0.1
    )
    verdict = [line for line in printed.splitlines() if "template (file)" in line]
    assert any("collapsed" in line and "no collapse" not in line for line in verdict), printed
    assert re.search(r"sigma_between +0\.000 ", printed)
    assert re.search(r"sigma_flat +24\.7", printed)


def test_a_model_that_sees_the_eye_is_not_called_collapsed(evaluated):
    printed = evaluated[3]
    verdicts = [line for line in printed.splitlines() if "imported with" in line and "σ" in line]
    alive = [line for line in verdicts if " alive" in line]
    flat = [line for line in verdicts if " flat" in line]
    assert alive and not any("collapsed" in line for line in alive)
    assert flat and any("collapsed" in line for line in flat)


def test_statistics_are_those_of_the_direct_path(evaluated):
    samples, label, predictions, _, output = evaluated
    frames = [synthetic.frame(name, samples, one, label) for name, one in predictions.items()]
    mean = np.tile(np.nanmean(label.astype(float), axis=0), (len(samples), 1))
    direct = pd.concat([*frames, synthetic.frame("template", samples, mean, label)])
    names = list(predictions)
    runs = pd.DataFrame({"run_id": names, "backbone": "imported", "protocol": names})
    given = (direct.reset_index(drop=True), samples, runs)
    expected = performance.performance_table(*given, Resampling(**FEW), collapse.DEFINITIONS)
    expected = pd.concat(
        [expected, fairness.fairness_table(*given, Resampling(**FEW))], ignore_index=True
    )
    found = table(output)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-12)
    measured = collapse.collapse_table(given[0], runs, Resampling(**FEW))
    stored = table(output, "01_visualize_predictions/collapse")
    keys = ["backbone", "protocol", "metric"]
    merged = measured.merge(stored, on=keys, suffixes=("", "_stored"), validate="one_to_one")
    assert len(merged) == len(measured)
    np.testing.assert_allclose(merged["estimate_stored"], merged["estimate"], rtol=1e-12)


def test_layout_and_order_of_rows_change_nothing(evaluated, tmp_path, undrawn):
    samples, label, predictions, printed, output = evaluated
    wide = as_wide(samples, label, predictions).sample(frac=1, random_state=4)
    healthy = output.parent / "healthy.csv"
    again, other = run(tmp_path, wide, samples.sample(frac=1, random_state=5), reference=healthy)
    for path in sorted((output / "results").rglob("*.csv")):
        assert (other / path.relative_to(output)).read_bytes() == path.read_bytes(), path.name
    assert again.replace(str(other), "") == printed.replace(str(output), "")


def test_the_summary_has_every_metric_with_its_interval(evaluated):
    samples, label, predictions, printed, output = evaluated
    blocks = printed.split("\n\n")
    block = next(b for b in blocks if b.startswith("alive, "))
    assert block.startswith(f"alive, {len(samples)} eyes of 24 patients")
    for name, value in metrics.evaluate(predictions["alive"], label).items():
        line = re.search(rf"^  {name} +(\S+)  \[(\S+), (\S+)\]", block, re.MULTILINE)
        assert float(line[1].replace("−", "-")) == pytest.approx(value, abs=6e-4), name
    gap = synthetic.only(table(output), protocol="alive", metric="gap", attribute="sex")
    null = synthetic.only(table(output), protocol="alive", metric="null_gap", attribute="sex")
    ends = f"{gap.estimate:.2f} [{gap.low:.2f}, {gap.high:.2f}] µm, null {null.estimate:.2f} µm"
    assert re.search(rf"alive +sex +{re.escape(ends)}", printed)
    assert str(output) in printed


def test_the_folder_is_laid_out_as_the_studys(evaluated):
    output = evaluated[4]
    results, figures = output / "results", output / "figures"
    for stem in ("01_visualize_predictions", "02_protocols", "06_cross_modality", "07_fairness",
                 "11_agreement"):  # fmt: skip
        about = tables.read_about(results / stem)
        assert about["tables"] == tables.table_hashes(results / stem)
        assert about["run_ids"] == ["alive", "flat"] and not about["phantom"]
        assert set(about["inputs"]) == {"predictions.csv", "people.csv", "healthy.csv"}
        assert "knows their mean" in about["note"] and about["conclusions"]
    assert (figures / "01_visualize_predictions.png").is_file()
    assert {one.split(": ")[1] for one in stale(results, figures)} <= {
        "02_protocols.png, 02_protocols.pdf, 02_protocols.json missing"  # it needs training curves
    }
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "alive" in page and "Phantom" not in page
    report.build(results, figures, output.parent / "again.html", title="again")


def test_without_demographics_fairness_is_left_out_and_that_is_said(tmp_path, undrawn):
    printed, output = run(tmp_path, as_long(*study()))
    assert not (output / "results" / "07_fairness").exists()
    assert "No demographics: fairness was not evaluated." in printed
    assert "Each sample counts as a patient of its own" in printed
    assert "alive, 42 eyes of 42 patients" in printed
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "fairness was not evaluated" in page


def test_attributes_that_are_absent_are_named(tmp_path, undrawn):
    samples, label, predictions = study()
    people = samples[["eye_id", "patient_id", "sex"]].assign(
        sex=samples["sex"].mask(samples.index < 3)
    )
    printed, output = run(tmp_path, as_long(samples, label, predictions), people)
    assert "No age and no race: the mean gap is over sex only." in printed
    assert "sex of 3" in printed
    found = table(output)
    assert set(found.loc[found["metric"] == "gap", "attribute"]) == {"sex", "mean"}


def test_phantoms_are_recognised_by_name_or_declared(tmp_path, undrawn):
    samples, label, predictions = study(8)
    frame = as_long(samples, label, {"m": predictions["alive"]})
    for given, options in (
        (frame.assign(sample_id="phantom-" + frame["sample_id"]), {}),
        (frame, {"phantom": True}),
    ):
        printed, output = run(tmp_path, given, **options)
        assert printed.startswith(f"Phantom {VERSION} data.")
        assert f"Phantom {VERSION} data." in (output / "report.html").read_text(encoding="utf-8")
        assert tables.read_about(output / "results" / "02_protocols")["phantom"] == VERSION


def test_our_own_predictions_are_evaluated_by_run(tmp_path, undrawn):
    samples, label, predictions = study(8)
    frame = synthetic.frame("run-1", samples, predictions["alive"], label)
    printed, _ = run(tmp_path, frame, name="predictions.parquet")
    assert "run-1, 14 eyes of 8 patients" in printed


def test_another_folder_is_never_destroyed(tmp_path, undrawn):
    frame = as_long(*study(4))
    output = tmp_path / "out"
    output.mkdir()
    kept = output / "thesis.txt"
    run(tmp_path, frame)  # an empty folder is free
    kept.write_text("dear")
    with pytest.raises(ValueError, match=r"thesis\.txt"):
        run(tmp_path, frame)
    kept.unlink()
    printed, _ = run(tmp_path, frame)  # its own work is replaced
    assert "Results" in printed
    (output / evaluation.MARKER).unlink()
    with pytest.raises(ValueError, match="did not make"):
        run(tmp_path, frame)
    assert (output / "report.html").is_file()
    (output / evaluation.MARKER).write_text("[]")
    with pytest.raises(ValueError, match="did not make"):
        run(tmp_path, frame)


def test_what_is_thin_is_not_said_by_the_evaluated_eyes(evaluated, tmp_path, undrawn):
    samples, label, predictions, _, output = evaluated
    samples = samples.assign(severity=np.resize(["healthy", "mild"], len(samples)))
    _, bare = run(tmp_path, as_long(samples, label, predictions), samples)
    assert not (bare / "results" / "11_agreement" / "thinning.csv").exists()
    said = tables.read_about(bare / "results" / "11_agreement")["conclusions"]
    assert any("give them with --reference" in one for one in said)
    found = table(output, "11_agreement/thinning")
    limits = found[found["metric"] == "limit"].drop_duplicates("group")
    healthy = pd.read_csv(output.parent / "healthy.csv").to_numpy()
    assert (limits["n"] == len(healthy)).all()
    whole = limits.set_index("group").loc["global", "estimate"]
    assert whole == pytest.approx(np.percentile(healthy.mean(axis=1), 5))
    assert found.loc[found["metric"] == "sensitivity", "estimate"].isna().all()


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, undrawn):
    frame = as_long(*study(4))
    _, output = run(tmp_path, frame)
    before = provenance.sha256_file(output / "report.html")

    def fail(*_, **__):
        raise RuntimeError("no")

    monkeypatch.setattr(report, "build", fail)
    with pytest.raises(RuntimeError):
        run(tmp_path, frame)
    assert provenance.sha256_file(output / "report.html") == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".out")] == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("before", [False, True])
def test_a_disk_that_takes_no_more_is_said_and_nothing_is_half_written(
    code, before, tmp_path, monkeypatch, undrawn
):
    frame, kept = as_long(*study(4)), "nothing half-written is left"
    if before:
        _, output = run(tmp_path, frame)
        page, kept = (output / "report.html").read_bytes(), f"what {output} held is as it was"
    calls = iter(range(99))

    def full(path, really=provenance._flush):
        if next(calls) == 5:
            raise OSError(code, os.strerror(code))
        really(path)

    monkeypatch.setattr(provenance, "_flush", full)
    with pytest.raises(
        OSError, match=rf"cannot write evaluation out into {tmp_path}.*{kept}"
    ) as caught:
        run(tmp_path, frame)
    assert caught.value.errno == code and os.strerror(code) in str(caught.value)
    assert "--output names another folder" in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} <= {"predictions.csv", "out"}
    assert (tmp_path / "out").exists() == before
    assert not before or (output / "report.html").read_bytes() == page


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    path = saved(as_long(*study(4)), tmp_path)
    with pytest.raises(
        OSError, match=rf"cannot write evaluation out into {tmp_path}/file .*put that"
    ):
        evaluation.evaluate_files(path, None, tmp_path / "file" / "out", **FEW)


def test_the_default_folder_is_named_after_the_inputs(tmp_path, monkeypatch, undrawn):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "data"))
    path = saved(as_long(*study(4)), tmp_path, "mine.csv")
    printed = evaluation.evaluate_files(path, **FEW)
    (output,) = (tmp_path / "data" / "evaluations").iterdir()
    assert re.fullmatch(r"mine-[0-9a-f]{8}", output.name) and str(output) in printed
    made = json.loads((output / evaluation.MARKER).read_text())
    assert made["inputs"] == {"mine.csv": provenance.sha256_file(path)}


def test_the_template_is_the_mean_of_the_evaluated_eyes_where_measured():
    samples, label, predictions = study(6, missing=0.0)
    label[0, 3], label[:, 7] = np.nan, np.nan
    frame = synthetic.frame("m", samples, predictions["alive"], label)
    rows = evaluation.template_of(frame)
    profile = np.stack(rows["prediction"])
    assert (profile == profile[0]).all() and np.isfinite(profile).all()
    assert profile[0, 3] == pytest.approx(label[1:, 3].mean(), rel=1e-6)
    assert profile[0, 8] == pytest.approx(label[:, 8].mean(), rel=1e-6)


def test_true_profiles_that_do_not_differ_are_said_and_not_a_crash(tmp_path, undrawn):
    samples, label, predictions = study()
    same = np.full_like(label, 90.0)
    printed, _ = run(tmp_path, as_long(samples, same, {"alive": predictions["alive"]}))
    assert "not to be judged, as the true profiles do not differ" in printed


def test_eyes_without_two_values_at_any_angle_are_evaluated_and_drawn(tmp_path):
    samples, label, predictions = study(3)
    alone = np.full_like(label, np.nan)
    alone[np.arange(len(alone)), 7 * np.arange(len(alone))] = 80.0
    _, output = run(tmp_path, as_long(samples, alone, {"alive": predictions["alive"]}))
    assert (output / "report.html").is_file()


def test_intervals_of_one_patient_have_no_width_and_that_is_said(tmp_path, undrawn):
    samples, label, predictions = study()
    samples = samples.assign(patient_id="p", sex="F", race="White")
    printed, output = run(tmp_path, as_long(samples, label, predictions), samples)
    assert "With one patient there is nothing to resample" in printed
    mae = table(output).query("metric == 'mae' and attribute == 'all'")
    assert mae["high"].to_numpy() == pytest.approx(mae["low"].to_numpy())
