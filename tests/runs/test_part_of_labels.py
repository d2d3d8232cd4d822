"""Runs on a part of the labelled eyes, and in so many steps."""

from dataclasses import replace

import numpy as np
from pytest import MonkeyPatch, fixture, mark, raises
from safetensors.torch import load_file
from training_data import make_dataset, silent
from typer.testing import CliRunner

from rnfl import cli, datasets
from rnfl.core.splits import EVERYTHING, Lesson, taught
from rnfl.runs import address, restore, results
from rnfl.runs.run import RunConfig, run

CONFIG = RunConfig(
    "lesson-slo", "phantom_scratch", "naive", epochs=2, warmup_epochs=1, batch_size=6, lr_scale=5.0
)


@fixture(scope="module")
def prepared(tmp_path_factory):
    with MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(tmp_path_factory.mktemp("data")))
        yield make_dataset("lesson-slo", n=48)


def same_bits(one, other):
    tables = [load_file(found.model_path) for found in (one, other)]
    assert tables[0].keys() == tables[1].keys()
    return all((tables[0][name] == tables[1][name]).all() for name in tables[0])


def test_all_of_the_labels_is_the_run_without_a_lesson(prepared):
    asked = replace(CONFIG, lesson=Lesson(fraction=1), steps=None)
    assert asked == CONFIG and "lesson" not in address.given(asked)
    assert address.run_id(asked, prepared.hash) == address.run_id(CONFIG, prepared.hash)
    assert Lesson(1) == EVERYTHING and Lesson(quality=1) == Lesson(quality=1.0)


def test_as_many_steps_as_passes_have_give_the_same_bits(prepared):
    whole = run(CONFIG, silent)
    per_pass = whole.history["step"].iloc[0]
    assert same_bits(whole, run(replace(CONFIG, steps=int(2 * per_pass)), silent))


@mark.parametrize("protocol", ["naive", "structured", "lp_ft"])
def test_a_fraction_takes_the_steps_asked_for(prepared, protocol):
    config = replace(CONFIG, protocol=protocol, lesson=Lesson(0.3, seed=2), steps=11, epochs=4)
    made = run(config, silent)
    assert made.history["step"].tolist() == [2, 5, 8, 11] and "-of0.3-" in made.run_id
    said = made.summary
    assert said["n_left_out"] > 0 and said["n_train"] < len(prepared.subset("train")) / 2
    assert sum(said[f"n_{name}"] for name in ("train", "val", "test", "left_out")) == 48
    assert results.load_run(made.run_id).config == config
    assert np.isfinite(made.history["train_loss"]).all()


def test_a_shown_eye_counts_once_in_the_loss(prepared):
    """Fewer eyes than a batch: a pass is a step, and the mean is over all that were shown."""
    config = replace(CONFIG, lesson=Lesson(0.1), steps=6, epochs=2, augment=None)
    few = run(config, silent)
    assert few.summary["n_train"] <= 6 and few.history["train_loss"].between(1, 200).all()


def test_fractions_are_nested_by_patient_and_test_eyes_stay(prepared):
    before = set()
    for fraction in (0.1, 0.3, 0.6, 1.0):
        samples = results.divided(prepared, "own", Lesson(fraction, seed=1)).samples
        used = samples[samples["split"].isin(["train", "val"])]
        assert before <= set(used["eye_id"])
        before = set(used["eye_id"])
        for name in ("train", "val"):
            patients = prepared.samples.loc[prepared.subset(name), "patient_id"].nunique()
            here = samples[samples["split"] == name]["patient_id"].nunique()
            assert here == max(1, round(fraction * patients))
        assert (samples["split"] == "test").sum() == len(prepared.subset("test"))
    other = results.divided(prepared, "own", Lesson(0.3, seed=2)).samples["split"]
    assert (other != results.divided(prepared, "own", Lesson(0.3, seed=1)).samples["split"]).any()


def test_what_a_lesson_left_out_is_not_known_to_its_run(prepared):
    few = run(replace(CONFIG, lesson=Lesson(0.2)), silent)
    ((_, rows),) = restore.learnt_from(few)
    assert len(rows) == few.summary["n_train"] + few.summary["n_val"]


def test_a_readout_learns_from_a_fraction(prepared):
    readout = replace(CONFIG, protocol="readout", lesson=Lesson(0.3))
    few, all_ = run(readout, silent), run(replace(readout, lesson=EVERYTHING), silent)
    assert few.summary["n_train"] < all_.summary["n_train"]
    assert few.summary["n_left_out"] and few.summary["test_mae"] != all_.summary["test_mae"]


def test_the_mix_of_qualities(prepared, data_root):
    both = datasets.prepare("phantom-slo-60-qualities").samples
    for share in (0.0, 0.25, 1.0):
        rows = both[taught(both, Lesson(quality=share))]
        assert len(rows) == 60 and rows["patient_id"].nunique() == both["patient_id"].nunique()
        high = rows[rows["quality"] == "high"]["patient_id"].nunique()
        assert high == round(share * both["patient_id"].nunique())
    with raises(ValueError, match="column 'quality'"):
        taught(prepared.samples, Lesson(quality=0.5))


@mark.parametrize(
    "given", [{"fraction": 0}, {"fraction": 1.5}, {"quality": -0.1}, {"quality": float("nan")}]
)
def test_a_lesson_that_makes_no_sense_is_refused(given):
    with raises(ValueError, match="expected"):
        Lesson(**given)


def test_what_reads_no_label_refuses_a_part_of_them(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    command = ["train", "phantom-slo-64", "phantom_mae", "--protocol", "mae", "--fraction", "0.5"]
    said = str(CliRunner().invoke(cli.app, command).exception)
    assert said.startswith("protocol 'mae' does not read --fraction")


def test_steps_that_make_no_sense_are_refused():
    for steps in (0, 1, 2.5):
        with raises(ValueError, match="steps"):
            replace(CONFIG, steps=steps)


def test_the_command_asks_for_a_fraction(prepared, monkeypatch, capsys):
    command = ["rnfl", "train", "lesson-slo", "phantom_scratch", "--epochs", "2", "--steps", "4"]
    command += ["--warmup-epochs", "0", "--batch-size", "6", "--fraction", "0.4"]
    monkeypatch.setattr("sys.argv", [*command, "--fraction-seed", "3"])
    with raises(SystemExit, match="0"):
        cli.main()
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "-of0.4-" in line]
    found = results.load_run(said.partition(":")[0].rpartition("/")[2])
    assert found.config.lesson == Lesson(0.4, 3) and found.config.steps == 4
