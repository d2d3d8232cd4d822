"""The kinds of claim that conclusions are made of: a level, a difference, a count, a verdict.

A level comes with its interval, a difference says whether it is shown, a count of how many it is.
A difference that is not shown is no equality: *equivalent* needs the whole interval within a margin
stated beforehand, and at least ten seeds where training is what is compared; a claim is *excluded*
only by intervals that leave no room for it. Everything between is *not shown*.
Sentences add what they are about; they follow from the numbers, whichever way these fall.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from analysis.presentation import text
from analysis.resampling.conditions import NO_BACKBONE

ALPHA = 0.05  # Holm-corrected p below which a difference is shown
MARGIN = 1.0  # µm of MAE that do not matter (ours)
MIN_SEEDS = 10  # below which equivalence of ways to train is not claimed (ours)
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


def rows_of(
    table: pd.DataFrame, metric: str, group: str | None = None, attribute: str | None = None
) -> pd.DataFrame:
    """Return the rows of a metric (group, attribute) of a long table by backbone and protocol."""
    asked = {"metric": metric, "group": group, "attribute": attribute}
    for column, wanted in asked.items():
        table = table if wanted is None else table[table[column] == wanted]
    return table.set_index(["backbone", "protocol"])


def trained(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of trained models that have an estimate."""
    known = rows.dropna(subset="estimate")
    return known[known.index.get_level_values("backbone") != NO_BACKBONE]


def cell_of(table: pd.DataFrame, backbone: str, protocol: str) -> pd.DataFrame:
    """Return the rows of one cell."""
    return table[(table["backbone"] == backbone) & (table["protocol"] == protocol)]


def ends(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return the rows with the largest and the smallest estimate."""
    return rows.loc[rows["estimate"].idxmax()], rows.loc[rows["estimate"].idxmin()]


def name_of(cell: Iterable[str]) -> str:
    """Return ``backbone with protocol``."""
    return " with ".join(cell)


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
    >>> difference({"estimate": 0.2, "low": -0.5, "high": 0.9, "p_holm": 0.6, "n_seeds": 10})
    'equivalent within ±1 µm, +0.20 [−0.50, +0.90] µm'
    >>> difference({"estimate": -0.2, "low": -0.3, "high": -0.1, "p_holm": 0.1})
    "not shown after Holm's correction, −0.20 [−0.30, −0.10] µm"
    """
    small = row["p_holm"] < ALPHA
    apart = row["low"] > 0 or row["high"] < 0 if interval else small
    word = "higher" if row["estimate"] > 0 else "lower"
    if apart != small:
        word += " by its interval alone" if apart else " by Holm's p alone"
    if not apart and not small:
        word = f"equivalent within ±{MARGIN:g} µm" if equivalent(row) else "not distinguishable"
        if row["low"] > 0 or row["high"] < 0:  # its p is of a family of comparisons
            word = "not shown after Holm's correction"
    return f"{word}, {signed(row)} µm"


def equivalent(row: Mapping[str, float]) -> bool:
    """Whether a difference lies within ± the margin, by its interval and over enough seeds.

    The 95 % interval makes this two one-sided tests at 2.5 % each.
    """
    return bool(max(-row["low"], row["high"]) < MARGIN and row.get("n_seeds", 0) >= MIN_SEEDS)


def verdict(row: Mapping[str, float]) -> str:
    """Return 'differs', 'equivalent' (within the margin) or 'undecided' for a paired difference.

    Examples
    --------
    >>> verdict({"estimate": 1.5, "low": 0.5, "high": 2.5, "p_holm": 0.01})
    'differs'
    >>> verdict({"estimate": 0.2, "low": -0.5, "high": 0.9, "p_holm": 0.6, "n_seeds": 10})
    'equivalent'
    >>> verdict({"estimate": 0.2, "low": -0.5, "high": 0.9, "p_holm": 0.6, "n_seeds": 3})
    'undecided'
    """
    if row["p_holm"] < ALPHA:
        return "differs"
    return "equivalent" if equivalent(row) else "undecided"


def tally(rows: pd.DataFrame, names: Sequence[str] = ()) -> str:
    """Count the verdicts on differences and name them; equivalence needs :data:`MIN_SEEDS`."""
    found = [verdict(row) for _, row in rows.iterrows()]
    said = []
    for word, verb in (
        ("differs", "differ"),
        ("equivalent", f"are equivalent within ±{MARGIN:g} µm"),
        ("undecided", "are undecided"),
    ):
        of = [i for i, one in enumerate(found) if one == word]
        said.append(f"{count(of, rows)} {verb}{named([names[i] for i in of] if names else [])}")
    seeds = int(rows["n_seeds"].min()) if len(rows) else 0
    few = f"; equivalence is not claimed below {MIN_SEEDS} seeds, here {seeds}"
    few += ", and each difference includes the luck of one run" * (seeds == 1)
    return ", ".join(said) + (few if seeds < MIN_SEEDS else "")


def listed(rows: pd.DataFrame, interval: bool = False) -> str:
    """Return the differences of rows by their index: ``a: higher, ...; b: lower, ...``."""
    names = (f"{name:g}" if isinstance(name, float) else str(name) for name in rows.index)
    found = (difference(row, interval) for _, row in rows.iterrows())
    return "; ".join(map(": ".join, zip(names, found, strict=True)))


def told_apart(rows: pd.DataFrame, interval: bool = True) -> tuple[list, list]:
    """Return the index of the rows whose difference is shown, and lies below 0 and above it.

    With ``interval`` its interval must exclude 0 as well.
    """
    found = []
    for sign in (-1, 1):
        chosen = (sign * rows["estimate"] > 0) & (rows["p_holm"] < ALPHA)
        if interval:
            chosen &= (sign * rows[["low", "high"]] > 0).all(axis=1)
        found.append(list(rows.index[chosen]))
    return found[0], found[1]


def count(chosen: Sequence, among: Sequence | pd.DataFrame) -> str:
    """Return ``1 of 3``."""
    return f"{len(chosen)} of {len(among)}"


def named(chosen: Sequence[str], separator: str = ", ") -> str:
    """Return names in brackets after a count; nothing for none."""
    return f" ({separator.join(chosen)})" if len(chosen) else ""


def arises(found: object, excluded: object = False) -> str:
    """Say whether a claim of the paper arises here, is excluded, or is neither shown."""
    return "arises" if found else "is excluded" if excluded else "is not shown"
