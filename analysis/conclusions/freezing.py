"""Conclusions of the freezing ablation: what it costs, in which shape, and the paper's claim."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.conclusions.wording import difference, signed
from analysis.presentation.text import number

CLOSE = 2.0  # AICc within which two models are not told apart (Burnham & Anderson 2002)
MODELS = {
    "constant": "no effect",
    "line": "a line",
    "step": "a step (frozen or not)",
    "saturating": "a saturating curve",
}


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
        get = _getter(rows[rows["span"] == span])
        slope, runs = get("patients and seeds", "slope_per_10"), get("line", "slope_per_10")
        relative, mixed = get("patients and seeds", "relative_per_10"), get("mixed", "slope_per_10")
        out.append(
            f"{backbone}, {span} frozen: {_verdict(get)}; the MAE changes by "
            f"{signed(slope, 3)} µm per 10 % frozen ({_covers(slope)}), "
            f"{signed(relative)} % of the unfrozen MAE. Over {int(runs['n'])} runs OLS gives "
            f"{signed(runs, 3)}, R² {number(get('line', 'r_squared')['estimate'])}; seeds as a "
            f"random effect: {_mixed(mixed, get('mixed', 'seed_sd'))}."
        )
        if _untaught(comparisons[comparisons["backbone"] == backbone]):
            out.append(
                f"{backbone}: unfrozen it is no better than the template, so that there is nothing "
                "that freezing could cost."
            )
        out.append(f"{backbone}, shape: {shape(rows)}")
        most = _most_frozen(comparisons[comparisons["backbone"] == backbone], span)
        if most is not None:
            out.append(
                f"{backbone}, {most.percent_frozen:.0f} % against nothing frozen: "
                f"{difference(most)}."
            )
    return out


def shape(rows: pd.DataFrame) -> str:
    """Say which of four models AICc prefers, in each span of one backbone's regressions."""
    parts = []
    for span, chosen in rows.groupby("span", sort=False):
        get = _getter(chosen)
        delta = {name: get(name, "delta")["estimate"] for name in MODELS}
        runs = int(get("line", "slope_per_10")["n"])
        if not all(np.isfinite(list(delta.values()))):
            parts.append(f"{span}: {runs} runs are too few to compare models by AICc")
            continue
        best = min(delta, key=delta.__getitem__)
        near = [MODELS[name] for name in delta if name != best and delta[name] < CLOSE]
        text = f"{span}: AICc prefers {MODELS[best]} (weight {get(best, 'weight')['estimate']:.2f})"
        text += f", not told apart from {' or '.join(near)}" if near else ""
        if best == "saturating":
            half = get("saturating", "half_life")
            known = half["note"] == "c is identified"
            text += f", half-life {half['estimate']:.0f} %" if known else ", scale not identified"
        parts.append(text)
    return "; ".join(parts) + "."


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
    cost, hinted, size, straight, upper, judged = [], [], [], [], [], 0
    for backbone, rows in regressions.groupby("backbone", sort=False):
        get = _getter(rows[rows["span"] == rows["span"].iloc[0]])
        relative = get("patients and seeds", "relative_per_10")
        upper.append(relative["high"])
        if relative["low"] > 0:
            cost.append(backbone)
        elif _within_runs(get)["low"] > 0 and not relative["high"] < 0:
            hinted.append(backbone)
        if relative["high"] >= claim.claimed_relative_per_10:
            size.append(backbone)
        delta = {name: get(name, "delta")["estimate"] for name in MODELS}
        if all(np.isfinite(list(delta.values()))):
            judged += 1
            straight += [backbone] if min(delta, key=delta.__getitem__) == "line" else []
    n = regressions["backbone"].nunique()
    first = (
        f"Published (FairFedMed, RETFound): {claim.claimed_per_10:.1f} µm per 10 % is stated, "
        f"{claim.claimed_relative_per_10:.1f} % of its unfrozen MAE; a line through the "
        f"{claim.edition} edition's own {int(claim.n)} points has {claim.slope_per_10:.2f} µm "
        f"({claim.relative_per_10:.1f} %) and R² {claim.r_squared_line:.2f}, a step with as many "
        f"parameters R² {claim.r_squared_step:.2f}."
    )
    second = f"A cost of freezing arises here in {_some(cost, n)}; "
    if hinted:
        second += (
            f"the runs alone show one in {', '.join(hinted)}, which few seeds cannot confirm; "
        )
    if not np.isfinite(upper).any():
        second += "its size is unknown."
    elif size:
        second += f"the stated size is not excluded in {', '.join(size)}."
    else:
        second += (
            f"the stated size arises in none: the upper limits reach {number(np.nanmax(upper))} % "
            "of the unfrozen MAE per 10 %."
        )
    third = (
        f"A line is the best of four models in {_some(straight, judged)} where AICc can judge."
        if judged
        else "Whether the cost is linear cannot be judged here: AICc needs more runs."
    )
    return [first, f"{second} {third}"]


def _verdict(get) -> str:
    """Say whether freezing costs, by the interval over patients and seeds, then by that of runs."""
    relative, here = get("patients and seeds", "relative_per_10"), _within_runs(get)
    if not np.isfinite(relative["low"]):
        return "no interval"
    if relative["low"] > 0:
        return "freezing costs"
    if relative["high"] < 0:
        return "freezing helps"
    if here["low"] > 0:
        return "these runs show a cost, which their few seeds do not confirm"
    return "no cost of freezing is shown"


def _within_runs(get) -> dict:
    """Return the slope of the mixed model, or of OLS where there is none."""
    mixed = get("mixed", "slope_per_10")
    return mixed if np.isfinite(mixed["low"]) else get("line", "slope_per_10")


def _covers(slope: dict) -> str:
    if slope["n_seeds"] > 1:
        return f"over patients and {int(slope['n_seeds'])} seeds"
    return "over patients; one seed, whose luck the interval leaves out"


def _mixed(slope: dict, spread: dict) -> str:
    note = str(slope["note"]).split(";")[0]
    if not np.isfinite(slope["estimate"]):
        return note
    return f"{signed(slope, 3)}, SD between seeds {number(spread['estimate'])} µm ({note})"


def _untaught(rows: pd.DataFrame) -> bool:
    """Whether the unfrozen cell is known to be no better than the template."""
    mae = rows[(rows["against"] == "template") & (rows["metric"] == "mae")]
    return bool((mae.loc[mae["percent_frozen"] == 0, "estimate"] >= 0).any())


def _most_frozen(rows: pd.DataFrame, span: str):
    """Return the comparison of the largest share within a span with nothing frozen, or None."""
    reach = float(span.split()[-2])
    mae = rows[(rows["against"] == "aggressive") & (rows["metric"] == "mae")]
    mae = mae[(mae["percent_frozen"] > 0) & (mae["percent_frozen"] <= reach + 0.5)]
    return None if mae.empty else max(mae.itertuples(), key=lambda row: row.percent_frozen)


def _getter(rows: pd.DataFrame):
    found = {(one["model"], one["metric"]): one for one in rows.to_dict("records")}
    return lambda model, metric: found[model, metric]


def _some(names: list[str], n: int) -> str:
    return f"{len(names)} of {n} backbones" + (f" ({', '.join(names)})" if names else "")
