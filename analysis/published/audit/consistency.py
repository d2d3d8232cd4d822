"""Numbers against one another: a cell printed twice, different cells alike, the best cell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

from analysis.published.audit.cells import (
    CONTRADICTION,
    DOUBTFUL,
    FAILS,
    HOLDS,
    OPEN,
    Cell,
    Finding,
    Number,
    finding,
    label,
    verdict_of,
    whole_tables,
)

#: Tables of the paper that report on one test set, so that their cells can be compared.
TEST_SET = ("table1", "freezing", "loss_complexity")
#: Names that the paper's tables give to one model: L1 alone, nothing frozen, 5e-5 / 1e-4.
SAME_MODEL = {"freeze_0": "aggressive", "lambda_0": "aggressive"}
#: Where a table names no backbone (ours): the ablations are read as RETFound's.
ASSUMED_BACKBONE = {"loss_complexity": "RETFound ViT-L/16"}
#: Settings of a model, and claims that have checks of their own.
NOT_RESULTS = re.compile(r"percent_|lambda_|claimed_|delta|better_percent|.*_(bold|arrow)$")
MEASURED = ("mae", "r", "sigma")
CORRELATIONS = ("r", "pearson_per_eye", "pearson_pooled", "pearson_between_eyes", "r2", "ccc")
ONE_MODEL = "aggressive, freeze_0 and λp 0 are one model: L1, nothing frozen, same learning rates"
NO_BACKBONE = "loss_complexity names no backbone and is read as RETFound's"


def _model(cell: Cell) -> tuple[str, str, str]:
    """Return test set, backbone and protocol of a cell, whatever its table calls them."""
    if cell.table not in TEST_SET:
        return cell.table, cell.backbone, cell.protocol
    backbone = cell.backbone or ASSUMED_BACKBONE.get(cell.table, "")
    return "/".join(TEST_SET), backbone, SAME_MODEL.get(cell.protocol, cell.protocol)


def contradictions(results: Sequence[Cell]) -> Iterator[Finding]:
    """Compare every number that is printed more than once, within and between editions.

    Numbers of one model on one test set must agree within rounding, and so must their ±. Those
    that do are counted in one finding.
    """
    printed: dict[tuple, list[tuple[Cell, Number]]] = {}
    for cell in results:
        for metric, number in cell.numbers.items():
            if not NOT_RESULTS.match(metric):
                printed.setdefault((_model(cell), metric), []).append((cell, number))
        for metric, number in cell.spreads.items():
            printed.setdefault((_model(cell), f"± of {label(metric)}"), []).append((cell, number))
    agreeing = []
    for (_, metric), places in printed.items():
        found = list(_compare(metric, places))
        yield from found
        if len(places) > 1 and not found:
            agreeing.append(places[0][0])
    if agreeing:
        claim = f"the other {len(agreeing)} numbers that are printed more than once agree"
        whole = Cell("", "", "", "", {})
        yield finding(whole, "printed twice", claim, HOLDS, detail="within the rounding of each")


def _compare(metric: str, places: list[tuple[Cell, Number]]) -> Iterator[Finding]:
    """Yield one finding per edition that contradicts itself, and one if the editions differ."""
    by_edition: dict[str, list[tuple[Cell, Number]]] = {}
    for cell, number in places:
        by_edition.setdefault(cell.edition, []).append((cell, number))
    inside = False
    for edition, mine in by_edition.items():
        clash = _clash(mine)
        if clash:
            inside = True
            yield _contradiction(metric, mine, clash, f"within one edition ({edition or 'only'})")
    across = [mine[0] for mine in by_edition.values()]
    clash = None if inside else _clash(across)
    if clash:
        names = " and ".join(cell.edition for cell, _ in clash)
        yield _contradiction(metric, across, clash, f"between the editions {names}")


def _clash(places: list[tuple[Cell, Number]]) -> list[tuple[Cell, Number]] | None:
    """Return the two that lie furthest apart, if they disagree."""
    pairs = [pair for pair in combinations(places, 2) if not pair[0][1].agrees(pair[1][1])]
    return list(max(pairs, key=lambda p: abs(p[0][1].value - p[1][1].value))) if pairs else None


def _contradiction(metric: str, places: list, clash: list, where: str) -> Finding:
    (cell, one), (_, other) = clash
    unit = (
        "eyes"
        if metric == "n_eyes"
        else ""
        if metric.removeprefix("± of ") in (*CORRELATIONS, "R")
        else "µm"
    )
    said = [f"{n} ({' '.join(filter(None, (c.edition, c.table)))})" for c, n in clash]
    claim = f"{cell.name}: {label(metric)} is {said[0]} and {said[1]}"
    renamed = any(c.protocol in SAME_MODEL for c, _ in clash)
    assumed = any(not c.backbone and c.table in ASSUMED_BACKBONE for c, _ in clash)
    reading = "; ".join(filter(None, (ONE_MODEL * renamed, NO_BACKBONE * assumed)))
    reading = reading or "same table, backbone and protocol"
    listed = "; ".join(
        f"{n} in {' '.join(filter(None, (c.edition, c.table, c.protocol)))}" for c, n in places
    )
    numbers = {"published": one, "recomputed": other, "unit": unit, "reading": reading}
    detail = f"{where}: {listed}"
    return finding(cell, "printed twice", claim, CONTRADICTION, **numbers, detail=detail)


def repeats(results: Sequence[Cell]) -> Iterator[Finding]:
    """Point at different models of one test set whose MAE and R are the same to the last digit."""
    known = [cell for cell in results if {"mae", "r"} <= set(cell.numbers) and cell.protocol]
    for a, b in combinations(known, 2):
        if _model(a)[0] != _model(b)[0] or _model(a) == _model(b):
            continue
        shared = [name for name in MEASURED if name in a.numbers and name in b.numbers]
        same = [name for name in shared if a.numbers[name] == b.numbers[name]]
        if {"mae", "r"} <= set(same):
            claim = f"{a.name} and {b.name} are two models"
            reading = "models that are trained differently rarely agree in every digit"
            listed = ", ".join(f"{label(name)} {a.numbers[name]}" for name in same)
            places = (" ".join(filter(None, (c.edition, c.table, c.protocol))) for c in (a, b))
            detail = f"both have {listed}: {' and '.join(places)}"
            yield finding(a, "printed twice", claim, DOUBTFUL, reading=reading, detail=detail)


def best(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check what is printed as best: ``<metric>_bold`` (its value), ``<metric>_arrow`` (±1).

    An arrow of 1 says that higher is better, −1 that lower is. Errors, gaps and their like are
    better when lower, correlations when higher.
    """
    for rows in whole_tables(results).values():
        for cell in rows:
            for name, claimed in cell.numbers.items():
                metric, _, kind = name.rpartition("_")
                if kind == "bold" and metric:
                    yield _bold(cell, metric, claimed, rows)
                elif kind == "arrow" and metric:
                    yield _arrow(cell, metric, claimed)


