"""The paper's numbers and ours side by side; as changes, where the eyes differ.

Every column says whose numbers it holds and on which eyes. The level of an error on phantom eyes
says nothing about FairFedMed, so only changes from the reference protocol stand beside each other;
on GRAPE, real photographs on both sides, levels do. A number that one side does not have is a dash;
no row is dropped for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping

import numpy as np
import pandas as pd

from analysis import published
from analysis.presentation.style import look, order
from analysis.presentation.text import MISSING, captioned, number, with_interval
from analysis.resampling.conditions import NO_BACKBONE
from analysis.tables.cells import Cell

EDITIONS = {"submission": "submission", "august": "August"}
COUNTERPARTS = {  # obtained with -> published with: the same backbone, or a like pretraining task
    "imagenet_vitb16": "ImageNet ViT-B/16",
    "phantom_cls": "ImageNet ViT-B/16",
    "phantom_depth": "DepthAnything V2-S",
    "phantom_mae": "RETFound ViT-L/16",
}
METRICS = ("mae", "pearson_per_eye", "pearson_pooled", "sigma_flat", "sigma_between")
REFERENCE, BASE = "naive", "aggressive"  # of Table 1 and of the ablations
PRINTED = {"MAE (%)": "mae", "R": "r", "σ (%)": "sigma"}  # columns: published metrics
OBTAINED = {  # column of PRINTED: {column of ours beside it: metric}
    "MAE (%)": {"MAE (%)": "mae"},
    "R": {"R per eye": "pearson_per_eye", "R pooled": "pearson_pooled"},
    "σ (%)": {"σ flat (%)": "sigma_flat", "σ between (%)": "sigma_between"},
}
_CHANGES = (
    "MAE and σ in % of the reference, R as a difference. Published on FairFedMed, whose editions "
    "disagree; levels in µm of other eyes are not comparable, so none are shown. The paper's σ is "
    "σ flat, which cannot show collapse; σ between can. It does not say which R it prints. Square "
    "brackets: 95 % interval of the paired difference on the same eyes, divided by the reference's "
    "estimate, whose own error is left out. Published changes are recomputed from the printed "
    "cells and have no interval. —: not published, or not obtained."
)
_KIND = (
    "Phantom backbones stand beside the published one whose pretraining had a like task (classes, "
    "depth, masked patches). Size and images differ: the phantom ones met the renderer and both "
    "cameras of the test eyes, and near-labels (severity; heights made from the cup)."
)
# Of one side: by backbone and what is varied (a protocol, a share, a weight), values by metric ...
Values = dict[tuple[str | None, Hashable], dict[str, float]]
# ... and their changes from the reference by column, as text.
Changes = dict[tuple[str | None, Hashable], dict[str, str]]


def beside_table1(
    table: pd.DataFrame, comparisons: pd.DataFrame | None = None, obtained: str = "phantom"
) -> pd.DataFrame:
    """Return Table 1 as changes from *naive*, published and obtained, one row per cell.

    Parameters
    ----------
    table : DataFrame
        Long, from :func:`analysis.accuracy.performance.performance_table` or ``table1``.
    comparisons : DataFrame, optional
        From :func:`analysis.accuracy.performance.paired_comparisons` against *naive* with metrics
        :data:`METRICS`; gives the intervals. Changes without their comparison have none.
    obtained : str
        Which eyes the obtained numbers are from, as the column heads are to say.
    """
    theirs = _published(REFERENCE, table1=lambda row: (row.backbone, row.protocol))
    ours = _obtained(table, comparisons, REFERENCE, lambda name: name)
    rows = _rows(theirs, ours, order([REFERENCE, *_varied(theirs, ours)]))
    wide = _columns(rows, "Protocol", lambda name: look(name).label, theirs, ours, obtained)
    return captioned(wide, f"Change from naive, published and obtained. {_CHANGES} {_KIND}")


def beside_freezing(
    table: pd.DataFrame, comparisons: pd.DataFrame | None = None, obtained: str = "phantom"
) -> pd.DataFrame:
    """Return the changes from nothing frozen by the frozen share, in percent of the blocks.

    Parameters as in :func:`beside_table1`; the reference is *aggressive*, and protocols that
    freeze no share (``freeze_<percent>pct``) are another table's.
    """
    shares = published.load("freezing").query("metric == 'percent_frozen'")
    share = shares.drop_duplicates("protocol").set_index("protocol")["value"]
    theirs = _published(0, freezing=lambda row: (row.backbone, share.get(row.protocol)))
    ours = _obtained(table, comparisons, BASE, _percent_frozen)
    rows = _rows(theirs, ours, sorted(_varied(theirs, ours)))
    wide = _columns(rows, "Frozen (%)", lambda one: number(one, 0), theirs, ours, obtained)
    return captioned(
        wide,
        "Change from nothing frozen by share of blocks frozen, L1 loss, published and obtained. "
        f"{_CHANGES} {_KIND}",
    )


def beside_loss(
    table: pd.DataFrame, comparisons: pd.DataFrame | None = None, obtained: str = "phantom"
) -> pd.DataFrame:
    """Return the changes from L1 alone by the weight of the Pearson and the gradient term.

    Parameters as in :func:`beside_table1`; the reference is *aggressive*.
    """
    weights = published.load("loss_complexity").query("metric == 'lambda_pearson'")
    weight = weights.set_index("protocol")["value"]
    # The gradient term has no table of its own: its one weight is a protocol of Table 1.
    theirs = _published(
        _L1,
        loss_complexity=lambda row: (None, ("λp", weight.get(row.protocol))),
        table1=lambda row: (row.backbone, _weight(row.protocol)),
    )
    gradient = ("RETFound ViT-L/16", ("λg", 0.2))
    theirs = {
        edition: {(None, key[1]): side[key] for key in side if key[0] is None or key == gradient}
        for edition, side in theirs.items()
    }
    ours = _obtained(table, comparisons, BASE, _weight)
    varied = sorted(_varied(theirs, ours), key=lambda one: (one[0] != "λp", one[1]))
    rows = [
        (None, backbone, one)
        for backbone in order(key[0] for key in ours) or [None]
        for one in varied
    ]
    wide = _columns(rows, "Weight", lambda one: f"{one[0]} {one[1]:g}", theirs, ours, obtained)
    del wide["Backbone (published)"]
    return captioned(
        wide,
        "Change from L1 alone by weight of the added loss term, published and obtained. λp: "
        "Pearson term, published without naming the backbone; λg: gradient term, published in "
        f"Table 1 (RETFound ViT-L/16, against aggressive). {_CHANGES}",
    )


def _percent_frozen(protocol: str) -> float | None:
    found = re.fullmatch(r"freeze_(\d+)pct", protocol)
    return 0.0 if protocol == BASE else float(found[1]) if found else None


_L1 = ("λp", 0.0)  # neither term


def _weight(protocol: str) -> tuple[str, float] | None:
    found = re.fullmatch(r"(pearson|gradient)_([\d.e-]+)", protocol)
    if found:
        return ("λp" if found[1] == "pearson" else "λg", float(found[2]))
    return {BASE: _L1, "gradient_loss": ("λg", 0.2)}.get(protocol)


def _published(reference: Hashable, **key_of: Callable) -> dict[str, Changes]:
    """Return the changes of the cells that tables print, by edition; ``key_of`` names them."""
    out = {}
    for edition in EDITIONS:
        values: Values = {}
        for table, key in key_of.items():
            printed = published.load(table, edition).query("protocol != ''")
            for row in printed[printed["metric"].isin(PRINTED.values())].itertuples():
                values.setdefault(key(row), {})[row.metric] = row.value
        if values:
            out[edition] = _changes(values, reference, PRINTED)
    return out


def _obtained(
    table: pd.DataFrame, comparisons: pd.DataFrame | None, reference: str, varied_of: Callable
) -> Changes:
    """Return the changes of our cells, with the intervals of their paired differences."""
    whole = (table["attribute"] == "all") & (table["backbone"] != NO_BACKBONE)
    values: Values = {}
    for row in table[whole].itertuples():
        if (varied := varied_of(row.protocol)) is not None:
            values.setdefault((row.backbone, varied), {})[row.metric] = row.estimate
    paired = {}
    if comparisons is not None:
        for row in comparisons[comparisons["against"] == reference].to_dict("records"):
            paired[row["backbone"], varied_of(row["protocol"]), row["metric"]] = row
    columns = {head: metric for heads in OBTAINED.values() for head, metric in heads.items()}
    return _changes(values, varied_of(reference), columns, paired)


def _changes(
    values: Values,
    reference: Hashable,
    columns: Mapping[str, str],
    paired: Mapping[tuple, Mapping[str, float]] | None = None,
) -> Changes:
    """Return the changes from the reference of the same backbone: in % where the column says so."""
    out: Changes = {}
    for (backbone, varied), found in values.items():
        start, texts = values.get((backbone, reference), {}), out.setdefault((backbone, varied), {})
        for head, metric in columns.items():
            before, after = start.get(metric, np.nan), found.get(metric, np.nan)
            plain = {"estimate": after - before, "low": np.nan, "high": np.nan}
            change = (paired or {}).get((backbone, varied, metric), plain)
            scale, digits = (100 / before if before else np.nan, 1) if "%" in head else (1, 3)
            scaled = {end: scale * change[end] for end in plain}
            texts[head] = with_interval(scaled, digits, signed=True)
            if varied == reference and np.isfinite(after):
                texts[head] = "reference"
    return out


def _varied(theirs: Mapping[str, Changes], ours: Changes) -> set[Hashable]:
    return {key[1] for side in (*theirs.values(), ours) for key in side}


def _rows(theirs: Mapping[str, Changes], ours: Changes, varied: Iterable[Hashable]) -> list[tuple]:
    """Return (published backbone, obtained backbone, varied) wherever either side has a cell."""
    printed = dict.fromkeys(key[0] for side in theirs.values() for key in side)
    mine = order(key[0] for key in ours)
    pairs = []
    for name in printed:
        same = [one for one in mine if COUNTERPARTS.get(one) == name]
        pairs += [(name, one) for one in same or [None]]
    pairs += [(None, one) for one in mine if COUNTERPARTS.get(one) not in printed]
    return [
        (name, one, value)
        for name, one in pairs
        for value in varied
        if (one, value) in ours or any((name, value) in side for side in theirs.values())
    ]


def _columns(
    rows: list[tuple],
    head: str,
    label: Callable[[Hashable], str],
    theirs: Mapping[str, Changes],
    ours: Changes,
    obtained: str,
) -> dict[str, list[str]]:
    """Return the columns of a table, each measure's beside each other."""
    out = {
        "Backbone (published)": [name or MISSING for name, _, _ in rows],
        f"Backbone ({obtained})": [look(one).label if one else MISSING for _, one, _ in rows],
        head: [label(value) for _, _, value in rows],
    }
    for measure, heads in OBTAINED.items():
        for edition, side in theirs.items():
            texts = [side.get((name, value), {}).get(measure, MISSING) for name, _, value in rows]
            out[f"Published, {EDITIONS[edition]} (FairFedMed): {measure}"] = texts
        for mine in heads:
            texts = [ours.get((one, value), {}).get(mine, MISSING) for _, one, value in rows]
            out[f"Obtained ({obtained}): {mine}"] = texts
    return out


