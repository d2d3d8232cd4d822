"""Splits of a run, starts from a run, cross-validation, and models on eyes they have not seen."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from pytest import MonkeyPatch, approx, fixture, mark, raises
from safetensors.torch import load_file
from training_data import make_dataset, silent
from typer.testing import CliRunner

import rnfl
from analysis.accuracy.quadrants import quadrant_table
from analysis.resampling import Resampling
from rnfl import cli, datasets
from rnfl.core import schema
from rnfl.inference import trained
from rnfl.runs import address, restore, results
from rnfl.runs.run import RunConfig, run
from rnfl.study import baselines, crossval, external_validation
from rnfl.training import devices, protocols

PRED, TRUE = ([f"{side}_{name}" for name in "SNIT"] for side in ("pred", "true"))
PHANTOM = RunConfig(
    "tiny-slo", "phantom_scratch", "naive", epochs=4, warmup_epochs=0, batch_size=6, lr_scale=10.0
)
REAL = replace(PHANTOM, dataset="tiny-a", epochs=1, lr_scale=1.0, split="all")


def write_again(prepared, name, source, images=None, **changes):
    """Write a dataset under another name and source, as quadrants alone, all eyes to test on."""
    images = prepared.images if images is None else images
    samples = prepared.samples.assign(split="test", **changes)
    fields = {"dataset": source, "modality": "SLO", "phantom": False, "settings": {}}
    return datasets.write(name, images, prepared.profiles, samples, fields)


@fixture(scope="module")
def root(tmp_path_factory):
    """A phantom to start from, and real folders a and b of one source with other patients."""
    with MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("data")
        patch.setenv("RNFL_DATA", str(folder))
        make_dataset(n=32)
        two_eyes = {"patient_id": [f"real{i // 2}" for i in range(14)], "sex": None}
        for seed, name in ((1, "a"), (2, "b")):
            made = make_dataset("made", n=14, seed=seed, quadrants=np.arange(14))
            changes = two_eyes if name == "a" else {"patient_id": [f"b{i}" for i in range(14)]}
            write_again(made, f"tiny-{name}", "eyes", **changes)
        yield folder


@fixture(scope="module")
def phantom(root):
    return run(PHANTOM, silent)


@fixture(scope="module")
def trained_on_a(root):
    return run(REAL, silent)


def test_a_dataset_without_training_eyes_names_the_other_splits(root):
    with raises(ValueError, match=r"'tiny-a' has no train images.*'all'.*'fold-0-of-10-s0'"):
        run(replace(REAL, split="own"), silent)


def test_all_leaves_nothing_to_test_and_everything_copes(trained_on_a):
    assert trained_on_a.run_id.startswith("tiny-a-phantom_scratch-naive-s42-all-")
    assert len(trained_on_a.predictions) == 0
    summary = trained_on_a.summary
    assert summary["test_mae"] is summary["target"] is None
    assert (summary["n_train"], summary["n_val"], summary["n_test"]) == (12, 2, 0)
    assert np.isfinite(summary["best_val_mae"])
    table = rnfl.runs_table([trained_on_a])
    assert table.loc[0, "split"] == "all" and pd.isna(table.loc[0, "test_mae"])
    samples = datasets.load("tiny-a").samples
    assert schema.quadrant_frame(trained_on_a.predictions, samples).empty
    assert results.load_run(trained_on_a.run_id).config == REAL


def test_the_address_has_the_split_and_the_start(root, phantom):
    prepared = datasets.load("tiny-a")
    changes = ({}, {"split": "fold-0-of-3-s0"}, {"start": phantom.run_id})
    found = [replace(REAL, **change) for change in changes]
    assert len({address.run_id(one, prepared.hash) for one in found}) == 3
    assert found[1].slug.endswith("-s42-fold-0-of-3-s0")
    assert found[2].slug.endswith(f"-all-from-{phantom.run_id[-10:]}")
    assert "own" not in PHANTOM.slug and "from" not in PHANTOM.slug


def test_a_start_is_the_whole_model_with_the_level_of_the_new_labels(root, phantom, monkeypatch):
    seen = {}

    def stop(model, *args):
        seen.update({name: value.clone() for name, value in model.state_dict().items()})
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rnfl.training.finetuning.fit", stop)
        with raises(KeyboardInterrupt):
            run(replace(REAL, start=phantom.run_id), silent)
    saved = load_file(phantom.model_path)
    changed = [name for name, value in saved.items() if not torch.equal(seen[name], value)]
    assert changed == ["target_mean"]
    prepared = results.divided(datasets.load("tiny-a"), "all")
    labels = prepared.samples.iloc[prepared.subset("train")][[f"rnfl_{q}" for q in "SNIT"]]
    assert seen["target_mean"].item() == approx(labels.to_numpy().mean(), rel=1e-5)


def test_a_start_on_the_same_kind_of_eyes_learns_faster(phantom, trained_on_a):
    started = run(replace(REAL, start=phantom.run_id), silent)
    assert started.history["train_loss"][0] < 0.8 * trained_on_a.history["train_loss"][0]


def test_starts_that_do_not_fit_are_refused(root, phantom, trained_on_a):
    with raises(ValueError, match="has backbone 'phantom_scratch', expected 'phantom_mae'"):
        run(replace(REAL, backbone="phantom_mae", start=phantom.run_id), silent)
    with raises(ValueError, match=r"nothing-there is no finished run: make it with 'rnfl train'"):
        run(replace(REAL, start="nothing-there"), silent)
    with raises(ValueError, match=r"'\.\./x': expected the id of a finished run"):
        replace(REAL, start="../x")
    fold = replace(REAL, split="fold-0-of-3-s0", start=trained_on_a.run_id)
    with raises(ValueError, match=r"has learnt from 3 patients that are to be tested on"):
        run(fold, silent)


def test_the_radius_of_a_start_matters_to_those_who_read_it(root):
    start = run(replace(PHANTOM, epochs=1, radius_ratio=0.3), silent)
    tuned, b = replace(REAL, dataset="tiny-b", start=start.run_id), datasets.load("tiny-b")
    with raises(ValueError, match=r"has radius_ratio 0\.3, expected 0\.35"):
        restore.untrained(tuned, b)
    assert len(restore.backbones(replace(tuned, protocol="readout"), b)) == 1


def test_patients_are_followed_through_starts_and_compared_within_a_source(
    root, phantom, trained_on_a
):
    a, every = datasets.load("tiny-a"), np.arange(14)
    config = replace(REAL, dataset="tiny-b", start=trained_on_a.run_id)
    later = run(config, silent)
    assert restore.shared_patients(later, a, every) == set(a.samples["patient_id"])
    assert restore.shared_patients(phantom, a, every) == set()
    elsewhere = write_again(a, "tiny-elsewhere", "other eyes")
    assert restore.shared_patients(trained_on_a, elsewhere, every) == set()
    tested = datasets.load("tiny-slo")
    assert restore.shared_patients(phantom, tested, tested.subset("test")) == set()
    assert len(restore.shared_patients(phantom, tested, tested.subset("val"))) == 8


def test_each_eye_is_predicted_by_the_run_that_has_not_seen_its_patient(root):
    config = replace(REAL, epochs=1)
    methods = {"a": config, "b": replace(config, seed=43)}
    made = crossval.out_of_fold(methods, k=3, seeds=(0, 1), engine="serial")
    prepared = datasets.load("tiny-a")
    constant = baselines.constant(prepared, k=3, seed=1)
    assert list(made) == ["a", "b"] and not np.allclose(made["a"][PRED], made["b"][PRED])
    ids = [
        f"tiny-a-phantom_scratch-naive-s{n}-3-folds-s{seed}" for n in (42, 43) for seed in (0, 1)
    ]
    assert [one for frame in made.values() for one in frame["run_id"].unique()] == ids
    frames = [frame.reset_index(drop=True) for _, frame in made["a"].groupby("run_id")]
    for seed, frame in enumerate(frames):
        assert frame["eye_id"].tolist() == prepared.samples["eye_id"].tolist()
        for fold in crossval.fold_configs(config, 3, seed):
            result = results.find_run(fold)
            label = results.divided(prepared, fold.split).samples.set_index("eye_id")["split"]
            eyes = result.predictions["eye_id"]
            assert (label[eyes] == "test").all() and len(eyes) == (label == "test").sum()
            one = schema.quadrant_frame(result.predictions, prepared.samples).set_index("eye_id")
            of_all = frame.set_index("eye_id").loc[eyes, PRED]
            pd.testing.assert_frame_equal(of_all, one[PRED])
    assert list(frames[1]) == list(constant) and frames[1]["inner_error"].isna().all()
    np.testing.assert_array_equal(frames[1]["fold"], constant["fold"])
    np.testing.assert_allclose(frames[1][TRUE], constant[TRUE])
    assert not np.allclose(frames[0][PRED], frames[1][PRED])


def test_methods_of_several_datasets_have_no_folds_in_common():
    others = {"a": REAL, "b": replace(REAL, dataset="tiny-b")}
    with raises(ValueError, match=r"expected one dataset for all, got \['tiny-a', 'tiny-b'\]"):
        crossval.out_of_fold(others)
    with raises(ValueError, match=r"got \[\]"):
        crossval.out_of_fold({})


def test_models_and_baselines_meet_unseen_eyes(root, trained_on_a):
    other_seed = run(replace(REAL, seed=43), silent)
    compared = external_validation.compare([trained_on_a, other_seed], "tiny-b")
    model = "tiny-a-phantom_scratch-naive-all"
    assert list(compared.frames) == ["constant", "PCA + ridge", model]
    assert compared.frames[model].groupby("run_id").size().tolist() == [14, 14]
    a, b = datasets.load("tiny-a").samples, datasets.load("tiny-b").samples
    columns = [f"rnfl_{name}" for name in "SNIT"]
    level = np.tile(a[columns].mean(), (14, 1))
    np.testing.assert_allclose(compared.frames["constant"][PRED], level, rtol=1e-5)
    for frame in compared.frames.values():
        one = frame.drop_duplicates("eye_id")
        np.testing.assert_allclose(one[TRUE], b[columns], rtol=1e-5)
    mae = {
        method: np.abs(frame[PRED].to_numpy() - frame[TRUE].to_numpy()).mean()
        for method, frame in compared.frames.items()
    }
    assert mae["PCA + ridge"] < 0.6 * mae["constant"]
    table = quadrant_table(
        compared.frames, "tiny-b", resampling=Resampling(50), constant=compared.constant
    )
    text = external_validation.describe(table)
    assert f"{mae['constant']:.2f} [" in text
    assert compared.heading == "tiny-b: 14 eyes of 14 patients"


def test_eyes_that_trained_a_model_do_not_measure_it(root, trained_on_a):
    with raises(ValueError, match=r"were trained on 7 of 7 patients of tiny-a") as caught:
        external_validation.compare([trained_on_a], "tiny-a", drop_shared=True)
    assert "real0, real1, real2, real3, real4 and 2 more" in str(caught.value)
    a = datasets.load("tiny-a")
    owners = a.samples["patient_id"].where(a.samples.index < 4, "new" + a.samples["eye_id"])
    fresh = np.where(np.arange(14)[:, None, None] < 4, a.images, a.images + 1)
    write_again(a, "tiny-half", "eyes", fresh, patient_id=owners)
    with raises(ValueError, match=r"2 of 12 patients of tiny-half.*--drop-shared"):
        external_validation.compare([trained_on_a], "tiny-half")
    compared = external_validation.compare([trained_on_a], "tiny-half", {}, drop_shared=True)
    assert compared.heading == "tiny-half: 10 eyes of 10 patients, 2 patients left out"


def test_a_patient_is_known_under_another_spelling_and_by_the_photograph(root, trained_on_a):
    a = datasets.load("tiny-a")
    other, spelt = a.images + 1, " REAL 00" + a.samples["patient_id"].str[4:]
    write_again(a, "tiny-spelt", "eyes", other, patient_id=spelt)
    with raises(ValueError, match=r"7 of 7 patients of tiny-spelt.*:  REAL 000,  REAL 001"):
        external_validation.compare([trained_on_a], "tiny-spelt")
    write_again(a, "tiny-elsewhere", "another clinic", other, patient_id=spelt)
    compared = external_validation.compare([trained_on_a], "tiny-elsewhere", {})
    assert "7 patients have ids of tiny-a, which was trained on:" in compared.heading
    assert " REAL 000 (there real0)" in compared.heading
    renamed = "q" + a.samples["patient_id"]
    write_again(a, "tiny-renamed", "another clinic", patient_id=renamed)
    with raises(ValueError, match=r"7 of 7 patients of tiny-renamed.*photographs: qreal0"):
        external_validation.compare([trained_on_a], "tiny-renamed")


def test_eyes_without_labels_measure_nothing(root, trained_on_a):
    a = datasets.load("tiny-a")
    unlabelled = {f"rnfl_{name}": np.nan for name in "SNIT"}
    write_again(a, "tiny-bare", "other eyes", **unlabelled)
    with raises(ValueError, match=r"no quadrant of its 14 eyes was measured.*'rnfl predict'"):
        external_validation.compare([trained_on_a], "tiny-bare")


def test_no_p_value_reads_as_nought():
    row = {"method": "m", "against": "b", "estimate": -2.0, "low": -3.0, "high": -1.0}
    table = pd.DataFrame([row | {"p_holm": 0.0002}, row | {"p_holm": 0.0312}])
    lines = external_validation.describe_paired(table).splitlines()
    assert lines[1].endswith("p < 0.001 (Holm)") and lines[2].endswith("p 0.031 (Holm)")


def test_a_readout_is_never_computed_in_half_precision(root, monkeypatch):
    config = replace(REAL, backbone="phantom_scratch", protocol=protocols.get("readout"))
    result = run(config, silent)
    exact = trained.load(result.folder).predict(datasets.load("tiny-b").images)
    monkeypatch.setattr(devices, "resolve_precision", lambda p, *_: "bf16" if p == "auto" else p)
    table = rnfl.predict_with(result, "tiny-b", None)
    np.testing.assert_allclose(schema.matrix(table, "prediction"), exact, atol=1e-3)


def test_a_teacher_whose_name_other_eyes_bear_by_now_is_refused(root):
    a = datasets.load("tiny-a")
    write_again(a, "tiny-moved", "eyes")
    taught = run(replace(REAL, dataset="tiny-moved"), silent)
    write_again(a, "tiny-moved", "eyes", patient_id=[f"new{i}" for i in range(14)])
    with raises(ValueError, match="'tiny-moved' was prepared anew after this run"):
        external_validation.compare([taught], "tiny-a", drop_shared=True)


def command(*arguments):
    return CliRunner().invoke(cli.app, list(arguments))


def test_the_documented_commands(root, phantom, tmp_path):
    options = ["--epochs", "1", "--warmup-epochs", "0", "--split", "all"]
    start = str(phantom.folder)
    said = command("train", "tiny-a", "phantom_scratch", *options, "--start", start).stdout
    assert "no test split (12 eyes train, 2 validate, 0 test; validation MAE on quadrant" in said
    run_id = said.split(":")[0].rpartition("/")[2]
    output = tmp_path / "tables"
    asked = ["transfer", run_id, "--on", "tiny-b", "--output", str(output)]
    said = command(*asked).stdout
    assert "tiny-b: 14 eyes of 14 patients" in said and "PCA + ridge" in said
    table = pd.read_csv(output / "quadrants.csv")
    assert set(table["method"]) >= {"constant", "PCA + ridge"}
    assert len(pd.read_csv(output / "predictions.csv")) == 3 * 14
    assert run_id in (output / "about.json").read_text()
    assert "exists already" in str(command(*asked).exception)
    refused = command("transfer", run_id, "--on", "tiny-a").exception
    assert "7 of 7 patients of tiny-a, by ids" in str(refused)


@mark.parametrize("change", [{"split": "half"}, {"split": "fold-0-of-2-s0"}])
def test_splits_are_checked_at_once(change):
    with raises(ValueError, match="split"):
        replace(REAL, **change)
