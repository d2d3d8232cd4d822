"""Fill a model with a checkpoint, or convert it: every key accounted for, with a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from rnfl.models import encoder as encoders
from rnfl.models.checkpoints import files, matching, packing, reading
from rnfl.models.checkpoints.matching import POSITION, plan, prefix_tokens
from rnfl.models.checkpoints.reading import Contents
from rnfl.models.encoder import Shape
from rnfl.models.registry import BACKBONES, HUB_FILE, PLAIN, BackboneSpec, Layout
from rnfl.storage import provenance

# Metadata of converted files.
BACKBONE, ORIGIN, DIGEST = "rnfl_backbone", "source_file", "source_sha256"


@dataclass(frozen=True)
class LoadReport:
    """What loading a checkpoint did.

    Attributes
    ----------
    file, backbone, family : str
    loaded : int
        Number of tensors that went into the model: all of its own.
    dropped : dict
        Number of tensors dropped, by rule.
    beside : tuple of str
        What the file holds beside weights; not used.
    position : str
        What became of the position embedding.
    cast : dict
        Number of tensors cast to float32, by their type in the file.
    renamed : str
        Names and tokens of another code that were made timm's.
    origin : str
        For a converted file: the published file it was made from, with its SHA-256.
    """

    file: str
    backbone: str
    family: str
    loaded: int
    dropped: dict[str, int] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    position: str = "none in this model"
    cast: dict[str, int] = field(default_factory=dict)
    renamed: str = ""
    origin: str = ""

    @property
    def text(self) -> str:
        """The report in lines of words."""
        made = f" (made from {self.origin})" if self.origin else ""
        lines = [
            f"{self.file} → {self.backbone}, {self.family} layout{made}",
            f"  loaded: {self.loaded} tensors, every one of the model's",
            f"  dropped: {_counts(self.dropped) or 'nothing'}",
            f"  position embedding: {self.position}",
            f"  cast to float32: {_counts(self.cast) or 'nothing'}",
        ]
        if self.renamed:
            lines.append(f"  renamed: {self.renamed}")
        if self.beside:
            lines.append(f"  not used: {', '.join(self.beside)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Weights:
    """A file's weights under the model's keys, as they lie in the file, and how they were found."""

    tensors: dict[str, Tensor]
    report: LoadReport


def load_into(encoder: nn.Module, spec: BackboneSpec, path: str | Path) -> LoadReport:
    """Fill an encoder with a checkpoint.

    Raises
    ------
    ValueError
        If the file is not this backbone's, with keys and the likely cause.
    """
    own = encoder.state_dict()
    weights = read_weights(spec, path, {key: tuple(value.shape) for key, value in own.items()})
    tensors = dict(weights.tensors)
    if POSITION in tensors:
        tensors[POSITION] = _resampled(tensors[POSITION], tuple(own[POSITION].shape))
    encoder.load_state_dict({k: v.to(own[k].dtype) for k, v in tensors.items()}, strict=True)
    return weights.report


def read_weights(
    spec: BackboneSpec,
    path: str | Path,
    expected: dict[str, Shape],
    place: tuple[str, str, Sequence[str]] | None = None,
) -> Weights:
    """Read a backbone's file and hold it against the names and shapes of its model.

    Parameters
    ----------
    spec : BackboneSpec
    path : path
        A published file, or one that ``rnfl convert`` wrote.
    expected : dict of key to shape
    place : (key, prefix, what to drop), optional
        Where the file has the weights, if not where its publisher put them.

    Returns
    -------
    Weights
        The position embedding keeps the file's own grid.

    Raises
    ------
    ValueError
        If anything is missing, unexpected, of another shape, not of numbers or not finite.
    """
    contents = reading.read(path)
    layout = _layout(contents, spec)
    if place is not None:
        layout = matching.moved(layout, *place)
    found = contents.under(layout.top)
    if found is None:
        what = f"it has no table of weights {repr(layout.top) if layout.top else 'at the top'}"
        _refuse(contents, spec, layout, what, expected)
    made = plan({key: tuple(value.shape) for key, value in found.items()}, layout, expected)
    if not made.fits:
        complaints = []
        if made.missing:
            complaints.append(f"missing {matching.quote(made.missing)}")
        if made.unexpected:
            complaints.append(f"unexpected {matching.quote(made.unexpected)}")
        if made.misshapen:
            shapes = [f"{k} is {a}, not {b}" for k, (a, b) in made.misshapen.items()]
            complaints.append(f"shapes {matching.quote(shapes)}")
        _refuse(contents, spec, layout, "; ".join(complaints), expected)
    tensors = {target: found[key].detach() for key, target in made.renamed.items()}
    _check_numbers(contents.path, tensors)
    cast, packed = {}, packing.KEY in contents.metadata
    for value in tensors.values():
        if packed or value.dtype != torch.float32:
            whole = value.dtype == torch.float32  # in a packed file: made of int8 when it was read
            kind = "int8 with scales" if whole else str(value.dtype).removeprefix("torch.")
            cast[kind] = cast.get(kind, 0) + 1
    origin = contents.metadata.get(ORIGIN, "")
    return Weights(
        tensors,
        LoadReport(
            file=contents.path.name,
            backbone=spec.name,
            family=layout.name,
            loaded=len(tensors),
            dropped={rule: len(keys) for rule, keys in made.dropped.items()},
            beside=contents.beside,
            position=_position(made.grids),
            cast=cast,
            renamed=contents.renamed,
            origin=f"{origin}, sha256 {contents.metadata.get(DIGEST)}" if origin else "",
        ),
    )


def convert(
    path: str | Path,
    backbone: str,
    output: str | Path | None = None,
    place: tuple[str, str, Sequence[str]] | None = None,
) -> tuple[Path, LoadReport]:
    """Write a published checkpoint as a safetensors file that loads without its extras.

    Numbers, their type and the position embedding's grid stay as published.

    Parameters
    ----------
    path : path
        The file as published.
    backbone : str
        Registered name of the backbone that the file belongs to.
    output : path, optional
        Default: ``<backbone>.safetensors`` in the folder of checkpoints, where it is found.
    place : (key, prefix, what to drop), optional
        As in :func:`read_weights`, for files that others wrapped.

    Returns
    -------
    path, LoadReport

    Raises
    ------
    ValueError
        If the backbone has no published weights or the file does not hold them.
    """
    spec = BACKBONES.get(backbone)
    published = [name for name, entry in BACKBONES.items() if entry.source]
    if spec is None or spec.source is None:
        raise ValueError(f"backbone {backbone!r} has no published file; these have: {published}")
    path, output = Path(path), Path(output) if output else files.converted_file(spec)
    if output.suffix != ".safetensors":
        raise ValueError(f"output {output}: expected a name that ends in .safetensors")
    weights = read_weights(spec, path, encoders.shapes(spec), place)
    kept = replace(weights.report, cast={}, position=weights.report.position.split(" → ")[0])
    metadata = {
        "format": "pt",
        BACKBONE: spec.name,
        ORIGIN: path.name,
        DIGEST: provenance.sha256_file(path),
        "report": kept.text,
    }
    with provenance.publish_file(output) as aside:
        tensors = {key: value.contiguous() for key, value in weights.tensors.items()}
        save_file(tensors, aside, metadata=metadata)
    return output, weights.report


def _layout(contents: Contents, spec: BackboneSpec) -> Layout:
    name = contents.path.name
    written_for = contents.metadata.get(BACKBONE)
    if written_for and written_for != spec.base:
        raise ValueError(
            f"{contents.path} was converted for backbone {written_for!r}, not {spec.base!r}"
        )
    named = [s for s in BACKBONES.values() if s.source and s.source.file != HUB_FILE]
    published = {s.source.file: s.name for s in named}
    if published.get(name, spec.base) != spec.base:
        raise ValueError(
            f"{contents.path} has the name under which backbone {published[name]!r} is published, "
            f"not {spec.base!r}: ask for that backbone"
        )
    return PLAIN if written_for or spec.source is None else spec.source.layout


def _refuse(
    contents: Contents, spec: BackboneSpec, layout: Layout, complaint: str, expected: dict
) -> NoReturn:
    raise ValueError(
        f"{contents.path} does not hold the weights of backbone {spec.name!r} "
        f"({layout.name}: {matching.expectation(layout)}).\n"
        f"  {complaint}\n"
        f"  the file holds {matching.describe(contents)}\n"
        f"  likely cause: {matching.likely_cause(contents, spec, expected)}"
    )


def _check_numbers(path: Path, tensors: dict[str, Tensor]) -> None:
    kinds = [f"{k} ({v.dtype})" for k, v in tensors.items() if not v.is_floating_point()]
    if kinds:
        raise ValueError(f"{path}: weights that are no real numbers, {matching.quote(kinds)}")
    if bad := [key for key, value in tensors.items() if not value.isfinite().all()]:
        raise ValueError(
            f"{path}: weights that are NaN or infinite, {matching.quote(bad)}; the file is "
            "damaged or its training diverged"
        )


def _resampled(embedding: Tensor, shape: Shape) -> Tensor:
    if tuple(embedding.shape) == shape:
        return embedding
    extra = prefix_tokens(shape[1])
    side = int((shape[1] - extra) ** 0.5)
    return resample_abs_pos_embed(embedding.float(), [side, side], num_prefix_tokens=extra)


def _position(grids: tuple[int, int] | None) -> str:
    if grids is None:
        return "none in this model"
    before, after = grids
    if before == after:
        return f"kept, {before}×{before}"
    return f"resampled, {before}×{before} → {after}×{after}"


def _counts(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in numbers.items())
