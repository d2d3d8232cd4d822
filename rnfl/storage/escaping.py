"""Names in files that something else interprets: spreadsheets run formulas, Markdown has HTML.

Names of files and identifiers are other people's text. What is written here of a cell can be read
back: :func:`cell` and :func:`original` undo each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd

# What a spreadsheet takes for the beginning of a formula; numbers are none, nor are our own cells
# of an estimate with its unit and interval.
_ESTIMATE = r"\d*\.?\d*(e[+-]?\d+)?( ?(µm|%|dB|°))?( \[[^A-Za-z=@|(]*\])?$"
_FORMULA = re.compile(rf"'*[=@\t\r]|'*[+-](?!{_ESTIMATE})")
_HELD = re.compile(r"'+[=@\t\r+-]")


def cell(text: str) -> str:
    """Return text for a cell of a CSV: what a spreadsheet would run begins with an apostrophe.

    Examples
    --------
    >>> cell("=1+1"), cell("-1.5"), cell("+0.5 µm [−0.1, +1.1]"), cell("'=1"), cell("it's")
    ("'=1+1", '-1.5', '+0.5 µm [−0.1, +1.1]', "''=1", "it's")
    """
    return f"'{text}" if _FORMULA.match(text) or _HELD.match(text) else text


def original(text: str) -> str:
    """Return the text that :func:`cell` was given.

    Examples
    --------
    >>> [original(cell(text)) for text in ("=1+1", "'=1", "-1", "'-1", "it's")]
    ['=1+1', "'=1", '-1', "'-1", "it's"]
    """
    return text[1:] if _HELD.match(text) else text


def in_texts(frame: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """Return a table with the texts of its cells and column names changed, all else as it is."""

    def changed(value: object) -> object:
        return change(value) if isinstance(value, str) else value

    made = frame.rename(columns=changed)
    for place, (_, column) in enumerate(frame.items()):
        if column.dtype.kind == "O" and any(changed(value) is not value for value in column):
            made.isetitem(place, column.map(changed))
    return made


def markdown(text: object) -> str:
    """Return text for a line or cell of Markdown: no tag, no bar and no new line in it.

    Examples
    --------
    >>> print(markdown("a|b <img src=x> <0.001"))
    a\\|b &lt;img src=x> <0.001
    """
    plain = re.sub(r"\s*[\r\n]+\s*", " ", str(text))
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", plain).replace("|", r"\|")
