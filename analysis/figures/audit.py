"""08_audit: the claimed freezing line against the published points, and errors against a constant.

Published numbers on real data throughout; nothing here is phantom.
"""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.panels import HALO, beside, name_rows, rule_above
from analysis.presentation import style

CAPTION = (
    "Audit of the published numbers, on real data as the paper printed them. (a) Error of RETFound "
    "against the share of its encoder that is frozen: the published points of both editions, the "
    "line that the submission states, and the lines that least squares put through the points; a "
    "dot inside a square is a number that both editions print. "
    "(b) Every published MAE against a constant, our yardstick: the SD of the labels (σ_true), "
    "above which predicting one and the same for every eye is at least as good, and on GRAPE the "
    "error of predicting its own mean, averaged over quadrants. Below: what each comparison rests "
    "on; if σ_true is the SD of each eye's mean thickness, its bound says nothing."
)
EDITIONS = {  # colour, marker, face, size, line: a dot inside a square is a number of both editions
    "submission": ("#0b3c6f", "o", "#0b3c6f", 3.0, "-"),
    "august": ("#c2477f", "s", "none", 6.0, (0, (1.2, 0.9))),
}
OTHER = (style.GREY, "D", "none", 5.0, "-")
TABLES = {"table1": "Table 1", "freezing": "Freezing", "loss_complexity": "Loss complexity",
          "grape": "GRAPE", "quick_start": "GRAPE, quick start"}  # fmt: skip
ROW = 0.128  # inches
READING = 152  # characters of a line below the panels


def draw(points: pd.DataFrame, lines: pd.DataFrame, errors: pd.DataFrame) -> Figure:
    """Draw the freezing claim beside all errors against their constant.

    ``points`` and ``lines`` are from ``freezing_points`` and ``freezing_lines`` of
    :mod:`analysis.published.ablations`, ``errors`` from :func:`analysis.published.audit.errors`.
    """
    layout = _layout(errors.fillna({"edition": "", "backbone": "", "protocol": ""}))
    figure = style.new_figure(style.PAGE, max(ROW * len(layout) + 1.1, 3.1))
    grid = figure.add_gridspec(1, 2, width_ratios=[1, 1])
    _freezing(figure.add_subplot(grid[0]), points, _each_line(lines))
    _errors(figure.add_subplot(grid[1]), layout)
    readings = dict.fromkeys(errors.dropna(subset="constant")["reading"])
    text = "\n".join(textwrap.fill(f"Reading: {one}.", READING) for one in readings)
    figure.supxlabel(text, fontsize=6.5, color=style.GREY, x=0.01, ha="left", linespacing=1.3)
    return figure


def _each_line(lines: pd.DataFrame) -> pd.DataFrame:
    """Return refitted and stated lines below each other, by kind."""
    parts = {"refitted": ("intercept", "slope_per_10", "r_squared_line"),
             "stated": ("claimed_intercept", "claimed_per_10", "claimed_r_squared")}  # fmt: skip
    names = ["edition", "intercept", "slope_per_10", "r_squared"]
    found = [lines[["edition", *own]].set_axis(names, axis=1).assign(kind=kind)
             for kind, own in parts.items()]  # fmt: skip
    return pd.concat(found).dropna(subset="slope_per_10")


def _look(edition: str) -> dict:
    colour, marker, face, size, _ = EDITIONS.get(edition, OTHER)
    return {"color": colour, "marker": marker, "mfc": face, "mec": colour, "mew": 0.9, "ms": size,
            "ls": "none"}  # fmt: skip


def _line(row, x: float | np.ndarray) -> float | np.ndarray:
    return row.intercept + row.slope_per_10 / 10 * x


def _freezing(axes: Axes, points: pd.DataFrame, lines: pd.DataFrame) -> None:
    end = points["percent_frozen"].max()
    x = np.array([0.0, end])
    for row in lines.itertuples():
        colour, *_, dashes = EDITIONS.get(row.edition, OTHER)
        if row.kind == "stated":
            colour, dashes = style.INK, (0, (5, 1.5))
        axes.plot(x, _line(row, x), color=colour, lw=1.1, ls=dashes, zorder=1)
    for edition, rows in points.groupby("edition", sort=False):
        axes.plot(rows["percent_frozen"], rows["mae"], **_look(edition), zorder=3)
    low, high = points["mae"].min(), points["mae"].max()
    top = max([high, *(_line(row, end) for row in lines.itertuples())])
    axes.set_xlim(-0.04 * end, 1.06 * end)
    axes.set_ylim(low - 0.14 * (top - low), top + 0.06 * (top - low))
    axes.yaxis.set_major_locator(style.ticks(6))
    _name_lines(axes, lines, end)
    _name_gap(axes, points, lines, end)
    title = "Freezing: as stated and as published"
    style.panel_letter(axes, "a", title, "share of the encoder frozen (%)", "MAE (µm)")


