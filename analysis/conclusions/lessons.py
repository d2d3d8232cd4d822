"""Conclusions on starts, fractions of the labels, quality of pictures, and thinking longer."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.conclusions.claims import level, listed, tally


def mae_of(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return the comparisons of the mean absolute error."""
    return comparisons[comparisons["metric"] == "mae"]


def _share(fraction: float) -> str:
    return f"{100 * fraction:g} % of the labels"


def self_pretraining(comparisons: pd.DataFrame, masked: pd.DataFrame) -> list[str]:
    """Say what learning the training pictures first does to the error, by start and fraction.

    ``masked`` has a row per start: start, r2 (of hidden patches, pictures held out), seconds.
    """
    rows = mae_of(comparisons)
    names = rows["start"] + ", " + rows["fraction"].map(_share)
    said = [f"Own pictures first, against the start as it is: {listed(rows.set_index(names))}."]
    said.append(f"Of these, {tally(rows, list(names))}.")
    told = "; ".join(
        f"{one.start} R² {one.r2:.3f} in {one.seconds:.0f} s" for one in masked.itertuples()
    )
    weak = "" if masked["r2"].max() > 0.05 else ": so little that this says nothing of more steps"
    said.append(f"Learnt of hidden patches, in pictures held out: {told}{weak}.")
    return said


def specialists(comparisons: pd.DataFrame, missing: list[str]) -> list[str]:
    """Say how each start compares with the plainest, by adaptation and fraction."""
    rows, said = mae_of(comparisons), []
    for adaptation, own in rows.groupby("adaptation", sort=False):
        names = own["start"].str.replace("_", " ") + ", " + own["fraction"].map(_share)
        against = own["against"].iloc[0].replace("_", " ")
        said.append(f"{adaptation}, against {against}: {listed(own.set_index(names))}.")
    said.append(f"Of all, {tally(rows)}.")
    if missing:
        said.append(f"Without weights here, and so not compared: {', '.join(missing)}.")
    return said


def best_by_fraction(table: pd.DataFrame) -> list[str]:
    """Name the lowest error at each fraction; the lowest of many is flattered by being chosen."""
    mae = table[(table["metric"] == "mae") & (table["attribute"] == "all")]
    said = []
    for fraction, rows in mae.dropna(subset="fraction").groupby("fraction"):
        best = rows.loc[rows["estimate"].idxmin()]
        said.append(
            f"{_share(fraction)}: the lowest of {len(rows)} is {best['start']} with "
            f"{best['adaptation']}, {best['estimate']:.2f} µm [{best['low']:.2f}, "
            f"{best['high']:.2f}], chosen among them by this very error."
        )
    return said


