"""Preparation holds a few images at a time, however many there are and whatever the dataset."""

import errno
import io
import os
import threading
import time
import tracemalloc
import weakref

import fairfedmed_tree
import grape_tree
import numpy as np
import pandas as pd
import pytest
import rnflt_tree
from PIL import Image

from rnfl import datasets
from rnfl.datasets import phantom, reading
from rnfl.datasets import prepared as prepared_module
from rnfl.datasets.npz import tables
from rnfl.datasets.reading import Eye, KeptEye, forget, kept_folders, read_eyes

FIELDS = {"dataset": "made", "modality": "SLO", "phantom": True, "settings": {}}
SIDE = 256


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


class Alive:
    """How many of the arrays that went through here were alive at once, at most."""

    def __init__(self):
        self.seen, self.now, self.most = 0, 0, 0

    def __call__(self, array):
        weakref.finalize(array, self.gone)
        self.seen, self.now = self.seen + 1, self.now + 1
        self.most = max(self.most, self.now)
        return array

    def gone(self):
        self.now -= 1


def folder_tree(folder):
    folder.mkdir()
    photo = grape_tree.draw_fundus("OD")
    for i in range(6):
        photo[0, i] = 255
        Image.fromarray(photo).save(folder / f"{i}.png")
    rows = {"image": [f"{i}.png" for i in range(6)], "eye": "OD"}
    pd.DataFrame(rows).to_csv(folder / "samples.csv", index=False)
    return folder


TREES = {
    "fairfedmed": fairfedmed_tree.write_tree,
    "grape": grape_tree.write_tree,
    "harvard_gf": rnflt_tree.write_tree,
    "folder-mine": folder_tree,
}


@pytest.mark.parametrize("name", TREES)
def test_images_go_from_file_to_file(name, data, tmp_path, monkeypatch):
    alive, image = Alive(), KeptEye.image.fget
    monkeypatch.setattr(KeptEye, "image", property(lambda eye: alive(image(eye))))
    prepared = datasets.prepare(name, source=TREES[name](tmp_path / "raw"))
    assert alive.seen == len(prepared) > 3
    assert alive.most <= 2
    assert not kept_folders(name)


def test_both_cameras_are_written_as_they_are_rendered(data, monkeypatch):
    alive, cameras = Alive(), phantom._cameras
    monkeypatch.setattr(
        phantom, "_cameras", lambda shot, gap: tuple(map(alive, cameras(shot, gap)))
    )
    datasets.prepare("phantom-cfp-24")
    assert alive.seen == 72 and alive.most <= 6
    assert len(datasets.load("phantom-slo-24")) == 24


def made(n, name):
    """Prepare ``n`` eyes of noise and return them."""

    def read(i):
        image = np.random.default_rng(i).integers(0, 256, (SIDE, SIDE), np.uint8)
        return Eye(image, np.full(360, 90.0), {"eye_id": f"eye-{i}", "laterality": "OD"})

    kept, _ = read_eyes(range(n), read, name=name, method={}, key=str, stamp=str, what=name)
    samples = pd.DataFrame([eye.row for eye in kept])
    samples = samples.assign(patient_id=samples["eye_id"], modality="SLO", split="test", age=50.0)
    profiles = np.stack([eye.profile for eye in kept])
    return datasets.write(name, (eye.image for eye in kept), profiles, samples, FIELDS)


def test_memory_does_not_follow_the_number_of_images(data):
    made(10, "first")  # imports and fonts
    peaks = {}
    for n in (200, 800):
        tracemalloc.start()
        prepared = made(n, f"of-{n}")
        peaks[n] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (peaks[800] - peaks[200]) / 600 < SIDE * SIDE / 2
    expected = np.random.default_rng(799).integers(0, 256, (SIDE, SIDE), np.uint8)
    assert (prepared.images[799] == expected).all()


def test_reading_does_not_run_ahead_of_writing(data, monkeypatch):
    begun, kept, keep, lock = [], [], reading.keep, threading.Lock()

    def read(i):
        with lock:
            begun.append(i)
        return Eye(np.zeros((4, 4), np.uint8), np.zeros(360), {"eye_id": str(i)})

    def slowly(folder, results):
        time.sleep(0.1)  # as a slow disk does
        kept.extend(results)
        assert len(begun) <= len(kept) + reading.AHEAD
        return keep(folder, results)

    monkeypatch.setattr(reading, "keep", slowly)
    n = 3 * reading.AHEAD
    read_eyes(range(n), read, name="slow", method={}, key=str, stamp=str, what="slow")
    assert len(kept) == len(begun) == n


