"""Methods that learn from a few dozen eyes: their groups, their comparison, the choice of one."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.accuracy.quadrants import paired_quadrants
from analysis.resampling import PAIRED, Resampling

BASELINE = "PCA + ridge"  # what every method is compared with
SELECTED = "chosen within folds"  # method and penalty, see nested
GROUPS = {
    "baselines": ("constant", BASELINE),
    "fine-tuned": (),
    "readouts": ("fields, ImageNet", "fields, ImageNet + depth"),
    "nested selection": (SELECTED,),
}
PLAINEST = {"fine-tuned": "fine-tuned", "readouts": "readout, random"}


def group_of(method: str) -> str:
    """Return the group of a method, by its name; a ValueError for a name that belongs to none.

    Examples
    --------
    >>> group_of("readout, depth"), group_of("constant")
    ('readouts', 'baselines')
    """
    for group, members in GROUPS.items():
        if method in members or method.partition(",")[0] in (group, group.removesuffix("s")):
            return group
    raise ValueError(
        f"method {method!r}: expected {', '.join(GROUPS['baselines'])}, {SELECTED}, or a name that "
        f"begins with 'fine-tuned' or 'readout', or is one of {GROUPS['readouts']}"
    )


def rows_of(quadrants: pd.DataFrame, metric: str, group: str) -> pd.DataFrame:
    """Return the rows of a metric and a group by method.

    Of :func:`analysis.accuracy.quadrants.quadrant_table`, of one domain.
    """
    chosen = (quadrants["metric"] == metric) & (quadrants["group"] == group)
    return quadrants[chosen].set_index("method")


def nested(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Choose method and penalty within each outer fold, and return what the choice predicts.

    The method with the lowest error on the eyes it reports is flattered by that choice. Here each
    fold's eyes are predicted by the method that erred least in the cross-validation *within the
    other folds*, by patient, under its own best penalty; the eyes reported on have no part in it.

    Parameters
    ----------
    frames : mapping of method to DataFrame
        Quadrant frames with ``fold`` and ``inner_error`` (µm; the same for all eyes of a fold),
        runs (draws of the folds) in the same order in each. A method whose inner error is NaN is
        no candidate. Of equals the first wins.

    Returns
    -------
    DataFrame
        A quadrant frame, one run per draw of the folds, with ``fold``, ``inner_error`` and
        ``method``, the one that was chosen.

    Raises
    ------
    ValueError
        When there is no candidate, or candidates divide the eyes differently.
    """
    candidates = [
        frame.assign(method=method, run_id=pd.factorize(frame["run_id"])[0])
        for method, frame in frames.items()
        if frame["inner_error"].notna().all()
    ]
    if not candidates:
        raise ValueError(f"none of {', '.join(frames)} has an inner error to be chosen by")
    every = pd.concat(candidates, ignore_index=True)
    eyes = every.groupby(["run_id", "eye_id"])
    if (eyes["fold"].nunique() > 1).any() or (eyes.size() != len(candidates)).any():
        raise ValueError("methods to choose from differ in their eyes, folds or number of runs")
    best = every.loc[eyes["inner_error"].idxmin()]
    return best.assign(run_id=[f"{SELECTED}, draw {draw}" for draw in best["run_id"]])


def chosen_table(frames: Mapping[str, pd.DataFrame], selected: pd.DataFrame) -> pd.DataFrame:
    """Return how often each candidate was chosen.

    Parameters
    ----------
    frames : mapping of method to DataFrame
        What :func:`nested` chose from.
    selected : DataFrame
        What it returned.

    Returns
    -------
    DataFrame
        method, chosen (folds, over all draws), folds (of how many); candidates alone.
    """
    choices = selected.drop_duplicates(["run_id", "fold"])["method"]
    names = [name for name, frame in frames.items() if frame["inner_error"].notna().all()]
    counts = choices.value_counts().reindex(names, fill_value=0)
    return counts.rename_axis("method").reset_index(name="chosen").assign(folds=len(choices))


def against_baseline(
    frames: Mapping[str, pd.DataFrame], selected: pd.DataFrame, resampling: Resampling = PAIRED
) -> pd.DataFrame:
    """Compare all methods with PCA + ridge as one family, and the nested choice by itself.

    Returns what :func:`analysis.accuracy.quadrants.paired_quadrants` does. The choice was settled
    before the eyes were looked at: it is one question, and its ``p_holm`` is its ``p``.
    """
    alone = {BASELINE: frames[BASELINE], SELECTED: selected}
    parts = [paired_quadrants(family, BASELINE, resampling) for family in (frames, alone)]
    return pd.concat(parts, ignore_index=True)


def gains(frames: Mapping[str, pd.DataFrame], resampling: Resampling = PAIRED) -> pd.DataFrame:
    """Compare all methods with the constant, and each with the plainest of its group.

    The first comparison says whether anything was learnt, the others what a phantom start and what
    pretraining gain: fine-tuned networks are compared with the one without a phantom start,
    readouts with that of random features.

    Parameters and return value are those of :func:`analysis.accuracy.quadrants.paired_quadrants`;
    p-values are Holm-adjusted within a comparison. A ValueError when a method that others are
    compared with is absent.
    """
    families = {"constant": frames}
    for group, against in PLAINEST.items():
        families[against] = {name: one for name, one in frames.items() if group_of(name) == group}
    parts = [paired_quadrants(family, one, resampling) for one, family in families.items()]
    return pd.concat(parts, ignore_index=True)
