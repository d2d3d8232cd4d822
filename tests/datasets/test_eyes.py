"""Reading eyes: in order, in threads, and after an interruption only what is missing."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from rnfl.core.exclusion import Excluded
from rnfl.datasets import reading
from rnfl.datasets.reading import Eye, forget, read_eyes
from rnfl.storage.hashed import file_stamp
from rnfl.storage.paths import prepared_root

N = 100
METHOD = {"version": 1}


class Raw:
    """A hundred eyes; every seventh is left out, and ``log`` says which were read."""

    def __init__(self, stop_at=None):
        self.log, self.stop_at, self.lock = [], stop_at, threading.Lock()

    def __call__(self, i):
        with self.lock:
            self.log.append(i)
            if len(self.log) == self.stop_at:
                raise KeyboardInterrupt
        if i % 7 == 3:
            raise Excluded("every seventh", f"number {i}", weight=np.float32(0.5))
        image = np.random.default_rng(i).integers(0, 255, (8, 8, 3)).astype(np.uint8)
        profile = np.full(360, i + 0.1)
        profile[:5] = np.nan
        row = {"eye_id": f"eye-{i}", "age": np.float64(i / 3), "md": float("nan"), "sex": None}
        return Eye(image, profile, row)


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))


def read(raw, n=N, name="some", method=METHOD, stamp=str):
    return read_eyes(
        range(n), raw, name=name, method=method, key=lambda i: f"k{i}", stamp=stamp, what="eyes"
    )


def same(one, other):
    (first, left_out), (second, also) = one, other
    assert left_out == also and len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.image.dtype == b.image.dtype == np.uint8 and (a.image == b.image).all()
        assert a.profile.dtype == b.profile.dtype == np.float32
        np.testing.assert_array_equal(a.profile, b.profile)
        assert repr(a.row) == repr(b.row)  # NaN is not equal to itself
    return True


def test_eyes_and_exclusions_come_in_order():
    kept, left_out = read(Raw())
    assert [eye.row["eye_id"] for eye in kept] == [f"eye-{i}" for i in range(N) if i % 7 != 3]
    assert [e["id"] for e in left_out] == [f"k{i}" for i in range(3, N, 7)]
    assert left_out[0] == {
        "id": "k3", "reason": "every seventh", "detail": "number 3", "weight": 0.5
    }  # fmt: skip
    assert kept[1].row["age"] == 1 / 3 and type(kept[1].row["age"]) is float


def test_an_interruption_does_not_wait_for_the_eyes_not_begun():
    never, begun = threading.Event(), []

    def slow(i):
        begun.append(i)
        if i == 0:
            raise KeyboardInterrupt
        never.wait(0.05)  # as reading a file takes a while
        return Raw()(0)

    with pytest.raises(KeyboardInterrupt):
        read(slow)
    assert len(begun) < N // 2


def test_after_an_interruption_only_the_rest_is_read():
    whole = read(Raw(), name="undisturbed")
    stopped = Raw(stop_at=60)
    with pytest.raises(KeyboardInterrupt):
        read(stopped)
    again = Raw()
    assert same(read(again), whole)
    assert len(again.log) <= N - 60 + reading.WORKERS and len(set(again.log)) == len(again.log)
    third = Raw()
    assert same(read(third), whole) and third.log == []


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
import test_eyes
from rnfl.core.exclusion import Excluded
from rnfl.datasets import reading

def die_at_the_third(folder, results, keep=reading.keep, published=[]):
    if len(published) == 2:
        os._exit(9)  # nothing is cleaned up on the way out
    published.append(keep(folder, results))
    return published[-1]

reading.keep = die_at_the_third
test_eyes.read(test_eyes.Raw())
"""


def test_a_killed_program_loses_one_chunk_at_most():
    here = os.path.dirname(__file__)
    assert subprocess.run([sys.executable, "-c", KILLED, here], check=False).returncode == 9
    again = Raw()
    assert same(read(again), read(Raw(), name="undisturbed"))
    assert len(again.log) == N - 2 * reading.CHUNK


def test_other_bytes_and_other_methods_are_read_again():
    read(Raw())
    changed = Raw()
    read(changed, stamp=lambda i: f"{i}{'x' * (i in (5, 10))}")
    assert sorted(changed.log) == [5, 10]
    other = Raw()
    read(other, method={"version": 2})
    assert len(other.log) == N
    assert len(list((prepared_root() / ".partial").iterdir())) == 2


def test_forget_removes_this_dataset_and_no_other():
    for name in ("some", "some-more"):
        read(Raw(), name=name)
    forget("some")
    assert [path.name[:9] for path in (prepared_root() / ".partial").iterdir()] == ["some-more"]
    forget("some-more"), forget("some-more")
    assert not (prepared_root() / ".partial").exists()


def test_a_damaged_file_of_results_is_read_again():
    whole = read(Raw(), name="undisturbed")
    read(Raw())
    (path, *_) = sorted((prepared_root() / ".partial").glob("some-*/*.npz"))
    path.write_bytes(path.read_bytes()[:-50])
    again = Raw()
    with pytest.warns(UserWarning, match="are read again"):
        assert same(read(again), whole)
    assert 0 < len(again.log) <= reading.CHUNK


def test_an_error_names_the_eye_and_what_was_read_is_kept():
    def fail(i):
        if i == 50:
            raise OSError("the disk is gone")
        return Raw()(i)

    with pytest.raises(OSError, match="gone") as caught:
        read(fail)
    assert caught.value.__notes__ == ["while reading k50"]
    again = Raw()
    read(again)
    assert 50 in again.log and len(again.log) < N


@pytest.mark.parametrize(
    ("image", "profile", "row", "message"),
    [
        (np.zeros((4, 5), np.uint8), np.zeros(360), {"eye_id": "a"}, r"uint8 \(4, 5\)"),
        (np.zeros((4, 4)), np.zeros(360), {"eye_id": "a"}, "image float64"),
        (np.zeros((4, 4, 2), np.uint8), np.zeros(360), {"eye_id": "a"}, r"\(4, 4, 2\)"),
        (np.zeros((4, 4), np.uint8), np.zeros(359), {"eye_id": "a"}, r"\(359,\)"),
        (np.zeros((4, 4), np.uint8), np.zeros(360), {}, "expected eye_id"),
    ],
)
def test_what_is_no_eye_is_refused(image, profile, row, message):
    with pytest.raises(ValueError, match=message):
        read(lambda i: Eye(image, profile, row), n=1)


def test_two_items_of_one_name_are_refused():
    with pytest.raises(ValueError, match="some: 1 eyes have the name of another eye"):
        read_eyes(
            (1, 1), Raw(), name="some", method={}, key=str, stamp=str, what="eyes"
        )  # fmt: skip


def test_files_are_told_apart_by_size_and_time(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12")
    before = file_stamp(path)
    os.utime(path, ns=(1, 1))
    assert file_stamp(path) != before