def _name_gap(axes: Axes, points: pd.DataFrame, lines: pd.DataFrame, end: float) -> None:
    """Mark how far the stated line lies from its edition's last point."""
    for row in lines[lines["kind"] == "stated"].itertuples():
        last = points[(points["edition"] == row.edition) & (points["percent_frozen"] == end)]
        for mae in last["mae"]:
            arrow = dict(arrowstyle="<->", color=style.GREY, lw=0.8, shrinkA=3, shrinkB=1)
            axes.annotate("", (end, mae), (end, _line(row, end)), arrowprops=arrow)
            text = f"{_line(row, end):.2f} stated\n{mae:.2f} published"
            beside(axes, text, end, mae + 0.33 * (_line(row, end) - mae), xytext=(-4, 0),
                   ha="right", fontsize=6.5, color=style.GREY, path_effects=HALO)  # fmt: skip


def _name_lines(axes: Axes, lines: pd.DataFrame, end: float) -> None:
    """Name the stated line along its upper half and the refitted ones in the free lower right."""
    refitted = lines[lines["kind"] == "refitted"].iloc[::-1]
    texts = [(f"{_edition(row.edition) or 'results'}: {_equation(row)}", "bold",
              EDITIONS.get(row.edition, OTHER)[0]) for row in refitted.itertuples()]  # fmt: skip
    texts += [("least squares through the points of", "normal", style.GREY)] if texts else []
    for i, (text, weight, colour) in enumerate(texts):
        axes.annotate(text, (0.985, 0.03 + 0.065 * i), xycoords="axes fraction", ha="right",
                      va="bottom", fontsize=6.5, fontweight=weight, color=colour)  # fmt: skip
    at = 0.8 * end
    for row in lines[lines["kind"] == "stated"].itertuples():
        beside(axes, f"stated ({row.edition}):\n{_equation(row)}", at, _line(row, at),
               xytext=(-8, 4), ha="right", va="bottom", fontsize=6.5, fontweight="bold",
               path_effects=HALO)  # fmt: skip


def _equation(row) -> str:
    text = f"{row.slope_per_10:+.2f} µm per 10 %".replace("-", "−")
    return f"{text}, R² {row.r_squared:.2f}" if np.isfinite(row.r_squared) else text


def _layout(errors: pd.DataFrame) -> list[tuple[str, pd.DataFrame | None]]:
    """Return the rows from top to bottom: a heading (no data), or a cell with its editions."""
    rows: list[tuple[str, pd.DataFrame | None]] = []
    for table, mine in errors.groupby("table", sort=False):
        for backbone, cells in mine.groupby("backbone", sort=False):
            rows.append((" · ".join(filter(None, (TABLES.get(table, table), backbone))), None))
            for protocol, cell in cells.groupby("protocol", sort=False):
                name = protocol.replace("lambda_", "λp ").replace("_", " ")
                rows.append((name or backbone or "results", cell))
    return rows


def _errors(axes: Axes, layout: list[tuple[str, pd.DataFrame | None]]) -> None:
    spans: dict[float, list[int]] = {}
    for y, (_, cell) in enumerate(layout):
        if cell is None:
            continue
        for row in cell.itertuples():
            axes.plot(row.mae, y, **_look(row.edition), zorder=3)
            if np.isfinite(row.constant):
                spans.setdefault(row.constant, []).append(y)
    headings = [cell is None for _, cell in layout]
    name_rows(axes, [name for name, _ in layout], headings)
    axes.set_ylim(top=-1.7)  # room above for what the first constant says
    for y in np.flatnonzero(headings):
        rule_above(axes, y)
    low, high = axes.get_xlim()
    low = min([low, *(constant - 2 for constant in spans)])
    for constant, rows in spans.items():
        _constant(axes, constant, layout, rows, high)
    axes.set_xlim(low, high)
    printed = {name for _, cell in layout if cell is not None for name in cell["edition"]}
    shown = [name for name in EDITIONS if name in printed]
    for name in shown:
        axes.plot([], [], **_look(name), label=_edition(name))
    if shown:
        axes.legend(loc="lower right", bbox_to_anchor=(1.01, 0.17), handletextpad=0.1)
    axes.xaxis.set_major_locator(style.ticks(5))
    style.panel_letter(axes, "b", "Every published error against a constant", "published MAE (µm)")


def _constant(axes: Axes, constant: float, layout: list, rows: list[int], high: float) -> None:
    """Draw a constant's error beside its rows; to the right of it a constant is as good."""
    grape = layout[rows[0]][1]["table"].iloc[0] in ("grape", "quick_start")
    top, bottom = min(rows) - (1.4 if grape else 1.5), max(rows) + 0.5
    axes.plot([constant] * 2, [top, bottom], color=style.INK, lw=0.9, zorder=1)
    axes.fill_between([constant, high], top, bottom, color="#f2f2f2", lw=0, zorder=-1)
    if grape:
        text, x = f"GRAPE's own mean, {constant:.1f} µm, as read below", constant
        place = {"xytext": (2, -1.5), "ha": "left", "va": "top"}
    else:
        text = f"from σ$_{{true}}$ = {constant:.1f} µm on, a constant is as good, as read below"
        x, place = high, {"xytext": (0, 1.5), "ha": "right", "va": "bottom"}
    beside(axes, text, x, top, fontsize=6.5, **place)


def _edition(name: str) -> str:
    return {"august": "August edition"}.get(name, name)
