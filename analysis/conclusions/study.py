"""Conclusions of the main study: the phantom, convergence, the protocols, modalities, one eye."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.conclusions.claims import level, listed, name_of, rows_of, tally, trained
from analysis.presentation.text import number, percent
from rnfl.core.geometry import QUADRANTS

REAL = (0.54, 0.83)  # r of the mean thickness that real photographs allow, see difficulty
FLAT = 0.02  # share of the validation MAE below which a further change does not matter (ours)


def calibration(table: pd.DataFrame) -> str:
    """Say how many of the phantom's figures are near the real ones, and name those that are not."""
    outside = table[~table["within"].astype(bool)]
    text = f"{len(table) - len(outside)} of {len(table)} figures are within their tolerance."
    if outside.empty:
        return text
    form = "{quantity} ({source}: {reference:.2f}, phantom {phantom:.2f})"
    return f"{text} Outside: {'; '.join(form.format(**row) for _, row in outside.iterrows())}."


def known(table: pd.DataFrame, targets: pd.DataFrame, floors: pd.DataFrame) -> list[str]:
    """Say what frozen backbones, the targets of pretraining and the eyes themselves tell.

    Tables are those of :mod:`rnfl.study.known`.
    """
    said = []
    for (camera, learnt), rows in table.groupby(["camera", "learnt"], sort=False):
        by = rows.pivot_table(index="backbone", columns="gap", values="r_between", sort=False)
        near, far = by[by.columns.min()], by[by.columns.max()]
        falls, most = far < near, (near - far).idxmax()
        text = (
            f"{camera}, readouts of frozen backbones learnt {learnt}, correlation between eyes "
            f"(estimates on {rows['n'].iloc[0]} test eyes, without intervals): "
            f"{_span(near)} at gap {near.name:g}, {_span(far)} at gap {far.name:g}. It falls for "
            f"{falls.sum()} of {len(by)}"
        )
        if falls.any():
            text += f", most for {most} ({number(near[most], 2)} → {number(far[most], 2)})"
        if (random := "phantom_scratch") in by.index and len(by) > 1:
            text += (
                f"; random weights alone {number(near[random], 2)} → {number(far[random], 2)}, "
                f"which {(near > near[random]).sum()} of {len(by) - 1} pretrained ones surpass at "
                f"gap {near.name:g}"
            )
        said.append(f"{text}.")
    said += [
        f"A linear reader of the {row.targets} that pretraining asked for predicts the thickness "
        f"with r {number(row.r_between, 2)} between eyes ({row.n} eyes, five folds)."
        for row in targets.itertuples()
    ]
    at = floors.set_index("floor")["mae"]
    said.append(
        f"Mean absolute errors on test eyes: template {at['template']:.1f} µm, a linear reader of "
        f"noise-free cues {at['noise-free cues']:.1f} µm, label-noise floor "
        f"{at['label noise']:.1f} µm."
    )
    return said


def zero_shot(table: pd.DataFrame, reference: Sequence[str]) -> list[str]:
    """Say how models do on real eyes they never saw: :func:`sectors`, biases and correlations."""
    said, models = sectors(table, reference), table[~table["method"].isin(reference)]
    if not table["n"].any():
        return said

    def of(metric: str, group: str) -> pd.Series:
        rows = models[(models["metric"] == metric) & (models["group"] == group)]
        return rows.set_index("method")["estimate"].dropna()

    best, r = of("mae", "mean").idxmin(), of("r", "global")
    bias = ", ".join(f"{q} {number(of('bias', q)[best], 1, signed=True)}" for q in QUADRANTS)
    text = (
        f"{best}, picked on these very eyes, is off by {bias} µm on average; the correlation of "
        "the mean thickness is "
    )
    return [*said, f"{text}{_span(r)} ({', '.join(r.index)})."]


def _span(values: pd.Series) -> str:
    return f"{number(values.min(), 2)} to {number(values.max(), 2)}"


