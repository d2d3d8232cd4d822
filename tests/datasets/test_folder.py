"""A folder of photographs with a CSV: what it may say, every exclusion, labels, splits, options."""

import shutil
import unicodedata

import numpy as np
import pandas as pd
import pytest
from grape_tree import draw_fundus
from PIL import Image
from typer.testing import CliRunner

from rnfl import cli, datasets
from rnfl.core.geometry import ANGLES, mirror_profile
from rnfl.imaging import crops

PROFILE = 80 + 20 * np.sin(np.deg2rad(ANGLES)) + 5 * np.cos(np.deg2rad(ANGLES))


@pytest.fixture(scope="session")
def drawn():
    """Drawn photographs of a right and a left eye, the same two for every test."""
    return {"OD": draw_fundus("OD"), "OS": draw_fundus("OS", 0.70)}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "mine"


def fill(folder, drawn, names, size=None):
    """Write photographs; each differs from the others by one pixel. The eye is in the name."""
    for i, name in enumerate(names):
        photo = drawn["OS" if "OS" in name else "OD"].copy()
        photo[0, i] = 255, 255, 255
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(photo)
        (picture.resize(size) if size else picture).save(folder / name, quality=95)


def write_csv(folder, rows, name="samples.csv"):
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / name, index=False)


def reasons(prepared):
    return {one["id"]: one["reason"] for one in prepared.manifest["exclusions"]}


def test_two_columns_are_enough(data, folder, drawn):
    fill(folder, drawn, ["a_OD.jpg", "sub/b_OS.PNG", "c_OD.tif", "spare.jpeg"])
    rows = {"FileName": ["a_OD.jpg", "sub\\b_OS.PNG", "c_OD.tif"], "Laterality": ["od", "L", "OD"]}
    write_csv(folder, {**rows, "remark": "fine"}, "my table.csv")
    prepared = datasets.prepare("folder-mine", source=folder)
    samples = prepared.samples
    assert samples["eye_id"].tolist() == ["folder-a_OD", "folder-b_OS", "folder-c_OD"]
    assert samples["patient_id"].tolist() == samples["eye_id"].tolist()
    assert samples["laterality"].tolist() == ["OD", "OS", "OD"]
    assert (samples["split"] == "test").all() and (samples["modality"] == "CFP").all()
    assert samples["width_mm"].tolist() == [13.0] * 3
    assert not any(name.startswith("rnfl_") for name in samples)
    assert np.isnan(prepared.profiles).all()
    for image in np.asarray(prepared.images, dtype=float):  # the mark is temporal: image-left
        blue = np.argwhere(image[..., 2] > 150)
        assert blue[:, 1].mean() < 60
    manifest = prepared.manifest
    assert manifest["not_in_table"] == ["spare.jpeg"] and manifest["counts"]["not_in_table"] == 1
    notes = " ".join(manifest["findings"])
    for said in (
        "No column patient_id", "13 mm of retina wide", "No labels", "all test", "remark",
        "1 photographs are in no row: spare.jpeg",
    ):  # fmt: skip
        assert said in notes


def test_names_in_other_forms_are_found_and_patients_who_look_alike_are_said(data, folder, drawn):
    decomposed = unicodedata.normalize("NFD", "é_OD.png")
    fill(folder, drawn, [decomposed, "b_OS.png", "c_OD.png"])
    rows = {"image": ["é_OD.png", "b_OS.png", "C_od.png"], "eye": ["OD", "OS", "OD"]}
    write_csv(folder, {**rows, "patient_id": ["7", "007", "8"], "age": [40, 40, 50]})
    prepared = datasets.prepare("folder-mine", source=folder)
    assert prepared.samples["eye_id"].tolist() == ["folder-é_OD", "folder-b_OS"]
    (gone,) = prepared.manifest["exclusions"]
    assert gone["reason"] == "no such photograph" and "the folder has c_OD.png" in gone["detail"]
    assert prepared.manifest["not_in_table"] == ["c_OD.png"]
    told = [text for text in prepared.manifest["findings"] if text.startswith("WARNING")]
    assert len(told) == 1 and "007/7" in told[0]
    said = CliRunner().invoke(cli.app, ["prepare", "folder-mine", "--source", str(folder)]).stdout
    assert "  warning        patient_id: 1 groups differ in zeros" in said
    write_csv(folder, {**rows, "patient_id": ["1", "1", "2"], "race": ["Asian", "White", "Asian"]})
    with pytest.raises(ValueError, match=r"race of 1 patients differs.*1 \(folder-é_OD Asian"):
        datasets.prepare("folder-mine", source=folder)


