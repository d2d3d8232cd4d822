"""Splits share no patient, ignore row order, and are the same in every process."""

import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from rnfl.core.splits import (
    FRACTIONS,
    check,
    divide,
    fold_name,
    folds_by_patient,
    nested_fraction,
    patient_split,
)


@pytest.fixture
def eyes(rng):
    patients = [f"p{i}" for i in range(600) for _ in range(rng.integers(1, 3))]
    eye_ids = [f"e{i}" for i in range(len(patients))]
    return pd.DataFrame({"patient_id": patients, "eye_id": eye_ids})


def test_no_patient_is_in_two_splits(eyes):
    split = patient_split(eyes)
    assert set(split) == {"train", "val", "test"}
    assert eyes["patient_id"].duplicated().any()
    assert (split.groupby(eyes["patient_id"]).nunique() == 1).all()


def test_row_order_and_index_do_not_matter(eyes):
    split = pd.Series(patient_split(eyes).to_numpy(), eyes["eye_id"])
    shuffled = eyes.sample(frac=1, random_state=1)
    again = patient_split(shuffled)
    assert again.index.equals(shuffled.index)
    again = pd.Series(again.to_numpy(), shuffled["eye_id"])
    pd.testing.assert_series_equal(again.sort_index(), split.sort_index())


def test_a_patient_keeps_its_split_in_a_larger_dataset(eyes):
    part = eyes.iloc[:500]
    assert patient_split(part).tolist() == patient_split(eyes).tolist()[:500]


def test_fractions_are_met_in_expectation(eyes):
    share = patient_split(eyes.drop_duplicates("patient_id")).value_counts(normalize=True)
    for name, fraction in FRACTIONS.items():
        assert share[name] == pytest.approx(fraction, abs=0.06)


def test_the_seed_changes_the_split(eyes):
    assert patient_split(eyes, seed=0).tolist() != patient_split(eyes, seed=1).tolist()


def test_every_process_agrees():
    code = (
        "import pandas as pd; from rnfl.core.splits import patient_split, folds_by_patient;"
        "ids = [f'p{i}' for i in range(40)];"
        "print(patient_split(pd.DataFrame({'patient_id': ids})).tolist(),"
        " folds_by_patient(ids, 5).tolist())"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(answers) == 1


def test_folds_are_patient_disjoint_balanced_and_complete(eyes):
    patients = eyes["patient_id"]
    folds = pd.Series(folds_by_patient(patients, 10))
    assert (folds.groupby(patients.to_numpy()).nunique() == 1).all()
    sizes = folds.groupby(patients.to_numpy()).first().value_counts()
    assert len(sizes) == 10
    assert sizes.max() - sizes.min() <= 1
    order = np.random.default_rng(2).permutation(len(eyes))
    again = folds_by_patient(patients.iloc[order].to_list(), 10)
    np.testing.assert_array_equal(again, folds.to_numpy()[order])


def test_fractions_are_nested(eyes):
    patients = eyes["patient_id"].to_list()
    masks = [nested_fraction(patients, f) for f in (0.01, 0.1, 0.25, 0.5, 1.0)]
    for smaller, larger in pairwise(masks):
        assert (larger | ~smaller).all()
        assert larger.sum() > smaller.sum()
    assert masks[-1].all()
    assert len(set(eyes["patient_id"][masks[1]])) == 60
    chosen = eyes["patient_id"][masks[2]]
    assert not set(chosen) & set(eyes["patient_id"][~masks[2]])


def test_a_run_of_a_fold_tests_on_it_and_validates_on_the_next(eyes):
    folds = folds_by_patient(eyes["patient_id"], 5, 3)
    for fold in range(5):
        label = divide(eyes, fold_name(fold, 5, 3)).to_numpy()
        assert set(folds[label == "test"]) == {fold}
        assert set(folds[label == "val"]) == {(fold + 1) % 5}
        assert set(folds[label == "train"]) == set(range(5)) - {fold, (fold + 1) % 5}
        patients = [set(eyes["patient_id"][label == name]) for name in ("train", "val", "test")]
        assert sum(map(len, patients)) == len(set.union(*patients)) == 600


def test_all_trains_on_everybody_but_some_to_validate(eyes):
    label = divide(eyes, "all")
    assert set(label) == {"train", "val"} and label.index.equals(eyes.index)
    assert (label.groupby(eyes["patient_id"]).nunique() == 1).all()
    assert (label == "val").groupby(eyes["patient_id"]).first().sum() == 90
    assert divide(eyes.assign(split="test")).tolist() == ["test"] * len(eyes)


def test_no_fold_divides_a_patient_who_is_spelt_in_two_ways(eyes):
    other = "P0" + eyes["patient_id"].str[1:]
    twin = eyes.assign(patient_id=eyes["patient_id"].where(eyes.index % 2 == 0, other))
    for split in ("all", fold_name(0, 5)):
        with pytest.raises(ValueError, match=f"{split}' divides patients.*P0[0-9]+/p[0-9]+"):
            divide(twin, split)
    assert divide(twin.assign(split="test")).eq("test").all()


@pytest.mark.parametrize(
    "split",
    ["mine", "fold-1-of-2-s0", "fold-3-of-3-s0", "fold-01-of-5-s0", "fold-1-of-5", "All", ""],
)
def test_splits_that_are_none_are_refused(split):
    with pytest.raises(ValueError, match=rf"split '{split}'"):
        check(split)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: patient_split(e, {"train": 0.5, "test": 0.4}), "summing to 1"),
        (lambda e: patient_split(e.head(1)), "empty"),
        (lambda e: patient_split(e.assign(patient_id=7)), "expected strings"),
        (lambda e: folds_by_patient(["a", "a", "b"], 3), "expected 2 to 2"),
        (lambda e: nested_fraction(["a"], 0), "fraction 0"),
    ],
)
def test_wrong_input_is_named(eyes, call, message):
    with pytest.raises(ValueError, match=message):
        call(eyes)
