"""Prepared datasets: published whole, opened without surprises, refused when damaged."""

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from rnfl import datasets
from rnfl.datasets import registry
from rnfl.datasets.prepared import FOR_PEOPLE, content_hash
from rnfl.datasets.reading import Eye, forget, kept_folders, read_eyes
from rnfl.storage import provenance
from rnfl.storage.provenance import sha256_file, unsealed

SETTINGS = {"seed": 1, "size_px": 32}
FIELDS = {"dataset": "copy", "modality": "SLO", "phantom": True, "settings": SETTINGS}


@pytest.fixture
def arrays(prepared):
    return np.array(prepared.images), np.array(prepared.profiles)


@pytest.fixture
def copy(prepared, tmp_path):
    """A copy of the small dataset, free to be damaged."""
    return shutil.copytree(prepared.folder, tmp_path / "copy")


def test_what_is_written_is_read_back(prepared, samples, data_root):
    assert prepared.folder == data_root / "prepared" / "tiny"
    assert len(prepared) == 40
    assert prepared.samples["eye_id"].tolist() == samples["eye_id"].tolist()
    assert isinstance(prepared.images, np.memmap)
    assert prepared.images.shape == (40, 32, 32) and prepared.images.dtype == np.uint8
    assert prepared.profiles.shape == (40, 360) and prepared.profiles.dtype == np.float32
    assert np.isnan(prepared.profiles[0, :20]).all()
    assert np.isfinite(prepared.profiles_true).all()
    assert not prepared.images.flags.writeable
    manifest = prepared.manifest
    assert manifest["n"] == 40 and manifest["counts"]["patients"] == 20
    assert manifest["field_mm"] == pytest.approx(4.943, abs=1e-3)
    assert set(manifest["files"]) == {path.name for path in prepared.folder.iterdir()} - {
        "manifest.json"
    }
    assert datasets.load(prepared.folder, verify=True).manifest == manifest


def test_subsets_share_no_patient(prepared):
    rows = {split: prepared.subset(split) for split in ("train", "val", "test")}
    assert sorted(np.concatenate(list(rows.values()))) == list(range(40))
    patients = [set(prepared.samples["patient_id"][index]) for index in rows.values()]
    assert sum(map(len, patients)) == 20
    with pytest.raises(ValueError, match="'valid': expected one of train, val, test"):
        prepared.subset("valid")


def test_hash_follows_content_not_time(arrays, samples):
    images, profiles = arrays
    first = datasets.write("copy", images, profiles, samples, FIELDS)
    again = datasets.write("copy", images, profiles, samples, FIELDS)
    assert first.manifest == again.manifest
    assert first.profiles_true is None
    hashes = {first.manifest["hash"]}
    changed = images.copy()
    changed[3, 4, 5] += 1
    other = FIELDS | {"settings": SETTINGS | {"seed": 2}}
    for arguments in (
        (changed, profiles, samples, FIELDS),
        (images, profiles + 1, samples, FIELDS),
        (images, profiles, samples.assign(age=50), FIELDS),
        (images, profiles, samples, other),
    ):
        hashes.add(datasets.write("copy", *arguments).manifest["hash"])
    assert len(hashes) == 5


def test_colour_images(arrays, samples):
    images = np.repeat(arrays[0][..., None], 3, axis=3)
    written = datasets.write("colour", images, arrays[1], samples, FIELDS | {"counts": {"x": 1}})
    assert written.images.shape == (40, 32, 32, 3)
    assert written.manifest["counts"]["x"] == 1 and written.manifest["counts"]["patients"] == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, p, s: (i.astype(float), p, s, FIELDS), "images: float64"),
        (lambda i, p, s: (i[:39], p, s, FIELDS), r"images: uint8 \(39, 32, 32\)"),
        (lambda i, p, s: (i[..., None], p, s, FIELDS), "colour in 3 channels"),
        (lambda i, p, s: (i, p[:, :359], s, FIELDS), r"profiles.npy: float32 \(40, 359\)"),
        (lambda i, p, s: (i, p, s.drop(columns="split"), FIELDS), r"\['split'\] are missing"),
        (lambda i, p, s: (i, p, s, {"dataset": "x"}), r"fields \['modality', 'phantom'"),
    ],
)
def test_wrong_data_is_refused_and_nothing_appears(arrays, samples, change, message, data_root):
    with pytest.raises(ValueError, match=message):
        datasets.write("wrong", *change(*arrays, samples))
    assert not list((data_root / "prepared").glob("*wrong*"))


def damage(folder, how):
    images = folder / "images.npy"
    if how == "missing":
        images.unlink()
    elif how == "truncated":
        images.write_bytes(images.read_bytes()[:-100])
    elif how == "objects":
        _replace(folder, np.array([None] * 40, dtype=object))
    elif how == "shape":
        _replace(folder, np.load(images)[:30])
    elif how == "type":
        _replace(folder, np.load(images).astype(np.int16))
    elif how == "manifest":
        (folder / "manifest.json").write_text('{"name": ')
    elif how == "list":
        (folder / "manifest.json").write_text("[1, 2]")
    elif how == "bytes":
        (folder / "manifest.json").write_bytes(b"\xff\xfe\x00")
    elif how == "fields":
        (folder / "manifest.json").write_text('{"name": "copy"}')


