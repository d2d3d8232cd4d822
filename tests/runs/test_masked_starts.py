"""Masked autoencoding as a run: what it is shown, what it leaves, and what starts from it."""

import signal
from dataclasses import replace

import checkpoint_files
import numpy as np
import torch
from pytest import MonkeyPatch, approx, fixture, importorskip, mark, raises
from safetensors.torch import load_file
from training_data import make_dataset, silent

from rnfl.adaptation import ways
from rnfl.inference import trained
from rnfl.models.backbone import Backbone
from rnfl.models.encoder import create
from rnfl.models.registry import RETFOUND_MAE, BackboneSpec, Source
from rnfl.runs import restore, results
from rnfl.runs.run import RunConfig, run
from rnfl.training import loop
from rnfl.training.pretraining import masking

CONFIG = RunConfig(
    "masked-slo", "phantom_mae", "mae", epochs=2, warmup_epochs=1, batch_size=8, steps=8
)
#: One of each family that rotates or registers, small, and made on the spot.
FAMILIES = (
    *("timm:vit_tiny_patch16_224@64", "timm:vit_small_patch14_reg4_dinov2@56"),
    *("timm:vit_small_patch16_dinov3@64", "timm:eva02_tiny_patch14_224@56"),
)


@fixture(scope="module")
def data(tmp_path_factory):
    with MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(tmp_path_factory.mktemp("data")))
        yield make_dataset("masked-slo", n=48)


@fixture(scope="module")
def masked(data):
    return run(CONFIG, silent)


def test_a_start_has_no_predictions_and_says_so(masked):
    assert masked.config.task == "pictures" and masked.summary["n_test"] == 0
    assert {"val_masked_error", "train_loss"} <= set(masked.history)
    asked = (
        lambda: masked.predictions, lambda: trained.load(masked.folder),
        lambda: ways.adapt(masked, "masked-slo", "fourier", 3),
    )  # fmt: skip
    for ask in asked:
        with raises(ValueError, match=r"predicts hidden parts of pictures.*it is a start"):
            ask()
    assert results.load_run(masked.run_id).config == CONFIG


def test_fine_tuning_goes_on_from_its_backbone_with_a_head_of_its_own(masked, data):
    tuned = RunConfig("masked-slo", "phantom_mae", "probe", epochs=1, warmup_epochs=0, batch_size=8)
    plain = run(tuned, silent)
    taught = run(replace(tuned, start=masked.run_id), silent)
    backbone = restore.load_model(masked).backbone.state_dict()
    own, other = (restore.load_model(one).state_dict() for one in (taught, plain))
    assert all((own[f"backbone.{k}"] == v).all() for k, v in backbone.items())
    assert any((other[f"backbone.{k}"] != v).any() for k, v in backbone.items())
    assert (own["target_mean"] == other["target_mean"]).all() and own["target_sd"] > 0
    assert np.isfinite(taught.summary["test_mae"])


def test_no_picture_to_be_tested_on_is_shown(masked, data, monkeypatch):
    """Changed test pictures change nothing; and a start that saw test patients is refused."""
    test = data.subset("test")
    known = set().union(*(found.samples["patient_id"].iloc[rows]
                          for found, rows in restore.learnt_from(masked)))  # fmt: skip
    assert known and known.isdisjoint(data.samples["patient_id"].iloc[test])
    everything = run(replace(CONFIG, split="fold-0-of-3-s0"), silent)
    tuned = RunConfig("masked-slo", "phantom_mae", "naive", epochs=1, warmup_epochs=0)
    with raises(ValueError, match=r"has learnt from \d+ patients that are to be tested on"):
        run(replace(tuned, start=everything.run_id), silent)

    fit, seen = loop.train, {}

    def look(training, *rest):
        seen["images"] = training.images.cpu().numpy().copy()
        return fit(training, *rest)

    monkeypatch.setattr(masking.loop, "train", look)
    run(replace(CONFIG, seed=3), silent)
    shown = {image.tobytes() for image in seen["images"]}
    assert len(shown) == len(data) - len(test)
    assert not shown & {np.asarray(data.images[row]).tobytes() for row in test}


