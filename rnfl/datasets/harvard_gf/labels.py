"""What a thickness-map file and its tables say of an eye, in the project's words.

Codes and words are those of :mod:`rnfl.datasets.npz.labels`, which the Harvard data sets
share. A number does not say which eye it is: left and right must be words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnfl.core.demographics import SPELLINGS
from rnfl.core.exclusion import Excluded
from rnfl.core.schema import LATERALITIES, SPLITS
from rnfl.datasets.npz.images import NAMES as IMAGES
from rnfl.datasets.npz.labels import NAMES, UnknownCode, decode, expected, stated
from rnfl.datasets.npz.tables import NAMES as COLUMNS

#: Arrays of an npz that are read; B-scans and visual fields are not.
WANTED = frozenset(
    ("rnflt", *IMAGES, *COLUMNS["patient_id"], *COLUMNS["laterality"]),
).union(*NAMES.values())
WORDS = {
    fact: {**{word.lower(): word for word in valid}, **SPELLINGS[fact]}
    for fact, valid in (("laterality", LATERALITIES), ("split", SPLITS))
}

BAD_LABEL = "label with an unknown code"
CONTRADICTION = "file and tables disagree"


def spell(fact: str, word: str) -> str | None:
    """Return 'laterality' or 'split' in the project's words, None for another word.

    Examples
    --------
    >>> spell("laterality", "Left"), spell("split", "Training"), spell("split", "all")
    ('OS', 'train', None)
    """
    return WORDS[fact].get(word.strip().lower())


def read_labels(
    arrays: Mapping[str, np.ndarray], rows: Sequence[Mapping[str, str]], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the labels of an eye, None where unknown; the file goes before the tables.

    Parameters
    ----------
    arrays : mapping of name to array
        Of the npz.
    rows : sequence of mapping of column to text
        The rows that tables have of this eye.
    facts : mapping
        ``patient_id`` and ``laterality`` by the tables.

    Returns
    -------
    dict
        patient_id, laterality, age (years), sex, race, ethnicity, glaucoma (0, 1), md (dB).

    Raises
    ------
    Excluded
        For a code that no table of codes has, or when file and tables disagree on the patient or
        the laterality.
    """
    labels = {
        "patient_id": stated(arrays, COLUMNS["patient_id"]),
        "laterality": _laterality(arrays),
    }
    for fact, in_npz in labels.items():
        told = facts.get(fact)
        if None not in (in_npz, told) and in_npz != told:
            raise Excluded(CONTRADICTION, f"{fact} {in_npz} in the npz, {told} in a table")
        labels[fact] = in_npz or told
    for attribute, names in NAMES.items():
        held = ((name, place[name]) for place in (arrays, *rows) for name in names if name in place)
        try:
            values = (decode(attribute, name, value) for name, value in held)
            labels[attribute] = next((value for value in values if value is not None), None)
        except UnknownCode as error:
            raise Excluded(BAD_LABEL, f"{error}: expected {expected(attribute)}") from error
    return labels


def _laterality(arrays: Mapping[str, np.ndarray]) -> str | None:
    word = stated(arrays, COLUMNS["laterality"])
    laterality = None if word is None else spell("laterality", word)
    if word is not None and laterality is None:
        raise Excluded(BAD_LABEL, f"laterality {word!r}: expected OD, OS, right or left")
    return laterality
