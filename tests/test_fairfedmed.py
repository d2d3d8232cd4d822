"""FairFedMed: three forms of target, three containers, orientation, laterality, splits."""

import tarfile
import zipfile

import fairfedmed_tree as tree
import numpy as np
import pytest

from rnfl import prepare
from rnfl.datasets import fairfedmed
from rnfl.datasets.fairfedmed import images as fairfedmed_images
from rnfl.datasets.fairfedmed import labels as fairfedmed_labels
from rnfl.geometry import FIELD_MM, mirror_profile


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
    return " ".join(prepared.manifest["notes"])


def test_profile_csv_prepares_with_labels_of_both_kinds(raw):
    prepared = prepare.prepare("fairfedmed", source=raw)
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
    prepared = prepare.prepare("fairfedmed", source=raw)
    for image in np.asarray(prepared.images):
        y, x = np.nonzero(image > 150)
        assert np.hypot(x.mean() - 111.5, y.mean() - 111.5) < 3
        y, x = np.nonzero(image < 20)  # the mark temporal of the disc: image-left
        assert x.mean() < 60 and abs(y.mean() - 111.5) < 6


def test_rnflt_maps_give_the_profile_in_right_eye_orientation(tmp_path):
    source = tree.write_tree(tmp_path / "maps", 28, profiles=(), maps=range(28))
    prepared = prepare.prepare("fairfedmed", source=source)
    assert np.abs(prepared.profiles - truth(prepared)).max() < 1.0
    assert prepared.manifest["counts"]["targets"] == {"rnflt map": 28}
    splits = prepared.samples.groupby("patient_id")["split"].nunique()
    assert (splits == 1).all() and set(prepared.samples["split"]) == {"train", "val", "test"}
    assert "70/15/15" in notes(prepared)


def test_surfaces_give_the_profile_and_say_where_the_disc_is(tmp_path):
    source = tree.write_tree(tmp_path / "surfaces", 28, profiles=(), surfaces=range(28))
    prepared = prepare.prepare("fairfedmed", source=source)
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
    prepared = prepare.prepare("fairfedmed", source=source)
    found = {int(key[-1]): at for key, at in prepared.samples.set_index("eye_id")["target"].items()}
    assert [i for i, at in found.items() if at == "profile CSV"] == [0, 1, 4, 6, 7]
    assert [i for i, at in found.items() if at == "rnflt map"] == [2, 5]
    assert [i for i, at in found.items() if at == "RNFL surfaces"] == [3]
    assert prepared.manifest["counts"]["excluded"] == {"no RNFL target": 2}


def test_five_hundred_files_in_all_forms_at_once(tmp_path):
    size = (64, 83)
    source = tree.write_tree(
        tmp_path / "raw", 500, profiles=range(400), maps=range(400, 495),
        surfaces=range(495, 500), transposed=range(0, 500, 50), size=size,
    )  # fmt: skip
    rows = []
    for i in range(500):
        x, y = tree.disc(i, size)
        split = tree.profile_row(i)["split"]
        rows.append(tree.meta_row(i) | {"Center_X": x, "Center_Y": y, "use": split})
    tree.write_csv(source / "meta_all.csv", rows)
    (source / "all" / "data_00007.npz").write_bytes(b"PK")
    prepared = prepare.prepare("fairfedmed", source=source)
    counts = prepared.manifest["counts"]
    assert counts["targets"] == {"profile CSV": 399, "rnflt map": 95, "RNFL surfaces": 5}
    assert counts["orientation"] == {"upright": 489, "transposed": 10}
    assert counts["excluded"] == {"unreadable npz": 1} and counts["files"] == 500
    assert np.abs(prepared.profiles - truth(prepared)).max() < 1.0


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
        prepare.prepare(f"fairfedmed-{i}", source=source).manifest["hash"]
        for i, source in enumerate((raw, tmp_path / "dataset.zip", tmp_path / "shards"))
    ]
    assert len(set(hashes)) == 1
    (tmp_path / "flat").mkdir()
    for path in files:
        (tmp_path / "flat" / path.name).write_bytes(path.read_bytes())
    flat = prepare.prepare("fairfedmed-flat", source=tmp_path / "flat")
    assert (flat.images == prepare.load("fairfedmed-0").images).all()


def test_a_transposed_image_is_told_by_its_shape(raw, tmp_path):
    upright = prepare.prepare("fairfedmed", source=raw)
    source = tree.write_tree(tmp_path / "turned", transposed=(3, 4))
    turned = prepare.prepare("fairfedmed-turned", source=source)
    assert (turned.images == upright.images).all()
    assert turned.manifest["counts"]["orientation"] == {"upright": 8, "transposed": 2}
    assert "2 transposed" in notes(turned)


def test_orientation_can_be_overridden_and_squares_are_said_to_be_undecided(tmp_path):
    square = (128, 128)
    source = tree.write_tree(tmp_path / "square", size=square)
    first = prepare.prepare("fairfedmed-a", source=source)
    assert "10 SLO images are square" in notes(first)
    turned = tree.write_tree(tmp_path / "turned", size=square, transposed=range(10))
    (turned / "fairfedmed.toml").write_text('orientation = "transposed"\n')
    second = prepare.prepare("fairfedmed-b", source=turned)
    assert (first.images == second.images).all()
    assert second.manifest["settings"]["options"]["orientation"] == "transposed"
    assert "transposed (fairfedmed.toml)" in notes(second)


