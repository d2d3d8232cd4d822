"""How much is read of a file: budgets against which it is held before it is read.

A damaged or a hostile file may claim, or unpack to, any size. What is refused says which variable
of the environment raises the limit; all of them are chosen by us.
"""

from __future__ import annotations

import os

#: Variable of the environment: the limit, and of what it is.
LIMITS = {
    "RNFL_MAX_PIXELS": (50_000_000, "pixels of an image"),
    "RNFL_MAX_BYTES": (2**28, "bytes of a file or array held in memory"),
    "RNFL_MAX_MODEL_BYTES": (2**31, "bytes of a bundle's model"),
    "RNFL_MAX_TABLE_BYTES": (2**30, "bytes of a table, unpacked"),
    "RNFL_MAX_ROWS": (20_000_000, "rows of a table"),
    "RNFL_MAX_COLUMNS": (20_000, "columns of a table"),
    "RNFL_MAX_CELLS": (2_000_000, "cells of a workbook's sheet"),
}


def limit(variable: str) -> int:
    """Return a limit: what the environment says, else the default.

    Raises
    ------
    ValueError
        When the environment says something else than a positive whole number.
    """
    given = os.environ.get(variable)
    if not given:
        return LIMITS[variable][0]
    if not given.strip().isdecimal() or not int(given):
        raise ValueError(f"{variable}={given!r}: expected a positive whole number")
    return int(given)


def check(variable: str, found: int, where: object) -> None:
    """Refuse what is larger than its limit by a ValueError that begins with ``where``."""
    if found > (most := limit(variable)):
        raise ValueError(
            f"{where}: at least {found:,} {LIMITS[variable][1]}, at most {most:,} are read; if "
            f"the file is as it should be, set {variable} to more"
        )
