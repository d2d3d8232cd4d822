"""Bands of a run: calibrated on others, kept whole, and where its readings go."""

import json

import numpy as np
import pandas as pd
from PIL import Image
from pytest import MonkeyPatch, approx, fixture, raises
from training_data import make_dataset, silent
from typer.testing import CliRunner

from rnfl import cli, datasets
from rnfl.core import conformal
from rnfl.inference import bands, trained
from rnfl.runs.predictions import predict_with
from rnfl.runs.run import RunConfig, run


@fixture(scope="module")
def calibrated(tmp_path_factory):
    """A run and its bands, of 80 eyes of others, among them four that it knows."""
    with MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(tmp_path_factory.mktemp("data")))
        make_dataset("taught", n=40)
        made = run(RunConfig("taught", "phantom_scratch", "readout"), silent)
        others = make_dataset("others", n=80, seed=1, patients="q")
        known = others.samples["patient_id"].to_numpy(copy=True)
        known[:4] = datasets.load("taught").samples["patient_id"].iloc[:4]
        mixed = others.samples.assign(patient_id=known, split="test")
        fields = {k: others.manifest[k] for k in ("dataset", "modality", "phantom", "settings")}
        datasets.write("mixed", others.images, others.profiles, mixed, fields)
        yield made, bands.calibrate(made, "mixed")


def test_patients_that_the_run_knows_are_left_out(calibrated):
    _, record = calibrated
    assert record["left_out"] == 4 and record["eyes"] == record["patients"] == 76
    assert record["phantom"] and record["dataset"] == "mixed"


def test_new_eyes_are_held_as_often_as_stated(calibrated):
    made, record = calibrated
    make_dataset("new", n=400, seed=2, patients="r")
    table = predict_with(made, "new", None)
    prediction, true = (np.stack(table[name]) for name in ("prediction", "target"))
    held = conformal.coverage(*bands.profile_limits(record, prediction), true)
    assert held["whole"] == approx(0.9, abs=0.1)  # of a quantile of 51 patients


def test_groups_have_bands_of_their_own_and_unknown_columns_are_refused(calibrated):
    made, before = calibrated
    record = bands.calibrate(made, "mixed", 0.8, by="sex")
    assert set(record["profile"]["groups"]) == {"F", "M"}
    with raises(ValueError, match="no column 'colour'"):
        bands.calibrate(made, "mixed", by="colour")
    with raises(ValueError, match="patients give no band of 99%"):
        bands.calibrate(made, "mixed", 0.99)
    assert bands.of_run(made.folder)["level"] == 0.8  # what was refused changed nothing
    assert bands.calibrate(made, "mixed") == before


def test_a_dataset_with_quadrants_alone_gives_bands_of_quadrants(calibrated):
    made, before = calibrated
    make_dataset("quarters", n=60, seed=3, quadrants=range(60), patients="s")
    record = bands.calibrate(made, "quarters")
    assert record["profile"] is None and len(record["measures"]["pointwise"]) == 5
    assert min(record["measures"]["pointwise"]) > 0
    assert bands.calibrate(made, "mixed") == before


def test_an_angle_that_nobody_was_measured_at_has_no_band(calibrated, tmp_path):
    made, before = calibrated
    others = datasets.load("mixed")
    labels = others.profiles.copy()
    labels[:, 10] = np.nan
    fields = {k: others.manifest[k] for k in ("dataset", "modality", "phantom", "settings")}
    datasets.write("gap", others.images, labels, others.samples, fields)
    said = CliRunner().invoke(cli.app, ["calibrate", made.run_id, "--on", "gap"])
    assert said.exit_code == 0, said.exception
    low, high = bands.profile_limits(bands.of_run(made.folder), np.full((2, 360), 90.0))
    assert np.isnan(low[:, 10]).all() and np.isfinite(np.delete(high, 10, axis=1)).all()
    assert bands.calibrate(made, "mixed") == before


def test_its_own_test_eyes_may_calibrate_it_but_are_few(calibrated):
    made, before = calibrated
    record = bands.calibrate(made, "taught")
    assert record["patients"] == 10 and record["left_out"] == 30
    assert "10 patients, below 50" in bands.doubts(record)[1]
    samples = datasets.load("taught").samples
    rows = np.flatnonzero(samples["split"] != "test")
    seen = datasets.load("taught")
    fields = {k: seen.manifest[k] for k in ("dataset", "modality", "phantom", "settings")}
    given = seen.images[rows], seen.profiles[rows], samples.iloc[rows].reset_index(drop=True)
    datasets.write("seen", *given, fields)
    with raises(ValueError, match=r"has not learnt from \(30 it has\)"):
        bands.calibrate(made, "seen")
    assert bands.calibrate(made, "mixed") == before


def test_readings_carry_the_band(calibrated, tmp_path):
    made, record = calibrated
    rng = np.random.default_rng(0)
    for i in range(2):
        picture = rng.integers(60, 120, (240, 240, 3), np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{i}_OD.png")
    given = ["predict", str(tmp_path), "--eye", "from-name", "--crops", "--model", made.run_id]
    said = CliRunner().invoke(cli.app, [*given, "--output", str(tmp_path / "out")])
    assert said.exit_code == 0, said.exception
    assert "bands hold 90% of eyes like those of mixed" in said.output
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    for name in ("rnfl_mean", "rnfl_S", "0", "359"):
        assert (table[f"{name}_low"] <= table[name]).all()
        assert (table[name] <= table[f"{name}_high"]).all()
    width = record["profile"]["whole"][0]
    assert (table["0_high"] - table["0"]).to_numpy() == approx(width, abs=2e-3)
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert about["bands"]["dataset"] == "mixed" and "profile" not in about["bands"]
    assert len(list((tmp_path / "out").glob("*.pdf"))) == 2
    plain = trained.load(made.folder)
    assert plain.bands == record


def test_a_damaged_band_is_refused_by_name(calibrated):
    made, record = calibrated
    path = made.folder / bands.NAME
    whole = path.read_text()
    path.write_text(whole.replace('"level": 0.9', '"level": 0.8'))
    with raises(ValueError, match=r"band\.json"):
        trained.load(made.folder)
    said = CliRunner().invoke(cli.app, ["verify", made.run_id])
    assert said.exit_code == 1 and "band.json" in said.output
    path.write_text(whole)
    assert bands.of_run(made.folder) == record


def test_the_command_says_what_it_found(calibrated):
    made, _ = calibrated
    said = CliRunner().invoke(cli.app, ["calibrate", made.run_id, "--on", "mixed"])
    assert said.exit_code == 0, said.exception
    assert "76 eyes of 76 patients of mixed; 4 patients it knows are left out" in said.output
    assert "all angles at once" in said.output and "and of no other camera" in said.output
