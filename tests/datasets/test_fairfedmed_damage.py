"""FairFedMed: every kind of damage is a listed exclusion or a clear error; nothing else moves."""

import csv
import shutil
import tarfile
import time
import zipfile

import fairfedmed_tree as tree
import numpy as np
import pandas as pd
import pytest

from rnfl import datasets

EYE = 3  # the one that is damaged
MAPS, SURFACES = (4, 5), (6,)


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "data"))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A raw tree of ten eyes, two with maps and one with surfaces, and what comes of it."""
    raw = tree.write_tree(
        tmp_path_factory.mktemp("raw") / "tree",
        profiles=[i for i in range(10) if i not in (*MAPS, *SURFACES)],
        maps=MAPS,
        surfaces=SURFACES,
    )
    rows = []
    for i in range(10):
        x, y = tree.disc(i)
        split = tree.profile_row(i)["split"]
        rows.append(tree.meta_row(i) | {"Center_X": x, "Center_Y": y, "split": split})
    tree.write_csv(raw / "meta_all.csv", rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(tmp_path_factory.mktemp("data")))
        prepared = datasets.prepare("fairfedmed", source=raw)
        assert len(prepared) == 10
        return raw, prepared


@pytest.fixture
def raw(clean, tmp_path):
    return shutil.copytree(clean[0], tmp_path / "tree")


def edit(path, change):
    """Rewrite a CSV: ``change`` gets its rows as lists, the header first."""
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    rows = change(rows) or rows
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def cell(path, row, column, value):
    """Set one or more cells of a CSV; ``row`` is the place of the eye in it."""

    def change(rows):
        names = [column] if isinstance(column, str) else column
        for name in names:
            rows[row + 1][rows[0].index(name)] = value

    edit(path, change)


def save(**changes):
    return lambda raw: tree.save(raw / "all", EYE, **changes)


def file(change):
    def damage(raw):
        path = raw / "all" / f"{tree.key(EYE)}.npz"
        path.write_bytes(change(path.read_bytes()))

    return damage


def profile(values):
    """Replace the eye's profile: one value for all angles, or a dict by angle."""

    def damage(raw):
        for angle, value in values.items() if isinstance(values, dict) else [(ANGLES, values)]:
            cell(raw / "rnfl_profiles.csv", EYE, angle, value)

    return damage


def of_map(change, eye=MAPS[0]):
    def damage(raw):
        thickness = tree.draw_map(eye)
        changed = change(thickness)
        tree.save(raw / "all", eye, rnflt=thickness if changed is None else changed)

    return damage


def surface(change, layer="ILM"):
    def damage(raw):
        path = raw / "surfaces" / f"{tree.key(SURFACES[0])}_{layer}.csv"
        path.write_text(change(path.read_text()))

    return damage


def exchange(raw):
    ilm, rnfl = (
        raw / "surfaces" / f"{tree.key(SURFACES[0])}_{layer}.csv" for layer in ("ILM", "RNFL")
    )
    ilm.rename(raw / "kept")
    rnfl.rename(ilm)
    (raw / "kept").rename(rnfl)


def rotten(data):
    at = data.index(b"slo_fundus.npy") + 2000
    return data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]


def meta(column, value):
    return lambda raw: cell(raw / "meta_all.csv", EYE, column, value)


def centre(x, y):
    """Set the disc centre in both tables."""

    def damage(raw):
        for table in ("meta_all.csv", "rnfl_profiles.csv"):
            cell(raw / table, EYE, "Center_X", x)
            cell(raw / table, EYE, "Center_Y", y)

    return damage


def row_gone(raw):
    edit(raw / "rnfl_profiles.csv", lambda rows: rows[: EYE + 1] + rows[EYE + 2 :])


