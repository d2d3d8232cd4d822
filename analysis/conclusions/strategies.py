"""Conclusions on strategies of adaptation: which differ, at what cost, and what the scale does."""

from __future__ import annotations

import pandas as pd

from analysis.collapse import DIVERSE, ONE, REPEATS, UNDECIDED
from analysis.conclusions.claims import (
    ALPHA,
    FLOOR,
    TEMPLATE,
    level,
    listed,
    rows_of,
    signed,
    tally,
    told_apart,
    trained,
)
from analysis.presentation.style import look
from analysis.presentation.text import number


def strategies(table: pd.DataFrame, comparisons: pd.DataFrame, costs: pd.DataFrame) -> list[str]:
    """Say, by gap, which strategy errs least, which differ from full fine-tuning, and the price.

    Tables are those of :mod:`analysis.accuracy.strategies`, each with ``gap``.
    """
    said = []
    for gap, rows in table.groupby("gap"):
        pairs, spent = (one[one["gap"] == gap] for one in (comparisons, costs))
        mae = rows_of(rows, "mae", attribute="all")
        best = trained(mae)["estimate"].idxmin()
        ends = [f"{name} {mae.loc[key, 'estimate']:.2f}"
                for name, key in (("template", TEMPLATE), ("label-noise floor", FLOOR))
                if key in mae.index]  # fmt: skip
        text = f"Gap {gap:g}: lowest MAE {look(best[1]).label}, {level(mae.loc[best])}"
        said.append(f"{text} ({', '.join(ends)} µm); it is picked on these eyes.")
        said.append(f"Gap {gap:g}: {against_full(pairs)}")
        said.append(f"Gap {gap:g}: {price(spent)}")
    return said


def against_full(comparisons: pd.DataFrame) -> str:
    """Say which strategies differ from full fine-tuning, are equivalent to it, or undecided."""
    rows = comparisons[(comparisons["against"] == "aggressive") & (comparisons["metric"] == "mae")]
    if rows.empty:
        return "no strategy was compared with full fine-tuning."
    rows = rows.assign(name=[look(one).label for one in rows["protocol"]]).set_index("name")
    better, worse = told_apart(rows, interval=False)
    text = f"against full fine-tuning {tally(rows, list(rows.index))}."
    shown = rows.loc[[*better, *worse]]
    return text if shown.empty else f"{text} Shown: {listed(shown)}."


def price(costs: pd.DataFrame) -> str:
    """Say what strategies spare of full fine-tuning's stored bytes and memory.

    Seconds are in the table alone: what else a machine did meanwhile is in them.
    """
    at = costs.set_index("protocol")
    if "aggressive" not in at.index:
        return "full fine-tuning was not run, so no cost is compared with it."
    full, parts = at.loc["aggressive"], []
    for protocol, row in at.drop(index="aggressive").iterrows():
        ratios = {
            "stored": row["bytes_stored"] / full["bytes_stored"],
            "memory": row["peak_bytes"] / full["peak_bytes"],
        }
        known = [f"{name} {100 * value:.0f} %" for name, value in ratios.items() if value == value]
        parts.append(f"{look(protocol).label} {', '.join(known)}")
    memory = " (memory is estimated)" if full["peak_bytes_are"] == "estimated" else ""
    return f"of full fine-tuning's cost{memory}: {'; '.join(parts)}."


def few_parameters(
    table: pd.DataFrame, comparisons: pd.DataFrame, costs: pd.DataFrame
) -> list[str]:
    """Say how little of the backbone may learn before its error is shown to grow."""
    at, mae = costs.set_index("protocol"), rows_of(table, "mae", attribute="all")
    rows = comparisons[(comparisons["against"] == "aggressive") & (comparisons["metric"] == "mae")]
    said = [f"In all, {against_full(comparisons)}"]
    share = at.reindex(rows["protocol"])["share_backbone"].to_numpy()
    rows = rows.assign(share=share).dropna(subset="share").sort_values("share")
    whole = rows[~((rows["p_holm"] < ALPHA) & (rows["estimate"] > 0))]
    if len(whole):
        least = whole.iloc[0]
        errs = level(mae.loc[(least["backbone"], least["protocol"])])
        cell = at.loc[least["protocol"]]
        said.append(
            "The fewest numbers that are not shown to err more than all: "
            f"{look(least['protocol']).label}, {number(100 * least['share'], 2)} % of the "
            f"backbone, {number(100 * cell['share'], 1)} % with projection and head: {errs}, "
            f"difference {signed(least)} µm. Not shown is not equal."
        )
    else:
        said.append("Every smaller part is shown to err more than all of it, in these runs.")
    return said


def output_scale(effects: pd.DataFrame, verdicts: pd.Series) -> list[str]:
    """Say what a raw output costs at each length, and whether collapse arises from it.

    ``effects`` are those of :func:`analysis.accuracy.strategies.scale_effect`; ``verdicts`` those
    of :func:`analysis.collapse.verdicts`, by backbone and ``protocol, scale, epochs``.
    """
    said, made = [], set()
    mae = effects[effects["metric"] == "mae"]
    for row in mae.itertuples():  # both of each pair
        made |= {(row.backbone, f"{row.strategy}, {scale}, {row.epochs}")
                 for scale in ("raw", "standardised")}  # fmt: skip
    for strategy, rows in mae.groupby("strategy", sort=False):
        rows = rows.sort_values("epochs").assign(
            name=lambda x: x["epochs"].map("{:g} epochs".format)
        )
        found = listed(rows.set_index("name"))
        said.append(f"{look(strategy).label}, raw against standardised output: {found}.")
    by = {word: [] for word in (ONE, REPEATS, UNDECIDED, DIVERSE)}
    verdicts = {key: word for key, word in verdicts.items() if key in made}
    for (_, cell), word in verdicts.items():
        by[word].append(cell)
    counts = "; ".join(
        f"{word}: {len(cells)} ({' / '.join(cells)})" for word, cells in by.items() if cells
    )
    said.append(f"Collapse of {len(verdicts)} cells (protocol, scale, epochs): {counts}.")
    raw = [cell for cell in [*by[ONE], *by[REPEATS]] if ", raw, " in cell]
    other = [cell for cell in [*by[ONE], *by[REPEATS]] if ", raw, " not in cell]
    said.append(
        f"Found to be one or a few templates: {len(raw)} cells with a raw output, {len(other)} "
        "with a standardised one."
    )
    return said