def _replace(folder, array):
    """Write other images and let the manifest agree with them."""
    path = folder / "images.npy"
    np.save(path, array, allow_pickle=True)
    manifest = unsealed(json.loads((folder / "manifest.json").read_text()))
    manifest["bytes"][path.name], manifest["files"][path.name] = (
        path.stat().st_size,
        sha256_file(path),
    )
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "images.npy is missing: delete"),
        ("truncated", r"images.npy is damaged \(\d+ bytes, wrote \d+\)"),
        ("objects", r"images.npy cannot be read as an array \(.*(allow_pickle|memory-mapped)"),
        ("shape", r"images.npy: uint8 \(30, 32, 32\)"),
        ("type", "images.npy: int16"),
        (
            "manifest",
            r"manifest.json cannot be read as JSON \(Expecting value.*\): delete .*copy and",
        ),
        (
            "fields",
            r"manifest.json is damaged \(fields \['dataset'.*'hash'\] are missing\): delete",
        ),
        ("list", r"manifest.json is damaged \(.*\): delete"),
        ("bytes", r"manifest.json is not in UTF-8 \(.*decode.*\): delete"),
    ],
)
def test_damage_is_named(copy, how, message):
    damage(copy, how)
    with pytest.raises(ValueError, match=message):
        datasets.load(copy)


@pytest.mark.parametrize("file", ["images.npy", "profiles.npy", "samples.parquet"])
def test_a_flipped_bit_is_found_and_files_are_hashed_once(copy, file, monkeypatch):
    hashed = []

    def spied(path):
        hashed.append(path)
        return sha256_file(path)

    monkeypatch.setattr(provenance, "sha256_file", spied)
    for times in (4, 4, 8):  # once, not again, and again when asked for
        datasets.load(copy, verify=times == 8)
        assert len(hashed) == times
    content = bytearray((copy / file).read_bytes())
    content[-1] ^= 1
    (copy / file).write_bytes(content)
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"{file} is damaged \(its SHA-256 .*: delete .*copy"):
            datasets.load(copy)


def test_what_was_just_written_is_not_hashed_again(arrays, samples, monkeypatch):
    datasets.write("fresh", *arrays, samples, FIELDS)
    monkeypatch.setattr(provenance, "sha256_file", lambda path: pytest.fail(str(path)))
    datasets.load("fresh")


def test_a_bit_of_the_manifest_is_found_wherever_it_is(copy, rng):
    path = copy / "manifest.json"
    whole = path.read_bytes()
    for place in [*rng.integers(0, len(whole), 40), *range(whole.index(b'"seal"'), len(whole))]:
        content = bytearray(whole)
        content[place] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"manifest\.json"):
            datasets.load(copy)


def test_what_is_for_people_lies_beside_and_is_no_part_of_the_content(arrays, samples, copy):
    written = datasets.write("copy", *arrays, samples, FIELDS)
    assert set(FOR_PEOPLE) < set(written.manifest["files"])
    assert not set(FOR_PEOPLE) & set(written.manifest["bytes"])
    (copy / "contact_sheet.png").unlink()
    (copy / "summary.md").write_text("my notes")
    assert datasets.load(copy, verify=True).manifest["name"] == "tiny"


def test_a_dataset_of_before_there_were_contact_sheets_opens(copy):
    manifest = unsealed(json.loads((copy / "manifest.json").read_text()))
    for file in FOR_PEOPLE:
        (copy / file).unlink()
        del manifest["files"][file]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    opened = datasets.load(copy, verify=True)
    assert len(opened) == 40 and opened.manifest["hash"] == manifest["hash"]
    assert content_hash(manifest, opened.samples) == manifest["hash"]


def test_eyes_whose_disc_is_unsure_are_counted_and_listed(arrays, samples):
    sure = [1.0] * 38 + [0.62, 0.9]
    written = datasets.write("discs", *arrays, samples.assign(disc_confidence=sure), FIELDS)
    manifest = written.manifest
    said = ["disc unsure: confidence 0.62"]
    ids = samples["eye_id"]
    assert manifest["unsure"] == [{"id": ids[38], "confidence": 0.62, "doubts": said}]
    assert manifest["counts"]["unsure"] == 1
    more = {**FIELDS, "doubts": {ids[3]: ["too dark: 20"], "left-out": ["flat: 3"]}}
    dark = datasets.write("dark", *arrays, samples, more).manifest
    assert dark["unsure"] == [{"id": ids[3], "confidence": 1.0, "doubts": ["too dark: 20"]}]
    assert dark["hash"] == datasets.write("light", *arrays, samples, FIELDS).manifest["hash"]
    assert "unsure" not in datasets.write("copy", *arrays, samples, FIELDS).manifest
    for bad in (float("nan"), 1.5, -0.1):
        samples_with = samples.assign(disc_confidence=[bad] + [1.0] * 39)
        with pytest.raises(ValueError, match=r"discs: disc_confidence \[.*expected 0 to 1"):
            datasets.write("discs", *arrays, samples_with, FIELDS)
    assert datasets.load("discs").manifest == manifest


