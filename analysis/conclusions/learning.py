"""Conclusions on what a few dozen eyes teach: the best way, networks, starts, pretraining."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis import tables
from analysis.accuracy.learning import PLAINEST, YARDSTICK, group_of, rows_of
from analysis.conclusions.common import with_interval
from analysis.conclusions.wording import ALPHA, count, signed


def yardsticks(quadrants: pd.DataFrame, paired: pd.DataFrame) -> str:
    """Say how far off the constant and PCA + ridge are, and whether these differ.

    Parameters
    ----------
    quadrants : DataFrame
        Long, from :func:`analysis.accuracy.quadrants.quadrant_table`, one domain.
    paired : DataFrame
        From :func:`analysis.accuracy.quadrants.paired_quadrants` against PCA + ridge.
    """
    mae, r = rows_of(quadrants, "mae", "mean"), rows_of(quadrants, "r", "global").loc[YARDSTICK]
    return (
        f"Mean quadrant error: constant {with_interval(mae.loc['constant'], digits=1)}, "
        f"{YARDSTICK} {with_interval(mae.loc[YARDSTICK], digits=1)} (r of the mean thickness "
        f"{tables.with_interval(r)}). Constant against {YARDSTICK}: "
        f"{_verdict(paired.set_index('method').loc['constant'])}."
    )


def anything_learnt(gains: pd.DataFrame) -> str:
    """Say which ways beat the constant, which knows the mean thickness and no photograph.

    Parameters
    ----------
    gains : DataFrame
        From :func:`analysis.accuracy.learning.gains`.
    """
    rows = _compared(gains, "constant")
    below = _clear(rows, -1)
    rest = [way for way in rows.index if way not in below]
    text = f"Clearly better than the constant: {count(below, rows)} ways"
    text += f" ({_named(below)})" if below else ""
    return f"{text}; not clearly: {_named(rest) or 'none'}."


def best_way(quadrants: pd.DataFrame, paired: pd.DataFrame) -> str:
    """Say which way of learning errs least, and whether it beats PCA + ridge.

    Parameters are those of :func:`yardsticks`.
    """
    ways = _learnt(rows_of(quadrants, "mae", "mean"))
    best = ways["estimate"].idxmin()
    r = rows_of(quadrants, "r", "global").loc[best]
    row = paired.set_index("method").loc[best]
    return (
        f"Lowest error of {len(ways)} ways: {best}, {with_interval(ways.loc[best], digits=1)} "
        f"(r of the mean thickness {tables.with_interval(r)}); against {YARDSTICK} "
        f"{_verdict(row)}, Holm p {_p(row['p_holm'])}. It was picked on these same eyes, which "
        "flatters it."
    )


def better_ways(paired: pd.DataFrame) -> list[str]:
    """Say which ways beat PCA + ridge, and where the fine-tuned networks stand against it.

    A difference is clear where its interval excludes zero and Holm's p is below 0.05.
    """
    ways = _learnt(paired.set_index("method"))
    below, above = _clear(ways, -1), _clear(ways, 1)
    text = f"Clearly better than {YARDSTICK}: {count(below, ways)} ways"
    text += f" ({_named(below)})" if below else ""
    text += f"; clearly worse: {len(above)}" + (f" ({_named(above)})" if above else "")
    tuned = ways[[group_of(way) == "fine-tuned" for way in ways.index]]
    return [f"{text}.", f"Networks against {YARDSTICK}: {_listed(tuned)}."]


def phantom_start(gains: pd.DataFrame) -> str:
    """Say what a fine-tuned network gains by having learnt phantoms' thickness first."""
    rows = _compared(gains, PLAINEST["fine-tuned"])
    return f"Against {PLAINEST['fine-tuned']} without a phantom start: {_listed(rows)}."


def pretrained_readouts(gains: pd.DataFrame) -> str:
    """Say what readouts of pretrained backbones gain over random features."""
    rows = _compared(gains, PLAINEST["readouts"])
    below, above = _clear(rows, -1), _clear(rows, 1)
    return (
        f"Readouts of pretrained backbones against one of random features: clearly better "
        f"{count(below, rows)}, clearly worse {len(above)}. In turn: {_listed(rows)}."
    )


def luck_of_folds(quadrants: pd.DataFrame) -> str:
    """Say how much of each way's error is the luck of how the folds were drawn."""
    mae = rows_of(quadrants, "mae", "mean")
    draws = int(mae["n_seeds"].max())
    if draws < 2:
        return "The folds were drawn once, so that their luck is in every number."
    sizes = "; ".join(f"{way} {tables.number(sd)}" for way, sd in mae["seed_sd"].dropna().items())
    return f"Redrawing the folds changes the error by an SD ({draws} draws, µm) of: {sizes}."


def _compared(gains: pd.DataFrame, against: str) -> pd.DataFrame:
    return gains[gains["against"] == against].set_index("method")


def _learnt(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ways that are no yardsticks."""
    return rows[[group_of(way) != "yardsticks" for way in rows.index]]


def _clear(rows: pd.DataFrame, sign: int) -> list[str]:
    """Return the ways whose difference has this sign, by its interval and by Holm's p."""
    inner = np.minimum(sign * rows["low"], sign * rows["high"])
    return list(rows.index[(inner > 0) & (rows["p_holm"] < ALPHA)])


def _verdict(row: pd.Series) -> str:
    """Return a paired difference in words, naming the one criterion that alone is met."""
    apart, small = row["low"] > 0 or row["high"] < 0, row["p_holm"] < ALPHA
    word = "higher" if row["estimate"] > 0 else "lower"
    if apart != small:
        word += " by its interval alone" if apart else " by Holm's p alone"
    word = word if apart or small else "not distinguishable"
    return f"{word}, {signed(row)} µm"


def _listed(rows: pd.DataFrame) -> str:
    return "; ".join(f"{way}: {_verdict(row)}" for way, row in rows.iterrows())


def _named(ways: list[str]) -> str:
    return "; ".join(ways)


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else tables.number(value, 3)
