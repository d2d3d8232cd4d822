"""Whose eyes they are: ids that differ in spelling alone, and what a person has but once.

An id is text, and ``007`` is not ``7``; but spreadsheets and people drop zeros, add ".0", change
case, spaces and Unicode forms, and round long numbers. Where two ids differ in no more than that,
they are one patient before they may be two: on both sides of a split that is an error, else it is
said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

import pandas as pd

from rnfl.storage.tables import UNSEEN, listed

ONE_OF_A_PERSON = ("sex", "race", "ethnicity")
YEARS_APART = 10  # between the ages of two eyes without visits, beyond which it is said (ours)
EXACT_DIGITS = 15  # of a number in a spreadsheet


def bare(identifier: str) -> str:
    """Return an id without what spreadsheets and people change.

    Examples
    --------
    >>> [bare(one) for one in ("P 007", "p7", "７", "7.0", "1e5", "1.05")]
    ['p7', 'p7', '7', '7', '100000', '1.05']
    """
    text = "".join(unicodedata.normalize("NFKC", identifier).translate(UNSEEN).casefold().split())
    if re.fullmatch(r"\d+(\.\d+)?e\+?\d{1,2}", text):
        text = f"{float(text):.0f}"
    return re.sub(r"(?<![\d.])0+(?=\d)", "", re.sub(r"^(\d+)\.0+$", r"\1", text))


def rounded(identifier: str) -> str:
    """Return a bare id with no more digits of a number than a spreadsheet keeps."""
    long = rf"\d{{{EXACT_DIGITS + 1},}}"
    return re.sub(long, lambda at: f"{int(at[0]):.{EXACT_DIGITS - 1}e}", bare(identifier))


def alike(ids: Iterable[str], key: Callable[[str], str] = bare) -> list[str]:
    """Return the ids that are distinct but alike, those of one group joined by '/'.

    Examples
    --------
    >>> alike(["7", "8", "007", "7"])
    ['007/7']
    """
    distinct = pd.Series(sorted(set(ids)), dtype=object)
    groups = distinct.groupby(distinct.map(key))
    return sorted("/".join(group) for _, group in groups if len(group) > 1)


def check(samples: pd.DataFrame, where: str) -> None:
    """Refuse eyes that cannot be those of the patients they name.

    Parameters
    ----------
    samples : DataFrame with eye_id and patient_id, and split, sex, race or ethnicity if known
    where : str
        How the ValueError begins. It lists patients with eyes in more than one split, also under
        two spellings, or whose sex, race or ethnicity differs between their eyes.
    """
    refuse_shared_patients(samples, where)
    for name in (one for one in ONE_OF_A_PERSON if one in samples):
        if each := _differing(samples, name, samples["patient_id"]):
            raise ValueError(
                f"{where}: {name} of {len(each)} patients differs between their eyes: "
                f"{listed(each)}; correct the entry, or the patient_id, or leave it empty"
            )


def refuse_shared_patients(samples: pd.DataFrame, where: str) -> None:
    """Refuse a split that tests on a patient it trains on; see :func:`check`."""
    known = samples.dropna(subset=["patient_id", "split"])
    spellings = known["patient_id"].drop_duplicates()
    people = known["patient_id"].map(dict(zip(spellings, spellings.map(bare), strict=True)))
    each = _differing(known, "split", people)
    if not each:
        return
    shown = any("/" in one.partition(" (")[0] for one in each)
    raise ValueError(
        f"{where}: {len(each)} patients are in more than one split: {listed(each)}; put all eyes "
        "of a patient into the same split"
        + (", and spell an id in one way (two people need ids that differ in more than zeros, "
           "case, spaces or '.0')" if shown else "")
    )  # fmt: skip


def _differing(samples: pd.DataFrame, name: str, people: pd.Series) -> list[str]:
    """Return the people with several values of a column, in words with their eyes."""
    known = samples.assign(person=people).dropna(subset=["person", name])
    several = known[known.groupby("person")[name].transform("nunique") > 1]
    if several.empty:
        return []
    several = several.sort_values(["patient_id", name], kind="stable")
    several = several.assign(told=several["eye_id"].astype(str) + " " + several[name].astype(str))
    return [
        f"{'/'.join(eyes['patient_id'].unique())} ({', '.join(eyes['told'])})"
        for _, eyes in several.groupby("person", sort=False)
    ]


def doubts(samples: pd.DataFrame) -> list[str]:
    """Return in words which ids look like one patient's or one eye's, and which ages disagree.

    ``samples`` has any of eye_id, patient_id, age (years) and visit.
    """
    found = []
    same = "patient_id" in samples and samples["eye_id"].equals(samples["patient_id"])
    for name in ("patient_id",) if same else ("patient_id", "eye_id"):
        ids = samples[name].dropna() if name in samples else []
        if groups := alike(ids):
            found.append(
                f"WARNING: {name}: {len(groups)} groups differ in zeros, case, spaces or '.0' "
                f"alone and count as different: {listed(groups)}."
            )
        elif groups := alike(ids, rounded):
            found.append(
                f"WARNING: {name}: {len(groups)} groups agree in the {EXACT_DIGITS} digits that a "
                f"spreadsheet keeps: {listed(groups)}; look that none is another's, rounded."
            )
    if {"patient_id", "age"} <= set(samples) and "visit" not in samples:
        ages = samples.groupby("patient_id")["age"].agg(["min", "max"])
        far = ages[ages["max"] - ages["min"] > YEARS_APART]
        if len(far):
            each = [f"{row.Index} ({row.min:g} and {row.max:g})" for row in far.itertuples()]
            found.append(
                f"WARNING: the ages of {len(far)} patients differ by more than {YEARS_APART} years "
                f"between their eyes: {listed(each)}."
            )
    return found
