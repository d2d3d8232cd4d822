"""What a table claims: percentages, a freezing line, what is printed as best, who collapses.

Each check takes the cells of all tables and yields findings; ``CHECKS`` holds them in their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from analysis.freezing import Line, linear, step
from analysis.published.audit.cells import (
    AGREEMENT,
    DIALS,
    DOUBTFUL,
    ERRORS,
    EXACT,
    FAILS,
    HOLDS,
    LINE,
    NOTHING,
    UNSTATED,
    Cell,
    Finding,
    Number,
    backbone,
    entries,
    finding,
    frozen_share,
    label,
    points,
    recompute,
    tables,
    test_set,
    unit_of,
)

# percentages and differences

REFERENCE = "naive"
COMPARISON = re.compile(r"(delta_percent|better_percent|delta)(?:_vs_(.+))?")
RANGE = ("delta_percent_low", "delta_percent_high")


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else float("nan")


def _change(a: float, b: float) -> float:
    return _percent(a - b, b)


def _signed(number: Number) -> str:
    return f"+{number}" if number.value > 0 else str(number)


KINDS = {  # of a cell's MAE a and the reference's b
    "delta_percent": ("MAE {0} % against {1}", _change, "%"),
    "better_percent": ("MAE {0} % better than {1}", lambda a, b: _percent(b - a, b), "%"),
    "delta": ("MAE {0} µm against {1}", lambda a, b: a - b, "µm"),
}


def percentages(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check differences and percentages against the reference they name.

    ``delta_percent`` is the MAE's change from *naive* of the same backbone, in % of it;
    ``delta_percent_vs_X`` from protocol X, ``better_percent_vs_X`` the gain over X in % of X, and
    ``delta_vs_X`` the change in µm. For a percentage that does not hold, the pairs of the table
    that would give it are named.
    """
    for rows in tables(results):
        for cell, metric, claimed in entries(rows):
            if (matched := COMPARISON.fullmatch(metric)) and metric not in RANGE:
                yield _percentage(cell, rows, claimed, matched[1], matched[2] or REFERENCE)


def _percentage(
    cell: Cell, rows: Sequence[Cell], claimed: Number, kind: str, against: str
) -> Finding:
    text, function, unit = KINDS[kind]
    said = str(claimed) if kind == "better_percent" else _signed(claimed)
    claim = f"{cell.name}: " + text.format(said, against)
    same = [row for row in rows if (row.backbone, row.protocol) == (cell.backbone, against)]
    pair = [one.numbers.get("mae") for one in (cell, *same)]
    if len(pair) < 2 or None in pair:
        reason = f"needs the MAE of {cell.name} and of its {against}; the table lacks one"
        return finding(cell, "percentage", claim, claimed, unit=unit, detail=reason)
    found = recompute(function, pair, max(1, claimed.digits))
    detail = f"from {pair[0]} against {pair[1]} µm"
    if Number(-claimed.value, claimed.half).agrees(found) and not claimed.agrees(found):
        detail += ": the printed sign is wrong"
    elif unit == "%" and not claimed.agrees(found):
        detail += f". {_explain(claimed, cell, rows)}"
    reading = f"{'in % of' if unit == '%' else 'minus'} the MAE of {against}"
    reading += ", same backbone, edition and table"
    return finding(cell, "percentage", claim, claimed, found, reading, detail, unit=unit)


def _explain(claimed: Number, cell: Cell, rows: Sequence[Cell]) -> str:
    """Name the pairs of the table whose MAEs do differ by the claimed percentage."""
    wanted, matches = Number(abs(claimed.value), claimed.half), []
    known = [row for row in rows if row.has("mae")]
    for a, b in ((a, b) for a in known for b in known if a is not b):
        pair = [a.numbers["mae"], b.numbers["mae"]]
        found = recompute(_change, pair, max(1, claimed.digits))
        size = Number(abs(found.value), found.half)
        if size.agrees(wanted):
            far = (a.backbone != cell.backbone) + (a.backbone != b.backbone)
            matches.append((far, abs(size.value - wanted.value), a, b, found))
    if not matches:
        return f"No pair of cells of this table gives {claimed} %."
    far, _, a, b, found = min(matches, key=lambda match: match[:2])
    names = (a.protocol, f"{b.protocol} of {a.backbone}") if far == 0 else (a.name, b.name)
    text = f"{_signed(found)} % is {names[0]} against {names[1]}"
    text += f" ({a.numbers['mae']} against {b.numbers['mae']} µm)"
    others = len(matches) - 1
    if others:
        text += f"; {others} other pair{'s' * (others > 1)} of cells would give it"
    return f"{text}."


