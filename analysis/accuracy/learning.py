"""Ways to learn from a few dozen eyes: their groups, and what each is compared with."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.accuracy.quadrants import paired_quadrants
from analysis.resampling import PAIRED, Resampling

YARDSTICK = "PCA + ridge"  # what every way is compared with
GROUPS = {"yardsticks": ("constant", YARDSTICK), "fine-tuned": (), "readouts": ()}
PLAINEST = {"fine-tuned": "fine-tuned", "readouts": "readout, random"}


def group_of(way: str) -> str:
    """Return the group of a way of learning, by its name.

    Raises
    ------
    ValueError
        For a name that belongs to none.

    Examples
    --------
    >>> group_of("readout, depth"), group_of("constant")
    ('readouts', 'yardsticks')
    """
    for group, members in GROUPS.items():
        if way in members or way.partition(",")[0] in (group, group.removesuffix("s")):
            return group
    raise ValueError(
        f"way {way!r}: expected {', '.join(GROUPS['yardsticks'])}, or a name that begins with "
        "'fine-tuned' or 'readout'"
    )


def rows_of(quadrants: pd.DataFrame, metric: str, group: str) -> pd.DataFrame:
    """Return the rows of a metric and a group of :func:`analysis.accuracy.quadrants.quadrant_table`
    by way.

    Parameters
    ----------
    quadrants : DataFrame
        Of one domain.
    """
    chosen = (quadrants["metric"] == metric) & (quadrants["group"] == group)
    return quadrants[chosen].set_index("method")


def gains(frames: Mapping[str, pd.DataFrame], resampling: Resampling = PAIRED) -> pd.DataFrame:
    """Compare all ways with the constant, and each with the plainest of its group.

    The first comparison says whether anything was learnt, the others what a phantom start and what
    pretraining gain: fine-tuned networks are compared with the one without a phantom start,
    readouts with that of random features.

    Parameters and return value are those of :func:`analysis.accuracy.quadrants.paired_quadrants`;
    p-values are Holm-adjusted within a comparison.

    Raises
    ------
    ValueError
        When a way that others are compared with is absent.
    """
    families = {"constant": frames}
    for group, against in PLAINEST.items():
        families[against] = {way: one for way, one in frames.items() if group_of(way) == group}
    parts = [paired_quadrants(family, one, resampling) for one, family in families.items()]
    return pd.concat(parts, ignore_index=True)
