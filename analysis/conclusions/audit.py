"""What the audit of published numbers found, in sentences."""

from __future__ import annotations

import pandas as pd

from analysis.published.audit.cells import CONTRADICTION, DOUBTFUL, FAILS, HOLDS, OPEN
from analysis.published.audit.text import quantity


def audit_findings(findings: pd.DataFrame) -> list[str]:
    """Return the conclusions of an audit, each from its findings.

    Parameters
    ----------
    findings : DataFrame
        From :func:`analysis.published.audit.audit`. A check without findings gives no sentence.
    """
    parts = [_freezing, _percentages, _bound, _grape, _count, _contradictions, _best, _spread]
    return [_counts(findings), *(text for part in parts for text in part(findings))]


def _counts(findings: pd.DataFrame) -> str:
    n = findings["verdict"].value_counts()
    words = {HOLDS: "hold", FAILS: "do not hold", CONTRADICTION: "contradict each other",
             DOUBTFUL: "are doubtful", OPEN: "cannot be checked"}  # fmt: skip
    listed = ", ".join(f"{n[name]} {text}" for name, text in words.items() if name in n)
    return f"Audit of {len(findings)} statements: {listed or 'none'}."


def _of(findings: pd.DataFrame, check: str, verdict: str | None = None) -> pd.DataFrame:
    rows = findings[findings["check"] == check]
    return rows if verdict is None else rows[rows["verdict"] == verdict]


def _told(row: pd.Series) -> str:
    return quantity(row["published"], row["published_digits"], "")


def _found(row: pd.Series, digits: int | None = None) -> str:
    return quantity(row["recomputed"], row["digits"] if digits is None else digits, "")


def _freezing(findings: pd.DataFrame) -> list[str]:
    out = []
    for (edition, _, cell), rows in _of(findings, "line").groupby(
        ["edition", "table", "cell"], sort=False
    ):
        unit = {row["unit"]: row for _, row in rows.iterrows() if "stated line" not in row["claim"]}
        where = f"Freezing ({edition}, {cell})" if edition else f"Freezing ({cell})"
        slope, fit = unit.get("µm/10 %"), unit.get("R²")
        if slope is not None and fit is not None:
            holds = {slope["verdict"], fit["verdict"]} == {HOLDS}
            out.append(
                f"{where}: least squares through the published points gives slope {_found(slope)} "
                f"per 10 % frozen (µm) and R² {_found(fit)}; stated are {_told(slope)} and "
                f"{_told(fit)}, which {'holds' if holds else 'does not hold'}."
            )
        for _, row in rows[rows["claim"].str.contains("the stated line")].iterrows():
            verb = "as published" if row["verdict"] == HOLDS else f"but {_found(row)} is published"
            share = row["claim"].rsplit(" at ", 1)[1]
            out.append(f"The stated line gives {_told(row)} µm at {share}, {verb}.")
        for _, row in rows[rows["claim"].str.contains("saturates")].iterrows():
            agrees = "agree" if row["verdict"] == HOLDS else "do not agree"
            detail = row["detail"].split("; ")[-1]
            out.append(f"{where}: the points {agrees} with a cost that saturates; {detail}.")
    return out


def _percentages(findings: pd.DataFrame) -> list[str]:
    rows = _of(findings, "percentage")
    checked = rows[rows["verdict"] != OPEN]
    if rows.empty:
        return []
    holds = int((checked["verdict"] == HOLDS).sum())
    out = [f"Percentages: {holds} of {len(checked)} that can be recomputed hold."]
    for _, row in checked[checked["verdict"] == FAILS].iterrows():
        found = quantity(row["recomputed"], row["digits"], row["unit"])
        detail = row["detail"].rstrip(".")
        out.append(f"“{row['claim']}”: recomputed it is {found} ({detail}).")
    return out


def _bound(findings: pd.DataFrame) -> list[str]:
    rows = _of(findings, "constant bound").dropna(subset=["published"])
    if rows.empty:
        return []
    above, best = rows[rows["verdict"] == FAILS], rows.loc[rows["published"].idxmin()]
    share = f"all {len(rows)}" if len(above) == len(rows) else f"{len(above)} of {len(rows)}"
    bounds = sorted({_found(row) for _, row in rows.iterrows()})
    text = (
        f"Constant bound: whatever the distribution, a constant's MAE is at most the SD of the "
        f"labels (σ_true = {' / '.join(bounds)} µm). {share.capitalize()} MAEs lie above it "
        f"({_told(best)} µm at best)"
    )
    text += ", so they are no better than a constant" if len(above) else ""
    if _of(findings, "constant bound")["reading"].str.contains("mean thickness").any():
        text += (
            "; this holds if σ_true is the flat or the between-eye SD, which is not said, and says "
            "nothing if it is the SD of each eye's mean thickness"
        )
    return [f"{text}."]


def _grape(findings: pd.DataFrame) -> list[str]:
    rows = _of(findings, "GRAPE constant")
    closed = rows.dropna(subset=["published"])
    if closed.empty:
        return [f"GRAPE constant: cannot be checked; {r['detail']}." for _, r in rows.iterrows()]
    whole = closed[closed["claim"].str.contains("global")]
    beaten = int((closed["verdict"] == FAILS).sum())
    constant = f"{_found(whole.iloc[0])} µm, " if len(whole) else ""
    best = whole.loc[whole["published"].idxmin()] if len(whole) else None
    against = f" (best published: {_told(best)} µm)" if best is not None else ""
    return [
        f"GRAPE constant: predicting GRAPE's own mean for every eye scores {constant}averaged over "
        f"quadrants{against}; {beaten} of {len(closed)} published errors are no better. Reading: "
        f"{closed['reading'].iloc[0]}."
    ]


def _count(findings: pd.DataFrame) -> list[str]:
    return [
        f"Eyes: {row['claim']} are stated; {row['verdict']}, {row['detail']}."
        for _, row in _of(findings, "count").iterrows()
    ]


def _contradictions(findings: pd.DataFrame) -> list[str]:
    rows = _of(findings, "printed twice", CONTRADICTION)
    if rows.empty and _of(findings, "printed twice").empty:
        return []
    listed = "; ".join(rows["claim"])
    out = [f"Contradictions: {len(rows)}{f' ({listed})' if listed else ''}."]
    for _, row in _of(findings, "printed twice", DOUBTFUL).iterrows():
        out.append(f"Doubtful: {row['detail']}; {row['reading']}.")
    return out


def _best(findings: pd.DataFrame) -> list[str]:
    return [
        f"Printed as best: {row['claim']} {row['verdict']}; {row['detail']}."
        for _, row in _of(findings, "best", FAILS).iterrows()
    ]


def _spread(findings: pd.DataFrame) -> list[str]:
    rows = _of(findings, "sigma", OPEN)
    if rows.empty:
        return []
    return [
        f"Spread: in {len(rows)} of the audited tables σ cannot show whether predictions differ "
        f"between eyes, since σ_between is not given and a template has a flat σ too."
    ]