def test_every_row_left_out_has_its_reason(data, folder, drawn):
    fill(folder, drawn, ["1_OD.png", "2_OD.png", "narrow_OD.png", "../outside.png"])
    fill(folder, drawn, ["small_OD.png"], (120, 120))
    shutil.copy(folder / "1_OD.png", folder / "twin_OD.png")
    (folder / "damaged.jpg").write_bytes((folder / "1_OD.png").read_bytes()[:5000])
    Image.new("RGB", (300, 300)).save(folder / "dark.png")
    Image.fromarray(np.full((300, 300), 900, np.uint16)).save(folder / "deep.png")
    Image.fromarray(drawn["OD"][:220, :]).resize((2000, 220)).save(folder / "narrow_OD.png")
    pages = [Image.new("RGB", (300, 300), color) for color in ("red", "blue")]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    expected = {
        "1_OD.png": None,
        "2_OD.png": "eye not stated",
        "": "no photograph named",
        "gone.png": "no such photograph",
        "../outside.png": "path leaves the folder",
        "/etc/hostname": "path leaves the folder",
        "damaged.jpg": "unreadable photograph",
        "deep.png": "unreadable photograph",
        "pages.tif": "unreadable photograph",
        "dark.png": "no field of view in the photograph",
        "small_OD.png": "photograph too small or too narrow",
        "narrow_OD.png": "photograph too small or too narrow",
        "twin_OD.png": "same photograph as another row's",
    }
    eyes = ["" if name == "2_OD.png" else "OD" for name in expected]
    write_csv(folder, {"image": list(expected), "eye": eyes})
    prepared = datasets.prepare("folder-mine", source=folder)
    assert prepared.samples["eye_id"].tolist() == ["folder-1_OD"]
    found = prepared.manifest["exclusions"]
    stems = [f"folder-{name.split('/')[-1].split('.')[0]}" if name else "" for name in expected]
    named = {
        stem or "folder-line-4": why
        for stem, why in zip(stems, expected.values(), strict=True)
        if why
    }
    assert {one["id"]: one["reason"] for one in found} == named
    details = {one["id"]: one["detail"] for one in found}
    assert "8 bits" in details["folder-deep"] and "2 pages" in details["folder-pages"]
    assert str(folder) not in " ".join(details.values())
    assert prepared.manifest["counts"]["rows"] == 13


def test_discs_stated_or_outside_or_halved(data, folder, drawn):
    names = ["a_OD.png", "b_OS.png", "c_OD.png", "d_OD.png", "e_OD.png"]
    fill(folder, drawn, names)
    rows = pd.DataFrame({"image": names, "eye": ["OD", "OS", "OD", "OD", "OD"]})
    rows["Center_X"], rows["Center_Y"] = [340, 150.5, "", 480, 300], [220, 240, "", 240, ""]
    rows["width_mm"] = [13, 6.5, "", 13, 13]
    write_csv(folder, rows)
    prepared = datasets.prepare("folder-mine", source=folder)
    samples = prepared.samples.set_index("eye_id")
    assert samples["disc_source"].tolist() == ["stated", "stated", "located"]
    assert samples["disc_confidence"].tolist()[:2] == [1, 1]
    assert samples["width_mm"].tolist() == [13, 6.5, 13]
    assert reasons(prepared) == {
        "folder-d_OD": "disc centre outside the photograph",
        "folder-e_OD": "disc_x without disc_y, or the reverse",
    }
    with Image.open(folder / "b_OS.png") as file:
        photo = np.asarray(file)
    crop = crops.crop(photo, 150.5, 240, 6.5)[:, ::-1]
    assert (prepared.images[1] == crop).all()


