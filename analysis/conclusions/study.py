"""Conclusions of the main study: phantom, convergence, protocols, collapse, modalities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.conclusions.common import with_interval
from analysis.conclusions.wording import difference, plus

FLAT = 0.02  # share of the validation MAE below which a further change does not matter (ours)
COLLAPSED = 0.5  # predicted eye-to-eye spread over the true one below which it is poor (ours)


def calibration(table: pd.DataFrame) -> str:
    """Say how many of the phantom's figures are near the real ones, and name those that are not."""
    outside = table[~table["within"].astype(bool)]
    text = f"{len(table) - len(outside)} of {len(table)} figures are within their tolerance."
    if len(outside):
        named = "; ".join(
            f"{row.quantity} ({row.source}: {row.reference:.2f}, phantom {row.phantom:.2f})"
            for row in outside.itertuples()
        )
        text += f" Outside: {named}."
    return text


def label_noise(profiles: np.ndarray, profiles_true: np.ndarray) -> str:
    """Say how far labels (n, 360) lie from the truth (n, 360), µm: no model can do better."""
    error = np.nanmean(np.abs(np.asarray(profiles, float) - np.asarray(profiles_true, float)))
    return f"Labels differ from the true profiles by {error:.2f} µm on average."


def convergence(history: pd.DataFrame, protocol: str = "naive") -> list[str]:
    """Say, by backbone, whether the reference protocol's validation curve is flat at its end.

    Flat means that the best MAE of the last quarter of the epochs is less than 2 % below the best
    before it (ours).
    """
    out = []
    chosen = history[history["protocol"] == protocol]
    for backbone, rows in chosen.groupby("backbone", sort=False):
        curve = rows.groupby("epoch")["val_mae"].mean().sort_index().cummin()
        if len(curve) < 4:
            out.append(f"{backbone}: {len(curve)} epochs are too few to judge convergence.")
            continue
        before, end = curve.iloc[-1 - len(curve) // 4], curve.iloc[-1]
        verdict = "has converged" if before - end < FLAT * end else "has not converged"
        out.append(
            f"{backbone}: {protocol} {verdict}; its best validation MAE went from "
            f"{before:.2f} to {end:.2f} µm in the last quarter of {len(curve)} epochs."
        )
    return out


def longer_schedule(history: pd.DataFrame, longer: pd.DataFrame) -> list[str]:
    """Say, by backbone, what twice the epochs would still gain, on the same protocol and seed."""
    if longer.empty:
        return ["A longer schedule was not tried in this profile."]
    out = []
    for (backbone, protocol, seed), rows in longer.groupby(["backbone", "protocol", "seed"]):
        same = (history["backbone"] == backbone) & (history["protocol"] == protocol)
        short = history[same & (history["seed"] == seed)]
        before, after = short["val_mae"].min(), rows["val_mae"].min()
        out.append(
            f"{backbone}: {protocol}, seed {seed}, reaches {before:.2f} µm in {len(short)} epochs "
            f"and {after:.2f} µm in {len(rows)} ({plus(100 * (after / before - 1), 1)} %)."
        )
    return out


def best_cell(table: pd.DataFrame) -> str:
    """Say which backbone and protocol predicts best, and how far it gets towards the floor."""
    rows = table[(table["attribute"] == "all") & (table["backbone"] != "—")]
    mae = rows[rows["metric"] == "mae"]
    best = mae.loc[mae["estimate"].idxmin()]
    text = f"Best MAE: {best.backbone} with {best.protocol}, {with_interval(best)}"
    here = (rows["backbone"] == best.backbone) & (rows["protocol"] == best.protocol)
    covered = rows[here & (rows["metric"] == "covered")]
    if covered.empty:
        return text + "."
    percent = 100 * covered[["estimate", "low", "high"]].iloc[0]
    way = "of the way from the template to the oracle floor"
    return f"{text}; that is {with_interval(percent, ' %', 0)} {way}."


def difficulty(table: pd.DataFrame) -> str:
    """Say how hard the eyes are to read, by the best cell's reading of their mean thickness.

    What real photographs allow: r 0.54 by PCA and ridge regression on 180 GRAPE eyes, r 0.83
    and 7.4 µm by a network trained on tens of thousands of pairs (Medeiros et al., Ophthalmology
    2019).
    """
    rows = table[(table["attribute"] == "all") & (table["backbone"] != "—")]
    wide = rows.pivot_table(index=["backbone", "protocol"], columns="metric", values="estimate")
    best = wide.loc[wide["mae"].idxmin()]
    easy, hard = best["global_r"] > 0.83, best["global_r"] < 0.54
    place = "easier than" if easy else "harder than" if hard else "within"
    return (
        f"Mean thickness of an eye, best cell: r {best['global_r']:.2f}, error "
        f"{best['global_mae']:.1f} µm; {place} what real photographs allow "
        "(r 0.54 to 0.83, 7.4 µm at the upper end)."
    )


def differences(comparisons: pd.DataFrame, against: str = "naive") -> list[str]:
    """Say, for each protocol, in which backbones its MAE differs from a reference.

    A difference counts when its Holm-corrected p is below 0.05.
    """
    rows = comparisons[(comparisons["against"] == against) & (comparisons["metric"] == "mae")]
    out = []
    for protocol, group in rows.groupby("protocol", sort=False):
        parts = [f"{row.backbone}: {difference(row)}" for row in group.itertuples()]
        out.append(f"{protocol} against {against}: " + "; ".join(parts) + ".")
    return out


def collapse(stats: pd.DataFrame) -> list[str]:
    """Say, for each cell, how much of the true spread between eyes its predictions keep."""
    wide = stats.pivot_table(
        index=["backbone", "protocol"], columns="metric", values="estimate", sort=False
    ).reindex(columns=stats["metric"].unique())  # a metric that nobody has stays, as NaN
    cells = wide[wide.index.get_level_values("backbone") != "—"]
    target = wide.xs("target", level="protocol").iloc[0]
    out = [
        f"True profiles differ between eyes by σ_between {target.sigma_between:.1f} µm; "
        f"their σ_flat is {target.sigma_flat:.1f} µm."
    ]
    for (backbone, protocol), row in cells.iterrows():
        verdict = "collapsed towards a template" if row.sigma_ratio < COLLAPSED else "no collapse"
        share = f"{100 * row.sigma_ratio:.0f} % of the truth ({verdict})"
        if not np.isfinite(row.sigma_ratio):
            share = "not to be judged, as the true profiles do not differ"
        out.append(
            f"{backbone} with {protocol}: σ_between {row.sigma_between:.1f} µm, {share}; "
            f"σ_flat {row.sigma_flat:.1f} µm."
        )
    return out


def flat_sigma(stats: pd.DataFrame) -> str:
    """Say what the published spread makes of the template baseline."""
    rows = stats[(stats["protocol"] == "template")].set_index("metric")["estimate"]
    return (
        f"The template predicts the same profile for every eye: its σ_between is "
        f"{rows['sigma_between']:.1f} µm, yet the published σ_flat gives it "
        f"{rows['sigma_flat']:.1f} µm."
    )


def sectors(table: pd.DataFrame, reference: Sequence[str]) -> list[str]:
    """Say, by domain, which model has the lowest mean quadrant MAE and whether it beats references.

    Parameters
    ----------
    table : DataFrame
        Of :func:`analysis.accuracy.quadrants.quadrant_table`, any number of domains.
    reference : sequence of str
        Methods that are yardsticks; ``oracle floor`` is never a contender.
    """
    mean = table[(table["metric"] == "mae") & (table["group"] == "mean")]
    out = []
    for domain, rows in mean.groupby("domain", sort=False):
        rows = rows.set_index("method").drop("oracle floor", errors="ignore")
        known = rows[rows.index.isin(reference) & rows["estimate"].notna()]
        models = rows[~rows.index.isin(reference) & rows["estimate"].notna()]
        if models.empty:
            out.append(f"{domain}: not evaluated.")
            continue
        best = models["estimate"].idxmin()
        text = f"{domain} ({int(models.n.max())} eyes): {best} {with_interval(models.loc[best])}"
        for name, row in known.iterrows():
            word = "below" if models.loc[best, "estimate"] < row.estimate else "not below"
            text += f", {word} {name} {with_interval(row)}"
        out.append(text + ".")
    return out


def absent_domain(domain: str) -> pd.DataFrame:
    """Return the rows of a domain that was not evaluated: the same columns, no estimate, n = 0."""
    nothing = {"estimate": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    row = {"domain": domain, "method": "not evaluated", "metric": "mae", "attribute": "quadrant"}
    return pd.DataFrame([{**row, "group": group, **nothing} for group in (*"SNIT", "mean")])


def eyes(table: pd.DataFrame) -> list[str]:
    """Say how far off the prediction of each shown eye is, and where most."""
    out = []
    for row in table.itertuples():
        errors = {name: getattr(row, f"err_{name}") for name in "SNIT"}
        worst = max(errors, key=lambda name: abs(errors[name]))
        out.append(
            f"{row.eye} ({row.severity}, {row.age:.0f} years): MAE {row.mae:.1f} µm; largest "
            f"quadrant error {worst} {plus(errors[worst], 1)} µm."
        )
    return out


def pretraining(losses: pd.DataFrame) -> list[str]:
    """Say how far each pretraining came."""
    out = []
    for backbone, rows in losses.groupby("backbone", sort=False):
        first, last = rows.iloc[0], rows.iloc[-1]
        out.append(
            f"{backbone}: loss {first.loss:.3f} at step {first.step:.0f}, {last.loss:.3f} at step "
            f"{last.step:.0f}; held-out {last.val_name} {last.val_metric:.3f}."
        )
    return out
