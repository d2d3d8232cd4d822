"""DICOM in: the same numbers as of the same picture, or a refusal; out: reports; nobody's name."""

import json
import os
import re
import subprocess
import sys
import warnings

import highdicom
import numpy as np
import pandas as pd
import pydicom
import pytest
from dicom_photograph import SECRETS, as_jpeg, as_rle, halved, make, save
from grape_tree import draw_fundus
from PIL import Image
from pydicom.pixels import convert_color_space
from pydicom.sr.codedict import codes
from pydicom.uid import JPEG2000, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian
from test_predict_command import CARD, Sides
from typer.testing import CliRunner

from analysis.reports.eye import words
from rnfl import cli
from rnfl.core import conformal, geometry
from rnfl.core.exclusion import Excluded
from rnfl.imaging import crops, dicom
from rnfl.inference import dicom_report, photographs, readings, trained
from rnfl.storage import provenance

RIGHT, LEFT = draw_fundus("OD"), draw_fundus("OS")
GREY = (RIGHT.mean(axis=-1) * (4095 / 255)).round().astype(np.uint16)  # 12 bits
YBR = convert_color_space(RIGHT, "RGB", "YBR_FULL")
JPEG_UM = 1.0  # of 255 µm: how far a reading of JPEG may be from that of its picture
YBR_UM = 0.5  # the same of YBR, whose levels are rounded


def random_bands() -> dict:
    """Bands as :func:`rnfl.inference.bands.calibrate` keeps them, of errors drawn here."""
    rng, patients = np.random.default_rng(0), [str(i) for i in range(60)]
    made = {}
    for kind, n in (("profile", 360), ("measures", 5)):
        true = rng.normal(100, 5, (60, n))
        read = true + rng.normal(0, 4, true.shape)
        made[kind] = conformal.calibrate(read, true, patients, 0.9, None).to_dict()
    return {"level": 0.9, "dataset": "clinic", "patients": 60, "by": None, **made}


@pytest.fixture
def model(tmp_path):
    return trained.Trained(tmp_path, Sides(), 64, CARD, None, random_bands())


@pytest.fixture
def command(model, monkeypatch, tmp_path):
    """The command with a made-up model; also its texts, with those of the logs."""
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(trained, "load", lambda run: model)

    def run(*arguments):
        given = ["predict", "--model", "m", "--output", str(tmp_path / "out")]
        return CliRunner().invoke(cli.app, [*given, *map(str, arguments)])

    return run


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "photos"
    made.mkdir()
    return made


def ten(folder):
    """Write ten photographs, and return what those that can be read show: picture and µm apart."""
    jpeg = make(RIGHT)
    as_jpeg(jpeg, RIGHT)
    made = {
        "od": make(RIGHT),
        "os": make(LEFT, "L"),
        "nowhere": make(RIGHT, None),
        "deep": make(GREY, BitsStored=12, HighBit=11),
        "ybr": make(YBR, PhotometricInterpretation="YBR_FULL"),
        "frames": make(np.concatenate([RIGHT] * 3), Rows=len(RIGHT), NumberOfFrames=3),
        "rle": as_rle(make(RIGHT)),
        "jpeg": jpeg,
        "burnt": make(RIGHT, BurnedInAnnotation="YES"),
        "spacing": make(RIGHT, PixelSpacing=None),
    }
    for name, one in made.items():
        save(one, folder / f"{name}.dcm")
    grey = np.repeat((GREY * (255 / 4095)).round().astype(np.uint8)[..., None], 3, axis=-1)
    same = dict.fromkeys(("od", "rle", "burnt", "spacing"), (RIGHT, 0))
    return same | {"os": (LEFT, 0), "deep": (grey, 0), "ybr": (RIGHT, YBR_UM),
                   "jpeg": (RIGHT, JPEG_UM)}  # fmt: skip


def read(images, model, **given):
    """Return what is read, by the name of the file, and all of it."""
    wanted, excluded = photographs.collect(images, **given)
    done = readings.read(wanted, model, excluded)
    names = [request.path.stem for request in done.requests]
    return dict(zip(names, done.profiles, strict=True)), done


def no_secret_in(*texts):
    for text in texts:
        assert not [one for one in SECRETS if one.lower() in text.lower()]


