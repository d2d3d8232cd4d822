"""Claims that follow from a table's own cells: percentages, a stated line, sector averages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.freezing import linear, step
from analysis.published.audit.cells import (
    FAILS,
    HOLDS,
    OPEN,
    Cell,
    Finding,
    Number,
    finding,
    recompute,
    verdict_of,
    whole_tables,
)

REFERENCE = "naive"
SECTORS = ("mae_S", "mae_N", "mae_I", "mae_T")
COMPARISON = re.compile(r"(delta_percent|better_percent|delta)(?:_vs_(.+))?")
KINDS = {  # of a cell's MAE a and the reference's b
    "delta_percent": ("MAE {0} % against {1}", lambda a, b: 100 * (a - b) / b, "%"),
    "better_percent": ("MAE {0} % better than {1}", lambda a, b: 100 * (b - a) / b, "%"),
    "delta": ("MAE {0} µm against {1}", lambda a, b: a - b, "µm"),
}
LINE = ("claimed_intercept", "claimed_slope_per_10_percent", "claimed_r_squared")


def comparisons(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check differences and percentages against the reference they name.

    ``delta_percent`` is the MAE's change from *naive* of the same backbone, in % of it;
    ``delta_percent_vs_X`` from protocol X, ``better_percent_vs_X`` the gain over X in % of X, and
    ``delta_vs_X`` the change in µm. For a percentage that does not hold, the pairs of the table
    that would give it are named.
    """
    for (_, _), rows in whole_tables(results).items():
        for cell in rows:
            for metric, claimed in cell.numbers.items():
                matched = COMPARISON.fullmatch(metric)
                if matched:
                    yield _comparison(cell, rows, claimed, *matched.groups())


def _comparison(
    cell: Cell, rows: Sequence[Cell], claimed: Number, kind: str, against: str | None
) -> Finding:
    against = against or REFERENCE
    text, function, unit = KINDS[kind]
    sign = "+" if kind != "better_percent" and claimed.value > 0 else ""
    claim = f"{cell.name}: " + text.format(f"{sign}{claimed}", against)
    reference = [r for r in rows if (r.backbone, r.protocol) == (cell.backbone, against)]
    pair = [one.numbers.get("mae") for one in (cell, *reference)]
    if len(pair) < 2 or None in pair:
        reason = f"needs the MAE of {cell.name} and of its {against}; the table lacks one"
        return finding(cell, "percentage", claim, OPEN, published=claimed, unit=unit, detail=reason)
    found = recompute(function, pair, max(1, claimed.digits))
    verdict = verdict_of(claimed, found)
    detail = f"from {pair[0]} against {pair[1]} µm"
    if verdict == FAILS and unit == "%":
        detail += f". {_explain(claimed, cell, rows)}"
    reading = f"in % of the MAE of {against}" if unit == "%" else f"minus the MAE of {against}"
    reading += ", same backbone, edition and table"
    numbers = {"published": claimed, "recomputed": found, "unit": unit}
    return finding(cell, "percentage", claim, verdict, **numbers, reading=reading, detail=detail)


def _explain(claimed: Number, cell: Cell, rows: Sequence[Cell]) -> str:
    """Name the pairs of the table whose MAEs do differ by the claimed percentage."""
    wanted, matches = Number(abs(claimed.value), claimed.half, claimed.digits), []
    cells = [row for row in rows if "mae" in row.numbers]
    for a in cells:
        for b in cells:
            pair = [a.numbers["mae"], b.numbers["mae"]]
            found = recompute(KINDS["delta_percent"][1], pair, max(1, claimed.digits))
            size = Number(abs(found.value), found.half, found.digits)
            if a is not b and size.agrees(wanted):
                far = (a.backbone != cell.backbone) + (a.backbone != b.backbone)
                matches.append((far, abs(size.value - wanted.value), a, b, found))
    if not matches:
        return f"No pair of cells of this table gives {claimed} %."
    far, _, a, b, found = min(matches, key=lambda match: match[:2])
    sign = "+" if found.value > 0 else ""
    names = (a.protocol, f"{b.protocol} of {a.backbone}") if far == 0 else (a.name, b.name)
    text = f"{sign}{found} % is {names[0]} against {names[1]}"
    text += f" ({a.numbers['mae']} against {b.numbers['mae']} µm)"
    others = len(matches) - 1
    return (
        f"{text}; {others} other pair{'s' * (others > 1)} of cells would give it."
        if others
        else f"{text}."
    )


def points(results: Sequence[Cell]) -> dict[tuple[str, str, str], list[Cell]]:
    """Return the cells with a frozen share and an MAE by edition, table and backbone."""
    out: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in results:
        if {"percent_frozen", "mae"} <= set(cell.numbers):
            out.setdefault((cell.edition, cell.table, cell.backbone), []).append(cell)
    return out


