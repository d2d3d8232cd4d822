"""An audit as text: numbers with units, findings alike as one, and what a terminal shows."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from analysis.published.audit.cells import KINDS, VERDICTS, WORDS

#: Checks that say the same of many cells; what they have in common is said once.
MANY = ("constant bound", "offset")
ENOUGH = 3  # findings alike that are worth putting together
WIDTH = 96


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
    every = (one for text in editions for one in text.split(" and ") if one)
    return " and ".join(dict.fromkeys(every))


def condense(findings: pd.DataFrame) -> pd.DataFrame:
    """Return an audit with one row where a check says the same of three cells or more.

    Such a row names the cells, and ``published`` and ``recomputed`` are its smallest ones; the
    columns ``published_high`` and ``recomputed_high`` hold the largest (of any row).
    """
    told, found = findings["published"], findings["recomputed"]
    wide = findings.assign(published_high=told, recomputed_high=found)
    key = ["kind", "check", "table", "verdict", "reading"]
    parts = []
    for (_, check, *_), rows in wide.groupby(key, sort=False):
        alike = check in MANY and len(rows) >= ENOUGH and rows["published"].notna().all()
        parts.append(_together(rows) if alike else rows)
    return pd.concat(parts).sort_index(kind="stable") if parts else wide


def _together(rows: pd.DataFrame) -> pd.DataFrame:
    ends = dict.fromkeys(("published", "recomputed", "low"), "min")
    ends |= dict.fromkeys(("published_high", "recomputed_high", "high"), "max")
    named = {"cell": "; ".join(rows["cell"]), "edition": together(rows["edition"])}
    one = rows.iloc[[0]].assign(**rows.agg(ends), **named)
    if rows["check"].iloc[0] == "constant bound":
        told = f"MAEs of {quantity_range(one.iloc[0], 'published')}"
        return one.assign(
            claim=f"{len(rows)} cells: {told} are below what a constant is guaranteed"
        )
    claim = f"{len(rows)} cells: " + one["claim"].iloc[0].split(": ", 1)[1]
    span = quantity_range(one.iloc[0], "recomputed")
    detail = f"mean differences of at least {span} from the labels are implied"
    return one.assign(claim=claim, detail=detail)


def quantity_range(row: pd.Series, name: str) -> str:
    """Return ``published`` or ``recomputed`` of a row of :func:`condense` with its unit."""
    digits = row["digits"] if name == "recomputed" else row["published_digits"]
    low, high = (quantity(row[end], digits, "") for end in (name, f"{name}_high"))
    last = quantity(row[f"{name}_high"], digits, row["unit"])
    return last if low == high else f"{low} to {last}"


def format_audit(findings: pd.DataFrame) -> str:
    """Return the findings of :func:`analysis.published.audit.audit` as text for a terminal: what
    does not hold first, a count at the end.
    """
    if findings.empty:
        return "Nothing in this table can be audited."
    rows = condense(findings)
    rank = rows["verdict"].map(VERDICTS.index).sort_values(kind="stable")
    blocks = ["\n".join(_lines(row)) for _, row in rows.loc[rank.index].iterrows()]
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
