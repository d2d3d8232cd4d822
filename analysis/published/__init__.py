"""The paper's printed numbers and claims, both editions, as one long table.

The numbers live in ``data/published/*.csv`` and are never recomputed here; what is known about each
edition is said in the README beside them, and :mod:`analysis.published.audit` recomputes what
follows from them.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).resolve().parents[2] / "data" / "published"
COLUMNS = "edition table backbone protocol metric value plus_minus place quote".split()
TABLES = ("table1", "freezing", "loss_complexity", "grape", "quick_start")
EDITIONS = ("submission", "august", "unstated")


def load(table: str | None = None, edition: str | None = None) -> pd.DataFrame:
    """Return published numbers, one row per number.

    Parameters
    ----------
    table : str, optional
        One of :data:`TABLES`; by default all of them.
    edition : str, optional
        One of :data:`EDITIONS`; by default all of them.

    Returns
    -------
    DataFrame
        :data:`COLUMNS`; µm for MAE, gap and σ. ``plus_minus`` is NaN where the paper printed none,
        ``place`` says where the number stands and ``quote`` is the row or sentence it is read
        from. ``digits`` is the number of decimals that were printed: 24.80 has two, which a float
        would not remember.

    Raises
    ------
    ValueError
        For an unknown table or edition, or a file whose columns differ.

    Examples
    --------
    >>> rows = load("table1", edition="august")
    >>> rows.query("protocol == 'structured' and metric == 'mae'").value.tolist()
    [24.68, 24.75, 23.71]
    """
    if table is not None and table not in TABLES:
        raise ValueError(f"published table {table!r}: expected one of {', '.join(TABLES)}")
    if edition is not None and edition not in EDITIONS:
        raise ValueError(f"edition {edition!r}: expected one of {', '.join(EDITIONS)}")
    rows = pd.concat([_read(name) for name in ([table] if table else TABLES)], ignore_index=True)
    return rows if edition is None else rows[rows.edition == edition].reset_index(drop=True)


def elsewhere(notebook: str) -> pd.DataFrame:
    """Return what other publications print of a notebook's question, as text, to stand beside it.

    Their data and measures are others, so nothing is compared by number. ``not read``: published,
    but nobody here has seen the value; ``not stated``: nothing is said of it.
    """
    rows = pd.read_csv(FOLDER / "elsewhere" / "adaptation.csv", dtype=str, keep_default_na=False)
    if notebook not in set(rows["notebook"]):
        raise ValueError(f"notebook {notebook!r}: expected one of {sorted(set(rows['notebook']))}")
    return rows[rows["notebook"] == notebook].drop(columns="notebook").reset_index(drop=True)


def decimals(text: str) -> int:
    """Return how many decimals a printed number has.

    Examples
    --------
    >>> decimals("24.80"), decimals("27"), decimals("-0.3"), decimals("1e-4")
    (2, 0, 1, 4)

    Raises
    ------
    ArithmeticError
        When the text is not a number.
    """
    exponent = Decimal(text).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0  # infinity and NaN have none


def _read(name: str) -> pd.DataFrame:
    path = FOLDER / f"{name}.csv"
    frame = pd.read_csv(path, keep_default_na=False, dtype=str)
    if list(frame.columns) != COLUMNS:
        raise ValueError(f"{path}: columns {list(frame.columns)}, expected {COLUMNS}")
    frame["digits"] = frame["value"].map(decimals)
    numeric = ["value", "plus_minus"]
    return frame.assign(**frame[numeric].apply(pd.to_numeric).astype(float))
