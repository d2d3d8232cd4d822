"""Bundles: the run's numbers from one file without torch, and nothing that is not as it was."""

import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from grape_tree import draw_fundus
from PIL import Image
from training_data import make_dataset
from typer.testing import CliRunner

import rnfl
from rnfl.cli import app
from rnfl.imaging import crops, pixels
from rnfl.inference import bands, bundle, golden, photographs, readings, trained
from rnfl.inference import onnx as export
from rnfl.runs import results
from rnfl.storage import provenance
from rnfl.storage.paths import project_root
from rnfl.training.config import RunConfig

pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")

CONFIG = RunConfig("tiny-cfp", "phantom_mae", "naive", epochs=2, warmup_epochs=0, batch_size=6)
IMPORTED_AS = {"scikit-learn": "sklearn"}  # where a hyphen is not all
ALONE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from rnfl.cli import main
main()
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("data")
        patch.setenv("RNFL_DATA", str(folder))
        make_dataset("tiny-cfp", n=60, colour=True, size=150)
        make_dataset("others", n=40, colour=True, size=150, seed=5, patients="q")
        yield folder


@pytest.fixture(scope="module")
def model(root):
    """A calibrated run."""
    result = rnfl.run(CONFIG, lambda row: None)
    bands.calibrate(results.load_run(result.folder), "others")
    return trained.load(result.folder)


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "m.rnfl.zip"
    return path, bundle.write(model, path)


@pytest.fixture
def path(made, tmp_path):
    """The bundle, to be damaged."""
    return shutil.copy(made[0], tmp_path / "mine.rnfl.zip")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for side in ("OD", "OS"):
        Image.fromarray(draw_fundus(side)).save(folder / f"7_{side}_1.png")
    return folder


def pack(path, change=lambda members, about: None):
    """Pack a bundle again, every hash right, after a change of its members or its manifest."""
    manifest, members = bundle._read(path)
    about = {key: value for key, value in manifest.items() if key != "members"}
    change(members, about)
    bundle.pack(path, members, about)


