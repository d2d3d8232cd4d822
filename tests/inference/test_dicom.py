"""Photographs in DICOM: the same numbers as their pictures, or a refusal; and nobody's name."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from grape_tree import draw_fundus
from PIL import Image
from test_predict_command import CARD, Sides
from typer.testing import CliRunner

from rnfl import cli
from rnfl.core import conformal
from rnfl.core.exclusion import Excluded
from rnfl.imaging import dicom
from rnfl.inference import dicom_report, photographs, readings, trained
from rnfl.storage import provenance

pydicom = pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")
pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")
import dicom_photograph as synthetic  # noqa: E402
from highdicom.sr import srread  # noqa: E402
from pydicom.pixels import convert_color_space  # noqa: E402

RIGHT, LEFT = draw_fundus("OD"), draw_fundus("OS")
GREY = (RIGHT.mean(-1) * (4095 / 255)).round().astype(np.uint16)  # of 12 bits
OF_12 = {"BitsStored": 12, "HighBit": 11}
JPEG_UM = 1.5  # how far apart JPEG of quality 95 may read, of 255 µm


@pytest.fixture
def model(tmp_path):
    return trained.Trained(tmp_path, Sides(), 64, CARD, None)


@pytest.fixture
def command(model, monkeypatch, tmp_path):
    """The command with a made-up model and a data folder of its own."""
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(trained, "load", lambda run: model)

    def run(*arguments):
        given = ["predict", "--model", "m", *map(str, arguments)]
        return CliRunner().invoke(cli.app, given)

    return run


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "photos"
    made.mkdir()
    return made


def ten(folder):
    """Write ten photographs, and return the picture that each of those to be read shows."""
    shown = {"od": RIGHT, "os": LEFT, "rle": RIGHT, "burnt": RIGHT, "spacing": RIGHT}
    made = {
        "od": synthetic.make(RIGHT, "R"),
        "os": synthetic.make(LEFT, "L"),
        "nowhere": synthetic.make(RIGHT, None),
        "deep": synthetic.make(GREY, "R", "MONOCHROME2", **OF_12),
        "ybr": synthetic.make(convert_color_space(RIGHT, "RGB", "YBR_FULL"), "R", "YBR_FULL"),
        "many": synthetic.make(np.concatenate([RIGHT] * 3), "R", Rows=480, NumberOfFrames=3),
        "rle": synthetic.make(RIGHT, "R"),
        "jpeg": synthetic.make(RIGHT, "R"),
        "burnt": synthetic.make(RIGHT, "R", BurnedInAnnotation="YES"),
        "spacing": synthetic.make(RIGHT, "R", PixelSpacing=None),
    }
    made["rle"].compress(pydicom.uid.RLELossless)
    synthetic.as_jpeg(made["jpeg"], RIGHT)
    for name, one in made.items():
        synthetic.save(one, folder / f"{name}.dcm")
    grey = np.floor(GREY * (255 / 4095) + 0.5).astype(np.uint8)
    return shown | {"deep": np.repeat(grey[..., None], 3, -1), "ybr": RIGHT, "jpeg": RIGHT}


def profiles(images, model, **given):
    """Return what is read of images by the name of their file, and what is left out."""
    wanted, excluded = photographs.collect(images, **given)
    done = readings.read(wanted, model, excluded)
    names = [request.path.stem for request in done.requests]
    return dict(zip(names, done.profiles, strict=True)), done


def test_ten_photographs_are_read_as_their_pictures_or_refused(folder, model, tmp_path):
    shown = ten(folder)
    read, done = profiles([folder], model)  # neither --eye nor --eyes
    sides = dict(zip(read, done.table["eye"], strict=True))
    assert set(read) == set(shown) and sides == dict.fromkeys(shown, "OD") | {"os": "OS"}
    for name, picture in shown.items():
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
        (expected,) = profiles([tmp_path / f"{name}.png"], model, eye=sides[name])[0].values()
        apart = {"jpeg": JPEG_UM, "ybr": 0.5}.get(name, 0)
        np.testing.assert_allclose(read[name], expected, rtol=0, atol=apart, err_msg=name)
    reasons = dict(done.exclusions.to_numpy().tolist())
    assert set(reasons) == {str(folder / "nowhere.dcm"), str(folder / "many.dcm")}
    assert "does not say which eye" in reasons[str(folder / "nowhere.dcm")]
    assert "3 frames, expected one" in reasons[str(folder / "many.dcm")]
    doubts = done.table["doubts"].str.contains("burnt-in text")
    assert [name for name, doubted in zip(read, doubts, strict=True) if doubted] == ["burnt"]


def test_pixels_are_those_of_the_picture_whatever_the_file_makes_of_them(tmp_path):
    def pixels(made):
        return dicom.read(synthetic.save(made, tmp_path / "one.dcm"))[0].astype(int)

    grey = RIGHT[..., 0]
    inverted = pixels(synthetic.make(255 - grey, "R", "MONOCHROME1"))
    np.testing.assert_array_equal(inverted, np.repeat(grey[..., None], 3, -1))
    whole = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    expected = np.floor(whole / 257 + 0.5)
    np.testing.assert_array_equal(
        pixels(synthetic.make(whole, "R", "MONOCHROME2"))[..., 1], expected
    )
    ybr = convert_color_space(RIGHT, "RGB", "YBR_FULL")
    halved = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], -1)
    made = synthetic.make(RIGHT, "R", "YBR_FULL_422")
    made.PixelData = halved.tobytes()
    assert np.abs(pixels(made) - RIGHT).mean() < 1.5
    made = synthetic.make(RIGHT, "R")
    file = tmp_path / "one.jpg"
    file.write_bytes(synthetic.as_jpeg(made, RIGHT))
    assert np.abs(pixels(made) - photographs.picture(file)[0]).max() <= 2
    made = synthetic.make(RIGHT, "R", PlanarConfiguration=1)
    made.PixelData = RIGHT.transpose(2, 0, 1).tobytes()
    np.testing.assert_array_equal(pixels(made), RIGHT)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "MR Image Storage, expected Ophthalmic"),
        ({"SOPClassUID": "1.2.3.471147"}, "a private or unknown one, expected Ophthalmic"),
        ({"ImageLaterality": "B"}, "does not say which eye"),
        ({"ImageLaterality": "R", "Laterality": "L"}, "two that differ"),
        ({"PhotometricInterpretation": "YBR_ICT"}, "photometric interpretation YBR_ICT"),
        ({"PhotometricInterpretation": "MUSTERMANN"}, "photometric interpretation an unknown"),
        ({"PixelRepresentation": 1}, "3 samples of 8 bits in 8 (RGB), expected unsigned"),
        ({"Rows": 481}, "cannot be read as DICOM"),
        ({"Rows": 60000, "Columns": 60000}, "set RNFL_MAX_PIXELS to more"),
        ({"Rows": 10}, "bytes of pixels, expected those of 480x10 px"),
        ({"SamplesPerPixel": None}, "cannot be read as DICOM (KeyError)"),
    ],
)
def test_what_is_no_such_photograph_is_refused_in_words(folder, model, changes, reason):
    synthetic.save(synthetic.make(RIGHT, **{"side": "R"} | changes), folder / "one.dcm")
    with pytest.raises(ValueError, match="none of 1 could be read") as refused:
        profiles([folder], model)
    assert reason in str(refused.value)
    assert not [one for one in synthetic.SECRETS if one.lower() in str(refused.value).lower()]


def test_other_compressions_are_refused_by_name(tmp_path):
    made = synthetic.make(RIGHT, "R")
    made.compress(pydicom.uid.RLELossless)
    for uid, name in (
        ("JPEG2000", "JPEG 2000 Image Comp"),
        ("DeflatedExplicitVRLittleEndian", "Def"),
    ):
        made.file_meta.TransferSyntaxUID = getattr(pydicom.uid, uid)
        path = synthetic.save(made, tmp_path / f"{name}.dcm")
        with pytest.raises(Excluded, match=f"transfer syntax {name}.*expected implicit"):
            dicom.laterality(path)


@pytest.mark.parametrize("kind", ["plain", "rle", "jpeg"])
def test_a_truncated_or_damaged_file_is_one_exclusion(tmp_path, kind):
    made = synthetic.make(RIGHT, "R")
    if kind == "rle":
        made.compress(pydicom.uid.RLELossless)
    elif kind == "jpeg":
        synthetic.as_jpeg(made, RIGHT)
    path = synthetic.save(made, tmp_path / "one.dcm")
    data, whole = path.read_bytes(), dicom.read(path)[0]
    for cut in (*range(0, 1200, 37), *range(1200, len(data) - 64, len(data) // 20)):
        path.write_bytes(data[:cut])
        with pytest.raises(Excluded, match=r"unreadable photograph: one\.dcm"):
            dicom.read(path)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, 2500, 150):
        path.write_bytes(
            data[:place] + bytes([data[place] ^ 1 << rng.integers(8)]) + data[place + 1 :]
        )
        try:
            dicom.laterality(path)
            assert dicom.read(path)[0].dtype == whole.dtype
        except Excluded as refused:
            assert not [one for one in synthetic.SECRETS if one in str(refused)]


def test_what_is_said_of_an_eye_must_agree_with_its_header(folder, tmp_path):
    right = synthetic.save(synthetic.make(RIGHT, "R"), folder / "a_OD.dcm")
    series = synthetic.make(LEFT, None, Laterality="L")
    left = synthetic.save(series, folder / "b.DCM")
    Image.fromarray(LEFT).save(folder / "c_OS.png")

    def collected(**given):
        wanted, excluded = photographs.collect([folder], **given)
        return [(one.path.name, one.laterality) for one in wanted], excluded

    read, excluded = collected(eye="from-name")
    assert read == [("a_OD.dcm", "OD"), ("b.DCM", "OS"), ("c_OS.png", "OS")] and not excluded
    read, ((one),) = collected(eye="OS")
    assert read == [("b.DCM", "OS"), ("c_OS.png", "OS")]
    assert one["reason"] == "eye OS is given, but its header says OD: one is wrong"
    table = tmp_path / "eyes.csv"
    table.write_text("image,eye,disc_x,disc_y\na_OD.dcm,,340,230\nb.DCM,right,,\nc_OS.png,L,,\n")
    read, excluded = collected(table=table)
    assert read == [("a_OD.dcm", "OD"), ("c_OS.png", "OS")] and "says OS" in excluded[0]["reason"]
    with pytest.raises(ValueError, match="only DICOM files say it themselves"):
        collected()
    assert [one.laterality for one in photographs.collect([right, left])[0]] == ["OD", "OS"]


def test_a_left_eye_reads_as_the_right_one_that_it_mirrors(folder, model):
    synthetic.save(synthetic.make(RIGHT, "R"), folder / "od.dcm")
    synthetic.save(synthetic.make(LEFT, "L"), folder / "os.dcm")
    read, _ = profiles([folder], model)
    np.testing.assert_allclose(read["od"], read["os"], atol=1.5)


def test_without_pydicom_the_command_to_install_it_is_said(folder, monkeypatch):
    synthetic.save(synthetic.make(RIGHT, "R"), folder / "od.dcm")
    dicom.library.cache_clear()
    monkeypatch.setattr(provenance, "versions", lambda names: dict.fromkeys(names, "not installed"))
    with pytest.raises(RuntimeError, match=r"pydicom.*pip install 'rnfl\[dicom\]'"):
        photographs.collect([folder])


def test_dicom_is_loaded_when_a_file_is_read_and_not_before():
    code = "import sys, rnfl.cli, rnfl.inference.readings; assert 'pydicom' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_of_the_patient_reaches_what_is_said_or_written(folder, command, tmp_path, caplog):
    ten(folder)
    wrong = {"PatientBirthDate": "Mustermann", "SpecificCharacterSet": "Mustermann"}
    synthetic.save(synthetic.make(RIGHT, "R", **wrong), folder / "wrong.dcm")
    data = (folder / "od.dcm").read_bytes()
    (folder / "cut.dcm").write_bytes(data[: len(data) // 2])
    out = tmp_path / "out"
    caplog.clear()  # of what was said when the files were made
    said = command(folder, "--output", out)
    assert said.exit_code == 0 and "9 read, 3 left out" in said.stdout, said.exception
    code = "import sys, pathlib, rnfl.imaging.dicom as d; path = pathlib.Path(sys.argv[1])\n"
    code += "print(d.laterality(path)); d.read(path)"
    program = [sys.executable, "-W", "always", "-c", code, str(folder / "wrong.dcm")]
    alone = subprocess.run(program, capture_output=True, text=True)  # warnings go to stderr
    assert alone.stdout == "OD\n" and not alone.stderr
    texts = [said.output, caplog.text]
    files = [path for path in out.iterdir() if path.suffix != ".png"]
    data = [path.read_bytes() for path in files] + [text.encode() for text in texts]
    assert len(files) == 3 + 8  # no page of burnt-in text
    assert not [one for one in synthetic.SECRETS for held in data if one.encode() in held]


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A left eye read with bands and --dicom: its file, its row, its folder and what was said."""
    folder = tmp_path_factory.mktemp("reported")
    measures = conformal.Band(
        level=0.9, whole=np.full(5, 12.0), pointwise=np.full(5, 9.0), patients=60, groups={}
    ).to_dict()
    held = {"level": 0.9, "dataset": "none", "patients": 60, "profile": None, "measures": measures}
    held |= {"modality": "CFP", "phantom": True, "eyes": 60, "left_out": 0, "by": None}
    card = CARD | {"notes": ["made up, ±9 µm ≥ 5"]}
    used = trained.Trained(folder, Sides(), 64, card, None, held)
    named = {"PatientName": "Mustermann^Jörg", "SpecificCharacterSet": "ISO_IR 100"}
    source = synthetic.save(synthetic.make(LEFT, "L", **named), folder / "7.dcm")
    Image.fromarray(LEFT).save(folder / "8_OS.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained, "load", lambda run: used)
        given = ["predict", str(source), str(folder / "8_OS.png"), "--eye", "from-name", "--dicom"]
        given += ["--model", "m", "--output", str(folder / "out")]
        said = CliRunner().invoke(cli.app, given)
    assert said.exit_code == 0, said.exception
    table = pd.read_csv(folder / "out" / "predictions.csv")
    return source, table.iloc[0], folder / "out", said


def test_the_report_holds_every_number_of_the_table(reported):
    source, row, out, said = reported
    original, path = pydicom.dcmread(source), out / "1_7_sr.dcm"
    made = srread(path)
    assert not said.stderr or "drawing" in said.stderr
    assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33"
    assert made.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    (group,) = made.content.get_image_measurement_groups()
    found = {}
    for one in group.get_measurements():
        assert (one.unit.value, one.unit.scheme_designator) == ("um", "UCUM")
        assert (one.name.value, one.name.scheme_designator) == ("111925", "DCM")
        (site,) = one.finding_sites
        assert site.laterality.meaning == "Left"
        found[site.topographical_modifier.value, one.derivation.value] = one.value
    expected = {}
    for region, (column, _) in dicom_report.REGIONS.items():
        expected[region, "373098007"] = row[column]
        if f"{column}_low" in row:
            expected |= {(region, f"band_{end}"): row[f"{column}_{end}"] for end in ("low", "high")}
    assert len(expected) == 11 + 2 * 5 and found == pytest.approx(expected, abs=1e-9)
    assert found["mean", "band_low"] == pytest.approx(found["mean", "373098007"] - 9, abs=2e-3)
    (image,) = group.source_images
    assert image.referenced_sop_instance_uid == original.SOPInstanceUID
    texts = {
        str(one.value) for one in made.iterall() if one.keyword in ("TextValue", "CodeMeaning")
    }
    assert {"run made-up", "Research use only. Not a medical device.", "Device"} <= texts
    assert any(text.startswith("made up, ±9 µm ≥ 5; ") for text in texts)  # notes of the card
    assert made.SeriesDescription == "Research use only. Not a medical device."


def test_the_page_is_in_the_same_study_and_both_are_for_their_user_alone(reported):
    source, _, out, _ = reported
    original = pydicom.dcmread(source)
    page, report = (pydicom.dcmread(out / f"1_7_{kind}.dcm") for kind in ("pdf", "sr"))
    assert page.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1"
    held = page.EncapsulatedDocument[: page.EncapsulatedDocumentLength]
    assert held == (out / "1_7.pdf").read_bytes() and held.startswith(b"%PDF")
    assert "Research use only. Not a medical device." in page.DocumentTitle
    series = {one.SeriesInstanceUID for one in (original, page, report)}
    assert len(series) == 3
    for one in (page, report):
        assert one.StudyInstanceUID == original.StudyInstanceUID
        assert all(one[name].value == original[name].value for name in synthetic.PATIENT)
        assert str(one.PatientName) == "Mustermann^Jörg"
    dicoms = sorted(path.name for path in out.glob("*.dcm"))
    assert dicoms == ["1_7_pdf.dcm", "1_7_sr.dcm"]  # and none of the PNG
    assert all((out / name).stat().st_mode & 0o777 == 0o600 for name in dicoms)


def test_nothing_else_of_the_report_names_the_patient(reported):
    _, _, out, said = reported
    data = [path.read_bytes() for path in out.iterdir() if path.suffix != ".dcm"]
    held = [said.output.encode(), *data]
    assert not [one for one in synthetic.SECRETS for text in held if one.encode() in text]


def test_a_header_that_cannot_be_copied_is_said_without_its_words(folder, command, tmp_path):
    made = synthetic.make(RIGHT, "R", StudyInstanceUID=None)
    synthetic.save(made, folder / "7.dcm")
    bad = synthetic.make(RIGHT, "R", PatientSex="MUSTERMANN")
    synthetic.save(bad, folder / "8.dcm")
    said = command(folder, "--dicom", "--no-pages", "--output", tmp_path / "out")
    assert said.exit_code == 0 and said.stderr.count("cannot be copied from its header") == 2
    assert "mustermann" not in said.output.lower() and not list((tmp_path / "out").glob("*.dcm"))


def test_reports_of_no_dicom_photograph_are_refused(folder, command):
    Image.fromarray(RIGHT).save(folder / "7.png")
    said = command(folder, "--eye", "OD", "--dicom")
    assert "--dicom: there is no DICOM photograph" in str(said.exception)
