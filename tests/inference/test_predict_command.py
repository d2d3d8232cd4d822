"""``rnfl predict``: which eye it is, what is left out and why, and files that appear at once."""

import errno
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from grape_tree import draw_fundus
from PIL import Image
from typer.testing import CliRunner

from analysis.reports import eye
from rnfl import cli
from rnfl.cli import predict
from rnfl.core import geometry
from rnfl.imaging import crops
from rnfl.imaging.inspection import MM_PER_DEGREE
from rnfl.inference import photographs as requests
from rnfl.inference import readings, trained
from rnfl.storage import provenance
from rnfl.storage.paths import project_root

REAL = project_root().parent / "shared" / "data" / "grape" / "CFPs"
CARD = {"run_id": "made-up", "backbone": "none", "dataset": "none", "modality": "CFP",
        "phantom": True, "sentence": "A made-up model.", "notes": ["made up"]}  # fmt: skip


class Sides(torch.nn.Module):
    """Says in every temporal angle how blue the temporal half is, and so for the nasal one."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        half = images.shape[-1] // 2
        blue = [images[:, 2, :, part].mean((1, 2)) for part in (slice(half), slice(half, None))]
        temporal = torch.as_tensor(np.cos(np.deg2rad(geometry.ANGLES)) > 0)
        return 255 * torch.where(temporal, blue[0][:, None], blue[1][:, None])


@pytest.fixture
def model(tmp_path):
    return trained.Trained(tmp_path, Sides(), 64, CARD, None)


@pytest.fixture
def photos(tmp_path):
    """A right and a left eye, mirror images of each other, in a folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, side in (("7_OD_1.png", "OD"), ("7_OS_1.png", "OS")):
        Image.fromarray(draw_fundus(side)).save(folder / name)
    return folder


@pytest.fixture
def command(model, monkeypatch, tmp_path):
    """The command with a made-up model and a data folder of its own."""
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(trained, "load", lambda run: model)

    def run(*arguments):
        assert predict.predict
        return CliRunner().invoke(cli.app, ["predict", *map(str, arguments)])

    return run


def test_both_eyes_of_a_mirrored_pair_read_the_same_and_temporal_is_temporal(photos, model):
    wanted, _ = requests.collect([photos], eye="from-name")
    done = readings.read(wanted, model)
    table = done.table
    assert table["eye"].tolist() == ["OD", "OS"]
    np.testing.assert_allclose(done.profiles[0], done.profiles[1], atol=1.5)
    assert (table["rnfl_T"] > table["rnfl_N"] + 3).all()  # the blue mark lies temporal of the disc
    width = draw_fundus("OD").shape[1]
    assert abs(table["disc_x"].sum() - (width - 1)) < 3 and (table["disc_confidence"] < 1).all()


def test_the_table_agrees_with_its_own_angles(photos, model):
    wanted, _ = requests.collect([photos / "7_OD_1.png"], eye="OD", centre=(340, 230))
    table = readings.read(wanted, model).table
    profile = table[[str(a) for a in range(360)]].to_numpy()
    assert table.shape[1] == 5 + 2 + 1 + 4 + 12 + 6 + 360
    assert table.loc[0, ["disc_x", "disc_y", "disc_confidence"]].tolist() == [340, 230, 1]
    assert table["rnfl_mean"][0] == pytest.approx(profile.mean(), abs=1e-3)
    assert table["clock_9"][0] == pytest.approx(profile[0, np.r_[345:360, :15]].mean(), abs=1e-3)
    assert table["sector_TS"][0] == pytest.approx(profile[0, 45:85].mean(), abs=1e-3)
    assert table["rnfl_T"][0] == pytest.approx(profile[0, np.r_[315:360, :45]].mean(), abs=1e-3)


def test_a_crop_is_read_as_its_photograph(photos, model, tmp_path):
    photo = crops.read(photos / "7_OS_1.png")
    found, _ = requests.collect([photos / "7_OS_1.png"], eye="OS")
    whole = readings.read(found, model)
    crop = crops.crop(photo, whole.crops[0].disc.x, whole.crops[0].disc.y)
    Image.fromarray(crop).save(tmp_path / "crop.png")
    wanted, _ = requests.collect([tmp_path / "crop.png"], eye="OS")
    done = readings.read(wanted, model, crops=True)
    np.testing.assert_allclose(done.profiles, whole.profiles, atol=1e-3)
    assert done.table["disc_confidence"].tolist() == [1]


