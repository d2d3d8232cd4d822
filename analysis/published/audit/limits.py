"""Bounds that no table of results can leave, and what a published spread can show at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.published.audit.cells import (
    DOUBTFUL,
    FAILS,
    HOLDS,
    OPEN,
    Cell,
    Finding,
    Number,
    finding,
    label,
    recompute,
    verdict_of,
    whole_tables,
)
from analysis.published.audit.consistency import CORRELATIONS, TEST_SET

#: How a stated spread of the true profiles can be read: what a constant then is, or None.
READINGS = {
    "sigma_true": (
        "σ_true read as the flat SD (one number for every eye and angle is the constant) or as the "
        "between-eye SD (the mean profile is)"
    ),
    "sigma_true_flat": "σ_true is the flat SD: the constant is one number for every eye and angle",
    "sigma_true_between": "σ_true is the between-eye SD: the constant is the mean profile",
    "sigma_true_means": None,
}
MEANS = "σ_true read as the SD of each eye's mean thickness: it leaves out the shape of the profile"
SPREADS = ("sigma", "sigma_flat", "sigma_template")


def true_spreads(cell: Cell, results: Sequence[Cell]) -> dict[str, tuple[Number, str]]:
    """Return the stated SDs of the true profiles that apply to a cell, each with where it stands.

    The nearest statement counts: the cell's own, its table's, that of the same table in another
    edition, that of another table on the same test set.
    """

    def distance(other: Cell) -> int | None:
        if other is cell:
            return 0
        if other.protocol or other.backbone not in ("", cell.backbone):
            return None
        if other.table == cell.table:
            return 1 if other.edition == cell.edition else 2
        return 3 if cell.table in TEST_SET and other.table in TEST_SET else None

    out: dict[str, tuple[Number, str]] = {}
    for name in READINGS:
        there = [(distance(c), i) for i, c in enumerate(results) if name in c.numbers]
        near = [pair for pair in there if pair[0] is not None]
        if near:
            away, i = min(near)
            place = " ".join(filter(None, (results[i].edition, results[i].table)))
            where = "" if away < 2 else f"; stated in {place}, same test eyes"
            out[name] = results[i].numbers[name], where
    return out


def constant_bound(results: Sequence[Cell]) -> Iterator[Finding]:
    """Compare each MAE with the SD of what was to be predicted.

    For any distribution the mean of |X − mean| is at most the SD (Jensen). So a constant is
    guaranteed an MAE of at most σ_true, and an MAE above it is worse than a constant. Below it
    nothing is proven: a constant's actual MAE is smaller than its SD.
    """
    unstated: dict[tuple[str, str], Cell] = {}
    means: dict[tuple[str, str], tuple[Cell, Number]] = {}
    for cell in results:
        if "mae" not in cell.numbers:
            if "mae_global" in cell.numbers:
                unstated.setdefault((cell.edition, cell.table), cell)
            continue
        place, spreads = (cell.edition, cell.table), true_spreads(cell, results)
        if not spreads:
            unstated.setdefault(place, cell)
        for name, (bound, where) in spreads.items():
            if READINGS[name] is not None:
                yield _bounded(cell, cell.numbers["mae"], bound, READINGS[name] + where)
            if name in ("sigma_true", "sigma_true_means"):
                means.setdefault(place, (cell, bound))
    for cell, bound in means.values():
        yield _open(cell, MEANS, "the bound does not apply under this reading", bound)
    for cell in unstated.values():
        yield _open(cell, "", "no SD of the true profiles is stated (sigma_true)", None)


def _bounded(cell: Cell, mae: Number, bound: Number, reading: str) -> Finding:
    claim = f"{cell.name}: MAE {mae} µm is below what a constant is guaranteed"
    beaten = mae.value < bound.value or mae.agrees(bound)
    detail = (
        f"the mean distance from the mean is at most the SD: a constant scores {bound} µm or less"
    )
    detail += "; being below it is necessary, not sufficient" if beaten else ""
    verdict = HOLDS if beaten else FAILS
    numbers = {"published": mae, "recomputed": bound, "reading": reading}
    return finding(cell, "constant bound", claim, verdict, **numbers, detail=detail)


def _open(cell: Cell, reading: str, reason: str, bound: Number | None) -> Finding:
    whole = Cell(cell.edition, cell.table, "", "", {})
    claim = "the MAEs are below what a constant is guaranteed"
    numbers = {"recomputed": bound, "reading": reading}
    return finding(whole, "constant bound", claim, OPEN, **numbers, detail=reason)


def offsets(results: Sequence[Cell]) -> Iterator[Finding]:
    """Ask what mean offset MAE, R, σ and σ_true imply together (ours).

    For pooled numbers, RMSE² = offset² + σ² + σ_true² − 2 R σ σ_true, and MAE ≤ RMSE. So an MAE
    above the root of the rest is only possible with that much mean difference between predicted
    and true thickness. Where the definitions are not said, other readings remain possible, and
    the verdict is only *doubtful*.
    """
    for cell in results:
        spreads = true_spreads(cell, results)
        truth = spreads.get("sigma_true_flat") or spreads.get("sigma_true")
        names = (("mae",), ("pearson_pooled", "r"), ("sigma_flat", "sigma"))
        given = [next((cell.numbers[n] for n in some if n in cell.numbers), None) for some in names]
        if truth is None or None in given:
            continue
        need = recompute(_offset, [*given, truth[0]], 1)
        claim = f"{cell.name}: MAE, R and σ fit together without a mean offset"
        reading = "R pooled, σ and σ_true flat (the code's np.std)" + truth[1]
        sure = {"pearson_pooled", "sigma_flat"} <= set(
            cell.numbers
        ) and "sigma_true_flat" in spreads
        verdict = HOLDS if need.low <= 0 else FAILS if sure else DOUBTFUL
        detail = f"a mean difference of at least {need} µm from the labels is implied"
        detail = "no offset is needed" if verdict == HOLDS else detail
        numbers = {"published": Number(0.0, 0, 1), "recomputed": need, "reading": reading}
        yield finding(cell, "offset", claim, verdict, **numbers, detail=detail)


def _offset(mae: float, r: float, sigma: float, sigma_true: float) -> float:
    rest = sigma**2 + sigma_true**2 - 2 * r * sigma * sigma_true
    return float(np.sqrt(max(mae**2 - rest, 0.0)))


def spreads(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check the definitions of σ: whether it can show collapse, and the law of total variance."""
    for rows in whole_tables(results).values():
        blind = [
            (row, name)
            for row in rows
            for name in SPREADS
            if name in row.numbers and "sigma_between" not in row.numbers
        ]
        if blind:
            yield _blind(blind)
        for row in rows:
            if {"sigma_flat", "sigma_between", "sigma_template"} <= set(row.numbers):
                yield _total_variance(row)