def test_ten_photographs_are_read_as_their_pictures_or_refused(folder, model, tmp_path):
    shown = ten(folder)
    profiles, done = read([folder], model)
    table = done.table.assign(name=list(profiles)).set_index("name")
    assert set(profiles) == set(shown)
    assert table["eye"].to_dict() == dict.fromkeys(shown, "OD") | {"os": "OS"}
    for name, (picture, apart) in shown.items():
        png = tmp_path / f"{name}.png"
        Image.fromarray(picture).save(png)
        (expected,) = read([png], model, eye=table["eye"][name])[0].values()
        np.testing.assert_allclose(profiles[name], expected, rtol=0, atol=apart, err_msg=name)
    reasons = {row.image.split("/")[-1]: row.reason for row in done.exclusions.itertuples()}
    assert set(reasons) == {"nowhere.dcm", "frames.dcm"}
    assert "ImageLaterality or Laterality must say R or L" in reasons["nowhere.dcm"]
    assert "3 frames, expected one" in reasons["frames.dcm"]
    doubted = table.index[table["doubts"].str.contains("burnt-in annotation: ")]
    assert doubted.tolist() == ["burnt"]


def test_a_left_eye_reads_as_the_right_one_that_it_mirrors(folder, model):
    for side, picture in (("R", RIGHT), ("L", LEFT)):
        save(make(picture, side), folder / f"{side}.dcm")
    profiles, done = read([folder], model)
    np.testing.assert_allclose(profiles["L"], profiles["R"], atol=1.5)
    assert (done.table["rnfl_T"] > done.table["rnfl_N"] + 3).all()  # where the blue mark lies


def test_pixels_are_those_of_the_picture_however_they_are_stored(tmp_path):
    def pixels(made):
        return dicom.read(save(made, tmp_path / "one.dcm"))

    def grey(levels):
        return np.repeat(levels[..., None], 3, axis=-1)

    whole = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    scaled = (whole / 257).round().astype(np.uint8)
    np.testing.assert_array_equal(pixels(make(whole)), grey(scaled))
    np.testing.assert_array_equal(pixels(as_rle(make(whole))), grey(scaled))
    inverted = make(RIGHT[..., 1], PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(pixels(inverted), grey(255 - RIGHT[..., 1]))
    planes = make(RIGHT, PlanarConfiguration=1)
    planes.PixelData = RIGHT.transpose(2, 0, 1).tobytes()
    np.testing.assert_array_equal(pixels(planes), RIGHT)
    pairs = YBR.copy()
    pairs[:, 1::2, 1:] = pairs[:, ::2, 1:]
    made = make(RIGHT, PhotometricInterpretation="YBR_FULL_422", PixelData=halved(YBR))
    expected = convert_color_space(pairs, "YBR_FULL", "RGB").astype(int)
    assert np.abs(pixels(made) - expected).max() <= 1
    made, file = make(RIGHT), tmp_path / "one.jpg"
    file.write_bytes(as_jpeg(made, RIGHT))
    np.testing.assert_array_equal(pixels(made), crops.read(file))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.5.4"}, "Ophthalmic Tomography Image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, "Comprehensive SR Storage, expected"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "CT Image Storage, expected an ophthalmic"),
        ({"SOPClassUID": "1.2.3.471147"}, "of an unknown kind, expected an ophthalmic"),
        ({"ImageLaterality": "B"}, "there is both eyes"),
        ({"ImageLaterality": None, "Laterality": "471147"}, "there is neither R nor L"),
        ({"ImageLaterality": "R", "Laterality": "L"}, "there is both eyes"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "photometric interpretation is none of"),
        ({"PhotometricInterpretation": "ERIKA"}, "photometric interpretation is none of"),
        ({"SamplesPerPixel": None}, "SamplesPerPixel is missing"),
        ({"SamplesPerPixel": 1}, "480x480 pixels of 1 samples, RGB"),
        ({"PixelRepresentation": 1}, "levels with a sign"),
        ({"BitsStored": 7}, "bits allocated 8, stored 7, the highest 7"),
        ({"Rows": 481}, "691200 bytes of pixels, expected 692640: it is cut off"),
        ({"Rows": 60000, "Columns": 60000}, "set RNFL_MAX_PIXELS to more"),
        ({"PixelData": None}, "it holds no pixels"),
        ({"BitsStored": 6, "HighBit": 5}, "levels above 63, the most of its 6 bits"),
    ],
)  # fmt: skip
def test_what_is_no_photograph_that_is_taken_is_refused_in_words(folder, model, changes, reason):
    made = make(RIGHT)
    for name, value in changes.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    save(made, folder / "one.dcm")
    with pytest.raises(ValueError, match="none of 1 could be read") as refused:
        read([folder], model)
    assert reason in str(refused.value) and "one.dcm: " in str(refused.value)
    no_secret_in(str(refused.value))