def test_what_cannot_be_read_is_listed_with_its_reason(photos, model):
    (photos / "broken_OD.jpg").write_bytes(b"not a picture")
    (photos / "notes.txt").write_text("about them")
    (photos / "more").mkdir()
    (photos / "8.png").write_bytes((photos / "7_OD_1.png").read_bytes())
    (photos / "9_OD_OS.png").write_bytes((photos / "7_OD_1.png").read_bytes())
    Image.new("RGB", (400, 400)).save(photos / "black_OS.png")
    wanted, excluded = requests.collect([photos], eye="from-name")
    done = readings.read(wanted, model, excluded)
    reasons = {row.image.split("/")[-1]: row.reason for row in done.exclusions.itertuples()}
    assert len(done.table) == 2 and set(reasons) == {
        "broken_OD.jpg", "notes.txt", "more", "8.png", "9_OD_OS.png", "black_OS.png",
    }  # fmt: skip
    assert "cannot be read as an image" in reasons["broken_OD.jpg"]
    assert reasons["notes.txt"] == "not an image file"
    assert reasons["more"] == "a folder within the folder"
    assert reasons["8.png"] == "neither OD nor OS stands in the file's name"
    assert reasons["9_OD_OS.png"] == "both OD and OS stand in the file's name"
    assert "no field of view" in reasons["black_OS.png"]


def test_a_table_gives_eyes_discs_and_widths(photos, tmp_path):
    (photos / "extra.png").write_bytes((photos / "7_OD_1.png").read_bytes())
    table = photos / "eyes.csv"
    table.write_text(
        "image,eye,disc_x,disc_y,width_mm\n7_OD_1.png,od,300,200,\n7_OS_1.png,OS,,,11.5\n"
        "gone.png,OD,,,\n"
    )
    wanted, excluded = requests.collect([photos], table=table)
    assert [(r.laterality, r.centre, r.width_mm) for r in wanted] == [
        ("OD", (300.0, 200.0), None), ("OS", None, 11.5),
    ]  # fmt: skip
    assert {(e["image"].split("/")[-1], e["reason"]) for e in excluded} == {
        ("extra.png", "no row in the table of eyes"),
        ("gone.png", "named in eyes.csv, but no such file"),
    }
    alone, excluded = requests.collect([], table=table)
    assert [r.path.name for r in alone] == ["7_OD_1.png", "7_OS_1.png"]
    assert [e["reason"] for e in excluded] == ["no such file"]


def test_the_table_of_a_folder_dataset_serves_here_too(photos, tmp_path):
    table = tmp_path / "samples.csv"
    table.write_text("File,Laterality,FOV,S\nlink.png,right,50,90\nphotos/7_OS_1.png,L,,\n")
    (tmp_path / "link.png").symlink_to(photos / "7_OD_1.png")
    wanted, excluded = requests.collect([], table=table)
    assert [r.path for r in wanted] == [tmp_path / "link.png", photos / "7_OS_1.png"]
    assert [r.laterality for r in wanted] == ["OD", "OS"] and not excluded
    (tmp_path / "more").mkdir()
    assert [e["reason"] for e in requests.collect([tmp_path / "more", tmp_path / "link.png"],
                                                  table=table)[1]] == [
        "named in samples.csv, but not among the photographs given"
    ]  # fmt: skip
    widths = [50 * MM_PER_DEGREE, None]
    assert [r.width_mm for r in wanted] == widths
    table.write_text("image,eye,fov,width_mm\nlink.png,OD,50,13\n")
    with pytest.raises(ValueError, match="columns width_mm and field_degrees: keep one"):
        requests.collect([], table=table)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7_OD_1.png,both,,,", "eye 'both': expected one of OD, OS"),
        ("7_OD_1.png,OD,5,,", "only one of them is given"),
        ("7_OD_1.png,OD,here,4,", "disc_x 'here': expected a number"),
        ("7_OD_1.png,OD,,,-2", "width of the photograph -2 mm: expected 1 to 50 mm"),
    ],
)
def test_a_wrong_row_leaves_out_its_eye_alone(photos, line, reason):
    table = photos / "eyes.csv"
    table.write_text(f"image,eye,disc_x,disc_y,width_mm\n{line}\n7_OS_1.png,OS,,,\n")
    wanted, excluded = requests.collect([photos], table=table)
    assert [r.path.name for r in wanted] == ["7_OS_1.png"]
    assert reason in excluded[0]["reason"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which eye it is is not given: give one of --eye OD"),
        (["--eye", "left"], "eye 'left': expected one of OD, OS, from-name"),
        (["--eye", "OD"], "which model is not given"),
        (["--eye", "OD", "--model", "m", "--disc", "3", "3"], "given for 2 photographs"),
        (["--eye", "OD", "--model", "m", "--width-mm", "130"], "130 mm: expected 1 to 50 mm"),
    ],
)
def test_errors_say_what_to_give(command, photos, arguments, message):
    assert message in str(command(photos, *arguments).exception)


