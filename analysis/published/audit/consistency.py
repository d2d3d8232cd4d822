"""Whether printed numbers fit each other: sums, numbers printed twice, and what cannot be.

Each check takes the cells of all tables and yields findings; ``CHECKS`` holds them in their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from analysis.published.audit.cells import (
    AGREEMENT,
    ASSUMED_BACKBONE,
    CONTRADICTION,
    DOUBTFUL,
    ERRORS,
    FAILS,
    HOLDS,
    LINE,
    SAME_MODEL,
    SECTORS,
    SPREADS,
    TRUE_SPREADS,
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
    test_set,
    unit_of,
)


def averages(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check that the four quadrants' MAEs average to the MAE of all of them."""
    for cell in results:
        claimed = cell.first("mae_global", "mae")
        if claimed is None or not cell.has(*SECTORS):
            continue
        parts = [cell.numbers[name] for name in SECTORS]
        found = recompute(lambda *values: float(np.mean(values)), parts, claimed.digits + 1)
        claim = f"{cell.name}: the quadrants average to the global MAE of {claimed} µm"
        reading = "each quadrant's MAE is over eyes (and angles), and quadrants weigh the same"
        yield finding(cell, "sectors", claim, claimed, found, reading)


def line_values(results: Sequence[Cell]) -> Iterator[Finding]:
    """Compare a stated freezing line with the table's own number where it is furthest off."""
    there = points(results)
    for cell in results:
        rows = there.get((cell.edition, cell.table, cell.backbone), [])
        if not rows or not cell.has(*LINE[:2]):
            continue
        line = [cell.numbers[name] for name in LINE[:2]]
        told = [
            recompute(lambda a, b, x: a + b * x / 10, [*line, frozen_share(r)], 2) for r in rows
        ]
        gaps = [abs(t.value - r.numbers["mae"].value) for t, r in zip(told, rows, strict=True)]
        worst = int(np.argmax(gaps))
        at, observed = told[worst], rows[worst].numbers["mae"]
        share = rows[worst].numbers["percent_frozen"]
        claim = f"{cell.name}: the stated line gives {at} µm at {share} % frozen"
        detail = f"the table has {observed} µm there ({rows[worst].protocol}), "
        detail += f"{gaps[worst]:.2f} off"
        yield finding(cell, "line value", claim, at, observed, "the point furthest off", detail)


# numbers that are printed more than once

#: Settings of a model, and claims that have checks of their own.
NOT_RESULTS = re.compile(
    r"percent_|lambda_|claimed_|delta|better_percent|sigma_collapse|proposed|.*_(bold|arrow)$"
)
MEASURED = ("mae", "r", "sigma")
MODELS = 3  # that share the smallest σ of an edition
ONE_MODEL = "aggressive, freeze_0 and λp 0 are one model: L1, nothing frozen, same learning rates"
RARELY = "models that are trained differently rarely agree in every digit"
SAME_PLACE = "same table, backbone and protocol"
NO_BACKBONE = "loss_complexity names no backbone and is read as RETFound's"

Places = list[tuple[Cell, Number]]


def _model(cell: Cell) -> tuple[str, str, str]:
    """Return test set, backbone and protocol of a cell, whatever its table calls them."""
    return test_set(cell), backbone(cell), SAME_MODEL.get(cell.protocol, cell.protocol)


def _where(*parts: str) -> str:
    return " ".join(filter(None, parts))


def contradictions(results: Sequence[Cell]) -> Iterator[Finding]:
    """Compare every number that is printed more than once, within and between editions.

    Numbers of one model on one test set must agree within rounding, and so must their ±. Those
    that do are counted in one finding.
    """
    everywhere: dict[tuple, Places] = {}
    for cell in results:
        told = {("", m): n for m, n in cell.numbers.items() if not NOT_RESULTS.match(m)}
        told |= {("± of ", metric): number for metric, number in cell.spreads.items()}
        for what, number in told.items():
            everywhere.setdefault((_model(cell), *what), []).append((cell, number))
    agreeing = 0
    for (_, what, metric), places in everywhere.items():
        found = list(_compare(f"{what}{label(metric)}", unit_of(metric), places))
        yield from found
        agreeing += len(places) > 1 and not found
    if agreeing:
        claim = f"the other {agreeing} numbers that are printed more than once agree"
        reading = "one model, one test set; within the rounding of each"
        yield finding(Cell(), "printed twice", claim, verdict=HOLDS, reading=reading)


def _compare(what: str, unit: str, places: Places) -> Iterator[Finding]:
    """Yield one finding per edition that contradicts itself, else one if the editions differ."""
    by_edition: dict[str, Places] = {}
    for cell, number in places:
        by_edition.setdefault(cell.edition, []).append((cell, number))
    inside = {name: mine for name, mine in by_edition.items() if _clash(mine)}
    for edition, mine in inside.items():
        where = f"within one edition ({edition or 'only'})"
        yield _contradiction(what, unit, mine, where)
    across = [mine[0] for mine in by_edition.values()]
    if not inside and (clash := _clash(across)):
        where = f"between the editions {' and '.join(cell.edition for cell, _ in clash)}"
        yield _contradiction(what, unit, across, where)


