"""Ways of adapting to another camera, formatted wide: those that cost nothing stand first."""

from __future__ import annotations

import pandas as pd

from analysis.accuracy.camera_shift import CHEAP
from analysis.presentation.style import look
from analysis.presentation.text import BRACKETS, captioned, found, p_value, with_interval
from analysis.tables.cells import Cell, cells

#: In the order of what they cost; a way that is not here stands behind them.
ORDER = (
    *("none", "histogram", "statistics", "fourier"),
    *("plain", "lora", "graded", "stage2"),
    *("parent", "stage1", "dynamic", "no_style", "detached", "full", "oracle", "labels"),
)
TRUE = "true photographs"


def segmentation_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per way, of :func:`analysis.accuracy.segmentation.by_way`."""
    wide, rank = [], {way: i for i, way in enumerate(ORDER)}
    ways = sorted(table["way"].unique(), key=lambda one: rank.get(one, len(ORDER)))
    for way in ways:
        at = table[table["way"] == way].set_index("metric")
        name = "one mask for every eye" if way == "template" else look(way).label
        wide.append(
            {
                "Way": name,
                "Dice, disc": with_interval(at.loc["dice_disc"], 3),
                "Dice, cup": with_interval(at.loc["dice_cup"], 3),
                "Error of cup to disc": with_interval(at.loc["cdr_error"], 3),
                "Eyes": str(int(at.loc["dice_disc", "n"])),
            }
        )
    return captioned(
        wide,
        "Optic disc and cup on the other camera, by ways of adapting with unlabelled shots. "
        "Pictures are centred on the disc, so that one mask for every eye is hard to beat for the "
        "disc. Error: of the vertical cup-to-disc ratio, absolute. Square brackets: 95 % "
        "intervals, patients resampled; one training each.",
    )


def kept_labels_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per way, of :func:`rnfl.study.camera_shift.kept_labels`' performance table."""
    named = {key[1]: cell for key, _, cell in cells(table)}
    ranked = {way: i for i, way in enumerate(ORDER)}
    wide = [
        {
            "Pictures": TRUE if way == "oracle" else look(way).label,
            "MAE (µm)": cell.error,
            "Bias (µm)": cell.level("bias"),
            "R between eyes": cell.level("pearson_between_eyes"),
            "σ ratio": cell.level("sigma_ratio"),
            "Eyes": cell.size["Eyes"],
        }
        for way, cell in sorted(named.items(), key=lambda one: ranked.get(one[0], len(ORDER)))
    ]
    return captioned(
        wide,
        "Whether a translation keeps its label: a reader trained on true photographs of the "
        "source's eyes reads test eyes of the source, translated by each way, against the labels "
        "they had; beside them the same eyes truly photographed. "
        f"{BRACKETS}; a seed is a draw of shots.",
    )


def real_cameras_wide(quadrants: pd.DataFrame) -> pd.DataFrame:
    """Return one row per direction and way, of :func:`analysis.accuracy.quadrants.quadrant_table`.

    ``domain`` is the direction, ``method`` the way.
    """
    wide = []
    for (domain, method), rows in quadrants.groupby(["domain", "method"], sort=False):
        way, _, level = method.partition("+")
        cell = Cell(rows)
        wide.append(
            {
                "Cameras": domain,
                "Way": look(way).label + (", matched" if level else ""),
                **{f"{name} (µm)": cell.level("mae", 1, "quadrant", name) for name in "SNIT"},
                "Mean (µm)": cell.level("mae", 1, "quadrant", "mean"),
                "Bias (µm)": cell.level("bias", 1, "quadrant", "global"),
                "R global": cell.level("r", 2, "quadrant", "global"),
                "Eyes": str(int(cell.row("mae", "quadrant", "global").get("n", 0))),
            }
        )
    return captioned(
        wide,
        "From one of GRAPE's cameras to the other: readouts of real eyes, errors of quadrant "
        "means of patients whom only the other camera saw and who gave no shot. Constant: the mean "
        "of the source's eyes. Square brackets: 95 % intervals, patients resampled; one draw of "
        "shots.",
    )


def camera_shift_wide(table: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return one row per number of shots and way, as it is beside prior matching.

    Tables are those of :func:`analysis.accuracy.camera_shift.statistics`.
    """
    pairs = comparisons[(comparisons["against"] == CHEAP) & (comparisons["metric"] == "mae")]
    pairs, wide = pairs.set_index(["shots", "protocol"]), []
    for shots, rows in table.groupby("shots"):
        named = {key[1]: cell for key, _, cell in cells(rows)}
        ranked = {way: i for i, way in enumerate(ORDER)}
        ways = {way.removesuffix("+prior") for way in named}
        for way in sorted(ways, key=lambda one: (ranked.get(one, len(ORDER)), one)):
            cell, level = named[way], named.get(f"{way}+prior")
            of = level or cell
            other = found(pairs, (shots, f"{way}+prior" if level else way))
            wide.append(
                {
                    "Shots": str(shots),
                    "Way": look(way).label,
                    "MAE (µm)": cell.error,
                    "Bias (µm)": cell.level("bias"),
                    "R between eyes": cell.level("pearson_between_eyes"),
                    "σ ratio": cell.level("sigma_ratio"),
                    "MAE, level matched (µm)": level.error if level else "—",
                    "Minus Fourier, matched (µm)": with_interval(other),
                    "p (Holm)": p_value(other["p_holm"]),
                    "Eyes": of.size["Eyes"],
                    "Draws": of.size["Seeds"],
                }
            )
    return captioned(
        wide,
        "From one camera to another, by ways in the order of what they cost. Level matched: "
        "predictions are moved so that their mean over the shots is that of the source's labels. "
        "Minus Fourier: the matched error (of bounds the error) minus that of Fourier domain "
        f"adaptation with matching, on the same eyes. {BRACKETS}; a seed is a draw of shots; ± SD "
        "over draws.",
    )
