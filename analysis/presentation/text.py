"""Numbers as a table prints them, and a table on disk as CSV, Markdown and LaTeX (booktabs)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.presentation.markup import latex, markdown
from rnfl.storage import provenance

MISSING = "—"


def number(value: float, digits: int = 2) -> str:
    """Return a number with a true minus sign, a dash when missing.

    Examples
    --------
    >>> number(-0.456), number(float("nan")), number(-0.001)
    ('−0.46', '—', '0.00')
    """
    if not np.isfinite(value):
        return MISSING
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def with_interval(cell: Mapping[str, float], digits: int = 2, unit: str = "") -> str:
    """Return ``estimate [low, high]``, without brackets where there is no interval.

    Examples
    --------
    >>> with_interval({"estimate": 4.2, "low": 4.0, "high": 4.5}, 1)
    '4.2 [4.0, 4.5]'
    >>> with_interval({"estimate": -4.2, "low": float("nan")}, 1, " µm")
    '−4.2 µm'
    """
    estimate = number(cell["estimate"], digits)
    if not np.isfinite(cell["estimate"]):
        return estimate
    if not np.isfinite(cell["low"]):
        return f"{estimate}{unit}"
    low, high = number(cell["low"], digits), number(cell["high"], digits)
    return f"{estimate}{unit} [{low}, {high}]"


_NOTHING = {"estimate": np.nan, "low": np.nan, "high": np.nan, "seed_sd": np.nan, "n_seeds": 1}


def lookup(rows: pd.DataFrame, metric: str, attribute: str = "all", group: str = "all") -> dict:
    """Return the row of a metric, attribute and group of one cell; NaN where there is none."""
    found = rows[(rows.metric == metric) & (rows.attribute == attribute) & (rows.group == group)]
    return {**_NOTHING, **(found.iloc[0].to_dict() if len(found) else {})}


def write(
    wide: pd.DataFrame, folder: Path, stem: str, caption: str, phantom: bool
) -> dict[str, Path]:
    """Write a wide table as ``<stem>_wide.csv``, ``<stem>.md`` and ``<stem>.tex``.

    ``phantom`` puts "Phantom data." at the head of the caption.

    Returns
    -------
    dict
        Paths by ``"csv"``, ``"md"`` and ``"tex"``.
    """
    folder = Path(folder)
    caption = f"Phantom data. {caption}" if phantom else caption
    return {
        "csv": provenance.write_csv(folder / f"{stem}_wide.csv", wide),
        "md": provenance.write_text(folder / f"{stem}.md", markdown(wide, caption)),
        "tex": provenance.write_text(folder / f"{stem}.tex", latex(wide, caption, stem)),
    }