def test_labels_are_not_read(masked, data, tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    blind = make_dataset("masked-slo", n=48, missing=0.999)
    assert blind.hash != data.hash
    again = load_file(run(CONFIG, silent).model_path)
    first = load_file(masked.model_path)
    assert all((again[name] == first[name]).all() for name in first)


def test_the_decoder_learns_first_before_a_backbone_that_knows_something(masked, data):
    rates = masked.history["lr_encoder"]
    assert (rates > 0).all()  # two of eight steps are over before the first row
    one = run(replace(CONFIG, epochs=4, warmup_epochs=0, steps=8, seed=5), silent).history
    assert one["lr_encoder"].iloc[0] == 0 and (one["lr_head"] > 0).iloc[0]
    random = replace(CONFIG, backbone="phantom_scratch", epochs=4, warmup_epochs=0)
    assert (run(random, silent).history["lr_encoder"].iloc[:3] > 0).all()


def test_interrupted_it_goes_on_to_the_same_bits(masked, data, tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    make_dataset("masked-slo", n=48)
    step, taken = masking.Masking.step, iter(range(100))

    def interrupted(self, *given):
        if next(taken) == 5:
            signal.raise_signal(signal.SIGINT)
        return step(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(masking.Masking, "step", interrupted)
        with raises(KeyboardInterrupt):
            run(CONFIG, silent)
    again = load_file(run(CONFIG, silent).model_path)
    first = load_file(masked.model_path)
    assert all((again[name] == first[name]).all() for name in first)


@mark.parametrize("backbone", FAMILIES)
def test_every_family_of_transformers_learns_its_pictures(data, backbone):
    config = replace(CONFIG, backbone=backbone, pretrained=False, steps=36)
    found = run(replace(config, epochs=3, warmup_epochs=0), silent).history
    assert found["train_loss"].iloc[-1] < 1  # 1: the mean of a patch
    assert found["val_masked_error"].iloc[-1] < found["val_masked_error"].iloc[0]


def test_visible_patches_are_those_of_the_whole_picture_where_all_are_visible(data):
    from rnfl.models import backbone as backbones

    for name in FAMILIES:
        backbone = backbones.build(name, pretrained=False).eval()
        images = torch.rand(2, 3, backbone.spec.input_size, backbone.spec.input_size)
        n = backbone.grid[0] * backbone.grid[1]
        with torch.no_grad():
            whole = backbone(images).flatten(2).mT
            order = torch.stack([torch.randperm(n), torch.arange(n)])
            seen = backbone.visible(images, order)[:, backbone.encoder.num_prefix_tokens :]
        for i in range(2):
            torch.testing.assert_close(seen[i], whole[i][order[i]], atol=2e-5, rtol=1e-4)


def test_colour_is_learnt_in_colour_and_a_convnet_is_refused(data):
    make_dataset("masked-cfp", n=24, colour=True)
    made = restore.load_model(run(replace(CONFIG, dataset="masked-cfp"), silent))
    assert made.channels == 3 and made.pixels.out_features == 3 * 16**2
    with raises(ValueError, match="cannot leave patches out"):
        run(replace(CONFIG, backbone="timm:resnet18@64", pretrained=False), silent)


def test_a_published_decoder_is_taken_over_and_errs_as_its_authors(data, tmp_path, monkeypatch):
    """The loss of a small RETFound file is that of transformers' ViTMAE, mask by mask."""
    transformers = importorskip("transformers", minversion="5")
    size, patch, width, depth = 32, 16, 48, 2
    config = transformers.ViTMAEConfig(
        hidden_size=width, num_hidden_layers=depth, num_attention_heads=3, intermediate_size=192,
        image_size=size, patch_size=patch, decoder_hidden_size=64, decoder_num_hidden_layers=2,
        decoder_num_attention_heads=2, decoder_intermediate_size=256, norm_pix_loss=True,
    )  # fmt: skip
    torch.manual_seed(0)
    oracle = transformers.ViTMAEForPreTraining(config).eval()
    with torch.no_grad():
        for parameter in oracle.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    published = checkpoint_files.facebook_names(oracle.state_dict())
    spec = BackboneSpec(
        "retfound_small", "vit_tiny_patch16_224", "published", input_size=size,
        timm_kwargs={"embed_dim": width, "depth": depth, "num_heads": 3, "norm_layer": None},
        source=Source(RETFOUND_MAE, "retfound_small.pth"),
    )  # fmt: skip
    path = tmp_path / "retfound_small.pth"
    torch.save({"model": published}, path)
    monkeypatch.setattr(masking.files, "find", lambda spec: path)
    encoder = create(spec)
    own = {k: v for k, v in published.items() if not k.startswith(("decoder_", "mask_token"))}
    encoder.load_state_dict(own)
    backbone = Backbone(spec, encoder)
    model = masking.around(backbone, 3, masking.published_decoder(backbone)).eval()
    images, random = torch.rand(3, 3, size, size), torch.Generator().manual_seed(4)
    noise = torch.rand(3, (size // patch) ** 2, generator=random)
    with torch.no_grad():
        theirs = oracle(pixel_values=backbone.normalise(images), noise=noise).loss
        ours = model.loss(images, None, torch.Generator().manual_seed(4))
    assert float(ours) == approx(float(theirs), rel=1e-4)
    with raises(ValueError, match="a decoder lacks"):
        masking.around(backbone, 3, {"embed.bias": torch.zeros(64)})
