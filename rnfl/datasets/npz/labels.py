"""Demographics of the Harvard data sets: integer codes in npz files, words in summary tables.

Codes as in the dataset's own table: race 0 Asian, 1 Black, 2 White; gender and male 0 female,
1 male (one published list of names has them reversed; the codes are trusted); ethnicity and
hispanic 0 no, 1 yes; glaucoma 0 no, 1 yes; -1 is unknown everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rnfl.core.demographics import OLDEST, SPELLINGS, UNKNOWN

#: Our attribute: the names it goes by, in npz files and in tables.
NAMES: dict[str, tuple[str, ...]] = {
    "age": ("age",),
    "sex": ("gender", "male", "sex"),
    "race": ("race",),
    "ethnicity": ("ethnicity", "hispanic"),
    "glaucoma": ("glaucoma",),
    "md": ("md",),
}
CODES: dict[str, dict[str, Any]] = {
    "sex": {"0": "F", "1": "M", "f": "F", "m": "M", **SPELLINGS["sex"]},
    "race": {
        **{"0": "Asian", "1": "Black", "2": "White"},
        **{"asian": "Asian", "black": "Black", "white": "White"},
        **SPELLINGS["race"],
    },
    "ethnicity": {
        **{"0": "Non-Hispanic", "no": "Non-Hispanic", "non-hispanic": "Non-Hispanic"},
        **{"1": "Hispanic", "yes": "Hispanic", "hispanic": "Hispanic"},
        **SPELLINGS["ethnicity"],
    },
    "glaucoma": {
        **{"0": 0.0, "no": 0.0, "non-glaucoma": 0.0, "normal": 0.0, "healthy": 0.0, "false": 0.0},
        **{"1": 1.0, "yes": 1.0, "glaucoma": 1.0, "true": 1.0},
    },
}
YES_OR_NO = {"male": {"yes": "M", "no": "F", "true": "M", "false": "F"}}
MD_RANGE = (-40.0, 20.0)  # dB (ours)
UNKNOWN_CODES = {*UNKNOWN, "-1"}


class UnknownCode(ValueError):
    """A value that no code table has; ``attribute`` and ``value`` say which."""

    def __init__(self, attribute: str, value: str) -> None:
        super().__init__(f"{attribute} {value!r}")
        self.attribute, self.value = attribute, value


def text(value: Any) -> str:
    """Return a value of an npz or a CSV as text; whole numbers without decimals, '' for NaN.

    Examples
    --------
    >>> text(np.array([2])), text("1.0"), text(float("nan")), text(b" Black ")
    ('2', '1', '', 'Black')
    """
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size == 1 else repr(value.tolist()[:3])
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    found = str(value).strip()
    try:
        number = float(found)
    except ValueError:
        return found
    if math.isnan(number):
        return ""
    return str(int(number)) if number.is_integer() else found


def stated(arrays: Mapping[str, np.ndarray], names: Iterable[str]) -> str | None:
    """Return as text what an npz says under the first of these names that is known; else None."""
    held = (text(arrays[name]) for name in names if name in arrays)
    return next((value for value in held if value.lower() not in UNKNOWN_CODES), None)


def decode(attribute: str, name: str, value: Any) -> Any:
    """Return an attribute in the project's spelling, None where unknown.

    Parameters
    ----------
    attribute : str
        A key of :data:`NAMES`.
    name : str
        The name it went by.
    value : scalar, text or array of one

    Raises
    ------
    UnknownCode
        For a value that is neither valid nor unknown.

    Examples
    --------
    >>> decode("race", "race", np.int64(2)), decode("sex", "male", "yes"), decode("age", "age", -1)
    ('White', 'M', None)
    """
    found = text(value)
    if found.lower() in UNKNOWN_CODES:
        return None
    if attribute in CODES:
        codes = {**CODES[attribute], **YES_OR_NO.get(name, {})}
        if found.lower() not in codes:
            raise UnknownCode(attribute, found)
        return codes[found.lower()]
    low, high = (0.0, float(OLDEST)) if attribute == "age" else MD_RANGE
    try:
        number = float(found)
    except ValueError:
        raise UnknownCode(attribute, found) from None
    if not low <= number <= high:
        raise UnknownCode(attribute, found)
    return number


def expected(attribute: str) -> str:
    """Return in words what values an attribute may have."""
    if attribute == "age":
        return f"0 to {OLDEST} years"
    if attribute == "md":
        return f"{MD_RANGE[0]:g} to {MD_RANGE[1]:g} dB"
    codes = CODES[attribute]
    return ", ".join(f"{code} {codes[code]}" for code in codes if code.isdigit()) + ", or the words"


def severity(attributes: Mapping[str, Any]) -> str | None:
    """Return the stage of glaucoma by mean deviation (Hodapp et al. 1993), None where unknown.

    Examples
    --------
    >>> severity({"glaucoma": 1.0, "md": -7.5}), severity({"glaucoma": 0.0, "md": None})
    ('moderate', 'healthy')
    """
    glaucoma, md = attributes.get("glaucoma"), attributes.get("md")
    if glaucoma == 0.0:
        return "healthy"
    if glaucoma is None or md is None:
        return None
    return "mild" if md >= -6 else "moderate" if md >= -12 else "severe"
