"""What a table is checked for: its claims, whether its numbers fit each other, our own yardsticks.

Each check takes the cells of all tables and yields findings; ``CHECKS`` holds them by their kind,
in their order. What GRAPE's own workbook says is in :mod:`analysis.published.audit.workbook`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations, permutations

import numpy as np
import pandas as pd

from analysis.freezing import Line, linear, step
from analysis.published.audit.cells import (
    AGREEMENT,
    ASSUMED_BACKBONE,
    CLAIM,
    CONSISTENCY,
    CONTRADICTION,
    DIALS,
    DOUBTFUL,
    ERRORS,
    EXACT,
    FAILS,
    HOLDS,
    LINE,
    NOTHING,
    SAME_MODEL,
    SECTORS,
    SPREADS,
    TRUE_SPREADS,
    UNSTATED,
    YARDSTICK,
    Cell,
    Finding,
    Number,
    entries,
    finding,
    grouped,
    label,
    recompute,
    tables,
    unit_of,
)

# --- claims: percentages and differences ------------------------------------------------------

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
            if matched := COMPARISON.fullmatch(metric):
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
    if not claimed.agrees(found):
        if Number(-claimed.value, claimed.half).agrees(found):
            detail += ": the printed sign is wrong"
        elif unit == "%":
            detail += f". {_explain(claimed, cell, rows)}"
    reading = f"{'in % of' if unit == '%' else 'minus'} the MAE of {against}"
    reading += ", same backbone, edition and table"
    return finding(cell, "percentage", claim, claimed, found, reading, detail, unit=unit)


def _explain(claimed: Number, cell: Cell, rows: Sequence[Cell]) -> str:
    """Name the pairs of the table whose MAEs do differ by the claimed percentage."""
    wanted, matches = Number(abs(claimed.value), claimed.half), []
    for a, b in permutations((row for row in rows if row.has("mae")), 2):
        found = recompute(_change, [a.numbers["mae"], b.numbers["mae"]], max(1, claimed.digits))
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
    if others := len(matches) - 1:
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
            place = cell.edition, cell.test_set
            rows = [one for one in results if (one.edition, one.test_set) == place]
            yield _range(cell, [one for one in rows if one.has("mae")])


def _range(cell: Cell, rows: Sequence[Cell]) -> Finding:
    stated = [cell.numbers.get(name, NOTHING) for name in RANGE]
    about = cell.protocol or "frozen or with a Pearson term"
    said = ("(not stated)" if end is NOTHING else _signed(end) for end in stated)
    claim = f"{about}: MAE {' to '.join(said)} %"
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
    pairs = list(zip(stated, ends, strict=True))
    told, shown = next((pair for pair in pairs if not Number.agrees(*pair)), pairs[1])
    reading = "; ".join(spans)
    return finding(cell, "range", claim, told, shown, reading, verdict=verdict, unit="%")


def _naive(row: Cell, rows: Sequence[Cell]) -> Cell | None:
    same = (one for one in rows if one.protocol == REFERENCE and one.model[1] == row.model[1])
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

# --- claims: a freezing line ------------------------------------------------------------------

PARTS = {  # of a stated line: how a claim says it, the fit's name for it, its unit
    "claimed_intercept": ("intercept {} µm", "intercept", "µm"),
    "claimed_slope_per_10_percent": ("slope {} µm per 10 % frozen", "slope_per_10", "µm/10 %"),
    "claimed_r_squared": ("R² {}", "r_squared", "R²"),
}


def lines(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check a stated line MAE = intercept + slope · frozen / 10 % against the line of the points.

    The refitted line is that of least squares; where only a part of the line is stated, only that
    part is checked.
    """
    for cell in results:
        rows = _points(cell, results)
        stated = {name: cell.numbers[name] for name in LINE if name in cell.numbers}
        if stated and len(rows) < 3:
            reason = "needs percent_frozen and mae of three cells or more, same edition and table"
            claim = f"{cell.name}: a line through MAE against frozen share"
            yield finding(cell, "line", claim, detail=reason)
        elif stated:
            yield from _line(cell, stated, rows)
        if cell.has("claimed_saturating") and rows:
            yield _saturating(cell, rows)


def _points(cell: Cell, results: Sequence[Cell]) -> list[Cell]:
    """Return the cells with a frozen share and an MAE that a line stated by a cell is about."""
    place = cell.edition, cell.table, cell.backbone
    there = (one for one in results if (one.edition, one.table, one.backbone) == place)
    return [one for one in there if one.has("percent_frozen", "mae")]