def appearance(table: pd.DataFrame) -> str:
    """Say how well a machine tells phantom crops from real ones (eyes, auc, n)."""
    if table.empty:
        return "Whether a machine tells phantom from real photographs was not asked: none are here."
    found = ", ".join(f"{row.eyes} {row.auc:.3f}" for row in table.itertuples())
    return (
        "A logistic regression on 37 figures of a crop tells phantom from real photographs with an "
        f"AUC (0.5: not at all) of: {found}."
    )


def label_noise(profiles: np.ndarray, profiles_true: np.ndarray) -> str:
    """Say how far labels (n, 360) lie from the truth (n, 360), µm: the label-noise floor.

    Knowing the truth itself would leave that error; no model that sees only images reaches it.
    """
    error = np.nanmean(np.abs(np.asarray(profiles, float) - np.asarray(profiles_true, float)))
    return (
        f"Labels differ from the true profiles by {error:.2f} µm on average: the label-noise "
        "floor, the error of the truth itself and not of what an image could tell."
    )


def pretraining(losses: pd.DataFrame) -> list[str]:
    """Say how far each pretraining came."""
    groups = losses.groupby("backbone", sort=False)
    return [
        f"{backbone}: loss {first.loss:.3f} at step {first.step:.0f}, {last.loss:.3f} at step "
        f"{last.step:.0f}; held-out {last.val_name} {last.val_metric:.3f}."
        for backbone, first, last in ((name, r.iloc[0], r.iloc[-1]) for name, r in groups)
    ]


