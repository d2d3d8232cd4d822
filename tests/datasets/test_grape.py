"""GRAPE: the workbook in both header forms, what is excluded and why, crops, and the real files."""

import shutil

import numpy as np
import openpyxl
import pandas as pd
import pytest
from grape_tree import (
    FIELD,
    SIZE,
    draw_fundus,
    outline,
    row,
    visit,
    write_outlines,
    write_tree,
    write_workbook,
)
from PIL import Image

from rnfl import datasets
from rnfl.datasets import grape
from rnfl.datasets.grape.annotations import find_region, read_annotation
from rnfl.datasets.grape.workbook import mean_sensitivity, read_baseline, read_visits
from rnfl.imaging import crops as photographs
from rnfl.storage.paths import project_root

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
        return datasets.prepare("grape", source=raw)


def test_merged_and_unmerged_headers_read_the_same(raw, tmp_path):
    (tmp_path / "unmerged").mkdir()
    unmerged = write_tree(tmp_path / "unmerged" / "grape", merged=False)
    merged = read_baseline(raw / grape.WORKBOOK)
    pd.testing.assert_frame_equal(merged, read_baseline(unmerged / grape.WORKBOOK))
    visits = read_visits(raw / grape.WORKBOOK)
    pd.testing.assert_frame_equal(visits, read_visits(unmerged / grape.WORKBOOK))
    assert len(visits) == 4
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
        (
            row(3, "OD", (80, 90, 0, 90, 60)),
            r"row 4, rnfl_N: 0 µm \(expected 10 to 300 µm; looks like a code for 'not measured'",
        ),
        (row(3, "OD", **{"Subject Number": "/"}), r"row 4: no subject number"),
    ],
)
def test_bad_rows_are_named(tmp_path, bad, message):
    path = write_workbook(tmp_path / "bad.xlsx", [row(1, "OD"), bad])
    with pytest.raises(ValueError, match=rf"bad\.xlsx, sheet Baseline, {message}"):
        read_baseline(path)


def test_formulas_that_were_never_calculated_are_named(tmp_path):
    path = write_workbook(tmp_path / "formulas.xlsx", [row(1, "OD"), row(2, "OD")])
    read_baseline(path)
    book = openpyxl.load_workbook(path)
    header = [cell.value for cell in book["Baseline"][1]]
    cells = [book["Baseline"].cell(line, header.index("OCT RNFL thickness") + 1) for line in (3, 4)]
    for cell in cells:
        cell.value = f"=AVERAGE(N{cell.row}:Q{cell.row})"
    book.save(path)
    told = f"2 cells hold a formula without its value: {cells[0].coordinate}, {cells[1].coordinate}"
    with pytest.raises(ValueError, match=rf"Baseline: {told}\. Open the workbook .* and save it"):
        read_baseline(path)


@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "mm"), (1 / 3.87, "px of 3.87 µm")])
def test_a_workbook_in_another_unit_is_refused_with_the_right_value(tmp_path, factor, unit):
    rnfl = tuple(value * factor for value in (80, 95, 70, 90, 65))
    path = write_workbook(tmp_path / "unit.xlsx", [row(i, "OD", rnfl) for i in range(1, 6)])
    with pytest.raises(
        ValueError, match=f"unit.xlsx, sheet Baseline.*looks like {unit}: .* are 80 µ"
    ):
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
    assert (samples["disc_source"] == "located").all() and samples["roi_distance"].isna().all()
    clinical = samples[["iop", "cct", "total_visits", "progression_plr2", "progression_md"]]
    assert clinical.iloc[0].tolist() == [15.5, 540, 3, 0, 1]
    assert samples["vf_mean"].tolist() == [25] * 4  # the blind spot does not count
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
    first = datasets.prepare("grape", source=copy)
    stamp = (first.folder / "images.npy").stat().st_mtime_ns
    again = datasets.prepare("grape", source=copy)
    assert (again.folder / "images.npy").stat().st_mtime_ns == stamp
    photographs = copy / "CFPs"
    shutil.copy(photographs / "3_OD_1.jpg", photographs / "1_OD_1.jpg")
    changed = datasets.prepare("grape", source=copy)
    assert changed.manifest["hash"] != first.manifest["hash"]
    assert (changed.images[0] == changed.images[3]).all()


