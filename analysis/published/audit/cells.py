"""What an audit works on: printed numbers with their rounding, cells of tables, and findings.

A number printed as 24.80 stands for anything from 24.795 to 24.805. Whatever is recomputed from
printed numbers is therefore an interval too, and a claim *holds* when that interval and the printed
claim's own have a value in common. So no claim is refused for a difference that rounding explains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.published import decimals

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be checked"
CONTRADICTION, DOUBTFUL = "contradiction", "doubtful"
VERDICTS = (FAILS, CONTRADICTION, DOUBTFUL, OPEN, HOLDS)
WORDS = {  # of one finding, of several
    HOLDS: ("holds", "hold"),
    FAILS: ("does not hold", "do not hold"),
    CONTRADICTION: ("contradicts another", "contradict each other"),
    DOUBTFUL: ("is doubtful", "are doubtful"),
    OPEN: ("cannot be checked", "cannot be checked"),
}
CLAIM, CONSISTENCY, YARDSTICK = "claim", "consistency", "yardstick"
KINDS = {
    CLAIM: "What is claimed",
    CONSISTENCY: "Whether the numbers fit each other",
    YARDSTICK: "Our own yardsticks, which nobody claims to pass",
}
KEYS = ["edition", "table", "backbone", "protocol"]
EXACT = 1e-9  # slack for the rounding of the arithmetic itself
MAX_DECIMALS = 12
SHOWN = 4  # decimals of a number that comes with more

# What the metrics are: errors are better when lower, agreement when higher.
SECTORS = ("mae_S", "mae_N", "mae_I", "mae_T")
ERRORS = ("mae", "rmse", "mae_global", *SECTORS, "gap", "gradient_mae")
AGREEMENT = ("r", "pearson_per_eye", "pearson_pooled", "pearson_between_eyes", "r2", "ccc")
SPREADS = ("sigma", "sigma_flat", "sigma_between", "sigma_template")
TRUE_SPREADS = ("sigma_true", "sigma_true_flat", "sigma_true_between", "sigma_true_means")
DIALS = ("percent_frozen", "lambda_pearson")
SETTINGS = (*DIALS, "lambda_gradient", "n_eyes")
LINE = ("claimed_intercept", "claimed_slope_per_10_percent", "claimed_r_squared")
METRICS = (
    *(*ERRORS, *AGREEMENT, *SPREADS, *TRUE_SPREADS),
    *(*SETTINGS, *LINE, "claimed_saturating", "sigma_collapse", "proposed"),
)

# How the paper's tables belong together.
TEST_SETS = {  # tables that report on one test set, so that their cells can be compared
    **dict.fromkeys(("table1", "freezing", "loss_complexity"), "FairFedMed"),
    **dict.fromkeys(("grape", "quick_start"), "GRAPE"),
}
#: Names that the paper's tables give to one model: L1 alone, nothing frozen, 5e-5 / 1e-4.
SAME_MODEL = {"freeze_0": "aggressive", "lambda_0": "aggressive"}
#: Where a table names no backbone (ours): the ablations are read as RETFound's.
ASSUMED_BACKBONE = {"loss_complexity": "RETFound ViT-L/16"}
UNSTATED = "unstated"  # the edition of a claim of which it is not known: it is about all of them


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


def unit_of(metric: str) -> str:
    """Return the unit of a result: µm, but for agreement and counts."""
    return "" if metric in AGREEMENT else "eyes" if metric == "n_eyes" else "µm"


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


NOTHING = Number(float("nan"), float("nan"), 0)


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
        low, high = (function(*values[:i], x, *values[i + 1 :]) for x in (number.low, number.high))
        half += abs(high - low) / 2
    return Number(float(function(*values)), float(half), digits)


@dataclass(frozen=True)
class Cell:
    """One row of a table of results: its place, and its numbers by metric.

    An empty ``protocol`` is a statement about the backbone, an empty ``backbone`` beside it one
    about the whole table.
    """

    edition: str = ""
    table: str = ""
    backbone: str = ""
    protocol: str = ""
    numbers: Mapping[str, Number] = field(default_factory=dict)
    spreads: Mapping[str, Number] = field(default_factory=dict)  # the printed ±
    printed_as: str = ""  # the name in the row that is quoted, where one is

    @property
    def name(self) -> str:
        """Backbone and protocol, as far as they are named."""
        return ", ".join(filter(None, (self.backbone, self.protocol))) or "whole table"

    @property
    def test_set(self) -> str:
        """What names the eyes that the cell's table reports on."""
        return TEST_SETS.get(self.table, self.table)

    @property
    def model(self) -> tuple[str, str, str]:
        """Test set, backbone (the assumed one where none is named) and protocol of one model."""
        backbone = self.backbone or ASSUMED_BACKBONE.get(self.table, "")
        return self.test_set, backbone, SAME_MODEL.get(self.protocol, self.protocol)

    @property
    def whole(self) -> Cell:
        """What a finding about the cell's whole table is about."""
        return Cell(self.edition, self.table)

    def has(self, *metrics: str) -> bool:
        """Whether the cell has a number of each metric."""
        return set(metrics) <= set(self.numbers)

    def first(self, *metrics: str) -> Number | None:
        """Return the number of the first of the metrics that the cell has."""
        return next((self.numbers[name] for name in metrics if name in self.numbers), None)


