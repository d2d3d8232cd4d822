"""What the audit of published numbers found, in sentences."""

from __future__ import annotations

import pandas as pd

from analysis.conclusions.claims import count, named
from analysis.published.audit.cells import CONTRADICTION, DOUBTFUL, FAILS, HOLDS, OPEN, WORDS
from analysis.published.audit.text import counted, quantity


def audit_findings(findings: pd.DataFrame) -> list[str]:
    """Return the conclusions of an audit, each from its findings.

    ``findings`` are those of :func:`analysis.published.audit.audit`. A check without findings gives
    no sentence.
    """
    out = counted(findings)
    for checks, verdict, say in SENTENCES:
        rows = findings[findings["check"].isin(checks)]
        rows = rows if verdict is None else rows[rows["verdict"] == verdict]
        if isinstance(say, str):
            told = rows.assign(verdict=[WORDS[one][0] for one in rows["verdict"]])
            out += [say.format(**row) for row in told.to_dict("records")]
        elif len(rows):
            out += say(rows)
    return out


def _told(row: pd.Series) -> str:
    return quantity(row["published"], row["published_digits"], "")


def _found(row: pd.Series, unit: str = "") -> str:
    return quantity(row["recomputed"], row["digits"], unit)


def _freezing(lines: pd.DataFrame) -> list[str]:
    out = []
    for (edition, _, cell), rows in lines.groupby(["edition", "table", "cell"], sort=False):
        stated = rows["claim"].str.contains("stated line")
        unit = {row["unit"]: row for _, row in rows[~stated].iterrows()}
        where = f"Freezing ({edition}, {cell})" if edition else f"Freezing ({cell})"
        slope, fit = unit.get("µm/10 %"), unit.get("R²")
        if slope is not None and fit is not None:
            holds = {slope["verdict"], fit["verdict"]} == {HOLDS}
            out.append(
                f"{where}: least squares through the published points gives slope {_found(slope)} "
                f"per 10 % frozen (µm) and R² {_found(fit)}; stated are {_told(slope)} and "
                f"{_told(fit)}, which {'holds' if holds else 'does not hold'}."
            )
        for _, row in rows[stated].iterrows():
            verb = "as published" if row["verdict"] == HOLDS else f"but {_found(row)} is published"
            share = row["claim"].rsplit(" at ", 1)[1]
            out.append(f"The stated line gives {_told(row)} µm at {share}, {verb}.")
        for _, row in rows[rows["claim"].str.contains("saturates")].iterrows():
            agrees = "agree" if row["verdict"] == HOLDS else "do not agree"
            detail = row["detail"].split("; ")[-1]
            out.append(f"{where}: the points {agrees} with a cost that saturates; {detail}.")
    return out


def _percentages(rows: pd.DataFrame) -> list[str]:
    checked = rows[rows["verdict"] != OPEN]
    holds, fails = (checked[checked["verdict"] == verdict] for verdict in (HOLDS, FAILS))
    return [f"Percentages: {count(holds, checked)} that can be recomputed hold."] + [
        f"“{row['claim']}”: recomputed it is {_found(row, row['unit'])} "
        f"({row['detail'].rstrip('.')})."
        for _, row in fails.iterrows()
    ]


def _ties(rows: pd.DataFrame) -> list[str]:
    tied = rows[rows["detail"].str.startswith("a tie")]
    said = "".join(f"; {row['claim']} is {row['detail']}" for _, row in tied.iterrows())
    return [f"Printed as best and so: {len(rows)}{said}."]


def _bound(rows: pd.DataFrame) -> list[str]:
    printed = rows.dropna(subset=["published"])
    if printed.empty:
        return []
    above, best = printed[printed["verdict"] == FAILS], printed.loc[printed["published"].idxmin()]
    share = f"All {len(printed)}" if len(above) == len(printed) else count(above, printed)
    bounds = " / ".join(sorted({_found(row) for _, row in printed.iterrows()}))
    text = (
        "Constant bound: whatever the distribution, a constant's MAE is at most the SD of the "
        f"labels (σ_true = {bounds} µm). {share} MAEs lie above it ({_told(best)} µm at best)"
    )
    text += ", so they are no better than a constant" if len(above) else ""
    if rows["reading"].str.contains("mean thickness").any():
        text += "; this holds if σ_true is the flat or the between-eye SD, which is not said, and "
        text += "says nothing if it is the SD of each eye's mean thickness"
    return [f"{text}."]


def _grape(rows: pd.DataFrame) -> list[str]:
    closed = rows.dropna(subset=["published"])
    if closed.empty:
        return [f"GRAPE constant: cannot be checked; {detail}." for detail in rows["detail"]]
    whole, beaten = closed[closed["claim"].str.contains("global")], closed["verdict"] == FAILS
    constant = against = ""
    if len(whole):
        constant = f"{_found(whole.iloc[0])} µm, "
        against = f" (best published: {_told(whole.loc[whole['published'].idxmin()])} µm)"
    return [
        f"GRAPE constant: predicting GRAPE's own mean for every eye scores {constant}averaged over "
        f"quadrants{against}; {beaten.sum()} of {len(closed)} published errors are no better. "
        f"Reading: {closed['reading'].iloc[0]}."
    ]


def _contradictions(rows: pd.DataFrame) -> list[str]:
    found = rows.loc[rows["verdict"] == CONTRADICTION, "claim"]
    return [f"Contradictions: {len(found)}{named(found, '; ')}."]


def _spread(rows: pd.DataFrame) -> list[str]:
    return [
        f"Spread: in {len(rows)} of the audited tables σ cannot show whether predictions differ "
        f"between eyes, since σ_between is not given and a template has a flat σ too."
    ]


# In their order: checks, verdict (None: any), and a sentence for each finding or what says of all.
SENTENCES = (
    (("line", "line value"), None, _freezing),
    (("percentage",), None, _percentages),
    (("range",), None, "“{claim}” {verdict}: recomputed {reading}."),
    (("collapse",), None, "“{claim}” {verdict}: {detail}. Reading: {reading}."),
    (("constant bound",), None, _bound),
    (("GRAPE constant",), None, _grape),
    (("count",), None, "Eyes: {claim} are stated; {verdict}, {detail}."),
    (("printed twice",), None, _contradictions),
    (("printed twice",), DOUBTFUL, "Doubtful: {claim}; {reading}."),
    (("best",), FAILS, "Printed as best: {claim} {verdict}; {detail}."),
    (("best",), HOLDS, _ties),
    (("gap",), FAILS, "Fairness: “{claim}” {verdict}; {detail} ({reading})."),
    (
        ("GRAPE spread",),
        DOUBTFUL,
        "Doubtful: {claim}: {detail}; the quadrants are {recomputed:.2f} µm from any constant's. "
        "Reading: {reading}.",
    ),
    (("sigma",), OPEN, _spread),
)
