"""timm's vision transformers by name: with numbers, or names and shapes alone."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import timm
import torch
from torch import nn

from rnfl.models.registry import BACKBONES, BackboneSpec, registered, side

Shape = tuple[int, ...]


def spec_of(name: str) -> BackboneSpec:
    """Find a backbone's specification.

    Parameters
    ----------
    name : str
        A key of ``BACKBONES``, or ``timm:<name>`` for any timm vision transformer, with input
        size and normalisation of its own configuration; ``@<px>`` behind either sets the size.

    Raises
    ------
    ValueError
        If the name is unknown here or to timm, or the size is no whole number of patches.
    """
    if spec := registered(name):
        return spec
    timm_name, sized, size = name.removeprefix("timm:").partition("@")
    if not (name.startswith("timm:") and timm.is_model(timm_name)):
        raise ValueError(
            f"unknown backbone {name!r}; valid names are {sorted(BACKBONES)} "
            "and 'timm:<name>' with a name of timm.list_models(pretrained=True), "
            "each also as '<name>@<px>'"
        )
    spec = BackboneSpec(name, timm_name, "hub")
    if config := timm.get_pretrained_cfg(timm_name):
        spec = replace(
            spec,
            input_size=config.input_size[-1],
            mean=config.mean,
            std=config.std,
            licence=config.license or "see the model's page",
        )
    return replace(spec, input_size=side(name, size, spec.patch)) if sized else spec


def create(spec: BackboneSpec, download: bool = False) -> nn.Module:
    """Create a backbone's encoder, random unless ``download`` asks for timm's own weights.

    Raises
    ------
    ValueError
        If the timm model is not a vision transformer.
    ConnectionError
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
    except OSError as error:
        raise ConnectionError(
            f"weights of backbone {spec.name!r} (timm {spec.timm_name}) are not in the local cache "
            "and the hub huggingface.co cannot be reached. On a machine with network access run\n"
            f"  python -c \"import timm; timm.create_model('{spec.timm_name}', pretrained=True)\"\n"
            "and copy its ~/.cache/huggingface here, or choose one of "
            f"{[n for n, s in BACKBONES.items() if not s.source]}, which need no network."
        ) from error
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
