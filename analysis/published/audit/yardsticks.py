"""Our own yardsticks, which no table claims to pass: constants, offsets, and what a σ can show.

Each check takes the cells of all tables and yields findings; ``CHECKS`` holds them in their order.
What GRAPE's own workbook says is in :mod:`analysis.published.audit.workbook`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.published.audit.cells import (
    DOUBTFUL,
    FAILS,
    HOLDS,
    SPREADS,
    TRUE_SPREADS,
    Cell,
    Finding,
    Number,
    finding,
    recompute,
    tables,
    test_set,
)

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
TEMPLATE_TOO = "read as the SD of the flattened predictions (np.std): a template has such a σ too"
TEMPLATE_ONLY = "σ_template is the spread of the mean profile, the same for every eye"


def true_spreads(cell: Cell, results: Sequence[Cell]) -> dict[str, tuple[Number, str]]:
    """Return the stated SDs of the true profiles that apply to a cell, and where they stand.

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
        return 3 if test_set(cell) == test_set(other) else None

    out = {}
    for name in TRUE_SPREADS:
        there = [one for one in results if one.has(name) and distance(one) is not None]
        if there:
            nearest = min(there, key=distance)
            place = f"{nearest.edition} {nearest.table}".strip()
            where = "" if nearest is cell else f"; stated in {place}, for all its test eyes"
            out[name] = nearest.numbers[name], where
    return out


def constant_bound(results: Sequence[Cell]) -> Iterator[Finding]:
    """Compare each MAE with the SD of what was to be predicted.

    For any distribution the mean of |X − mean| is at most the SD (Jensen). So a constant is
    guaranteed an MAE of at most σ_true, and an MAE above it is worse than a constant. Below it
    nothing is proven: a constant's actual MAE is smaller than its SD.
    """
    means: dict[tuple[str, str], tuple[Cell, Number]] = {}
    unstated: dict[tuple[str, str], Cell] = {}
    for cell in results:
        place = cell.edition, cell.table
        spreads = true_spreads(cell, results) if cell.has("mae") else {}
        if not spreads and cell.first("mae", "mae_global"):
            unstated.setdefault(place, cell)
        for name, (bound, where) in spreads.items():
            if READINGS[name] is not None:
                yield _bounded(cell, cell.numbers["mae"], bound, READINGS[name] + where)
            if name in ("sigma_true", "sigma_true_means"):
                means.setdefault(place, (cell, bound))
    claim = "the MAEs are below what a constant is guaranteed"
    for cell, bound in means.values():
        reason = "the bound does not apply under this reading"
        yield finding(cell.whole, "constant bound", claim, None, bound, MEANS, reason)
    for cell in unstated.values():
        reason = "no SD of the true profiles is stated (sigma_true)"
        yield finding(cell.whole, "constant bound", claim, detail=reason)


def _bounded(cell: Cell, mae: Number, bound: Number, reading: str) -> Finding:
    claim = f"{cell.name}: MAE {mae} µm is below what a constant is guaranteed"
    beaten = mae.value < bound.value or mae.agrees(bound)
    detail = (
        f"the mean distance from the mean is at most the SD: a constant scores {bound} µm or less"
    )
    detail += "; being below it is necessary, not sufficient" if beaten else ""
    verdict = HOLDS if beaten else FAILS
    return finding(cell, "constant bound", claim, mae, bound, reading, detail, verdict=verdict)


def offsets(results: Sequence[Cell]) -> Iterator[Finding]:
    """Ask what mean offset MAE, R, σ and σ_true imply together (ours).

    For pooled numbers, RMSE² = offset² + σ² + σ_true² − 2 R σ σ_true, and MAE ≤ RMSE. So an MAE
    above the root of the rest is only possible with that much mean difference between predicted
    and true thickness. Where the definitions are not said, other readings remain possible, and
    the verdict is only *doubtful*.
    """
    for cell in results:
        names = (("mae",), ("pearson_pooled", "r"), ("sigma_flat", "sigma"))
        given = [cell.first(*some) for some in names]
        spreads = {} if None in given else true_spreads(cell, results)
        known = spreads.get("sigma_true_flat") or spreads.get("sigma_true")
        if known is None:
            continue
        truth, where = known
        need = recompute(_offset, [*given, truth], 1)
        claim = f"{cell.name}: MAE, R and σ fit together without a mean offset"
        reading = f"R pooled, σ and σ_true flat (the code's np.std){where}"
        sure = cell.has("pearson_pooled", "sigma_flat") and "sigma_true_flat" in spreads
        verdict = HOLDS if need.low <= 0 else FAILS if sure else DOUBTFUL
        detail = f"a mean difference of at least {need} µm from the labels is implied"
        detail = "no offset is needed" if verdict == HOLDS else detail
        none = Number(0.0, 0, 1)
        yield finding(cell, "offset", claim, none, need, reading, detail, verdict=verdict)


def _offset(mae: float, r: float, sigma: float, sigma_true: float) -> float:
    rest = sigma**2 + sigma_true**2 - 2 * r * sigma * sigma_true
    return float(np.sqrt(max(mae**2 - rest, 0.0)))


def spreads(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check the definitions of σ: whether it can show collapse, and the law of total variance."""
    for rows in tables(results):
        silent = [row for row in rows if not row.has("sigma_between")]
        unsaid = [(row, name) for row in silent for name in SPREADS if row.has(name)]
        if unsaid:
            yield _blind(unsaid)
        for row in rows:
            if row.has("sigma_flat", "sigma_between", "sigma_template"):
                yield _total_variance(row)


def _blind(unsaid: list[tuple[Cell, str]]) -> Finding:
    cell, name = unsaid[0]
    numbers = [row.numbers[name] for row, name in unsaid]
    low, high = min(numbers, key=lambda n: n.value), max(numbers, key=lambda n: n.value)
    span = f"{low} to {high}" if low != high else f"{low}"
    claim = f"σ of {span} µm ({len(unsaid)} cells) shows how much predictions differ between eyes"
    reading = TEMPLATE_ONLY if name == "sigma_template" else TEMPLATE_TOO
    detail = "sigma_between (SD across eyes at each angle) is not given"
    return finding(cell.whole, "sigma", claim, reading=reading, detail=detail)


def _total_variance(cell: Cell) -> Finding:
    claimed = cell.numbers["sigma_flat"]
    parts = [cell.numbers["sigma_between"], cell.numbers["sigma_template"]]
    found = recompute(np.hypot, parts, claimed.digits)
    claim = f"{cell.name}: σ_flat {claimed} µm is that of its parts"
    reading = "law of total variance: σ_flat² = σ_between² + σ_template²"
    return finding(cell, "sigma", claim, claimed, found, reading)


def proposed(results: Sequence[Cell]) -> Iterator[Finding]:
    """Ask whether the method that is proposed has the largest fairness gap of its table."""
    for rows in tables(results):
        for cell in (row for row in rows if row.has("proposed", "gap")):
            rivals = [row.numbers["gap"] for row in rows if row.has("gap") and row is not cell]
            if rivals:
                gap, widest = cell.numbers["gap"], max(rivals, key=lambda number: number.value)
                claim = f"{cell.name}, the proposed method: gap {gap} µm is not the largest of all"
                given = {"verdict": FAILS if gap.value > widest.value else HOLDS}
                detail = f"the others have {min(rivals, key=lambda n: n.value)} to {widest} µm"
                reading = "gaps as printed, which have no intervals"
                yield finding(cell, "gap", claim, gap, widest, reading, detail, **given)


CHECKS = (constant_bound, offsets, spreads, proposed)