def beside_grape(quadrants: pd.DataFrame) -> pd.DataFrame:
    """Return the errors on GRAPE in µm, one column per method and source.

    ``quadrants`` is long, from :func:`analysis.accuracy.quadrants.quadrant_table`.
    """
    theirs = pd.concat([published.load(table) for table in ("grape", "quick_start")])
    eyes = theirs[theirs["metric"] == "n_eyes"].set_index(["edition", "table"])["value"]
    groups = {"Mean (µm)": "mean", **{f"{name} (µm)": name for name in "SNIT"}}
    wide = {"GRAPE": [*groups, "σ (µm)", "Eyes"]}
    # The published global figure is the average of the quadrants, our mean.
    metrics = [f"mae_{'global' if group == 'mean' else group}" for group in groups.values()]
    cells_of = theirs[theirs["protocol"] != ""].groupby(["table", "protocol"], sort=False)
    for (table, method), cells in cells_of:
        label = "L1 only" if method == "l1_only" else look(method).label
        printed = {
            EDITIONS[edition] + ", quick start" * (table == "quick_start"): [
                *(number(rows["value"].get(metric, np.nan)) for metric in (*metrics, "sigma")),
                number(eyes.get((edition, table), np.nan), 0),
            ]
            for edition, rows in cells.set_index("metric").groupby("edition", sort=False)
        }
        if len(printed) > 1 and len(set(map(tuple, printed.values()))) == 1:
            printed = {"both editions": next(iter(printed.values()))}
        for name, column in printed.items():
            wide[f"Published, {name} (GRAPE): {label}"] = column
    mine = quadrants[quadrants["domain"] == "GRAPE"]
    for method in dict.fromkeys(mine["method"]) or ["not evaluated"]:
        cell = Cell(mine[mine["method"] == method])
        wide[f"Obtained (GRAPE): {look(method).label}"] = [
            *(cell.level("mae", 2, "quadrant", group) for group in groups.values()),
            MISSING,
            number(cell.row("mae", "quadrant", "mean").get("n", 0) or np.nan, 0),
        ]
    n = mine.loc[mine["group"] == "mean", "n"].max()
    counted = f"{eyes.iloc[0]:.0f} eyes published, {f'{n:.0f}' if n > 0 else 'none'} obtained"
    return captioned(
        wide,
        "Mean absolute error on GRAPE (real photographs on both sides, µm), published and "
        "obtained. The levels share a scale but not the eyes nor the evaluation: "
        f"{counted}, and the published models were trained on real eyes. constant and PCA + ridge "
        "were fitted to other GRAPE patients; the transferred models were trained on phantom eyes. "
        "Mean: average of the four quadrants, the published global figure. σ: SD of all "
        "predictions together, not kept for the obtained ones. Square brackets: 95 % intervals, "
        "patients resampled. —: not published, or not obtained.",
    )
