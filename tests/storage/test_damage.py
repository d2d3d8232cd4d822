"""Damage of every kind is refused in words that name the file, and quickly."""

import zlib

import numpy as np
import pandas as pd
import pytest
from mutated_files import FILES, bit_flips, damaged, make, outcome, special

from analysis.reports.evaluation.predictions import read_predictions
from rnfl.datasets.grape.workbook import read_baseline
from rnfl.models.checkpoints import reading
from rnfl.storage import escaping, limits, readers
from rnfl.storage.paths import project_root
from rnfl.storage.provenance import sealed, unsealed, write_csv
from rnfl.storage.tables import numbers

CASES = project_root().parent / "shared" / "cases" / "damage"


def case(place):
    """Return the file of a case that somebody met, where it is at hand."""
    path = CASES / place
    if not path.is_file():
        pytest.skip(f"no {place} beside the project")
    return path


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return {kind: make(kind, folder / kind) for kind in FILES}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.filterwarnings(
    "ignore"
)  # of damage that a library reads on from; how it ends is tested
def test_damaged_files_are_read_or_refused_in_words(kind, wholes, tmp_path):
    assert outcome(kind, wholes[kind], tmp_path) == "accepted"
    for i in range(3 if kind == "wide csv" else 10):
        how, data = damaged(wholes[kind], [1, i, zlib.crc32(kind.encode())])
        assert outcome(kind, data, tmp_path) in ("accepted", "refused"), (how, i)


@pytest.mark.parametrize("kind", ["npy", "about json", "outlines json", "long csv"])
def test_files_made_to_harm_are_refused(kind, wholes, tmp_path):
    for how, data in special(kind, wholes[kind]).items():
        assert outcome(kind, data, tmp_path) == "refused", how


def test_a_single_bit_is_refused_wherever_it_is(tmp_path):
    found = bit_flips(tmp_path, 24, seed=5)
    assert found["flipped"] == 24 == found["refused"] + found["reported by verify"]
    assert found["refused"] > 12 and found["believed"] == 0


@pytest.mark.parametrize("name", ["xlsx-10-tb-m", "xlsx-12-tb-m", "xlsx-13-tb-m"])
def test_case_of_a_damaged_workbook(name):
    path = case(f"05-xlsx-damaged/{name}.xlsx")
    with pytest.raises(ValueError, match=rf"{path.name} cannot be read as a workbook .*again"):
        read_baseline(path)


def test_case_of_a_checkpoint_whose_archive_is_damaged():
    with pytest.raises(ValueError, match=r"ckpt-80-tb-m\.pth is no checkpoint to load: .*damaged"):
        reading.read(case("06-pth-multidisk/ckpt-80-tb-m.pth"))


def test_case_of_a_number_without_end():
    path = case("08-predictions-overflow/preds-166-tb-m_long.csv")
    with pytest.raises(ValueError, match=rf"{path.name}: angle: not numbers: 9+ \(line 1376\)"):
        read_predictions(path)


@pytest.mark.parametrize("entry", ["9" * 400, "-" + "9" * 400, "1" * 101, "0." + "1" * 400])
def test_numbers_that_are_too_long_are_none(entry):
    with pytest.raises(ValueError, match=r"a\.csv: x: not numbers: .*line 3"):
        numbers(pd.Series(["1", entry], dtype=object), "a.csv: x")


def test_case_of_a_small_file_of_forty_million_rows():
    with pytest.raises(ValueError, match=r"p\.csv\.gz: at least 20,\d+,\d+ rows.*RNFL_MAX_ROWS"):
        read_predictions(case("12-csvgz-bomb/p.csv.gz"))


@pytest.mark.parametrize(
    ("kind", "variable"),
    [
        ("long csv", "RNFL_MAX_ROWS"),
        ("long csv.gz", "RNFL_MAX_TABLE_BYTES"),
        ("wide csv", "RNFL_MAX_COLUMNS"),
        ("own parquet", "RNFL_MAX_ROWS"),
        ("about json", "RNFL_MAX_BYTES"),
        ("xlsx", "RNFL_MAX_CELLS"),
        ("png", "RNFL_MAX_PIXELS"),
        ("npz arrays", "RNFL_MAX_BYTES"),
    ],
)
def test_what_is_too_large_is_refused_with_the_variable_that_raises_the_limit(
    kind, variable, wholes, tmp_path, monkeypatch
):
    name, _, read = FILES[kind]
    (tmp_path / name).write_bytes(wholes[kind])
    read(tmp_path / name)
    monkeypatch.setenv(variable, "1")
    with pytest.raises(Exception, match=rf"{name}.*at most 1 are read.*set {variable} to more"):
        read(tmp_path / name)
    monkeypatch.setenv(variable, "many")
    with pytest.raises(Exception, match=f"{variable}='many': expected a positive whole number"):
        limits.check(variable, 1, "a file")


def test_what_a_spreadsheet_would_run_is_held_and_read_back(tmp_path):
    texts = ["=1+1", "+1+cmd|' /C calc'!A0", "-x", "@SUM(1)", "\tq", "\rq", "'=1", "''-a", "-"]
    texts += ["-1.5", "+3", "1e-3", "a=b", "it's", "", "µm", "+0.5 µm [−0.1, +1.1]"]
    frame = pd.DataFrame({"=name": texts, "n": np.linspace(-1, 1, len(texts))})
    path = write_csv(tmp_path / "a.csv", frame)
    held = pd.read_csv(path, keep_default_na=False, dtype=str)
    risky = [one for one in held.iloc[:, 0] if one[:1] in tuple("=+-@\t\r")]
    assert risky == ["-", "-1.5", "+3", "+0.5 µm [−0.1, +1.1]"] and held.columns[0] == "'=name"
    back = readers.read_csv(path, keep_default_na=False)
    pd.testing.assert_frame_equal(back, frame)
    assert all(escaping.original(escaping.cell(text)) == text for text in texts)


def test_a_seal_is_broken_by_any_change_and_anything_else_has_none():
    value = sealed({"a": 1, "b": [1.5, None]})
    assert unsealed(value) == {"a": 1, "b": [1.5, None]} and unsealed([3]) == [3]
    (name, said), *_ = [(k, v) for k, v in value.items() if k not in "ab"]
    plain = {k: v for k, v in value.items() if k != name}
    for broken in (value | {"a": 2}, value | {"c": 0}, plain | {"seam": said}, plain | {name: "x"}):
        with pytest.raises(ValueError, match="seal"):
            unsealed(broken)
