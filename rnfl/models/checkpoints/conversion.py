"""Write a published checkpoint as safetensors under timm's keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from safetensors.torch import save_file

from rnfl.models.checkpoints import encoders, files
from rnfl.models.checkpoints.loading import BACKBONE, DIGEST, ORIGIN, LoadReport, read_weights
from rnfl.models.registry import BACKBONES
from rnfl.storage import provenance


def convert(
    path: str | Path, backbone: str, output: str | Path | None = None
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
    weights = read_weights(spec, path, encoders.shapes(spec))
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
