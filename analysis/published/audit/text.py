"""An audit as text: numbers with units, findings alike as one, and what a terminal shows."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from analysis.published.audit.cells import (
    CLAIM,
    CONSISTENCY,
    CONTRADICTION,
    DOUBTFUL,
    FAILS,
    HOLDS,
    OPEN,
    VERDICTS,
    YARDSTICK,
)

#: Checks that say the same of many cells; what they have in common is said once.
MANY = ("constant bound", "offset")
ENOUGH = 3  # findings alike that are worth putting together
WIDTH = 96
KINDS = {
    CLAIM: "What is claimed",
    CONSISTENCY: "Whether the numbers fit each other",
    YARDSTICK: "Our own yardsticks, which nobody claims to pass",
}
WORDS = {  # of one finding, of several
    HOLDS: ("holds", "hold"),
    FAILS: ("does not hold", "do not hold"),
    CONTRADICTION: ("contradicts another", "contradict each other"),
    DOUBTFUL: ("is doubtful", "are doubtful"),
    OPEN: ("cannot be checked", "cannot be checked"),
}


def counted(findings: pd.DataFrame) -> list[str]:
    """Return how many findings of each kind came to which verdict, a sentence per kind.

    Examples
    --------
    >>> one = {"kind": "claim", "verdict": "holds"}
    >>> counted(pd.DataFrame([one, one, {**one, "verdict": "doubtful"}]))
    ['What is claimed: 3, of which 2 hold, 1 is doubtful.']
    """
    out = []
    for kind, name in KINDS.items():
        n = findings.loc[findings["kind"] == kind, "verdict"].value_counts()
        told = [f"{n[v]} {words[int(n[v] > 1)]}" for v, words in WORDS.items() if v in n]
        if told:
            out.append(f"{name}: {n.sum()}, of which {', '.join(told)}.")
    return out


def quantity(value: float, digits: int, unit: str) -> str:
    """Return a number of an audit with its unit.

    Examples
    --------
    >>> quantity(23.22, 1, "%"), quantity(0.859, 2, "R²"), quantity(float("nan"), 0, "µm")
    ('23.2 %', '0.86', '—')
    """
    if not np.isfinite(value):
        return "—"
    text = f"{value:.{int(digits)}f}".replace("-", "−")
    return text if unit in ("", "R²") else f"{text} {unit}"


def together(editions: Iterable[str]) -> str:
    """Return every edition that is named, once.

    Examples
    --------
    >>> together(["submission", "submission and august", ""])
    'submission and august'
    """
    return " and ".join(
        dict.fromkeys(one for text in editions for one in text.split(" and ") if one)
    )


def condense(findings: pd.DataFrame) -> pd.DataFrame:
    """Return an audit with one row where a check says the same of three cells or more.

    Such a row names the cells, and ``published`` and ``recomputed`` are its smallest ones; the
    columns ``published_high`` and ``recomputed_high`` hold the largest (of any row).
    """
    wide = findings.assign(
        published_high=findings["published"], recomputed_high=findings["recomputed"]
    )
    key = ["kind", "check", "table", "verdict", "reading"]
    parts = []
    for (_, check, *_), rows in wide.groupby(key, sort=False):
        alike = check in MANY and len(rows) >= ENOUGH and rows["published"].notna().all()
        parts.append(_together(rows) if alike else rows)
    return pd.concat(parts).sort_index(kind="stable") if parts else wide


def _together(rows: pd.DataFrame) -> pd.DataFrame:
    one = rows.iloc[[0]].copy()
    highest = rows["published_high"].max(), rows["recomputed_high"].max()
    one[["published_high", "recomputed_high"]] = highest
    one[["published", "recomputed"]] = rows["published"].min(), rows["recomputed"].min()
    one[["low", "high"]] = rows["low"].min(), rows["high"].max()
    one["claim"] = f"{len(rows)} cells: " + one["claim"].iloc[0].split(": ", 1)[1]
    if rows["check"].iloc[0] == "constant bound":
        span = quantity_range(one.iloc[0], "published")
        one["claim"] = f"{len(rows)} cells: MAEs of {span} are below what a constant is guaranteed"
    else:
        span = quantity_range(one.iloc[0], "recomputed")
        one["detail"] = f"mean differences of at least {span} from the labels are implied"
    one["cell"] = "; ".join(rows["cell"])
    one["edition"] = together(rows["edition"])
    return one


def quantity_range(row: pd.Series, name: str) -> str:
    """Return ``published`` or ``recomputed`` of a row of :func:`condense` with its unit."""
    digits = row["digits"] if name == "recomputed" else row["published_digits"]
    low, high = row[name], row[f"{name}_high"]
    last = quantity(high, digits, row["unit"])
    first = quantity(low, digits, "")
    return last if first == quantity(high, digits, "") else f"{first} to {last}"


def format_audit(findings: pd.DataFrame) -> str:
    """Return an audit as text for a terminal: what does not hold first, a count at the end.

    Parameters
    ----------
    findings : DataFrame
        From :func:`analysis.published.audit.audit`.
    """
    if findings.empty:
        return "Nothing in this table can be audited."
    rows = condense(findings)
    blocks = [
        "\n".join(_lines(row))
        for verdict in VERDICTS
        for _, row in rows[rows["verdict"] == verdict].iterrows()
    ]
    return "\n\n".join([*blocks, "\n".join(counted(findings))])


def _lines(row: pd.Series) -> Iterator[str]:
    where = " · ".join(filter(None, (row["check"], row["edition"], row["table"])))
    yield f"{row['verdict'].upper()}  [{where}]"
    yield from _indent(row["claim"])
    if np.isfinite(row["recomputed"]) and np.isfinite(row["published"]):
        told, found = (quantity_range(row, name) for name in ("published", "recomputed"))
        words = {"constant bound": "bound", "GRAPE constant": "constant", "printed twice": "and"}
        yield f"    stated {told}, {words.get(row['check'], 'recomputed')} {found}"
    for name in ("reading", "detail"):
        if row[name]:
            yield from _indent(f"{name}: {row[name]}")


def _indent(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="      ")