@pytest.mark.parametrize("uid", [JPEG2000, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_transfer_syntaxes_are_refused_by_name(tmp_path, uid):
    path = save(as_rle(make(RIGHT)), tmp_path / "one.dcm")
    data = path.read_bytes()
    old = b"1.2.840.10008.1.2.5\0"
    at = data.index(old)
    name = uid.encode() + bytes(len(uid) % 2)
    # The element's length and that of the group, which lies behind the magic.
    group = int.from_bytes(data[140:144], "little") + len(name) - len(old)
    data = data[:140] + group.to_bytes(4, "little") + data[144:]
    path.write_bytes(data[: at - 2] + len(name).to_bytes(2, "little") + name + data[at + 20 :])
    with pytest.raises(Excluded, match=f"transfer syntax {re.escape(uid.name)}; store it as one"):
        dicom.read_header(path)


def test_spacing_of_pixels_counts_where_it_can_be_that_of_the_retina(folder, model):
    def width(spacing, **given):
        save(make(RIGHT, PixelSpacing=spacing), folder / "one.dcm")
        row = read([folder], model, **given)[1].table.iloc[0]
        return row["width_mm"], row["doubts"]

    nothing, _ = width(None)
    assert width([0.025, 0.025])[0] == 12.0 and width([0.025, 0.025], width_mm=11.0)[0] == 11.0
    for spacing, doubt in (
        ([0.5, 0.5], "pixel spacing: width of the photograph 240 mm: expected 1 to 50 mm"),
        ([0.025, 0.03], "pixel spacing: not two equal lengths"),
        ([0.0, 0.0], "pixel spacing: width of the photograph 0 mm"),
    ):
        found, doubts = width(spacing)
        assert found == nothing and doubt in doubts
    save(make(RIGHT, PatientOrientation=["R", "F"]), folder / "one.dcm")
    assert "patient orientation: " in read([folder], model)[1].table["doubts"][0]


def test_what_is_said_of_an_eye_must_agree_with_its_header(folder, tmp_path):
    save(make(RIGHT), folder / "a_OD.dcm")
    save(make(LEFT, None, Laterality="L"), folder / "no_suffix")
    Image.fromarray(LEFT).save(folder / "c_OS.png")

    def collected(**given):
        wanted, excluded = photographs.collect([folder], **given)
        return {one.path.name: one.laterality for one in wanted}, [e["reason"] for e in excluded]

    both = {"a_OD.dcm": "OD", "no_suffix": "OS"}
    assert collected(eye="from-name") == (both | {"c_OS.png": "OS"}, [])
    said, reasons = collected(eye="OS")
    assert said == {"no_suffix": "OS", "c_OS.png": "OS"}
    assert reasons == ["OS is given, its DICOM header says OD: which is it?"]
    table = tmp_path / "eyes.csv"
    table.write_text("image,eye,disc_x,disc_y\na_OD.dcm,,340,230\nc_OS.png,left,,\n")
    assert collected(table=table) == (both | {"c_OS.png": "OS"}, [])
    (folder / "a_OD.dcm").rename(folder / "a_OS.dcm")
    assert collected(eye="from-name")[1] == ["OS is given, its DICOM header says OD: which is it?"]
    with pytest.raises(ValueError, match="only DICOM files say it themselves"):
        collected()
    (folder / "c_OS.png").unlink()
    assert collected() == ({"a_OS.dcm": "OD", "no_suffix": "OS"}, [])


@pytest.mark.parametrize("kind", ["plain", "rle", "jpeg"])
def test_a_cut_file_is_one_exclusion_and_a_damaged_one_names_nobody(tmp_path, kind):
    made = make(RIGHT)
    if kind == "rle":
        as_rle(made)
    elif kind == "jpeg":
        as_jpeg(made, RIGHT)
    path = save(made, tmp_path / "one.dcm")
    data = path.read_bytes()
    assert dicom.read(path).shape == RIGHT.shape
    for cut in (*range(0, 1500, 41), *range(1500, len(data) - 64, len(data) // 15)):
        path.write_bytes(data[:cut])
        with pytest.raises(Excluded, match=r"one\.dcm"):
            dicom.read(path)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, 1700, 200):
        path.write_bytes(data[:place] + rng.bytes(1) + data[place + 1 :])
        for step in (dicom.read_header, dicom.read):
            try:
                step(path)
            except Excluded as refused:
                no_secret_in(str(refused))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BurnedInAnnotation", "AAAAA"),
        ("PatientOrientation", ["AAAAA", "F"]),
        ("ImageLaterality", "AAAAA"),
        ("PhotometricInterpretation", "AAAAA"),
        ("NumberOfFrames", 11111),
        ("PixelSpacing", [11111, 11111]),
    ],
)
def test_a_name_where_another_value_belongs_is_not_repeated(tmp_path, name, value, caplog):
    path = save(make(RIGHT, **{name: value}), tmp_path / "one.dcm")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"AAAAA", b"Erika").replace(b"11111", b"Erika"))
    assert data.count(b"Erika") < path.read_bytes().count(b"Erika")
    caplog.clear()
    said = []
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            said += dicom.read_header(path).doubts
        except Excluded as refused:
            said.append(str(refused))
    no_secret_in(*said, caplog.text, *(str(one.message) for one in heard))


