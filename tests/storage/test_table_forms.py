"""Tables as spreadsheets and systems write them: read, or refused by what is wrong with them."""

import unicodedata

import pandas as pd
import pytest

from rnfl.storage.tables import identifiers, named_file, near_names, numbers, read_table, unused

SAME = {"eye": "laterality", "sample_id": "eye_id"}


@pytest.fixture
def read(tmp_path):
    def read(content, name="a.csv", encoding="utf-8", text=None):
        (tmp_path / name).write_bytes(content.encode(encoding))
        return read_table(tmp_path / name, SAME, text, "Expected eyes", needed=("eye_id",))

    return read


FORMS = [
    ("eye_id,eye,age\n007,OD,61.5\n", "utf-8"),
    ("eye_id,eye,age\n007,OD,61.5\n", "utf-8-sig"),
    ("eye_id,eye,age\n007,OD,61.5\n", "utf-16"),
    ("sep=,\neye_id,eye,age\n007,OD,61.5\n", "utf-8"),
    ("sep=;\r\neye_id;eye;age\r\n007;OD;61,5\r\n", "utf-8-sig"),
    ('"sep=\t"\neye_id\teye\tage\n007\tOD\t61.5\n', "utf-16"),
    ("eye_id;eye;age\n007;OD;61,5\n", "utf-8"),
    ("eye_id\teye\tage\n007\tOD\t61,5\n", "utf-8"),
    ("eye_id|eye|age\n007|OD|61.5\n", "utf-8"),
    ('"Sample ID"," EYE ","Age (years)"\n"007",OD,61.5\n', "utf-8"),
    ("\u200bEye-ID,eye,AGE,,\n007,OD,61.5,,\n", "utf-8"),
    (",ＥＹＥ_ID,eye,age\n0,007,OD,61.5\n", "utf-8"),
]


@pytest.mark.parametrize(("content", "encoding"), FORMS)
@pytest.mark.parametrize("text", [None, ("eye_id", "laterality")])
def test_every_form_gives_the_same_table(content, encoding, text, read):
    frame = read(content, encoding=encoding, text=text)
    assert list(frame) == ["eye_id", "laterality", "age"]
    assert frame["eye_id"].tolist() == ["007"] and frame["laterality"].tolist() == ["OD"]
    assert numbers(frame["age"], "age").tolist() == [61.5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Export of clinic A\n\neye_id,age\n1,2\n",
         "line 1 is no header: 'Export of clinic A'; the header seems to be line 3"),
        ("Clinic A; 2024,,\neye_id,age\n1,2\n", "the header seems to be line 2"),
        ("sep=,\nTitle\neye_id,age\n1,2\n", "line 2 is no header: 'Title'.*be line 3"),
        ("sep=:\neye_id:age\n", "'sep=:': expected one of"),
        ("eye_id,a;eye_id\n1,2\n", "line 1 is separated by ',' or ';', which is not clear"),
        ("eye_id,age\n1,2,3\n", "more values than the header has columns"),
        ("eye_id,age,\n1,2,3\n", "more values than the header has columns"),
        ("eye_id,Age,AGE (years)\n1,2,3\n", r"mean the same: age \(Age, AGE \(years\)\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(content, message, read):
    with pytest.raises(ValueError, match=message):
        read(content)


def test_other_encodings_and_workbooks_say_how_to_save(read):
    with pytest.raises(ValueError, match="CSV UTF-8"):
        read("eye_id,name\n1,Müller\n", encoding="latin-1")
    with pytest.raises(ValueError, match="no text in UTF-8: save it as 'CSV UTF-8'"):
        read("eye_id,name\n1,2\n", encoding="utf-16-le")
    with pytest.raises(ValueError, match=r"ends in '.xlsx'.*saved as 'CSV UTF-8'.*as text"):
        read("PK", name="a.xlsx")


def test_decimal_commas_are_no_part_of_a_table_of_commas(read):
    frame = read('eye_id,age\n1,"61,5"\n')
    with pytest.raises(ValueError, match=r"not numbers: '61,5'.*expected decimal points"):
        numbers(frame["age"], "age")
    assert read("eye_id;image\n1,5;2,5\n").values.tolist() == [["1,5", "2,5"]]


@pytest.mark.parametrize("code", ["/", "-", "n.d.", "--", "not done"])
def test_words_for_not_measured_are_to_be_left_out(code):
    with pytest.raises(
        ValueError, match=r"line 3\); where nothing was measured, leave the cell em"
    ):
        numbers(pd.Series(["80", code]), "S")


def test_an_absent_parquet_is_said_in_words(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.parquet cannot be read .*: Expected rows"):
        read_table(tmp_path / "absent.parquet", {}, None, "Expected rows", ())


def test_identifiers_are_text_in_one_unicode_form_and_whole():
    given = pd.Series([" e\u0301 1", "1234567890123456789", "1e5", "101.0"], name="id")
    told = identifiers(given, "a.csv: id").tolist()
    assert told == ["é 1", "1234567890123456789", "1e5", "101.0"]
    with pytest.raises(ValueError, match=r"lost digits: 1.23457E\+17 \(line 3\).*as text"):
        identifiers(pd.Series(["7", "1.23457E+17"]), "a.csv: id")


def test_a_known_column_in_another_unit_is_refused(read):
    frame = read("eye_id,age (months),axial length (mm)\n1,700,23\n")
    with pytest.raises(ValueError, match=r"age_\(months\): expected"):
        unused(frame, ["eye_id", "age"], "a.csv")
    assert unused(frame.drop(columns="age_(months)"), ["eye_id"], "") == ["axial_length_(mm)"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_file_is_found_in_either_unicode_form(form, tmp_path):
    (tmp_path / unicodedata.normalize(form, "é1.png")).write_bytes(b"")
    for asked in ("NFC", "NFD"):
        assert named_file(tmp_path / unicodedata.normalize(asked, "é1.png")).is_file()
    assert not named_file(tmp_path / "É1.PNG").is_file()
    (near,) = near_names(tmp_path / "É1.PNG")
    assert unicodedata.normalize("NFC", near) == "é1.png"
    assert near_names(tmp_path / "absent" / "a.png") == []
