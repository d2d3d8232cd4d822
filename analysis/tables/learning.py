"""What was learnt from a few dozen eyes, formatted wide: one row per way of learning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.accuracy.learning import YARDSTICK
from analysis.presentation.style import look
from analysis.presentation.text import MISSING, captioned, p_value, with_interval
from analysis.tables.cells import Cell


def learning_wide(quadrants: pd.DataFrame, paired: pd.DataFrame) -> pd.DataFrame:
    """Return errors, paired differences and correlations, one row per way.

    ``quadrants`` is that of :func:`analysis.accuracy.quadrants.quadrant_table`, one domain, and
    ``paired`` that of ``paired_quadrants`` against PCA + ridge.
    """
    against, wide = paired.set_index("method"), []
    for way, rows in quadrants.groupby("method", sort=False):
        cell, found = Cell(rows), against.loc[way] if way in against.index else None
        wide.append(
            {
                "Way": look(way).label,
                **{f"{name} (µm)": cell.number("mae", 1, "quadrant", name) for name in "SNIT"},
                "Mean (µm)": cell.level("mae", 2, "quadrant", "mean"),
                f"Against {YARDSTICK} (µm)": MISSING if found is None else with_interval(found),
                "p (Holm)": p_value(np.nan if found is None else found["p_holm"]),
                "R global": cell.level("r", 2, "quadrant", "global"),
            }
        )
    return captioned(
        wide,
        "Ways to learn from few eyes, cross-validated by patient on the same folds: mean absolute "
        "error of quadrant means, and of their average; difference of that average to "
        f"{YARDSTICK} on the same eyes; correlation of each eye's mean thickness, which the "
        "constant has none of. Square brackets: 95 % intervals, patients resampled, and draws of "
        "the folds where there are several. p: predictions of whole patients exchanged at random, "
        "Holm-corrected over the rows. Readouts (ours): a linear map, solved for, from the tokens "
        "of a backbone that stays as it is. Phantom start: the network has first learnt the "
        "thickness of phantom eyes. The backbones that are named were pretrained on phantom eyes, "
        "random was not. Fine-tuned networks spend one fold more on validation than the others.",
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
    text = f"{dataset}: {n} {kind} of {patients} patients; {folds} folds by patient, drawn {times}"
    text += f" ({seeds})."
    reasons = Counter(one["reason"] for one in manifest["exclusions"])
    left_out = ", ".join(f"{count} with {reason}" for reason, count in sorted(reasons.items()))
    text += f" Left out: {left_out or 'none'}."
    return f"{text} A phantom stands in for real eyes: {stand_in}." if stand_in else text