def test_what_a_library_says_of_an_error_is_not_repeated(tmp_path, monkeypatch):
    def fail(*given, **how):
        raise ValueError("invalid value 'Erika'")

    path = save(make(RIGHT), tmp_path / "one.dcm")
    monkeypatch.setattr(pydicom, "dcmread", fail)
    with pytest.raises(Excluded, match=r"one\.dcm cannot be read as DICOM: ValueError; if") as said:
        dicom.read_header(path)
    no_secret_in(str(said.value))
    with pytest.raises(Excluded, match=r"cannot be copied \(ValueError\)") as said:
        dicom_report.write_page(tmp_path / "page.dcm", path, path)
    no_secret_in(str(said.value))


def test_runs_that_never_end_unpack_to_no_more_than_the_picture(tmp_path):
    made = as_rle(make(RIGHT))
    frame = pydicom.encaps.get_frame(made.PixelData, 0, number_of_frames=1)
    bomb = bytes([0x81, 200]) * 2_000_000  # 128 times 200, again and again
    made.PixelData = pydicom.encaps.encapsulate([frame[:64] + bomb])
    assert dicom.read(save(made, tmp_path / "one.dcm")).shape == RIGHT.shape


def written(command, folder, tmp_path, *arguments):
    said = command(folder, "--dicom", *arguments)
    assert said.exit_code == 0, said.exception
    out = tmp_path / "out"
    return said, out, pd.read_csv(out / "predictions.csv")


def test_the_report_says_every_number_and_is_a_measurement_report(command, folder, tmp_path, model):
    sources = {"OD": make(RIGHT, BurnedInAnnotation="YES"), "OS": make(LEFT, "L")}
    for eye, made in sources.items():
        save(made, folder / f"{eye}.dcm")
    _, out, table = written(command, folder, tmp_path, "--no-pages")
    assert not list(out.glob("*pdf*"))
    for number, row in table.iterrows():
        source = sources[row["eye"]]
        report = highdicom.sr.srread(out / f"{number + 1}_{row['eye']}_sr.dcm")
        assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33"
        assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
        assert isinstance(report.content, highdicom.sr.MeasurementReport)
        (group,) = report.content.get_image_measurement_groups()
        assert group.source_images[0].referenced_sop_instance_uid == source.SOPInstanceUID
        assert source.SOPInstanceUID in report.get_evidence()[0]
        side = {"OD": codes.SCT.Right, "OS": codes.SCT.Left}[row["eye"]]
        assert [site.laterality for site in group.finding_sites] == [side]
        curve = row[[f"{a}_low" for a in range(360)]], row[[f"{a}_high" for a in range(360)]]
        found = {}
        for one in group.get_measurements(codes.DCM.RetinalNerveFiberLayerThickness):
            (site,) = one.finding_sites
            name = site.topographical_modifier.value
            assert one.unit == codes.UCUM.Micrometer and one.derivation == codes.SCT.Mean
            assert site.laterality == side
            found[name] = one.value
            assert one.value == pytest.approx(row[name], abs=1e-9)
            ends = [row.get(f"{name}_{end}") for end in ("low", "high")]
            if name.startswith("sector_"):
                mask = geometry.SECTORS[name.removeprefix("sector_")]
                ends = [end.to_numpy(float)[mask].mean() for end in curve]
            away = {item.name: item for item in one[0].ContentSequence if item.ValueType == "NUM"}
            down = away[codes.SCT.RangeOfLowerMeasurementUncertainty]
            up = away[codes.SCT.RangeOfUpperMeasurementUncertainty]
            assert down.unit == up.unit == codes.UCUM.Micrometer
            assert one.value - down.value == pytest.approx(ends[0], abs=0.002)
            assert one.value + up.value == pytest.approx(ends[1], abs=0.002)
        quadrants, sectors = (
            [f"{kind}_{name}" for name in names]
            for kind, names in (("rnfl", geometry.QUADRANTS), ("sector", geometry.SECTORS))
        )
        assert list(found) == ["rnfl_mean", *quadrants, *sectors]
        text = {
            (item.name.meaning, item.value)
            for item in group[0].ContentSequence
            if item.ValueType == "TEXT"
        }
        assert {("Algorithm Name", "rnfl"), ("Algorithm Version", "made-up")} <= text
        comments = " ".join(value for name, value in text if name == "Comment")
        assert words.RESEARCH_USE in comments and "of no other camera or clinic" in comments
        assert ("burnt-in annotation" in comments) == (row["eye"] == "OD")
        (observer,) = report.content.get_observer_contexts(codes.DCM.Device)
        assert observer.observer_identifying_attributes.name == "rnfl"