def test_doubts_stand_in_the_table_beside_the_reading(command, photos, tmp_path):
    right = np.asarray(Image.open(photos / "7_OD_1.png"))
    Image.fromarray(np.pad(right, ((0, 0), (99, 99), (0, 0)))).save(photos / "7_OD_1.png")
    Image.fromarray(draw_fundus("OS")[..., ::-1]).save(photos / "7_OS_1.png")
    table = photos / "eyes.csv"
    table.write_text("image,eye,disc_x,disc_y\n7_OD_1.png,OD,230,355\n7_OS_1.png,OS,,\n")
    out = tmp_path / "out"
    said = command("--eyes", table, "--model", "m", "--output", out, "--no-pages")
    assert said.exit_code == 0 and said.stdout.count("unsure, look at it: ") == 2
    read = pd.read_csv(out / "predictions.csv")
    assert "dark margins: " in read["doubts"][0] and "stated disc: " in read["doubts"][0]
    assert read["disc_confidence"][0] < 0.1 and read["width_mm"][0] > 17
    assert "stored as BGR?" in read["doubts"][1]
    assert json.loads((out / "about.json").read_text())["unsure"] == 2


def test_photographs_unlike_the_training_images_are_unsure(photos, tmp_path):
    images = {"brightness": [1, 2, 0.1], "sharpness": [0, 9, 1]}
    model = trained.Trained(tmp_path, Sides(), 64, {**CARD, "images": images}, None)
    wanted, _ = requests.collect([photos], eye="from-name")
    doubts = readings.read(wanted, model).table["doubts"]
    assert doubts.str.contains("unlike the training images: brightness").all()
    assert not doubts.str.contains("sharpness .* theirs").any()


def test_files_that_are_not_there_or_given_twice_are_errors(photos):
    with pytest.raises(FileNotFoundError, match=r"none\.jpg: no such photograph"):
        requests.collect([photos / "none.jpg"], eye="OD")
    with pytest.raises(ValueError, match=r"given twice: .*7_OD_1\.png"):
        requests.collect([photos, photos / "7_OD_1.png"], eye="OD")
    (photos / "eyes.csv").write_text("image,age\n7_OD_1.png,60\n")
    with pytest.raises(ValueError, match=r"columns \['eye'\] are missing"):
        requests.collect([photos], table=photos / "eyes.csv")


def test_the_command_writes_everything_once_and_never_over_anything(command, photos, tmp_path):
    (photos / "broken_OD.png").write_bytes(b"not a picture")
    options = ["--eye", "from-name", "--model", "m", "--no-pages"]
    said = command(photos, *options)
    assert said.exit_code == 0, said.exception
    folder = tmp_path / "data" / "predictions" / "photos"
    assert {p.name for p in folder.iterdir()} == {
        "predictions.csv", "excluded.csv", "about.json",
    }  # fmt: skip
    assert len(pd.read_csv(folder / "predictions.csv")) == 2
    assert json.loads((folder / "about.json").read_text())["model"]["run_id"] == "made-up"
    assert f"2 read, 1 left out: {folder}" in said.stdout and "broken_OD.png: " in said.stdout
    assert "note: made up" in said.stdout and "7_OD_1" not in said.stdout

    again = command(photos, *options)
    assert f"{folder}-2" in again.stdout
    refused = command(photos, *options, "--output", folder)
    assert "exists already and is kept as it is" in str(refused.exception)


def test_calls_of_one_name_at_once_get_a_folder_each(command, photos, tmp_path, monkeypatch):
    (tmp_path / "more").mkdir()
    other, read = photos.rename(tmp_path / "more" / "photos"), readings.read
    photos.mkdir()
    (other / "7_OD_1.png").rename(photos / "7_OD_1.png")
    options = ["--eye", "from-name", "--model", "m", "--no-pages"]
    called = []

    def another_call_first(*given):
        if not called:
            called.append(True)
            called.append(command(other, *options).stdout)
        return read(*given)

    monkeypatch.setattr(readings, "read", another_call_first)
    said = [command(photos, *options).stdout, called[1]]
    folder = tmp_path / "data" / "predictions"
    assert sorted(path.name for path in folder.iterdir()) == ["photos", "photos-2"]
    for stdout, name, image in zip(said, ("photos-2", "photos"), ("_OD_", "_OS_"), strict=True):
        assert f"1 read, 0 left out: {folder / name}\n" in stdout
        assert image in pd.read_csv(folder / name / "predictions.csv")["image"][0]


