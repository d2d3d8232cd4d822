"""What was learnt from a few dozen eyes, formatted wide: one row per way of learning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.accuracy.learning import YARDSTICK
from analysis.presentation.style import look
from analysis.presentation.text import MISSING, lookup, number, with_interval

LEARNING_CAPTION = (
    "Ways to learn from few eyes, cross-validated by patient on the same folds: mean absolute "
    f"error of quadrant means, and of their average; difference of that average to {YARDSTICK} on "
    "the same eyes; correlation of each eye's mean thickness, which the constant has none of. "
    "Square brackets: 95 % intervals, patients resampled, and draws of the folds where there are "
    "several. p: predictions of whole patients exchanged at random, Holm-corrected over the "
    "rows. Readouts (ours): a linear map, solved for, from the tokens of a backbone that "
    "stays as it is. Phantom start: the network has first learnt the thickness of phantom eyes. "
    "The backbones that are named were pretrained on phantom eyes, random was not. Fine-tuned "
    "networks spend one fold more on validation than the others."
)


def learning_wide(quadrants: pd.DataFrame, paired: pd.DataFrame) -> pd.DataFrame:
    """Return errors, paired differences and correlations, formatted, one row per way.

    Parameters
    ----------
    quadrants : DataFrame
        Long, from :func:`analysis.accuracy.quadrants.quadrant_table`, one domain.
    paired : DataFrame
        From :func:`analysis.accuracy.quadrants.paired_quadrants` against PCA + ridge.
    """
    against, wide = paired.set_index("method"), []
    for way, rows in quadrants.groupby("method", sort=False):
        found = against.loc[way].to_dict() if way in against.index else None
        p = found["p_holm"] if found else np.nan
        wide.append({
            "Way": look(way).label,
            **{f"{name} (µm)": number(lookup(rows, "mae", "quadrant", name)["estimate"], 1)
               for name in "SNIT"},
            "Mean (µm)": with_interval(lookup(rows, "mae", "quadrant", "mean")),
            f"Against {YARDSTICK} (µm)": with_interval(found) if found else MISSING,
            "p (Holm)": "<0.001" if p < 0.001 else number(p, 3),
            "R global": with_interval(lookup(rows, "r", "quadrant", "global")),
        })  # fmt: skip
    return pd.DataFrame(wide)


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
