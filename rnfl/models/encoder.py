"""timm's transformers and convolutional networks by name: with numbers, or shapes alone."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import timm
import torch
from torch import nn

from rnfl.models.registry import BACKBONES, BackboneSpec, every, registered, side

Shape = tuple[int, ...]
NEITHER = "is neither a vision transformer nor a network of feature maps (channels, rows, columns)"


def spec_of(name: str) -> BackboneSpec:
    """Find a backbone's specification.

    Parameters
    ----------
    name : str
        A key of ``BACKBONES``, or ``timm:<name>`` for a vision transformer or convolutional
        network of timm, with input size and normalisation of its own configuration; ``@<px>``
        behind either sets the size.

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
            f"unknown backbone {name!r}; valid names are {sorted(s.name for s in every())} "
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
        If the timm model is neither a vision transformer nor one that gives its feature maps.
    ConnectionError
        If the download fails.
    """
    # global_pool='' keeps the trained final norm where 'avg' would swap in an untrained one.
    options = {"pretrained": download, "num_classes": 0, "global_pool": "", **spec.timm_kwargs}
    try:
        try:
            encoder = timm.create_model(spec.timm_name, img_size=spec.input_size, **options)
        except TypeError:  # convolutional networks take any size, and none is told to them
            encoder = timm.create_model(spec.timm_name, **options)
    except (TypeError, AssertionError) as error:
        raise ValueError(f"backbone {spec.name!r} {NEITHER}: {error}") from error
    except OSError as error:
        raise ConnectionError(
            f"weights of backbone {spec.name!r} (timm {spec.timm_name}) are not in the local cache "
            "and the hub huggingface.co cannot be reached. On a machine with network access run\n"
            f"  python -c \"import timm; timm.create_model('{spec.timm_name}', pretrained=True)\"\n"
            "and copy its ~/.cache/huggingface here, or choose one of "
            f"{[n for n, s in BACKBONES.items() if not s.source]}, which need no network."
        ) from error
    if not (is_transformer(encoder) or hasattr(encoder, "forward_intermediates")):
        raise ValueError(f"backbone {spec.name!r} {NEITHER} ({type(encoder)})")
    return encoder


def is_transformer(encoder: nn.Module) -> bool:
    """Whether a model cuts images into tokens that keep their number and width to the end."""
    has_grid = hasattr(getattr(encoder, "patch_embed", None), "grid_size")
    return has_grid and all(hasattr(encoder, part) for part in ("blocks", "num_prefix_tokens"))


def maps(spec: BackboneSpec) -> list[Shape]:
    """Return the shapes (C, h, w) of a convolutional network's feature maps and of its output.

    One map for every resolution, as timm's ``feature_info`` lists them, then the output. A
    ValueError refuses a network whose output is no map on the grid of the last one.
    """
    with torch.device("meta"):  # shapes alone: nothing is computed
        encoder = create(spec).eval()
        images = torch.zeros(1, 3, spec.input_size, spec.input_size)
        try:
            found = encoder.forward_intermediates(
                images, intermediates_only=True, output_fmt="NCHW"
            )
            found = [tuple(one.shape[1:]) for one in (*found, encoder(images))]
        except (RuntimeError, AssertionError) as error:
            raise ValueError(
                f"backbone {spec.name!r} takes no images of {spec.input_size} px: {error}"
            ) from error
    if len(found[-1]) != 3 or found[-1][1:] != found[-2][1:]:
        raise ValueError(
            f"backbone {spec.name!r} {NEITHER}: its output is {found[-1]}, its last map {found[-2]}"
        )
    return found


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