def test_further_tables_come_and_go_with_the_folder(arrays, samples):
    visits = samples[["eye_id"]].assign(years=0.5)
    written = datasets.write("more", *arrays, samples, FIELDS, extra={"visits.parquet": visits})
    path = written.folder / "visits.parquet"
    pd.testing.assert_frame_equal(pd.read_parquet(path), visits)
    assert {"visits.parquet"} < set(written.manifest["files"]) & set(written.manifest["bytes"])
    without = datasets.write("copy", *arrays, samples, FIELDS)
    assert written.manifest["hash"] == without.manifest["hash"]
    with pytest.raises(ValueError, match=r"more: extra table 'samples.parquet': the dataset has"):
        datasets.write("more", *arrays, samples, FIELDS, extra={"samples.parquet": visits})
    assert datasets.load("more", verify=True).manifest == written.manifest
    path.unlink()
    with pytest.raises(ValueError, match=r"visits.parquet is missing"):
        datasets.load("more")


def test_what_an_interrupted_preparation_kept_goes_when_the_dataset_is_there(arrays, samples):
    def read(i):
        return Eye(arrays[0][i], arrays[1][i], {"eye_id": str(i)})

    for name in ("copy", "copy-2"):
        read_eyes(range(3), read, name=name, method={}, key=str, stamp=str, what="eyes")
    with pytest.raises(ValueError, match="missing"):
        datasets.write("copy", *arrays, samples, {})
    assert kept_folders("copy")
    datasets.write("copy", *arrays, samples, FIELDS)
    assert not kept_folders("copy") and kept_folders("copy-2")
    forget("copy-2")


def test_an_absent_dataset_lists_what_is_there(prepared):
    with pytest.raises(
        ValueError, match=r"'nowhere' is not in .*prepared: expected .*rnfl.write.*: .*tiny"
    ):
        datasets.load("nowhere")


def test_prepare_builds_once_and_again_when_settings_change(arrays, samples, monkeypatch):
    built = []

    def build(name, source=None):
        built.append(name)
        fields = FIELDS | {"settings": source_settings(name)}
        return datasets.write(name, *arrays, samples, fields)

    version = 1

    def source_settings(name, source=None):
        return {"version": version, "sizes": (32, 32)}

    module = SimpleNamespace(prepare=build, settings=source_settings)
    monkeypatch.setattr(registry, "find", lambda name: module)
    monkeypatch.setattr(registry, "is_registered", lambda name: True)
    first = datasets.prepare("built")
    changed = first.folder.joinpath("images.npy").stat().st_mtime_ns
    again = datasets.prepare("built")
    assert built == ["built"]
    assert again.manifest == first.manifest
    assert again.folder.joinpath("images.npy").stat().st_mtime_ns == changed
    version = 2
    assert datasets.prepare("built").manifest["settings"]["version"] == 2
    assert built == ["built"] * 2


def test_names_lead_to_datasets():
    phantom, grape = "rnfl.datasets.phantom", "Grape"
    for name in ("phantom-slo-2400", "phantom-cfp-96", "phantom-slo-2400-s1"):
        assert registry.find(name).__name__ == phantom
    for name in ("grape", "grape-subset", "grape_2023"):
        assert registry.find(name).__name__ == grape
    for name in ("phantom-oct-10", "phantom-slo-0", "phantom-slo", "grapes", "../grape", ""):
        with pytest.raises(ValueError, match=r"is unknown: expected phantom-\{slo\|cfp\}.*; grape"):
            registry.find(name)


def test_a_path_is_no_name_of_a_dataset(prepared):
    with pytest.raises(ValueError, match="is unknown"):
        datasets.prepare(f"{prepared.name}/")


def test_a_dataset_of_ones_own_is_returned_by_its_name(prepared):
    assert datasets.prepare(prepared.name).manifest["hash"] == prepared.manifest["hash"]
    with pytest.raises(ValueError, match="unknown"):
        datasets.prepare(f"{prepared.name}-never-written")


def test_programs_that_ask_at_the_same_time_build_it_once(arrays, samples, monkeypatch):
    built, both = [], threading.Barrier(2)

    def build(name, source=None):
        built.append(name)
        time.sleep(0.3)
        return datasets.write(name, *arrays, samples, FIELDS)

    dataset = SimpleNamespace(settings=lambda name, source=None: SETTINGS, prepare=build)
    monkeypatch.setattr(registry, "is_registered", lambda name: True)
    monkeypatch.setattr(registry, "find", lambda name: dataset)

    def ask(_):
        both.wait()
        return datasets.prepare("wanted").manifest["hash"]

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(ask, range(2)))) == 1
    assert built == ["wanted"]