def test_visits_are_a_table_and_not_images(raw, data):
    prepared = datasets.prepare("grape-v", source=raw)
    visits = grape.visits("grape-v")
    assert grape.VISITS in prepared.manifest["bytes"]
    assert visits["eye_id"].tolist() == ["grape-1-OD"] * 3 + ["grape-2-OS"]
    assert visits["visit"].tolist() == [1, 2, 3, 2]
    assert visits["years"].tolist() == [0, 0.75, 1.5, 0.75]
    assert visits["photograph_present"].tolist() == [True, True, False, False]
    assert visits["photograph"].isna().tolist() == [False, False, False, True]
    assert np.isnan(visits["iop"][2]) and visits["iop"][1] == 14
    assert tuple(visits["visual_field"][1]) == FIELD and visits["vf_mean"][1] == 25
    counts = prepared.manifest["counts"]
    assert counts["visits"] == 4
    assert counts["later_photographs"] == {"present": 1, "absent": 1, "none_taken": 1}
    assert len(prepared) == 4  # the photograph of the second visit is not among the images
    assert any("Later visits: 3, of which 1" in note for note in prepared.manifest["findings"])
    with pytest.raises(FileNotFoundError, match="rnfl prepare grape-w"):
        grape.visits("grape-w")


def test_entries_that_decide_nothing_are_left_empty_and_listed(data, tmp_path):
    rows = [row(1, "OD", IOP=0, CCT="thin", VF=(*FIELD[:60], -2)), row(2, "OD")]
    seen = [
        visit(1, "OD", 1, **{"Visit Number": "?"}),
        visit(1, "OD", 2, **{"Corresponding CFP": "../1.jpg"}),
    ]
    path = write_workbook(tmp_path / grape.WORKBOOK, rows, visits=seen)
    baseline, visits = read_baseline(path), read_visits(path)
    assert baseline[["iop", "cct"]].iloc[0].isna().all() and baseline["vf_mean"][0] == 25
    assert len(visits) == 1 and visits["photograph"][0] is None
    faults = "; ".join(baseline.attrs["faults"] + visits.attrs["faults"])
    for fault in (
        "Baseline row 3, iop: 0: expected a positive number",
        "Baseline row 3, cct: 'thin'",
        "Baseline row 3, vf: -2",
        "Follow-up row 3, visit: '?'",
        "Follow-up row 3: whose visit it is",
        "Follow-up row 4, photograph: '../1.jpg'",
    ):
        assert fault in faults
    write_workbook(path, [row(1, "OD"), row(1, "OD")])
    with pytest.raises(ValueError, match="rows 3, 4: one eye twice"):
        read_baseline(path)


def test_mean_sensitivity_against_its_definition(rng):
    field = rng.integers(0, 35, (3, 61)).astype(float)
    field[:, [21, 32]] = -1
    field[1, 5] = -1  # not seen
    field[2, :40] = np.nan
    points = [i for i in range(61) if i not in (21, 32)]
    expected = [field[0, points].mean(), field[1, points].clip(0).mean(), np.nan]
    np.testing.assert_allclose(mean_sensitivity(field), expected)


def test_workbook_without_visits_still_prepares(raw, data, tmp_path):
    copy = shutil.copytree(raw, tmp_path / "copy")
    book = openpyxl.load_workbook(copy / grape.WORKBOOK)
    del book["Follow-up"]
    book.save(copy / grape.WORKBOOK)
    prepared = datasets.prepare("grape-x", source=copy)
    assert len(prepared) == 4 and grape.visits("grape-x").empty
    assert "no sheet 'Follow-up'" in " ".join(prepared.manifest["findings"])
    assert "1_OD_2.jpg" in " ".join(prepared.manifest["findings"])  # not in the workbook any more