def rewrite(path, change):
    """Write a bundle's archive again as another program would: ``change`` of its members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members = change(members) or members
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_it_reads_what_the_run_reads_and_says_what_the_run_says(made, model, rng):
    used = bundle.load(made[0], threads=1)
    for images in (
        rng.integers(0, 256, (40, 224, 224, 3), dtype=np.uint8),
        rng.integers(0, 256, (3, 333, 333), dtype=np.uint8),
    ):
        expected = model.predict(images)
        np.testing.assert_allclose(used.predict(images), expected, rtol=1e-4)
        assert np.ptp(expected, axis=0).max() > 0.1  # the images matter
    assert {k: v for k, v in used.card.items() if k != "bundle"} == model.card
    assert used.card["bundle"]["sha256"] == provenance.sha256_file(made[0])
    assert used.bands == model.bands and used.size == 112
    pd.testing.assert_frame_equal(used.reference, model.reference, check_dtype=False)
    assert used.reference["p1"].isna().all()  # of 30 eyes nobody knows a first percentile


def test_it_shows_the_network_few_images_at_once(made, rng):
    loaded, shown = bundle.load(made[0]), []
    read = loaded.profiles_of
    object.__setattr__(loaded, "profiles_of", lambda batch: shown.append(len(batch)) or read(batch))
    loaded.predict(rng.integers(0, 256, (5, 224, 224, 3), dtype=np.uint8))
    assert shown == [2, 2, 1]  # each may be many fields


def test_golden_pictures_are_drawn_eyes_as_cameras_take_them(made, model):
    with zipfile.ZipFile(made[0]) as archive:
        said = json.loads(archive.read(golden.NAME))
        for i, (one, (eye, is_crop, side)) in enumerate(zip(said, golden.PAIRS, strict=True)):
            drawn = golden.draw(i, eye, is_crop, side, "CFP")
            held = np.asarray(Image.open(io.BytesIO(archive.read(one["picture"]))))
            assert np.array_equal(held, drawn) and held.shape == (side, side, 3)
            assert (one["eye"], one["is_crop"], len(one["profile"])) == (eye, is_crop, 360)
    assert {(eye, is_crop) for eye, is_crop, _ in golden.PAIRS} == {
        (eye, is_crop) for eye in ("OD", "OS") for is_crop in (True, False)
    }
    for i, (eye, is_crop, side) in enumerate(golden.PAIRS):
        assert golden.draw(i, eye, is_crop, side, "SLO").ndim == (2 if is_crop else 3)
    found = crops.prepare(golden.draw(0, "OD", False, 640, "CFP"), "OD")
    assert found.doubts == [] and abs(found.disc.x - 0.738 * 640) < 10


def test_a_model_of_slo_images_has_grey_crops_beside_photographs_in_colour():
    class Levels(torch.nn.Linear):
        def forward(self, images):
            return 100 * images.mean((1, 2, 3))[:, None].expand(-1, 360)

    card = {"modality": "SLO", "run_id": "made-up"}
    used = trained.Trained("here", Levels(1, 1), 32, card, None)
    files = golden.make(used)
    modes = [Image.open(io.BytesIO(files[f"golden/{i}.png"])).mode for i in range(1, 6)]
    assert modes == ["RGB", "RGB", "L", "L", "L"]
    assert golden.check(files, used) == (5, 0.0, 0)


def test_it_is_made_of_json_png_and_onnx_and_says_nothing_of_this_machine(made):
    with zipfile.ZipFile(made[0]) as archive:
        names = archive.namelist()
        assert {os.path.splitext(name)[1] for name in names} == {".json", ".png", ".onnx"}
        licences = json.loads(archive.read(bundle.LICENCES))
    assert [one["licence"] for one in licences] == ["MIT", "MIT"]
    assert made[1]["run_id"] and made[1]["max_relative_difference"] <= 1e-4
    held = made[0].read_bytes()
    for place in (str(project_root()), sys.prefix, str(provenance.paths.data_root())):
        assert place.encode() not in held


def test_licences_are_those_of_every_backbone_and_unknown_ones_are_said():
    mixed = bundle.licences({"backbone": "retfound_mae_naturecfp+timm:vit_small_patch16_224"})
    ours, theirs, unknown = mixed
    assert ours["licence"] == "MIT"
    assert theirs["licence"] == "CC BY-NC 4.0" and theirs["gated"] and "/" in theirs["from"]
    assert unknown["licence"] == "see the model's page" and unknown["from"] is None
    assert "vit_small_patch16_224 of timm" in unknown["what"]


def blocked():
    """Return what the project needs and the extra 'deploy' does not, by the names of imports."""
    project = tomllib.loads((project_root() / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    names, kept = (
        {re.match(r"[\w.-]+", one)[0] for one in given}
        for given in (project["dependencies"] + extras["onnx"], extras["deploy"])
    )
    return sorted(IMPORTED_AS.get(name, name.replace("-", "_")) for name in names - kept)


def alone(*arguments):
    """Run a command where nothing is installed that the extra 'deploy' lacks."""
    assert {"torch", "timm", "sklearn", "seaborn", "onnx", "pyarrow"} <= set(blocked())
    code = ALONE.format(blocked=set(blocked()))
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=project_root())


def test_without_torch_commands_give_the_table_of_the_run(made, model, photos, tmp_path):
    wanted, _ = photographs.collect([photos], eye="from-name")
    expected = readings.read(wanted, model).table
    out = tmp_path / "out"
    said = alone("predict", photos, "--eye", "from-name", "--model", made[0], "--output", out)
    assert said.returncode == 0, said.stderr
    found = pd.read_csv(out / "predictions.csv", keep_default_na=False)
    assert list(found) == list(expected) and "rnfl_mean_low" in found and "359_high" in found
    numbers = expected.select_dtypes("number").columns
    apart = (found[numbers].astype(float) - expected[numbers]).abs()
    # Both are rounded to 0.001 µm, which may fall to either side.
    assert (apart <= 1e-4 * expected[numbers].abs() + 0.0011).all(axis=None)
    texts = [name for name in expected if name not in numbers]
    assert (found[texts] == expected[texts]).all(axis=None)
    about = json.loads((out / "about.json").read_text())
    assert about["bands"]["dataset"] == "others"
    assert about["model"]["bundle"]["sha256"] == provenance.sha256_file(made[0])
    assert len(list(out.glob("*.pdf"))) == 2

    said = alone("verify", made[0])
    assert said.returncode == 0 and "whole" in said.stdout, said.stderr
    assert "5 golden pairs read again" in said.stdout
    said = alone("predict", photos, "--eye", "from-name", "--model", model.folder)
    assert said.returncode != 0
    assert "'torch'): install all of rnfl, or read its bundle" in said.stderr


def test_any_changed_byte_is_refused_by_name(made, tmp_path):
    data = made[0].read_bytes()
    rng = np.random.default_rng(0)
    start = data.rindex(b"PK\x01\x02")
    places = [*rng.integers(0, len(data), 12), *rng.integers(start, len(data), 12), 0, 10, 11]
    changed = tmp_path / "m.rnfl.zip"
    for at in map(int, places):
        changed.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(ValueError, match=rf"^{re.escape(str(changed))}.*again"):
            bundle.load(changed)
    for other in (data[:-1], data + b"x", data[: len(data) // 2], b"", b"not a bundle"):
        changed.write_bytes(other)
        with pytest.raises(ValueError, match=rf"^{re.escape(str(changed))}.*again"):
            bundle.load(changed)


def profile_elsewhere(members, about):
    said = json.loads(members[golden.NAME])
    said[2]["profile"][7] *= 1.001
    members[golden.NAME] = json.dumps(said).encode()


def shown_elsewhere(members, about):
    members["golden/4-shown.png"] = members["golden/5-shown.png"]


def another_field(members, about):
    how = json.loads(members[bundle.HOW])
    how["crop"]["field_mm"] = 6.0
    members[bundle.HOW] = json.dumps(how).encode()


def another_size(members, about):
    members[bundle.HOW] = json.dumps(bundle.preprocessing(224)).encode()


def outside(members, about):
    members["../evil.json"] = b"{}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (profile_elsewhere, r"golden/3\.png: the curve differs .* 1\.0e-03 .*expected at most 1e-"),
        (shown_elsewhere, r"golden/4\.png: the model is shown other pixels .* expected at most 1"),
        (another_field, r"preprocessing\.json: images are prepared otherwise .*'field_mm': 6\.0"),
        (another_size, r"model\.onnx takes images \[3, 112, 112\], not those of preprocessing"),
        (outside, r"\.\./evil\.json: expected a name within the bundle"),
        (lambda members, about: about.update(version=2), "version 2; expected 'rnfl bundle', ver"),
        (lambda members, about: about.update(format="other"), "is of the format 'other'"),
        (lambda members, about: members.update({golden.NAME: b"[]"}), "has no pairs"),
        (lambda members, about: members.pop("golden/2.png"), r"read as a bundle \(KeyError"),
        (lambda members, about: members.pop(bundle.CARD), r"missing: \['card\.json'\]"),
        (lambda members, about: members.update({bundle.MODEL: b"none"}), r"read as a bundle"),
    ],
)
def test_what_was_changed_with_all_hashes_right_is_refused_in_words(path, change, said):
    assert bundle.verify(path).levels == 0
    pack(path, change)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}.*{said}"):
        bundle.verify(path)
    answer = CliRunner().invoke(app, ["verify", str(path)])
    assert answer.exit_code == 1 and answer.output.startswith("DAMAGED")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda members: {**members, "more.txt": b""}, r"not in its manifest: \['more\.txt'\]"),
        (lambda members: {**members, bundle.CARD: b"{}"}, r"card\.json: its SHA-256 is not"),
        (lambda members: members.pop(bundle.MANIFEST) and None, r"it has no manifest\.json"),
        (lambda members: {str(i): b"" for i in range(65)}, "65 members, expected at most 64"),
        (lambda members: None, "its SHA-256 is not that of what was written"),
    ],
)
def test_what_another_program_wrote_is_refused(path, change, said):
    rewrite(path, change)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}.*{said}.*bundle the run again"):
        bundle.load(path)


def test_bombs_and_members_that_are_too_large_are_refused_before_they_are_read(path, monkeypatch):
    packed = path.with_name("packed.rnfl.zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(bundle.MANIFEST, b"0" * 10**7)
    with pytest.raises(ValueError, match=r"manifest\.json is packed: expected members that are st"):
        bundle.load(packed)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02") + 20  # where the directory says how long the last member is
    data[at : at + 8] = 2 * (2**27).to_bytes(4, "little")
    packed.write_bytes(data)
    with pytest.raises(ValueError, match="its members claim more bytes than the file has"):
        bundle.load(packed)
    monkeypatch.setenv("RNFL_MAX_MODEL_BYTES", "1000")
    with pytest.raises(ValueError, match=r"model\.onnx: .* at most 1,000 .*RNFL_MAX_MODEL_BYTES"):
        bundle.load(path)
    monkeypatch.delenv("RNFL_MAX_MODEL_BYTES")
    monkeypatch.setenv("RNFL_MAX_BYTES", "1000")
    with pytest.raises(ValueError, match=r"manifest\.json: .* at most 1,000"):
        bundle.load(path)


def nearest(images, size):
    at = np.arange(size) * images.shape[1] // size
    return images[:, at][:, :, at]


@pytest.mark.parametrize(
    ("place", "name", "other"),
    [
        (pixels, "at_size", nearest),
        (crops, "to_right_eye", lambda image, laterality: image),
        (crops, "PHOTOGRAPH_MM", 15.0),
        (pixels, "SIZE", 200),
    ],
    ids=["resize", "mirror", "width", "crop"],
)
def test_other_preprocessing_than_where_it_was_made_is_seen(made, monkeypatch, place, name, other):
    monkeypatch.setattr(place, name, other)
    if name == "PHOTOGRAPH_MM":
        monkeypatch.setattr(crops.inspection, "choose_width", lambda *given: (other, []))
    with pytest.raises(ValueError, match=r"golden/\d\.png: the model is shown other pixels"):
        bundle.verify(made[0])


def test_asked_for_again_it_is_kept_and_a_changed_run_is_refused(path, made, model):
    before = path.stat().st_mtime_ns
    assert bundle.write(model, path) == made[1]
    assert path.stat().st_mtime_ns == before
    for other, said in (
        (replace(model, card={**model.card, "run_id": "another"}), r"card\.json"),
        (replace(model, bands=None), r"band\.json"),
        (replace(model, reference=None), r"reference\.json"),
    ):
        with pytest.raises(ValueError, match=rf"not of this run.*another {said}"):
            bundle.write(other, path)
    assert path.stat().st_mtime_ns == before
    path.write_text("mine")
    with pytest.raises(ValueError, match="exists already, is not of this run, and is kept"):
        bundle.write(model, path)
    assert path.read_text() == "mine"
    with pytest.raises(ValueError, match=r"expected a name that ends in \.rnfl\.zip"):
        bundle.write(model, path.with_name("m.zip"))


def test_one_that_does_not_give_the_numbers_of_torch_is_never_written(
    model, made, tmp_path, monkeypatch
):
    true = export.to_onnx

    def slightly_wrong(module, *arguments):
        import copy

        module = copy.deepcopy(module)
        module.target_mean += 0.05
        true(module, *arguments)

    monkeypatch.setattr(export, "to_onnx", slightly_wrong)
    with pytest.raises(RuntimeError, match=r"not written: onnxruntime differs from torch by \d"):
        bundle.write(model, tmp_path / "m.rnfl.zip")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_is_full_or_read_only_is_said(model, monkeypatch, tmp_path, code):
    def refuse(path):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(export, "write", lambda trained, aside, *given: aside.touch() or 0.0)
    monkeypatch.setattr(bundle, "verify", lambda path: None)
    monkeypatch.setattr(provenance, "_flush", refuse)
    said = rf"cannot write m\.rnfl\.zip into {tmp_path} \({os.strerror(code)}.*--output"
    with pytest.raises(OSError, match=said):
        bundle.write(model, tmp_path / "m.rnfl.zip")
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_leaves_and_verify_finds_it_by_name(root, model, made):
    exported = root / "exported" / f"{model.folder.name}.rnfl.zip"
    exported.parent.mkdir(exist_ok=True)
    shutil.copy(made[0], exported)
    said = CliRunner().invoke(app, ["bundle", model.folder.name])
    assert said.exit_code == 0, said.exception
    assert "bundled before" in said.output and "calibrated bands, reference values" in said.output
    assert "licence: backbone phantom_mae" in said.output
    assert f"SHA-256 {provenance.sha256_file(exported)}" in said.output
    answer = CliRunner().invoke(app, ["verify", exported.name])
    assert answer.exit_code == 0 and answer.output.startswith("whole      bundle")
    assert "export" not in {line.split()[1] for line in answer.output.splitlines()}


def test_a_file_that_is_not_there_and_a_missing_runtime_are_said(path, monkeypatch, photos):
    given = ["predict", str(photos), "--eye", "from-name", "--model", "none.rnfl.zip"]
    said = str(CliRunner().invoke(app, given).exception)
    assert said.startswith("none.rnfl.zip cannot be read as a bundle") and "No such file" in said
    true = provenance.versions

    def without(packages=provenance.PACKAGES):
        return true(packages) | dict.fromkeys({"onnxruntime"} & {*packages}, "not installed")

    monkeypatch.setattr(provenance, "versions", without)
    with pytest.raises(RuntimeError, match=r"needs onnxruntime: .*rnfl\[deploy\]"):
        bundle.load(path)
    answer = CliRunner().invoke(app, ["verify", str(path)])
    assert answer.exit_code == 0 and "its bytes are what was written" in answer.output
