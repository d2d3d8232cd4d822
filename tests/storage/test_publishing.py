"""What is published survives what happens to its program: kills, signals, full disks, others."""

import errno
import itertools
import os
import shutil
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rnfl import cli, datasets
from rnfl.runs import results
from rnfl.storage import errors, paths, provenance

posix = pytest.mark.skipif(os.name != "posix", reason="fork, umask and kill are POSIX")
PREPARED = {"dataset": "made", "modality": "SLO", "phantom": True, "settings": {}}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def text_of(path):
    return (path / "text" if path.is_dir() else path).read_text()


def publish_file(path, text):
    with provenance.publish_file(path) as aside:
        aside.write_text(text)


def publish_folder(path, text):
    with provenance.publish_folder(path) as aside:
        provenance.write_text(aside / "text", text)


def dies(act, step):
    """Run ``act`` in a child that ends before its system call of this number; return if it did."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    numbers = itertools.count()

    def deadly(call):
        def called(*given, **more):
            if next(numbers) == step:
                os._exit(9)
            return call(*given, **more)

        return called

    for module, name in ((os, "rename"), (os, "replace"), (os, "fsync"), (shutil, "rmtree")):
        setattr(module, name, deadly(getattr(module, name)))
    try:
        act()
    finally:
        os._exit(0)


@posix
@pytest.mark.parametrize("publish", [publish_file, publish_folder])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_kill_at_any_step_loses_nothing_and_leaves_nothing(tmp_path, publish, before):
    for step in itertools.count():
        folder = tmp_path / str(step)
        folder.mkdir()
        if before:
            publish(folder / "it", before)
        if not dies(lambda folder=folder: publish(folder / "it", "new"), step):
            break
        provenance.clear_aside(folder)
        found = text_of(folder / "it") if (folder / "it").exists() else None
        assert found in (before, "new") and names(folder) == ["it"] * (found is not None)
        publish(folder / "it", "newer")
        assert text_of(folder / "it") == "newer" and names(folder) == ["it"]
    assert step >= 4 + 2 * (publish is publish_folder)


@posix
def test_the_next_to_publish_there_clears_what_a_killed_program_left(tmp_path):
    assert dies(lambda: publish_folder(tmp_path / "one", "half"), 0) and names(tmp_path) != []
    with provenance.publish_file(tmp_path / "running") as aside:
        aside.write_text("")
        publish_file(tmp_path / "two", "whole")
        assert aside.exists() and len(names(tmp_path)) == 2  # its box, and the other file
    assert names(tmp_path) == ["running", "two"]


@posix
def test_a_dataset_that_was_being_replaced_is_put_back_when_it_is_asked_for(
    tmp_path, monkeypatch, samples
):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    given = np.zeros((40, 8, 8), np.uint8), np.full((40, 360), 90.0), samples, PREPARED
    hash_before = datasets.write("mine", *given).hash
    box = tmp_path / "prepared" / ".mine.0123abcd.partial" / "old" / "0"
    for ask in (datasets.load, datasets.prepare):
        box.mkdir(parents=True)
        (tmp_path / "prepared" / "mine").rename(box / "mine")
        assert ask("mine").hash == hash_before and names(tmp_path / "prepared") == ["mine"]


def test_of_those_who_take_a_name_at_once_each_gets_one(tmp_path):
    made, together = [], threading.Barrier(4)

    def work(number):
        with provenance.publish_new_folder(tmp_path / f"pics-{n}" for n in range(9)) as new:
            (new.aside / "whose").write_text(str(number))
            together.wait(10)
        made.append((new.path, str(number)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path: (path / "whose").read_text() for path, _ in made} == dict(made)
    assert names(tmp_path) == [f"pics-{n}" for n in range(4)]


def test_two_who_replace_a_folder_at_once_leave_one_of_theirs(tmp_path):
    with provenance.publish_folder(tmp_path / "it") as first:
        (first / "text").write_text("first")
        publish_folder(tmp_path / "it", "second")
    assert text_of(tmp_path / "it") == "first" and names(tmp_path) == ["it"]


@pytest.mark.parametrize("linked", [True, False], ids=["links", "no links"])
def test_what_is_to_be_new_never_replaces(tmp_path, monkeypatch, linked):
    if not linked:

        def refuse(*given):
            raise PermissionError

        monkeypatch.setattr(os, "link", refuse)
    for publish, name in ((provenance.publish_file, "file"), (provenance.publish_folder, "folder")):
        (tmp_path / "folder").mkdir(exist_ok=True)  # an empty one may be taken
        with publish(tmp_path / name, new=True) as aside:
            (aside / "text" if name == "folder" else aside).write_text("mine")
        with pytest.raises(FileExistsError), publish(tmp_path / name, new=True) as aside:
            (aside / "text" if name == "folder" else aside).write_text("other")
        assert text_of(tmp_path / name) == "mine"
    assert names(tmp_path) == ["file", "folder"]


@posix
def test_what_holds_eyes_is_its_users_alone_whatever_the_umask(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    before = os.umask(0)
    try:
        publish_folder(tmp_path / "prepared" / "eyes", "")
        publish_folder(tmp_path / "elsewhere" / "readings", "")
        publish_file(tmp_path / "runs" / "one" / "predictions", "")
        publish_file(tmp_path / "figures" / "shared", "")
    finally:
        os.umask(before)
    modes = {str(p.relative_to(tmp_path)): p.stat().st_mode & 0o777 for p in tmp_path.rglob("*")}
    for name in ("prepared", "prepared/eyes", "elsewhere/readings", "runs", "runs/one"):
        assert modes[name] == 0o700
    for name in ("prepared/eyes/text", "elsewhere/readings/text", "runs/one/predictions"):
        assert modes[name] == 0o600
    assert modes["figures"] == 0o777 and modes["figures/shared"] == 0o666


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\\b", "/a", ".a", "a\0"])
def test_a_name_that_would_lead_elsewhere_is_refused(name, samples):
    with pytest.raises(ValueError, match="expected a name without"):
        paths.plain_name(name, "thing")
    if name in ("..", "a\\b", ".a", "a\0"):  # the others are paths of folders
        with pytest.raises(ValueError, match=r"dataset .*: expected a name without"):
            datasets.load(name)
    if name != "/a":
        with pytest.raises(ValueError, match=r"run .*: expected a name without"):
            results.load_run(name)
    with pytest.raises(ValueError, match=r"dataset .*: expected a name without"):
        datasets.write(name, np.zeros((40, 8, 8), np.uint8), np.ones((40, 360)), samples, PREPARED)


def test_a_long_name_is_cut_and_stays_its_own():
    assert paths.short_name("ä" * 60) == "ä" * 60
    cut = {paths.short_name("ä" * 61 + end) for end in ("1", "2", "\udcff")}
    assert len(cut) == 3 and all(len(os.fsencode(name)) <= 120 for name in cut)


@pytest.mark.parametrize(
    "refusal",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError("4096 requested and 512 written"),  # as NumPy says it
        RuntimeError("I/O error: No space left on device (os error 28)"),  # as safetensors does
    ],
    ids=["system", "NumPy", "Rust"],
)
def test_every_writer_that_meets_a_full_disk_is_explained_once(tmp_path, monkeypatch, refusal):
    usage = shutil._ntuple_diskusage(2**20, 2**20, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    message = rf"cannot write eyes into {tmp_path} \(No space left.*free some space.*; all is kept$"
    outer = errors.writing("all", tmp_path, "nobody reads this")
    with pytest.raises(OSError, match=message) as caught, outer:
        with errors.writing("eyes", tmp_path, "all is kept"):
            raise refusal
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    "error",
    [
        *(FileNotFoundError("no such photograph"), RuntimeError("diverged")),
        *(OSError(errno.ENOENT, "gone", "/elsewhere/file"), SystemExit(), SystemExit("refused")),
    ],
    ids=repr,
)
def test_what_is_none_of_writing_passes(tmp_path, error, capsys):
    with pytest.raises(type(error)) as caught, errors.writing("eyes", tmp_path, "kept"):
        raise error
    assert caught.value is error and capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("writing", [True, False])
def test_a_signal_is_answered_in_words_and_nothing_half_written_stays(
    tmp_path, monkeypatch, capsys, number, writing
):
    def audit(results):
        if not writing:
            signal.raise_signal(number)
        with errors.writing("findings", tmp_path, "results are as they were"):
            with provenance.publish_folder(tmp_path / "it"):
                signal.raise_signal(number)

    monkeypatch.setattr("analysis.published.audit.audit_file", audit)
    monkeypatch.setattr("sys.argv", ["rnfl", "audit", "results.csv"])
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as caught:
            cli.main()
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert caught.value.code == 128 + number and names(tmp_path) == []
    said = capsys.readouterr().err.splitlines()
    kept = "findings is not written into" if writing else "what was finished is kept"
    assert len(said) == 1 and said[0].startswith(f"{number.name}: {kept}")


def test_many_publish_into_one_folder_at_once(tmp_path):
    """Who clears the boxes of the dead meets those that live and are not locked yet."""

    def publish(k):
        for i in range(60):
            provenance.write_text(tmp_path / f"{k}.txt", str(i))
        with provenance.publish_new_folder(tmp_path / f"new-{n}" for n in range(20)) as made:
            (made.aside / "a").write_text(str(k))

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(publish, range(12)))
    assert {path.read_text() for path in tmp_path.glob("*.txt")} == {"59"}
    assert sorted(path.read_text() for path in tmp_path.glob("new-*/a")) == sorted(
        map(str, range(12))
    )
    assert len(list(tmp_path.iterdir())) == 24
