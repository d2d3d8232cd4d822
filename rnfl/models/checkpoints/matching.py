"""Hold a checkpoint against a model, key by key and shape by shape, before any number is touched.

What does not fit is explained for whoever gave a file to the wrong backbone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from rnfl.models import encoder
from rnfl.models.checkpoints.reading import Contents
from rnfl.models.encoder import Shape
from rnfl.models.registry import BACKBONES, BackboneSpec, Layout

POSITION = "pos_embed"
FIRST = 4  # keys quoted in a message


@dataclass
class Plan:
    """What becomes of every key of a file.

    Attributes
    ----------
    renamed : dict
        The model's key by the file's key, for keys that the model has.
    dropped : dict
        The file's keys that a rule drops, by rule.
    missing, unexpected : list of str
        The model's keys that the file lacks; the file's keys that no rule explains.
    misshapen : dict
        (shape in the file, shape in the model) by the model's key.
    grids : tuple or None
        Side of the position embedding's grid in the file and in the model; None = it has none.
    """

    renamed: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    grids: tuple[int, int] | None = None

    @property
    def fits(self) -> bool:
        """Whether every key of the model is there, with its shape, and nothing else."""
        return not (self.missing or self.unexpected or self.misshapen)


def plan(found: Mapping[str, Shape], layout: Layout, expected: Mapping[str, Shape]) -> Plan:
    """Say what becomes of every key of a file.

    Parameters
    ----------
    found : mapping of key to shape
        The file's table of weights, in its own spelling.
    layout : Layout
    expected : mapping of key to shape
        The model's table of weights.

    Returns
    -------
    Plan
        A position embedding of another square grid fits: it is resampled. Nothing else may
        differ.
    """
    result = Plan()
    for key, shape in found.items():
        if rule := layout.rule_that_drops(key):
            result.dropped.setdefault(rule, []).append(key)
            continue
        target = key.removeprefix(layout.prefix)
        if not key.startswith(layout.prefix) or target not in expected:
            result.unexpected.append(key)
            continue
        result.renamed[key] = target
        if target == POSITION:
            result.grids = _grids(shape, expected[target])
        if shape != expected[target] and not (target == POSITION and result.grids):
            result.misshapen[target] = (shape, expected[target])
    present = set(result.renamed.values())
    result.missing = [key for key in expected if key not in present]
    return result


def prefix_tokens(tokens: int) -> int:
    """Return how many of a position embedding's tokens precede its square grid: 0 or 1.

    Raises
    ------
    ValueError
        If the rest is no square grid.

    Examples
    --------
    >>> prefix_tokens(197), prefix_tokens(784)
    (1, 0)
    """
    extra = tokens - math.isqrt(tokens) ** 2
    if extra > 1:
        raise ValueError(f"a position embedding of {tokens} tokens is no square grid")
    return extra


def _grids(found: Shape, expected: Shape) -> tuple[int, int] | None:
    if len(found) != 3 or (found[0], found[2]) != (expected[0], expected[2]):
        return None
    extra = prefix_tokens(expected[1])
    side = math.isqrt(max(found[1] - extra, 0))
    if not side or side**2 + extra != found[1]:
        return None
    return side, math.isqrt(expected[1])


def backbones_of(contents: Contents) -> list[str]:
    """Return the published backbones that read a file without a key left over or missing."""
    found = []
    for spec in BACKBONES.values():
        if spec.source is None:
            continue
        layout = spec.source.layout
        table = _table(contents.under(layout.top) or {})
        numbers = sum(math.prod(s) for key, s in table.items() if not layout.rule_that_drops(key))
        # Only position embeddings may differ in size: at most a few per cent of a model.
        if abs(numbers / spec.parameters - 1) < 0.1:
            if plan(table, layout, encoder.shapes(spec)).fits:
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
    wanted = f"expected {_transformer(encoder.shapes(spec))[2:]}"
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
