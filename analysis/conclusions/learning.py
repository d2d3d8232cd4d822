"""Conclusions on what a few dozen eyes teach: the best way, networks, starts, pretraining."""

from __future__ import annotations

import pandas as pd

from analysis.accuracy.learning import PLAINEST, YARDSTICK, group_of, rows_of
from analysis.conclusions.claims import count, difference, level, listed, named, shown
from analysis.presentation.text import number, p_value

# Below, ``quadrants`` is the table of analysis.accuracy.quadrants.quadrant_table, one domain,
# ``paired`` that of its paired_quadrants against PCA + ridge, and ``gains`` that of
# analysis.accuracy.learning.gains.


def yardsticks(quadrants: pd.DataFrame, paired: pd.DataFrame) -> str:
    """Say how far off the constant and PCA + ridge are, and whether these differ."""
    constant, ridge = (_error(quadrants, way) for way in ("constant", YARDSTICK))
    apart = difference(paired.set_index("method").loc["constant"], interval=True)
    return (
        f"Mean quadrant error: constant {constant}, {YARDSTICK} {ridge} "
        f"{_r(quadrants, YARDSTICK)}. Constant against {YARDSTICK}: {apart}."
    )


def anything_learnt(gains: pd.DataFrame) -> str:
    """Say which ways beat the constant, which knows the mean thickness and no photograph."""
    rows = _compared(gains, "constant")
    below = shown(rows, -1, interval=True)
    rest = "; ".join(way for way in rows.index if way not in below)
    return (
        f"Clearly better than the constant: {count(below, rows)} ways{named(below, '; ')}; not "
        f"clearly: {rest or 'none'}."
    )


def best_way(quadrants: pd.DataFrame, paired: pd.DataFrame) -> str:
    """Say which way of learning errs least, and whether it beats PCA + ridge."""
    ways = _learnt(rows_of(quadrants, "mae", "mean"))
    best = ways["estimate"].idxmin()
    row = paired.set_index("method").loc[best]
    return (
        f"Lowest error of {len(ways)} ways: {best}, {_error(quadrants, best)} "
        f"{_r(quadrants, best)}; against {YARDSTICK} {difference(row, interval=True)}, Holm p "
        f"{p_value(row['p_holm'])}. It was picked on these same eyes, which flatters it."
    )


def better_ways(paired: pd.DataFrame) -> list[str]:
    """Say which ways beat PCA + ridge, and where the fine-tuned networks stand against it."""
    ways = _learnt(paired.set_index("method"))
    below, above = (shown(ways, sign, interval=True) for sign in (-1, 1))
    tuned = ways[[group_of(way) == "fine-tuned" for way in ways.index]]
    return [
        f"Clearly better than {YARDSTICK}: {count(below, ways)} ways{named(below, '; ')}; clearly "
        f"worse: {len(above)}{named(above, '; ')}.",
        f"Networks against {YARDSTICK}: {listed(tuned, interval=True)}.",
    ]


def phantom_start(gains: pd.DataFrame) -> str:
    """Say what a fine-tuned network gains by having learnt phantoms' thickness first."""
    plain = PLAINEST["fine-tuned"]
    found = listed(_compared(gains, plain), interval=True)
    return f"Against {plain} without a phantom start: {found}."


def pretrained_readouts(gains: pd.DataFrame) -> str:
    """Say what readouts of pretrained backbones gain over random features."""
    rows = _compared(gains, PLAINEST["readouts"])
    below, above = (shown(rows, sign, interval=True) for sign in (-1, 1))
    return (
        "Readouts of pretrained backbones against one of random features: clearly better "
        f"{count(below, rows)}, clearly worse {len(above)}. In turn: {listed(rows, interval=True)}."
    )


def luck_of_folds(quadrants: pd.DataFrame) -> str:
    """Say how much of each way's error is the luck of how the folds were drawn."""
    mae = rows_of(quadrants, "mae", "mean")
    draws = int(mae["n_seeds"].max())
    if draws < 2:
        return "The folds were drawn once, so that their luck is in every number."
    sizes = "; ".join(f"{way} {number(sd)}" for way, sd in mae["seed_sd"].dropna().items())
    return f"Redrawing the folds changes the error by an SD ({draws} draws, µm) of: {sizes}."


def _error(quadrants: pd.DataFrame, way: str) -> str:
    return level(rows_of(quadrants, "mae", "mean").loc[way], digits=1)


def _r(quadrants: pd.DataFrame, way: str) -> str:
    return f"(r of the mean thickness {level(rows_of(quadrants, 'r', 'global').loc[way], '')})"


def _compared(gains: pd.DataFrame, against: str) -> pd.DataFrame:
    return gains[gains["against"] == against].set_index("method")


def _learnt(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ways that are no yardsticks."""
    return rows[[group_of(way) != "yardsticks" for way in rows.index]]