def convergence(history: pd.DataFrame, protocol: str = "naive") -> list[str]:
    """Say, by backbone, whether the reference protocol's validation curve is flat at its end.

    Flat means that the best MAE of the last quarter of the epochs is less than 2 % below the best
    before it (ours). The rate decays to nothing there, so that a flat end is no convergence: what
    a longer schedule gains (:func:`longer_schedule`) says more.
    """
    out = []
    for backbone, rows in history[history["protocol"] == protocol].groupby("backbone", sort=False):
        curve = rows.groupby("epoch")["val_mae"].mean().sort_index().cummin()
        if len(curve) < 4:
            out.append(f"{backbone}: {len(curve)} epochs are too few to judge convergence.")
            continue
        before, end = curve.iloc[-1 - len(curve) // 4], curve.iloc[-1]
        flat = before - end < FLAT * end
        verdict = "is flat, as any curve is when its rate decays to nothing" if flat else "falls"
        out.append(
            f"{backbone}: {protocol} {verdict} at the end; its best validation MAE went from "
            f"{before:.2f} to {end:.2f} µm in the last quarter of {len(curve)} epochs."
        )
    return out


def longer_schedule(history: pd.DataFrame, longer: pd.DataFrame) -> list[str]:
    """Say, by backbone, what twice the epochs would still gain, on the same protocol and seed."""
    if longer.empty:
        return ["A longer schedule was not tried in this preset."]
    keys, out = ["backbone", "protocol", "seed"], []
    for (backbone, protocol, seed), rows in longer.groupby(keys):
        short = history[(history[keys] == [backbone, protocol, seed]).all(axis=1)]
        before, after = short["val_mae"].min(), rows["val_mae"].min()
        gain = number(100 * (after / before - 1), 1, signed=True)
        out.append(
            f"{backbone}: {protocol}, seed {seed}, reaches {before:.2f} µm in {len(short)} epochs "
            f"and {after:.2f} µm in {len(rows)} ({gain} %)."
        )
    return out


def best_cell(table: pd.DataFrame) -> str:
    """Say which backbone and protocol predicts best, and how near the label-noise floor it is."""
    mae = trained(rows_of(table, "mae", attribute="all"))
    covered = rows_of(table, "covered", attribute="all")
    best = mae["estimate"].idxmin()
    text = f"Best MAE: {name_of(best)}, {level(mae.loc[best])}"
    if best not in covered.index:
        return f"{text}."
    way = "of the way from the template to the label-noise floor"
    return f"{text}; that is {percent(covered.loc[best], ' %')} {way}."


def difficulty(table: pd.DataFrame) -> str:
    """Say how hard the eyes are to read, by the best cell's reading of their mean thickness.

    What real photographs allow: r 0.54 by PCA and ridge regression on 180 GRAPE eyes, r 0.83
    and 7.4 µm by a network trained on tens of thousands of pairs (Medeiros et al., Ophthalmology
    2019).
    """
    names = ("mae", "global_r", "global_mae")
    mae, r, error = (rows_of(table, name, attribute="all") for name in names)
    best = trained(mae)["estimate"].idxmin()
    r, error = r.loc[best], error.loc[best]
    place = "within, or not told apart from,"
    if r["low"] > REAL[1] or r["high"] < REAL[0]:
        place = "easier than" if r["low"] > REAL[1] else "harder than"
    return (
        f"Mean thickness of an eye, best cell: r {level(r, '')}, error {level(error, ' µm', 1)}; "
        f"{place} what real photographs allow (r {REAL[0]} to {REAL[1]}, 7.4 µm at the upper end)."
    )


def differences(comparisons: pd.DataFrame, against: str = "naive") -> list[str]:
    """Say, for each protocol, in which backbones its MAE differs from a reference."""
    rows = comparisons[(comparisons["against"] == against) & (comparisons["metric"] == "mae")]
    return [
        f"{protocol} against {against}: {listed(group.set_index('backbone'))}."
        for protocol, group in rows.groupby("protocol", sort=False)
    ]


def verdicts(comparisons: pd.DataFrame, against: str = "naive") -> str:
    """Count which protocols differ from a reference, are equivalent to it, or undecided (MAE)."""
    rows = comparisons[(comparisons["against"] == against) & (comparisons["metric"] == "mae")]
    return f"Of comparisons with {against}, {tally(rows)}."


def sectors(table: pd.DataFrame, reference: Sequence[str]) -> list[str]:
    """Say, by domain, which model has the lowest mean quadrant MAE and whether it beats references.

    ``table`` is that of :func:`analysis.accuracy.quadrants.quadrant_table`, of any number of
    domains; ``reference`` are the methods to be beaten. ``oracle floor`` is never a contender.
    """
    mean = table[(table["metric"] == "mae") & (table["group"] == "mean")]
    out = []
    for domain, rows in mean.groupby("domain", sort=False):
        rows = rows[rows["method"] != "oracle floor"].dropna(subset="estimate").set_index("method")
        models = rows[~rows.index.isin(reference)]
        if models.empty:
            out.append(f"{domain}: not evaluated.")
            continue
        best = models.loc[models["estimate"].idxmin()]
        text = f"{domain} ({int(models.n.max())} eyes): {best.name} {level(best)}"
        for name, row in rows[rows.index.isin(reference)].iterrows():
            word = "not told apart by its interval from"
            if best.high < row.low or best.low > row.high:
                word = "below" if best.high < row.low else "above"
            text += f", {word} {name} {level(row)}"
        out.append(f"{text}.")
    return out


def absent_domain(domain: str) -> pd.DataFrame:
    """Return the rows of a domain that was not evaluated: the same columns, no estimate, n = 0."""
    nothing = {"estimate": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    row = {"domain": domain, "method": "not evaluated", "metric": "mae", "attribute": "quadrant"}
    return pd.DataFrame([{**row, "group": group, **nothing} for group in (*"SNIT", "mean")])


def eyes(table: pd.DataFrame) -> list[str]:
    """Say how far off the prediction of each shown eye is, and where most."""
    out = []
    for row in table.to_dict("records"):
        worst = max("SNIT", key=lambda name: abs(row[f"err_{name}"]))
        out.append(
            f"{row['eye']} ({row['severity']}, {row['age']:.0f} years): MAE {row['mae']:.1f} µm; "
            f"largest quadrant error {worst} {number(row[f'err_{worst}'], 1, signed=True)} µm."
        )
    return out
