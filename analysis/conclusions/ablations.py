"""Conclusions of the ablations: the terms of the loss, the learning rate."""

from __future__ import annotations

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
    shown,
    signed,
)


def loss_terms(table: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """Say, weight by weight, what the Pearson and the gradient term do to error and spread.

    ``table`` and ``comparisons`` are those of :func:`analysis.accuracy.ablation.statistics`, with
    ``lambda_pearson`` and ``lambda_gradient``.
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
        if mae.empty:
            out.append(f"The {term} term was not varied here.")
        else:
            out.append((_pearson if term == "Pearson" else _gradient)(mae, spread, ratio))
    return out


def _gradient(mae: pd.DataFrame, spread: pd.DataFrame, ratio: pd.DataFrame) -> str:
    up, down = (shown(mae, sign) for sign in (1, -1))
    return (
        f"The paper's claim that the gradient term helps a little "
        f"{arises(down, (mae['low'] >= 0).all())} here: MAE is "
        f"clearly lower at {count(down, mae)} weights, clearly higher at {count(up, mae)}."
    )


def _pearson(mae: pd.DataFrame, spread: pd.DataFrame, ratio: pd.DataFrame) -> str:
    up, down, smaller = shown(mae, 1), shown(mae, -1), shown(spread, -1)
    collapsed = [protocol for protocol in smaller if ratio.high[protocol] < SPREAD]
    # A spread alone excludes no collapse: few templates keep most of it.
    verdict = arises(collapsed)
    if "aggressive" in ratio.index and ratio.high["aggressive"] < SPREAD:
        verdict = "cannot be judged, the predictions being alike without the term already"
    return (
        f"The paper's claim that the Pearson penalty raises MAE "
        f"{arises(up, (mae['high'] <= 0).all())} here: clearly higher "
        f"at {count(up, mae)} weights, clearly lower at {count(down, mae)}. That it collapses the "
        f"spread {verdict}: σ_between is clearly smaller at {count(smaller, spread)}, and then "
        f"below {100 * SPREAD:.0f} % of the labels' at {len(collapsed)}."
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
    both, freezing, pearson = (
        difference(rows.loc[name]) for name in ("both", "freezing", "pearson")
    )
    return (
        f"Structured against aggressive: {both}. Half frozen alone: {freezing}; Pearson weight 10 "
        f"alone: {pearson}; interaction {signed(extra)} µm: {together}."
    )


def learning_rates(table: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """Say which encoder rate does best, whether it lies at the edge of the grid, and what a poor
    rate costs.

    ``table`` and ``comparisons`` are those of :func:`analysis.accuracy.ablation.statistics`, with
    ``lr_encoder``, ``lr_effective`` and ``layer_decay``.
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
    return (
        f"Layer-wise decay against none at the same rate: {listed(rows)}. It clearly helps at "
        f"{count(shown(rows, -1), rows)} rates and harms at {count(shown(rows, 1), rows)}."
    )
