"""ONNX export: the same numbers as torch for every kind of backbone, or no file."""

import copy
import errno
import getpass
import json
import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from rnfl.inference import onnx as export
from rnfl.inference import trained
from rnfl.models.backbone import Backbone
from rnfl.models.readout import Readout
from rnfl.models.registry import BackboneSpec
from rnfl.models.regressor import RNFLRegressor
from rnfl.storage import provenance
from rnfl.storage.paths import project_root
from rnfl.storage.provenance import unsealed

onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")

CARD = {"run_id": "made-up", "dataset": "absent", "sentence": "A made-up model."}
KINDS = {
    "phantom": ("vit_tiny_patch16_224", 64, {}),
    "patch 14": ("vit_small_patch14_dinov2", 56, {}),
    "registers and rotary positions": ("vit_small_patch16_dinov3", 64, {}),
}


def make_model(name, size, options):
    """A small random model whose profiles vary with the image."""
    torch.manual_seed(0)
    options = {"depth": 2, "embed_dim": 64, "num_heads": 2} | options
    encoder = timm.create_model(name, img_size=size, num_classes=0, global_pool="", **options)
    model = RNFLRegressor(Backbone(BackboneSpec(name, name, None, input_size=size), encoder)).eval()
    model.target_mean.fill_(90.0)
    model.target_sd.fill_(30.0)
    return model


@pytest.fixture(scope="module")
def used():
    model = make_model(*KINDS["phantom"])
    return trained.Trained(None, model, 64, CARD, None)


