"""Tables made elsewhere: read as they are, and say precisely what is wrong with them.

Identifiers are read as text, so that ``007`` stays ``007``; a line of a message is the line of the
file, its header being line 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

MISSING = ("", "nan", "NaN", "NAN", "na", "NA", "n/a", "N/A", "null", "NULL", "none", "None")


def listed(
    values: Iterable[object], limit: int = 5, total: int | None = None, comma: str = ", "
) -> str:
    """Return the first few distinct values as text, and how many more there are.

    ``total`` is their number when ``values`` holds only the first of them.

    Examples
    --------
    >>> listed("abcdefg", limit=3), listed(["a", "a"])
    ('a, b, c and 4 more', 'a')
    """
    texts = list(dict.fromkeys(map(str, values)))
    more = (len(texts) if total is None else total) - limit
    return comma.join(texts[:limit]) + (f" and {more} more" if more > 0 else "")


def read_table(
    path: Path, same: Mapping[str, str], text: Sequence[str] | None, expected: str
) -> pd.DataFrame:
    """Return a CSV (also compressed) or parquet file with its columns under their usual names.

    Parameters
    ----------
    path : Path
    same : mapping of str to str
        Other names of columns. Case and surrounding spaces do not count.
    text : sequence of str, optional
        Columns of text; the other ones are numbers where all their values are. None: all are text.
    expected : str
        What the file should hold, for the message.

    Raises
    ------
    ValueError
        When it cannot be read as a table, or two columns mean the same.
    """
    parquet = path.suffix == ".parquet"
    try:
        if not parquet and ".csv" not in path.suffixes:
            raise ValueError(f"its name ends in {path.suffix!r}, not in .csv or .parquet")
        if parquet:
            frame = pd.read_parquet(path)
            found = list(frame)
        else:
            head = pd.read_csv(path, header=None, nrows=1, dtype=str, encoding="utf-8-sig")
            found = head.iloc[0].fillna("").tolist()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}. {expected}") from error
    if len(found) == 1 and any(mark in str(found[0]) for mark in ";\t|"):
        raise ValueError(f"{path}: one column named {found[0]!r}: expected commas between columns")
    names = [str(name).strip().lower() for name in found]
    names = [same.get(name, name) for name in names]
    twice = [name for name, times in Counter(names).items() if times > 1 and name]
    if twice:
        pairs = [f"{name} ({', '.join(_under(name, names, found))})" for name in twice]
        raise ValueError(f"{path}: columns that mean the same: {listed(pairs)}; keep one of each")
    if parquet:
        return frame.set_axis(names, axis=1)
    numeric = [] if text is None else [name for name in names if name not in text]
    try:
        frame = pd.read_csv(
            path,
            header=0,
            names=names,
            dtype={name: str for name in names if name not in numeric},
            keep_default_na=False,
            na_values={name: list(MISSING) for name in numeric},
            encoding="utf-8-sig",
            low_memory=False,
        )
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(f"{path}: rows have more values than the header has columns")
    return frame


def _under(name: str, names: Sequence[str], found: Sequence[str]) -> list[str]:
    return [str(f) for n, f in zip(names, found, strict=True) if n == name]


def _lines(bad: np.ndarray) -> str:
    rows = np.flatnonzero(bad)
    return f"line {listed(rows[:6] + 2, 5, len(rows))}"


def identifiers(series: pd.Series, where: str) -> pd.Series:
    """Return identifiers as text without surrounding spaces.

    Raises
    ------
    ValueError
        When an entry is missing or is a number with a fraction.
    """
    if pd.api.types.is_float_dtype(series):
        raise ValueError(f"{where} holds numbers with decimals: expected text or whole numbers")
    codes, distinct = pd.factorize(series, use_na_sentinel=False)
    distinct = pd.Series(distinct, dtype=object)
    text = distinct.astype(str).str.strip().where(distinct.notna(), "").to_numpy(object)[codes]
    absent = text == ""
    if absent.any():
        raise ValueError(f"{where} is missing in {int(absent.sum())} rows: {_lines(absent)}")
    return pd.Series(text, index=series.index, name=series.name)


def numbers(series: pd.Series, where: str) -> np.ndarray:
    """Return a column as float64, NaN where missing.

    Raises
    ------
    ValueError
        Listing entries that are no numbers, and their lines.
    """
    if pd.api.types.is_numeric_dtype(series):
        return series.to_numpy(dtype=float)
    text = series.where(~series.isin(MISSING))
    found = pd.to_numeric(text, errors="coerce")
    bad = (found.isna() & text.notna()).to_numpy()
    if bad.any():
        entries = listed((repr(one) for one in text[bad]), 5)
        raise ValueError(f"{where}: not numbers: {entries} ({_lines(bad)})")
    return found.to_numpy(dtype=float)