def test_exif_turns_the_photograph(data, folder, drawn):
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 8  # to be shown turned by 90° counterclockwise
    turned = Image.fromarray(drawn["OD"]).transpose(Image.Transpose.ROTATE_270)
    turned.save(folder / "a_OD.jpg", exif=exif, quality=95)
    write_csv(folder, {"image": ["a_OD.jpg"], "eye": ["OD"]})
    prepared = datasets.prepare("folder-mine", source=folder)
    upright = crops.prepare(drawn["OD"], "OD").image
    assert np.abs(prepared.images[0].astype(float) - upright).mean() < 2


@pytest.mark.parametrize("orientation", ["tsnit", "image"])
def test_profiles_and_quadrants(data, folder, drawn, orientation):
    names = [f"{i}_{eye}.png" for i in range(3) for eye in ("OD", "OS")]
    fill(folder, drawn, names)
    (folder / "folder.toml").write_text(f'profile_orientation = "{orientation}"\n')
    rows = pd.DataFrame({"image": names, "side": ["OD", "OS"] * 3, "Patient": [1, 1, 2, 2, 3, 3]})
    profiles = pd.DataFrame([PROFILE + i for i in range(6)], columns=range(360))
    profiles.iloc[2, :10] = np.nan
    profiles.iloc[3, 5] = -1
    profiles.iloc[4] = np.nan
    write_csv(folder, pd.concat([rows, profiles], axis=1))
    prepared = datasets.prepare("folder-mine", source=folder)
    assert reasons(prepared) == {
        "folder-1_OS": "RNFL profile with values of 0 µm or less",
        "folder-2_OD": "no RNFL label, which other rows have",
    }
    right, left = prepared.profiles[0], prepared.profiles[1]
    np.testing.assert_allclose(right, PROFILE, rtol=1e-5)
    expected = PROFILE + 1 if orientation == "tsnit" else mirror_profile(PROFILE + 1)
    np.testing.assert_allclose(left, expected, rtol=1e-5)
    assert np.isnan(prepared.profiles[2]).sum() == 10
    assert prepared.samples["patient_id"].tolist() == ["1", "1", "2", "3"]
    assert "fewer than 20 patients" in " ".join(prepared.manifest["findings"])


def test_quadrants_under_either_name(data, folder, drawn):
    names = ["a_OD.png", "b_OD.png", "c_OD.png"]
    fill(folder, drawn, names)
    rows = {"image": names, "eye": "OD", "S": [100, 90, 500], "n": [70, "", 1], "I": [110, 95, 1]}
    write_csv(
        folder, {**rows, "t": [60, 61, 1], "Gender": ["f", "male", ""], "age": [50, "NA", 70]}
    )
    prepared = datasets.prepare("folder-mine", source=folder)
    samples = prepared.samples
    assert samples["rnfl_S"].tolist() == [100, 90] and np.isnan(samples["rnfl_N"][1])
    assert samples["rnfl_mean"][0] == 85 and np.isnan(samples["rnfl_mean"][1])
    assert samples["sex"].tolist() == ["F", "M"] and np.isnan(samples["age"][1])
    assert prepared.manifest["exclusions"][0]["reason"].startswith("RNFL label beyond")
    assert prepared.manifest["counts"]["labels"] == "quadrants"
    write_csv(folder, {**rows, "rnfl_mean": [80, 82, 90], "RNFL_T": [60, 61, 62]} | {"t": 1})
    with pytest.raises(ValueError, match="columns that mean the same: t, rnfl_T"):
        datasets.prepare("folder-mine", source=folder)


