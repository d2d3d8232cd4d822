"""Conclusions of the freezing ablation: what it costs, in which shape, and the paper's claim."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.conclusions.claims import difference, named, signed
from analysis.freezing import HALF_LIFE
from analysis.presentation.text import number
from analysis.tables.ablations import fit_of

CLOSE = 2.0  # AICc within which two models are not told apart (Burnham & Anderson 2002)
MODELS = {
    "constant": "a constant",
    "line": "a line",
    "step": "a step (frozen or not)",
    "saturating": "a saturating curve",
}
BOTH = "patients and seeds"  # what the interval of a slope covers


def freezing_costs(regressions: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """Say, by backbone and span, what freezing costs: slope, intervals, share of skill, and shape.

    Parameters
    ----------
    regressions : DataFrame
        From :func:`analysis.freezing.slopes.regressions`.
    comparisons : DataFrame
        From :func:`analysis.accuracy.ablation.statistics`, with ``percent_frozen``.
    """
    out = []
    for (backbone, span), rows in regressions.groupby(["backbone", "span"], sort=False):
        get = fit_of(rows)
        slope, runs = get(BOTH, "slope_per_10"), get("line", "slope_per_10")
        covers = "over patients; one seed, whose luck the interval leaves out"
        if slope["n_seeds"] > 1:
            covers = f"over patients and {int(slope['n_seeds'])} seeds"
        out.append(
            f"{backbone}, {span} frozen: {_verdict(get)}; the MAE changes by {signed(slope, 3)} µm "
            f"per 10 % frozen ({covers}), {signed(get(BOTH, 'relative_per_10'))} % of the unfrozen "
            f"MAE, {signed(get(BOTH, 'skill_per_10'), 1)} % of what the unfrozen model is better "
            f"than the template. Over {int(runs['n'])} runs OLS gives {signed(runs, 3)}, R² "
            f"{number(get('line', 'r_squared')['estimate'])}; random slopes by seed: "
            f"{_by_seed(get)}."
        )
        out.append(f"{backbone}, {span}, shape: {_shape(get)}.")
        mine = comparisons[(comparisons["backbone"] == backbone) & (comparisons["metric"] == "mae")]
        untaught = mine[(mine["against"] == "template") & (mine["percent_frozen"] == 0)]
        if (untaught["high"] >= 0).any():
            out.append(
                f"{backbone}: unfrozen it is not shown to beat the template, so that freezing may "
                "have had little to take."
            )
        reach = float(span.split()[-2]) + 0.5
        frozen = mine[
            (mine["against"] == "aggressive")
            & mine["percent_frozen"].between(0, reach, inclusive="right")
        ]
        if len(frozen):
            most = frozen.loc[frozen["percent_frozen"].idxmax()]
            out.append(
                f"{backbone}, {most.percent_frozen:.0f} % against nothing frozen: "
                f"{difference(most)}."
            )
    return out


def freezing_claim(regressions: pd.DataFrame, published: pd.DataFrame) -> list[str]:
    """Say whether the paper's claim arises here: a cost, of its points' size, linear in the share.

    Its size is that of the paper's own points and not of the line it states, which these refute.

    Parameters
    ----------
    regressions : DataFrame
        From :func:`analysis.freezing.slopes.regressions`.
    published : DataFrame
        From :func:`analysis.published.ablations.freezing_lines`.
    """
    claim = published[published["claimed_per_10"].notna()].iloc[0]
    size = claim.relative_per_10
    out = [
        f"Published (FairFedMed, RETFound): {claim.claimed_per_10:.1f} µm per 10 % is stated, "
        f"{claim.claimed_relative_per_10:.1f} % of its unfrozen MAE; a line through the "
        f"{claim.edition} edition's own {int(claim.n)} points has {claim.slope_per_10:.2f} µm "
        f"({size:.1f} %) and R² {claim.r_squared_line:.2f}, a step with as many "
        f"parameters R² {claim.r_squared_step:.2f}."
    ]
    for place in range(regressions.groupby("backbone")["span"].nunique().max()):
        fits, spans = {}, []
        for backbone, rows in regressions.groupby("backbone", sort=False):
            span = rows["span"].unique()[min(place, rows["span"].nunique() - 1)]
            fits[backbone] = fit_of(rows[rows["span"] == span])
            spans.append(span)
        out.append(f"{spans[0]}: {_claim(fits, size)}")
    return out


def _claim(fits: dict[str, Callable], size: float) -> str:
    """Say in which backbones one span shows a cost, of which size, and in which shape."""
    relative = {one: get(BOTH, "relative_per_10") for one, get in fits.items()}
    cost = [one for one, row in relative.items() if row["low"] > 0]
    hinted = [
        one
        for one, row in relative.items()
        if one not in cost and not row["high"] < 0 and _within_runs(fits[one])["low"] > 0
    ]
    known = {one: row for one, row in relative.items() if np.isfinite(row["high"])}
    allowed = [one for one, row in known.items() if row["low"] <= size <= row["high"]]
    less = [one for one, row in known.items() if row["high"] < size]
    more = [one for one, row in known.items() if row["low"] > size]
    best = {one: _best(get) for one, get in fits.items() if _best(get)}
    straight = [one for one, model in best.items() if model == "line"]
    text = f"a cost of freezing is shown in {len(cost)} of {len(fits)} backbones{named(cost)}; "
    if hinted:
        names = ", ".join(hinted)
        text += f"the runs alone show one in {names}, which few seeds cannot confirm; "
    parts = [f"{words} in {', '.join(found)}" for words, found in (
        ("not excluded", allowed), ("more than is found", less), ("less than is found", more),
    ) if found]  # fmt: skip
    text += f"the {size:.1f} % per 10 % of the paper's points are {'; '.join(parts)}. "
    if not known:
        text = text.replace("are . ", "cannot be compared. ")
    if not best:
        return f"{text}Whether the cost is linear cannot be judged here: AICc needs more runs."
    powers = [fits[one]("saturating", "power")["estimate"] for one in best]
    return (
        f"{text}A line is the best of four models in {len(straight)} of {len(best)} "
        f"backbones{named(straight)} where AICc can judge; had the truth a half-life of "
        f"{HALF_LIFE} %, it would see that in {number(min(powers), 0)} to "
        f"{number(max(powers), 0)} % of such studies."
    )


def _verdict(get: Callable) -> str:
    """Say whether freezing costs, by the interval over patients and seeds, then by that of runs."""
    relative = get(BOTH, "relative_per_10")
    if not np.isfinite(relative["low"]):
        return "no interval"
    if relative["low"] > 0 or relative["high"] < 0:
        return f"freezing {'costs' if relative['low'] > 0 else 'helps'}"
    if _within_runs(get)["low"] > 0:
        return "these runs show a cost, which their few seeds do not confirm"
    return "a cost of freezing is neither shown nor excluded"


def _within_runs(get: Callable) -> dict:
    """Return the slope over seeds, or that of OLS over runs where there is none."""
    seeds = get("seeds", "slope_per_10")
    return seeds if np.isfinite(seeds["low"]) else get("line", "slope_per_10")


def _by_seed(get: Callable) -> str:
    slope, spread = get("seeds", "slope_per_10"), get("seeds", "seed_sd")
    if not np.isfinite(slope["estimate"]):
        return str(slope["note"])
    return f"{signed(slope, 3)}, SD between seeds {number(spread['estimate'], 3)}"


def _best(get: Callable) -> str | None:
    """Return the model that AICc prefers, None where runs are too few to say."""
    delta = {name: get(name, "delta")["estimate"] for name in MODELS}
    return min(delta, key=delta.__getitem__) if np.isfinite([*delta.values()]).all() else None


def _shape(get: Callable) -> str:
    """Say which of four models AICc prefers in one span, and whether it could have seen a curve."""
    best = _best(get)
    if best is None:
        return f"{int(get('line', 'slope_per_10')['n'])} runs are too few to compare models by AICc"
    text = f"AICc prefers {MODELS[best]} (weight {get(best, 'weight')['estimate']:.2f})"
    near = [
        words
        for name, words in MODELS.items()
        if name != best and get(name, "delta")["estimate"] < CLOSE
    ]
    text += f", not told apart from {' or '.join(near)}" if near else ""
    if best == "saturating":
        half = get("saturating", "half_life")
        known = half["note"] == "c is identified"
        text += f", half-life {half['estimate']:.0f} %" if known else ", scale not identified"
    return (
        f"{text}; a curve of half-life {HALF_LIFE} % and the same rise would be seen as no line in "
        f"{number(get('saturating', 'power')['estimate'], 0)} % of such studies"
    )
