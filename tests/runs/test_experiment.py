import errno
import itertools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import torch
from pytest import MonkeyPatch, fixture, mark, raises
from training_data import make_dataset, silent

import rnfl
from rnfl import datasets
from rnfl.core import metrics, schema
from rnfl.models.registry import BACKBONES
from rnfl.runs import address, restore
from rnfl.runs import results as runs
from rnfl.runs.run import RunConfig, run
from rnfl.storage import locks, provenance
from rnfl.study import presets
from rnfl.study.grid import run_grid
from rnfl.training import batches, finetuning, losses, predict, protocols
from rnfl.training.protocols import Part, Phase, Protocol, Rates

CONFIG = RunConfig(
    "tiny-slo", "phantom_scratch", "naive", epochs=2, warmup_epochs=0, batch_size=6, lr_scale=5.0
)


@fixture(scope="module")
def root(tmp_path_factory):
    with MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("data")
        patch.setenv("RNFL_DATA", str(folder))
        make_dataset(n=24, missing=0.05)
        make_dataset("tiny-cfp", n=12, colour=True, size=150)
        yield folder


@fixture(scope="module")
def result(root):
    return run(CONFIG, silent)


def test_a_finished_run_holds_everything(result, root):
    names = {path.name for path in result.folder.iterdir()}
    assert {
        "config.json", "provenance.json", "history.csv", "predictions.parquet",
        "model.safetensors", "summary.json",
    } <= names  # fmt: skip
    config = json.loads((result.folder / "config.json").read_text())
    assert config["protocol"]["rates"]["encoder"] == 1e-4 and config["epochs"] == 2
    assert config["dataset_hash"] == datasets.load("tiny-slo").manifest["hash"]
    assert len(result.history) == result.summary["n_epochs"] == 2
    samples = datasets.load("tiny-slo").samples
    test = samples[samples["split"] == "test"]
    assert result.predictions["eye_id"].tolist() == test["eye_id"].tolist()
    target = schema.matrix(result.predictions, "target")
    assert np.isnan(target).any() and np.isfinite(schema.matrix(result.predictions)).all()
    assert result.summary["test_mae"] == metrics.mae(schema.matrix(result.predictions), target)
    assert result.run_id.startswith("tiny-slo-phantom_scratch-naive-s42-")
    assert result.folder == root / "runs" / result.run_id