def _clash(places: Places) -> Places:
    """Return the two that lie furthest apart, if they disagree."""
    pairs = [pair for pair in combinations(places, 2) if not pair[0][1].agrees(pair[1][1])]
    return list(max(pairs, key=lambda p: abs(p[0][1].value - p[1][1].value), default=()))


def _contradiction(what: str, unit: str, places: Places, where: str) -> Finding:
    (cell, one), (rival, other) = _clash(places)
    said = [f"{n} ({_where(c.edition, c.table)})" for c, n in ((cell, one), (rival, other))]
    claim = f"{cell.name}: {what} is {said[0]} and {said[1]}"
    renamed = any(c.protocol in SAME_MODEL for c in (cell, rival))
    assumed = any(not c.backbone and c.table in ASSUMED_BACKBONE for c in (cell, rival))
    reading = "; ".join(filter(None, (ONE_MODEL * renamed, NO_BACKBONE * assumed))) or SAME_PLACE
    listed = "; ".join(f"{n} in {_where(c.edition, c.table, c.protocol)}" for c, n in places)
    return finding(
        *(cell, "printed twice", claim, one, other, reading, f"{where}: {listed}"),
        verdict=CONTRADICTION,
        unit=unit,
    )


def names(results: Sequence[Cell]) -> Iterator[Finding]:
    """Point at a row whose numbers two editions print under different names."""
    known: dict[tuple[str, ...], dict[str, Cell]] = {}
    for cell in results:
        if cell.printed_as:
            key = cell.table, cell.backbone, cell.protocol
            known.setdefault(key, {}).setdefault(cell.printed_as, cell)
    for cells in known.values():
        if len(cells) > 1:
            told = " and ".join(f"“{name}” ({one.edition})" for name, one in cells.items())
            cell = next(iter(cells.values()))
            claim = f"{cell.name}: {told} are one model"
            reading = "one row of one table, the same in every digit"
            yield finding(cell, "printed twice", claim, verdict=DOUBTFUL, reading=reading)


def repeats(results: Sequence[Cell]) -> Iterator[Finding]:
    """Point at different models of one test set whose MAE and R are the same to the last digit."""
    known = [cell for cell in results if cell.has("mae", "r") and cell.protocol]
    for a, b in combinations(known, 2):
        if _model(a)[0] != _model(b)[0] or _model(a) == _model(b):
            continue
        shared = [name for name in MEASURED if a.has(name) and b.has(name)]
        same = [name for name in shared if a.numbers[name] == b.numbers[name]]
        if not {"mae", "r"} <= set(same):
            continue
        listed = ", ".join(f"{label(name)} {a.numbers[name]}" for name in same)
        claim = f"{a.name} and {b.name}, both with {listed}, are two models"
        detail = " and ".join(_where(c.edition, c.table, c.protocol) for c in (a, b))
        yield finding(a, "printed twice", claim, verdict=DOUBTFUL, reading=RARELY, detail=detail)


def lowest(results: Sequence[Cell]) -> Iterator[Finding]:
    """Point at an edition whose smallest σ stands for three models or more."""
    editions: dict[tuple[str, str], dict[tuple, Cell]] = {}
    for cell in results:
        if cell.has("sigma") and cell.protocol:
            editions.setdefault((cell.edition, test_set(cell)), {}).setdefault(_model(cell), cell)
    for cells in editions.values():
        least = min((cell.numbers["sigma"] for cell in cells.values()), key=lambda n: n.value)
        same = [cell for cell in cells.values() if cell.numbers["sigma"] == least]
        if len(same) >= MODELS:
            listed = ", ".join(_where(cell.table, cell.protocol) for cell in same)
            claim = f"σ {least} stands for {len(same)} different models: {listed}"
            given = {"verdict": DOUBTFUL, "reading": RARELY}
            yield finding(same[0].whole, "printed twice", claim, **given)


def possible(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check |R| ≤ 1, MAE ≤ RMSE, and that errors, gaps and SDs are not negative."""
    checked = set()  # what both editions print is one number
    for cell, metric, number in entries(results):
        limits = _limits(metric, cell)
        if limits is None:
            continue
        checked.add((cell.table, cell.name, metric, number))
        low, high = limits
        if not low - number.half <= number.value <= high + number.half:
            claim = f"{cell.name}: {label(metric)} is {number}"
            detail = f"possible are {low:g} to {high:g}"
            detail = detail.replace("-", "−").replace("to inf", "and more")
            given = {"detail": detail, "verdict": FAILS, "unit": unit_of(metric)}
            yield finding(cell, "possible", claim, number, **given)
    if checked:
        claim = f"{len(checked)} numbers lie where such numbers can lie, those named here aside"
        reading = "R within ±1; MAE not above RMSE; errors, gaps and SDs not negative"
        yield finding(Cell(), "possible", claim, verdict=HOLDS, reading=reading)


def _limits(metric: str, cell: Cell) -> tuple[float, float] | None:
    if metric in AGREEMENT:
        return (-np.inf if metric == "r2" else -1.0), 1.0
    if metric == "mae" and cell.has("rmse"):
        return 0.0, cell.numbers["rmse"].high
    return (0.0, np.inf) if metric in (*ERRORS, *SPREADS, *TRUE_SPREADS) else None


CHECKS = (averages, line_values, contradictions, names, repeats, lowest, possible)
