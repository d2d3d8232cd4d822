"""Hold a checkpoint against a model, key by key and shape by shape, before any number is touched.

What does not fit is explained for whoever gave a file to the wrong backbone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from shlex import quote as quoted
from typing import NoReturn

from torch import Tensor

from rnfl.models import encoder
from rnfl.models.checkpoints.reading import Contents
from rnfl.models.encoder import Shape
from rnfl.models.registry import BACKBONES, BackboneSpec, Layout

POSITION = "pos_embed"
ANCHOR = "patch_embed.proj.weight"  # every vision transformer of timm has it
FOREIGN = "patch_embeddings.projection.weight"  # of the transformers library
FIRST = 4  # keys quoted in a message


@dataclass
class Plan:
    """What becomes of every key of a file."""

    renamed: dict[str, str] = field(default_factory=dict)  # the model's key by the file's
    dropped: dict[str, list[str]] = field(default_factory=dict)  # the file's keys by rule
    missing: list[str] = field(default_factory=list)  # keys of the model that the file lacks
    unexpected: list[str] = field(default_factory=list)  # of the file, that no rule explains
    #: (shape in the file, shape in the model) by the model's key.
    misshapen: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    #: Side of the position embedding's grid in the file and in the model; None = it has none.
    grids: tuple[int, int] | None = None

    @property
    def fits(self) -> bool:
        """Whether every key of the model is there, with its shape, and nothing else."""
        return not (self.missing or self.unexpected or self.misshapen)

    @property
    def complaint(self) -> str:
        """What does not fit, in words."""
        shapes = [f"{key} is {a}, not {b}" for key, (a, b) in self.misshapen.items()]
        return _told({"missing": self.missing, "unexpected": self.unexpected, "shapes": shapes})

    @property
    def position(self) -> str:
        """What becomes of the position embedding, in words."""
        if self.grids is None:
            return "none in this model"
        before, after = (f"{side}×{side}" for side in self.grids)
        return f"kept, {before}" if before == after else f"resampled, {before} → {after}"


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
        target = layout.target(key)
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


@dataclass(frozen=True)
class Reading:
    """A file read as a backbone's: under which key and prefix, and what becomes of its keys."""

    spec: BackboneSpec
    top: str
    prefix: str
    plan: Plan
    published: bool  # whether these are the key and the prefix of the backbone's own layout

    @property
    def lacking(self) -> int:
        """Number of the model's tensors that are not there, or not in their shape."""
        return len(self.plan.missing) + len(self.plan.misshapen)

    @property
    def over(self) -> list[str]:
        """What else lies beside the model's tensors, each part of the file by its beginning."""
        part = re.compile(rf"(?:{re.escape(self.prefix)})?[^.]*\.?")
        return list(dict.fromkeys(part.match(key)[0] for key in self.plan.unexpected))

    @property
    def place(self) -> str:
        """Where the tensors lie, in words."""
        return _place(self.top) + (f", keys {self.prefix!r}*" if self.prefix else "")


def moved(layout: Layout, top: str, prefix: str, drop: Sequence[str] = ()) -> Layout:
    """Return a layout under another key and prefix; its own rules move along, others may join."""
    rules = layout.drop if prefix.endswith(layout.prefix) else ()
    outer = prefix.removesuffix(layout.prefix)
    rules = (*(outer + rule for rule in rules), *drop)
    return replace(layout, top=top or None, prefix=prefix, drop=rules)


def readings(
    contents: Contents, asked: BackboneSpec, expected: Mapping[str, Shape]
) -> list[Reading]:
    """Return how a file can be read as a published backbone's, what fits best first.

    A wrapper is whatever stands before ``patch_embed.proj.weight``, so none has to be known by
    name. A backbone of another size is not tried.

    Parameters
    ----------
    contents : Contents
    asked : BackboneSpec, optional
        The backbone that was asked for, which comes first among equals, and
    expected : mapping of key to shape
        its tensors.
    """
    found = []
    for top, weights in contents.groups.items():
        table = shapes_of(weights)
        for prefix in (key.removesuffix(ANCHOR) for key in table if key.endswith(ANCHOR)):
            numbers = sum(math.prod(s) for k, s in table.items() if k.startswith(prefix))
            for spec in BACKBONES.values():
                ours = spec.name == asked.base
                # Only position embeddings may differ in size, and heads may be over.
                if spec.source is None or not (ours or abs(numbers / spec.parameters - 1) < 0.3):
                    continue
                model = expected if ours else encoder.shapes(spec)
                if ANCHOR not in model or table[prefix + ANCHOR] != model[ANCHOR]:
                    continue
                own = spec.source.layout
                made = plan(table, moved(own, top, prefix), model)
                place = "" if contents.path.suffix == ".safetensors" else own.top or ""
                as_published = (top, prefix) == (place, own.prefix)
                found.append(Reading(spec, top, prefix, made, as_published))
    return sorted(found, key=lambda one: (
        one.lacking, one.spec.name != asked.base, not one.published,
        "student" in one.top + one.prefix, len(one.over), len(one.plan.unexpected),
    ))  # fmt: skip