def test_asking_again_neither_trains_nor_imports_torch(result):
    script = (
        "import sys, rnfl as e, rnfl.study.presets\n"
        f"result = e.run(e.RunConfig(**{asdict(CONFIG) | {'protocol': 'naive'}!r}))\n"
        "result.predictions, result.history, e.template_predictions('tiny-slo')\n"
        "assert 'torch' not in sys.modules and 'timm' not in sys.modules\n"
        "print(result.run_id)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == result.run_id


def test_dataset_and_address_are_resolved_once(root, monkeypatch):
    read, addressed = [], []

    def counted(calls, function):
        return lambda *args, **kwargs: calls.append(args[0]) or function(*args, **kwargs)

    monkeypatch.setattr(pd, "read_parquet", counted(read, pd.read_parquet))
    monkeypatch.setattr(address, "run_id", counted(addressed, address.run_id))
    unfinished = replace(CONFIG, seed=99, epochs=1)
    for config in (unfinished, unfinished):
        run(config, silent)
        assert [path.name for path in read] == ["samples.parquet"] and len(addressed) == 1
        read.clear(), addressed.clear()


def test_saved_weights_give_the_saved_predictions(result):
    model = restore.load_model(result)
    prepared = datasets.load("tiny-slo")
    rows, device = prepared.subset("test"), torch.device("cpu")
    again = predict.predictions_table(model, prepared, rows, result.run_id, device)
    np.testing.assert_allclose(
        schema.matrix(again), schema.matrix(result.predictions), rtol=1e-5, atol=1e-3
    )
    assert model.target_sd > 1


def test_address_depends_on_what_decides_the_result(root, monkeypatch, tmp_path):
    prepared = datasets.load("tiny-slo")
    run_id = address.run_id(CONFIG, prepared.hash)
    for incidental in ({"eval_on": ("tiny-cfp",)}, {"checkpoint_seconds": 1.0}):
        assert address.run_id(replace(CONFIG, **incidental), prepared.hash) == run_id
    same_name = replace(protocols.get("naive"), rates=Rates(1e-4, head=1.0))
    for change in ({"epochs": 3}, {"radius_ratio": 0.3}, {"protocol": same_name}):
        changed = address.run_id(replace(CONFIG, **change), prepared.hash)
        assert changed != run_id and changed.startswith(CONFIG.slug)
    other = replace(prepared, manifest=prepared.manifest | {"hash": "0"})
    assert address.run_id(CONFIG, other.hash) != run_id
    monkeypatch.setattr(address, "TRAINING_VERSION", address.TRAINING_VERSION + 1)
    assert address.run_id(CONFIG, prepared.hash) != run_id


def test_packaged_weights_are_part_of_the_address(root, monkeypatch, tmp_path):
    prepared, config = datasets.load("tiny-slo"), replace(CONFIG, backbone="phantom_mae")
    file = tmp_path / "phantom_mae.safetensors"
    monkeypatch.setattr(address, "weights_file", lambda name: file)
    found = set()
    for content in (b"first", b"second"):
        file.write_bytes(content)
        found.add(address.run_id(config, prepared.hash))
    assert len(found) == 2
    assert address.run_id(replace(config, pretrained=False), prepared.hash) not in found


def test_a_field_at_its_default_renews_no_run_and_its_default_is_not_silent():
    given = address.deciding(CONFIG, "")["config"]
    assert "clip" not in given and "head" not in given["protocol"]["rates"]
    changed = replace(
        CONFIG, clip=2.0, protocol=replace(CONFIG.protocol, rates=Rates(1e-4, head=1.0))
    )
    given = address.deciding(changed, "")["config"]
    assert given["clip"] == 2.0 and given["protocol"]["rates"]["head"] == 1.0


def test_two_askers_share_one_training(root, monkeypatch):
    config, fits = replace(CONFIG, seed=7, epochs=1), []
    fit = finetuning.fit

    def counted(*args):
        fits.append(threading.get_ident())
        return fit(*args)

    monkeypatch.setattr(finetuning, "fit", counted)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(run(config, silent))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fits) == 1 and results[0].run_id == results[1].run_id


def test_a_folder_appears_only_when_complete(root, monkeypatch):
    config = replace(CONFIG, seed=8, epochs=1)

    def fail(*args):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(provenance, "write_csv", fail)
        with raises(OSError, match="disk full"):
            run(config, silent)
    run_id = address.run_id(config, datasets.load("tiny-slo").hash)
    assert not (root / "runs" / run_id).exists()
    monkeypatch.setattr(losses, "combined", fail)
    assert run(config, silent).folder == root / "runs" / run_id


@fixture
def own_root(root, tmp_path, monkeypatch):
    """A data root of one test, with the same datasets and nothing trained."""
    shutil.copytree(root / "prepared", tmp_path / "prepared")
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    return tmp_path


def kept(run_id):
    return sorted(path.name for path in runs.partial_folder(run_id).iterdir())


CHECKPOINTS = ["checkpoint.previous.pt", "checkpoint.pt"]


def assert_goes_on(expected, epochs):
    """Ask again, for these epochs alone; the run is that of nobody's disturbance."""
    reported = []
    again = run(CONFIG, lambda row: reported.append(row["epoch"]))
    assert reported == epochs and again.run_id == expected.run_id
    pd.testing.assert_frame_equal(again.predictions, expected.predictions, check_exact=True)
    pd.testing.assert_frame_equal(
        again.history.drop(columns="seconds"), expected.history.drop(columns="seconds")
    )
    assert not runs.partial_folder(again.run_id).exists()


def test_a_dataset_deleted_during_a_run_is_said_and_all_is_kept(result, own_root):
    folder = own_root / "prepared" / "tiny-slo"

    def delete(row):
        if row["epoch"] == 0:
            folder.rename(own_root / "elsewhere")

    message = r"tiny-slo was deleted, moved or damaged.*kept in .*partial.*Put the dataset of hash"
    with raises(ValueError, match=message):
        run(CONFIG, delete)
    assert kept(result.run_id) == ["checkpoint.pt"]  # noticed before the second epoch
    with raises(ValueError, match="'tiny-slo' is not in"):
        run(CONFIG, silent)
    (own_root / "elsewhere").rename(folder)
    assert_goes_on(result, [1])