def _direction(metric: str) -> int:
    """Return 1 where higher is better, −1 where lower is, 0 where that is not known."""
    if metric.startswith(("mae", "rmse", "gap")):
        return -1
    return 1 if metric == "r" or metric.startswith(("pearson", "r2", "ccc")) else 0


def _bold(cell: Cell, metric: str, claimed: Number, rows: Sequence[Cell]) -> Finding:
    claim = f"{cell.name}: {label(metric)} {claimed} is the best of its table"
    direction = _direction(metric)
    rivals = [row for row in rows if metric in row.numbers]
    if not direction or not rivals:
        reason = f"whether higher or lower {metric} is better is not known, or no cell has it"
        return finding(cell, "best", claim, OPEN, published=claimed, detail=reason)
    winner = max(rivals, key=lambda row: direction * row.numbers[metric].value)
    found, unit = winner.numbers[metric], "" if direction > 0 else "µm"
    reading = f"{'higher' if direction > 0 else 'lower'} is better"
    numbers = {"published": claimed, "recomputed": found, "unit": unit, "reading": reading}
    detail = f"{winner.name} has {found}"
    return finding(cell, "best", claim, verdict_of(claimed, found), **numbers, detail=detail)


def _arrow(cell: Cell, metric: str, claimed: Number) -> Finding:
    direction = _direction(metric)
    words = {1.0: "higher", -1.0: "lower"}
    told = words.get(claimed.value, "neither higher nor lower")
    claim = f"{cell.name}: {told} {label(metric)} is better"
    if not direction:
        return finding(cell, "best", claim, OPEN, detail=f"no direction is known for {metric}")
    verdict = HOLDS if claimed.value == direction else FAILS
    detail = f"{words[direction]} {label(metric)} is better"
    return finding(cell, "best", claim, verdict, reading="direction of the arrow", detail=detail)
