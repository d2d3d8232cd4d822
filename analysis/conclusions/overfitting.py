"""Conclusions on template collapse: the spread between eyes, the response, few templates."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.collapse import DIVERSE, ONE, REPEATED, REPEATS, SPREAD, UNDECIDED, verdicts
from analysis.collapse.templates import FEW, MANY, K
from analysis.conclusions.claims import (
    FLOOR,
    TEMPLATE,
    arises,
    ends,
    level,
    name_of,
    rows_of,
    trained,
)
from analysis.presentation.text import number, percent
from analysis.resampling.conditions import NO_BACKBONE

PLANTED = (NO_BACKBONE, FEW)
FOLLOWS = 0.5  # share of a turn below which a prediction keeps its place rather than turns (ours)
WORDS = {
    ONE: "collapsed towards one template",
    REPEATS: "collapsed towards few templates",
    DIVERSE: f"diverse, by its spread and its distance from {K} and {MANY} templates",
    UNDECIDED: "a collapse is neither shown nor excluded",
}


def collapse(stats: pd.DataFrame) -> list[str]:
    """Say, for each cell, how much of the true spread its predictions keep, and the verdict.

    ``stats`` is that of :func:`analysis.collapse.collapse_table`, here and below.
    """
    names, judged = ("sigma_between", "sigma_ratio", "sigma_flat"), verdicts(stats)
    spread, ratio, flat = (rows_of(stats, name)["estimate"] for name in names)
    target = next(key for key in spread.index if key[1] == "target")
    out = [
        f"True profiles differ between eyes by σ_between {spread[target]:.1f} µm; their σ_flat is "
        f"{flat[target]:.1f} µm."
    ]
    for key in (key for key in spread.index if key[0] != NO_BACKBONE):
        share = f"{100 * ratio[key]:.0f} % of the truth"
        if not np.isfinite(ratio[key]):
            share = "not to be judged, as the true profiles do not differ"
        out.append(
            f"{name_of(key)}: σ_between {spread[key]:.1f} µm, {share}; σ_flat {flat[key]:.1f} µm; "
            f"{WORDS[judged[key]]}."
        )
    return out


def flat_sigma(stats: pd.DataFrame) -> str:
    """Say what the published spread makes of the template baseline."""
    names = ("sigma_between", "sigma_flat")
    between, flat = (rows_of(stats, name).loc[TEMPLATE].estimate for name in names)
    return (
        f"The template predicts the same profile for every eye: its σ_between is {between:.1f} µm, "
        f"yet the published σ_flat gives it {flat:.1f} µm."
    )


def response(stats: pd.DataFrame) -> str:
    """Say how much of a true difference between eyes arrives, of the most and least responsive."""
    rows = rows_of(stats, "response_slope")
    cells = trained(rows)
    if cells.empty:
        return "Response to the eye: no trained model to judge."
    most, least = ends(cells)
    text = f"Of a true difference between eyes of 10 µm, {number(10 * most.estimate, 1)} µm arrive "
    text += f"in {name_of(most.name)} (response slope {level(most, '')})"
    if len(cells) > 1:
        text += f", {number(10 * least.estimate, 1)} µm in {name_of(least.name)} "
        text += f"({level(least, '')})"
    if FLOOR in rows.index:
        text += f"; the truth without the noise of these labels has {rows.loc[FLOOR].estimate:.2f}"
    return text + "; a template has 0."


def rotation(stats: pd.DataFrame) -> list[str]:
    """Say how far predictions turn with their images, and at what error.

    ``stats`` is that of :func:`analysis.collapse.rotation.rotation_table`.
    """
    rows = rows_of(stats, "rotation_response")
    cells = trained(rows)
    if cells.empty:
        return ["Rotation response: no trained model to judge."]
    parts = "; ".join(f"{name_of(key)} {level(row, '')}" for key, row in cells.iterrows())
    still, most = (cells.high < FOLLOWS).sum(), ends(cells)[0]
    out = [
        "Of a turn of the image the prediction follows this share (1: it reads this eye; 0: it "
        f"repeats a shape, as the template does): {parts}. Below {FOLLOWS:g} by its interval: "
        f"{still} of {len(cells)} cells."
    ]
    for group in dict.fromkeys(stats.loc[stats["attribute"] == "turn", "group"]):
        as_is, rolled = (rows_of(stats, f"{how}_mae", group) for how in ("turned", "rolled"))
        if abs(int(group)) == 10 and most.name in as_is.index:
            out.append(
                f"{name_of(most.name)}, image turned by {number(int(group), 0, signed=True)}°: MAE "
                f"{level(as_is.loc[most.name])} as it is, {level(rolled.loc[most.name])} rolled "
                "back."
            )
    return out


def few_templates(stats: pd.DataFrame) -> list[str]:
    """Say how far predictions lie from their nearest template, and who repeats a few of them."""
    ratio, distance = rows_of(stats, "template_distance_ratio"), rows_of(stats, "template_distance")
    cells = trained(ratio)
    if cells.empty:
        return ["Nearest templates: too few eyes, or no trained model, to judge."]
    judged, least = verdicts(stats).loc[cells.index], ends(cells)[1]
    counts = ", ".join(f"{word} {(judged == word).sum()}" for word in WORDS)
    out = [
        f"Closest to a few templates: {name_of(least.name)}, on average "
        f"{level(distance.loc[least.name], '', 1)} µm from the nearest of four, {percent(least)} % "
        f"of what the labels have. Verdicts on {len(cells)} cells, by intervals: {counts} (one: "
        f"below {100 * SPREAD:.0f} % of the labels' spread; few: nearest of {K} or {MANY} within "
        f"{100 * REPEATED:.0f} % of what the spread would make of it)."
    ]
    if PLANTED in ratio.index:
        spread = rows_of(stats, "sigma_ratio").loc[PLANTED].estimate
        out.append(
            f"A model made to know four profiles keeps {100 * spread:.0f} % of the true spread "
            f"between eyes, so σ_between {'misses' if spread >= SPREAD else 'sees'} it; "
            f"its distance to the nearest template is {distance.loc[PLANTED].estimate:.1f} µm."
        )
    return out


def template_claim(stats: pd.DataFrame, protocol: str = "structured", other: str = "naive") -> str:
    """Say whether the paper's claim arises here, that one protocol collapses and another does not.

    It arises in a backbone when the protocol's verdict is a collapse and the other's is not, or
    when its spread lies below the other's by both intervals. It is excluded where it is judged and
    the protocol is diverse in every backbone.
    """
    spread, judged = rows_of(stats, "sigma_between"), verdicts(stats)
    parts, words = [], []
    for backbone in dict.fromkeys(stats["backbone"]):
        pair = [(backbone, protocol), (backbone, other)]
        if set(pair) <= set(spread.index):
            one, two = (spread.loc[key] for key in pair)
            words.append((*judged[pair], one["high"] < two["low"]))
            parts.append(f"{backbone} {level(one, '', 1)} against {level(two, '', 1)} µm")
    claim = f"The paper's claim that {protocol} training, unlike {other}, collapses to a template"
    if not parts:
        return f"{claim} cannot be judged: {protocol} and {other} were not both trained."
    fallen = (ONE, REPEATS)
    found = sum(a in fallen and (b == DIVERSE or apart) for a, b, apart in words)
    both = sum(a in fallen and b in fallen for a, b, _ in words)
    where = f" in {found} of {len(parts)} backbones" if found else ""
    verdict = arises(found, all(a == DIVERSE for a, *_ in words))
    text = f"{claim} {verdict}{where} here; σ_between: {'; '.join(parts)}."
    return f"{text} In {both} of {len(parts)} both have collapsed." if both else text
