"""Tables 3a and 3b, the learning rates, and the freezing regressions, formatted wide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.freezing import HALF_LIFE
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

SHAPES = ("constant", "line", "step", "saturating")
FACTORS = {"freezing": "half frozen", "pearson": "Pearson weight 10", "both": "both (structured)",
           "interaction": "interaction"}  # fmt: skip


def freezing_wide(table: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return Table 3a, one row per backbone and frozen share.

    ``table`` and ``comparisons`` are those of :func:`analysis.accuracy.ablation.statistics`.
    """
    caption = "Freezing a growing share of the backbone's blocks, L1 loss alone."
    return _wide(table, comparisons, {"Frozen (%)": "percent_frozen"}, caption, ".0f")


def loss_wide(table: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return Table 3b, one row per weight of the Pearson and of the gradient term."""
    columns = {"λ Pearson": "lambda_pearson", "λ gradient": "lambda_gradient"}
    caption = "Growing weights of the Pearson and of the gradient term beside L1."
    return _wide(table, comparisons, columns, caption)


def learning_rates_wide(table: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return the learning rates, one row per encoder rate and layer-wise decay."""
    columns = {"Rate": "lr_encoder", "Effective rate": "lr_effective", "Layer decay": "layer_decay"}
    caption = (
        "Learning rate of the encoder, with and without layer-wise decay (each block's rate is the "
        "next one's times the decay). Rate: as the protocol states it; effective rate: after the "
        "preset's common factor."
    )
    return _wide(table, comparisons, columns, caption)


def _wide(
    table: pd.DataFrame,
    comparisons: pd.DataFrame,
    hyperparameters: dict[str, str],
    caption: str,
    form: str = ".3g",  # as briefly as a setting can be written: 0.2, 1e-06
) -> pd.DataFrame:
    """Return one row per cell: what was varied, its errors, and the difference from aggressive."""
    against = comparisons[(comparisons.against == "aggressive") & (comparisons.metric == "mae")]
    against = against.set_index(["backbone", "protocol"])
    wide = []
    for key, names, cell in cells(table):
        other = found(against, key)
        settings = {head: cell.rows[one].iloc[0] for head, one in hyperparameters.items()}
        for head, value in settings.items():
            names[head] = f"{value:{form}}" if np.isfinite(value) else MISSING
        wide.append(
            {
                **names,
                "MAE (µm)": cell.error,
                "Difference (µm)": with_interval(other),
                "p (Holm)": p_value(other["p_holm"]),
                "R between eyes": cell.level("pearson_between_eyes", 3),
                "σ between (µm)": cell.level("sigma_between", 1),
                "σ flat (µm)": cell.number("sigma_flat", 1),
                **cell.size,
            }
        )
    return captioned(
        wide,
        f"{caption} Difference: from aggressive, the cell all ablations share, on the same eyes, "
        "with p by exchanging the predictions of whole patients, Holm-corrected over the table's "
        "differences. R: correlation between eyes at each angle. σ between: SD across eyes at each "
        f"angle; σ flat: SD of all predictions together, as published. {BRACKETS}; ± SD over "
        "seeds.",
    )


def regressions_wide(regressions: pd.DataFrame) -> pd.DataFrame:
    """Return the regressions of :func:`analysis.freezing.slopes.regressions`, one row per backbone
    and span of shares."""
    wide = []
    for (backbone, span), rows in regressions.groupby(["backbone", "span"], sort=False):
        get = fit_of(rows)
        half, both, slope = get("saturating", "half_life"), "patients and seeds", "slope_per_10"
        known = half["note"] == "c is identified"
        wide.append(
            {
                "Backbone": look(backbone).label,
                "Span": span,
                "Runs": str(int(get("line", slope)["n"])),
                "Slope over runs (µm per 10 %)": with_interval(get("line", slope), 3),
                "R²": number(get("line", "r_squared")["estimate"]),
                "Slope over patients and seeds (µm per 10 %)": with_interval(get(both, slope), 3),
                "the same (% per 10 %)": with_interval(get(both, "relative_per_10")),
                "of the skill (% per 10 %)": with_interval(get(both, "skill_per_10"), 1),
                "Slope over seeds (µm per 10 %)": with_interval(get("seeds", slope), 3),
                **{f"Weight {one}": number(get(one, "weight")["estimate"]) for one in SHAPES},
                "Power (%)": number(get("saturating", "power")["estimate"], 0),
                "Half-life (%)": with_interval(half, 0) if known else "not identified",
            }
        )
    return captioned(
        wide,
        "MAE against the frozen share. Slope over runs: OLS, 95 % t interval (the test eyes taken "
        "as they are). Slope over patients and seeds: mean of the slopes of single eyes, patients "
        "resampled, and seeds where there are several; in µm, in % of the unfrozen MAE, and in % "
        "of the skill, the unfrozen MAE below the template's. Slope over seeds: random slopes, t "
        "with one degree less than there are seeds. Weights: Akaike weights of a constant, line, "
        "step (frozen or not) and saturating curve; they need two runs more than parameters. "
        f"Power: how often AICc would see a curve of half-life {HALF_LIFE} % and the same rise as "
        "no line. Half-life: share at which half of the saturating curve's cost is paid.",
    )


def fit_of(rows: pd.DataFrame) -> Callable[[str, str], dict]:
    """Return a look-up of one backbone's and span's regressions by model and metric."""
    known = rows.set_index(["model", "metric"])
    return lambda *key: {"n": 0, "note": "", **found(known, key)}


def factorial_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return the parts of *structured* of :func:`analysis.accuracy.ablation.factorial`."""
    wide = {
        "Effect": [FACTORS[name] for name in table.protocol],
        "Change of MAE (µm)": [with_interval(row) for row in table.to_dict("records")],
        "p (Holm)": [p_value(p) for p in table.p_holm],
        "Eyes": [str(int(n)) for n in table.n],
        "Seeds": [str(int(n)) for n in table.n_seeds],
    }
    return captioned(
        wide,
        "What structured (half frozen, Pearson weight 10) costs against aggressive, taken apart. "
        f"Interaction: both minus the sum of the two alone. {BRACKETS}.",
    )
