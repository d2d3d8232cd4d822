"""Progress bars: in a terminal, in a notebook, and none in a log."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import TqdmWarning

with warnings.catch_warnings():  # without ipywidgets a notebook gets a bar of characters
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], what: str, total: int | None, done: int = 0, unit: str = "eye"
) -> Iterator[Item]:
    """Yield the items and count them in a bar.

    Parameters
    ----------
    items : iterable
    what : str
        What is being done, shown left of the bar.
    total : int
        How many there are, those included that were ``done`` before; None where nobody knows.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    in_notebook = hasattr(shell, "kernel")
    hidden = False if in_notebook else None  # None: unless somebody watches the terminal
    yield from tqdm(items, what, total, unit=unit, initial=done, disable=hidden)
