"""What a run keeps: what training changed, the fingerprint of the rest, and what it cost."""

import shutil
from dataclasses import replace

import pytest
import torch
from pytest import MonkeyPatch, fixture, mark, raises
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from training_data import make_dataset, silent

import rnfl
from rnfl import datasets
from rnfl.inference import onnx, trained
from rnfl.models.backbone import Backbone
from rnfl.models.encoder import create, spec_of
from rnfl.models.regressor import RNFLRegressor
from rnfl.runs import restore
from rnfl.training import protocols
from rnfl.training.config import RunConfig
from rnfl.training.protocols import Averaged

SIZES = {"epochs": 2, "warmup_epochs": 1, "batch_size": 4, "lr_scale": 5.0}
CONFIG = RunConfig("tiny-slo", "phantom_mae", "lora", **SIZES)


@fixture(scope="module")
def root(tmp_path_factory):
    with MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(tmp_path_factory.mktemp("data")))
        make_dataset(n=24)
        yield


@fixture(scope="module")
def runs(root):
    names = ("lora", "dora", "probe", "structured", "bitfit", "naive", "readout")
    return {name: rnfl.run(replace(CONFIG, protocol=name), silent) for name in names}


def held(run):
    with safe_open(run.model_path, "pt") as file:
        return set(file.keys()), file.metadata() or {}


@mark.parametrize("name", ["lora", "dora", "probe", "structured", "bitfit", "readout"])
def test_a_run_keeps_what_changed_and_gives_the_same_numbers(runs, name):
    run = runs[name]
    keys, metadata = held(run)
    whole = set(rnfl.load_model(run).state_dict())
    left_out = {key for key in whole if "encoder" in key} - keys
    assert restore.BASE in metadata and left_out
    size = run.model_path.stat().st_size
    assert run.summary["bytes_stored"] == pytest.approx(size, rel=0.05)
    again = rnfl.predict_with(run, "tiny-slo")
    torch.testing.assert_close(
        torch.tensor(rnfl_matrix(again)), torch.tensor(rnfl_matrix(run.predictions)),
        rtol=1e-5, atol=1e-3,
    )  # fmt: skip


def rnfl_matrix(table):
    from rnfl.core import schema

    return schema.matrix(table)


def test_where_all_moves_all_is_kept(runs):
    keys, metadata = held(runs["naive"])
    assert restore.BASE not in metadata
    assert keys == set(rnfl.load_model(runs["naive"]).state_dict())


def test_a_random_start_has_no_file_to_come_from(root):
    run = rnfl.run(replace(CONFIG, backbone="phantom_scratch"), silent)
    keys, metadata = held(run)
    assert restore.BASE not in metadata and not any("parametrizations" in key for key in keys)
    torch.testing.assert_close(
        torch.tensor(rnfl_matrix(rnfl.predict_with(run, "tiny-slo", "val"))).isfinite().all(),
        torch.tensor(True),
    )


def test_another_base_is_refused(runs, monkeypatch):
    build = restore.build

    def other(name, pretrained=True):
        backbone = build(name, pretrained)
        backbone.encoder.blocks[0].norm1.weight.data[0] += 1e-6
        return backbone

    monkeypatch.setattr(restore, "build", other)
    with raises(ValueError, match=r"weights of that backbone are not those that it began with"):
        rnfl.load_model(runs["lora"])
    rnfl.load_model(runs["naive"])


def test_a_file_that_holds_everything_loads_as_before(runs, tmp_path):
    """As runs kept their models before: one state, no metadata."""
    run = runs["structured"]
    state = rnfl.load_model(run).state_dict()
    folder = shutil.copytree(run.folder, tmp_path / "before" / run.run_id)
    save_file(state, folder / "model.safetensors")
    (folder / "files.json").unlink()  # nor did they keep hashes
    again = rnfl.load_model(rnfl.load_run(folder)).state_dict()
    assert all(torch.equal(again[name], value) for name, value in state.items())


def test_what_is_used_is_merged(runs, tmp_path):
    ready = trained.load(runs["lora"].folder)
    assert not any("parametrizations" in name for name in ready.module.state_dict())
    assert onnx.export(ready, tmp_path / "lora.onnx")
    started = rnfl.run(
        replace(CONFIG, protocol="naive", start=runs["lora"].run_id, split="all"), silent
    )
    assert started.summary["best_val_mae"] > 0
    assert restore.BASE not in held(started)[1]


def test_a_lora_run_of_vit_l_takes_megabytes():
    """The layout of RETFound with numbers of no meaning: what would be written, and what not."""
    spec = spec_of("retfound_mae_naturecfp")
    with torch.device("meta"):
        encoder = create(spec)
    model = RNFLRegressor(Backbone(spec, encoder.to_empty(device="cpu")))
    config = RunConfig("eyes", spec.name, "lora")
    protocols.apply(model, config.protocol)
    head = sum(p.numel() for n, p in model.named_parameters() if not n.startswith("backbone"))
    moving = protocols.n_trainable(model, config.protocol)
    assert moving == (24 * 8 * (1024 + 3 * 1024), 24 * 8 * 4096 + head)
    stored = restore.to_store(model, config)
    n_bytes = sum(value.nbytes for value in stored.tensors.values())
    positions = stored.tensors["backbone.encoder.pos_embed"].nbytes
    assert stored.base and n_bytes < 4 * (moving[1] + 10) + positions < 8e6