def test_an_image_that_is_gone_is_named(data):
    def read(i):
        return Eye(np.zeros((4, 4), np.uint8), np.zeros(360), {"eye_id": f"eye-{i}"})

    (eye,), _ = read_eyes([0], read, name="x", method={}, key=str, stamp=str, what="x")
    assert eye.image.shape == (4, 4)
    forget("x")
    with pytest.raises(ValueError, match=r"\.npz, which held eye-0, is gone or damaged .*again"):
        eye.image  # noqa: B018 (reading the property is what must fail)


def write(path, images, n=3):
    with prepared_module.image_file(path, n, "some: images") as file:
        for image in images:
            file.add(image)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3), (224, 224, 3)])
@pytest.mark.parametrize("n", [1, 3, 1000])
def test_the_file_is_that_of_numpy(shape, n, tmp_path):
    one = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    images = np.stack([one, one[::-1], one // 2])[np.arange(n) % 3] if n < 1000 else None
    if images is None:  # many: only the header can differ
        images = np.broadcast_to(np.uint8(7), (n, 2, 2))
    write(tmp_path / "ours.npy", (image for image in images), n)
    np.save(tmp_path / "numpy.npy", images)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


GREY, COLOUR = np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([GREY] * 2, r"some: images: uint8 \(2, 4, 4\): expected uint8 .* beginning \(3,\)"),
        ([], r"uint8 \(0,\): expected"),
        ([GREY] * 4, "some: images: more than 3, the rows of samples"),
        ([GREY, COLOUR, GREY], r"\(3, 4, 4, 3\): expected uint8 of 3 axes beginning \(3, 4, 4\)"),
        ([GREY, GREY[:3], GREY], r"uint8 \(3, 3, 4\): expected uint8 .* beginning \(3, 4, 4\)"),
        ([GREY, GREY / 2, GREY], r"images: float64 \(3, 4, 4\): expected uint8"),
        ([COLOUR[..., :2]] * 3, "colour in 3 channels"),
        ([np.zeros(4, np.uint8)] * 3, r"uint8 \(3, 4\): expected"),
    ],
)
def test_images_that_do_not_fit_are_refused(images, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "images.npy", images)


@pytest.fixture
def arrays(prepared, data):
    return prepared.profiles, prepared.samples, FIELDS


def test_nothing_appears_when_images_end_early(arrays, prepared, data):
    with pytest.raises(ValueError, match=r"short: images: uint8 \(39, 32, 32\)"):
        datasets.write("short", iter(prepared.images[:39]), *arrays)

    def interrupted():
        yield prepared.images[0]
        (folder,) = (data / "prepared").iterdir()
        assert folder.name.startswith(".short.") and list(folder.iterdir())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        datasets.write("short", interrupted(), *arrays)
    assert not list((data / "prepared").iterdir())


def test_tables_are_checked_before_an_image_is_asked_for(arrays, data):
    def never():
        raise AssertionError
        yield

    with pytest.raises(ValueError, match=r"profiles.npy: float32 \(40, 359\)"):
        datasets.write("wrong", never(), arrays[0][:, :359], *arrays[1:])
    with pytest.raises(ValueError, match="missing"):
        datasets.write("wrong", never(), *arrays[:2], {})