def test_report_and_page_lie_in_the_study_of_their_patient(command, folder, tmp_path):
    source = make(RIGHT)
    path = save(source, folder / "a.dcm")
    source = pydicom.dcmread(path)
    Image.fromarray(RIGHT).save(folder / "b.png")
    _, out, _ = written(command, folder, tmp_path, "--eye", "OD")
    assert {one.name for one in out.glob("*.dcm")} == {"1_a_sr.dcm", "1_a_pdf.dcm"}
    series = set()
    for name in ("1_a_sr.dcm", "1_a_pdf.dcm"):
        made = pydicom.dcmread(out / name)
        for key in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID",
                    "AccessionNumber", "StudyDate", "StudyInstanceUID"):  # fmt: skip
            assert str(made[key].value) == str(source[key].value), key
        assert made.SeriesDescription == words.RESEARCH_USE == dicom_report.RESEARCH_USE
        assert os.name != "posix" or (out / name).stat().st_mode & 0o777 == 0o600
        series.add(made.SeriesInstanceUID)
    assert len(series | {source.SeriesInstanceUID}) == 3
    page = pydicom.dcmread(out / "1_a_pdf.dcm")
    assert page.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1"
    pdf = (out / "1_a.pdf").read_bytes()
    assert page.EncapsulatedDocument[: page.EncapsulatedDocumentLength] == pdf
    assert page.BurnedInAnnotation == "NO" and words.RESEARCH_USE in page.DocumentTitle
    assert page.SourceInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_nothing_but_the_reports_names_the_patient(command, folder, tmp_path, capfd, caplog):
    ten(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(make(RIGHT, PatientSex="ERIKA"), folder / "odd.dcm")
    (folder / "cut.dcm").write_bytes((folder / "od.dcm").read_bytes()[:900])
    caplog.clear()
    said, out, table = written(command, folder, tmp_path)
    heard = capfd.readouterr()
    no_secret_in(said.output, heard.out, heard.err, caplog.text)
    assert len(table) == 9 and len(list(out.glob("*_sr.dcm"))) == 8
    assert "odd.dcm: no DICOM report: its header cannot be copied (ValueError)" in said.output
    assert "burnt.dcm: the picture itself says who it is of" in said.output
    assert len(list(out.glob("*.pdf"))) == 8  # none of the picture with text in it
    for path in out.iterdir():
        if path.suffix != ".dcm":
            no_secret_in(path.name, path.read_bytes().decode("latin-1"))
    assert json.loads((out / "about.json").read_text())["excluded"] == 3


def test_what_a_study_needs_must_be_there_and_without_dicom_there_is_no_report(
    command, folder, tmp_path
):
    save(make(RIGHT, StudyInstanceUID=None), folder / "a.dcm")
    said, out, _ = written(command, folder, tmp_path, "--no-pages")
    assert "its header lacks StudyInstanceUID" in said.output and not list(out.glob("*.dcm"))
    Image.fromarray(RIGHT).save(tmp_path / "b.png")
    refused = command(tmp_path / "b.png", "--eye", "OD", "--dicom")
    assert "none of the photographs that can be read is a DICOM file" in str(refused.exception)


def test_without_pydicom_the_command_to_install_it_is_said(folder, monkeypatch):
    save(make(RIGHT), folder / "a.dcm")
    absent = {"pydicom": "not installed"}
    monkeypatch.setattr(provenance, "versions", lambda packages: absent)
    with pytest.raises(RuntimeError, match=r"pydicom.*pip install 'rnfl\[dicom\]'"):
        photographs.collect([folder])


def test_dicom_is_loaded_when_a_file_is_read_and_not_before():
    code = "import sys, rnfl.cli, rnfl.inference.readings, rnfl.inference.dicom_report\n"
    code += "assert not {'pydicom', 'highdicom'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
