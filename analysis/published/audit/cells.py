"""What an audit works on: printed numbers with their rounding, cells of tables, and findings.

A number printed as 24.80 stands for anything from 24.795 to 24.805. Whatever is recomputed from
printed numbers is therefore an interval too, and a claim *holds* when that interval and the printed
claim's own have a value in common. So no claim is refused for a difference that rounding explains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import pandas as pd

from analysis.published import decimals

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be checked"
CONTRADICTION, DOUBTFUL = "contradiction", "doubtful"
VERDICTS = (FAILS, CONTRADICTION, DOUBTFUL, OPEN, HOLDS)
KEYS = ["edition", "table", "backbone", "protocol"]
EXACT = 1e-9  # slack for the rounding of the arithmetic itself
MAX_DECIMALS = 12
SHOWN = 4  # decimals of a number that comes with more


@dataclass(frozen=True)
class Number:
    """A number and how far the truth behind it may lie: 24.80 is 24.80 ± 0.005."""

    value: float
    half: float = 0.0
    digits: int = 2

    @property
    def low(self) -> float:
        """Smallest value it stands for."""
        return self.value - self.half

    @property
    def high(self) -> float:
        """Largest value it stands for."""
        return self.value + self.half

    def agrees(self, other: Number) -> bool:
        """Whether both can stand for one value."""
        return abs(self.value - other.value) <= self.half + other.half + EXACT

    def __str__(self) -> str:
        return f"{self.value:.{min(self.digits, SHOWN)}f}".replace("-", "−")


def printed(value: float, digits: int) -> Number:
    """Return a number that was printed with so many decimals."""
    return Number(float(value), 0.5 * 10.0**-digits, int(digits))


def recompute(function: Callable[..., float], numbers: Sequence[Number], digits: int) -> Number:
    """Return a function of numbers with what their rounding makes of it.

    The half-width adds up how far the result moves when each number alone goes to the ends of its
    interval: exact for sums and means, to first order otherwise (ours).

    Examples
    --------
    >>> gain = recompute(lambda a, b: 100 * (b - a) / b, [printed(19.04, 2), printed(24.8, 2)], 1)
    >>> str(gain), round(gain.half, 2)
    ('23.2', 0.04)
    """
    values = [number.value for number in numbers]
    half = 0.0
    for i, number in enumerate(numbers):
        low, high = (
            function(*values[:i], end, *values[i + 1 :]) for end in (number.low, number.high)
        )
        half += abs(high - low) / 2
    return Number(float(function(*values)), float(half), digits)


@dataclass(frozen=True)
class Cell:
    """One row of a table of results: its place, and its numbers by metric.

    An empty ``protocol`` is a statement about the backbone, an empty ``backbone`` beside it one
    about the whole table.
    """

    edition: str
    table: str
    backbone: str
    protocol: str
    numbers: Mapping[str, Number]
    spreads: Mapping[str, Number] = field(default_factory=dict)  # the printed ±

    @property
    def name(self) -> str:
        """Backbone and protocol, as far as they are named."""
        return ", ".join(filter(None, (self.backbone, self.protocol))) or "whole table"


def cells(results: pd.DataFrame) -> list[Cell]:
    """Return the cells of a long table: edition, table, backbone, protocol, metric, value.

    ``digits``, the number of printed decimals, is taken from the value itself where the table does
    not have it, and the most decimals of a table's metric count for all its values: a float has
    forgotten the last 0 of 24.80.
    """
    rows = results.copy()
    seen = rows["value"].map(lambda value: min(decimals(repr(float(value))), MAX_DECIMALS))
    seen = seen.where(rows["value"] != rows["value"].round(), 0)  # 27.0 was printed as 27
    if "digits" in rows:
        rows["digits"] = np.fmax(rows["digits"], seen).astype(int)
    else:
        rows["digits"] = seen.groupby([rows[k] for k in ("edition", "table", "metric")]).transform(
            "max"
        )
    if "plus_minus" not in rows:
        rows["plus_minus"] = np.nan
    out = []
    for key, group in rows.groupby(KEYS, sort=False):
        numbers = {row.metric: printed(row.value, row.digits) for row in group.itertuples()}
        known = group[group["plus_minus"].notna()]
        spreads = {row.metric: printed(row.plus_minus, row.digits) for row in known.itertuples()}
        out.append(Cell(*key, numbers, spreads))
    return out


@dataclass(frozen=True)
class Finding:
    """One line of an audit; the fields are the columns of its table.

    ``published`` and ``recomputed`` are numbers in ``unit``, shown with ``published_digits`` and
    ``digits`` decimals; ``low`` and ``high`` bound what the rounding of the inputs lets the
    recomputed one be.
    """

    check: str
    edition: str
    table: str
    cell: str
    claim: str
    published: float
    recomputed: float
    verdict: str
    reading: str
    detail: str
    low: float
    high: float
    digits: int
    published_digits: int
    unit: str


def finding(
    cell: Cell,
    check: str,
    claim: str,
    verdict: str,
    *,
    published: Number | None = None,
    recomputed: Number | None = None,
    unit: str = "µm",
    reading: str = "",
    detail: str = "",
) -> Finding:
    """Return the finding about a cell; an absent number is NaN."""
    nothing = Number(float("nan"), float("nan"), 0)
    told, found = published or nothing, recomputed or nothing
    digits = min(found.digits, SHOWN), min(told.digits, SHOWN)
    text = claim, told.value, found.value, verdict, reading, detail
    bounds = found.low, found.high, *digits, unit
    return Finding(check, cell.edition, cell.table, cell.name, *text, *bounds)


def label(metric: str) -> str:
    """Return a metric as a sentence names it.

    Examples
    --------
    >>> label("mae_T"), label("sigma_flat"), label("percent_frozen")
    ('MAE T', 'σ flat', 'percent_frozen')
    """
    names = {"mae": "MAE", "rmse": "RMSE", "sigma": "σ", "r": "R"}
    head, *rest = metric.split("_")
    return " ".join([names[head], *rest]) if head in names else metric


def verdict_of(published: Number, recomputed: Number) -> str:
    """Return ``holds`` when both agree within rounding, else ``does not hold``."""
    return HOLDS if published.agrees(recomputed) else FAILS


def frame(findings: Iterable[Finding]) -> pd.DataFrame:
    """Return findings as a table, one row each."""
    columns = list(Finding.__dataclass_fields__)
    return pd.DataFrame([asdict(one) for one in findings], columns=columns)


def whole_tables(results: Iterable[Cell]) -> dict[tuple[str, str], list[Cell]]:
    """Return the cells of each table of each edition, in their order."""
    out: dict[tuple[str, str], list[Cell]] = {}
    for cell in results:
        out.setdefault((cell.edition, cell.table), []).append(cell)
    return out
