"""GRAPE: the workbook in both header forms, what is excluded and why, crops, and the real files."""

import shutil

import numpy as np
import openpyxl
import pandas as pd
import pytest
from grape_tree import row, write_tree, write_workbook

from rnfl import photographs, prepare
from rnfl.datasets import grape
from rnfl.datasets.grape_workbook import read_baseline
from rnfl.paths import project_root

REAL = project_root().parent / "shared" / "data" / "grape"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"real GRAPE files absent: {REAL}")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("raw") / "grape")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data root; nothing outside it is found."""
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("RNFL_GRAPE", raising=False)
    monkeypatch.setattr(grape, "project_root", lambda: tmp_path / "project")
    return tmp_path / "data"


@pytest.fixture(scope="module")
def prepared(raw, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(tmp_path_factory.mktemp("data")))
        return prepare.prepare("grape", source=raw)


def test_merged_and_unmerged_headers_read_the_same(raw, tmp_path):
    (tmp_path / "unmerged").mkdir()
    unmerged = write_tree(tmp_path / "unmerged" / "grape", merged=False)
    merged = read_baseline(raw / grape.WORKBOOK)
    pd.testing.assert_frame_equal(merged, read_baseline(unmerged / grape.WORKBOOK))
    assert len(merged) == 8
    first = merged.iloc[0]
    assert (first.eye_id, first.patient_id, first.age, first.sex) == (
        "grape-1-OD",
        "grape-1",
        51,
        "F",
    )
    assert first[["rnfl_mean", "rnfl_S", "rnfl_N", "rnfl_I", "rnfl_T"]].tolist() == [
        110, 120, 80, 130, 90,
    ]  # fmt: skip


def test_slash_is_missing_never_zero(raw):
    table = read_baseline(raw / grape.WORKBOOK).set_index("eye_id")
    assert np.isnan(table.loc["grape-2-OS", "age"])
    assert table.filter(like="rnfl_").loc["grape-4-OD"].isna().all()
    assert table["age"].dtype == table["rnfl_S"].dtype == float


def test_header_rows_repeated_among_the_data_are_skipped(tmp_path):
    path = write_workbook(tmp_path / "b.xlsx", [row(1, "OD"), row(2, "OD")], merged=False)
    book = openpyxl.load_workbook(path)
    sheet = book["Baseline"]
    for column in range(1, 81):
        sheet.cell(6, column, sheet.cell(2, column).value)
    book.save(path)
    assert read_baseline(path)["patient_id"].tolist() == ["grape-1", "grape-2"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(3, "right"), r"row 4: laterality 'right': expected OD or OS"),
        (row(3, "OD", ("thin", 1, 1, 1, 1)), r"row 4, rnfl_mean: 'thin': expected a number or '/'"),
        (row(3, "OD", (80, 90, 0, 90, 60)), r"row 4, rnfl_N: 0: expected a positive number"),
        (row(3, "OD", **{"Subject Number": "/"}), r"row 4: no subject number"),
    ],
)
def test_bad_rows_are_named(tmp_path, bad, message):
    path = write_workbook(tmp_path / "bad.xlsx", [row(1, "OD"), bad])
    with pytest.raises(ValueError, match=rf"bad\.xlsx, sheet Baseline, {message}"):
        read_baseline(path)


def test_missing_column_and_sheet_are_named(tmp_path):
    path = write_workbook(tmp_path / "bad.xlsx", [row(1, "OD")])
    book = openpyxl.load_workbook(path)
    book["Baseline"].cell(1, 4, "Sexus")
    book.save(path)
    with pytest.raises(ValueError, match=r"bad\.xlsx.*\['gender'\] are missing; found .*'sexus'"):
        read_baseline(path)
    book["Baseline"].title = "Visits"
    book.save(path)
    with pytest.raises(ValueError, match="no sheet 'Baseline'; found Visits"):
        read_baseline(path)


def test_every_exclusion_has_its_reason(prepared):
    assert prepared.samples["eye_id"].tolist() == [
        "grape-1-OD", "grape-1-OS", "grape-2-OS", "grape-3-OD",
    ]  # fmt: skip
    assert {e["id"]: e["reason"] for e in prepared.manifest["exclusions"]} == {
        "grape-4-OD": "no RNFL thickness",
        "grape-5-OS": "no photograph",
        "grape-6-OD": "unreadable photograph",
        "grape-7-OD": "no field of view in the photograph",
    }
    counts = prepared.manifest["counts"]
    assert (counts["workbook_eyes"], counts["patients"], counts["test"]) == (8, 3, 4)
    assert sum(counts["excluded"].values()) == 4


def test_prepared_columns(prepared):
    samples = prepared.samples
    assert (samples["split"] == "test").all() and (samples["modality"] == "CFP").all()
    assert samples["severity"].isna().all() and np.isnan(prepared.profiles).all()
    assert samples["rnfl_I"].tolist() == [130, 120, 65, 88]
    assert {"glaucoma_category", "device", "disc_x", "disc_y"} <= set(samples)
    assert samples["disc_confidence"].between(0.5, 1).all()
    assert prepared.images.shape == (4, 224, 224, 3) and prepared.images.dtype == np.uint8


def test_crops_are_centred_on_the_disc_and_right_eye_oriented(prepared):
    for image in np.asarray(prepared.images, dtype=float):
        y, x = np.nonzero(image[..., 1] > 110)  # the disc is the only bright green
        assert np.hypot(x.mean() - 111.5, y.mean() - 111.5) < 12  # a quarter of a disc radius is 10
        blue = np.argwhere(image[..., 2] > 150)  # the mark temporal of the disc: image-left
        assert blue[:, 1].mean() < 60 and abs(blue[:, 0].mean() - 111.5) < 15


def test_crop_is_padded_not_clipped():
    photo = np.full((1000, 1000, 3), 200, np.uint8)
    image = photographs.crop(photo, x=999.5, y=499.5)  # the disc on the right border
    assert image.shape == (224, 224, 3)
    assert (image[:, :112] == 200).all() and (image[:, 112:] == 0).all()


def test_crop_averages_over_areas():
    photo = np.zeros((2240, 2240, 3), np.uint8)
    photo[::2, ::2] = photo[1::2, 1::2] = 200  # one sample per pixel would give 0 or 200
    image = photographs.crop(photo, 1120, 1120).astype(float)
    assert image.mean() == pytest.approx(100, abs=1) and image.std() < 15


def test_preparing_again_changes_nothing_unless_the_files_did(raw, data, tmp_path):
    copy = shutil.copytree(raw, tmp_path / "copy")
    first = prepare.prepare("grape", source=copy)
    stamp = (first.folder / "images.npy").stat().st_mtime_ns
    again = prepare.prepare("grape", source=copy)
    assert (again.folder / "images.npy").stat().st_mtime_ns == stamp
    photographs = copy / "CFPs"
    shutil.copy(photographs / "3_OD_1.jpg", photographs / "1_OD_1.jpg")
    changed = prepare.prepare("grape", source=copy)
    assert changed.manifest["hash"] != first.manifest["hash"]
    assert (changed.images[0] == changed.images[3]).all()


def test_source_order(raw, data, tmp_path, monkeypatch):
    beside = tmp_path / "shared" / "data" / "grape"
    shutil.copytree(raw, beside)
    assert grape.find_source() == beside
    default = shutil.copytree(raw, data / "raw" / "grape")
    (default / grape.WORKBOOK).rename(default / grape.WORKBOOK.replace(" ", "_"))
    assert grape.find_source() == default
    monkeypatch.setenv("RNFL_GRAPE", str(raw))
    assert grape.find_source() == raw
    assert grape.find_source(beside) == beside


def test_absent_source_names_every_place_and_what_to_put_there(data, monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        grape.find_source()
    message = str(caught.value)
    assert str(data / "raw" / "grape") in message and "shared" in message
    assert grape.WORKBOOK in message and "CFPs" in message and "RNFL_GRAPE" in message
    monkeypatch.setenv("RNFL_GRAPE", str(tmp_path / "typo"))  # a named place is not passed over
    with pytest.raises(FileNotFoundError, match="typo"):
        prepare.prepare("grape")


def test_nothing_left_is_an_error(data, tmp_path):
    (tmp_path / "CFPs").mkdir()
    write_workbook(tmp_path / grape.WORKBOOK, [row(1, "OD")])
    with pytest.raises(ValueError, match="no eye has both"):
        grape.prepare(source=tmp_path)


@needs_real
def test_real_workbook():
    table = read_baseline(REAL / grape.WORKBOOK)
    measured = table.dropna(subset=["rnfl_mean"])
    photographed = measured["photograph"].map(lambda name: (REAL / "CFPs" / name).is_file())
    assert (len(table), table["patient_id"].nunique(), len(measured)) == (136, 75, 127)
    assert photographed.sum() == 95
    assert set(table["glaucoma_category"]) == {"OAG", "ACG"} and set(table["sex"]) == {"F", "M"}
    quadrants = measured[["rnfl_S", "rnfl_N", "rnfl_I", "rnfl_T"]].mean(axis=1)
    assert (
        np.corrcoef(quadrants, measured["rnfl_mean"])[0, 1] > 0.98
    )  # the columns are not mixed up


@needs_real
def test_real_photographs_prepare(data, tmp_path):
    source = tmp_path / "few"
    (source / "CFPs").mkdir(parents=True)
    shutil.copy(REAL / grape.WORKBOOK, source)
    for name in ("1_OD_1.jpg", "1_OS_1.jpg", "6_OD_1.jpg"):
        shutil.copy(REAL / "CFPs" / name, source / "CFPs")
    prepared = prepare.prepare("grape", source=source)
    assert prepared.samples["eye_id"].tolist() == ["grape-1-OD", "grape-1-OS"]
    reasons = [e["reason"] for e in prepared.manifest["exclusions"]]
    assert reasons.count("no RNFL thickness") == 9 and reasons.count("no photograph") == 125