def test_profiles_counted_on_the_image_are_mirrored_for_left_eyes(raw, tmp_path):
    source = tree.write_tree(tmp_path / "image")
    (source / "fairfedmed.toml").write_text('profile_orientation = "image"\n')
    prepared = prepare.prepare("fairfedmed", source=source)
    left = (prepared.samples["laterality"] == "OS").to_numpy()
    assert np.abs(prepared.profiles[left] - mirror_profile(truth(prepared)[left])).max() < 1e-3
    assert np.abs(prepared.profiles[~left] - truth(prepared)[~left]).max() < 1e-3


def test_turned_maps_are_noticed(tmp_path):
    source = tree.write_tree(tmp_path / "maps", 28, profiles=())
    for i in range(28):
        tree.save(source / "all", i, rnflt=tree.draw_map(i).T)
    wrong = prepare.prepare("fairfedmed-a", source=source)
    assert "profiles or maps are turned" in notes(wrong)
    (source / "fairfedmed.toml").write_text('map_orientation = "transposed"\n')
    right = prepare.prepare("fairfedmed-b", source=source)
    assert "are turned" not in notes(right)
    assert np.abs(right.profiles - truth(right)).max() < 1.0


def test_crop_scale_and_padding():
    image = np.full((512, 664), 200, np.uint8)
    crop = fairfedmed_images.crop(image, 663.5, 255.5)  # the disc on the right border
    assert crop.shape == (224, 224)
    assert (crop[:, :112] == 200).all() and (crop[:, 112:] == 0).all()
    marked = np.zeros((512, 664), np.uint8)
    marked[:, 332 - 150 : 332 + 150] = 255  # the original's 300 px are the whole crop
    assert (fairfedmed_images.crop(marked, 331.5, 255.5) == 255).all()
    assert fairfedmed_images.SHORT_SIDE_MM * 300 / 512 == pytest.approx(FIELD_MM)


def test_laterality_from_name_npz_and_option(tmp_path):
    source = tree.write_tree(tmp_path / "raw")
    rows = [{"filename": tree.key(i), "patient_id": i // 2} for i in range(10)]
    tree.write_csv(source / "meta_all.csv", rows)
    with pytest.raises(ValueError, match=r"10 eyes of unknown laterality.*column laterality.*toml"):
        prepare.prepare("fairfedmed", source=source)
    for i in range(10):
        tree.save(source / "all", i, eye=np.array(("right", "L")[i % 2]))
    prepared = prepare.prepare("fairfedmed", source=source)
    assert prepared.samples["laterality"].tolist() == ["OD", "OS"] * 5
    (source / "fairfedmed.toml").write_text('left_eyes = "mirrored"\n')
    mirrored = prepare.prepare("fairfedmed-m", source=source)
    assert (mirrored.images[1] == prepared.images[1][:, ::-1]).all()


def test_what_is_assumed_is_said(tmp_path):
    """Without patients and disc centres: a patient per file, the middle of the image."""
    source = tree.write_tree(tmp_path / "raw", 24, profiles=(), maps=range(24))
    rows = [{"filename": tree.key(i), "eye": tree.side(i)} for i in range(24)]
    tree.write_csv(source / "meta_all.csv", rows)
    prepared = prepare.prepare("fairfedmed", source=source)
    assert prepared.manifest["counts"]["disc_centre_assumed"] == 24
    assert prepared.samples["patient_id"].is_unique
    assert "no disc centre" in notes(prepared) and "patient of its own" in notes(prepared)


def test_tables_that_disagree_are_counted_and_codes_win(tmp_path):
    source = tree.write_tree(tmp_path / "raw")
    tree.save(source / "all", 0, race=np.array(2))
    prepared = prepare.prepare("fairfedmed", source=source)
    assert prepared.samples.loc[0, "race"] == "White"
    assert prepared.manifest["counts"]["attributes_that_differ"] == {"race": 1}


def test_preparing_again_changes_nothing_unless_the_files_did(tmp_path, data):
    source = tree.write_tree(tmp_path / "raw")
    first = prepare.prepare("fairfedmed", source=source)
    stamp = (first.folder / "images.npy").stat().st_mtime_ns
    for again in (prepare.prepare("fairfedmed", source=source), prepare.prepare("fairfedmed")):
        assert (again.folder / "images.npy").stat().st_mtime_ns == stamp
    assert prepare.prepare("fairfedmed-b", source=source).manifest["hash"] == first.manifest["hash"]
    path = source / "all" / "data_00003.npz"
    whole = path.read_bytes()
    at = whole.index(b"slo_fundus.npy") + 1000
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])  # one bit rotten
    assert len(prepare.prepare("fairfedmed", source=source)) == 9
    path.write_bytes(whole)
    assert prepare.prepare("fairfedmed", source=source).manifest["hash"] == first.manifest["hash"]


def test_too_few_patients_for_a_split_is_an_error_that_says_what_to_do(tmp_path):
    source = tree.write_tree(tmp_path / "few", 4, profiles=(), maps=range(4))
    with pytest.raises(ValueError, match=r"few: 2 patients leave .* empty.*split_seed.*column"):
        prepare.prepare("fairfedmed", source=source)


def test_absent_source_says_what_to_do(data):
    with pytest.raises(FileNotFoundError, match=r"raw.fairfedmed does not exist.*--source.*gated"):
        prepare.prepare("fairfedmed")


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
    assert fairfedmed.settings("fairfedmed-x", raw) == fairfedmed.settings("fairfedmed", raw)