def test_the_cost_of_a_run_is_in_its_summary(runs):
    for name, run in runs.items():
        cost = run.summary
        assert cost["device"] and cost["bytes_stored"] > 0
        if name == "readout":
            assert cost["peak_bytes"] is cost["peak_bytes_are"] is cost["seconds_per_epoch"] is None
            continue
        assert (
            cost["seconds_per_epoch"] <= cost["seconds"] and cost["peak_bytes_are"] == "estimated"
        )
        assert 0 < cost["seconds_to_best"] <= cost["seconds"] + 0.1
    assert runs["probe"].summary["n_trainable_backbone"] == 0
    assert runs["naive"].summary["n_trainable_backbone"] == 1_294_848
    assert runs["lora"].summary["n_trainable_backbone"] == 6 * 8 * (128 + 3 * 128)
    peaks = {name: run.summary["peak_bytes"] for name, run in runs.items() if name != "readout"}
    assert peaks["probe"] < peaks["structured"] < peaks["naive"] and peaks["lora"] < peaks["naive"]
    table = rnfl.runs_table(runs.values())
    assert set(table["adapter"].dropna()) == {"lora", "dora"}


# ---------------------------------------------------------------------------------- averages


def soup(*runs, weights=None, **changes):
    protocol = Averaged("soup", tuple(run.run_id for run in runs), weights)
    return replace(CONFIG, protocol=protocol, **changes)


def test_a_soup_is_the_average_of_its_weights(runs):
    members = [runs["structured"], runs["naive"], runs["lora"]]
    run = rnfl.run(soup(*members, weights=(1, 2, 1)))
    states = [rnfl.load_model(one).state_dict() for one in members]
    kept = rnfl.load_model(run).state_dict()
    for name, value in kept.items():
        wanted = sum(w * s[name].double() for w, s in zip((0.25, 0.5, 0.25), states, strict=True))
        torch.testing.assert_close(value.double(), wanted, rtol=1e-6, atol=1e-6)
    assert run.summary["n_epochs"] == 1 and run.summary["n_trainable"] == 0
    assert rnfl.run(soup(*members, weights=(1, 2, 1), epochs=7)).run_id == run.run_id
    assert rnfl.run(soup(*members)).run_id != run.run_id


def test_a_run_and_its_start_have_a_common_start(root, runs):
    start = runs["probe"]
    later = rnfl.run(replace(CONFIG, protocol="naive", start=start.run_id), silent)
    assert rnfl.run(soup(start, later)).summary["best_val_mae"] > 0


def test_runs_without_a_common_start_are_refused(runs):
    other = rnfl.run(replace(CONFIG, protocol="naive", seed=7), silent)
    with raises(ValueError, match="have no common start"):
        rnfl.run(soup(runs["naive"], other))
    with raises(ValueError, match="is a readout"):
        rnfl.run(soup(runs["naive"], runs["readout"]))
    with raises(ValueError, match=r"run .* has radius_ratio 0.35, expected 0.3"):
        rnfl.run(soup(runs["naive"], runs["lora"], radius_ratio=0.3))


def test_raw_runs_are_averaged_as_raw_ones_and_start_raw_ones(runs):
    raw = [
        rnfl.run(replace(CONFIG, protocol=name, output_scale="raw"), silent)
        for name in ("naive", "structured")
    ]
    assert float(rnfl.load_model(rnfl.run(soup(*raw, output_scale="raw"))).target_sd) == 1
    with raises(ValueError, match="has output_scale 'raw', expected 'standardised'"):
        rnfl.run(soup(*raw))
    with raises(ValueError, match="has output_scale 'raw', expected 'standardised'"):
        rnfl.run(replace(CONFIG, start=raw[0].run_id, split="all"), silent)
    with raises(ValueError, match="is a readout"):
        rnfl.run(replace(CONFIG, start=runs["readout"].run_id, split="all"), silent)


def test_interpolated_positions_are_kept(root):
    """Their last digits are the processor's: as part of the base they would refuse another one."""
    run = rnfl.run(replace(CONFIG, backbone="phantom_mae@160", epochs=1, warmup_epochs=0), silent)
    assert "backbone.encoder.pos_embed" in held(run)[0]


def test_an_average_knows_whom_its_runs_have_seen(runs):
    run = rnfl.run(soup(runs["naive"], runs["lora"]))
    prepared = datasets.load("tiny-slo")
    assert restore.shared_patients(run, prepared, prepared.subset("train"))
    with raises(ValueError, match=r"has learnt from .* patients that are to be tested on"):
        rnfl.run(soup(runs["naive"], runs["lora"], split="fold-0-of-3-s0"))


def test_files_are_safetensors_without_pickle(runs):
    for run in runs.values():
        assert load_file(run.model_path)