@pytest.fixture
def bare_pages(monkeypatch):
    """Pages without anything on them, which take no time to draw."""
    monkeypatch.setattr(eye, "draw", lambda *given: None)
    monkeypatch.setattr(eye, "save", lambda page, path: path.with_name(path.name + ".pdf").touch())


LEGAL = [
    "7_OD_" + "ä" * 120 + ".png", "a 'quoted' \"OD\".png", "two\nlines_OD.png", "-OD.png",
    "e\u0301_OD.png", "\u00e9_OD.png", "no-text_OD\udcff.png",
]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse some of these names")
def test_any_legal_name_is_read_or_left_out_and_the_others_are_kept(
    command, photos, tmp_path, bare_pages
):
    for name in LEGAL:
        shutil.copy(photos / "7_OD_1.png", photos / name)
    (photos / "circle_OD.png").symlink_to(photos / "circle_OD.png")
    (photos / "folder_OD.png").mkdir()
    os.mkfifo(photos / "pipe_OD.png")
    out = tmp_path / "out"
    said = command(photos, "--eye", "from-name", "--model", "m", "--output", out)
    assert said.exit_code == 0, said.exception
    assert len(pd.read_csv(out / "predictions.csv")) == 2 + len(LEGAL)
    left_out = pd.read_csv(out / "excluded.csv")
    assert {Path(row.image).name: row.reason for row in left_out.itertuples()} == {
        "circle_OD.png": "a link that leads nowhere",
        "folder_OD.png": "a folder within the folder",
        "pipe_OD.png": "not a regular file",
    }
    assert len(list(out.glob("*.pdf"))) == 2 + len(LEGAL)


def test_a_photograph_that_vanishes_before_its_page_is_still_read(
    command, photos, tmp_path, monkeypatch, bare_pages
):
    write = readings.write

    def vanish(*given):
        write(*given)
        (photos / "7_OD_1.png").unlink()

    monkeypatch.setattr(readings, "write", vanish)
    out = tmp_path / "out"
    said = command(photos, "--eye", "from-name", "--model", "m", "--output", out)
    assert said.exit_code == 0 and "no page of " in said.output
    assert len(pd.read_csv(out / "predictions.csv")) == 2 and len(list(out.glob("*.pdf"))) == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_is_full_or_read_only_is_said(command, photos, tmp_path, monkeypatch, code):
    def refuse(path):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(provenance, "_flush", refuse)
    out = tmp_path / "out"
    options = ["--eye", "from-name", "--model", "m", "--no-pages", "--output", out]
    error = command(photos, *options).exception
    assert isinstance(error, OSError) and error.errno == code
    assert f"cannot write readings out into {tmp_path} ({os.strerror(code)}" in str(error)
    assert "as they were; --output names another folder" in str(error)
    assert not out.exists() and not list(tmp_path.glob("**/*.partial"))


def test_nothing_appears_when_none_can_be_read(command, tmp_path):
    bad = tmp_path / "bad_OD.png"
    bad.write_bytes(b"not a picture")
    said = command(bad, "--eye", "OD", "--model", "m", "--output", tmp_path / "out")
    assert said.exit_code != 0 and "none of 1 could be read" in str(said.exception)
    assert "cannot be read as an image" in str(said.exception)
    assert not (tmp_path / "out").exists()


def test_a_page_is_drawn_for_each_eye_and_named_after_its_photograph(command, photos, tmp_path):
    one = photos / "7_OS_1.png"
    said = command(one, "--eye", "OS", "--model", "m", "--output", tmp_path / "out")
    assert said.exit_code == 0, said.exception
    assert {"1_7_OS_1.pdf", "1_7_OS_1.png"} <= {p.name for p in (tmp_path / "out").iterdir()}
    with Image.open(tmp_path / "out" / "1_7_OS_1.png") as page:
        assert page.size == (1240, 1753)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"real GRAPE photographs absent: {REAL}")
def test_real_photographs_are_read(command, tmp_path):
    images = [REAL / f"{name}_1.jpg" for name in ("10_OD", "12_OS", "29_OS")]
    options = ["--eye", "from-name", "--model", "m", "--no-pages", "--output", tmp_path / "out"]
    said = command(*images, *options)
    assert "3 read, 0 left out" in said.stdout
    assert said.stdout.count("disc unsure") == 1  # the blurred one