def image_quality(comparisons: pd.DataFrame, heat: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """Say what a mismatch of quality costs, and whether a pretrained start needs high quality."""
    rows, spread = mae_of(comparisons), table[table["metric"] == "sigma_ratio"]["estimate"]
    few = int((spread < 0.1).sum())
    said = [
        f"{few} of {len(spread)} cells keep less than a tenth of the spread between eyes: they "
        "have not left the template, and to one profile for every eye no quality matters."
    ]
    mix = rows[rows["question"] == "mix"]
    for tested, own in mix.groupby("tested", sort=False):
        names = (
            own["start"] + ", " + own["fraction"].map(_share)
            + ", " + (100 * own["mix"]).map("{:g} % high".format)
        )  # fmt: skip
        matched = "high" if tested == "high" else "low"
        said.append(
            f"Tested on {tested} quality, against training on {matched} quality alone: "
            f"{listed(own.set_index(names))}."
        )
    said.append(f"Mismatch: {tally(mix)}.")
    start = rows[rows["question"] == "start"]
    said.append(f"A pretrained start against random weights: {tally(start)}.")
    worse = start[(start["estimate"] > 0) & (start["p_holm"] < 0.05)]
    claim = "met there" if len(worse) else "not shown here, nor refuted"
    said.append(
        f"In {len(worse)} of {len(start)} cells the pretrained start is shown to err more: that "
        f"too little high quality undoes pretraining, as is published, is {claim}."
    )
    top = heat.loc[heat["above_matched"].idxmax()]
    said.append(
        f"The largest excess over the matched mix is {top['above_matched']:+.2f} µm: {top['start']}"
        f", {_share(top['fraction'])}, trained on {100 * top['mix']:g} % high, tested on "
        f"{100 * top['test_mix']:g} %."
    )
    return said


def labels_saved(found: Mapping[str, float | str]) -> str:
    """Say at which fraction a pretrained start errs as a random one with all labels."""
    if found["said"] == "reached":
        low, high = found["low"], found["high"]
        ends = (
            (f"{100 * low:.1f}" if low == low else f"below {100 * found['smallest']:g}"),
            (f"{100 * high:.0f} %" if high == high else "not reached"),
        )
        word = f"at {100 * found['estimate']:.1f} % [{ends[0]}, {ends[1]}] of the labels"
    else:
        word = {
            "below the smallest": f"already at {_share(found['smallest'])}, the least tried",
            "not reached": "at no fraction that was tried",
        }[found["said"]]
    return (
        f"The pretrained start errs as the random one with all labels {word}; in "
        f"{100 * found['share_reached']:.0f} % of resamples it gets there at all."
    )


def time_saved(arrivals: pd.DataFrame, pretraining_steps: int) -> str:
    """Say after how many steps runs are within 2 % of their own last validation error."""
    by = arrivals[arrivals["fraction"] == 1.0].groupby("start", sort=False)
    parts = [
        f"{start} after {own['steps'].median():.0f} of {own['of'].median():.0f} steps"
        for start, own in by
    ]
    return (
        f"With all labels, within 2 % of the own last validation error: {'; '.join(parts)} "
        f"(medians over seeds). The pretraining itself took {pretraining_steps:,} steps."
    )


def passes(comparisons: pd.DataFrame) -> str:
    """Say what equal passes do against equal steps where labels are few."""
    rows = mae_of(comparisons[comparisons["against"] == "steps"])
    names = rows["start"] + ", " + rows["fraction"].map(_share)
    return f"Equal passes, against equal steps: {listed(rows.set_index(names))}."


def thinking(comparisons: pd.DataFrame, table: pd.DataFrame, turned: float) -> list[str]:
    """Say what reading an eye several times does to its error and to the spread between eyes.

    ``turned`` is how much of a turn of the picture the reading follows, 0 to 1.
    """
    rows, said = mae_of(comparisons), []
    for look, own in rows.groupby("look", sort=False):
        names = own["start"] + ", " + own["fraction"].map(_share)
        what = {"best of": "Best of (a ceiling that knows the label)", "one of": "One of (control)"}
        n = int(own["passes"].iloc[0])
        said.append(
            f"{what.get(look, look.capitalize())}, {n} passes, against one: "
            f"{listed(own.set_index(names))}."
        )
    spread = comparisons[comparisons["metric"] == "sigma_between"]
    spread = spread[spread["look"].isin(["views", "rotations", "ensemble"])]
    lower = spread[(spread["estimate"] < 0) & (spread["p_holm"] < 0.05)]
    said.append(
        f"Averaging's price: the spread between eyes is shown to shrink in {len(lower)} of "
        f"{len(spread)} cells, by at most {-spread['estimate'].min():.2f} µm."
    )
    said.append(
        f"Of a turn of the picture, readings follow {turned:.2f} (1: all of it): turned back, "
        "they are off by the rest."
    )
    return said


def own_photographs(table: pd.DataFrame, paired: pd.DataFrame) -> str:
    """Say what learning real photographs first does to the readout of each start."""
    mae = table[(table["metric"] == "mae") & (table["group"] == "mean")].set_index("method")
    own = paired[paired["method"].str.contains("own")]
    start = own["method"].str.partition(",")[0]
    own = own[start == own["against"].str.partition(",")[0]].set_index("method")
    levels = "; ".join(f"{name} {level(row)}" for name, row in mae.iterrows())
    return f"Real photographs, mean quadrant error: {levels}. Own against as it is: {listed(own)}."


def by_sharpness(table: pd.DataFrame) -> str:
    """Say how a readout errs on real photographs by measured sharpness, whatever the cause."""
    mae = table[(table["metric"] == "mae") & (table["group"] == "mean")]
    parts = []
    for third, rows in mae.groupby("domain", sort=False):
        at = rows.set_index("method")
        parts.append(
            f"{third} (mean age {rows['mean_age'].iloc[0]:.0f}): readout {level(at.loc['readout'])}"
            f", constant {level(at.loc['constant'])}"
        )
    return f"Real photographs by measured sharpness, exploratory: {'; '.join(parts)}."