def lines(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check a stated line MAE = intercept + slope · frozen / 10 % against the line of the points.

    The refitted line is that of least squares; where only a part of the line is stated, only that
    part is checked, and the value at the worst point needs both slope and intercept.
    """
    there = points(results)
    for cell in results:
        key = cell.edition, cell.table, cell.backbone
        stated = {name: cell.numbers[name] for name in LINE if name in cell.numbers}
        if stated and len(there.get(key, [])) < 3:
            reason = "needs percent_frozen and mae of three cells or more, same edition and table"
            claim = f"{cell.name}: a line through MAE against frozen share"
            yield finding(cell, "line", claim, OPEN, detail=reason)
        elif stated:
            yield from _line(cell, stated, there[key])
        if "claimed_saturating" in cell.numbers and key in there:
            yield _saturating(cell, there[key])


def _line(cell: Cell, stated: dict[str, Number], rows: Sequence[Cell]) -> Iterator[Finding]:
    numbers = _coordinates(rows)
    reading = f"least squares through the {len(rows)} points of {cell.table}, one row each"
    parts = {
        "claimed_intercept": ("intercept {} µm", "intercept", "µm"),
        "claimed_slope_per_10_percent": ("slope {} µm per 10 % frozen", "slope_per_10", "µm/10 %"),
        "claimed_r_squared": ("R² {}", "r_squared", "R²"),
    }
    best = step(_table([number.value for number in numbers]))
    steps = f"a mere step between nothing and anything frozen has R² {best.r_squared:.2f}"
    for name, claimed in stated.items():
        text, attribute, unit = parts[name]
        found = recompute(
            lambda *values, name=attribute: getattr(linear(_table(values)), name), numbers, 2
        )
        given = {"published": claimed, "recomputed": found, "unit": unit, "reading": reading}
        claim = f"{cell.name}: freezing line with {text.format(claimed)}"
        detail = steps if name == "claimed_r_squared" else ""
        yield finding(cell, "line", claim, verdict_of(claimed, found), **given, detail=detail)
    if {"claimed_intercept", "claimed_slope_per_10_percent"} <= set(stated):
        yield _worst_point(cell, stated, rows)


def _worst_point(cell: Cell, stated: dict[str, Number], rows: Sequence[Cell]) -> Finding:
    line = [stated[name] for name in LINE[:2]]
    predicted = [recompute(lambda a, b, x: a + b * x / 10, [*line, _share(row)], 2) for row in rows]
    gaps = [abs(p.value - row.numbers["mae"].value) for p, row in zip(predicted, rows, strict=True)]
    worst = int(np.argmax(gaps))
    at, observed = predicted[worst], rows[worst].numbers["mae"]
    share = rows[worst].numbers["percent_frozen"]
    claim = f"{cell.name}: the stated line gives {at} µm at {share} % frozen"
    detail = f"the table has {observed} µm there ({rows[worst].protocol}), {gaps[worst]:.2f} off"
    numbers = {"published": at, "recomputed": observed, "reading": "the point furthest off"}
    verdict = verdict_of(at, observed)
    return finding(cell, "line", claim, verdict, **numbers, detail=detail)


def _saturating(cell: Cell, rows: Sequence[Cell]) -> Finding:
    rows = sorted(rows, key=lambda row: row.numbers["percent_frozen"].value)
    x = [row.numbers["percent_frozen"].value for row in rows]
    y = [row.numbers["mae"].value for row in rows]
    rises = 10 * np.diff(y) / np.diff(x)
    claim = f"{cell.name}: the cost of freezing saturates"
    reading = "each further 10 % costs less than the one before, at every step of the table (ours)"
    verdict = HOLDS if len(rises) > 1 and (np.diff(rises) < 0).all() else FAILS
    listed = ", ".join(f"{rise:.2f}" for rise in rises)
    detail = f"µm per 10 % from point to point: {listed}".replace("-", "−")
    if y[-1] != y[0]:
        detail += f"; the first step is {100 * (y[1] - y[0]) / (y[-1] - y[0]):.0f} % of the whole"
    return finding(cell, "line", claim, verdict, reading=reading, detail=detail)


def _share(cell: Cell) -> Number:
    """Return the frozen share; 0 and 100 % are exact, and nothing lies beyond them."""
    share = cell.numbers["percent_frozen"]
    room = min(share.value, 100 - share.value)
    return Number(share.value, min(share.half, max(room, 0.0)), share.digits)


def _coordinates(rows: Sequence[Cell]) -> list[Number]:
    return [*map(_share, rows), *(row.numbers["mae"] for row in rows)]


def _table(values: Sequence[float]) -> pd.DataFrame:
    n = len(values) // 2
    return pd.DataFrame({"percent_frozen": values[:n], "mae": values[n:]})


def fitted(results: Sequence[Cell]) -> pd.DataFrame:
    """Return the stated and the refitted freezing lines.

    Returns
    -------
    DataFrame
        edition, backbone, kind ('stated' or 'refitted'), intercept (µm), slope_per_10 (µm per
        10 %), r_squared.
    """
    out = []
    for (edition, table, backbone), rows in points(results).items():
        line = linear(_table([number.value for number in _coordinates(rows)]))
        parts = line.intercept, line.slope_per_10, line.r_squared
        out.append((edition, backbone, "refitted", *parts))
        for cell in results:
            if (cell.edition, cell.table, cell.backbone) == (edition, table, backbone):
                stated = [cell.numbers[n].value if n in cell.numbers else np.nan for n in LINE]
                if np.isfinite(stated[:2]).all():
                    out.append((edition, backbone, "stated", *stated))
    columns = ["edition", "backbone", "kind", "intercept", "slope_per_10", "r_squared"]
    return pd.DataFrame(out, columns=columns)


def averages(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check that the four quadrants' MAEs average to the MAE of all of them."""
    for cell in results:
        whole = next((name for name in ("mae_global", "mae") if name in cell.numbers), None)
        if whole is None or not set(SECTORS) <= set(cell.numbers):
            continue
        parts = [cell.numbers[name] for name in SECTORS]
        claimed = cell.numbers[whole]
        found = recompute(lambda *values: float(np.mean(values)), parts, claimed.digits + 1)
        claim = f"{cell.name}: the quadrants average to the global MAE of {claimed} µm"
        reading = "each quadrant's MAE is over eyes (and angles), and quadrants weigh the same"
        numbers = {"published": claimed, "recomputed": found, "reading": reading}
        yield finding(cell, "sectors", claim, verdict_of(claimed, found), **numbers)
