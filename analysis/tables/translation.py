"""Redrawn pictures, formatted wide: what costs nothing stands first."""

from __future__ import annotations

import pandas as pd

from analysis.presentation.text import BRACKETS, captioned, found, p_value, with_interval

LABELS = {
    "original": "as it is",
    "own": "as it is, by a reader of its own",
    "green": "green channel",
    "histogram": "histogram",
    "mean": "network, at once (L1)",
    "small": "true picture, 64 px",
    "truth": "true picture",
}
STEPS = 25  # of a draw
KINDS = {"diffusion": "diffusion", "weighted": "diffusion, weighted picture loss"}


def label(way: str) -> str:
    """Return a way's name for people.

    Examples
    --------
    >>> label("diffusion4"), label("weighted1"), label("green")
    ('diffusion, mean of 4', 'diffusion, weighted picture loss, one draw', 'green channel')
    """
    kind = way.rstrip("0123456789")
    if kind not in KINDS:
        return LABELS.get(way, way)
    n = int(way.removeprefix(kind))
    return f"{KINDS[kind]}, " + ("one draw" if n == 1 else f"mean of {n}")


def passes(way: str) -> int:
    """Return how often a network is asked for one picture.

    Examples
    --------
    >>> passes("histogram"), passes("mean"), passes("weighted4")
    (0, 1, 100)
    """
    kind = way.rstrip("0123456789")
    return STEPS * int(way.removeprefix(kind)) if kind in KINDS else int(way == "mean")


def translation_wide(table: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return one row per task and way, of :func:`analysis.accuracy.translation.statistics`."""
    pairs = comparisons.set_index(["task", "way", "against"])
    wide = []
    for (task, way), rows in table.groupby(["task", "way"], sort=False):
        at = rows.set_index("metric")
        other = found(pairs, (task, way, "mean"))
        wide.append(
            {
                "Task": task,
                "Way": label(way),
                "MAE (µm)": with_interval(at.loc["mae"], 2),
                "Bias (µm)": with_interval(at.loc["bias"], 2, signed=True),
                "Minus network (µm)": with_interval(other, 2, signed=True),
                "p (Holm)": p_value(other["p_holm"]),
                "Defects erased": with_interval(at.loc["erased"], 2),
                "Invented per eye": with_interval(at.loc["invented"], 2),
                "Depth that is read": with_interval(at.loc["read"], 2),
                "Passes": str(passes(way)),
                "PSNR (dB)": with_interval(at.loc["psnr"], 1),
                "Eyes": str(int(at.loc["erased", "n"])),
            }
        )
    return captioned(
        wide,
        "Pictures of healthy eyes, with and without one planted wedge defect, redrawn as good SLO "
        "pictures by networks that learnt from healthy eyes, and read by a reader of true ones. "
        "MAE and bias: against the profile without measurement noise. Erased: less than half of "
        "the contrast of the true pair is left. Invented: dark stretches of the whole eye that the "
        "true picture has not. Depth that is read: share of the defect's depth in the reading. "
        "Passes: of a network, per picture. "
        f"PSNR says how alike pictures look, and decides nothing. {BRACKETS}; one training each.",
    )
