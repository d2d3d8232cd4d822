"""Patients under two spellings, and what a person has but once."""

import numpy as np
import pandas as pd
import pytest

from rnfl.core import identity, schema


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("7", "007"), ("101", "101.0"), ("P-7", "p-007"), ("a 7", "A7 "), ("é", "e\u0301"),
        ("７７", "77"), ("100000", "1e5"), ("x\u200b1", "x1"), ("straße", "STRASSE"),
    ],
)  # fmt: skip
def test_a_patient_in_two_splits_is_found_in_every_spelling(one, other, samples):
    pair = samples.assign(patient_id="q" + samples["patient_id"], split="train")
    pair.loc[0, "patient_id"], pair.loc[5, ["patient_id", "split"]] = one, [other, "test"]
    with pytest.raises(ValueError, match="1 patients are in more than one split") as caught:
        schema.validate(pair, "samples")
    for told in (one, other, "train", "test", "spell an id in one way"):
        assert told in str(caught.value)
    alone = pair.assign(split="train")
    schema.validate(alone, "samples")
    assert "differ in zeros, case, spaces or '.0'" in identity.doubts(alone)[0]


@pytest.mark.parametrize(
    ("one", "other"), [("7", "70"), ("1.05", "1.5"), ("7a", "a7"), ("é", "e"), ("1-1", "11")]
)
def test_other_ids_are_other_patients(one, other):
    assert not identity.alike([one, other]) and not identity.alike([one, one])


def test_digits_that_a_spreadsheet_drops_are_said():
    ids = ["1234567890123456", "1234567890123460", "12345678901234"]
    eyes = pd.DataFrame({"eye_id": ["a", "b", "c"], "patient_id": ids})
    (told,) = identity.doubts(eyes)
    assert "1234567890123456/1234567890123460" in told and "15 digits" in told
    assert not identity.alike(ids)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sex", ("F", "M")),
        ("race", ("Black", "White")),
        ("ethnicity", ("Hispanic", "Non-Hispanic")),
    ],
)
def test_what_a_person_has_once_may_not_differ_between_eyes(name, values, samples):
    both = samples.assign(**{name: np.resize(np.array(values, object), len(samples))})
    with pytest.raises(ValueError, match=rf"{name} of 20 patients differs.*p00 \(p00-O") as caught:
        schema.validate(both, "samples", "eyes.csv")
    assert "eyes.csv" in str(caught.value) and "and 15 more" in str(caught.value)
    half = both.assign(**{name: both[name].where(both.index % 2 == 0, None)})
    schema.validate(half, "samples")
    severity = samples.assign(severity=np.resize(["mild", "severe"], len(samples)))
    schema.validate(severity, "samples")


def test_ages_far_apart_are_said_unless_there_are_visits(samples):
    eyes = samples.assign(age=50.0)
    assert not identity.doubts(eyes)
    eyes.loc[1, "age"] = 5.0
    assert "p00 (5 and 50)" in identity.doubts(eyes)[0]
    assert not identity.doubts(eyes.assign(visit=1))