def _share(cell: Cell) -> Number:
    """Return the frozen share; 0 and 100 % are exact, and nothing lies beyond them."""
    share = cell.numbers["percent_frozen"]
    room = min(share.value, 100 - share.value)
    return Number(share.value, min(share.half, max(room, 0.0)), share.digits)


def _line(cell: Cell, stated: dict[str, Number], rows: Sequence[Cell]) -> Iterator[Finding]:
    numbers = [*map(_share, rows), *(row.numbers["mae"] for row in rows)]
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
    holds = len(rises) > 1 and (np.diff(rises) < 0).all()
    listed = ", ".join(f"{rise:.2f}" for rise in rises)
    detail = f"µm per 10 % from point to point: {listed}".replace("-", "−")
    if y[-1] != y[0]:
        detail += f"; the first step is {_percent(y[1] - y[0], y[-1] - y[0]):.0f} % of the whole"
    return finding(cell, "line", claim, reading=reading, detail=detail, holds=holds)


@lru_cache(maxsize=128)  # slope, intercept and R² of the same points are asked for one by one
def _fit(*values: float) -> Line:
    return linear(_table(values))


def _table(values: Sequence[float]) -> pd.DataFrame:
    n = len(values) // 2
    return pd.DataFrame({"percent_frozen": values[:n], "mae": values[n:]})


# --- claims: what is printed as best, and who is said to collapse -----------------------------