def ranges(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check "MAE +24 to +27 %": the smallest and the largest change of several models.

    A row that names a protocol is about that protocol with every backbone. One that names none is
    about every model of its test set that is frozen or has a Pearson term; it is read in two ways,
    against *naive* and against the start of each table (nothing frozen, λp 0), and is doubtful
    where only one of them gives the stated ends.
    """
    for cell in results:
        if any(name in cell.numbers for name in RANGE):
            rows = [one for one in results if one.edition == cell.edition and one.has("mae")]
            yield _range(cell, [one for one in rows if test_set(one) == test_set(cell)])


def _range(cell: Cell, rows: Sequence[Cell]) -> Finding:
    stated = [cell.numbers.get(name, NOTHING) for name in RANGE]
    about = cell.protocol or "frozen or with a Pearson term"
    claim = f"{about}: MAE {_signed(stated[0])} to {_signed(stated[1])} %"
    chosen = [one for one in rows if (one.protocol == about if cell.protocol else _bound(one))]
    found = {}
    for how, reference in READ_AGAINST.items():
        pairs = [(one, origin) for one in chosen if (origin := reference(one, rows))]
        changes = [recompute(_change, [one.numbers["mae"] for one in two], 1) for two in pairs]
        if changes:
            found[how] = [end(changes, key=lambda number: number.value) for end in (min, max)]
    if not found or not cell.has(*RANGE):
        reason = f"needs both ends, MAEs of such models and those of their {REFERENCE}"
        return finding(cell, "range", claim, stated[1], unit="%", detail=reason)
    if cell.protocol or len(set(map(tuple, found.values()))) == 1:
        found = dict([next(iter(found.items()))])
    fits = [all(map(Number.agrees, stated, ends)) for ends in found.values()]
    verdict = HOLDS if all(fits) else DOUBTFUL if any(fits) else FAILS
    spans = [f"{how} {_signed(low)} to {_signed(high)} %" for how, (low, high) in found.items()]
    # The end to show is that of the reading which speaks most against the claim.
    ends = min(zip(fits, found.values(), strict=True), key=lambda one: one[0])[1]
    told, shown = next((p for p in zip(stated, ends, strict=True) if not p[0].agrees(p[1])),
                       (stated[1], ends[1]))  # fmt: skip
    given = {"verdict": verdict, "unit": "%"}
    return finding(cell, "range", claim, told, shown, "; ".join(spans), **given)


def _naive(row: Cell, rows: Sequence[Cell]) -> Cell | None:
    same = (one for one in rows if one.protocol == REFERENCE and backbone(one) == backbone(row))
    return next(same, None)


def _start(row: Cell, rows: Sequence[Cell]) -> Cell | None:
    if not row.first(*DIALS):
        return _naive(row, rows)
    same = (one for one in rows if one.table == row.table and one.first(*DIALS))
    return next((one for one in same if one.first(*DIALS).value == 0), None)


def _bound(row: Cell) -> bool:
    dial = row.first(*DIALS)
    return bool(dial.value) if dial else row.protocol == "structured"


READ_AGAINST = {f"in % of {REFERENCE}": _naive, "in % of each table's own start": _start}

# a freezing line


def lines(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check a stated line MAE = intercept + slope · frozen / 10 % against the line of the points.

    The refitted line is that of least squares; where only a part of the line is stated, only that
    part is checked.
    """
    there = points(results)
    for cell in results:
        rows = there.get((cell.edition, cell.table, cell.backbone), [])
        stated = {name: cell.numbers[name] for name in LINE if name in cell.numbers}
        if stated and len(rows) < 3:
            reason = "needs percent_frozen and mae of three cells or more, same edition and table"
            claim = f"{cell.name}: a line through MAE against frozen share"
            yield finding(cell, "line", claim, detail=reason)
        elif stated:
            yield from _line(cell, stated, rows)
        if cell.has("claimed_saturating") and rows:
            yield _saturating(cell, rows)


PARTS = {  # of a stated line: how a claim says it, the fit's name for it, its unit
    "claimed_intercept": ("intercept {} µm", "intercept", "µm"),
    "claimed_slope_per_10_percent": ("slope {} µm per 10 % frozen", "slope_per_10", "µm/10 %"),
    "claimed_r_squared": ("R² {}", "r_squared", "R²"),
}


def _line(cell: Cell, stated: dict[str, Number], rows: Sequence[Cell]) -> Iterator[Finding]:
    numbers = _coordinates(rows)
    reading = f"least squares through the {len(rows)} points of {cell.table}, one row each"
    best = step(_table([number.value for number in numbers]))
    steps = f"a mere step between nothing and anything frozen has R² {best.r_squared:.2f}"
    for name, claimed in stated.items():
        text, attribute, unit = PARTS[name]
        found = recompute(lambda *v, name=attribute: getattr(_fit(*v), name), numbers, 2)
        claim = f"{cell.name}: freezing line with {text.format(claimed)}"
        detail = steps if name == "claimed_r_squared" else ""
        yield finding(cell, "line", claim, claimed, found, reading, detail, unit=unit)


def _saturating(cell: Cell, rows: Sequence[Cell]) -> Finding:
    rows = sorted(rows, key=lambda row: row.numbers["percent_frozen"].value)
    x, y = ([row.numbers[name].value for row in rows] for name in ("percent_frozen", "mae"))
    rises = 10 * np.diff(y) / np.diff(x)
    claim = f"{cell.name}: the cost of freezing saturates"
    reading = "each further 10 % costs less than the one before, at every step of the table (ours)"
    verdict = HOLDS if len(rises) > 1 and (np.diff(rises) < 0).all() else FAILS
    listed = ", ".join(f"{rise:.2f}" for rise in rises)
    detail = f"µm per 10 % from point to point: {listed}".replace("-", "−")
    if y[-1] != y[0]:
        detail += f"; the first step is {_percent(y[1] - y[0], y[-1] - y[0]):.0f} % of the whole"
    return finding(cell, "line", claim, verdict=verdict, reading=reading, detail=detail)


def _coordinates(rows: Sequence[Cell]) -> list[Number]:
    return [*map(frozen_share, rows), *(row.numbers["mae"] for row in rows)]


@lru_cache(maxsize=128)  # slope, intercept and R² of the same points are asked for one by one
def _fit(*values: float) -> Line:
    return linear(_table(values))


def _table(values: Sequence[float]) -> pd.DataFrame:
    n = len(values) // 2
    return pd.DataFrame({"percent_frozen": values[:n], "mae": values[n:]})


# what is printed as best, and who is said to collapse


def best(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check what is printed as best: ``<metric>_bold`` (its value), ``<metric>_arrow`` (±1).

    An arrow of 1 says that higher is better, −1 that lower is. Errors, gaps and their like are
    better when lower, correlations when higher.
    """
    for rows in tables(results):
        for cell, name, claimed in entries(rows):
            metric, _, kind = name.rpartition("_")
            if kind == "bold" and metric:
                yield _bold(cell, metric, claimed, rows)
            elif kind == "arrow" and metric:
                yield _arrow(cell, metric, claimed)


def _direction(metric: str) -> int:
    """Return 1 where higher is better, −1 where lower is, 0 where that is not known."""
    return (metric in AGREEMENT) - (metric in ERRORS)


def _bold(cell: Cell, metric: str, claimed: Number, rows: Sequence[Cell]) -> Finding:
    claim = f"{cell.name}: {label(metric)} {claimed} is the best of its table"
    direction = _direction(metric)
    rivals = [row for row in rows if row.has(metric)]
    if not direction or not rivals:
        reason = f"whether higher or lower {metric} is better is not known, or no cell has it"
        return finding(cell, "best", claim, claimed, detail=reason)
    winner = max(rivals, key=lambda row: direction * row.numbers[metric].value)
    found = winner.numbers[metric]
    reading = f"{'higher' if direction > 0 else 'lower'} is better"
    ties = [row.name for row in rivals if row.numbers[metric] == found and row.name != cell.name]
    detail = f"{winner.name} has {found}"
    if found == cell.numbers.get(metric):
        detail = f"a tie: {' and '.join(ties)} has {found} too" if ties else "nothing is better"
    # A place is taken by printed digits: 1.57 is not the best beside 1.56, whatever was rounded.
    behind = abs(claimed.value - found.value) > max(claimed.half, found.half) + EXACT
    given = {"verdict": FAILS if behind else HOLDS, "unit": unit_of(metric)}
    return finding(cell, "best", claim, claimed, found, reading, detail, **given)


def _arrow(cell: Cell, metric: str, claimed: Number) -> Finding:
    direction = _direction(metric)
    words = {1.0: "higher", -1.0: "lower"}
    told = words.get(claimed.value, "neither higher nor lower")
    claim = f"{cell.name}: {told} {label(metric)} is better"
    if not direction:
        return finding(cell, "best", claim, detail=f"no direction is known for {metric}")
    verdict = HOLDS if claimed.value == direction else FAILS
    detail, reading = f"{words[direction]} {label(metric)} is better", "direction of the arrow"
    return finding(cell, "best", claim, verdict=verdict, reading=reading, detail=detail)


def collapses(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check a protocol that is said to collapse against the stated limit, ``sigma_collapse``."""
    for cell in results:
        if not (limit := cell.numbers.get("sigma_collapse")):
            continue
        claim = f"{cell.name}: collapses with every backbone, σ below {limit} µm"
        reading = "the paper's own limit for its own σ, the SD of the flattened predictions"
        rows = [one for one in results if one.table == cell.table and one.has("sigma")]
        rows = [one for one in rows if one.protocol == cell.protocol]
        rows = [one for one in rows if cell.edition in (one.edition, UNSTATED)]
        told = {(one.backbone, one.numbers["sigma"]): None for one in rows}
        if not told:
            yield finding(cell, "collapse", claim, limit, None, reading, "no σ is given")
            continue
        above = [name for name, sigma in told if sigma.value >= limit.value]
        detail = ", ".join(f"{sigma} {name}" for name, sigma in told)
        detail += f": {len(above)} of {len(told)} are not collapsed"
        most = max((sigma for _, sigma in told), key=lambda one: one.value)
        given = {"verdict": FAILS if above else HOLDS}
        yield finding(cell, "collapse", claim, limit, most, reading, detail, **given)


CHECKS = (percentages, ranges, lines, best, collapses)