def test_a_dataset_replaced_during_a_run_is_said_and_all_is_kept(result, own_root):
    folder = own_root / "prepared" / "tiny-slo"

    def replace_dataset(row):
        if row["epoch"] == 0:
            folder.rename(own_root / "elsewhere")
            make_dataset(n=24, missing=0.05, seed=5)

    was = datasets.load("tiny-slo").manifest["hash"][:10]
    with raises(ValueError, match=rf"replaced during the run: its hash was {was} and is (?!{was})"):
        run(CONFIG, replace_dataset)
    assert kept(result.run_id) == ["checkpoint.pt"]
    assert run(CONFIG, silent).run_id != result.run_id
    shutil.rmtree(folder)
    (own_root / "elsewhere").rename(folder)
    assert_goes_on(result, [1])


def test_a_dataset_replaced_while_waiting_is_not_taken_for_the_one_asked_for(own_root, monkeypatch):
    @contextmanager
    def locked(folder, waiting):
        make_dataset(n=24, missing=0.05, seed=5)
        yield

    monkeypatch.setattr(locks, "locked", locked)
    monkeypatch.setattr(finetuning, "fit", None)
    with raises(ValueError, match="replaced during the run"):
        run(CONFIG, silent)


def test_a_dataset_that_fails_while_it_is_read_is_blamed(own_root, monkeypatch):
    def read(*args):
        (own_root / "prepared" / "tiny-slo" / "images.npy").unlink()
        raise FileNotFoundError("images.npy")

    monkeypatch.setattr(batches, "load", read)
    with raises(ValueError, match=r"deleted, moved or damaged .*images\.npy is missing"):
        run(CONFIG, silent)


def full(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_at_publishing_keeps_the_training(result, own_root, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "write_parquet", full)
        message = (
            r"cannot write run tiny-slo.* \(No space left.*free some space.*over and is kept in"
        )
        with raises(OSError, match=message) as caught:
            run(CONFIG, silent)
    assert caught.value.errno == errno.ENOSPC and kept(result.run_id) == CHECKPOINTS
    assert [path.name for path in (own_root / "runs").iterdir()] == [".partial"]
    assert_goes_on(result, [])
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "write_parquet", full)
        with raises(OSError, match=r"cannot write predictions-tiny-cfp-test.*is whole in .*tiny"):
            run(replace(CONFIG, eval_on=("tiny-cfp",)), silent)
    assert runs.find_run(CONFIG) is not None


def test_training_that_diverges_keeps_its_checkpoints(result, own_root, monkeypatch):
    supervised, calls = losses.supervised, itertools.count()

    def diverge(*args):
        return supervised(*args) * (float("nan") if next(calls) == 3 else 1)

    with monkeypatch.context() as patch:
        patch.setattr(losses, "supervised", diverge)
        with raises(FloatingPointError, match=r"nan in epoch 1.*kept in .*Lower lr_scale"):
            run(CONFIG, silent)
    assert kept(result.run_id) == ["checkpoint.pt"]
    assert_goes_on(result, [1])


def test_other_datasets_are_predicted_once(result, monkeypatch):
    table = rnfl.predict_with(result, "tiny-cfp", split=None)
    assert len(table) == 12 and (table["run_id"] == result.run_id).all()
    monkeypatch.setattr(predict, "predictions_table", None)
    turned = rnfl.turned_predictions(result)
    assert set(turned["turn"]) == {-20, -10, 0, 10, 20}
    assert set(turned["eye_id"]) == set(result.predictions["eye_id"])
    rows = turned.set_index("turn")["prediction"]
    assert np.abs(np.stack(rows[20]) - np.stack(rows[0])).max() > 0
    pd.testing.assert_frame_equal(rnfl.turned_predictions(result), turned)  # from its file
    again = rnfl.predict_with(result, "tiny-cfp", split=None)
    np.testing.assert_array_equal(schema.matrix(again), schema.matrix(table))


def test_template_and_oracle_bracket_every_model(result):
    template = rnfl.template_predictions("tiny-slo")
    oracle = rnfl.oracle_predictions("tiny-slo")
    errors = [
        metrics.mae(schema.matrix(table), schema.matrix(table, "target"))
        for table in (oracle, template)
    ]
    assert errors[0] < 2.0 < errors[1]
    assert metrics.sigma_between(schema.matrix(template)) == 0
    assert template["eye_id"].tolist() == result.predictions["eye_id"].tolist()
    prepared = datasets.load("tiny-slo")
    labels = prepared.profiles[prepared.subset("train")]
    np.testing.assert_allclose(schema.matrix(template)[0], np.nanmean(labels, axis=0), rtol=1e-5)


