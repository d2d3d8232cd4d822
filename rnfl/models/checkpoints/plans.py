"""Compare a checkpoint's keys and shapes with a model's before any number is touched."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from rnfl.models.checkpoints.layouts import Layout

POSITION = "pos_embed"
Shape = tuple[int, ...]


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