def _blind(cells: list[tuple[Cell, str]]) -> Finding:
    first, name = cells[0]
    numbers = [cell.numbers[name] for cell, name in cells]
    low, high = min(numbers, key=lambda n: n.value), max(numbers, key=lambda n: n.value)
    whole = Cell(first.edition, first.table, "", "", {})
    span = f"{low} to {high}" if low != high else f"{low}"
    claim = f"σ of {span} µm ({len(cells)} cells) shows how much predictions differ between eyes"
    reading = (
        "read as the SD of the flattened predictions (np.std): a template has such a σ too"
        if name != "sigma_template"
        else "σ_template is the spread of the mean profile, the same for every eye"
    )
    detail = "sigma_between (SD across eyes at each angle) is not given"
    return finding(whole, "sigma", claim, OPEN, reading=reading, detail=detail)


def _total_variance(cell: Cell) -> Finding:
    claimed = cell.numbers["sigma_flat"]
    parts = [cell.numbers["sigma_between"], cell.numbers["sigma_template"]]
    found = recompute(np.hypot, parts, claimed.digits)
    claim = f"{cell.name}: σ_flat {claimed} µm is that of its parts"
    reading = "law of total variance: σ_flat² = σ_between² + σ_template²"
    numbers = {"published": claimed, "recomputed": found, "reading": reading}
    return finding(cell, "sigma", claim, verdict_of(claimed, found), **numbers)


def possible(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check |R| ≤ 1, MAE ≤ RMSE, and that errors, gaps and SDs are not negative."""
    checked = 0
    for cell in results:
        for name, number in cell.numbers.items():
            limits = _limits(name, cell)
            checked += limits is not None
            if limits and not limits[0] - number.half <= number.value <= limits[1] + number.half:
                claim = f"{cell.name}: {label(name)} is {number}"
                detail = f"possible are {limits[0]:g} to {limits[1]:g}"
                detail = detail.replace("-", "−").replace("to inf", "and more")
                unit = "" if name in CORRELATIONS else "µm"
                yield finding(
                    cell, "possible", claim, FAILS, published=number, unit=unit, detail=detail
                )
    if checked:
        claim = f"{checked} numbers lie where such numbers can lie, those named here aside"
        reading = "R within ±1; MAE not above RMSE; errors, gaps and SDs not negative"
        yield finding(Cell("", "", "", "", {}), "possible", claim, HOLDS, reading=reading)


def _limits(name: str, cell: Cell) -> tuple[float, float] | None:
    if name in CORRELATIONS:
        return (-np.inf if name == "r2" else -1.0), 1.0
    if name.endswith(("_bold", "_arrow")):
        return None
    if name == "mae" and "rmse" in cell.numbers:
        return 0.0, cell.numbers["rmse"].high
    return (0.0, np.inf) if name.startswith(("mae", "rmse", "gap", "sigma")) else None