def cells(results: pd.DataFrame) -> list[Cell]:
    """Return the cells of a long table: edition, table, backbone, protocol, metric, value.

    ``digits``, the number of printed decimals, is taken from the value itself where the table does
    not have it, and the most decimals of a table's metric count for all its values: a float has
    forgotten the last 0 of 24.80.
    """
    rows = results.copy()
    seen = rows["value"].map(lambda value: min(decimals(repr(float(value))), MAX_DECIMALS))
    seen = seen.where(rows["value"] != rows["value"].round(), 0)  # 27.0 was printed as 27
    alike = [rows[name] for name in ("edition", "table", "metric")]
    known = rows.get("digits", seen.groupby(alike).transform("max"))
    rows["digits"] = np.fmax(known, seen).astype(int)
    rows["plus_minus"] = rows.get("plus_minus", np.nan)
    out = []
    for key, group in rows.groupby(KEYS, sort=False):
        numbers = {row.metric: printed(row.value, row.digits) for row in group.itertuples()}
        known = group[group["plus_minus"].notna()]
        spreads = {row.metric: printed(row.plus_minus, row.digits) for row in known.itertuples()}
        names = [text.split(" | ")[0] for text in group.get("quote", ()) if " | " in str(text)]
        out.append(Cell(*key, numbers, spreads, next(iter(names), "")))
    return out


def grouped(some: Iterable, key: Callable) -> dict[Any, list]:
    """Return items by their key, keys and items in the order they came."""
    out: dict[Any, list] = {}
    for one in some:
        out.setdefault(key(one), []).append(one)
    return out


def tables(results: Iterable[Cell]) -> Iterable[list[Cell]]:
    """Return the cells of each table of each edition, in their order."""
    return grouped(results, lambda cell: (cell.edition, cell.table)).values()


def entries(results: Iterable[Cell]) -> Iterator[tuple[Cell, str, Number]]:
    """Yield every number with its cell and metric."""
    return ((cell, *entry) for cell in results for entry in cell.numbers.items())


COLUMNS = [
    *("kind", "check", "edition", "table", "cell", "claim", "published", "recomputed", "verdict"),
    *("reading", "detail", "low", "high", "digits", "published_digits", "unit"),
]
Finding = dict[str, Any]


def finding(
    cell: Cell,
    check: str,
    claim: str,
    published: Number | None = None,
    recomputed: Number | None = None,
    reading: str = "",
    detail: str = "",
    *,
    holds: bool | None = None,
    verdict: str | None = None,
    unit: str = "µm",
) -> Finding:
    """Return one line of an audit, by the names of its ``COLUMNS``; whose it is is said later.

    ``published`` and ``recomputed`` are in ``unit``; an absent number is NaN. Unless ``holds`` or
    a ``verdict`` says so, the claim holds when both agree within rounding, and cannot be checked
    when one of them is not there. ``low`` and ``high`` bound what the rounding of the inputs lets
    the recomputed one be.
    """
    told, found = published or NOTHING, recomputed or NOTHING
    known = holds is not None or np.isfinite([told.value, found.value, found.half]).all()
    holds = told.agrees(found) if holds is None else holds
    verdict = verdict or (OPEN if not known else HOLDS if holds else FAILS)
    values = (
        *("", check, cell.edition, cell.table, cell.name, claim, told.value, found.value, verdict),
        *(reading, detail, found.low, found.high),
        *(min(found.digits, SHOWN), min(told.digits, SHOWN), unit),
    )
    return dict(zip(COLUMNS, values, strict=True))
