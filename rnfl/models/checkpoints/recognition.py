"""Say what a file seems to be, for whoever gave it to the wrong backbone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod

from rnfl.models.checkpoints import encoders
from rnfl.models.checkpoints.layouts import Layout
from rnfl.models.checkpoints.plans import Plan, Shape, plan
from rnfl.models.checkpoints.reading import Contents
from rnfl.models.registry import BACKBONES, BackboneSpec

FIRST = 4  # keys quoted in a message


def backbones_of(contents: Contents) -> list[str]:
    """Return the published backbones that read a file without a key left over or missing."""
    found = []
    for spec in BACKBONES.values():
        if spec.source is None:
            continue
        layout = spec.source.layout
        table = _table(contents.under(layout.top) or {})
        numbers = sum(prod(s) for key, s in table.items() if not layout.rule_that_drops(key))
        # Only position embeddings may differ in size: at most a few per cent of a model.
        if abs(numbers / spec.parameters - 1) < 0.1:
            if plan(table, layout, encoders.shapes(spec)).fits:
                found.append(spec.name)
    return found


def describe(contents: Contents) -> str:
    """Return in words what a file holds: where, how many tensors, and of which transformer."""
    parts = []
    for top, weights in contents.groups.items():
        table = _table(weights)
        place = f"under {top!r}" if top else "at the top"
        parts.append(f"{len(table)} tensors {place}{_transformer(table)}")
    return "; ".join(parts)


def likely_cause(contents: Contents, spec: BackboneSpec, made: Plan | None) -> str:
    """Return the likely reason why a file does not fit a backbone.

    Parameters
    ----------
    contents : Contents
    spec : BackboneSpec
        The backbone that was asked for.
    made : Plan or None
        How the file's keys compare with it; None = the file lacks the layout's own table.
    """
    if names := backbones_of(contents):
        family = BACKBONES[names[0]].source.layout.name
        reads = "backbone " + names[0] if len(names) == 1 else "backbones " + ", ".join(names)
        return f"wrong backbone for this file: it looks like a {family} file; {reads} can read it"
    wanted = f"expected {_transformer(encoders.shapes(spec))[2:]}"
    if made and made.missing and not made.unexpected and not made.misshapen:
        return f"an incomplete file, or a smaller model ({wanted})"
    if made and made.misshapen and not made.unexpected:
        return f"a model of another size ({wanted})"
    if made and made.missing and len(made.missing) == len(made.unexpected):
        return "its keys are renamed: take the file as published, or rename them back"
    return f"no registered backbone reads it ({wanted})"


def quote(keys: list[str]) -> str:
    """Return the first few of some keys, and how many there are."""
    return f"{len(keys)}: {', '.join(keys[:FIRST])}{', …' if len(keys) > FIRST else ''}"


def expectation(layout: Layout) -> str:
    """Return where a layout's weights lie, in words."""
    place = f"weights under {layout.top!r}" if layout.top else "a flat table of weights"
    return f"{place}, keys {layout.prefix}*" if layout.prefix else place


def _table(weights: Mapping) -> dict[str, Shape]:
    return {key: tuple(value.shape) for key, value in weights.items()}


def _transformer(table: Mapping[str, Shape]) -> str:
    projection = next((s for k, s in table.items() if k.endswith("patch_embed.proj.weight")), ())
    blocks = {int(found[1]) for k in table if (found := re.search(r"(?:^|\.)blocks\.(\d+)\.", k))}
    if len(projection) != 4 or not blocks:
        return ", no vision transformer"
    return (
        f", a vision transformer of width {projection[0]}, {len(blocks)} blocks and "
        f"patch {projection[-1]}"
    )