def test_a_full_disk_is_an_error_and_the_dataset_of_before_stays(
    arrays, prepared, data, monkeypatch
):
    before = datasets.write("disk", prepared.images, *arrays)

    class Full:
        def __init__(self, path, mode):
            self.file, self.left = open(path, mode), 20_000

        def write(self, what):
            self.left -= memoryview(what).nbytes
            if self.left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(what)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

    monkeypatch.setattr(prepared_module, "open", Full, raising=False)
    said = r"cannot write dataset disk into .*No space left.*free some space and ask again; what"
    with pytest.raises(OSError, match=said) as caught:
        datasets.write("disk", 255 - prepared.images, *arrays)
    assert caught.value.errno == errno.ENOSPC
    assert datasets.load("disk", verify=True).manifest == before.manifest
    assert [path.name for path in (data / "prepared").iterdir()] == ["disk"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_no_more_eyes_keeps_those_of_before(number, data, tmp_path, monkeypatch):
    """The first chunks are kept, the next one is not, and then the same call goes on."""
    source, savez, begun = TREES["fairfedmed"](tmp_path / "raw"), np.savez, []

    def until_full(path, **arrays):
        begun.append(path)
        if len(begun) > 2:
            path.write_bytes(b"half")
            raise OSError(number, os.strerror(number))
        savez(path, **arrays)

    monkeypatch.setattr(reading, "CHUNK", 3)
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", until_full)
        said = rf"cannot write what was read of eyes into .*{os.strerror(number)}.*is kept there"
        with pytest.raises(OSError, match=said) as caught:
            datasets.prepare("fairfedmed", source=source)
    assert caught.value.errno == number
    (folder,) = kept_folders("fairfedmed")
    assert len(list(folder.iterdir())) == 2
    assert len(datasets.prepare("fairfedmed", source=source)) == 10
    assert not kept_folders("fairfedmed")


def test_a_disk_that_takes_no_eye_at_all_keeps_nothing_half_written(data, tmp_path, monkeypatch):
    def full(path, **arrays):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    source = TREES["fairfedmed"](tmp_path / "raw")
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="free some space and ask again"):
        datasets.prepare("fairfedmed", source=source)
    assert not kept_folders("fairfedmed") and not (data / "prepared" / "fairfedmed").exists()
    assert not [at for at in (data / "prepared").iterdir() if at.name != ".locks"]


def test_an_error_about_a_file_elsewhere_is_not_blamed_on_the_disk(arrays, prepared, data):
    def images():
        yield prepared.images[0]
        open(data / "absent.png", "rb")

    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        datasets.write("elsewhere", images(), *arrays)


@pytest.mark.parametrize(
    ("name", "suffixes"),
    [("grape", ("jpg",)), ("folder-mine", ("png",)), ("fairfedmed", ("npz",))],
)
def test_a_raw_picture_is_read_once(name, suffixes, data, tmp_path, monkeypatch):
    source, read, opened = TREES[name](tmp_path / "raw"), [], io.open

    def count(path, mode="r", *others, **more):
        if str(path).endswith(suffixes) and str(path).startswith(str(source)):
            read.append(str(path))
        return opened(path, mode, *others, **more)

    for module in ("builtins", "io"):
        monkeypatch.setattr(f"{module}.open", count)
    prepared = datasets.prepare(name, source=source)
    assert len(read) >= len(prepared) and len(set(read)) == len(read)
    loaded = datasets.load(name)  # and what was written is what is returned
    pd.testing.assert_frame_equal(prepared.samples, loaded.samples)
    assert prepared.manifest == loaded.manifest


def table(n, width=360):
    header = ",".join(["key", *map(str, range(width))])
    rows = (",".join([f"eye{i}", *[f"{80 + i % 9}.25"] * width]) for i in range(n))
    return "\n".join([header, *rows, ""])


def test_a_long_table_is_read_in_blocks(monkeypatch):
    text = table(1500).encode()
    tables._frame(text[:10_000].rpartition(b"\n")[0], "first")
    tracemalloc.start()
    frame = tables._frame(text, "long")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frame.shape == (1500, 361) and frame["key"].iloc[-1] == "eye1499"
    assert peak < 8 * len(text)
    monkeypatch.setattr(tables, "BLOCK", 10_000)
    pd.testing.assert_frame_equal(frame, tables._frame(text, "at once"))


def test_faults_of_all_blocks_are_told(monkeypatch):
    monkeypatch.setattr(tables, "BLOCK", 2)
    lines = table(7, 2).splitlines()
    lines[2] += ",1"
    lines[3] = ""
    lines[6] += ",1,2"
    with pytest.raises(ValueError, match=r"3 columns, .* have not: line 3 \(4\), line 7 \(5\)"):
        tables._frame("\n".join(lines).encode(), "ragged")
    far = table(9000, 2).encode() + b"\xff\n"
    place = len(far) - 2
    with pytest.raises(ValueError, match=f"cannot be read as a CSV in UTF-8.*position {place}"):
        tables._frame(far, "bytes")