def best(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check what is printed as best: ``<metric>_bold`` (its value), ``<metric>_arrow`` (±1).

    An arrow of 1 says that higher is better, −1 that lower is. Errors, gaps and their like are
    better when lower, correlations when higher.
    """
    for rows in tables(results):
        for cell, name, claimed in entries(rows):
            metric, _, kind = name.rpartition("_")
            # 1 where higher is better, −1 where lower is, 0 where that is not known
            direction = (metric in AGREEMENT) - (metric in ERRORS)
            if kind == "bold":
                yield _bold(cell, metric, direction, claimed, rows)
            elif kind == "arrow":
                yield _arrow(cell, metric, direction, claimed)


def _bold(
    cell: Cell, metric: str, direction: int, claimed: Number, rows: Sequence[Cell]
) -> Finding:
    claim = f"{cell.name}: {label(metric)} {claimed} is the best of its table"
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
    holds = abs(claimed.value - found.value) <= max(claimed.half, found.half) + EXACT
    given = {"holds": holds, "unit": unit_of(metric)}
    return finding(cell, "best", claim, claimed, found, reading, detail, **given)


def _arrow(cell: Cell, metric: str, direction: int, claimed: Number) -> Finding:
    words = {1.0: "higher", -1.0: "lower"}
    told = words.get(claimed.value, "neither higher nor lower")
    claim = f"{cell.name}: {told} {label(metric)} is better"
    if not direction:
        return finding(cell, "best", claim, detail=f"no direction is known for {metric}")
    detail, reading = f"{words[direction]} {label(metric)} is better", "direction of the arrow"
    holds = claimed.value == direction
    return finding(cell, "best", claim, reading=reading, detail=detail, holds=holds)


def collapses(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check a protocol that is said to collapse against the stated limit, ``sigma_collapse``."""
    for cell in results:
        if not (limit := cell.numbers.get("sigma_collapse")):
            continue
        claim = f"{cell.name}: collapses with every backbone, σ below {limit} µm"
        reading = "the paper's own limit for its own σ, the SD of the flattened predictions"
        place = cell.table, cell.protocol
        rows = [one for one in results if (one.table, one.protocol) == place and one.has("sigma")]
        rows = [one for one in rows if cell.edition in (one.edition, UNSTATED)]
        told = dict.fromkeys((one.backbone, one.numbers["sigma"]) for one in rows)
        if not told:
            yield finding(cell, "collapse", claim, limit, None, reading, "no σ is given")
            continue
        above = [name for name, sigma in told if sigma.value >= limit.value]
        detail = ", ".join(f"{sigma} {name}" for name, sigma in told)
        detail += f": {len(above)} of {len(told)} are not collapsed"
        most = max((sigma for _, sigma in told), key=lambda one: one.value)
        yield finding(cell, "collapse", claim, limit, most, reading, detail, holds=not above)


# --- consistency: sums and lines --------------------------------------------------------------


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
    for cell in results:
        rows = _points(cell, results)
        if not rows or not cell.has(*LINE[:2]):
            continue
        line, off = [cell.numbers[name] for name in LINE[:2]], []
        for row in rows:
            at = recompute(lambda a, b, x: a + b * x / 10, [*line, _share(row)], 2)
            off.append((abs(at.value - row.numbers["mae"].value), at, row))
        gap, at, row = max(off, key=lambda one: one[0])
        observed, share = row.numbers["mae"], row.numbers["percent_frozen"]
        claim = f"{cell.name}: the stated line gives {at} µm at {share} % frozen"
        detail = f"the table has {observed} µm there ({row.protocol}), {gap:.2f} off"
        yield finding(cell, "line value", claim, at, observed, "the point furthest off", detail)


# --- consistency: numbers that are printed more than once -------------------------------------

#: Settings of a model, and claims that have checks of their own.
NOT_RESULTS = re.compile(
    r"percent_|lambda_|claimed_|delta|better_percent|sigma_collapse|proposed|.*_(bold|arrow)$"
)
MEASURED = ("mae", "r", "sigma")
MODELS = 3  # that share the smallest σ of an edition
ONE_MODEL = "aggressive, freeze_0 and λp 0 are one model: L1, nothing frozen, same learning rates"
RARELY = "models that are trained differently rarely agree in every digit"
NO_BACKBONE = "loss_complexity names no backbone and is read as RETFound's"

Places = list[tuple[Cell, Number]]


def _where(*parts: str) -> str:
    return " ".join(filter(None, parts))


def contradictions(results: Sequence[Cell]) -> Iterator[Finding]:
    """Compare every number that is printed more than once, within and between editions.

    Numbers of one model on one test set must agree within rounding, and so must their ±. Those
    that do are counted in one finding.
    """
    everywhere = [
        ((cell.model, what, metric), (cell, number))
        for cell in results
        for what, some in (("", cell.numbers), ("± of ", cell.spreads))
        for metric, number in some.items()
        if what or not NOT_RESULTS.match(metric)
    ]
    agreeing = 0
    for (_, what, metric), some in grouped(everywhere, lambda one: one[0]).items():
        places = [place for _, place in some]
        found = list(_compare(f"{what}{label(metric)}", unit_of(metric), places))
        yield from found
        agreeing += len(places) > 1 and not found
    if agreeing:
        claim = f"the other {agreeing} numbers that are printed more than once agree"
        reading = "one model, one test set; within the rounding of each"
        yield finding(Cell(), "printed twice", claim, reading=reading, holds=True)


def _compare(what: str, unit: str, places: Places) -> Iterator[Finding]:
    """Yield one finding per edition that contradicts itself, else one if the editions differ."""
    by_edition = grouped(places, lambda place: place[0].edition)
    inside = {name: mine for name, mine in by_edition.items() if _clash(mine)}
    for edition, mine in inside.items():
        yield _contradiction(what, unit, mine, f"within one edition ({edition or 'only'})")
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
    reading = "; ".join(filter(None, (ONE_MODEL * renamed, NO_BACKBONE * assumed)))
    listed = "; ".join(f"{n} in {_where(c.edition, c.table, c.protocol)}" for c, n in places)
    told = claim, one, other, reading or "same table, backbone and protocol", f"{where}: {listed}"
    return finding(cell, "printed twice", *told, verdict=CONTRADICTION, unit=unit)


def _doubtful(cell: Cell, claim: str, reading: str = RARELY, detail: str = "") -> Finding:
    given = {"verdict": DOUBTFUL, "reading": reading, "detail": detail}
    return finding(cell, "printed twice", claim, **given)


def names(results: Sequence[Cell]) -> Iterator[Finding]:
    """Point at a row whose numbers two editions print under different names."""
    named = (cell for cell in results if cell.printed_as)
    for cells in grouped(named, lambda cell: (cell.table, cell.backbone, cell.protocol)).values():
        editions = grouped(cells, lambda cell: cell.printed_as)
        if len(editions) > 1:
            told = " and ".join(f"“{name}” ({c[0].edition})" for name, c in editions.items())
            claim = f"{cells[0].name}: {told} are one model"
            yield _doubtful(cells[0], claim, "one row of one table, the same in every digit")


def repeats(results: Sequence[Cell]) -> Iterator[Finding]:
    """Point at different models of one test set whose MAE and R are the same to the last digit."""
    known = [cell for cell in results if cell.has("mae", "r") and cell.protocol]
    for a, b in combinations(known, 2):
        same = [name for name in MEASURED if a.has(name) and a.numbers[name] == b.numbers.get(name)]
        if a.test_set == b.test_set and a.model != b.model and {"mae", "r"} <= set(same):
            listed = ", ".join(f"{label(name)} {a.numbers[name]}" for name in same)
            claim = f"{a.name} and {b.name}, both with {listed}, are two models"
            detail = " and ".join(_where(c.edition, c.table, c.protocol) for c in (a, b))
            yield _doubtful(a, claim, detail=detail)


def lowest(results: Sequence[Cell]) -> Iterator[Finding]:
    """Point at an edition whose smallest σ stands for three models or more."""
    known = (cell for cell in results if cell.has("sigma") and cell.protocol)
    for cells in grouped(known, lambda cell: (cell.edition, cell.test_set)).values():
        models = [some[0] for some in grouped(cells, lambda cell: cell.model).values()]
        least = min((cell.numbers["sigma"] for cell in models), key=lambda n: n.value)
        same = [cell for cell in models if cell.numbers["sigma"] == least]
        if len(same) >= MODELS:
            listed = ", ".join(_where(cell.table, cell.protocol) for cell in same)
            claim = f"σ {least} stands for {len(same)} different models: {listed}"
            yield _doubtful(same[0].whole, claim)


def possible(results: Sequence[Cell]) -> Iterator[Finding]:
    """Check |R| ≤ 1, MAE ≤ RMSE, and that errors, gaps and SDs are not negative."""
    checked = set()  # what both editions print is one number
    for cell, metric, number in entries(results):
        if (limits := _limits(metric, cell)) is None:
            continue
        checked.add((cell.table, cell.name, metric, number))
        low, high = limits
        if not low - number.half <= number.value <= high + number.half:
            claim = f"{cell.name}: {label(metric)} is {number}"
            detail = f"possible are {low:g} to {high:g}"
            detail = detail.replace("-", "−").replace("to inf", "and more")
            given = {"holds": False, "unit": unit_of(metric)}
            yield finding(cell, "possible", claim, number, detail=detail, **given)
    if checked:
        claim = f"{len(checked)} numbers lie where such numbers can lie, those named here aside"
        reading = "R within ±1; MAE not above RMSE; errors, gaps and SDs not negative"
        yield finding(Cell(), "possible", claim, reading=reading, holds=True)


def _limits(metric: str, cell: Cell) -> tuple[float, float] | None:
    if metric in AGREEMENT:
        return (-np.inf if metric == "r2" else -1.0), 1.0
    if metric == "mae" and cell.has("rmse"):
        return 0.0, cell.numbers["rmse"].high
    return (0.0, np.inf) if metric in (*ERRORS, *SPREADS, *TRUE_SPREADS) else None


# --- yardsticks: constants, offsets, and what a σ can show ------------------------------------

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


def _true_spreads(cell: Cell, results: Sequence[Cell]) -> dict[str, tuple[Number, str]]:
    """Return the stated SDs of the true profiles that apply to a cell, and where they stand.

    The nearest statement counts: the cell's own, its table's, that of the same table in another
    edition, that of another table on the same test set.
    """

    def distance(one: Cell) -> int:
        if one is cell:
            return 0
        return 3 if one.table != cell.table else 1 if one.edition == cell.edition else 2

    whole = [one for one in results if not one.protocol and one.backbone in ("", cell.backbone)]
    about = [cell, *(one for one in whole if one.test_set == cell.test_set)]
    out = {}
    for name in TRUE_SPREADS:
        if there := [one for one in about if one.has(name)]:
            nearest = min(there, key=distance)
            place = _where(nearest.edition, nearest.table)
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
        spreads = _true_spreads(cell, results) if cell.has("mae") else {}
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
    detail = "the mean distance from the mean is at most the SD: a constant scores "
    detail += f"{bound} µm or less{'; being below it is necessary, not sufficient' * beaten}"
    return finding(cell, "constant bound", claim, mae, bound, reading, detail, holds=beaten)


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
        spreads = {} if None in given else _true_spreads(cell, results)
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
    low, high = (end(numbers, key=lambda number: number.value) for end in (min, max))
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
        known = [row for row in rows if row.has("gap")]
        for cell in (row for row in known if row.has("proposed") and len(known) > 1):
            gap, rivals = cell.numbers["gap"], [r.numbers["gap"] for r in known if r is not cell]
            least, widest = (end(rivals, key=lambda number: number.value) for end in (min, max))
            claim = f"{cell.name}, the proposed method: gap {gap} µm is not the largest of all"
            detail, holds = f"the others have {least} to {widest} µm", gap.value <= widest.value
            reading = "gaps as printed, which have no intervals"
            yield finding(cell, "gap", claim, gap, widest, reading, detail, holds=holds)


CHECKS = {
    CLAIM: (percentages, ranges, lines, best, collapses),
    CONSISTENCY: (averages, line_values, contradictions, names, repeats, lowest, possible),
    YARDSTICK: (constant_bound, offsets, spreads, proposed),
}
