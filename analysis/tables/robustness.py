"""Errors of ways to augment as pictures get worse, formatted wide."""

from __future__ import annotations

import pandas as pd

from analysis.accuracy.robustness import CLEAN, USUAL
from analysis.presentation.style import look
from analysis.presentation.text import BRACKETS, captioned, found, p_value, percent, with_interval
from analysis.tables.cells import cells


def robustness_wide(table: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return one row per condition and arm; tables are of :mod:`analysis.accuracy.robustness`."""
    pairs = comparisons[(comparisons["against"] == USUAL) & (comparisons["metric"] == "mae")]
    pairs = pairs.set_index(["condition", "protocol"])
    wide = []
    for condition, rows in table.groupby("condition", sort=False):
        for (_, arm), _, cell in cells(rows):
            if arm in ("template", "oracle floor") and condition != CLEAN:
                continue
            other = found(pairs, (condition, arm))
            wide.append(
                {
                    "Pictures": condition,
                    "Training": look(arm).label.replace("_", " "),
                    "MAE (µm)": cell.error,
                    "Difference (µm)": with_interval(other, signed=True),
                    "p (Holm)": p_value(other["p_holm"]),
                    "Way to the floor": percent(cell.row("covered"), " %"),
                    "σ ratio": cell.level("sigma_ratio"),
                    "Seeds": cell.size["Seeds"],
                }
            )
    return captioned(
        wide,
        "Ways to augment as pictures get worse, on the same test eyes. Severity: all that spoils a "
        "picture at once, else one factor alone; JPEG and decentring are in no augmentation. "
        "Specialist: trained on pictures of severity 0.8. Template and label-noise floor are the "
        "same for all pictures and stand at the clean ones. Difference: from the usual "
        f"augmentation ({USUAL}), on the same eyes, p Holm-corrected over all pictures. Way to the "
        f"floor: share of the way from the template to the label-noise floor. {BRACKETS}; ± SD "
        "over seeds.",
    )
