"""Files and folders appear whole or not at all, and results know where they came from."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rnfl.storage import provenance
from rnfl.storage.paths import data_root, prepared_root, project_root, runs_root


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "rnfl").mkdir()
    (tmp_path / "rnfl" / "model.py").write_text("a = 1\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_data_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    assert data_root() == tmp_path.resolve()
    assert prepared_root() == tmp_path.resolve() / "prepared"
    monkeypatch.delenv("RNFL_DATA")
    assert data_root() == project_root() / "data"
    assert runs_root() == project_root() / "data" / "runs"


def test_commit_and_dirty_flag(checkout):
    state = provenance.commit(checkout)
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (checkout / "figure.png").write_text("output")
    assert provenance.commit(checkout)["dirty"] is False
    (checkout / "rnfl" / "model.py").write_text("a = 2\n")
    assert provenance.commit(checkout)["dirty"] is True


def test_without_a_commit_of_its_own_the_code_is_unknown(tmp_path, checkout, monkeypatch):
    unknown = {"commit": "unknown", "dirty": None}
    assert provenance.commit(checkout / "rnfl") == unknown  # the repository is another project's
    shutil.rmtree(checkout / ".git")
    git(checkout, "init")
    assert provenance.commit(checkout) == unknown  # nothing committed yet
    monkeypatch.setenv("PATH", "")
    assert provenance.commit(checkout) == unknown  # no git


def test_record_is_json():
    record = provenance.record(device="cpu", inputs={"tiny": "abc"})
    assert record["versions"]["numpy"] == np.__version__
    assert record["device"] == "cpu"
    assert json.loads(json.dumps(provenance.plain(record))) == record


def test_a_file_is_published_whole_or_not_at_all(tmp_path):
    path = tmp_path / "sub" / "table.csv"
    provenance.write_text(path, "old")
    with pytest.raises(RuntimeError), provenance.publish_file(path) as aside:
        assert aside.suffix == ".csv"
        aside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert names(path.parent) == ["table.csv"]


def test_a_folder_is_published_whole_or_not_at_all(tmp_path):
    path = tmp_path / "data"
    with pytest.raises(RuntimeError), provenance.publish_folder(path) as aside:
        (aside / "half").write_text("")
        raise RuntimeError
    assert names(tmp_path) == []
    for text in ("old", "new"):
        with provenance.publish_folder(path) as aside:
            (aside / "deep").mkdir()
            (aside / "deep" / "file").write_text(text)
            (aside / text).write_text("")
    assert (path / "deep" / "file").read_text() == "new"
    assert names(path) == ["deep", "new"]
    assert names(tmp_path) == ["data"]


def test_a_failed_replacement_keeps_the_old_folder(tmp_path, monkeypatch):
    path = tmp_path / "data"
    path.mkdir()
    (path / "old").write_text("")
    rename = provenance.os.rename

    def refuse_the_new(source, target):
        if Path(target) == path and (Path(source) / "new").exists():
            raise OSError("disk")
        rename(source, target)

    monkeypatch.setattr(provenance.os, "rename", refuse_the_new)
    with pytest.raises(OSError, match="disk"), provenance.publish_folder(path) as aside:
        (aside / "new").write_text("")
    assert names(path) == ["old"]
    assert names(tmp_path) == ["data"]


def test_tables_are_written_and_read_back(tmp_path):
    frame = pd.DataFrame({"eye": ["a", "b"], "mae": [1.5, np.nan], "race": ["Black", None]})
    read = pd.read_csv(provenance.write_csv(tmp_path / "t.csv", frame))
    pd.testing.assert_frame_equal(read, frame, check_dtype=False)
    read = pd.read_parquet(provenance.write_parquet(tmp_path / "t.parquet", frame))
    assert provenance.sha256_frame(read) == provenance.sha256_frame(frame)
    assert b"\r" not in (tmp_path / "t.csv").read_bytes()


def test_json_is_plain(tmp_path):
    value = {"p": Path("a") / "b", "x": np.float32(0.5), "v": np.arange(2), 3: float("inf")}
    path = provenance.write_json(tmp_path / "v.json", value)
    assert json.loads(path.read_text()) == {"p": "a/b", "x": 0.5, "v": [0, 1], "3": None}
    with pytest.raises(ValueError, match="of type set cannot be written as JSON"):
        provenance.write_json(tmp_path / "w.json", {"s": {1}})
    assert names(tmp_path) == ["v.json"]


def test_hashes_follow_content(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert provenance.sha256_file(tmp_path / "f") == known
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    same = np.asfortranarray(array)
    assert provenance.sha256_array(array) == provenance.sha256_array(same)
    others = (array.T, array.astype(float), array + 1)
    assert provenance.sha256_array(array) not in map(provenance.sha256_array, others)
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    assert provenance.sha256_frame(frame) != provenance.sha256_frame(frame[::-1])
    assert provenance.sha256_frame(frame) != provenance.sha256_frame(frame + 1e-12)
