"""The table of backbones, from the registry."""

from __future__ import annotations

from rnfl.models.checkpoints import files
from rnfl.models.registry import BACKBONES, BackboneSpec

COLUMNS = (
    "name", "parameters (M)", "patch (px)", "input (px)", "pretraining", "licence", "how to get it"
)  # fmt: skip


def markdown() -> str:
    """Return every registered backbone as a Markdown table."""
    lines = [_row(COLUMNS), _row("---" for _ in COLUMNS)]
    return "\n".join(lines + [_row(_cells(spec)) for spec in BACKBONES.values()]) + "\n"


def listing() -> str:
    """Return every registered backbone in a line of text, with where this machine has it."""
    lines = [f"{'name':26}{'M':>8}{'patch':>6}{'px':>5}  weights"]
    for spec in BACKBONES.values():
        name, millions, patch, size, *_ = _cells(spec)
        lines.append(f"{name.strip('`'):26}{millions:>8}{patch:>6}{size:>5}  {_place(spec)}")
    return "\n".join(lines) + "\n"


def _cells(spec: BackboneSpec) -> tuple[str, ...]:
    gated = " (gated)" if spec.source and spec.source.gated else ""
    return (
        f"`{spec.name}`",
        f"{spec.parameters / 1e6:.1f}",
        str(spec.patch),
        str(spec.input_size),
        spec.pretraining,
        spec.licence,
        files.how_to_get(spec) + gated,
    )


def _place(spec: BackboneSpec) -> str:
    if spec.source is None:
        return files.how_to_get(spec)
    path = files.find(spec)
    return f"here: {path}" if path else f"absent: {files.how_to_get(spec).replace('`', '')}"


def _row(cells) -> str:
    return f"| {' | '.join(cells)} |"
