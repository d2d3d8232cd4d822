"""Starts, fractions of the labels, quality of pictures, and thinking longer, formatted wide."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.presentation.style import look
from analysis.presentation.text import BRACKETS, MISSING, captioned, found, p_value, with_interval
from analysis.tables.cells import cells

STEPS = (
    "Runs take the same steps, whatever the fraction of the patients with labels; test eyes are "
    "the same for all."
)


#: By notebook: the factor that is compared, all that set cells apart, and what the table shows.
QUESTIONS = {
    "16_self_pretraining": (
        "pretraining",
        ("start", "pretraining", "fraction"),
        "Masked autoencoding of the training pictures before fine-tuning.",
    ),
    "17_specialist_or_generalist": (
        "start",
        ("start", "adaptation", "fraction"),
        "Starts by adaptation and share of the labels.",
    ),
    "19_labels_and_time": (
        "start",
        ("start", "fraction", "equal"),
        "Errors by start and share of the labels; at equal passes, few labels mean few steps.",
    ),
}


def lessons_wide(notebook: str, table: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell of a notebook of :data:`QUESTIONS`: factors, error, difference.

    Parameters
    ----------
    table, comparisons : DataFrame
        Of :func:`analysis.accuracy.lessons.statistics` and
        :func:`analysis.accuracy.lessons.effects`; of several questions the first is shown.
    """
    factor, factors, caption = QUESTIONS[notebook]
    against = next(iter(comparisons["against"]), "")
    first = (comparisons["metric"] == "mae") & (comparisons["against"] == against)
    pairs = comparisons[first].set_index(list(factors))
    wide = []
    for _, names, cell in cells(table):
        first = cell.rows.iloc[0]
        trained = np.isfinite(first["fraction"])
        key = tuple(first[name] for name in factors)
        other = found(pairs, key) if trained else found(pairs.iloc[:0], key)
        shown = [_shown(first[name]) if trained else MISSING for name in factors]
        if not trained:
            shown[0] = names["Protocol"]
        wide.append(
            dict(zip((name.capitalize() for name in factors), shown, strict=True))
            | {
                "MAE (µm)": cell.error,
                f"{factor.capitalize()}, against {_shown(against)} (µm)": with_interval(
                    other, signed=True
                ),
                "p (Holm)": p_value(other["p_holm"]),
                "σ ratio": cell.level("sigma_ratio"),
                "R between eyes": cell.level("pearson_between_eyes"),
                "Seeds": cell.size["Seeds"],
            }
        )
    return captioned(wide, f"{caption} {STEPS} p Holm-corrected. {BRACKETS}; ± SD over seeds.")


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{100 * value:g} %" if np.isfinite(value) else MISSING
    return value if value == "none" else look(str(value)).label


def quality_wide(table: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return one row per start, fraction, mix trained on and quality tested on."""
    pairs = comparisons[(comparisons["question"] == "mix") & (comparisons["metric"] == "mae")]
    pairs = pairs.set_index(["start", "fraction", "mix", "tested"])
    wide = []
    for tested, rows in table.groupby("tested", sort=False):
        for _, _, cell in cells(rows):
            first = cell.rows.iloc[0]
            other = found(pairs, (first["start"], first["fraction"], first["mix"], tested))
            wide.append(
                {
                    "Tested on": tested,
                    "Start": first["start"],
                    "Labels": _shown(first["fraction"]),
                    "Trained on high": _shown(first["mix"]),
                    "MAE (µm)": cell.error,
                    "Against the matched (µm)": with_interval(other, signed=True),
                    "p (Holm)": p_value(other["p_holm"]),
                    "σ ratio": cell.level("sigma_ratio"),
                    "Seeds": cell.size["Seeds"],
                }
            )
    return captioned(
        wide,
        "Quality of the pictures trained on and tested on; each eye is rendered in both. Trained "
        "on high: the share of patients whose pictures are of high quality, the others' being of "
        "low; as many pictures in each. Matched: trained on the tested quality alone. "
        f"{STEPS} p Holm-corrected. {BRACKETS}; ± SD over seeds.",
    )


def thinking_wide(table: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return one row per start, fraction and way of reading several times, at most passes."""
    pairs = comparisons.set_index(["start", "fraction", "look", "metric"])
    wide = []
    most = table.groupby("way")["passes"].transform("max") == table["passes"]
    for (start, fraction, way), rows in table[most].groupby(
        ["start", "fraction", "way"], sort=False
    ):
        at = rows.set_index("metric")
        other = found(pairs, (start, fraction, way, "mae"))
        spread = found(pairs, (start, fraction, way, "sigma_between"))
        wide.append(
            {
                "Start": start,
                "Labels": _shown(fraction),
                "Way": way,
                "Passes": str(int(rows["passes"].iloc[0])),
                "MAE (µm)": with_interval(found(at, "mae")),
                "Against one pass (µm)": with_interval(other, signed=True),
                "p (Holm)": p_value(other["p_holm"]),
                "σ ratio": with_interval(found(at, "sigma_ratio")),
                "σ between, change (µm)": with_interval(spread, signed=True),
            }
        )
    return captioned(
        wide,
        "Reading an eye several times: views (brightness and contrast changed), rotations (turned "
        "by up to 10° and turned back), an ensemble over seeds; best of: of the views the one "
        "nearest to the label, a ceiling; one of: a random one, its control. Passes: of the "
        f"encoder, per eye. p Holm-corrected. {BRACKETS}.",
    )
