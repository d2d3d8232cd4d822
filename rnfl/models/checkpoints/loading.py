"""Fill a model with a checkpoint, or convert it: every key accounted for, with a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path

from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from rnfl.models import encoder as encoders
from rnfl.models.checkpoints import files, matching, packing, reading
from rnfl.models.checkpoints.matching import POSITION, plan, prefix_tokens
from rnfl.models.checkpoints.reading import Contents
from rnfl.models.encoder import Shape
from rnfl.models.registry import BACKBONES, HUB_FILE, PLAIN, BackboneSpec, Layout
from rnfl.storage import errors, provenance

COUNTER = "num_batches_tracked"  # of batch normalisation: a whole number that decides nothing
# Metadata of converted files.
BACKBONE, ORIGIN, DIGEST = "rnfl_backbone", "source_file", "source_sha256"


@dataclass(frozen=True)
class LoadReport:
    """What loading a checkpoint did."""

    file: str
    backbone: str
    family: str
    loaded: int  # tensors that went into the model: all of its own
    dropped: dict[str, int]  # tensors by the rule that drops them
    beside: tuple[str, ...]  # what the file holds beside weights; not used
    position: str  # what became of the position embedding
    cast: dict[str, int]  # tensors cast to float32, by their type in the file
    renamed: str  # names and tokens of another code that were made timm's
    origin: str  # of a converted file: the published one, with its SHA-256

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


def load_into(encoder: nn.Module, spec: BackboneSpec, path: str | Path) -> LoadReport:
    """Fill an encoder with a checkpoint.

    A ValueError refuses a file that is not this backbone's, with keys and the likely cause.
    """
    own = encoder.state_dict()
    tensors, report = read_weights(spec, path, matching.shapes_of(own))
    if POSITION in tensors:
        n_tokens = own[POSITION].shape[1]
        extra = prefix_tokens(n_tokens)
        tensors[POSITION] = resample_abs_pos_embed(
            tensors[POSITION].float(), 2 * [isqrt(n_tokens)], num_prefix_tokens=extra
        )
    encoder.load_state_dict({k: v.to(own[k].dtype) for k, v in tensors.items()}, strict=True)
    return report


def read_weights(
    spec: BackboneSpec,
    path: str | Path,
    expected: dict[str, Shape],
    place: tuple[str, str, Sequence[str]] | None = None,
) -> tuple[dict[str, Tensor], LoadReport]:
    """Read a backbone's file and hold it against the names and shapes of its model, ``expected``.

    Parameters
    ----------
    path : path
        A published file, or one that ``rnfl convert`` wrote.
    place : (key, prefix, what to drop), optional
        Where the file has the weights, if not where its publisher put them.

    Returns
    -------
    dict, LoadReport
        The weights under the model's keys, as they lie in the file, so that the position embedding
        keeps the file's own grid; and how they were found.

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
        matching.refuse(contents, spec, layout, what, expected)
    made = plan(matching.shapes_of(found), layout, expected)
    if not made.fits:
        matching.refuse(contents, spec, layout, made.complaint, expected)
    tensors = {target: found[key].detach() for key, target in made.renamed.items()}
    _check_numbers(contents.path, tensors)
    # In a packed file single precision is what int8 and its scales made when it was read.
    plain = "int8 with scales" if packing.KEY in contents.metadata else "float32"
    held = (value for key, value in tensors.items() if not key.endswith(COUNTER))
    names = (str(value.dtype).removeprefix("torch.") for value in held)
    kinds = Counter(plain if name == "float32" else name for name in names)
    origin = contents.metadata.get(ORIGIN, "")
    return tensors, LoadReport(
        file=contents.path.name,
        backbone=spec.name,
        family=layout.name,
        loaded=len(tensors),
        dropped={rule: len(keys) for rule, keys in made.dropped.items()},
        beside=contents.beside,
        position=made.position,
        cast={kind: n for kind, n in kinds.items() if kind != "float32"},
        renamed=contents.renamed or "every layer, to timm's names" * bool(layout.names),
        origin=f"{origin}, sha256 {contents.metadata.get(DIGEST)}" if origin else "",
    )


def convert(
    path: str | Path,
    backbone: str,
    output: str | Path | None = None,
    place: tuple[str, str, Sequence[str]] | None = None,
) -> tuple[Path, LoadReport]:
    """Write a published checkpoint as a safetensors file that loads without its extras.

    Numbers, their type and the position embedding's grid stay as published. A ValueError says if
    the backbone has no published weights or the file does not hold them.

    Parameters
    ----------
    path, backbone : path, str
        The file as published; registered name of the backbone that it belongs to.
    output : path, optional
        Default: ``<backbone>.safetensors`` in the folder of checkpoints, where it is found.
    place : (key, prefix, what to drop), optional
        As in :func:`read_weights`, for files that others wrapped.
    """
    spec = BACKBONES.get(backbone)
    published = [name for name, entry in BACKBONES.items() if entry.source]
    if spec is None or spec.source is None:
        raise ValueError(f"backbone {backbone!r} has no published file; these have: {published}")
    path, output = Path(path), Path(output) if output else files.converted_file(spec)
    if output.suffix != ".safetensors":
        raise ValueError(f"output {output}: expected a name that ends in .safetensors")
    tensors, report = read_weights(spec, path, encoders.shapes(spec), place)
    kept = replace(report, cast={}, position=report.position.split(" → ")[0])
    metadata = {
        "format": "pt",
        BACKBONE: spec.name,
        ORIGIN: path.name,
        DIGEST: provenance.sha256_file(path),
        "report": kept.text,
    }
    kept = "the checkpoint as published is as it was; --output names another file"
    with (
        errors.writing(f"weights {output.name}", output.parent, kept),
        provenance.publish_file(output) as aside,
    ):
        save_file({k: v.contiguous() for k, v in tensors.items()}, aside, metadata=metadata)
    return output, report


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


def _check_numbers(path: Path, tensors: dict[str, Tensor]) -> None:
    numbers = {key: value for key, value in tensors.items() if not key.endswith(COUNTER)}
    kinds = [f"{k} ({v.dtype})" for k, v in numbers.items() if not v.is_floating_point()]
    if kinds:
        raise ValueError(f"{path}: weights that are no real numbers, {matching.quote(kinds)}")
    if bad := [key for key, value in tensors.items() if not value.isfinite().all()]:
        raise ValueError(
            f"{path}: weights that are NaN or infinite, {matching.quote(bad)}; the file is "
            "damaged or its training diverged"
        )


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in numbers.items())
