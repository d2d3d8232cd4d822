"""Wording that several conclusions share: signed intervals, paired differences, counts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.presentation.text import number

ALPHA = 0.05  # Holm-corrected p below which a difference counts as clear


def signed(row: dict | pd.Series, digits: int = 2) -> str:
    """Return ``+estimate [low, high]`` with signs throughout.

    Examples
    --------
    >>> signed({"estimate": 0.5, "low": -0.1, "high": 1.1}, 1)
    '+0.5 [−0.1, +1.1]'
    """
    texts = [plus(row[key], digits) for key in ("estimate", "low", "high")]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]" if np.isfinite(row["low"]) else texts[0]


def plus(value: float, digits: int) -> str:
    """Return a number with its sign, a true one; 0 has none.

    Examples
    --------
    >>> plus(1.26, 1), plus(-1.26, 1), plus(0.01, 1)
    ('+1.3', '−1.3', '0.0')
    """
    text = number(value, digits)
    return f"+{text}" if np.isfinite(value) and value > 0 and float(text) > 0 else text


def difference(row) -> str:
    """Return a paired difference in words: clear where Holm's p is below 0.05."""
    word = "higher" if row.estimate > 0 else "lower"
    word = word if row.p_holm < ALPHA else "not distinguishable"
    return f"{word}, {signed(row._asdict())} µm"


def value(table: pd.DataFrame, protocol: str, metric: str) -> float:
    """Return the estimate of a metric of a protocol, averaged over backbones; NaN for none."""
    rows = table[(table["protocol"] == protocol) & (table["metric"] == metric)]
    return float(rows["estimate"].mean()) if len(rows) else float("nan")


def clear(rows: pd.DataFrame, sign: int) -> list[str]:
    """Return the rows' indices whose difference has this sign and a Holm p below 0.05."""
    return list(rows.index[(sign * rows["estimate"] > 0) & (rows["p_holm"] < ALPHA)])


def count(chosen: list, rows: pd.DataFrame) -> str:
    """Return ``1 of 3``."""
    return f"{len(chosen)} of {len(rows)}"
