"""Conclusions on agreement with OCT: limits, proportional bias, floor effect, thinned sectors."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.conclusions.common import with_interval
from analysis.resampling.conditions import NO_BACKBONE

FLOOR = (NO_BACKBONE, "oracle floor")
TEMPLATE = (NO_BACKBONE, "template")


def _signed(row: pd.Series, unit: str = " µm", digits: int = 1) -> str:
    """Return an estimate with its interval, all signed, with a true minus sign."""
    one, low, high = (f"{value:+.{digits}f}" for value in (row.estimate, row.low, row.high))
    return f"{one}{unit} [{low}, {high}]".replace("-", "−")


def _rows(table: pd.DataFrame, metric: str, group: str = "global") -> pd.DataFrame:
    chosen = table[(table["metric"] == metric) & (table["group"] == group)]
    return chosen.set_index(["backbone", "protocol"])


def _trained(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows.index.get_level_values("backbone") != NO_BACKBONE].dropna(subset="estimate")


def limits(table: pd.DataFrame) -> str:
    """Say how far one eye's mean thickness may be off in the best cell, and by the template.

    Best is the smallest SD of differences.
    """
    sd = _rows(table, "sd")
    cells = _trained(sd)
    if cells.empty:
        return "Limits of agreement: too few eyes, or no trained model, to give any."
    best = cells.estimate.idxmin()
    low, high, bias = (_rows(table, name) for name in ("limit_low", "limit_high", "bias"))
    text = (
        f"Narrowest limits of agreement of the mean thickness: {' with '.join(best)}, "
        f"{_signed(low.loc[best])} to {_signed(high.loc[best])}; bias {_signed(bias.loc[best])}"
    )
    if TEMPLATE not in sd.index or not np.isfinite(sd.loc[TEMPLATE].estimate):
        return text + "."
    narrower = sd.loc[best].high < sd.loc[TEMPLATE].low
    word = "clearly narrower than" if narrower else "not clearly narrower than"
    ends = f"{low.loc[TEMPLATE].estimate:+.1f} to {high.loc[TEMPLATE].estimate:+.1f} µm"
    return f"{text}. They are {word} the template's, {ends}.".replace("-", "−")


def proportional_bias(table: pd.DataFrame) -> str:
    """Say whether differences depend on the label beyond what its noise makes of them."""
    slopes = _rows(table, "slope_on_label")
    cells = _trained(slopes)
    if cells.empty:
        return "Proportional bias: too few eyes, or no trained model, to judge."
    floor = slopes.loc[FLOOR] if FLOOR in slopes.index else None
    zero = floor.low if floor is not None and np.isfinite(floor.low) else 0.0
    shrunk = cells[cells.high < zero]
    stretched = cells[cells.low > 0]
    text = (
        f"Thin eyes are overestimated and thick ones underestimated in {len(shrunk)} of "
        f"{len(cells)} cells, the reverse holds in {len(stretched)}"
    )
    ends = [cells.loc[pick] for pick in (cells.estimate.idxmax(), cells.estimate.idxmin())]
    for word, row in zip(("at least ", "at most "), ends[: len(cells)], strict=False):
        size = f"{word if len(cells) > 1 else ''}by {_signed(row, '', 2)} µm per µm"
        text += f"; {size} ({' with '.join(row.name)})"
    if floor is not None:
        text += f"; the noise of the labels alone gives {_signed(floor, '', 2)}"
    return text + "."


def floor_effect(thickness: pd.DataFrame, backbone: str, protocol: str) -> str:
    """Say what one cell predicts where labels are thinnest and thickest."""
    rows = thickness[(thickness["backbone"] == backbone) & (thickness["protocol"] == protocol)]
    bias = rows[rows["metric"] == "bias"].dropna(subset=["estimate", "low"])
    if len(bias) < 2:
        return f"{backbone} with {protocol}: too few eyes by thickness to see a floor effect."
    thin, thick = bias.iloc[0], bias.iloc[-1]
    regresses = thin.low > 0 and thick.high < 0
    verdict = (
        "regression to the mean, so that thin places look healthier than they are"
        if regresses
        else "no regression to the mean at both ends"
    )
    return (
        f"{backbone} with {protocol}: where the label is {thin.group} µm the prediction is off by "
        f"{_signed(thin)}, where it is {thick.group} µm by {_signed(thick)}: {verdict}."
    )


def thinning(table: pd.DataFrame, backbone: str, protocol: str) -> list[str]:
    """Say how many thinned sectors one cell finds, where most and least, and what was too rare."""
    here = table[(table["backbone"] == backbone) & (table["protocol"] == protocol)]
    rows = here[here["metric"] == "sensitivity"].set_index("group")
    known, rare = rows.drop(index="global").dropna(subset="estimate"), rows[rows.estimate.isna()]
    name = f"{backbone} with {protocol}"
    out = []
    asked = here.loc[here["metric"] == "specificity", "estimate"].iloc[0]
    if np.isfinite(rows.loc["global"].estimate):
        auc = here[here["metric"] == "auc"].set_index("group").loc["global"]
        out.append(
            f"{name} finds {_percent(rows.loc['global'])} of eyes with a thinned circle at "
            f"{100 * asked:.0f} % specificity; AUC {with_interval(auc, '')}."
        )
    if len(known):
        most, least = (known.loc[p] for p in (known.estimate.idxmax(), known.estimate.idxmin()))
        out.append(
            f"Of thinned sectors it finds most in {most.name}, {_percent(most)}, and fewest in "
            f"{least.name}, {_percent(least)}."
        )
        auc = here[(here["metric"] == "auc") & (here["low"] <= 0.5)]["group"]
        if len(auc):
            out.append(f"No better than chance (AUC 0.5) in: {', '.join(auc)}.")
    if len(rare):
        named = rare.rename(index={"global": "circle"})
        listed = ", ".join(f"{group} ({int(row.n)})" for group, row in named.iterrows())
        out.append(f"Too few thinned eyes (or too few others) to judge: {listed}.")
    return out


def _percent(row: pd.Series) -> str:
    return with_interval(100 * row[["estimate", "low", "high"]].astype(float), " %", 0)


def as_read(table: pd.DataFrame, backbone: str, protocol: str) -> str:
    """Say what is found when predictions are read against the healthy limit as measurements are."""
    here = table[(table["backbone"] == backbone) & (table["protocol"] == protocol)]
    rows = here.pivot_table(index="group", columns="metric", values="estimate", sort=False)
    missed = [
        f"{group} ({100 * row.sensitivity_as_read:.0f} % found)"
        for group, row in rows.iterrows()
        if row.get("sensitivity_as_read", np.nan) < 0.2
    ]
    start = f"{backbone} with {protocol}, read against the healthy limit as a measurement would be,"
    if "sensitivity_as_read" not in rows:
        return f"{start} cannot be judged: too few thinned eyes."
    if missed:
        return f"{start} misses more than four in five thinned eyes in: {', '.join(missed)}."
    return f"{start} finds at least one in five thinned eyes everywhere."
