"""What every sentence needs: an estimate with its interval, and how many seeds it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.presentation import text


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


def with_interval(row: Mapping[str, float], unit: str = " µm", digits: int = 2) -> str:
    """Return ``estimate unit [low, high]`` of one row of a long table, in µm unless said."""
    return text.with_interval(row, digits, unit)
