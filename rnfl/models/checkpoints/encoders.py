"""timm's vision transformers by specification: with numbers, or names and shapes alone."""

from __future__ import annotations

from functools import lru_cache

import timm
import torch
from torch import nn

from rnfl.models.checkpoints.plans import Shape
from rnfl.models.registry import BackboneSpec


def create(spec: BackboneSpec, download: bool = False) -> nn.Module:
    """Create a backbone's encoder, random unless ``download`` asks for timm's own weights.

    Raises
    ------
    ValueError
        If the timm model is not a vision transformer.
    OSError
        If the download fails.
    """
    # global_pool='' keeps the trained final norm where 'avg' would swap in an untrained one.
    options = {"img_size": spec.input_size, "num_classes": 0, "global_pool": ""}
    try:
        encoder = timm.create_model(
            spec.timm_name, pretrained=download, **options, **spec.timm_kwargs
        )
    except TypeError as error:
        raise ValueError(f"backbone {spec.name!r} is not a vision transformer: {error}") from error
    if not all(hasattr(encoder, part) for part in ("patch_embed", "blocks", "num_prefix_tokens")):
        raise ValueError(f"backbone {spec.name!r} is not a vision transformer ({type(encoder)})")
    return encoder


def shapes(spec: BackboneSpec) -> dict[str, Shape]:
    """Return names and shapes of an encoder's weights; no memory is taken for any of them."""
    kwargs = tuple(sorted(spec.timm_kwargs.items()))
    return dict(_shapes(spec.timm_name, spec.input_size, kwargs))


@lru_cache(maxsize=64)
def _shapes(timm_name: str, input_size: int, kwargs: tuple) -> tuple[tuple[str, Shape], ...]:
    spec = BackboneSpec("shapes", timm_name, None, input_size, timm_kwargs=dict(kwargs))
    with torch.device("meta"):
        encoder = create(spec)
    return tuple((key, tuple(value.shape)) for key, value in encoder.state_dict().items())
