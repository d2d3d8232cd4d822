"""FairFedMed: three forms of target, three containers, orientation, laterality, splits."""

import tarfile
import zipfile

import fairfedmed_tree as tree
import numpy as np
import pytest

from rnfl import datasets
from rnfl.core.geometry import FIELD_MM, mirror_profile
from rnfl.datasets import base, fairfedmed, reading
from rnfl.datasets.fairfedmed import targets
from rnfl.datasets.npz import files
from rnfl.datasets.npz import labels as fairfedmed_labels


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("RNFL_FAIRFEDMED", raising=False)
    return tmp_path / "data"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return tree.write_tree(tmp_path_factory.mktemp("raw") / "fairfedmed")


def truth(prepared):
    return np.stack([tree.true_profile(int(key[-5:])) for key in prepared.samples["eye_id"]])


def notes(prepared):
    return " ".join(prepared.manifest["findings"])


def test_profile_csv_prepares_with_labels_of_both_kinds(raw):
    prepared = datasets.prepare("fairfedmed", source=raw)
    samples = prepared.samples
    assert len(prepared) == 10 and not prepared.manifest["exclusions"]
    assert np.abs(prepared.profiles - truth(prepared)).max() < 1e-3
    assert prepared.images.shape == (10, 224, 224) and prepared.images.dtype == np.uint8
    assert samples["race"].tolist() == [tree.RACES[i // 2 % 3] for i in range(10)]
    assert samples["sex"].tolist() == ["FFMM"[i % 4] for i in range(10)]
    assert samples["ethnicity"].isna().tolist() == [i in (2, 3) for i in range(10)]
    assert samples["severity"].tolist()[:6] == ["healthy"] * 2 + ["mild"] * 2 + ["healthy"] * 2
    assert samples["split"].tolist() == [tree.profile_row(i)["split"] for i in range(10)]
    assert samples["patient_id"].tolist() == [f"p{i // 2:04d}" for i in range(10)]
    counts = prepared.manifest["counts"]
    assert counts["targets"] == {"profile CSV": 10} and counts["orientation"] == {"upright": 10}
    assert counts["attributes_that_differ"] == {} and counts["patients"] == 5
    assert "reversed" in notes(prepared) and "tables' own" in notes(prepared)


def test_crops_are_centred_and_right_eye_oriented(raw):
    prepared = datasets.prepare("fairfedmed", source=raw)
    for image in np.asarray(prepared.images):
        y, x = np.nonzero(image > 150)
        assert np.hypot(x.mean() - 111.5, y.mean() - 111.5) < 3
        y, x = np.nonzero(image < 20)  # the mark temporal of the disc: image-left
        assert x.mean() < 60 and abs(y.mean() - 111.5) < 6


def test_rnflt_maps_give_the_profile_in_right_eye_orientation(tmp_path):
    source = tree.write_tree(tmp_path / "maps", 28, profiles=(), maps=range(28))
    prepared = datasets.prepare("fairfedmed", source=source)
    assert np.abs(prepared.profiles - truth(prepared)).max() < 1.0
    assert prepared.manifest["counts"]["targets"] == {"rnflt map": 28}
    splits = prepared.samples.groupby("patient_id")["split"].nunique()
    assert (splits == 1).all() and set(prepared.samples["split"]) == {"train", "val", "test"}
    assert "70/15/15" in notes(prepared)


def test_surfaces_give_the_profile_and_say_where_the_disc_is(tmp_path):
    source = tree.write_tree(tmp_path / "surfaces", 28, profiles=(), surfaces=range(28))
    prepared = datasets.prepare("fairfedmed", source=source)
    assert np.abs(prepared.profiles - truth(prepared)).max() < 1.0
    assert prepared.manifest["counts"]["targets"] == {"RNFL surfaces": 28}
    assert "in the middle of the map" in notes(prepared)


def test_the_order_of_targets_and_their_counts(tmp_path):
    """A profile CSV is preferred to a map, and a map to surfaces."""
    source = tree.write_tree(
        tmp_path / "mixed", 10, profiles=(0, 1, 4, 6, 7), maps=(0, 2, 5), surfaces=(1, 2, 3)
    )
    rows = [tree.meta_row(i) | {"split": tree.profile_row(i)["split"]} for i in range(10)]
    rows = [
        r | {"Center_X": tree.disc(i)[0], "Center_Y": tree.disc(i)[1]} for i, r in enumerate(rows)
    ]
    tree.write_csv(source / "meta_all.csv", rows)
    prepared = datasets.prepare("fairfedmed", source=source)
    sources = prepared.samples.set_index("eye_id")["target_source"]
    found = {int(key[-1]): at for key, at in sources.items()}
    assert [i for i, at in found.items() if at == "profile CSV"] == [0, 1, 4, 6, 7]
    assert [i for i, at in found.items() if at == "rnflt map"] == [2, 5]
    assert [i for i, at in found.items() if at == "RNFL surfaces"] == [3]
    assert prepared.manifest["counts"]["excluded"] == {"no RNFL target": 2}


FORMS = {
    "profile CSV": {"profiles": True},
    "rnflt map": {"profiles": (), "maps": range(500)},
    "RNFL surfaces": {"profiles": (), "surfaces": range(500)},
}


@pytest.mark.parametrize("form", FORMS)
def test_five_hundred_files_of_each_form(form, tmp_path):
    """As they are laid out, with ten transposed images and a damaged file among them."""
    turned = range(0, 500, 50)
    source = tree.write_tree(tmp_path, 500, **FORMS[form], transposed=turned, size=(64, 83))
    (source / "all" / "data_00007.npz").write_bytes(b"PK")
    prepared = datasets.prepare("fairfedmed", source=source)
    counts = prepared.manifest["counts"]
    assert counts["targets"] == {form: 499} and counts["files"] == 500
    assert counts["orientation"] == {"upright": 489, "transposed": 10}
    assert counts["excluded"] == {"unreadable npz": 1}
    assert np.abs(prepared.profiles - truth(prepared)).max() < 1.0
    assert prepared.samples.groupby("patient_id")["split"].nunique().max() == 1
    assert min(counts[split] for split in ("train", "val", "test")) > 50


def test_folder_flat_folder_zip_and_tar_shards_are_the_same(raw, tmp_path):
    files = sorted(path for path in raw.rglob("*") if path.is_file())
    with zipfile.ZipFile(tmp_path / "dataset.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(raw).as_posix())
    (tmp_path / "shards").mkdir()
    for part in range(2):
        with tarfile.open(tmp_path / "shards" / f"part-{part}.tar", "w") as archive:
            for path in files[part::2]:
                archive.add(path, path.relative_to(raw).as_posix())
    hashes = [
        datasets.prepare(f"fairfedmed-{i}", source=source).manifest["hash"]
        for i, source in enumerate((raw, tmp_path / "dataset.zip", tmp_path / "shards"))
    ]
    assert len(set(hashes)) == 1
    (tmp_path / "flat").mkdir()
    for path in files:
        (tmp_path / "flat" / path.name).write_bytes(path.read_bytes())
    flat = datasets.prepare("fairfedmed-flat", source=tmp_path / "flat")
    assert (flat.images == datasets.load("fairfedmed-0").images).all()


def test_a_transposed_image_is_told_by_its_shape(raw, tmp_path):
    upright = datasets.prepare("fairfedmed", source=raw)
    source = tree.write_tree(tmp_path / "turned", transposed=(3, 4))
    turned = datasets.prepare("fairfedmed-turned", source=source)
    assert (turned.images == upright.images).all()
    assert turned.manifest["counts"]["orientation"] == {"upright": 8, "transposed": 2}
    assert "2 transposed" in notes(turned)


def test_orientation_can_be_overridden_and_squares_are_said_to_be_undecided(tmp_path):
    square = (128, 128)
    source = tree.write_tree(tmp_path / "square", size=square)
    first = datasets.prepare("fairfedmed-a", source=source)
    assert "10 SLO images are square" in notes(first)
    turned = tree.write_tree(tmp_path / "turned", size=square, transposed=range(10))
    (turned / "fairfedmed.toml").write_text('orientation = "transposed"\n')
    second = datasets.prepare("fairfedmed-b", source=turned)
    assert (first.images == second.images).all()
    assert second.manifest["settings"]["options"]["orientation"] == "transposed"
    assert "transposed (fairfedmed.toml)" in notes(second)


def test_profiles_counted_on_the_image_are_mirrored_for_left_eyes(raw, tmp_path):
    source = tree.write_tree(tmp_path / "image")
    (source / "fairfedmed.toml").write_text('profile_orientation = "image"\n')
    prepared = datasets.prepare("fairfedmed", source=source)
    left = (prepared.samples["laterality"] == "OS").to_numpy()
    assert np.abs(prepared.profiles[left] - mirror_profile(truth(prepared)[left])).max() < 1e-3
    assert np.abs(prepared.profiles[~left] - truth(prepared)[~left]).max() < 1e-3


def test_turned_maps_are_noticed(tmp_path):
    source = tree.write_tree(tmp_path / "maps", 28, profiles=())
    for i in range(28):
        tree.save(source / "all", i, rnflt=tree.draw_map(i).T)
    wrong = datasets.prepare("fairfedmed-a", source=source)
    assert "profiles look mirrored or turned" in notes(wrong)
    (source / "fairfedmed.toml").write_text('map_orientation = "transposed"\n')
    right = datasets.prepare("fairfedmed-b", source=source)
    assert "look mirrored or turned" not in notes(right)
    assert np.abs(right.profiles - truth(right)).max() < 1.0


def test_crop_scale_and_padding():
    image = np.full((512, 664), 200, np.uint8)
    crop = fairfedmed.crop(image, 663.5, 255.5)  # the disc on the right border
    assert crop.shape == (224, 224)
    assert (crop[:, :112] == 200).all() and (crop[:, 112:] == 0).all()
    marked = np.zeros((512, 664), np.uint8)
    marked[:, 332 - 150 : 332 + 150] = 255  # the original's 300 px are the whole crop
    assert (fairfedmed.crop(marked, 331.5, 255.5) == 255).all()
    assert fairfedmed.SHORT_SIDE_MM * 300 / 512 == pytest.approx(FIELD_MM)


def test_laterality_from_name_npz_and_option(tmp_path):
    source = tree.write_tree(tmp_path / "raw")
    rows = [{"filename": tree.key(i), "patient_id": i // 2} for i in range(10)]
    tree.write_csv(source / "meta_all.csv", rows)
    with pytest.raises(ValueError, match=r"10 eyes of unknown laterality.*column laterality.*toml"):
        datasets.prepare("fairfedmed", source=source)
    for i in range(10):
        tree.save(source / "all", i, eye=np.array(("right", "L")[i % 2]))
    prepared = datasets.prepare("fairfedmed", source=source)
    assert prepared.samples["laterality"].tolist() == ["OD", "OS"] * 5
    (source / "fairfedmed.toml").write_text('left_eyes = "mirrored"\n')
    mirrored = datasets.prepare("fairfedmed-m", source=source)
    assert (mirrored.images[1] == prepared.images[1][:, ::-1]).all()


def test_what_is_assumed_is_said(tmp_path):
    """Without patients and disc centres: a patient per file, the middle of the image."""
    source = tree.write_tree(tmp_path / "raw", 24, profiles=(), maps=range(24))
    rows = [{"filename": tree.key(i), "eye": tree.side(i)} for i in range(24)]
    tree.write_csv(source / "meta_all.csv", rows)
    prepared = datasets.prepare("fairfedmed", source=source)
    assert prepared.manifest["counts"]["disc_centre_assumed"] == 24
    assert prepared.samples["patient_id"].is_unique
    assert "no disc centre" in notes(prepared) and "patient of its own" in notes(prepared)


def test_tables_that_disagree_are_counted_and_codes_win(tmp_path):
    source = tree.write_tree(tmp_path / "raw")
    for eye in (0, 1):  # of one patient
        tree.save(source / "all", eye, race=np.array(2))
    prepared = datasets.prepare("fairfedmed", source=source)
    assert prepared.samples.loc[0, "race"] == "White"
    assert prepared.manifest["counts"]["attributes_that_differ"] == {"race": 2}


def test_preparing_again_changes_nothing_unless_the_files_did(tmp_path, data):
    source = tree.write_tree(tmp_path / "raw")
    first = datasets.prepare("fairfedmed", source=source)
    stamp = (first.folder / "images.npy").stat().st_mtime_ns
    for again in (datasets.prepare("fairfedmed", source=source), datasets.prepare("fairfedmed")):
        assert (again.folder / "images.npy").stat().st_mtime_ns == stamp
    assert (
        datasets.prepare("fairfedmed-b", source=source).manifest["hash"] == first.manifest["hash"]
    )
    path = source / "all" / "data_00003.npz"
    whole = path.read_bytes()
    at = whole.index(b"slo_fundus.npy") + 1000
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])  # one bit rotten
    assert len(datasets.prepare("fairfedmed", source=source)) == 9
    path.write_bytes(whole)
    assert datasets.prepare("fairfedmed", source=source).manifest["hash"] == first.manifest["hash"]


def test_too_few_patients_for_a_split_is_an_error_that_says_what_to_do(tmp_path):
    source = tree.write_tree(tmp_path / "few", 4, profiles=(), maps=range(4))
    with pytest.raises(ValueError, match=r"few: 2 patients leave .* empty.*split_seed.*column"):
        datasets.prepare("fairfedmed", source=source)


def test_absent_source_says_what_to_do(data):
    with pytest.raises(FileNotFoundError, match=r"no .*raw.fairfedmed.*gated.*--source"):
        datasets.prepare("fairfedmed")


@pytest.mark.parametrize(
    ("attribute", "name", "value", "expected"),
    [
        ("race", "race", np.array(0), "Asian"),
        ("race", "race", "1.0", "Black"),
        ("race", "race", "Black or African American", "Black"),
        ("race", "race", np.array([-1]), None),
        ("sex", "gender", np.array(0), "F"),
        ("sex", "male", "yes", "M"),
        ("ethnicity", "hispanic", "yes", "Hispanic"),
        ("ethnicity", "ethnicity", 0, "Non-Hispanic"),
        ("glaucoma", "glaucoma", "no", 0.0),
        ("age", "age", -1, None),
        ("age", "age", "61.5", 61.5),
        ("md", "md", np.float32(-7.5), -7.5),
        ("sex", "gender", float("nan"), None),
    ],
)
def test_codes_and_words(attribute, name, value, expected):
    assert fairfedmed_labels.decode(attribute, name, value) == expected


def test_registered_names(raw):
    assert fairfedmed.FairFedMed.settings("fairfedmed-x", raw) == fairfedmed.FairFedMed.settings(
        "fairfedmed", raw
    )


class Opened:
    """Counts the raw files that are opened, by name, and may interrupt at one of them."""

    def __init__(self, monkeypatch, stop_at=None):
        self.names, self.stop_at, self.open = [], stop_at, files.Source.open
        monkeypatch.setattr(files.Source, "open", lambda source, entry: self(source, entry))

    def __call__(self, source, entry):
        if self.stop_at is not None and len(set(self.names)) >= self.stop_at:
            raise KeyboardInterrupt
        if not entry.name.startswith(("meta", "rnfl_")):
            self.names.append(entry.name)
        return self.open(source, entry)


@pytest.mark.parametrize("packed", ["folder", "zip", "tar"])
def test_an_interrupted_preparation_goes_on_where_it_stopped(packed, tmp_path, monkeypatch):
    """Eyes with maps and with surfaces, one damaged; nothing of an eye is read twice."""
    raw = tree.write_tree(
        tmp_path / "raw", 60, profiles=(), maps=range(50), surfaces=range(50, 60), size=(64, 83)
    )
    (raw / "all" / "data_00007.npz").write_bytes(b"PK")
    source = pack(raw, packed, tmp_path)
    whole = datasets.prepare("fairfedmed-whole", source=source)
    with monkeypatch.context() as patch:
        Opened(patch, stop_at=40)
        with pytest.raises(KeyboardInterrupt):
            datasets.prepare("fairfedmed", source=source)
    assert not (whole.folder.parent / "fairfedmed").exists()
    with monkeypatch.context() as patch:
        again = Opened(patch)
        prepared = datasets.prepare("fairfedmed", source=source)
    n_files = 60 + 2 * 10
    assert n_files - 40 <= len(set(again.names)) <= n_files - 40 + 3 * reading.WORKERS
    assert {**prepared.manifest, "name": "", "files": {}} == {
        **whole.manifest, "name": "", "files": {}
    }  # fmt: skip
    assert (prepared.images == whole.images).all()
    assert (prepared.folder / "samples.parquet").read_bytes() == (
        whole.folder / "samples.parquet"
    ).read_bytes()
    assert not (whole.folder.parent / ".partial").exists()


CHANGES = {
    "an npz": (lambda raw: tree.save(raw / "all", 3, slo_fundus=tree.draw_slo(11)), 1),
    "a surface": (
        lambda raw: (raw / "surfaces" / "data_00039_RNFL.csv").write_bytes(tree.surface(5, "RNFL")),
        1,
    ),
    "a table": (
        lambda raw: tree.write_csv(
            raw / "meta_all.csv", [{**tree.meta_row(i), "race": "Asian"} for i in range(40)]
        ),
        40,
    ),
    "an option": (lambda raw: (raw / "fairfedmed.toml").write_text("map_mm = 6.5"), 40),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_was_kept_is_not_used_when_it_has_changed(what, tmp_path, monkeypatch):
    change, n_read_again = CHANGES[what]
    source = tree.write_tree(
        tmp_path / "raw", 40, profiles=(), maps=range(36), surfaces=range(36, 40), size=(64, 83)
    )
    with monkeypatch.context() as patch:
        patch.setattr(base, "write", lambda *arguments, **_: 1 / 0)  # at the last moment
        with pytest.raises(ZeroDivisionError):
            datasets.prepare("fairfedmed", source=source)
    change(source)
    with monkeypatch.context() as patch:
        opened = Opened(patch)
        changed = datasets.prepare("fairfedmed", source=source)
    read_again = {name for name in opened.names if name.endswith(".npz")} - {"all/data_00000.npz"}
    assert abs(len(read_again) - n_read_again) <= 1
    fresh = datasets.prepare("fairfedmed-fresh", source=source)
    assert changed.manifest["hash"] == fresh.manifest["hash"]
    assert changed.manifest["settings"] == fairfedmed.FairFedMed.settings("fairfedmed-x", source)


def test_a_surface_may_have_gaps():
    whole = tree.surface(0, "ILM")
    first, *others = whole.split(b"\n")
    first = b",".join([b"", b"", *first.split(b",")[2:-1], b""])
    with_gaps = targets._surface(b"\n".join([first, *others]), "ILM")
    assert np.argwhere(np.isnan(with_gaps)).tolist() == [[0, 0], [0, 1], [0, 199]]
    known = np.isfinite(with_gaps)
    assert (with_gaps[known] == targets._surface(whole, "ILM")[known]).all()


def pack(raw, packed, tmp_path):
    """Return the raw folder itself, or what it is packed into."""
    if packed == "folder":
        return raw
    paths = sorted(path for path in raw.rglob("*") if path.is_file())
    target = tmp_path / f"all.{packed}"
    if packed == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            for path in paths:
                archive.write(path, path.relative_to(raw).as_posix())
    else:
        with tarfile.open(target, "w") as archive:
            for path in paths:
                archive.add(path, path.relative_to(raw).as_posix())
    return target