def test_labels_of_many_patients_are_split_by_patient(data, folder, drawn):
    names = [f"{i}_OD.png" for i in range(40)]
    fill(folder, {"OD": drawn["OD"][100:320, 240:460]}, names)
    (folder / "folder.toml").write_text('images = "crops"\nsplit_seed = 1\n')
    rows = {"image": names, "eye": "OD", "patient_id": [f"p{i // 2}" for i in range(40)]}
    write_csv(folder, {**rows, **dict.fromkeys(("S", "N", "I", "T"), 80)})
    prepared = datasets.prepare("folder-mine", source=folder)
    samples = prepared.samples
    assert set(samples["split"]) == {"train", "val", "test"}
    assert samples.groupby("patient_id")["split"].nunique().max() == 1
    write_csv(folder, {**rows, "split": ["train", "test"] * 20})
    with pytest.raises(ValueError, match=r"20 patients are in more than one split"):
        datasets.prepare("folder-mine", source=folder)


def test_crops_are_taken_as_they_are(data, folder, drawn):
    fill(folder, drawn, ["a_OD.png", "b_OS.png"], (448, 448))
    fill(folder, drawn, ["c_OD.png"], (448, 440))
    (folder / "folder.toml").write_text('images = "crops"\n')
    write_csv(folder, {"image": ["a_OD.png", "b_OS.png", "c_OD.png"], "eye": ["OD", "OS", "OD"]})
    prepared = datasets.prepare("folder-mine", source=folder)
    assert reasons(prepared) == {"folder-c_OD": "crop that is not square"}
    with Image.open(folder / "b_OS.png") as file:
        halves = np.asarray(file.resize((224, 224), Image.Resampling.BOX))
    assert (prepared.images[1] == halves[:, ::-1]).all()
    assert (prepared.samples["disc_confidence"] == 1).all()
    (folder / "folder.toml").write_text('images = "crops"\nleft_eyes = "mirrored"\n')
    again = datasets.prepare("folder-mine", source=folder)
    assert (again.images[1] == halves).all()


def test_dark_margins_are_said(data, folder, drawn):
    folder.mkdir()
    wide = np.pad(drawn["OD"], ((0, 0), (120, 120), (0, 0)))
    Image.fromarray(wide).save(folder / "a_OD.png")
    write_csv(folder, {"image": ["a_OD.png"], "eye": ["OD"]})
    prepared = datasets.prepare("folder-mine", source=folder)
    assert prepared.samples["field_share"][0] == pytest.approx(480 / 720, abs=0.03)
    (unsure,) = prepared.manifest["unsure"]
    assert unsure["doubts"][0].startswith("dark margins: ")
    assert prepared.samples["width_mm"][0] == pytest.approx(13 * 720 / 480, rel=0.01)
    assert prepared.samples["doubts"][0] == "; ".join(unsure["doubts"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"eye": ["right", "sideways"]},
            r"laterality has values 'sideways' \(1\): expected OD, OS",
        ),
        ({"image": ["a_OD.png", "./a_OD.png"]}, "repeated: 'a_OD.png' in line 2, .* line 3"),
        ({"image": ["a_OD.png", "sub/a_OD.png"]}, "of the same name need a column eye_id"),
        ({"eye_id": ["x", "x"]}, "repeated: 'x' in line 2"),
        ({"patient_id": ["x", ""]}, "patient_id is missing in 1 rows: line 3"),
        ({"age": [50, 500]}, "age expected 0 to 120 years; line 3: 500"),
        ({"width_mm": [13, 0.1]}, "width_mm expected 1 to 50 mm"),
        ({"width_mm": 13, "fov": 45}, "width_mm and field_degrees: keep one"),
        ({"race": ["Black", "blue"]}, "race has values 'blue'"),
        ({"split": ["test", ""]}, "split is empty in line 3"),
        ({"disc_x": ["left", 3], "disc_y": 3}, "disc_x: not numbers: 'left'"),
        ({"rnfl_S": [90, 80]}, "rnfl_S without rnfl_N, rnfl_I, rnfl_T"),
        ({str(i): 80 for i in range(359)}, "expected profile columns 0 to 359; missing 359"),
        ({str(i): 80 for i in range(361)}, "too much is 360"),
        ({"modality": ["SLO", "CFP"]}, "modalities CFP, SLO: make a dataset of each"),
        ({"laterality": "OD"}, r"columns that mean the same: eye \(eye, laterality\)"),
    ],
)
def test_bad_tables_are_errors_that_say_what(data, folder, drawn, changes, message):
    fill(folder, drawn, ["a_OD.png", "b_OD.png"])
    write_csv(folder, {"image": ["a_OD.png", "b_OD.png"], "eye": ["OD", "OD"]} | changes)
    with pytest.raises(ValueError, match=message) as caught:
        datasets.prepare("folder-mine", source=folder)
    assert "samples.csv" in str(caught.value)