def refuse(
    contents: Contents,
    spec: BackboneSpec,
    layout: Layout,
    complaint: str,
    expected: Mapping[str, Shape],
) -> NoReturn:
    """Raise the ValueError that a file is not a backbone's: what it holds, and the likely cause."""
    place = f"weights under {layout.top!r}" if layout.top else "a flat table of weights"
    place += f", keys {layout.prefix}*" if layout.prefix else ""
    held = [
        f"{len(weights)} tensors {_place(top)}{_transformer(shapes_of(weights))}"
        for top, weights in contents.groups.items()
    ]
    raise ValueError(
        f"{contents.path} does not hold the weights of backbone {spec.name!r} "
        f"({layout.name}: {place}).\n"
        f"  {complaint}\n"
        f"  the file holds {'; '.join(held)}\n"
        f"  likely cause: {_likely_cause(contents, spec, expected)}"
    )


def _likely_cause(contents: Contents, spec: BackboneSpec, expected: Mapping[str, Shape]) -> str:
    """Return why a file does not fit the backbone asked for, and how to ask for what it holds."""
    if ANCHOR not in expected:
        return f"another network, or another file of it than {spec.source.file}"
    wanted = f"expected {_transformer(expected)[2:]}"
    found = readings(contents, spec, expected)
    if not found:
        held = map(shapes_of, contents.groups.values())
        if any("width" in _transformer(table) for table in held):
            return f"a model of another size ({wanted})"
        if any(FOREIGN in key for weights in contents.groups.values() for key in weights):
            return "it has the names of the transformers library: take the publisher's own file"
        return f"no vision transformer in timm's names ({wanted})"
    best = found[0]
    if best.lacking:
        return _falls_short(best)
    equal = [r for r in found if not r.lacking and (r.top, r.prefix) == (best.top, best.prefix)]
    if best.spec.name != spec.base and best.published and best.plan.fits:
        names = [one.spec.name for one in equal if one.published and one.plan.fits]
        reads = "backbone " + names[0] if len(names) == 1 else "backbones " + ", ".join(names)
        family = best.spec.source.layout.name
        return f"wrong backbone for this file: it looks like a {family} file; {reads} can read it"
    others = [one.spec.name for one in equal[1:]]
    over = f"; over are {', '.join(f'{part}*' for part in best.over)}" if best.over else ""
    ask = ["rnfl convert", quoted(str(contents.path)), "--backbone", best.spec.name]
    ask += ["--under", quoted(best.top), "--prefix", quoted(best.prefix)]
    ask += [word for part in best.over for word in ("--drop", quoted(part))]
    copies = dict.fromkeys(r.place for r in found if not r.lacking and r.place != best.place)
    kind = "more than the encoder" if best.published else "another wrapper"
    fits_asked = any(one.spec.name == spec.base for one in equal)
    size = "" if fits_asked else f"a model of another size ({wanted}), "
    return (
        f"{size}{kind}: {best.place}, are all {len(best.plan.renamed)} tensors of "
        f"{best.spec.name}{over}"
        + (f" (their shapes are those of {', '.join(others)} too)" if others else "")
        + (f"; another copy is {', '.join(copies)}" if copies else "")
        + f". If these are its weights, ask for them with\n    {' '.join(ask)}"
    )


def _falls_short(best: Reading) -> str:
    """Say what of a backbone of this size is not in a file."""
    made, total = best.plan, len(best.plan.renamed) + len(best.plan.missing)
    text = f"{total - best.lacking} of {total} tensors of {best.spec.name} are {best.place}; "
    other, over = list(made.misshapen), made.unexpected
    text += _told({"lacking are": made.missing, "of another shape are": other, "over are": over})
    if "norm.weight" in made.missing and f"{best.prefix}fc_norm.weight" in made.unexpected:
        return (
            f"{text}: fine-tuned with average pooling, whose last norm (fc_norm) is another than "
            "the encoder's: take the file from before that"
        )
    if made.missing and not made.unexpected and not made.misshapen:
        return f"an incomplete file: {text}"
    return f"other names or another architecture: {text}"


def quote(keys: list[str]) -> str:
    """Return the first few of some keys, and how many there are."""
    return f"{len(keys)}: {', '.join(keys[:FIRST])}{', …' if len(keys) > FIRST else ''}"


def _told(found: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{what} {quote(keys)}" for what, keys in found.items() if keys)


def shapes_of(weights: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Return the shapes of a table of weights, by key."""
    return {key: tuple(value.shape) for key, value in weights.items()}


def _place(top: str) -> str:
    return f"under {top!r}" if top else "at the top"


def _transformer(table: Mapping[str, Shape]) -> str:
    projection = next((s for k, s in table.items() if k.endswith(ANCHOR)), ())
    blocks = {int(found[1]) for k in table if (found := re.search(r"(?:^|\.)blocks\.(\d+)\.", k))}
    if len(projection) != 4 or not blocks:
        return ", no vision transformer"
    width, patch = projection[0], projection[-1]
    return f", a vision transformer of width {width}, {len(blocks)} blocks and patch {patch}"
