"""Demographics of the Harvard data sets: integer codes in npz files, words in summary tables.

Codes as in the dataset's own table: race 0 Asian, 1 Black, 2 White; gender and male 0 female,
1 male (one published list of names has them reversed; the codes are trusted); ethnicity and
hispanic 0 no, 1 yes; glaucoma 0 no, 1 yes; -1 is unknown everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from rnfl.core.demographics import OLDEST, SPELLINGS, UNKNOWN
from rnfl.core.schema import LATERALITIES, SPLITS

#: Our attribute: the names it goes by, in npz files and in tables.
NAMES: dict[str, tuple[str, ...]] = {
    "age": ("age",),
    "sex": ("gender", "male", "sex"),
    "race": ("race",),
    "ethnicity": ("ethnicity", "hispanic"),
    "glaucoma": ("glaucoma",),
    "md": ("md",),
}


def _codes(attribute: str, *values: str) -> dict[str, str]:
    """Return the values by their place from 0, by themselves and by their other spellings."""
    places = {str(place): value for place, value in enumerate(values)}
    return {**places, **{value.lower(): value for value in values}, **SPELLINGS[attribute]}


CODES: dict[str, dict[str, Any]] = {
    "sex": _codes("sex", "F", "M"),
    "race": _codes("race", "Asian", "Black", "White"),
    "ethnicity": {
        **_codes("ethnicity", "Non-Hispanic", "Hispanic"),
        **{"no": "Non-Hispanic", "yes": "Hispanic"},
    },
    "glaucoma": {
        **dict.fromkeys(("0", "no", "non-glaucoma", "normal", "healthy", "false"), 0.0),
        **dict.fromkeys(("1", "yes", "glaucoma", "true"), 1.0),
    },
}
YES_OR_NO = {"male": {"yes": "M", "no": "F", "true": "M", "false": "F"}}
RANGES = {"age": (0.0, OLDEST, "years"), "md": (-40.0, 20.0, "dB")}  # md: ours
WORDS = {
    fact: {**{word.lower(): word for word in valid}, **SPELLINGS[fact]}
    for fact, valid in (("laterality", LATERALITIES), ("split", SPLITS))
}
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


def held(
    attribute: str, arrays: Mapping[str, Any], rows: Iterable[Mapping[str, str]]
) -> Iterator[tuple[str, Any]]:
    """Yield what is said of an attribute, the npz first: the name it goes by, and the value."""
    for place in (arrays, *rows):
        yield from ((name, place[name]) for name in NAMES[attribute] if name in place)


def spell(fact: str, word: str) -> str | None:
    """Return 'laterality' or 'split' in the project's words, None for another word.

    Examples
    --------
    >>> spell("laterality", "Left"), spell("split", "Training"), spell("split", "all")
    ('OS', 'train', None)
    """
    return WORDS[fact].get(word.strip().lower())


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
    low, high, _ = RANGES[attribute]
    try:
        number = float(found)
    except ValueError:
        raise UnknownCode(attribute, found) from None
    if not low <= number <= high:
        raise UnknownCode(attribute, found)
    return number


def expected(attribute: str) -> str:
    """Return in words what values an attribute may have."""
    if attribute in RANGES:
        low, high, unit = RANGES[attribute]
        return f"{low:g} to {high:g} {unit}"
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
