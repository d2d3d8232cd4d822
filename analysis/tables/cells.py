"""The cells of a long table, one by one, each formatting its own numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.presentation.style import look
from analysis.presentation.text import lookup, number, with_interval


@dataclass(frozen=True, eq=False)
class Cell:
    """The rows of one cell; ``place`` is an attribute and a group where not all eyes are meant."""

    rows: pd.DataFrame

    def row(self, metric: str, *place: str) -> dict:
        """Return the row of a metric; NaN where there is none."""
        return lookup(self.rows, metric, *place)

    def number(self, metric: str, digits: int = 2, *place: str) -> str:
        """Return an estimate alone, formatted."""
        return number(self.row(metric, *place)["estimate"], digits)

    def level(self, metric: str, digits: int = 2, *place: str) -> str:
        """Return an estimate with its interval, formatted."""
        return with_interval(self.row(metric, *place), digits)

    @property
    def error(self) -> str:
        """The MAE with its interval and its SD over seeds."""
        spread = self.row("mae")["seed_sd"]
        return self.level("mae") + (f" ± {number(spread)}" if np.isfinite(spread) else "")

    @property
    def size(self) -> dict[str, str]:
        """Columns of how many eyes and seeds there are."""
        mae = self.row("mae")
        return {"Eyes": str(int(mae["n"])), "Seeds": str(int(mae["n_seeds"]))}


def cells(table: pd.DataFrame) -> Iterator[tuple[tuple[str, str], dict[str, str], Cell]]:
    """Yield key, naming columns and rows of each backbone and protocol, in their order."""
    for key, rows in table.groupby(["backbone", "protocol"], sort=False):
        backbone, protocol = (look(name).label for name in key)
        yield key, {"Backbone": backbone, "Protocol": protocol}, Cell(rows)