ANGLES = [str(angle) for angle in range(360)]
IMAGE = tree.draw_slo(EYE)
HALF = np.where(np.arange(IMAGE.size).reshape(IMAGE.shape) % 97, 0.5, np.nan)
EXCLUSIONS = {
    "truncated": (EYE, file(lambda data: data[: len(data) // 2]), "unreadable npz"),
    "end cut off": (EYE, file(lambda data: data[:-10]), "unreadable npz"),
    "empty": (EYE, file(lambda data: b""), "unreadable npz"),
    "not an npz": (EYE, file(lambda data: b"<html>403 Forbidden</html>"), "unreadable npz"),
    "rotten byte": (EYE, file(rotten), "unreadable npz"),
    "object image": (EYE, save(slo_fundus=np.array([IMAGE, None], object)), "object arrays"),
    "object label": (EYE, save(race=np.array({"a": 1}, object)), "object arrays"),
    "missing key": (EYE, save(slo_fundus=None), "no SLO image"),
    "flat": (EYE, save(slo_fundus=IMAGE.ravel()), "wrong shape"),
    "stack": (EYE, save(slo_fundus=np.stack([IMAGE] * 5)), "wrong shape"),
    "too small": (EYE, save(slo_fundus=IMAGE[:20, :20]), "wrong shape"),
    "strip": (EYE, save(slo_fundus=IMAGE[:40]), "wrong shape"),
    "no pixels": (EYE, save(slo_fundus=IMAGE[:0]), "wrong shape"),
    "NaN": (EYE, save(slo_fundus=HALF), "NaN or infinite"),
    "float": (EYE, save(slo_fundus=IMAGE / 255), "wrong type"),
    "bool": (EYE, save(slo_fundus=IMAGE > 100), "wrong type"),
    "text": (EYE, save(slo_fundus=np.full((64, 83), "a")), "wrong type"),
    "16 bits": (EYE, save(slo_fundus=IMAGE.astype(np.uint16) * 200), "wrong type"),
    "constant": (EYE, save(slo_fundus=np.full_like(IMAGE, 7)), "without contrast"),
    "profile empty": (EYE, profile(""), "without values"),
    "profile nan": (EYE, profile("nan"), "without values"),
    "profile partial": (EYE, profile(dict.fromkeys(ANGLES[:200], "")), "less than half"),
    "profile negative": (EYE, profile({"17": -3}), "0 µm or less"),
    "profile zero": (EYE, profile(0), "0 µm or less"),
    "profile thick": (EYE, profile({"17": 900}), "beyond what a retina can be"),
    "profile infinite": (EYE, profile({"17": "inf"}), "beyond what a retina can be"),
    "profile in mm": (EYE, profile({a: 0.08 for a in ANGLES}), "beyond what a retina can be"),
    "profile constant": (EYE, profile(90), "beyond what a retina can be"),
    "no target": (EYE, row_gone, "no RNFL target"),
    "centre outside": (EYE, centre(60, 150), "outside the SLO image"),
    "centre missing": (EYE, centre("", ""), "no disc centre"),
    "laterality": (EYE, meta("laterality", ""), "laterality unknown"),
    "map NaN": (MAPS[0], of_map(lambda m: m.__setitem__((3, 3), np.nan)), "unusable rnflt map"),
    "map oblong": (MAPS[0], of_map(lambda m: m[:150]), "unusable rnflt map"),
    "map without disc": (MAPS[0], of_map(np.abs), "unusable rnflt map"),
    "map invalid": (
        MAPS[0],
        of_map(lambda m: m.__setitem__(slice(0, 60), 0)),
        "unusable rnflt map",
    ),
    "map resampled": (MAPS[0], of_map(lambda m: m / 2), "unusable rnflt map"),
    "map text": (MAPS[0], of_map(lambda m: m.astype(str)), "unusable rnflt map"),
    "surface short": (6, surface(lambda t: t[: t.rindex("\n", 0, -1) + 1]), "unusable RNFL surf"),
    "surface ragged": (6, surface(lambda t: t.replace(",", "\n", 1)), "unusable RNFL surfaces"),
    "surface text": (6, surface(lambda t: "x" + t), "unusable RNFL surfaces"),
    "surface empty": (6, surface(lambda t: ""), "unusable RNFL surfaces"),
    "surfaces exchanged": (6, exchange, "unusable RNFL surfaces"),
    "one surface": (
        6,
        lambda raw: (raw / "surfaces" / "data_00006_ILM.csv").unlink(),
        "unusable RNFL surfaces",
    ),
    "npz gone": (
        EYE,
        lambda raw: (raw / "all" / "data_00003.npz").unlink(),
        "no npz for this row",
    ),
}


@pytest.mark.parametrize("kind", EXCLUSIONS)
def test_a_damaged_file_leaves_out_its_eye_and_nothing_else(kind, raw, clean):
    eye, damage, reason = EXCLUSIONS[kind]
    damage(raw)
    prepared = datasets.prepare("fairfedmed", source=raw)
    (left_out,) = prepared.manifest["exclusions"]
    assert left_out["id"] == tree.key(eye) and reason in left_out["reason"]
    assert prepared.manifest["counts"]["excluded"] == {left_out["reason"]: 1}
    others = [i for i in range(10) if i != eye]
    whole = clean[1]
    assert (prepared.images == whole.images[others]).all()
    assert np.array_equal(prepared.profiles, whole.profiles[others], equal_nan=True)
    expected = whole.samples.loc[others].reset_index(drop=True)
    pd.testing.assert_frame_equal(prepared.samples, expected)


def profiles(change):
    return lambda raw: edit(raw / "rnfl_profiles.csv", change)


def csv_cell(column, value, table="rnfl_profiles.csv"):
    return lambda raw: cell(raw / table, EYE, column, value)


def twice(raw):
    (raw / "more").mkdir()
    shutil.copy(raw / "all" / "data_00003.npz", raw / "more")


def no_targets(raw):
    (raw / "rnfl_profiles.csv").unlink()
    shutil.rmtree(raw / "surfaces")
    for i in MAPS:
        tree.save(raw / "all", i)


def other_keys(rows):
    for row in rows[1:]:
        row[0] = "eye" + row[0][5:]


def rename(old, new):
    def change(rows):
        rows[0][rows[0].index(old)] = new

    return change


def write(name, text):
    return lambda raw: (raw / name).write_text(text)


def archive_only(raw):
    for path in raw.rglob("*.npz"):
        path.unlink()


def damaged_zip(raw):
    archive_only(raw)
    (raw / "dataset.zip").write_bytes(b"PK\x03\x04 cut off")


def traversal(raw):
    path = raw / "all" / "data_00003.npz"
    with zipfile.ZipFile(raw / "dataset.zip", "w") as archive:
        archive.write(path, "../../data_00003.npz")
    archive_only(raw)


def cut_tar(raw):
    with tarfile.open(raw / "part.tar", "w") as archive:
        archive.add(raw / "all", "all")
    whole = (raw / "part.tar").read_bytes()
    (raw / "part.tar").write_bytes(whole[: len(whole) // 2])
    archive_only(raw)


ERRORS = {
    "duplicate key": (
        profiles(lambda rows: [*rows, rows[2]]),
        r"rnfl_profiles\.csv: 1 keys are repeated: data_00001",
    ),
    "duplicate file": (twice, r"files of the same name: data_00003 \(all/.*more/"),
    "profile in two tables": (
        lambda raw: shutil.copy(raw / "rnfl_profiles.csv", raw / "second.csv"),
        r"second\.csv: 'data_00000' has a profile in .*rnfl_profiles\.csv too",
    ),
    "bad split": (csv_cell("split", "tset"), r"split has values 'tset' \(1\): expected train, val"),
    "empty split": (csv_cell("split", ""), r"split is empty or unknown for data_00003"),
    "two splits of an eye": (
        csv_cell("split", "val"),
        r"split of 'data_00003' is 'val', elsewhere 'train'",
    ),
    "patient in two splits": (
        lambda raw: [
            csv_cell("split", "val", t)(raw) for t in ("rnfl_profiles.csv", "meta_all.csv")
        ],
        r"1 patients are in more than one split: p0001 \(.*data_00003 val.*same split",
    ),
    "race code": (save(race=np.array(7)), r"race has values '7' \(1, as data_00003\).*0 Asian"),
    "sex word": (csv_cell("gender", "X", "meta_all.csv"), r"sex has values 'X' .*0 F, 1 M"),
    "age": (save(age=np.array(999)), r"age has values '999' .*0 to 120 years"),
    "laterality": (
        csv_cell("laterality", "middle", "meta_all.csv"),
        r"'middle' \(1\): expected OD",
    ),
    "no patient": (csv_cell("patient_id", "", "meta_all.csv"), r"patient_id is missing in 1 rows"),
    "no targets": (no_targets, r"no RNFL targets.*\(1\) a profile CSV.*\(2\).*rnflt.*\(3\).*_ILM"),
    "ragged long": (
        profiles(lambda rows: [*rows[:3], [*rows[3], "1"], *rows[4:]]),
        r"the header has 368 columns, other rows have not: line 4 \(369\)",
    ),
    "ragged short": (
        profiles(lambda rows: [*rows[:3], rows[3][:-5], *rows[4:]]),
        r"line 4 \(363\)",
    ),
    "keys without files": (profiles(other_keys), r"none of its 7 keys is the name of an npz"),
    "angle missing": (profiles(rename("17", "seventeen")), r"columns 0 to 359; missing 17"),
    "angle 360": (profiles(rename("0", "360")), r"missing 0; too much is 360 \(360° is 0°"),
    "column twice": (profiles(rename("17", "18")), r"columns are repeated: 18"),
    "no key": (profiles(rename("key", "what")), r"no column key or filename; its columns are what"),
    "text": (csv_cell("17", "thick"), r"rnfl_profiles\.csv: 17: not numbers: 'thick' \(line 5\)"),
    "empty table": (write("rnfl_profiles.csv", ""), r"rnfl_profiles\.csv is empty"),
    "binary table": (
        lambda raw: (raw / "meta_all.csv").write_bytes(b"\xff\xfe\x00k\x01"),
        r"meta_all\.csv cannot be read as a CSV in UTF-8",
    ),
    "no npz": (archive_only, r"no npz files; found .*Expected a folder of"),
    "damaged zip": (damaged_zip, r"dataset\.zip is damaged .*download it again"),
    "path traversal": (traversal, r"members point outside the archive: \.\./\.\./data_00003"),
    "cut tar": (cut_tar, r"part\.tar is damaged"),
    "option": (
        write("fairfedmed.toml", 'orientation = "sideways"'),
        r"'sideways': expected 'auto'",
    ),
    "unknown option": (write("fairfedmed.toml", "orient = 1"), r"option 'orient': expected orient"),
    "not TOML": (write("fairfedmed.toml", "orientation"), r"cannot be read as TOML"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_damage_to_the_whole_is_an_error_that_says_what_to_do(kind, raw, tmp_path):
    damage, message = ERRORS[kind]
    damage(raw)
    with pytest.raises(ValueError, match=message) as caught:
        datasets.prepare("fairfedmed", source=raw)
    assert str(raw) in str(caught.value)
    assert not (tmp_path / "data" / "prepared" / "fairfedmed").exists()


@pytest.mark.parametrize(
    ("mark", "first", "encoding"),
    [(";", "", "utf-8"), (";", "sep=;\r\n", "utf-8-sig"), ("\t", "", "utf-16")],
)
def test_tables_as_spreadsheets_write_them_are_read(raw, mark, first, encoding):
    before = datasets.prepare("fairfedmed-commas", source=raw)
    for name in ("rnfl_profiles.csv", "meta_all.csv"):
        text = (raw / name).read_text().replace("patient_id", "Patient ID")
        text = text.replace(".npz", "").replace(",", mark).replace(".", ",")
        (raw / name).write_bytes((first + text).encode(encoding))
    after = datasets.prepare("fairfedmed-other", source=raw)
    np.testing.assert_array_equal(after.profiles, before.profiles)
    for column in ("patient_id", "laterality", "split", "age"):
        assert after.samples[column].tolist() == before.samples[column].tolist()


def test_every_eye_damaged_says_how(raw):
    for i in range(10):
        tree.save(raw / "all", i, slo_fundus=None)
    with pytest.raises(ValueError, match="no eye is left: 10 x no SLO image in the npz"):
        datasets.prepare("fairfedmed", source=raw)


def test_headers_are_parsed_one_at_a_time(raw, monkeypatch):
    """Python 3.11.0 to 3.11.7 may fail with a SystemError otherwise."""
    parse, inside, most = np.lib.format.read_array, [], []

    def slowly(*args, **settings):
        inside.append(None)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return parse(*args, **settings)

    monkeypatch.setattr("rnfl.datasets.reading.WORKERS", 4)
    monkeypatch.setattr(np.lib.format, "read_array", slowly)
    datasets.prepare("fairfedmed", raw)
    assert len(most) >= 10 and max(most) == 1