@pytest.fixture(scope="module")
def helped(raw, tmp_path_factory):
    """The same folder with outlines and regions of interest, in folders of the archives' names."""
    folder = shutil.copytree(raw, tmp_path_factory.mktemp("helped") / "grape")
    outlines, regions = folder / "json", folder / "ROI_images"
    shapes = {"OD": outline(330, 240, 36), "OC": outline(335, 240, 18)}
    write_outlines(outlines / "1_OD_1.json", shapes)
    (outlines / "1_OS_1.json").write_text("{not json")
    write_outlines(outlines / "2_OS_1.json", shapes, imageWidth=120, imageHeight=120)
    regions.mkdir()
    photo = draw_fundus("OD", 0.85)
    Image.fromarray(photo[162:302, 338:478]).save(regions / "3_OD_1.jpg", quality=95)
    # The disc of a left eye lies at 0.26 of its width; a pixel too many, as the published have.
    Image.fromarray(draw_fundus("OS")[160:300, 55:196]).save(regions / "5_OS_1.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(tmp_path_factory.mktemp("data")))
        yield datasets.prepare("grape-helped", source=folder)


def test_outlines_give_the_disc_and_bad_ones_are_said(helped):
    samples = helped.samples.set_index("eye_id")
    sources = ["annotation", "located", "located", "located", "roi"]
    assert samples["disc_source"].tolist() == sources
    first = samples.loc["grape-1-OD"]
    assert (first["disc_x"], first["disc_y"]) == pytest.approx((330, 240), abs=0.6)
    assert first["disc_confidence"] == 1 and first["cup_disc_ratio"] == pytest.approx(0.5, abs=0.01)
    assert samples["cup_disc_ratio"].isna().tolist() == [False, True, True, True, True]
    assert helped.manifest["counts"]["annotations"] == {"used": 1, "unusable": 2}
    note = next(n for n in helped.manifest["findings"] if "annotations are not used" in n)
    assert "grape-1-OS: no LabelMe file" in note
    assert "grape-2-OS: drawn on a picture of 120x120 px, the photograph has 480x480" in note
    assert "annotation_fault" not in samples


def test_regions_are_a_second_opinion_where_there_is_a_photograph(helped):
    distance = helped.samples.set_index("eye_id")["roi_distance"]
    assert distance.notna().tolist() == [False, False, False, True, False]
    assert distance["grape-3-OD"] < 0.2  # the region was cut round the drawn disc


def test_an_eye_without_photograph_is_read_from_its_region(helped):
    samples = helped.samples.set_index("eye_id")
    eye, others = samples.loc["grape-5-OS"], samples.drop("grape-5-OS")
    assert eye["disc_source"] == "roi" and eye["rnfl_I"] == 90
    assert eye["field_mm"] == pytest.approx(140 / 480 * 13.0)  # of a photograph of 480 px
    assert others["field_mm"].tolist() == pytest.approx([4.943] * 4, abs=1e-3)
    image = np.asarray(helped.images[-1])
    x, y = np.argwhere(image[..., 2] > 150)[:, ::-1].mean(axis=0)
    assert x < 111 and abs(y - 111.5) < 15  # a left eye is mirrored
    edge = round(112 * (1 - eye["field_mm"] / 4.943))  # where the reflection begins
    inside, beyond = image[:, edge + 2 : edge + 12], image[:, edge - 12 : edge - 2]
    assert np.abs(inside[:, ::-1].astype(int) - beyond).mean() < 3
    assert helped.manifest["counts"]["from_region"] == 1
    assert any("1 eyes without photograph are read" in one for one in helped.manifest["findings"])
    assert "grape-5-OS" not in {one["id"] for one in helped.manifest["exclusions"]}


def test_a_workbook_without_resolution_gives_regions_their_usual_share(raw, data, tmp_path):
    folder = shutil.copytree(raw, tmp_path / "raw")
    (folder / "ROI images").mkdir()
    Image.fromarray(draw_fundus("OS")[160:300, 40:181]).save(folder / "ROI images" / "5_OS_1.jpg")
    book = openpyxl.load_workbook(folder / grape.WORKBOOK)
    for cell in book["Baseline"][1]:
        if cell.value == "Resolusion":
            cell.value = "Camera"
    book.save(folder / grape.WORKBOOK)
    eyes = datasets.prepare("grape-r", source=folder).samples.set_index("eye_id")
    assert eyes.loc["grape-5-OS", "field_mm"] == pytest.approx(0.291 * 13.0)


def test_region_is_found_where_it_was_cut(rng):
    photo = draw_fundus("OD")
    assert find_region(photo, photo[100:250, 200:360]) == pytest.approx((279.5, 174.5), abs=2)
    assert find_region(photo, rng.integers(0, 255, (150, 160, 3)).astype(np.uint8)) is None
    assert find_region(photo[:100, :100], photo) is None


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({}, "no outline labelled OD"),
        ({"OC": outline(240, 240, 20)}, "no outline labelled OD"),
        ({"OD": outline(240, 240, 36)[:2]}, "OD has points of shape"),
        ({"OD": [[1, 1], [5, 5], [9, 9]]}, "OD has no area"),
        ({"OD": outline(470, 240, 36)}, "OD leaves the photograph"),
        ({"OD": [[1, "x"], [5, 5], [9, 1]]}, "OD has no points"),
        ({"OD": outline(240, 240, 20), "OC": outline(240, 240, 30)}, "1.50 times as high"),
    ],
)
def test_unusable_outlines_say_why(tmp_path, shapes, message):
    path = write_outlines(tmp_path / "a.json", shapes)
    with pytest.raises(ValueError, match=message):
        read_annotation(path, SIZE, SIZE)


