"""Tables 3a and 3b, the learning rates, and the freezing regressions, formatted wide."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from analysis.presentation.style import look
from analysis.presentation.text import MISSING, lookup, number, with_interval
from analysis.resampling.conditions import NO_BACKBONE

_CELLS = (
    "Difference: from aggressive, the cell all ablations share, on the same eyes, with p by "
    "exchanging the predictions of whole patients, Holm-corrected over the table's differences. "
    "R: correlation between eyes at each angle. σ between: SD across eyes at each angle; "
    "σ flat: SD of all predictions together, as published. Square brackets: 95 % "
    "intervals, patients resampled, and seeds where there are several; ± SD over seeds."
)
FREEZING_CAPTION = f"Freezing a growing share of the backbone's blocks, L1 loss alone. {_CELLS}"
LOSS_CAPTION = f"Growing weights of the Pearson and of the gradient term beside L1. {_CELLS}"
RATES_CAPTION = (
    "Learning rate of the encoder, with and without layer-wise decay (each block's rate is the "
    "next one's times the decay). Rate: as the protocol states it; effective rate: after the "
    f"profile's common factor. {_CELLS}"
)
REGRESSIONS_CAPTION = (
    "MAE against the frozen share. Slope over runs: OLS, 95 % t interval (the test eyes taken as "
    "they are). Slope over patients and seeds: mean of the slopes of single eyes, patients "
    "resampled, and seeds where there are several; in µm and in % of the unfrozen MAE. Mixed: "
    "random intercept per seed. Weights: Akaike weights of no effect, line, step (frozen or not) "
    "and saturating curve; they need two runs more than parameters. Half-life: share at which half "
    "of the saturating curve's cost is paid."
)
FACTORIAL_CAPTION = (
    "What structured (half frozen, Pearson weight 10) costs against aggressive, taken apart. "
    "Interaction: both minus the sum of the two alone. Square brackets: 95 % intervals, "
    "patients resampled, and seeds where there are several."
)
FACTOR_LABELS = {
    "freezing": "half frozen",
    "pearson": "Pearson weight 10",
    "both": "both (structured)",
    "interaction": "interaction",
}


def freezing_wide(table: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return Table 3a, one row per backbone and frozen share."""
    return _cells(table, comparisons, {"Frozen (%)": lambda one: number(one.percent_frozen, 0)})


def loss_wide(table: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return Table 3b, one row per weight of the Pearson and of the gradient term."""
    dials = {
        "λ Pearson": lambda one: _shortest(one.lambda_pearson),
        "λ gradient": lambda one: _shortest(one.lambda_gradient),
    }
    return _cells(table, comparisons, dials)


def learning_rates_wide(table: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return the learning rates, one row per encoder rate and layer-wise decay."""
    dials = {
        "Rate": lambda one: _shortest(one.lr_encoder),
        "Effective rate": lambda one: _shortest(one.lr_effective),
        "Layer decay": lambda one: _shortest(one.layer_decay),
    }
    return _cells(table, comparisons, dials)


def regressions_wide(regressions: pd.DataFrame) -> pd.DataFrame:
    """Return the freezing regressions, one row per backbone and span of shares."""
    wide = []
    for (backbone, span), rows in regressions.groupby(["backbone", "span"], sort=False):
        get = _getter(rows)
        half = get("saturating", "half_life")
        wide.append({
            "Backbone": look(backbone).label,
            "Span": span,
            "Runs": str(int(get("line", "slope_per_10")["n"])),
            "Slope over runs (µm per 10 %)": with_interval(get("line", "slope_per_10"), 3),
            "R²": number(get("line", "r_squared")["estimate"]),
            "Slope over patients and seeds (µm per 10 %)": with_interval(
                get("patients and seeds", "slope_per_10"), 3
            ),
            "the same (% per 10 %)": with_interval(get("patients and seeds", "relative_per_10")),
            "Mixed slope (µm per 10 %)": with_interval(get("mixed", "slope_per_10"), 3),
            "Mixed fit": get("mixed", "slope_per_10")["note"].split(";")[0],
            **{
                f"Weight {name}": number(get(name, "weight")["estimate"])
                for name in ("constant", "line", "step", "saturating")
            },
            "Half-life (%)": with_interval(half, 0) if half["note"] == "c is identified"
            else "not identified",
        })  # fmt: skip
    return pd.DataFrame(wide)


def factorial_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return the parts of *structured*, one row per effect, from ``ablation.factorial``."""
    return pd.DataFrame({
        "Effect": [FACTOR_LABELS[name] for name in table.protocol],
        "Change of MAE (µm)": [with_interval(row) for row in table.to_dict("records")],
        "p (Holm)": [p_value(p) for p in table.p_holm],
        "Eyes": [str(int(n)) for n in table.n],
        "Seeds": [str(int(n)) for n in table.n_seeds],
    })  # fmt: skip


def p_value(p: float) -> str:
    """Return a p-value as a table prints it."""
    return "<0.001" if p < 0.001 else number(p, 3)


def _cells(
    table: pd.DataFrame,
    comparisons: pd.DataFrame,
    dials: Mapping[str, Callable[[object], str]],
) -> pd.DataFrame:
    against = comparisons[(comparisons.against == "aggressive") & (comparisons.metric == "mae")]
    against = against.set_index(["backbone", "protocol"])
    wide = []
    for key, rows in table.groupby(["backbone", "protocol"], sort=False):
        backbone, protocol = key
        mae = lookup(rows, "mae")
        spread = f" ± {number(mae['seed_sd'])}" if np.isfinite(mae["seed_sd"]) else ""
        other = against.loc[key] if key in against.index else None
        first = next(rows.itertuples())
        wide.append({
            "Backbone": backbone if backbone == NO_BACKBONE else look(backbone).label,
            "Protocol": look(protocol).label,
            **{name: show(first) for name, show in dials.items()},
            "MAE (µm)": with_interval(mae) + spread,
            "Difference (µm)": MISSING if other is None else with_interval(other),
            "p (Holm)": MISSING if other is None else p_value(other["p_holm"]),
            "R between eyes": with_interval(lookup(rows, "pearson_between_eyes"), 3),
            "σ between (µm)": with_interval(lookup(rows, "sigma_between"), 1),
            "σ flat (µm)": number(lookup(rows, "sigma_flat")["estimate"], 1),
            "Eyes": str(int(mae["n"])),
            "Seeds": str(int(mae["n_seeds"])),
        })  # fmt: skip
    return pd.DataFrame(wide)


def _getter(rows: pd.DataFrame) -> Callable[[str, str], dict]:
    found = {(one["model"], one["metric"]): one for one in rows.to_dict("records")}
    nothing = {"estimate": np.nan, "low": np.nan, "high": np.nan, "n": 0, "note": ""}
    return lambda model, metric: {**nothing, **found.get((model, metric), {})}


def _shortest(value: float) -> str:
    """Return a setting as briefly as it can be written: 0.2, 1e-06; a dash for none."""
    return f"{value:.3g}" if np.isfinite(value) else MISSING
