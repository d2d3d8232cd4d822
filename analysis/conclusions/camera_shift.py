"""Conclusions on adapting to another camera: what a dear way gains over a cheap one."""

from __future__ import annotations

import pandas as pd

from analysis.accuracy.camera_shift import CHEAP
from analysis.conclusions.claims import ALPHA, level, rows_of, signed, verdict
from analysis.presentation.style import look
from analysis.presentation.text import number

KEPT = 0.1  # of the spread between eyes, below which a way predicts one profile (ours)
DEAR = ("parent", "stage1", "dynamic", "no_style", "detached", "stage2", "full")


def camera_shift(table: pd.DataFrame, comparisons: pd.DataFrame, shots: int = 10) -> list[str]:
    """Say what the camera costs, how much of that is a level, and which dear way beats the cheap.

    Tables are those of :func:`analysis.accuracy.camera_shift.statistics`.
    """
    rows = table[(table["shots"] == shots) & (table["attribute"] == "all")]
    mae = rows_of(rows, "mae").droplevel("backbone")
    bias = rows_of(rows, "bias").droplevel("backbone")
    said = []
    if {"none", "none+prior"} <= set(mae.index):
        said.append(
            f"Untouched, the reader errs by {level(mae.loc['none'])} on the other camera, with a "
            f"bias of {signed(bias.loc['none'], unit=' µm')}; its level matched on {shots} shots, "
            f"by {level(mae.loc['none+prior'])}."
        )
    bounds = [
        f"{look(one).label} {number(mae.loc[one, 'estimate'])}"
        for one in ("oracle", "labels", "template", "oracle floor")
        if one in mae.index
    ]
    if CHEAP in mae.index:
        said.append(f"Fourier with matching: {level(mae.loc[CHEAP])} ({', '.join(bounds)} µm).")
    spread = rows_of(rows, "sigma_ratio").droplevel("backbone")
    flat = [look(way).label for way in spread.index[spread["high"] < KEPT] if way != "template"
            and not way.endswith("+prior")]  # fmt: skip
    if flat:
        said.append(
            f"Of the spread between eyes less than {100 * KEPT:.0f} % is left by "
            f"{', '.join(flat)}: one profile for everybody."
        )
    pairs = comparisons[(comparisons["against"] == CHEAP) & (comparisons["shots"] == shots)]
    pairs = pairs[pairs["metric"] == "mae"].set_index("protocol")
    for way in DEAR:
        if (name := f"{way}+prior") in pairs.index:
            row = pairs.loc[name]
            lower = "beats it" if row["estimate"] < 0 else "loses to it"
            word = {"differs": lower, "equivalent": "equals it"}.get(verdict(row), "is undecided")
            said.append(f"{look(way).label} with matching {word}: {signed(row)} µm.")
    return said


def kept_labels(table: pd.DataFrame) -> str:
    """Say how well labels are read from translations by a reader of true photographs.

    ``table`` is the performance table of :func:`rnfl.study.camera_shift.kept_labels`.
    """
    mae = rows_of(table, "mae").droplevel("backbone")
    between = rows_of(table, "pearson_between_eyes").droplevel("backbone")
    ways = [way for way in mae.index if way not in ("oracle", "template", "oracle floor", "none")]
    parts = [
        f"{look(way).label} {level(mae.loc[way])}, r {number(between.loc[way, 'estimate'], 2)}"
        for way in ways
    ]
    return (
        "A reader of true photographs, on the source's test eyes: truly photographed "
        f"{level(mae.loc['oracle'])}, r {number(between.loc['oracle', 'estimate'], 2)}; translated "
        f"by {'; '.join(parts)}."
    )


def label_shift(plain: pd.DataFrame, sick: pd.DataFrame, shots: int = 10) -> str:
    """Say what prior matching does where the target's patients are sicker than the source's.

    Parameters
    ----------
    plain, sick : DataFrame
        Tables of the target and of the same camera's sicker patients.
    """
    parts = []
    for name, table in (("as many sick as in the source", plain), ("90 % glaucoma", sick)):
        rows = table[(table["shots"] == shots) & (table["attribute"] == "all")]
        bias = rows_of(rows, "bias").droplevel("backbone")
        mae = rows_of(rows, "mae").droplevel("backbone")
        parts.append(
            f"{name}: Fourier {number(mae.loc['fourier', 'estimate'])} µm, matched "
            f"{number(mae.loc[CHEAP, 'estimate'])} (bias "
            f"{signed(bias.loc[CHEAP], unit=' µm')})"
        )
    return f"Prior matching supposes equal patients: {'; '.join(parts)}."


def discs_and_cups(table: pd.DataFrame) -> str:
    """Say which way segments the cup best, beside one mask for every eye and the true photographs.

    Of :func:`analysis.accuracy.segmentation.by_way`.
    """
    cup = table[table["metric"] == "dice_cup"].set_index("way")
    ways = cup.drop(index=["oracle", "template"], errors="ignore")
    best = ways["estimate"].idxmax()
    named = {"untouched": "none", "one mask for every eye": "template",
             "trained on true photographs": "oracle"}  # fmt: skip
    others = [f"{name} {level(cup.loc[way], '', 3)}"
              for name, way in named.items() if way in cup.index]  # fmt: skip
    return (
        f"Dice of the cup on the other camera: highest {look(best).label} "
        f"{level(cup.loc[best], '', 3)}, picked on these eyes; {', '.join(others)}."
    )


def real_cameras(quadrants: pd.DataFrame, paired: pd.DataFrame) -> list[str]:
    """Say by direction what a real change of camera costs, and whether a way beats a constant.

    Of :func:`analysis.accuracy.quadrants.quadrant_table` and of
    :func:`analysis.accuracy.quadrants.paired_quadrants` against 'constant', ``domain`` the
    direction.
    """
    said = []
    for domain, rows in quadrants.groupby("domain", sort=False):
        rows = rows[rows["group"] == "mean"].set_index(["metric", "method"])
        mae, bias = rows.loc["mae"], rows.loc["bias"]
        parts = [
            f"{name} {level(mae.loc[way])}"
            for name, way in (
                ("untouched", "none"), ("matched", "none+prior"),
                ("Fourier and matched", CHEAP), ("the source's mean", "constant"),
            )
        ]  # fmt: skip
        pairs = paired[paired["domain"] == domain]
        lower = int(((pairs["p_holm"] < ALPHA) & (pairs["estimate"] < 0)).sum())
        said.append(
            f"GRAPE, {domain}, {int(mae.loc['none', 'n'])} eyes: {', '.join(parts)}; bias "
            f"untouched {signed(bias.loc['none'], unit=' µm')}. Shown to err less than the "
            f"source's mean: {lower} of {len(pairs)} ways."
        )
    return said
