"""The kinds of claim that conclusions are made of: a level, a difference, a count, a verdict.

A level comes with its interval, a difference says whether it is shown, a count of how many it is.
Sentences add what they are about; they follow from the numbers, whichever way these fall.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.presentation import text
from analysis.resampling.conditions import NO_BACKBONE

ALPHA = 0.05  # Holm-corrected p below which a difference is shown
COLLAPSED = 0.5  # share of the labels' value below which a model repeats itself (ours)
FLOOR, TEMPLATE = (NO_BACKBONE, "oracle floor"), (NO_BACKBONE, "template")


def seeds_note(seeds: Sequence[int]) -> str:
    """Say how many seeds a table rests on.

    Examples
    --------
    >>> seeds_note([42])
    'One seed (42): differences between cells include the luck of one run.'
    >>> seeds_note([42, 43])
    '2 seeds (42, 43).'
    """
    listed = ", ".join(map(str, seeds))
    if len(seeds) == 1:
        return f"One seed ({listed}): differences between cells include the luck of one run."
    return f"{len(seeds)} seeds ({listed})."


# --- which rows a claim is about --------------------------------------------------------------


def rows_of(table: pd.DataFrame, metric: str, group: str | None = None) -> pd.DataFrame:
    """Return the rows of a metric (and group) of a long table by backbone and protocol."""
    chosen = table["metric"] == metric
    chosen = chosen if group is None else chosen & (table["group"] == group)
    return table[chosen].set_index(["backbone", "protocol"])


def trained(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of trained models that have an estimate."""
    known = rows.dropna(subset="estimate")
    return known[known.index.get_level_values("backbone") != NO_BACKBONE]


def ends(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return the rows with the largest and the smallest estimate."""
    return rows.loc[rows["estimate"].idxmax()], rows.loc[rows["estimate"].idxmin()]


def name_of(cell: Iterable[str]) -> str:
    """Return ``backbone with protocol``."""
    return " with ".join(cell)


# --- what is claimed of them ------------------------------------------------------------------


def level(row: Mapping[str, float], unit: str = " µm", digits: int = 2) -> str:
    """Return ``estimate unit [low, high]``."""
    return text.with_interval(row, digits, unit)


def signed(row: Mapping[str, float], digits: int = 2, unit: str = "") -> str:
    """Return ``+estimate unit [low, high]``, with signs throughout."""
    return text.with_interval(row, digits, unit, signed=True)


def difference(row: Mapping[str, float], interval: bool = False) -> str:
    """Return a paired difference in words: shown where Holm's p is below 0.05.

    With ``interval`` its interval must exclude 0 as well; where one criterion alone is met, the
    words name it.

    Examples
    --------
    >>> row = {"estimate": 1.5, "low": -0.5, "high": 3.5, "p_holm": 0.01}
    >>> difference(row), difference(row, interval=True)[:24]
    ('higher, +1.50 [−0.50, +3.50] µm', "higher by Holm's p alone")
    """
    small = row["p_holm"] < ALPHA
    apart = row["low"] > 0 or row["high"] < 0 if interval else small
    word = "higher" if row["estimate"] > 0 else "lower"
    if apart != small:
        word += " by its interval alone" if apart else " by Holm's p alone"
    return f"{word if apart or small else 'not distinguishable'}, {signed(row)} µm"


def listed(rows: pd.DataFrame, interval: bool = False) -> str:
    """Return the differences of rows by their index: ``a: higher, ...; b: lower, ...``."""
    found = (f"{_brief(name)}: {difference(row, interval)}" for name, row in rows.iterrows())
    return "; ".join(found)


def _brief(name: object) -> str:
    return f"{name:g}" if isinstance(name, float) else str(name)


def shown(rows: pd.DataFrame, sign: int, interval: bool = False) -> list:
    """Return the index of the rows whose difference is shown and has this sign."""
    chosen = (sign * rows["estimate"] > 0) & (rows["p_holm"] < ALPHA)
    if interval:
        chosen &= np.minimum(sign * rows["low"], sign * rows["high"]) > 0
    return list(rows.index[chosen])


def count(chosen: Sequence, among: Sequence | pd.DataFrame) -> str:
    """Return ``1 of 3``."""
    return f"{len(chosen)} of {len(among)}"


def named(chosen: Sequence[str], separator: str = ", ") -> str:
    """Return names in brackets after a count; nothing for none."""
    return f" ({separator.join(chosen)})" if chosen else ""


def arises(found: object) -> str:
    """Say whether a claim of the paper arises here."""
    return "arises" if found else "does not arise"
