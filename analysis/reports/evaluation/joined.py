"""Imported predictions and demographics joined by sample, never by row, and nothing left unsaid.

A sample that is in one table only is an error that lists it, because a missing prediction is
rarely missing at random.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.reports.evaluation.predictions import Imported
from rnfl.core import identity, schema
from rnfl.core.demographics import spelt
from rnfl.storage.tables import listed


def join(
    imported: Imported,
    demographics: pd.DataFrame | None,
    one_eye_per_patient: bool = False,
    allow_unpredicted: bool = False,
    source: str = "demographics",
) -> tuple[pd.DataFrame, list[str]]:
    """Return the samples table of the predicted eyes, and what a reader must know about it.

    Parameters
    ----------
    demographics : DataFrame, optional
        Of :func:`read_demographics`. None: no attributes, and without ``patient_id`` among the
        predictions each sample counts as a patient of its own.
    one_eye_per_patient : bool
        Says that each sample is a patient of its own; needed when the demographics name none.
    allow_unpredicted : bool
        Whether eyes of the demographics may lack a prediction. Those of other splits always may.
    source : str
        Name of the file, for errors.

    Returns
    -------
    samples : DataFrame
        In the order of ``imported.keys``. Laterality and modality are None where unknown.
    notes : list of str

    Raises
    ------
    ValueError
        Listing samples that are in one table only, or on which the two disagree.
    """
    keys = imported.keys.rename(columns={"sample_id": "eye_id"})
    if "laterality" in keys:
        keys = keys.assign(laterality=spelt(keys["laterality"], "laterality", imported.source))
    if demographics is None:
        table, notes = keys, ["No demographics: fairness was not evaluated."]
    else:
        table = _matched(keys, demographics, imported.source, source)
        notes = _unpredicted(table, demographics, allow_unpredicted, source)
        if ignored := demographics.attrs.get("ignored"):
            notes.append(f"Columns of {source} that were not used: {listed(ignored, 8)}.")
        notes += identity.doubts(demographics)
    if one_eye_per_patient and "patient_id" in table:
        raise ValueError(f"{source}: patients are named, so one eye per patient cannot be assumed")
    if "patient_id" not in table:
        if demographics is not None and not one_eye_per_patient:
            raise ValueError(
                f"{source}: no column patient_id. Two eyes of one patient are not independent: "
                "add the column, or say --one-eye-per-patient if there are none"
            )
        table = table.assign(patient_id=table["eye_id"])
        word = "as stated" if one_eye_per_patient else "since no patient_id was given"
        notes.append(
            f"Each sample counts as a patient of its own, {word}: if two are eyes of one person, "
            "intervals are too narrow."
        )
    if demographics is None:
        notes += identity.doubts(table)
    return _validated(table, source), notes


def _matched(
    keys: pd.DataFrame, demographics: pd.DataFrame, predictions: Path, source: str
) -> pd.DataFrame:
    """Return the demographics of the predicted eyes, in the order of the keys."""
    absent = keys.loc[~keys["eye_id"].isin(demographics["eye_id"]), "eye_id"]
    if len(absent):
        raise ValueError(
            f"{source}: {len(absent)} of {len(keys)} samples of {predictions} are absent: "
            f"{listed(absent)}.{_spelt_otherwise(absent, demographics['eye_id'])}"
        )
    table = keys.merge(demographics, on="eye_id", how="left", suffixes=("", "_other"))
    for name in ("patient_id", "laterality"):
        if f"{name}_other" not in table:
            continue
        own, other = table[name], table.pop(f"{name}_other")
        differ = own.notna() & other.notna() & (own != other)
        if differ.any():
            raise ValueError(
                f"{source}: {name} of {differ.sum()} samples differs from {predictions}: "
                f"{listed(table.loc[differ, 'eye_id'])}."
                f"{_spelt_otherwise(own[differ], other[differ])}"
            )
        table[name] = own.fillna(other)
    return table


def _spelt_otherwise(ids: pd.Series, others: pd.Series) -> str:
    """Say which ids are found once zeros, case, spaces, '.0' or lost digits do not count."""
    for key in (identity.bare, identity.rounded):
        known = others.set_axis(others.map(key)).to_dict()
        pairs = [f"{one} is {known[key(one)]}" for one in ids if key(one) in known]
        if pairs:
            return (
                f" {len(pairs)} of them match once leading zeros, case, spaces, '.0' and lost "
                f"digits do not count: {listed(pairs)}. Spell ids in one way in both files"
            )
    return ""


def _unpredicted(
    table: pd.DataFrame, demographics: pd.DataFrame, allow: bool, source: str
) -> list[str]:
    """Account for eyes that have demographics and no prediction."""
    rest = demographics[~demographics["eye_id"].isin(table["eye_id"])]
    notes = []
    if "split" in demographics:
        splits = set(table["split"])
        elsewhere = ~rest["split"].isin(splits)
        if "test" in splits and len(splits) > 1:
            learnt = table.loc[table["split"] != "test", "split"].value_counts(dropna=False)
            found = ", ".join(f"{n} of {name}" for name, n in learnt.items())
            notes.append(f"Predicted eyes that are not of the test split: {found}.")
        elif splits != {"test"}:
            notes.append(f"The predicted eyes are of split {listed(splits)}, not of test.")
        if "patient_id" in demographics:
            others = set(rest.loc[elsewhere, "patient_id"].map(identity.bare))
            twice = {one for one in table["patient_id"] if identity.bare(one) in others}
            if twice:
                notes.append(
                    f"WARNING: {len(twice)} predicted patients also have eyes in another split: "
                    f"{listed(sorted(twice))}."
                )
        rest = rest[~elsewhere]
    if len(rest):
        found = f"{len(rest)} samples of {source} have no prediction: {listed(rest['eye_id'])}."
        if not allow:
            raise ValueError(f"{found} Predict them, or say --allow-unpredicted to leave them out")
        notes.append(f"{found} They are left out.")
    return notes


def _validated(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """Check a samples table; laterality and modality, which may be unknown here, stay so."""
    for name, default in (("split", "test"), ("laterality", None), ("modality", None)):
        if name not in table:
            table[name] = pd.Series(default, index=table.index, dtype=object)
    known = table[["laterality", "modality"]].astype(object).reset_index(drop=True)
    any_valid = {name: schema.TABLES["samples"][name].values[0] for name in known}
    checked = schema.validate(table.fillna(any_valid), "samples", source)
    return checked.assign(**known.where(known.notna(), None))
