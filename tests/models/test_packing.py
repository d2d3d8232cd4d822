"""Weights in a byte each: what is written, what is loaded, and how little it moves."""

import torch
from pytest import fixture, raises
from safetensors.torch import load_file, save_file

from rnfl.models import backbone as backbones
from rnfl.models.checkpoints import files, packing


@fixture
def encoder():
    torch.manual_seed(0)
    small = backbones.build("phantom_scratch").eval()
    for value in small.encoder.parameters():  # biases and norms as uneven as trained ones
        value.data += 0.02 * torch.randn_like(value)
    return small


def publish(encoder, folder, monkeypatch):
    monkeypatch.setattr(files, "WEIGHTS", folder)
    packed, path = packing.pack(encoder.encoder.state_dict()), folder / "phantom_mae.safetensors"
    save_file(packed, path, metadata={packing.KEY: packing.PACKING})
    return path


def test_what_is_loaded_is_exactly_what_the_file_says(encoder, tmp_path, monkeypatch):
    file = load_file(publish(encoder, tmp_path, monkeypatch))
    loaded = backbones.build("phantom_mae")
    matrices = 0
    for key, value in loaded.encoder.state_dict().items():
        if file[key].dtype == torch.int8:
            rows = file[key].double().flatten(1) * file[f"{key}.scale"].double()[:, None]
            assert torch.equal(value.flatten(1), rows.float())
            matrices += 1
        else:
            assert file[key].dtype == torch.float16 and torch.equal(value, file[key].float())
    assert matrices == 1 + 6 * 4
    others = len(loaded.encoder.state_dict()) - matrices
    assert loaded.report.cast == {"int8 with scales": matrices, "float16": others}


def test_no_weight_moves_by_more_than_half_a_step_and_tokens_hardly(encoder, tmp_path, monkeypatch):
    publish(encoder, tmp_path, monkeypatch)
    loaded, own = backbones.build("phantom_mae").eval(), encoder.encoder.state_dict()
    for key, value in loaded.encoder.state_dict().items():
        if key.endswith(".weight") and value.ndim > 1:
            step = own[key].flatten(1).abs().amax(1, keepdim=True) / 127
            assert ((value - own[key]).flatten(1).abs() <= 0.501 * step).all(), key
    images = torch.rand(4, 3, 112, 112)
    with torch.inference_mode():
        tokens, moved = encoder(images), loaded(images)
    assert (moved - tokens).square().mean() < 0.02**2 * tokens.square().mean()


def test_a_row_of_zeros_stays_and_a_matrix_without_scales_is_refused():
    packed = packing.pack({"a.weight": torch.zeros(3, 2)})
    assert torch.equal(packing.unpack(packed)["a.weight"], torch.zeros(3, 2))
    del packed["a.weight.scale"]
    with raises(ValueError, match=r"a\.weight has no a\.weight\.scale"):
        packing.unpack(packed)
