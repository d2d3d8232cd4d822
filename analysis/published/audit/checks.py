"""The checks of an audit: what a table claims, what it prints twice, and what cannot be.

Each check takes the cells of all tables and yields findings. ``CHECKS`` holds them in the order of
an audit; what GRAPE's own workbook says is in :mod:`analysis.published.audit.workbook`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from analysis.freezing import linear, step
from analysis.published.audit.cells import (
    AGREEMENT,
    CONTRADICTION,
    DOUBTFUL,
    ERRORS,
    FAILS,
    HOLDS,
    LINE,
    NOTHING,
    SECTORS,
    SPREADS,
    TRUE_SPREADS,
    Cell,
    Finding,
    Number,
    entries,
    finding,
    label,
    recompute,
    tables,
    unit_of,
)

# claims that follow from a table's own cells

REFERENCE = "naive"
COMPARISON = re.compile(r"(delta_percent|better_percent|delta)(?:_vs_(.+))?")


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else float("nan")


def _change(a: float, b: float) -> float:
    return _percent(a - b, b)


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
            if matched := COMPARISON.fullmatch(metric):
                yield _percentage(cell, rows, claimed, matched[1], matched[2] or REFERENCE)


def _percentage(
    cell: Cell, rows: Sequence[Cell], claimed: Number, kind: str, against: str
) -> Finding:
    text, function, unit = KINDS[kind]
    sign = "+" if kind != "better_percent" and claimed.value > 0 else ""
    claim = f"{cell.name}: " + text.format(f"{sign}{claimed}", against)
    same = [row for row in rows if (row.backbone, row.protocol) == (cell.backbone, against)]
    pair = [one.numbers.get("mae") for one in (cell, *same)]
    if len(pair) < 2 or None in pair:
        reason = f"needs the MAE of {cell.name} and of its {against}; the table lacks one"
        return finding(cell, "percentage", claim, claimed, unit=unit, detail=reason)
    found = recompute(function, pair, max(1, claimed.digits))
    detail = f"from {pair[0]} against {pair[1]} µm"
    if unit == "%" and not claimed.agrees(found):
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
    text = f"{'+' if found.value > 0 else ''}{found} % is {names[0]} against {names[1]}"
    text += f" ({a.numbers['mae']} against {b.numbers['mae']} µm)"
    others = len(matches) - 1
    if others:
        text += f"; {others} other pair{'s' * (others > 1)} of cells would give it"
    return f"{text}."


def points(results: Sequence[Cell]) -> dict[tuple[str, str, str], list[Cell]]:
    """Return the cells with a frozen share and an MAE by edition, table and backbone."""
    out: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in results:
        if cell.has("percent_frozen", "mae"):
            out.setdefault((cell.edition, cell.table, cell.backbone), []).append(cell)
    return out


def lines(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check a stated line MAE = intercept + slope · frozen / 10 % against the line of the points.

    The refitted line is that of least squares; where only a part of the line is stated, only that
    part is checked, and the value at the worst point needs both slope and intercept.
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
        found = recompute(
            lambda *values, name=attribute: getattr(linear(_table(values)), name), numbers, 2
        )
        claim = f"{cell.name}: freezing line with {text.format(claimed)}"
        detail = steps if name == "claimed_r_squared" else ""
        yield finding(cell, "line", claim, claimed, found, reading, detail, unit=unit)
    if not {"claimed_intercept", "claimed_slope_per_10_percent"} <= set(stated):
        return
    line = [stated[name] for name in LINE[:2]]
    expected = [recompute(lambda a, b, x: a + b * x / 10, [*line, _share(row)], 2) for row in rows]
    gaps = [abs(e.value - row.numbers["mae"].value) for e, row in zip(expected, rows, strict=True)]
    worst = int(np.argmax(gaps))
    at, observed = expected[worst], rows[worst].numbers["mae"]
    share = rows[worst].numbers["percent_frozen"]
    claim = f"{cell.name}: the stated line gives {at} µm at {share} % frozen"
    detail = f"the table has {observed} µm there ({rows[worst].protocol}), {gaps[worst]:.2f} off"
    yield finding(cell, "line", claim, at, observed, "the point furthest off", detail)


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
    for place, rows in points(results).items():
        line = linear(_table([number.value for number in _coordinates(rows)]))
        lines = [("refitted", line.intercept, line.slope_per_10, line.r_squared)]
        for cell in results:
            if (cell.edition, cell.table, cell.backbone) == place and cell.has(*LINE[:2]):
                lines.append(("stated", *(cell.numbers.get(n, NOTHING).value for n in LINE)))
        out += [(place[0], place[2], *one) for one in lines]
    columns = ["edition", "backbone", "kind", "intercept", "slope_per_10", "r_squared"]
    return pd.DataFrame(out, columns=columns)


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
    detail = f"{winner.name} has {found}"
    return finding(cell, "best", claim, claimed, found, reading, detail, unit=unit_of(metric))


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


# numbers that are printed more than once

#: Tables of the paper that report on one test set, so that their cells can be compared.
TEST_SET = ("table1", "freezing", "loss_complexity")
#: Names that the paper's tables give to one model: L1 alone, nothing frozen, 5e-5 / 1e-4.
SAME_MODEL = {"freeze_0": "aggressive", "lambda_0": "aggressive"}
#: Where a table names no backbone (ours): the ablations are read as RETFound's.
ASSUMED_BACKBONE = {"loss_complexity": "RETFound ViT-L/16"}
#: Settings of a model, and claims that have checks of their own.
NOT_RESULTS = re.compile(r"percent_|lambda_|claimed_|delta|better_percent|.*_(bold|arrow)$")
MEASURED = ("mae", "r", "sigma")
ONE_MODEL = "aggressive, freeze_0 and λp 0 are one model: L1, nothing frozen, same learning rates"
SAME_PLACE = "same table, backbone and protocol"
NO_BACKBONE = "loss_complexity names no backbone and is read as RETFound's"

Places = list[tuple[Cell, Number]]


def _model(cell: Cell) -> tuple[str, str, str]:
    """Return test set, backbone and protocol of a cell, whatever its table calls them."""
    if cell.table not in TEST_SET:
        return cell.table, cell.backbone, cell.protocol
    backbone = cell.backbone or ASSUMED_BACKBONE.get(cell.table, "")
    return "/".join(TEST_SET), backbone, SAME_MODEL.get(cell.protocol, cell.protocol)


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
        detail = "within the rounding of each"
        yield finding(Cell(), "printed twice", claim, verdict=HOLDS, detail=detail)


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
        claim = f"{a.name} and {b.name} are two models"
        reading = "models that are trained differently rarely agree in every digit"
        listed = ", ".join(f"{label(name)} {a.numbers[name]}" for name in same)
        places = " and ".join(_where(c.edition, c.table, c.protocol) for c in (a, b))
        detail = f"both have {listed}: {places}"
        yield finding(a, "printed twice", claim, verdict=DOUBTFUL, reading=reading, detail=detail)


# bounds that no table of results can leave, and what a published spread can show at all

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

    reached = [(away, one) for one in results if (away := distance(one)) is not None]
    out: dict[str, tuple[Number, str]] = {}
    for name in TRUE_SPREADS:
        there = [(away, one) for away, one in reached if one.has(name)]
        if there:
            away, nearest = min(there, key=lambda pair: pair[0])
            place = _where(nearest.edition, nearest.table)
            where = "" if away < 2 else f"; stated in {place}, same test eyes"
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
        truth, where = spreads.get("sigma_true_flat") or spreads.get("sigma_true") or (None, "")
        if truth is None:
            continue
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


def possible(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check |R| ≤ 1, MAE ≤ RMSE, and that errors, gaps and SDs are not negative."""
    checked = 0
    for cell, metric, number in entries(results):
        limits = _limits(metric, cell)
        if limits is None:
            continue
        checked += 1
        low, high = limits
        if not low - number.half <= number.value <= high + number.half:
            claim = f"{cell.name}: {label(metric)} is {number}"
            detail = f"possible are {low:g} to {high:g}"
            detail = detail.replace("-", "−").replace("to inf", "and more")
            given = {"detail": detail, "verdict": FAILS, "unit": unit_of(metric)}
            yield finding(cell, "possible", claim, number, **given)
    if checked:
        claim = f"{checked} numbers lie where such numbers can lie, those named here aside"
        reading = "R within ±1; MAE not above RMSE; errors, gaps and SDs not negative"
        yield finding(Cell(), "possible", claim, verdict=HOLDS, reading=reading)


def _limits(metric: str, cell: Cell) -> tuple[float, float] | None:
    if metric in AGREEMENT:
        return (-np.inf if metric == "r2" else -1.0), 1.0
    if metric == "mae" and cell.has("rmse"):
        return 0.0, cell.numbers["rmse"].high
    return (0.0, np.inf) if metric in (*ERRORS, *SPREADS, *TRUE_SPREADS) else None


CHECKS = (
    *(percentages, lines, averages, best, contradictions, repeats),
    *(constant_bound, offsets, spreads, possible),
)