def test_which_csv(data, folder, drawn):
    fill(folder, drawn, ["a_OD.png", "b_OD.png"])
    with pytest.raises(FileNotFoundError, match=r"no CSV.*image \(file\) and eye \(OD or OS\)"):
        datasets.prepare("folder-mine", source=folder)
    write_csv(folder, {"image": ["a_OD.png"], "eye": "OD"}, "one.csv")
    write_csv(folder, {"image": ["b_OD.png"], "eye": "OD"}, "two.csv")
    with pytest.raises(ValueError, match=r"2 CSVs: one\.csv, two\.csv"):
        datasets.prepare("folder-mine", source=folder)
    named = datasets.prepare("folder-mine", source=folder / "two.csv")
    assert named.samples["eye_id"].tolist() == ["folder-b_OD"]
    write_csv(folder, {"picture": ["a_OD.png"], "eye": "OD"}, "samples.csv")
    with pytest.raises(ValueError, match=r"samples\.csv: columns \['image'\] are missing"):
        datasets.prepare("folder-mine", source=folder)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        datasets.prepare("folder-mine", source=folder / "nowhere")


def test_prepared_again_only_when_something_changed(data, folder, drawn, monkeypatch):
    fill(folder, drawn, ["a_OD.png"])
    write_csv(folder, {"image": ["a_OD.png"], "eye": "OD"})
    first = datasets.prepare("folder-mine", source=folder)
    stamp = (first.folder / "images.npy").stat().st_mtime_ns
    assert datasets.prepare("folder-mine").manifest["hash"] == first.manifest["hash"]
    (folder / "folder.toml").write_text("width_mm = 10.0\n")
    wider = datasets.prepare("folder-mine")
    assert wider.samples["width_mm"].tolist() == [10.0]
    assert (wider.folder / "images.npy").stat().st_mtime_ns != stamp
    shutil.rmtree(folder)
    assert datasets.prepare("folder-mine").manifest["hash"] == wider.manifest["hash"]
    with pytest.raises(FileNotFoundError, match=r"there is no .*raw/folder-other"):
        datasets.prepare("folder-other")


def test_nothing_left_is_an_error(data, folder):
    write_csv(folder, {"image": ["a.png"], "eye": "OD"})
    with pytest.raises(
        ValueError, match=r"no photograph is left: 1 x no such photograph, as a\.png"
    ):
        datasets.prepare("folder-mine", source=folder)


def test_a_dataset_says_nothing_of_where_its_raw_files_are(data, folder, drawn):
    fill(folder, drawn, ["a_OD.jpg", "b_OS.jpg", "c_OD.jpg"])
    (folder / "c_OD.jpg").write_bytes(b"no photograph")
    names = ["a_OD.jpg", "b_OS.jpg", "c_OD.jpg", "../d_OD.jpg", "e_OD.jpg"]
    write_csv(folder, {"image": names, "eye": "OD"})
    prepared = datasets.prepare("folder-mine", source=folder)
    assert len(prepared) == 2 and len(reasons(prepared)) == 3
    for path in prepared.folder.iterdir():
        assert str(folder.parent).encode() not in path.read_bytes(), path.name
    assert datasets.prepare("folder-mine").hash == prepared.hash  # and yet it is found again


def test_names_are_escaped_where_they_are_written(data, folder, drawn):
    names = ["=a|<b>_OD.jpg", "@c_OS.jpg"]
    fill(folder, drawn, names)
    write_csv(folder, {"image": names, "eye": ["OD", "OS"], "<i>x|y": [1, 2], "patient_id": names})
    prepared = datasets.prepare("folder-mine", source=folder)
    assert prepared.samples["patient_id"].tolist() == names
    assert "&lt;i>x\\|y" in (prepared.folder / "summary.md").read_text()