def test_tables_of_several_runs(result):
    table = rnfl.runs_table([result])
    assert table.loc[0, ["backbone", "protocol", "seed"]].tolist() == [
        "phantom_scratch", "naive", 42
    ]  # fmt: skip
    assert {"best_epoch", "best_val_mae", "lr_scale", "test_mae"} <= set(table)
    assert set(rnfl.histories_of([result])) >= {"backbone", "protocol", "seed", "val_mae"}
    assert len(rnfl.predictions_of([result, result])) == 2 * len(result.predictions)


def test_a_deleted_dataset_is_a_clear_error(result):
    name = "phantom-slo-9"
    with raises(ValueError, match=rf"'{name}' is not in .*rnfl\.prepare\('{name}'\)"):
        run(replace(CONFIG, dataset=name), silent)
    with raises(ValueError, match=r"'gone' is not in .*expected phantom.*rnfl\.write"):
        run_grid([replace(CONFIG, dataset="gone")])


@mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be positive"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"seed": 10**20}, "seed must be a whole number from 0"),
        ({"augment": "mirror"}, "augment 'mirror'"),
        ({"warmup_epochs": 9}, "warmup_epochs"),
        ({"protocol": "brave"}, "brave"),
    ],
)
def test_bad_configurations_are_refused_at_once(change, message):
    with raises(ValueError, match=message):
        replace(CONFIG, **change)


@mark.parametrize("change", [{"backbone": "vgg"}, {"precision": "fp16"}], ids=str)
def test_unknown_names_fail_before_training(root, change):
    with raises(ValueError, match=f"unknown.*{next(iter(change.values()))}"):
        run(replace(CONFIG, **change), silent)


def test_a_failure_does_not_stop_a_serial_grid(result, root):
    configs = [replace(CONFIG, backbone="vgg"), CONFIG, replace(CONFIG, seed=9, epochs=1)]
    with raises(RuntimeError, match=r"vgg-naive-s42-\w+ failed(.|\n)*unknown backbone 'vgg'"):
        run_grid(configs, engine="serial")
    assert runs.find_run(configs[2]) is not None
    assert [r.run_id for r in run_grid(configs[1:])] == [
        address.run_id(config, datasets.load("tiny-slo").hash) for config in configs[1:]
    ]
    with raises(ValueError, match="slurm"):
        run_grid(configs, engine="slurm")


def test_parallel_grid_survives_a_killed_worker_and_a_failing_run(root):
    frozen = Protocol("freeze_half", (Phase(part=Part(0.5)),))
    good = [replace(CONFIG, seed=11, epochs=4), replace(CONFIG, protocol=frozen)]
    bad = replace(CONFIG, backbone="vgg")
    partial = runs.partial_folder(address.run_id(good[0], datasets.load("tiny-slo").hash))
    killed = []

    def kill_one_worker():
        while not (partial / "checkpoint.pt").exists():
            time.sleep(0.02)
        worker = multiprocessing.active_children()[0]
        os.kill(worker.pid, 9)
        killed.append(worker.pid)

    killer = threading.Thread(target=kill_one_worker)
    killer.start()
    with raises(RuntimeError, match=r"unknown backbone 'vgg'") as caught:
        run_grid([*good, bad], engine="local", workers=2)
    killer.join()
    assert killed and str(caught.value).count("failed:") == 1
    assert all(runs.find_run(config) for config in good)


@mark.parametrize("name", sorted(presets.PRESETS))
def test_profiles_name_known_parts(name):
    profile = presets.get(name)
    configs = profile.configs_table1()
    n = len(profile.backbones) * len(profile.protocols) * len(profile.seeds)
    assert len({config.slug for config in configs}) == len(configs) == n
    for config in configs:
        assert config.backbone.partition("@")[0] in BACKBONES
        assert (config.epochs, config.lr_scale) == (profile.epochs, profile.lr_scale)


def test_only_the_reference_profile_writes_to_committed_folders(root):
    for name, profile in presets.PRESETS.items():
        inside = (root / "reproduced" / name) in profile.figures_dir.parents
        assert inside == (name != "reference")
    with raises(ValueError, match="smoke"):
        presets.get("tiny")
