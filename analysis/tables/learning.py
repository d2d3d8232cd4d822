"""What was learnt from a few dozen eyes, formatted wide: one row per method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.accuracy.learning import BASELINE, SELECTED, rows_of
from analysis.presentation.style import look
from analysis.presentation.text import MISSING, captioned, found, p_value, with_interval
from analysis.tables.cells import Cell


def learning_wide(quadrants: pd.DataFrame, paired: pd.DataFrame) -> pd.DataFrame:
    """Return errors, paired differences and correlations, one row per method.

    ``quadrants`` is that of :func:`analysis.accuracy.quadrants.quadrant_table`, one domain, and
    ``paired`` that of :func:`analysis.accuracy.learning.against_baseline`.
    """
    against, known = paired.set_index("method"), quadrants.groupby("method", sort=False)
    wide = [
        {
            "Method": look(method).label,
            **{f"{name} (µm)": cell.number("mae", 1, "quadrant", name) for name in "SNIT"},
            "Mean (µm)": cell.level("mae", 2, "quadrant", "mean"),
            f"Against {BASELINE} (µm)": with_interval(found(against, method)),
            "p (Holm)": p_value(found(against, method)["p_holm"]),
            "R global": cell.level("r", 2, "quadrant", "global"),
        }
        for method, cell in ((method, Cell(rows)) for method, rows in known)
    ]
    return captioned(
        wide,
        "Methods that learn from few eyes, cross-validated by patient on the same folds: mean "
        "absolute error of quadrant means, and of their average; difference of that average to "
        f"{BASELINE} on the same eyes; correlation of each eye's mean thickness, which the "
        "constant has none of. Square brackets: 95 % intervals, patients resampled, and draws of "
        "the folds where there are several. p: predictions of whole patients exchanged at random, "
        "Holm-corrected over the rows. Readouts (ours): a linear map, solved for, from the tokens "
        "of a backbone that stays as it is. Phantom start: the network has first learnt the "
        "thickness of phantom eyes. The backbones that are named were pretrained on phantom eyes, "
        "random was not. Fine-tuned networks spend one fold more on validation than the others. "
        f"{look(SELECTED).label.capitalize()}: each fold by the solved method, under the penalty, "
        "that erred least in a cross-validation within the other folds; its p is its own.",
    )


def selection_wide(
    quadrants: pd.DataFrame, paired: pd.DataFrame, chosen: pd.DataFrame
) -> pd.DataFrame:
    """Return apparent and nested estimates side by side; tables as in :func:`learning_wide`.

    ``chosen`` is that of :func:`analysis.accuracy.learning.chosen_table`.
    """
    mae, against = rows_of(quadrants, "mae", "mean"), paired.set_index("method")
    best = mae.loc[chosen["method"], "estimate"].idxmin()
    often = chosen[chosen["chosen"] > 0].sort_values("chosen", ascending=False, kind="stable")
    counts = ", ".join(f"{look(one.method).label} {one.chosen}" for one in often.itertuples())
    nested = f"{counts} (of {chosen['folds'].iloc[0]} folds)"
    rows = [("apparent", best, look(best).label), ("nested", SELECTED, nested)]
    wide = [
        {
            "Choice": name,
            "Method": text,
            "Mean (µm)": with_interval(mae.loc[method]),
            f"Against {BASELINE} (µm)": with_interval(found(against, method)),
            "R global": with_interval(rows_of(quadrants, "r", "global").loc[method]),
        }
        for name, method, text in rows
    ]
    return captioned(
        wide,
        f"One of {len(chosen)} methods chosen on the eyes that it is reported on (apparent), which "
        "flatters it, and chosen with its penalty within each outer fold (nested), which does "
        "not: mean absolute error of quadrant means, difference of it to "
        f"{BASELINE}, correlation of the mean thickness. Square brackets: 95 % intervals, "
        "patients resampled, and draws of the folds where there are several.",
    )


def other_subjects_wide(
    external: pd.DataFrame, quadrants: pd.DataFrame, paired: pd.DataFrame
) -> pd.DataFrame:
    """Return errors and differences on GRAPE subjects never learnt from, beside cross-validation.

    ``external`` is that of :func:`analysis.accuracy.external.load_external`.
    """
    mae, against, wide = rows_of(quadrants, "mae", "mean"), paired.set_index("method"), []
    kinds = external.groupby(["trained_on", "method"], sort=False)
    for (source, method), rows in kinds:
        level, home = Cell(rows[rows["against"] == ""]), source == "GRAPE"
        apart = Cell(rows[rows["against"] == BASELINE])
        wide.append(
            {
                "Learnt from": source,
                "Method": look(method).label,
                "Other subjects: mean (µm)": level.level("mae", 2, "quadrant", "mean"),
                f"Against {BASELINE} there (µm)": apart.level("mae", 2, "quadrant", "mean"),
                "R global": level.level("r", 2, "quadrant", "global"),
                "Cross-validated: mean (µm)": with_interval(mae.loc[method]) if home else MISSING,
                f"Against {BASELINE} here (µm)": with_interval(
                    found(against, method if home else None)
                ),
            }
        )
    n = int(external["n"].max())
    return captioned(
        wide,
        f"Methods on {n} eyes of other GRAPE subjects, which no method had learnt from, measured "
        f"elsewhere at an earlier version, in which {BASELINE} had no mirrored copies; beside "
        "them the cross-validated eyes. Fine-tuned there: the phantom classifier; here: the "
        "featured backbone. Methods that learnt from phantoms alone, there phantom 1, had none of "
        "GRAPE's eyes, but it is calibrated to the mean and SD of GRAPE's quadrants. Square "
        "brackets: 95 % intervals, patients resampled.",
    )


def learning_note(
    manifest: Mapping[str, Any], folds: int, fold_seeds: Sequence[int], stand_in: str = ""
) -> str:
    """Say which eyes were learnt from, how they were divided, and which were left out.

    Parameters
    ----------
    manifest : mapping
        Of the prepared dataset.
    folds : int
    fold_seeds : sequence of int
    stand_in : str
        Why a phantom stands in for real eyes, if it does.
    """
    n, patients = manifest["n"], manifest["counts"]["patients"]
    kind = "phantom eyes" if manifest["phantom"] else "eyes"
    dataset = manifest["name"] if manifest["phantom"] else manifest["dataset"].upper()
    times = "once" if len(fold_seeds) == 1 else f"{len(fold_seeds)} times"
    seeds = f"seed{'s' * (len(fold_seeds) > 1)} {', '.join(map(str, fold_seeds))}"
    reasons = Counter(one["reason"] for one in manifest["exclusions"])
    left_out = ", ".join(f"{count} with {reason}" for reason, count in sorted(reasons.items()))
    text = (
        f"{dataset}: {n} {kind} of {patients} patients; {folds} folds by patient, drawn {times} "
        f"({seeds}). Left out: {left_out or 'none'}."
    )
    return f"{text} A phantom stands in for real eyes: {stand_in}." if stand_in else text
