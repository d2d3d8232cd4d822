"""Conclusions of the ablations: freezing, the terms of the loss, the learning rate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.collapse import SPREAD
from analysis.conclusions.claims import (
    MARGIN,
    arises,
    count,
    difference,
    equivalent,
    level,
    listed,
    named,
    signed,
    told_apart,
)
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

# Below, ``table`` and ``comparisons`` are those of analysis.accuracy.ablation.statistics with the
# columns of what was varied, ``regressions`` is that of analysis.freezing.slopes.regressions.


def freezing_costs(regressions: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """Say, by backbone and span, what freezing costs: slope, intervals, share of skill, and shape.

    ``comparisons`` has ``percent_frozen``.
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
        share = mine["percent_frozen"]
        if (mine.loc[(mine["against"] == "template") & (share == 0), "high"] >= 0).any():
            out.append(
                f"{backbone}: unfrozen it is not shown to beat the template, so that freezing may "
                "have had little to take."
            )
        inside = share.between(0, float(span.split()[-2]) + 0.5, inclusive="right")
        frozen = mine[(mine["against"] == "aggressive") & inside]
        if len(frozen):
            most = frozen.loc[frozen["percent_frozen"].idxmax()]
            against = f"{most.percent_frozen:.0f} % against nothing frozen"
            out.append(f"{backbone}, {against}: {difference(most)}.")
    return out


