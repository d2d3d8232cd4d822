"""Conclusions of the other ablations: the terms of the loss, the learning rate."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.conclusions.study import COLLAPSED
from analysis.conclusions.wording import clear, count, difference, signed, value
from analysis.presentation.text import number


def loss_terms(table: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """Say, weight by weight, what the Pearson and the gradient term do to error and spread.

    Parameters
    ----------
    table, comparisons : DataFrame
        From :func:`analysis.accuracy.ablation.statistics`, with ``lambda_pearson``,
        ``lambda_gradient``.
    """
    out = []
    chosen = comparisons[comparisons["against"] == "aggressive"]
    for dial, label in (("lambda_pearson", "Pearson"), ("lambda_gradient", "gradient")):
        here = chosen[chosen[dial] > 0].sort_values(dial)
        for (protocol, weight), rows in here.groupby(["protocol", dial], sort=False):
            one = {row.metric: row for row in rows.itertuples()}
            ratio = value(table, protocol, "sigma_ratio")
            out.append(
                f"{label[0].upper()}{label[1:]} weight {weight:g} against aggressive: "
                f"MAE {difference(one['mae'])}; "
                f"σ_between {difference(one['sigma_between'])}, {100 * ratio:.0f} % of the "
                f"labels' spread."
            )
        out.append(_loss_claim(here, table, label))
    return out


def _loss_claim(rows: pd.DataFrame, table: pd.DataFrame, label: str) -> str:
    mae, sigma = (rows[rows["metric"] == name] for name in ("mae", "sigma_between"))
    up, down = (clear(mae, sign) for sign in (1, -1))
    if not len(mae):
        return f"The {label} term was not varied here."
    if label == "gradient":
        verdict = "arises" if down else "does not arise"
        text = f"The paper's claim that the gradient term helps a little {verdict} here: MAE is "
        return (
            text
            + f"clearly lower at {count(down, mae)} weights, clearly higher at {count(up, mae)}."
        )
    shrunk = clear(sigma, -1)
    clearly = set(sigma.loc[shrunk, "protocol"])
    collapsed = [one for one in clearly if value(table, one, "sigma_ratio") < COLLAPSED]
    verdict = "arises" if up else "does not arise"
    if value(table, "aggressive", "sigma_ratio") < COLLAPSED:
        spread = "cannot be judged, the predictions being alike without the term already"
    else:
        spread = "arises" if collapsed else "does not arise"
    return (
        f"The paper's claim that the Pearson penalty raises MAE {verdict} here: clearly higher at "
        f"{count(up, mae)} weights, clearly lower at {count(down, mae)}. That it collapses the "
        f"spread {spread}: σ_between is clearly smaller at {count(shrunk, sigma)}, and then below "
        f"{100 * COLLAPSED:.0f} % of the labels' at {len(collapsed)}."
    )


def structured_parts(table: pd.DataFrame) -> str:
    """Say what freezing and the Pearson term cost alone and together
    (analysis.accuracy.ablation.factorial).

    The costs add up when the interval of the interaction includes 0.
    """
    found = {row.protocol: row for row in table.itertuples()}
    extra = found["interaction"]
    if not np.isfinite(extra.low):
        together = "the two cannot be told apart"
    elif extra.low > 0:
        together = "together they cost more than their sum"
    elif extra.high < 0:
        together = "together they cost less than their sum"
    else:
        together = "no sign that they do more or less together than their sum"
    return (
        f"Structured against aggressive: {difference(found['both'])}. Half frozen alone: "
        f"{difference(found['freezing'])}; Pearson weight 10 alone: "
        f"{difference(found['pearson'])}; interaction {signed(extra._asdict())} µm: {together}."
    )


def learning_rates(table: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """Say which encoder rate does best, whether it lies at the edge of the grid, and what a poor
    rate costs.

    Parameters
    ----------
    table, comparisons : DataFrame
        From :func:`analysis.accuracy.ablation.statistics`, with ``lr_encoder``, ``lr_effective``
        and ``layer_decay``.
    """
    mae = table[(table["metric"] == "mae") & table["lr_encoder"].notna()]
    best, rates = mae.loc[mae["estimate"].idxmin()], np.sort(mae["lr_encoder"].unique())
    decay = f"layer-wise decay {best.layer_decay:g}" if best.layer_decay < 1 else "no decay"
    out = [
        f"Lowest MAE: encoder rate {best.lr_encoder:g} (effective {best.lr_effective:g}), {decay}: "
        f"{number(best.estimate)} [{number(best.low)}, {number(best.high)}] µm; "
        + ("it lies at the edge of the grid." if best.lr_encoder in rates[[0, -1]]
           else "it lies inside the grid.")
    ]  # fmt: skip
    chosen = comparisons[
        (comparisons["against"] == "aggressive") & (comparisons["metric"] == "mae")
    ]
    plain = chosen[chosen["layer_decay"] == 1].sort_values("lr_encoder")
    parts = [f"{row.lr_encoder:g}: {difference(row)}" for row in plain.itertuples()]
    if parts:
        out.append("Encoder rates against aggressive (5e-05), no decay: " + "; ".join(parts) + ".")
    return out


def layer_decay(effects: pd.DataFrame) -> str:
    """Say at which rates layer-wise decay helps (from ``ablation.decay_effect``)."""
    if effects.empty:
        return "Layer-wise decay was not tried in this profile."
    rows = effects.sort_values("lr_encoder")
    parts = [f"{row.lr_encoder:g}: {difference(row)}" for row in rows.itertuples()]
    text = f"Layer-wise decay against none at the same rate: {'; '.join(parts)}. "
    return text + (
        f"It clearly helps at {count(clear(rows, -1), rows)} rates and harms at "
        f"{count(clear(rows, 1), rows)}."
    )
