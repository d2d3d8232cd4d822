"""Files with the keys and shapes of published checkpoints, written on the spot from timm models."""

from __future__ import annotations

import argparse

import timm
import torch
from torch import Tensor, nn


def reference(timm_name: str, size: int = 0, **options) -> nn.Module:
    """Return timm's own random encoder of a family, in evaluation mode; of any size where 0.

    Zero vectors and unit scales of the initialisation get random values, so that a tensor put in
    the wrong place shows.
    """
    generator = torch.Generator().manual_seed(len(timm_name) + size)
    if size:
        options["img_size"] = size
    model = timm.create_model(timm_name, num_classes=0, global_pool="", **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def hollow(shape: tuple[int, ...], value: float = 0.0) -> Tensor:
    """Return a tensor of any shape that takes one number of memory and of a file."""
    return torch.tensor(float(value)).expand(shape)


def retfound_mae(weights: dict[str, Tensor], width: int = 1024, tokens: int = 197) -> dict:
    """Return the contents of a RETFound MAE file: encoder, decoder and the training's settings."""
    decoder = {
        "decoder_pos_embed": (1, tokens, 512),
        "decoder_embed.weight": (512, width),
        "decoder_embed.bias": (512,),
        "decoder_norm.weight": (512,),
        "decoder_norm.bias": (512,),
        "decoder_pred.weight": (768, 512),
        "decoder_pred.bias": (768,),
    }
    block = {
        "norm1.weight": (512,), "norm1.bias": (512,), "attn.qkv.weight": (1536, 512),
        "attn.qkv.bias": (1536,), "attn.proj.weight": (512, 512), "attn.proj.bias": (512,),
        "norm2.weight": (512,), "norm2.bias": (512,), "mlp.fc1.weight": (2048, 512),
        "mlp.fc1.bias": (2048,), "mlp.fc2.weight": (512, 2048), "mlp.fc2.bias": (512,),
    }  # fmt: skip
    for index in range(8):
        decoder |= {f"decoder_blocks.{index}.{key}": shape for key, shape in block.items()}
    extras = {key: hollow(shape) for key, shape in ({"mask_token": (1, 1, 512)} | decoder).items()}
    return {
        "model": weights | extras,
        "optimizer": {"state": {0: {"step": 1, "exp_avg": hollow((4, 4))}}, "param_groups": []},
        "epoch": 799,
        "scaler": {"scale": 65536.0, "growth_factor": 2.0},
        "args": argparse.Namespace(model="mae_vit_large_patch16", mask_ratio=0.75, norm_pix=True),
    }


def retfound_dinov2(weights: dict[str, Tensor], width: int = 1024) -> dict:
    """Return the contents of a RETFound DINOv2 file: the teacher with both its heads."""
    teacher = {f"backbone.{key}": value for key, value in weights.items()}
    teacher["backbone.mask_token"] = hollow((1, width))
    for head in ("dino_head", "ibot_head"):
        shapes = {
            "mlp.0.weight": (2048, width), "mlp.0.bias": (2048,), "mlp.2.weight": (2048, 2048),
            "mlp.2.bias": (2048,), "mlp.4.weight": (384, 2048), "mlp.4.bias": (384,),
            "last_layer.weight_g": (131072, 1), "last_layer.weight_v": (131072, 384),
        }  # fmt: skip
        teacher |= {f"{head}.{key}": hollow(shape) for key, shape in shapes.items()}
    return {"teacher": teacher}


def depth_anything(weights: dict[str, Tensor], width: int = 384) -> dict:
    """Return the contents of a Depth-Anything-V2 file: encoder and head in one flat table."""
    held = {f"pretrained.{key}": value for key, value in weights.items()}
    held["pretrained.mask_token"] = hollow((1, width))
    for index, channels in enumerate((48, 96, 192, 384)):
        held[f"depth_head.projects.{index}.weight"] = hollow((channels, width, 1, 1))
        held[f"depth_head.projects.{index}.bias"] = hollow((channels,))
        held[f"depth_head.scratch.layer{index + 1}_rn.weight"] = hollow((64, channels, 3, 3))
    held["depth_head.scratch.output_conv1.weight"] = hollow((32, 64, 3, 3))
    return held


def efficientnet_lite0(weights: dict[str, Tensor]) -> dict:
    """Return the contents of ML Illustrated's EfficientNet-Lite0 file: its names, classifier too.

    Blocks are counted through, and where the first block has nothing to expand, its layers have the
    numbers that they have elsewhere.
    """
    blocks = list(dict.fromkeys(".".join(k.split(".")[1:3]) for k in weights if k[:6] == "blocks"))
    later = {"conv_pw": "expand", "bn1": "bn0", "conv_dw": "depthwise", "bn2": "bn1",
             "conv_pwl": "project", "bn3": "bn2"}  # fmt: skip
    first = {"conv_dw": "depthwise", "bn1": "bn1", "conv_pw": "project", "bn2": "bn2"}
    held = {}
    for key, value in weights.items():
        layer, kind = key.split(".")[-2:]
        if not key.startswith("blocks."):
            name = {"bn1": "bn0", "bn2": "bn1"}.get(layer, layer)
        else:
            number = blocks.index(".".join(key.split(".")[1:3]))
            name = (later if number else first)[layer]
            name = f"blocks.{number}._{name}{'_conv' * ('bn' not in name)}"
        held[f"_{name}.{kind}"] = value
    return held | {"_fc.weight": hollow((1000, 1280)), "_fc.bias": hollow((1000,))}


def facebook_names(held: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a masked autoencoder of transformers (5) by the names that published files have."""
    names = {
        "vit.embeddings.cls_token": "cls_token",
        "vit.embeddings.position_embeddings": "pos_embed",
        "vit.embeddings.patch_embeddings.projection.": "patch_embed.proj.",
        "vit.layernorm.": "norm.",
        "vit.layers.": "blocks.",
        "decoder.decoder_layers.": "decoder_blocks.",
        "decoder.": "",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "attention.o_proj": "attn.proj",
    }
    found, parts = {}, {}
    for key, value in held.items():
        for theirs, ours in names.items():
            key = key.replace(theirs, ours)
        kind = next((one for one in "qkv" if f".{one}_proj." in key), None)
        if kind:
            parts.setdefault(key.replace(f"attention.{kind}_proj", "attn.qkv"), []).append(value)
        else:
            found[key] = value
    return found | {place: torch.cat(three) for place, three in parts.items()}  # q, k, v in turn