def freezing_claim(regressions: pd.DataFrame, published: pd.DataFrame) -> list[str]:
    """Say whether the paper's claim arises here: a cost, of its points' size, linear in the share.

    Its size is that of the paper's own points and not of the line it states, which these refute.
    ``published`` is that of :func:`analysis.published.ablations.freezing_lines`.
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
    slopes = [get(BOTH, "relative_per_10") for get in fits.values()]
    low, high = (pd.Series([row[end] for row in slopes], list(fits)) for end in ("low", "high"))
    cost, unsure = list(low.index[low > 0]), low.index[~(low > 0) & ~(high < 0)]
    text = f"a cost of freezing is shown in {len(cost)} of {len(fits)} backbones{named(cost)}; "
    if hinted := [one for one in unsure if _within_runs(fits[one])["low"] > 0]:
        names = ", ".join(hinted)
        text += f"the runs alone show one in {names}, which few seeds cannot confirm; "
    known = np.isfinite(high)
    found = {
        "not excluded": (low <= size) & (size <= high),
        "more than is found": high < size,
        "less than is found": low > size,
    }
    parts = [
        f"{words} in {', '.join(low.index[known & such])}"
        for words, such in found.items()
        if (known & such).any()
    ]
    stand = f"are {'; '.join(parts)}" if known.any() else "cannot be compared"
    text += f"the {size:.1f} % per 10 % of the paper's points {stand}. "
    best = {one: _best(get) for one, get in fits.items() if _best(get)}
    straight = [one for one, model in best.items() if model == "line"]
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
    others = [name for name in MODELS if name != best]
    near = [MODELS[name] for name in others if get(name, "delta")["estimate"] < CLOSE]
    text += f", not told apart from {' or '.join(near)}" if near else ""
    if best == "saturating":
        half = get("saturating", "half_life")
        known = half["note"] == "c is identified"
        text += f", half-life {half['estimate']:.0f} %" if known else ", scale not identified"
    return (
        f"{text}; a curve of half-life {HALF_LIFE} % and the same rise would be seen as no line in "
        f"{number(get('saturating', 'power')['estimate'], 0)} % of such studies"
    )


def loss_terms(table: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """Say, weight by weight, what the Pearson and the gradient term do to error and spread.

    Both tables have ``lambda_pearson`` and ``lambda_gradient``.
    """
    ratio = table[table["metric"] == "sigma_ratio"].groupby("protocol")[["estimate", "high"]].mean()
    compared, out = comparisons[comparisons["against"] == "aggressive"], []
    for weight, term in (("lambda_pearson", "Pearson"), ("lambda_gradient", "gradient")):
        here = compared[compared[weight] > 0].sort_values(weight).set_index("protocol")
        mae, spread = (here[here["metric"] == name] for name in ("mae", "sigma_between"))
        for protocol, row in mae.iterrows():
            out.append(
                f"{term[0].upper()}{term[1:]} weight {row[weight]:g} against aggressive: MAE "
                f"{difference(row)}; σ_between {difference(spread.loc[protocol])}, "
                f"{100 * ratio.estimate[protocol]:.0f} % of the labels' spread."
            )
        down, up = told_apart(mae, interval=False)
        if mae.empty:
            out.append(f"The {term} term was not varied here.")
        elif term == "gradient":
            out.append(
                f"The paper's claim that the gradient term helps a little "
                f"{arises(down, (mae['low'] >= 0).all())} here: MAE is clearly lower at "
                f"{count(down, mae)} weights, clearly higher at {count(up, mae)}."
            )
        else:
            out.append(
                f"The paper's claim that the Pearson penalty raises MAE "
                f"{arises(up, (mae['high'] <= 0).all())} here: clearly higher at {count(up, mae)} "
                f"weights, clearly lower at {count(down, mae)}. {_collapse(spread, ratio['high'])}"
            )
    return out


def _collapse(spread: pd.DataFrame, ratio_high: pd.Series) -> str:
    """Say whether the Pearson term collapses the spread, from its differences and their share."""
    smaller, _ = told_apart(spread, interval=False)
    collapsed = [protocol for protocol in smaller if ratio_high[protocol] < SPREAD]
    # A spread alone excludes no collapse: few templates keep most of it.
    verdict = arises(collapsed)
    if ratio_high.get("aggressive", np.inf) < SPREAD:
        verdict = "cannot be judged, the predictions being alike without the term already"
    return (
        f"That it collapses the spread {verdict}: σ_between is clearly smaller at "
        f"{count(smaller, spread)}, and then below {100 * SPREAD:.0f} % of the labels' at "
        f"{len(collapsed)}."
    )


def structured_parts(table: pd.DataFrame) -> str:
    """Say what freezing and the Pearson term cost alone and together.

    ``table`` is that of :func:`analysis.accuracy.ablation.factorial`. The costs add up when the
    interval of the interaction includes 0.
    """
    rows = table.set_index("protocol")
    extra = rows.loc["interaction"]
    together = "whether they do more or less together than their sum is not shown"
    if not np.isfinite(extra.low):
        together = "the two cannot be told apart"
    elif equivalent(extra):
        together = f"the two add up within ±{MARGIN:g} µm"
    elif extra.low > 0 or extra.high < 0:
        together = f"together they cost {'more' if extra.low > 0 else 'less'} than their sum"
    parts = ("both", "freezing", "pearson")
    both, freezing, pearson = (difference(rows.loc[name]) for name in parts)
    return (
        f"Structured against aggressive: {both}. Half frozen alone: {freezing}; Pearson weight 10 "
        f"alone: {pearson}; interaction {signed(extra)} µm: {together}."
    )


def learning_rates(table: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """Say which encoder rate does best, whether it lies at the edge of the grid, and what a poor
    rate costs. Both tables have ``lr_encoder``, ``lr_effective`` and ``layer_decay``.
    """
    mae = table[(table["metric"] == "mae") & table["lr_encoder"].notna()]
    best = mae.loc[mae["estimate"].idxmin()]
    decay = f"layer-wise decay {best.layer_decay:g}" if best.layer_decay < 1 else "no decay"
    edge = best.lr_encoder in (mae["lr_encoder"].min(), mae["lr_encoder"].max())
    out = [
        f"Lowest MAE: encoder rate {best.lr_encoder:g} (effective {best.lr_effective:g}), {decay}: "
        f"{level(best, '')} µm; it lies {'at the edge of' if edge else 'inside'} the grid."
    ]
    chosen = (comparisons["against"] == "aggressive") & (comparisons["metric"] == "mae")
    plain = comparisons[chosen & (comparisons["layer_decay"] == 1)].sort_values("lr_encoder")
    if len(plain):
        costs = listed(plain.set_index("lr_encoder"))
        out.append(f"Encoder rates against aggressive (5e-05), no decay: {costs}.")
    return out


def layer_decay(effects: pd.DataFrame) -> str:
    """Say at which rates layer-wise decay helps (from ``ablation.decay_effect``)."""
    if effects.empty:
        return "Layer-wise decay was not tried in this preset."
    rows = effects.sort_values("lr_encoder").set_index("lr_encoder")
    helps, harms = told_apart(rows, interval=False)
    return (
        f"Layer-wise decay against none at the same rate: {listed(rows)}. It clearly helps at "
        f"{count(helps, rows)} rates and harms at {count(harms, rows)}."
    )
