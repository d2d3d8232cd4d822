"""Conclusions of the freezing ablation: what it costs, in which shape, and the paper's claim."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.conclusions.claims import difference, named, signed
from analysis.presentation.text import number
from analysis.tables.ablations import fit_of

CLOSE = 2.0  # AICc within which two models are not told apart (Burnham & Anderson 2002)
MODELS = {
    "constant": "no effect",
    "line": "a line",
    "step": "a step (frozen or not)",
    "saturating": "a saturating curve",
}
BOTH = "patients and seeds"  # what the interval of a slope covers


def freezing_costs(regressions: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """Say, by backbone, what freezing costs, in the paper's span: slope, intervals, and shape.

    Parameters
    ----------
    regressions : DataFrame
        From :func:`analysis.freezing.slopes.regressions`.
    comparisons : DataFrame
        From :func:`analysis.accuracy.ablation.statistics`, with ``percent_frozen``.
    """
    out = []
    for backbone, rows in regressions.groupby("backbone", sort=False):
        span = rows["span"].iloc[0]
        get = fit_of(rows[rows["span"] == span])
        slope, runs = get(BOTH, "slope_per_10"), get("line", "slope_per_10")
        covers = "over patients; one seed, whose luck the interval leaves out"
        if slope["n_seeds"] > 1:
            covers = f"over patients and {int(slope['n_seeds'])} seeds"
        out.append(
            f"{backbone}, {span} frozen: {_verdict(get)}; the MAE changes by {signed(slope, 3)} µm "
            f"per 10 % frozen ({covers}), {signed(get(BOTH, 'relative_per_10'))} % of the unfrozen "
            f"MAE. Over {int(runs['n'])} runs OLS gives {signed(runs, 3)}, R² "
            f"{number(get('line', 'r_squared')['estimate'])}; seeds as a random effect: "
            f"{_mixed(get)}."
        )
        mine = comparisons[(comparisons["backbone"] == backbone) & (comparisons["metric"] == "mae")]
        untaught = mine[(mine["against"] == "template") & (mine["percent_frozen"] == 0)]
        if (untaught["estimate"] >= 0).any():
            out.append(
                f"{backbone}: unfrozen it is no better than the template, so that there is nothing "
                "that freezing could cost."
            )
        out.append(f"{backbone}, shape: {_shape(rows)}")
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
    """Say whether the paper's claim arises here: a cost, of its size, linear in the share.

    Parameters
    ----------
    regressions : DataFrame
        From :func:`analysis.freezing.slopes.regressions`.
    published : DataFrame
        From :func:`analysis.published.ablations.freezing_lines`.
    """
    claim = published[published["claimed_per_10"].notna()].iloc[0]
    fits = {
        backbone: fit_of(rows[rows["span"] == rows["span"].iloc[0]])
        for backbone, rows in regressions.groupby("backbone", sort=False)
    }
    relative = {one: get(BOTH, "relative_per_10") for one, get in fits.items()}
    cost = [one for one, row in relative.items() if row["low"] > 0]
    hinted = [
        one
        for one, row in relative.items()
        if one not in cost and not row["high"] < 0 and _within_runs(fits[one])["low"] > 0
    ]
    size = [one for one, row in relative.items() if row["high"] >= claim.claimed_relative_per_10]
    best = {one: _best(get) for one, get in fits.items() if _best(get)}
    straight = [one for one, model in best.items() if model == "line"]
    limits = [row["high"] for row in relative.values() if np.isfinite(row["high"])]

    second = (
        f"A cost of freezing arises here in {len(cost)} of {len(fits)} backbones{named(cost)}; "
    )
    if hinted:
        names = ", ".join(hinted)
        second += f"the runs alone show one in {names}, which few seeds cannot confirm; "
    if size:
        second += f"the stated size is not excluded in {', '.join(size)}."
    elif limits:
        second += (
            f"the stated size arises in none: the upper limits reach {number(max(limits))} % of "
            "the unfrozen MAE per 10 %."
        )
    else:
        second += "its size is unknown."
    third = "Whether the cost is linear cannot be judged here: AICc needs more runs."
    if best:
        third = (
            f"A line is the best of four models in {len(straight)} of {len(best)} "
            f"backbones{named(straight)} where AICc can judge."
        )
    return [
        f"Published (FairFedMed, RETFound): {claim.claimed_per_10:.1f} µm per 10 % is stated, "
        f"{claim.claimed_relative_per_10:.1f} % of its unfrozen MAE; a line through the "
        f"{claim.edition} edition's own {int(claim.n)} points has {claim.slope_per_10:.2f} µm "
        f"({claim.relative_per_10:.1f} %) and R² {claim.r_squared_line:.2f}, a step with as many "
        f"parameters R² {claim.r_squared_step:.2f}.",
        f"{second} {third}",
    ]


def _verdict(get: Callable) -> str:
    """Say whether freezing costs, by the interval over patients and seeds, then by that of runs."""
    relative = get(BOTH, "relative_per_10")
    if not np.isfinite(relative["low"]):
        return "no interval"
    if relative["low"] > 0 or relative["high"] < 0:
        return f"freezing {'costs' if relative['low'] > 0 else 'helps'}"
    if _within_runs(get)["low"] > 0:
        return "these runs show a cost, which their few seeds do not confirm"
    return "no cost of freezing is shown"


def _within_runs(get: Callable) -> dict:
    """Return the slope of the mixed model, or of OLS where there is none."""
    mixed = get("mixed", "slope_per_10")
    return mixed if np.isfinite(mixed["low"]) else get("line", "slope_per_10")


def _mixed(get: Callable) -> str:
    slope, spread = get("mixed", "slope_per_10"), get("mixed", "seed_sd")
    note = str(slope["note"]).split(";")[0]
    if not np.isfinite(slope["estimate"]):
        return note
    return f"{signed(slope, 3)}, SD between seeds {number(spread['estimate'])} µm ({note})"


def _best(get: Callable) -> str | None:
    """Return the model that AICc prefers, None where runs are too few to say."""
    delta = {name: get(name, "delta")["estimate"] for name in MODELS}
    return min(delta, key=delta.__getitem__) if np.isfinite([*delta.values()]).all() else None


def _shape(rows: pd.DataFrame) -> str:
    """Say which of four models AICc prefers, in each span of one backbone's regressions."""
    parts = []
    for span, chosen in rows.groupby("span", sort=False):
        get = fit_of(chosen)
        best = _best(get)
        if best is None:
            runs = int(get("line", "slope_per_10")["n"])
            parts.append(f"{span}: {runs} runs are too few to compare models by AICc")
            continue
        text = f"{span}: AICc prefers {MODELS[best]} (weight {get(best, 'weight')['estimate']:.2f})"
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
        parts.append(text)
    return "; ".join(parts) + "."
