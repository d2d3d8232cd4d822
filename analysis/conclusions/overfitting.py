"""Conclusions on template collapse that go beyond the spread between eyes."""

from __future__ import annotations

import pandas as pd

from analysis.collapse.templates import FEW
from analysis.presentation.text import number, with_interval
from analysis.resampling.conditions import NO_BACKBONE

COLLAPSED = 0.5  # share of the labels' value below which a model repeats itself (ours)


def _rows(stats: pd.DataFrame, metric: str) -> pd.DataFrame:
    return stats[stats["metric"] == metric].set_index(["backbone", "protocol"])


def response(stats: pd.DataFrame) -> str:
    """Say how much of a true difference between eyes arrives, of the most and least responsive."""
    rows = _rows(stats, "response_slope")
    cells = rows[rows.index.get_level_values("backbone") != NO_BACKBONE].dropna(subset="estimate")
    if cells.empty:
        return "Response to the eye: no trained model to judge."
    least, most = (cells.loc[pick] for pick in (cells.estimate.idxmin(), cells.estimate.idxmax()))
    text = f"Of a true difference between eyes of 10 µm, {number(10 * most.estimate, 1)} µm arrive "
    text += f"in {' with '.join(most.name)} (response slope {with_interval(most)})"
    if len(cells) > 1:
        text += f", {number(10 * least.estimate, 1)} µm in {' with '.join(least.name)} "
        text += f"({with_interval(least)})"
    floor = (NO_BACKBONE, "oracle floor")
    if floor in rows.index:
        text += f"; with these labels a perfect model would reach {rows.loc[floor].estimate:.2f}"
    return text + "; a template has 0."


def few_templates(stats: pd.DataFrame) -> list[str]:
    """Say how far predictions lie from their nearest template, and who repeats a few of them."""
    ratio, distance = _rows(stats, "template_distance_ratio"), _rows(stats, "template_distance")
    known = ratio.dropna(subset="estimate")
    cells = known[known.index.get_level_values("backbone") != NO_BACKBONE]
    if cells.empty:
        return ["Nearest templates: too few eyes, or no trained model, to judge."]
    near = [name for name, row in cells.iterrows() if row.high < COLLAPSED]
    between = [name for name, row in cells.iterrows() if row.low < COLLAPSED <= row.high]
    more = [name for name, row in cells.iterrows() if row.low >= COLLAPSED]
    rest = len(cells) - len(near) - len(between) - len(more)
    unknown = f", {rest} cannot be told" if rest else ""
    least = cells.loc[cells.estimate.idxmin()]
    share = 100 * least[["estimate", "low", "high"]].astype(float)
    text = (
        f"Closest to a few templates: {' with '.join(least.name)}, on average "
        f"{with_interval(distance.loc[least.name], 1)} µm from the nearest of four, "
        f"{with_interval(share, 0)} % of what the labels have. Of {len(cells)} cells, {len(near)} "
        f"have less than half of the labels' distance, {len(between)} may have, "
        f"{len(more)} have more{unknown}."
    )
    out = [text]
    planted = (NO_BACKBONE, FEW)
    if planted in ratio.index:
        spread = _rows(stats, "sigma_ratio").loc[planted].estimate
        missed = "does not see" if spread >= COLLAPSED else "sees"
        out.append(
            f"A model made to know four profiles keeps {100 * spread:.0f} % of the true spread "
            f"between eyes, so σ_between {missed} it; its distance to the nearest template is "
            f"{distance.loc[planted].estimate:.1f} µm."
        )
    return out


def template_claim(stats: pd.DataFrame, protocol: str = "structured", other: str = "naive") -> str:
    """Say whether the paper's claim arises here, that one protocol collapses and another does not.

    It arises in a backbone when the protocol's spread between eyes is below half of the truth and
    its interval lies below the other's. Where both are below half, neither has learnt the eye.
    """
    spread, ratio = _rows(stats, "sigma_between"), _rows(stats, "sigma_ratio")
    found, both, parts = 0, 0, []
    for backbone in dict.fromkeys(stats["backbone"]):
        if not {(backbone, protocol), (backbone, other)} <= set(spread.index):
            continue
        one, two = spread.loc[(backbone, protocol)], spread.loc[(backbone, other)]
        low = ratio.loc[(backbone, protocol)].estimate < COLLAPSED
        found += low and one.high < two.low
        both += low and ratio.loc[(backbone, other)].estimate < COLLAPSED
        parts.append(f"{backbone} {with_interval(one, 1)} against {with_interval(two, 1)} µm")
    claim = f"The paper's claim that {protocol} training, unlike {other}, collapses to a template"
    if not parts:
        return f"{claim} cannot be judged: {protocol} and {other} were not both trained."
    word = "does not arise" if not found else f"arises in {found} of {len(parts)} backbones"
    text = f"{claim} {word} here; σ_between: {'; '.join(parts)}."
    return f"{text} In {both} of {len(parts)} both are below half of the truth." if both else text
