"""Conclusions on agreement with OCT: limits, proportional bias, floor effect, thinned sectors."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.conclusions.claims import (
    FLOOR,
    TEMPLATE,
    cell_of,
    ends,
    level,
    name_of,
    rows_of,
    signed,
    trained,
)
from analysis.presentation.text import number, percent

ONE_IN_FIVE = 0.2  # of thinned eyes, the least that is called of use (ours)


def limits(table: pd.DataFrame) -> str:
    """Say how far one eye's mean thickness may be off in the cell with the smallest SD of
    differences, and by the template."""
    names = ("sd", "limit_low", "limit_high", "bias")
    sd, low, high, bias = (rows_of(table, name, "global") for name in names)
    if trained(sd).empty:
        return "Limits of agreement: too few eyes, or no trained model, to give any."
    best = trained(sd).estimate.idxmin()
    text = (
        f"Narrowest limits of agreement of the mean thickness: {name_of(best)}, "
        f"{_off(low.loc[best])} to {_off(high.loc[best])}; bias {_off(bias.loc[best])}."
    )
    if TEMPLATE not in sd.index or not np.isfinite(sd.loc[TEMPLATE].estimate):
        return text
    word = "clearly" if sd.loc[best].high < sd.loc[TEMPLATE].low else "not clearly"
    to = " to ".join(number(rows.loc[TEMPLATE].estimate, 1, signed=True) for rows in (low, high))
    return f"{text} They are {word} narrower than the template's, {to} µm."


def proportional_bias(table: pd.DataFrame) -> str:
    """Say whether differences depend on the label beyond what its noise makes of them."""
    slopes = rows_of(table, "slope_on_label", "global")
    cells = trained(slopes)
    if cells.empty:
        return "Proportional bias: too few eyes, or no trained model, to judge."
    floor = slopes.loc[FLOOR] if FLOOR in slopes.index else None
    zero = floor.low if floor is not None and np.isfinite(floor.low) else 0.0
    text = (
        f"Thin eyes are overestimated and thick ones underestimated in {(cells.high < zero).sum()} "
        f"of {len(cells)} cells, the reverse holds in {(cells.low > 0).sum()}"
    )
    words = ("at least ", "at most ") if len(cells) > 1 else ("",)
    for word, row in zip(words, ends(cells), strict=False):
        text += f"; {word}by {signed(row)} µm per µm ({name_of(row.name)})"
    if floor is not None:
        text += f"; the noise of the labels alone gives {signed(floor)}"
    return text + "."


def floor_effect(thickness: pd.DataFrame, backbone: str, protocol: str) -> str:
    """Say what one cell predicts where labels are thinnest and thickest."""
    bias = cell_of(thickness, backbone, protocol).query("metric == 'bias'")
    bias = bias.dropna(subset=["estimate", "low"])
    if len(bias) < 2:
        return f"{backbone} with {protocol}: too few eyes by thickness to see a floor effect."
    thin, thick = bias.iloc[0], bias.iloc[-1]
    verdict = "regression to the mean is not shown at both ends"
    if thin.low > 0 and thick.high < 0:
        verdict = "regression to the mean, so that thin places look healthier than they are"
    elif thin.high <= 0 and thick.low >= 0:
        verdict = "the reverse of regression to the mean"
    return (
        f"{backbone} with {protocol}: where the label is {thin.group} µm the prediction is off by "
        f"{_off(thin)}, where it is {thick.group} µm by {_off(thick)}: {verdict}."
    )


def thinning(table: pd.DataFrame, backbone: str, protocol: str) -> list[str]:
    """Say how many thinned sectors one cell finds, where most and least, and what was too rare."""
    here = cell_of(table, backbone, protocol).set_index("group")
    names = ("sensitivity", "auc", "specificity_reached")
    found, auc, reached = (here[here["metric"] == name] for name in names)
    if reached["estimate"].isna().all() and auc["estimate"].notna().any():
        circle = auc.rename(index={"global": "circle"}).dropna(subset="estimate")
        known = "; ".join(f"{name} {level(one, '')}" for name, one in circle.iterrows())
        return [f"{backbone} with {protocol}: no threshold from training eyes; AUC: {known}."]
    asked = here.loc[here["metric"] == "specificity", "estimate"].iloc[0]
    whole, out = found.loc["global"], []
    if np.isfinite(whole.estimate):
        out.append(
            f"{backbone} with {protocol} finds {percent(whole, ' %')} of eyes with a thinned "
            f"circle by a threshold set on training eyes for {100 * asked:.0f} % specificity, "
            f"which here is {percent(reached.loc['global'], ' %')}; AUC "
            f"{level(auc.loc['global'], '')}."
        )
    known = found.drop(index="global").dropna(subset="estimate")
    if len(known):
        most, least = ends(known)
        out.append(
            f"Of thinned sectors it finds most in {most.name}, {percent(most, ' %')}, and fewest "
            f"in {least.name}, {percent(least, ' %')}."
        )
        if blind := list(auc.index[auc["low"] <= 0.5]):
            out.append(f"Not shown to be better than chance (AUC 0.5) in: {', '.join(blind)}.")
    rare = found[found.estimate.isna()].rename(index={"global": "circle"})
    if len(rare):
        sizes = ", ".join(f"{group} ({int(n)})" for group, n in rare["n"].items())
        out.append(f"Too few thinned eyes (or too few others) to judge: {sizes}.")
    return out


def as_read(table: pd.DataFrame, backbone: str, protocol: str) -> str:
    """Say what is found when predictions are read against the healthy limit as measurements are."""
    found = cell_of(table, backbone, protocol).query("metric == 'sensitivity_as_read'")
    found = found.dropna(subset="estimate").set_index("group")
    start = f"{backbone} with {protocol}, read against the healthy limit as a measurement would be,"
    if found.empty:
        return f"{start} cannot be judged: too few thinned eyes."
    if missed := _found(found[found["high"] < ONE_IN_FIVE]):
        return f"{start} misses more than four in five thinned eyes in: {missed}."
    if (found["low"] >= ONE_IN_FIVE).all():
        return f"{start} finds at least one in five thinned eyes everywhere."
    unsure = _found(found[~(found["low"] >= ONE_IN_FIVE)])
    return f"{start} may find fewer than one in five thinned eyes in: {unsure}."


def _found(rows: pd.DataFrame) -> str:
    return ", ".join(f"{group} ({percent(row, ' %')} found)" for group, row in rows.iterrows())


def _off(row: pd.Series) -> str:
    return signed(row, 1, " µm")