@pytest.fixture(scope="module")
def exported(used, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    with torch.autocast("cpu", torch.bfloat16):
        return path, export.export(used, path)


def images(n, size, seed=1):
    return np.random.default_rng(seed).random((n, 3, size, size), dtype=np.float32)


@pytest.mark.parametrize("kind", list(KINDS)[1:])
def test_other_backbones_give_the_numbers_of_torch(kind, tmp_path):
    name, size, options = KINDS[kind]
    model = make_model(name, size, options)
    export.to_onnx(model, size, tmp_path / "m.onnx")
    assert export.compare(model, tmp_path / "m.onnx", images(3, size)) < 1e-5


def test_a_readout_of_fields_gives_the_numbers_of_torch(tmp_path):
    torch.manual_seed(0)
    backbone = make_model(*KINDS["phantom"]).backbone
    model = Readout([backbone], 4, 5).eval()
    model.offset.fill_(90.0)
    for buffer in (model.mean_0, model.weights_0, model.decoder):
        buffer.normal_()
    export.to_onnx(model, 64, tmp_path / "m.onnx")
    assert export.compare(model, tmp_path / "m.onnx", images(3, 64)) < 1e-4


def test_the_file_gives_what_predict_gives_for_any_number_of_crops(exported, used):
    session = onnxruntime.InferenceSession(str(exported[0]), providers=["CPUExecutionProvider"])
    crops = np.random.default_rng(2).integers(0, 255, (5, 224, 224, 3), dtype=np.uint8)
    for n in (1, 5):
        got = session.run(["profiles"], {"images": used.as_input(crops[:n])})[0]
        assert got.shape == (n, 360)
        np.testing.assert_allclose(got, used.predict(crops[:n]), rtol=1e-4)
    assert np.ptp(got, axis=0).max() > 0.1  # the images matter


def test_bf16_of_the_surroundings_does_not_leak_in(exported):
    model = onnx.load(exported[0])
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.FLOAT in kinds
    assert not kinds & {onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("kind", [*KINDS, "segments"])
def test_the_file_says_nothing_of_the_machine_that_made_it(kind, exported, tmp_path):
    path = exported[0]
    if kind != "phantom":
        name, size, options = KINDS.get(kind, ("resnet18", 64, None))
        model = make_model(name, size, options) if options is not None else torch.nn.Flatten()
        export.to_onnx(model, size, path := tmp_path / "m.onnx", {"card": json.dumps(CARD)})
    held = path.read_bytes()
    assert not re.search(rb'File "|\.py\b|stack_trace|site-packages', held)
    for place in (str(project_root()), sys.prefix, str(Path.home()), getpass.getuser() + "/"):
        assert place.encode() not in held
    assert any(prop.key == "card" for prop in onnx.load(path).metadata_props)


def test_the_file_and_its_json_say_what_goes_in_and_out(exported):
    path, about = exported
    assert unsealed(json.loads(path.with_suffix(".json").read_text())) == about
    assert about["sha256"] == provenance.sha256_file(path)
    assert about["max_relative_difference"] <= 1e-4
    assert about["input"]["shape"] == ["n", 3, 64, 64] and about["output"]["unit"] == "µm"
    assert "left eyes mirrored" in about["input"]["orientation"]
    assert about["checked_on"] == {"images": export.N_RANDOM, "crops": 0}
    props = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert json.loads(props["card"]) == CARD and "Research use only" in props["use"]


def test_a_file_with_other_numbers_is_refused(used, monkeypatch, tmp_path):
    true = export.to_onnx

    def slightly_wrong(module, *arguments):
        wrong = make_model(*KINDS["phantom"])
        wrong.target_mean.fill_(90.02)
        true(wrong, *arguments)

    monkeypatch.setattr(export, "to_onnx", slightly_wrong)
    with pytest.raises(RuntimeError, match=r"not written: onnxruntime differs from torch by \d"):
        export.export(used, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_is_full_or_read_only_is_said(used, monkeypatch, tmp_path, code):
    def refuse(path):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(export, "to_onnx", lambda *arguments: arguments[2].touch())
    monkeypatch.setattr(export, "compare", lambda *arguments: 0.0)
    monkeypatch.setattr(provenance, "_flush", refuse)
    said = rf"cannot write m\.onnx and m\.json into {tmp_path} \({os.strerror(code)}.*--output"
    with pytest.raises(OSError, match=said) as caught:
        export.export(used, tmp_path / "m.onnx")
    assert caught.value.errno == code
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over_and_the_name_must_end_in_onnx(used, tmp_path):
    (tmp_path / "m.onnx").write_text("mine")
    with pytest.raises(ValueError, match="exists already"):
        export.export(used, tmp_path / "m.onnx")
    (tmp_path / "other.json").write_text("mine")
    with pytest.raises(ValueError, match=r"other\.json exists already"):
        export.export(used, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=r"ends in \.onnx"):
        export.export(used, tmp_path / "model.pt")


@pytest.mark.parametrize("lost", [None, ".json", ".onnx"])
def test_asked_for_again_it_is_finished_and_says_the_same(
    exported, used, tmp_path, lost, monkeypatch
):
    path, about = tmp_path / "m.onnx", exported[1]
    monkeypatch.setattr(export, "to_onnx", lambda m, s, to, facts: shutil.copy(exported[0], to))
    for suffix in {".json", ".onnx"} - {lost}:
        shutil.copy(exported[0].with_suffix(suffix), path.with_suffix(suffix))
    before = {one.name: one.stat().st_mtime_ns for one in tmp_path.iterdir()}
    assert export.export(used, path) == about
    after = {one.name: one.stat().st_mtime_ns for one in tmp_path.iterdir()}
    assert set(after) == {"m.onnx", "m.json"}
    assert lost or after == before
    said = json.loads(path.with_suffix(".json").read_text())
    assert said["sha256"] == provenance.sha256_file(path)


@pytest.mark.parametrize("kept", [".json", ".onnx"])
def test_another_models_file_is_refused_and_kept(exported, used, tmp_path, kept):
    shutil.copy(exported[0].with_suffix(kept), tmp_path / f"m{kept}")
    before = provenance.sha256_file(tmp_path / f"m{kept}")
    other = replace(used, card={**CARD, "run_id": "another"})
    with pytest.raises(ValueError, match=rf"m\{kept} exists already, is not of this run"):
        export.export(other, tmp_path / "m.onnx")
    assert provenance.sha256_file(tmp_path / f"m{kept}") == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_of_this_card_with_other_numbers_is_refused(exported, used, tmp_path):
    shutil.copy(exported[0], tmp_path / "m.onnx")
    module = copy.deepcopy(used.module)
    module.target_mean.fill_(91.0)
    with pytest.raises(ValueError, match=r"differs from this model by .* is kept as it is"):
        export.export(replace(used, module=module), tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_of_two_at_once_the_first_file_stays(used, exported, monkeypatch, tmp_path):
    path = tmp_path / "m.onnx"

    firsts = []

    def another_call_first(module, size, aside, facts):
        shutil.copy(exported[0], path)
        shutil.copy(exported[0], aside)
        firsts.append(path.stat().st_ino)

    monkeypatch.setattr(export, "to_onnx", another_call_first)
    assert export.export(used, path)["sha256"] == exported[1]["sha256"]
    assert [path.stat().st_ino] == firsts


def test_a_model_too_large_for_one_file_is_an_error(used, monkeypatch, tmp_path):
    monkeypatch.setattr(export, "LARGEST", 1000)
    with pytest.raises(ValueError, match="GB of weights; one ONNX file holds 2 GB"):
        export.export(used, tmp_path / "m.onnx")


def test_missing_packages_are_named_with_the_way_to_get_them(used, monkeypatch, tmp_path):
    monkeypatch.setattr(export, "PACKAGES", ("onnx", "no-such-package"))
    with pytest.raises(RuntimeError, match=r"needs no-such-package: .*rnfl\[onnx\]"):
        export.export(used, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
