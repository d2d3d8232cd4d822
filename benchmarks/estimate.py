"""How long the whole paper takes on a machine whose throughput was measured.

    python benchmarks/estimate.py [benchmarks/results/throughput.json]

The runs are those of the profile ``paper`` (:mod:`rnfl.study.presets`) at FairFedMed's 11,539
images: 80 epochs, no early stopping, which makes the answer an upper bound. An epoch is 8,077
training images and a forward pass, a third of a step, of 1,731 validation images. A backbone that
was not measured costs what the nearest measured one costs times the ratio of their operations. What
frozen blocks save is measured where the file, or a ``prefix.json`` beside it, says so; else a
frozen block is taken to cost a third of a trained one, and nothing where its output is cached. The
paper's runs have augmentation, so that caching is for runs that go without it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import measure
import numpy as np

from rnfl.study import presets
from rnfl.training.config import RunConfig
from rnfl.training.protocols import Protocol, settings

N_TRAIN, N_VAL, EPOCHS = 8077, 1731, 80
FROZEN = (0.0, 0.25, 0.5, 1.0)
#: Width, depth, tokens and the measured relative of each backbone of the paper.
SHAPES = {
    "imagenet_vitb16": ("ViT-B/16", 768, 12, 197),
    "depth_anything_v2_small@224": ("ViT-S/16", 384, 12, 257),
    "retfound_mae_naturecfp": ("ViT-L/16", 1024, 24, 197),
}
WITHOUT_GRADIENT_LOSS = ("naive", "aggressive", "structured")  # Table 1's other backbones
SEED = 42


def operations(width: int, depth: int, tokens: int) -> float:
    """Return the floating-point operations of a transformer's forward pass, patches aside."""
    return depth * (24 * tokens * width**2 + 4 * tokens**2 * width)


@dataclass(frozen=True)
class Machine:
    """What was measured: seconds per trained image, and what freezing leaves of them."""

    name: str
    seconds: dict[str, float]
    remains: dict[str, Callable[[float], float]]

    def per_image(self, backbone: str) -> float:
        """Return the seconds of one image's training step of a backbone of the paper."""
        relative, width, depth, tokens = SHAPES[backbone]
        scale = operations(width, depth, tokens) / operations(width, depth, 197)
        return self.seconds[relative] * scale

    def hours(
        self, backbone: str, frozen: float, epochs: int = EPOCHS, way: str = "uncached"
    ) -> float:
        """Return the hours of one run."""
        left = self.remains[way](frozen)
        forward, once = N_VAL / 3, 0.0
        if way == "cached":  # validation starts behind the prefix too, which is filled once
            forward, once = forward * left, frozen * (N_TRAIN + N_VAL) / 3
        images = epochs * (N_TRAIN * left + forward) + once
        return images * self.per_image(backbone) / 3600


def read(path: Path) -> Machine:
    """Read the throughput of a machine.

    Raises
    ------
    ValueError
        If the file is not one of ``throughput.py`` or ``gpu.py``, or lacks a backbone.
    """
    record = json.loads(path.read_text(encoding="utf-8"))
    seconds: dict[str, float] = {}
    for row in record.get("rows", []):
        if "ours img/s" in row:
            taken = 1 / row["ours img/s"]
            seconds[row["backbone"]] = min(taken, seconds.get(row["backbone"], taken))
    absent = sorted({relative for relative, *_ in SHAPES.values()} - set(seconds))
    if absent:
        raise ValueError(f"{path}: no throughput of {absent}; measured are {sorted(seconds)}")
    beside = path.with_name("prefix.json")
    saved = record.get("prefix")
    if saved is None and path.name == "throughput.json" and beside.exists():
        saved = json.loads(beside.read_text(encoding="utf-8"))
    about = record["machine"]
    name = about["gpu"] or f"{about['cpu']}, {about['threads']} threads"
    ways = ("uncached", "cached")
    return Machine(name, seconds, {way: _remaining(saved, way) for way in ways})


