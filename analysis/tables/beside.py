"""The paper's numbers and ours side by side, as changes, because the eyes differ.

Every column says whose numbers it holds and on which eyes. The level of an error on phantom eyes
says nothing about FairFedMed, so only changes from the reference protocol stand beside each other.
A number that one side does not have is a dash; no row is dropped for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping

import numpy as np
import pandas as pd

from analysis import published
from analysis.presentation.style import look, order
from analysis.presentation.text import MISSING, lookup, number
from analysis.resampling.conditions import NO_BACKBONE

EDITIONS = {"submission": "submission", "august": "August", "unstated": "edition unstated"}
COUNTERPARTS = {  # obtained with -> published with: the same backbone, or the same pretraining
    "imagenet_vitb16": "ImageNet ViT-B/16",
    "phantom_cls": "ImageNet ViT-B/16",
    "phantom_depth": "DepthAnything V2-S",
    "phantom_mae": "RETFound ViT-L/16",
}
METRICS = ("mae", "pearson_per_eye", "pearson_pooled", "sigma_flat", "sigma_between")
REFERENCE, BASE = "naive", "aggressive"  # of Table 1 and of the ablations
_MEASURES = {  # head: (published metric, {head of the obtained column: metric}, in % of reference)
    "MAE (%)": ("mae", {"MAE (%)": "mae"}, True),
    "R": ("r", {"R per eye": "pearson_per_eye", "R pooled": "pearson_pooled"}, False),
    "σ (%)": ("sigma", {"σ flat (%)": "sigma_flat", "σ between (%)": "sigma_between"}, True),
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
    "Phantom backbones stand beside the published one with the same kind of pretraining "
    "(classification, depth, masked autoencoding), not the same size or images."
)
BESIDE_TABLE1_CAPTION = f"Change from naive, published and obtained. {_CHANGES} {_KIND}"
BESIDE_FREEZING_CAPTION = (
    "Change from nothing frozen by share of blocks frozen, L1 loss, published and obtained. "
    f"{_CHANGES} {_KIND}"
)
BESIDE_LOSS_CAPTION = (
    "Change from L1 alone by weight of the added loss term, published and obtained. λp: Pearson "
    "term, published without naming the backbone; λg: gradient term, published in Table 1 "
    f"(RETFound ViT-L/16, against aggressive). {_CHANGES}"
)
Changes = dict[Hashable, dict[str, str]]  # by row, then by head


def beside_table1(
    table: pd.DataFrame, comparisons: pd.DataFrame | None = None, obtained: str = "phantom"
) -> pd.DataFrame:
    """Return Table 1 as changes from *naive*, published and obtained, one row per cell.

    Parameters
    ----------
    table : DataFrame
        Long, from :func:`analysis.accuracy.performance.performance_table` or ``table1``.
    comparisons : DataFrame, optional
        From :func:`analysis.accuracy.significance.paired_comparisons` against *naive* with metrics
        :data:`METRICS`; gives the intervals. Changes without their comparison have none.
    obtained : str
        Which eyes the obtained numbers are from, as the column heads are to say.
    """
    theirs = _published("table1", lambda row: (row.backbone, row.protocol))
    ours = _obtained(table, comparisons, REFERENCE, lambda name: name)
    names = order([REFERENCE, *(key[1] for side in (*theirs.values(), ours) for key in side)])
    rows = _rows(theirs, ours, names)
    changes = {e: _changes(side, lambda key: (key[0], REFERENCE)) for e, side in theirs.items()}
    return _wide(rows, "Protocol", lambda name: look(name).label, changes, ours, obtained)


def beside_freezing(
    table: pd.DataFrame, comparisons: pd.DataFrame | None = None, obtained: str = "phantom"
) -> pd.DataFrame:
    """Return the changes from nothing frozen by the frozen share, in percent of the blocks.

    Parameters as in :func:`beside_table1`; the reference is *aggressive*, and protocols that
    freeze no share (``freeze_<percent>pct``) are another table's.
    """
    shares = published.load("freezing").query("metric == 'percent_frozen'")
    share = shares.drop_duplicates("protocol").set_index("protocol")["value"]
    theirs = _published("freezing", lambda row: (row.backbone, share.get(row.protocol)))
    ours = _obtained(table, comparisons, BASE, _percent_frozen)
    rows = _rows(
        theirs, ours, sorted({key[1] for side in (*theirs.values(), ours) for key in side})
    )
    changes = {e: _changes(side, lambda key: (key[0], 0)) for e, side in theirs.items()}
    return _wide(rows, "Frozen (%)", lambda one: number(one, 0), changes, ours, obtained)


def beside_loss(
    table: pd.DataFrame, comparisons: pd.DataFrame | None = None, obtained: str = "phantom"
) -> pd.DataFrame:
    """Return the changes from L1 alone by the weight of the Pearson and the gradient term.

    Parameters as in :func:`beside_table1`; the reference is *aggressive*.
    """
    weights = published.load("loss_complexity").query("metric == 'lambda_pearson'")
    weight = weights.set_index("protocol")["value"]
    pearson = _published("loss_complexity", lambda row: ("λp", weight.get(row.protocol)))
    changes = {e: _changes(side, lambda key: ("λp", 0)) for e, side in pearson.items()}
    table1 = _published("table1", lambda row: (row.backbone, row.protocol))
    for edition, side in table1.items():
        found = _changes(side, lambda key: (key[0], BASE)).get(
            ("RETFound ViT-L/16", "gradient_loss")
        )
        changes.setdefault(edition, {})[("λg", 0.2)] = found or {}
    theirs = {
        e: {(None, key): changes[e][key] for key in changes[e]} for e in EDITIONS if e in changes
    }
    ours = _obtained(table, comparisons, BASE, _weight)
    dials = {key[1] for side in (*theirs.values(), ours) for key in side}
    dials = sorted(dials, key=lambda dial: (dial[0] != "λp", dial[1]))
    mine = order(key[0] for key in ours) or [None]
    rows = [(None, backbone, dial) for backbone in mine for dial in dials]
    wide = _wide(rows, "Weight", lambda dial: f"{dial[0]} {dial[1]:g}", theirs, ours, obtained)
    return wide.drop(columns="Backbone (published)")


def _percent_frozen(protocol: str) -> float | None:
    found = re.fullmatch(r"freeze_(\d+)pct", protocol)
    return 0.0 if protocol == BASE else float(found[1]) if found else None


def _weight(protocol: str) -> tuple[str, float] | None:
    found = re.fullmatch(r"(pearson|gradient)_([\d.e-]+)", protocol)
    if found:
        return ("λp" if found[1] == "pearson" else "λg", float(found[2]))
    return {BASE: ("λp", 0.0), "gradient_loss": ("λg", 0.2)}.get(protocol)


def _published(table: str, key_of: Callable) -> dict[str, dict[Hashable, dict[str, float]]]:
    """Return the printed cells by edition, row and metric."""
    wanted = [metric for metric, _, _ in _MEASURES.values()]
    out: dict = {edition: {} for edition in EDITIONS}
    for row in published.load(table).itertuples():
        if row.metric in wanted and row.protocol:
            out[row.edition].setdefault(key_of(row), {})[row.metric] = row.value
    return {edition: cells for edition, cells in out.items() if cells}


def _changes(cells: Mapping, reference_of: Callable) -> Changes:
    """Return the changes of printed cells from the reference, as text."""
    out: Changes = {}
    for key, values in cells.items():
        reference = cells.get(reference_of(key), {})
        out[key] = {}
        for head, (metric, _, relative) in _MEASURES.items():
            start, value = reference.get(metric, np.nan), values.get(metric, np.nan)
            change = {"estimate": value - start, "low": np.nan, "high": np.nan}
            text = _text(change, start, relative)
            is_reference = key == reference_of(key) and np.isfinite(value)
            out[key][head] = "reference" if is_reference else text
    return out


def _obtained(
    table: pd.DataFrame, comparisons: pd.DataFrame | None, reference: str, dial_of: Callable
) -> Changes:
    """Return the changes of our cells from ``reference``, with intervals, by backbone and dial."""
    table = table[table["backbone"] != NO_BACKBONE]
    cells = {key: rows for key, rows in table.groupby(["backbone", "protocol"], sort=False)}
    out: Changes = {}
    for (backbone, protocol), rows in cells.items():
        dial = dial_of(protocol)
        if dial is None:
            continue
        texts = out.setdefault((backbone, dial), {})
        starts = cells.get((backbone, reference), rows.iloc[:0])
        for _, heads, relative in _MEASURES.values():
            for head, metric in heads.items():
                start = lookup(starts, metric)["estimate"]
                difference = lookup(rows, metric)["estimate"] - start
                change = {"estimate": difference, "low": np.nan, "high": np.nan}
                paired = _paired(comparisons, backbone, protocol, reference, metric)
                text = _text(change if paired is None else paired, start, relative)
                texts[head] = "reference" if protocol == reference else text
    return out


def _paired(
    comparisons: pd.DataFrame | None, backbone: str, protocol: str, reference: str, metric: str
) -> Mapping[str, float] | None:
    if comparisons is None:
        return None
    keys = comparisons[["backbone", "protocol", "against", "metric"]]
    found = comparisons[(keys == [backbone, protocol, reference, metric]).all(axis=1)]
    return found.iloc[0].to_dict() if len(found) else None


def _text(change: Mapping[str, float], start: float, relative: bool) -> str:
    """Return a change with its interval and explicit signs, in % of ``start`` when relative."""
    scale = (100 / start if start else np.nan) if relative else 1.0
    digits = 1 if relative else 3
    ends = [_signed(scale * change[name], digits) for name in ("estimate", "low", "high")]
    return ends[0] if MISSING in ends else f"{ends[0]} [{ends[1]}, {ends[2]}]"


def _signed(value: float, digits: int) -> str:
    text = number(value, digits)
    return f"+{text}" if value > 0 and text.strip("0.") else text


def _rows(theirs: Mapping, ours: Changes, dials: Iterable[Hashable]) -> list[tuple]:
    """Return (published backbone, obtained backbone, dial) wherever either side has a cell."""
    printed = dict.fromkeys(key[0] for side in theirs.values() for key in side)
    mine = order(key[0] for key in ours)
    pairs = []
    for name in printed:
        same = [one for one in mine if COUNTERPARTS.get(one) == name]
        pairs += [(name, one) for one in same or [None]]
    pairs += [(None, one) for one in mine if COUNTERPARTS.get(one) not in printed]
    return [
        (name, one, dial)
        for name, one in pairs
        for dial in dials
        if (one, dial) in ours or any((name, dial) in side for side in theirs.values())
    ]


def _wide(
    rows: list[tuple], head: str, label: Callable[[Hashable], str], theirs: Mapping[str, Changes],
    ours: Changes, obtained: str,
) -> pd.DataFrame:  # fmt: skip
    """Return one formatted row per row key, each measure's columns beside each other."""
    out: dict[str, list[str]] = {
        "Backbone (published)": [name or MISSING for name, _, _ in rows],
        f"Backbone ({obtained})": [look(one).label if one else MISSING for _, one, _ in rows],
        head: [label(dial) for _, _, dial in rows],
    }
    for measure, (_, heads, _) in _MEASURES.items():
        for edition, side in theirs.items():
            cells = [side.get((name, dial), {}).get(measure, MISSING) for name, _, dial in rows]
            out[f"Published, {EDITIONS[edition]} (FairFedMed): {measure}"] = cells
        for mine in heads:
            cells = [ours.get((one, dial), {}).get(mine, MISSING) for _, one, dial in rows]
            out[f"Obtained ({obtained}): {mine}"] = cells
    return pd.DataFrame(out)
