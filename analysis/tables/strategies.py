"""Strategies of adaptation with their costs, and the factorial of output scale, formatted wide."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.presentation.style import look
from analysis.presentation.text import (
    BRACKETS,
    MISSING,
    captioned,
    found,
    number,
    p_value,
    with_interval,
)
from analysis.tables.cells import cells

DIFFERENCE = (
    "Difference: from full fine-tuning (aggressive), on the same eyes, one SD over seeds for all "
    "strategies, p Holm-corrected."
)


def strategies_wide(
    table: pd.DataFrame, comparisons: pd.DataFrame, costs: pd.DataFrame
) -> pd.DataFrame:
    """Return one row per gap (where there are several) and strategy, errors beside costs.

    Tables are those of :mod:`analysis.accuracy.strategies`; ``gap`` is a column of all or none.
    """
    gaps = sorted(table["gap"].unique()) if "gap" in table else [None]
    wide = []
    for gap in gaps:
        own, pairs, spent = (
            one if gap is None else one[one["gap"] == gap] for one in (table, comparisons, costs)
        )
        pairs = pairs[(pairs["against"] == "aggressive") & (pairs["metric"] == "mae")]
        pairs = pairs.set_index(["backbone", "protocol"])
        spent = spent.set_index(["backbone", "protocol"])
        for key, names, cell in cells(own):
            other, cost = found(pairs, key), spent.loc[key] if key in spent.index else None
            wide.append(
                {
                    **({} if gap is None else {"Gap": f"{gap:g}"}),
                    "Strategy": names["Protocol"],
                    "MAE (µm)": cell.error,
                    "Difference (µm)": with_interval(other),
                    "p (Holm)": p_value(other["p_holm"]),
                    "σ ratio": cell.level("sigma_ratio"),
                    "R between eyes": cell.level("pearson_between_eyes", 3),
                    **_spent(cost),
                    "Seeds": cell.size["Seeds"],
                }
            )
    return captioned(
        wide,
        f"Strategies of adaptation and what they cost. {DIFFERENCE} Learning: numbers of the "
        "backbone and of all that learn, in the phase with the most. Peak memory: of a training "
        "step, estimated on a CPU, measured on a GPU. Seconds: medians over runs, on the device "
        f"that the costs name. {BRACKETS}; ± SD over seeds.",
    )


def _spent(cost: pd.Series | None) -> dict[str, str]:
    if cost is None:
        return dict.fromkeys(
            ("Learning, backbone", "Learning, all", "Stored (MB)", "Peak memory (GB)",
             "s per epoch", "s to best"), MISSING)  # fmt: skip
    return {
        "Learning, backbone": f"{cost['n_trainable_backbone']:,.0f}",
        "Learning, all": f"{cost['n_trainable']:,.0f}",
        "Stored (MB)": number(cost["bytes_stored"] / 1e6, 1),
        "Peak memory (GB)": number(cost["peak_bytes"] / 1e9, 2),
        "s per epoch": number(cost["seconds_per_epoch"], 1),
        "s to best": number(cost["seconds_to_best"], 0),
    }


def scales_wide(table: pd.DataFrame, effects: pd.DataFrame, verdicts: pd.Series) -> pd.DataFrame:
    """Return one row per protocol, length and scale, raw beside its difference from standardised.

    ``verdicts`` are those of :func:`analysis.collapse.verdicts`.
    """
    effects = effects[effects["metric"] == "mae"].set_index(["strategy", "epochs"])
    wide = []
    for (backbone, protocol), rows in table.groupby(["backbone", "protocol"], sort=False):
        first, at = rows.iloc[0], rows.set_index("metric")
        trained = np.isfinite(first["epochs"])  # baselines have neither length nor scale
        raw = trained and first["scale"] == "raw"
        other = found(effects, (first["strategy"], first["epochs"]) if raw else None)
        wide.append(
            {
                "Protocol": look(first["strategy"] if trained else protocol).label,
                "Epochs": f"{first['epochs']:.0f}" if trained else MISSING,
                "Output": first["scale"] if trained else MISSING,
                "MAE (µm)": with_interval(found(at, "mae")),
                "Raw minus standardised (µm)": with_interval(other),
                "p (Holm)": p_value(other["p_holm"]),
                "σ ratio": with_interval(found(at, "sigma_ratio")),
                "Distance to 16 templates": with_interval(found(at, "distance_share_16")),
                "Verdict": verdicts.get((backbone, protocol), MISSING),
                "Seeds": str(int(first["n_seeds"])),
            }
        )
    return captioned(
        wide,
        "Scale of the output and length of training. Distance: to the nearest of 16 templates, in "
        "units of the model's own spread and as a share of the labels'. The verdict takes spread "
        f"and distances together. {BRACKETS}.",
    )