def _remaining(saved: dict | None, way: str) -> Callable[[float], float]:
    if saved is None:
        frozen_costs = 1 / 3 if way == "uncached" else 0.0
        return lambda frozen: 1 - frozen * (1 - frozen_costs)
    points = {0.0: 1.0}
    for row in saved["rows"]:
        if row["way"] == way:
            points[row["frozen %"] / 100] = min(row["later of full"], 1.0)
    shares = sorted(points)
    return lambda frozen: float(np.interp(frozen, shares, [points[share] for share in shares]))


def runs() -> dict[str, list[RunConfig]]:
    """Return the paper's runs with one seed, each in the first table that has it, then all."""
    paper = presets.get("paper")
    featured = paper.featured
    table1 = [
        one
        for one in paper.configs_table1()
        if one.backbone == featured or one.protocol.name in WITHOUT_GRADIENT_LOSS
    ]
    found = {
        "Table 1, ten cells": table1,
        "freezing": paper.configs_freezing(),
        "loss": paper.configs_loss(),
        "learning rates": paper.configs_learning_rate(),
    }
    seen: set[RunConfig] = set()
    for name, configs in found.items():
        kept = [one for one in configs if one.seed == SEED and one not in seen]
        seen.update(kept)
        found[name] = kept
    return found | {f"the profile 'paper', {len(paper.seeds)} seeds": paper.configs_all()}


def _hours(machine: Machine, configs: Iterable[RunConfig]) -> float:
    return sum(machine.hours(one.backbone, _frozen(one.protocol), one.epochs) for one in configs)


def _frozen(protocol: Protocol) -> float:
    said = settings(protocol)
    return said["freeze_fraction"] if said["freeze_patch_embed"] else 0.0


def tables(machine: Machine) -> tuple[list[dict], list[dict]]:
    """Return hours per run by backbone and frozen share, and hours of each part of the paper."""
    per_run = [
        {
            "backbone": backbone,
            "images/s": 1 / machine.per_image(backbone),
            **{
                f"{100 * frozen:.0f} % frozen": machine.hours(backbone, frozen) for frozen in FROZEN
            },
            "100 % frozen, cached": machine.hours(backbone, 1.0, way="cached"),
        }
        for backbone in SHAPES
    ]
    parts = [
        {"part": name, "runs": len(configs), "hours": _hours(machine, configs)}
        for name, configs in runs().items()
    ]
    single = parts[:-1]
    total = {
        "part": "all of these, one seed",
        "runs": sum(part["runs"] for part in single),
        "hours": sum(part["hours"] for part in single),
    }
    parts.insert(len(single), total)
    return per_run, [{**part, "days": part["hours"] / 24} for part in parts]


def markdown(rows: list[dict]) -> str:
    """Return rows as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([_text(v) for v in r.values()] for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def main(arguments: list[str] | None = None) -> Path:
    """Print Markdown tables for REPRODUCING.md, write the JSON and return its path."""
    parser = measure.parser(__doc__.splitlines()[0])
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("throughput", nargs="?", type=Path, default=None, help="of throughput.py")
    given = parser.parse_args(arguments)
    path = given.throughput or measure.RESULTS / "throughput.json"
    if not path.exists():
        raise SystemExit(f"{path} is not there: measure first, with 'make bench'")
    machine = read(path)
    per_run, parts = tables(machine)
    print(f"{machine.name}, hours per run of {EPOCHS} epochs:\n\n{markdown(per_run)}\n")
    print(f"Hours by part of the study:\n\n{markdown(parts)}\n")
    hours = {part["part"]: part["hours"] for part in parts}
    record = {
        "settings": {"from": path.name, "train": N_TRAIN, "validation": N_VAL, "epochs": EPOCHS},
        "measured_on": machine.name,
        "rows": per_run,
        "parts": parts,
        "medians": hours,
        "ratios": {part["part"]: part["hours"] / parts[0]["hours"] for part in parts},
    }
    name = "estimate" if path.name == "throughput.json" else f"estimate-{path.stem}"
    return measure.publish(name, record, given)


if __name__ == "__main__":
    main()