def test_two_folders_under_two_names_stay_apart(raw, data, tmp_path, monkeypatch):
    one = shutil.copytree(raw, tmp_path / "one")
    two = shutil.copytree(raw, tmp_path / "two")
    write_workbook(two / grape.WORKBOOK, [row(1, "OD"), row(9, "OD")])
    shutil.copy(two / "CFPs" / "3_OD_1.jpg", two / "CFPs" / "9_OD_1.jpg")
    monkeypatch.chdir(tmp_path)
    a, b = datasets.prepare("grape-a", source="one"), datasets.prepare("grape-b", source=two)
    assert a.samples["eye_id"].tolist() != b.samples["eye_id"].tolist() == [
        "grape-1-OD", "grape-9-OD",
    ]  # fmt: skip
    assert set(a.samples["patient_id"]) & set(b.samples["patient_id"]) == {"grape-1"}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("RNFL_GRAPE", str(one))  # names the folder of `grape`, of no other
    shutil.copytree(raw, data / "raw" / "grape")
    stamps = [(p.folder / "images.npy").stat().st_mtime_ns for p in (a, b)]

    def ask_again():
        again = [datasets.prepare(name) for name in ("grape-a", "grape-b")]
        assert [p.manifest["hash"] for p in again] == [a.manifest["hash"], b.manifest["hash"]]
        assert [(p.folder / "images.npy").stat().st_mtime_ns for p in again] == stamps

    ask_again()
    shutil.rmtree(one)
    shutil.rmtree(two)
    ask_again()  # they answer for files that are gone
    with pytest.raises(FileNotFoundError, match=r"grape-c not found: .*raw/grape-c, or"):
        datasets.prepare("grape-c")


def test_changed_files_of_a_named_dataset_are_seen_without_naming_them_again(raw, data, tmp_path):
    copy = shutil.copytree(raw, tmp_path / "copy")
    datasets.prepare("grape-a", source=copy)
    shutil.copy(copy / "CFPs" / "3_OD_1.jpg", copy / "CFPs" / "1_OD_1.jpg")
    changed = datasets.prepare("grape-a")
    assert (changed.images[0] == changed.images[3]).all()


def test_source_order(raw, data, tmp_path, monkeypatch):
    beside = tmp_path / "shared" / "data" / "grape"
    shutil.copytree(raw, beside)
    assert grape.Grape.find_source() == beside
    default = shutil.copytree(raw, data / "raw" / "grape")
    (default / grape.WORKBOOK).rename(default / grape.WORKBOOK.replace(" ", "_"))
    assert grape.Grape.find_source() == default
    monkeypatch.setenv("RNFL_GRAPE", str(raw))
    assert grape.Grape.find_source() == raw
    assert grape.Grape.find_source(beside) == beside


def test_absent_source_names_every_place_and_what_to_put_there(data, monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        grape.Grape.find_source()
    message = str(caught.value)
    assert str(data / "raw" / "grape") in message and "shared" in message
    assert grape.WORKBOOK in message and "CFPs" in message and "RNFL_GRAPE" in message
    monkeypatch.setenv("RNFL_GRAPE", str(tmp_path / "typo"))  # a named place is not passed over
    with pytest.raises(FileNotFoundError, match="typo"):
        datasets.prepare("grape")


def test_nothing_left_is_an_error(data, tmp_path):
    (tmp_path / "CFPs").mkdir()
    write_workbook(tmp_path / grape.WORKBOOK, [row(1, "OD")])
    with pytest.raises(ValueError, match="no eye has both"):
        grape.Grape.prepare(source=tmp_path)


@needs_real
def test_real_workbook():
    table = read_baseline(REAL / grape.WORKBOOK)
    measured = table.dropna(subset=["rnfl_mean"])
    photographed = measured["photograph"].map(lambda name: (REAL / "CFPs" / name).is_file())
    assert (len(table), table["patient_id"].nunique(), len(measured)) == (136, 75, 127)
    assert photographed.sum() == 95
    visits = read_visits(REAL / grape.WORKBOOK)
    assert (len(visits), visits["visit"].max()) == (598, 9)
    assert visits.attrs["faults"] == table.attrs["faults"] == []
    first = visits[visits["visit"] == 1].set_index("eye_id")
    assert (first.loc[table["eye_id"], "vf_mean"].to_numpy() == table["vf_mean"]).all()
    assert (visits.groupby("eye_id").size()[table["eye_id"]] == table["total_visits"].array).all()
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
    prepared = datasets.prepare("grape", source=source)
    assert prepared.samples["eye_id"].tolist() == ["grape-1-OD", "grape-1-OS"]
    reasons = [e["reason"] for e in prepared.manifest["exclusions"]]
    assert reasons.count("no RNFL thickness") == 9 and reasons.count("no photograph") == 125
    later = prepared.manifest["counts"]["later_photographs"]
    assert later == {"present": 0, "absent": 190, "none_taken": 272}
