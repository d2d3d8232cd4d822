"""Harvard-GF: labels, laterality, crops, splits, what is left out and why, and clear refusals."""

import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rnflt_tree import (
    EYES,
    arrays,
    draw_fundus,
    draw_map,
    shift_of,
    true_profile,
    write_eye,
    write_tree,
)

from rnfl import datasets
from rnfl.datasets import harvard_gf
from rnfl.datasets.reading import WORKERS
from rnfl.imaging import thickness_map

OPTIONS = "harvard_gf.toml"


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data root; nothing outside it is found."""
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("RNFL_HARVARD_GF", raising=False)
    return tmp_path / "data"


@pytest.fixture
def raw(data, tmp_path):
    """The six eyes, in a place of their own to be damaged."""
    return write_tree(tmp_path / "raw")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = write_tree(tmp_path_factory.mktemp("raw"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(tmp_path_factory.mktemp("data")))
        patch.delenv("RNFL_HARVARD_GF", raising=False)
        return datasets.prepare("harvard_gf", source=folder)


def eye(key):
    return arrays(*EYES[key])


def excluded(prepared):
    return {e["id"].removeprefix("harvard_gf-"): e for e in prepared.manifest["exclusions"]}


def test_profiles_are_those_that_were_drawn(prepared):
    assert set(prepared.samples["eye_id"]) == {f"harvard_gf-{key}" for key in EYES}
    for row, found in zip(prepared.samples.itertuples(), prepared.profiles, strict=True):
        _, seed = EYES[row.eye_id.removeprefix("harvard_gf-")]
        np.testing.assert_allclose(found, true_profile(seed), atol=1.0)


def test_columns(prepared):
    samples = prepared.samples.set_index("eye_id")
    first = samples.loc["harvard_gf-data_0001"]  # seed 11
    assert (first.laterality, first.age, first.sex, first.race) == ("OD", 51, "M", "White")
    assert samples["ethnicity"].isna().all()  # -1 is unknown
    assert (samples["severity"] == "moderate").all() and (samples["md"] == -7.5).all()
    assert (samples["modality"] == "SLO").all() and (samples["measured"] == 1).all()
    assert samples["disc_mm2"].between(2.4, 2.7).all() and (samples["invalid"] < 0.01).all()
    splits = samples["split"].value_counts().to_dict()
    assert splits == {"train": 2, "val": 2, "test": 2}  # of the folders
    assert samples.loc["harvard_gf-data_0005", "split"] == "test"


def test_crops_are_disc_centred_in_right_eye_orientation(prepared):
    assert prepared.images.shape == (6, 224, 224) and prepared.images.dtype == np.uint8
    for image in prepared.images:
        y, x = np.nonzero(image > 200)
        np.testing.assert_allclose([x.mean(), y.mean()], 111.5, atol=0.5)
        assert len(x) == pytest.approx(np.pi * (0.9 / 4.943 * 224) ** 2, rel=0.03)
        inner = image[40:184, 10:214]
        y, x = np.nonzero(inner < 60)  # the dot at 1.73 mm temporal: image-left, on the circle
        assert x.mean() + 10 == pytest.approx(111.5 - 0.35 * 224, abs=1)
        assert y.mean() + 40 == pytest.approx(111.5, abs=1)


def test_manifest_states_what_was_taken_for_granted(prepared):
    said = " ".join(prepared.manifest["findings"])
    assert "6 of 6 files name no patient; each is taken for a patient of its own" in said
    assert "field of the map" in said and "answer" not in said
    assert prepared.manifest["counts"]["patients"] == 6
    assert prepared.manifest["exclusions"] == []


def test_zip_and_225_px_and_repetition_agree(raw, tmp_path):
    first = datasets.prepare("harvard_gf", source=raw)
    stamp = (first.folder / "images.npy").stat().st_mtime_ns
    again = datasets.prepare("harvard_gf", source=raw)
    assert (again.folder / "images.npy").stat().st_mtime_ns == stamp  # nothing was done
    copy = datasets.prepare("harvard_gf-copy", source=shutil.copytree(raw, tmp_path / "copy"))
    assert copy.manifest["hash"] == first.manifest["hash"]
    with zipfile.ZipFile(tmp_path / "gf.zip", "w") as archive:
        for path in sorted(raw.rglob("*.npz")):
            archive.write(path, path.relative_to(raw))
    zipped = datasets.prepare("harvard_gf-zip", source=tmp_path / "gf.zip")
    assert zipped.manifest["hash"] == first.manifest["hash"]
    large = datasets.prepare("harvard_gf-gdp", source=write_tree(tmp_path / "gdp", size=225))
    np.testing.assert_allclose(large.profiles, first.profiles, atol=1.0)
    assert large.manifest["hash"] != first.manifest["hash"]


def test_a_changed_file_prepares_again(raw):
    first = datasets.prepare("harvard_gf", source=raw)
    path = raw / "Training" / "data_0001.npz"
    write_eye(path, eye("data_0001"), rnflt=draw_map(true_profile(99)))
    again = datasets.prepare("harvard_gf", source=raw)
    assert again.manifest["hash"] != first.manifest["hash"]
    np.testing.assert_allclose(again.profiles[again.samples["eye_id"].str.endswith("1")][0],
                               true_profile(99), atol=1.0)  # fmt: skip


def test_laterality_is_never_guessed(raw, tmp_path):
    silent = write_tree(tmp_path / "silent", drop=("laterality",))
    with pytest.raises(ValueError, match=r"no eye is left of 6 \(laterality not stated: 6\)") as e:
        datasets.prepare("harvard_gf", source=silent)
    assert OPTIONS in str(e.value) and "filename and laterality" in str(e.value)
    table = pd.DataFrame(
        {"filename": list(EYES), "laterality": [side for side, _ in EYES.values()]}
    )
    table.iloc[:5].to_csv(silent / "eyes.csv", index=False)
    told = datasets.prepare("harvard_gf", source=silent)
    whole = datasets.prepare("harvard_gf-whole", source=raw)
    np.testing.assert_array_equal(told.profiles, whole.profiles[_rows(whole, told)])
    assert excluded(told)["data_0006"]["reason"] == "laterality not stated"


def _rows(whole, part):
    return [whole.samples["eye_id"].tolist().index(eye) for eye in part.samples["eye_id"]]


def test_options_say_laterality_and_how_maps_lie(raw, tmp_path):
    whole = datasets.prepare("harvard_gf-whole", source=raw)
    mirrored = tmp_path / "mirrored"
    for key, (laterality, seed) in EYES.items():
        held = arrays(laterality, seed)
        if laterality == "OS":
            held |= {name: held[name][:, ::-1] for name in ("rnflt", "slo_fundus")}
        held |= {name: held[name].T for name in ("rnflt", "slo_fundus")}
        write_eye(mirrored / "Training" / f"{key}.npz", held, drop=("laterality",))
    (mirrored / OPTIONS).write_text(
        'laterality = "OS"\nleft_eyes = "mirrored"\nmap_orientation = "transposed"\n'
    )
    told = datasets.prepare("harvard_gf", source=mirrored)
    assert (told.samples["laterality"] == "OS").all()
    rows = _rows(whole, told)
    np.testing.assert_allclose(told.profiles, whole.profiles[rows], atol=1e-3)
    assert np.abs(told.images.astype(int) - whole.images[rows]).max() <= 1
    said = " ".join(told.manifest["findings"])
    assert "Laterality is OS" in said and "mirrored" in said and "transposed" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('laterality = "left"', "laterality = 'left': expected '' or 'OD' or 'OS'"),
        ("width = 6", "option 'width': expected laterality, left_eyes"),
        ("map_mm = 0.006", r"map_mm = 0.006: expected 1 to 50 mm"),
        ("image: map", "cannot be read as TOML"),
    ],
)
def test_bad_options_are_named(raw, text, message):
    (raw / OPTIONS).write_text(text)
    with pytest.raises(ValueError, match=rf"harvard_gf\.toml.*{message}"):
        datasets.prepare("harvard_gf", source=raw)


def test_the_map_is_the_image_only_when_asked_for(data, tmp_path):
    bare = write_tree(tmp_path / "bare", drop=("slo_fundus",))
    with pytest.raises(ValueError, match="no en-face image: 6") as caught:
        datasets.prepare("harvard_gf", source=bare)
    assert 'image = "map"' in str(caught.value) and "slo" in str(caught.value)
    (bare / OPTIONS).write_text('image = "map"')
    drawn = datasets.prepare("harvard_gf", source=bare)
    assert any("the input holds the answer" in line for line in drawn.manifest["findings"])
    assert drawn.manifest["settings"]["options"]["image"] == "map"
    left = drawn.samples["laterality"].tolist().index("OS")  # image and profile lie the same way
    theta = np.deg2rad(np.arange(0, 360, 15))
    x, y = 111.5 - 78.4 * np.cos(theta), 111.5 - 78.4 * np.sin(theta)
    seen = drawn.images[left][y.round().astype(int), x.round().astype(int)] * (300 / 255)
    np.testing.assert_allclose(seen, drawn.profiles[left][::15], atol=4)


def test_images_of_a_folder(data, tmp_path):
    bare = write_tree(tmp_path / "bare", drop=("slo_fundus",))
    (bare / "slo").mkdir()
    for key, (laterality, seed) in EYES.items():
        Image.fromarray(draw_fundus(laterality, shift_of(seed))).save(bare / "slo" / f"{key}.png")
    inside = datasets.prepare("harvard_gf-in", source=write_tree(tmp_path / "in"))
    beside = datasets.prepare("harvard_gf", source=bare)
    np.testing.assert_array_equal(beside.images, inside.images)
    (bare / "slo" / "data_0002.png").write_bytes(b"not an image")
    Image.new("L", (400, 300)).save(bare / "slo" / "data_0003.png")
    image = Image.fromarray(draw_fundus("OS"))
    image.resize((400, 300)).save(bare / "slo" / "data_0004.png")
    again = excluded(datasets.prepare("harvard_gf", source=bare))
    assert again["data_0002"]["reason"] == "unreadable en-face image"
    assert again["data_0003"]["reason"] == "SLO image without contrast"
    assert "not square" in again["data_0004"]["reason"]


def _truncate(path):
    path.write_bytes(path.read_bytes()[:3000])


def _flip(path):
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("rnflt.npy")
    data = bytearray(path.read_bytes())
    data[info.header_offset + 200] ^= 0xFF
    path.write_bytes(bytes(data))


def _change(drop=(), **changes):
    return lambda path: write_eye(path, eye("data_0001"), drop, **changes)


def _nan():
    drawn = draw_map(true_profile(11))
    drawn[5, 5] = np.nan
    return drawn


DAMAGES = {
    "truncated": (_truncate, "unreadable npz"),
    "one byte": (_flip, "unreadable npz"),
    "empty": (lambda path: path.write_bytes(b""), "unreadable npz"),
    "not an npz": (lambda path: path.write_bytes(b"rnflt"), "unreadable npz"),
    "object map": (_change(rnflt=np.array([[1, None]], dtype=object)), "object arrays"),
    "object label": (_change(race=np.array({"race": 1})), "object arrays"),
    "no map": (_change(("rnflt",)), "no array rnflt"),
    "not square": (_change(rnflt=np.zeros((200, 199))), "unusable rnflt map"),
    "volume": (_change(rnflt=np.zeros((200, 200, 200), np.uint8)), "unusable rnflt map"),
    "NaN": (_change(rnflt=_nan()), "unusable rnflt map"),
    "strings": (_change(rnflt=np.full((200, 200), "80")), "unusable rnflt map"),
    "resampled": (_change(rnflt=draw_map(true_profile(11)) - 0.5), "unusable rnflt map"),
    "no disc": (_change(rnflt=np.abs(draw_map(true_profile(11)))), "no disc"),
    "half missing": (
        _change(rnflt=draw_map(true_profile(11), missing=(0, 180))), "invalid pixels"),
    "too thick": (_change(rnflt=draw_map(4 * true_profile(11))), "too thick"),
    "bad race": (_change(race=np.array(7)), "label with an unknown code"),
    "bad age": (_change(age=np.array(430)), "label with an unknown code"),
    "numbered side": (_change(laterality=np.array(0)), "label with an unknown code"),
    "no image": (_change(("slo_fundus",)), "no en-face image"),
    "another's map": (_change(rnflt=eye("data_0003")["rnflt"]), "same map as another eye's"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_eye_is_listed_and_nothing_else_changes(raw, damage):
    whole = datasets.prepare("harvard_gf-whole", source=raw)
    change, reason = DAMAGES[damage]
    change(raw / "Training" / "data_0001.npz")
    left = datasets.prepare("harvard_gf", source=raw)
    listed = excluded(left)
    assert len(left) == 5 and len(listed) == 1
    ((gone, why),) = listed.items()
    assert why["reason"].startswith(reason)
    assert gone == ("data_0001" if damage != "another's map" else gone)
    assert left.manifest["counts"]["excluded"] == {why["reason"]: 1}
    rows = _rows(whole, left)
    if damage != "another's map":
        np.testing.assert_array_equal(left.images, whole.images[rows])
        np.testing.assert_array_equal(left.profiles, whole.profiles[rows])


def test_words_and_tables_read_as_codes_do(raw, tmp_path):
    words = tmp_path / "words"
    write_tree(words, drop=("male", "race", "hispanic", "age", "glaucoma"))
    codes = {0: "Asian", 1: "Black or African American", 2: "White or Caucasian"}
    rows = [
        {"filename": f"{key}.npz", "age": 40 + seed, "gender": ("Female", "Male")[seed % 2],
         "race": codes[seed % 3], "ethnicity": "Unknown", "glaucoma": "yes",
         "use": ("training", "validation", "test")[i // 2]}
        for i, (key, (_, seed)) in enumerate(EYES.items())
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(words / "data_summary.csv", index=False)
    told = datasets.prepare("harvard_gf", source=words).samples
    pd.testing.assert_frame_equal(told, datasets.prepare("harvard_gf-in", source=raw).samples)


def test_patients_of_the_files_stay_together(raw):
    person = {"male": np.array(1), "race": np.array(0)}
    for i, path in enumerate(sorted(raw.rglob("*.npz"))):
        held = eye(path.stem)
        patient = np.array(f"p{i // 2 if path.stem < 'data_0005' else 9}")
        write_eye(path, held, patient_id=patient, **person)
    told = datasets.prepare("harvard_gf", source=raw)
    assert told.samples["patient_id"].nunique() < 6
    assert "no patient" not in " ".join(told.manifest["findings"])
    first, last = raw / "Training" / "data_0001.npz", raw / "Test" / "data_0005.npz"
    write_eye(first, eye("data_0001"), patient_id=np.array("p9"), **person)
    write_eye(last, eye("data_0005"), patient_id=np.array("p9"), **person)
    with pytest.raises(ValueError, match="patients are in more than one split: harvard_gf-p9"):
        datasets.prepare("harvard_gf", source=raw)


def test_what_is_wrong_with_the_whole_is_an_error(raw, tmp_path):
    twice = shutil.copytree(raw, tmp_path / "twice")
    shutil.copy(twice / "Training" / "data_0001.npz", twice / "Test")
    with pytest.raises(ValueError, match="files of the same name: data_0001"):
        datasets.prepare("harvard_gf", source=twice)
    pd.DataFrame({"filename": ["data_0001"], "use": ["holdout"]}).to_csv(raw / "s.csv")
    with pytest.raises(ValueError, match=r"s\.csv.*split has values 'holdout'"):
        datasets.prepare("harvard_gf", source=raw)
    pd.DataFrame({"filename": ["data_0001"], "laterality": ["OS"]}).to_csv(raw / "s.csv")
    told = datasets.prepare("harvard_gf", source=raw)
    assert excluded(told)["data_0001"]["reason"] == "file and tables disagree"


def test_eyes_without_a_split_are_left_out_where_others_have_one(raw):
    shutil.move(raw / "Test" / "data_0005.npz", raw / "data_0005.npz")
    told = datasets.prepare("harvard_gf", source=raw)
    assert excluded(told)["data_0005"]["reason"] == harvard_gf.NO_SPLIT


def test_absent_source_says_what_to_put_where(data, monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match="RNFL_HARVARD_GF") as caught:
        datasets.prepare("harvard_gf")
    assert str(data / "raw" / "harvard_gf") in str(caught.value)
    write_tree(data / "raw" / "harvard_gf")
    with monkeypatch.context() as patch:
        patch.setenv("RNFL_HARVARD_GF", str(tmp_path / "typo"))
        with pytest.raises(FileNotFoundError, match="typo"):
            datasets.prepare("harvard_gf")
    assert len(datasets.prepare("harvard_gf")) == 6


def test_settings_hold_the_gate_and_are_plain(raw):
    settings = harvard_gf.HarvardGF.settings("harvard_gf", raw)
    assert settings["map"] == thickness_map.SETTINGS
    assert json.loads(json.dumps(settings)) == settings


def test_an_interrupted_preparation_goes_on_where_it_stopped(data, tmp_path, monkeypatch):
    """Images lie beside the maps; nothing of an eye is read twice, and nothing is different."""
    raw = tmp_path / "raw"
    for i in range(20):
        write_eye(raw / f"e{i:02d}.npz", arrays(("OD", "OS")[i % 2], i), drop=("slo_fundus",))
    (raw / "slo").mkdir()
    for i in range(20):
        fundus = Image.fromarray(draw_fundus(("OD", "OS")[i % 2], shift_of(i)))
        fundus.save(raw / "slo" / f"e{i:02d}.png")
    (raw / "e05.npz").write_bytes(b"PK")
    opened, read = [], harvard_gf.HarvardGF.read

    def count(dataset, entry, found):
        if len(opened) == 12:
            raise KeyboardInterrupt
        opened.append(entry.key)
        return read(dataset, entry, found)

    with monkeypatch.context() as patch:
        patch.setattr(harvard_gf.HarvardGF, "read", count)
        with pytest.raises(KeyboardInterrupt):
            datasets.prepare("harvard_gf", source=raw)
        Image.fromarray(draw_fundus("OD", (0.5, 0.5))).save(raw / "slo" / f"{opened[0]}.png")
        before, opened = opened, []
        prepared = datasets.prepare("harvard_gf", source=raw)
    assert len(before) == 12 and 9 <= len(opened) <= 9 + WORKERS and before[0] in opened
    whole = datasets.prepare("harvard_gf-whole", source=raw)
    assert prepared.manifest["hash"] == whole.manifest["hash"]
    assert prepared.manifest["settings"] == harvard_gf.HarvardGF.settings("harvard_gf", raw)
    assert list(excluded(prepared)) == ["e05"]


def test_a_dataset_keeps_to_the_files_it_was_made_from(raw, data, tmp_path, monkeypatch):
    made = datasets.prepare("harvard_gf", source=raw)
    other = write_tree(tmp_path / "other", drop=("md",))
    monkeypatch.setenv("RNFL_HARVARD_GF", str(other))
    shutil.copytree(other, data / "raw" / "harvard_gf")
    assert datasets.prepare("harvard_gf").manifest == made.manifest
    shutil.rmtree(raw)
    assert harvard_gf.HarvardGF.settings() == made.manifest["settings"]
    shutil.rmtree(other)
    assert datasets.prepare("harvard_gf").manifest == made.manifest
    with pytest.raises(FileNotFoundError, match=r"harvard_gf-b not found: .*raw/harvard_gf-b"):
        datasets.prepare("harvard_gf-b")
