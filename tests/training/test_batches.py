import errno

import numpy as np
import torch
from pytest import approx, fixture, raises
from training_data import make_dataset

from rnfl.storage import paths
from rnfl.training import augmentation, batches

CPU = torch.device("cpu")


@fixture
def data_root(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    return tmp_path


def test_images_are_area_means_beside_their_own_labels(data_root):
    prepared = make_dataset(n=16, size=224, missing=0.1)
    rows = prepared.subset("val")
    data = batches.load(prepared, rows, 112, CPU)
    assert (
        data.images.dtype == torch.uint8
        and data.images.shape == (16, 1, 112, 112)
        and len(data) == 4
    )
    images, profiles, quadrants = data.take(torch.tensor([2, 0]))
    for image, row in zip(images, rows[[2, 0]], strict=True):
        mean = prepared.images[row].reshape(112, 2, 112, 2).mean(axis=(1, 3))
        assert image[0].numpy() * 255 == approx(np.round(mean), abs=1e-3)
    np.testing.assert_array_equal(profiles.numpy(), prepared.profiles[rows[[2, 0]]])
    assert profiles.isnan().any() and quadrants is None and data.target == "profile"


def test_colour_keeps_its_channels(data_root):
    prepared = make_dataset("tiny-cfp", n=8, colour=True)
    data = batches.load(prepared, np.arange(8), 112, CPU)
    assert data.images.shape == (8, 3, 112, 112)
    np.testing.assert_array_equal(data.images[5, 1], prepared.images[5][:, :, 1])


def test_resizing_happens_once_for_every_process(data_root):
    prepared = make_dataset(n=8, size=224)
    for split in ("train", "val", "test"):
        batches.load(prepared, prepared.subset(split), 112, CPU)
    (made,) = paths.cache_root().glob("*.npy")
    written = made.stat().st_mtime_ns
    batches.load(prepared, prepared.subset("val"), 112, CPU)
    assert made.stat().st_mtime_ns == written
    again = make_dataset(n=8, size=224, seed=1)
    batches.load(again, again.subset("val"), 112, CPU)
    assert len(list(paths.cache_root().glob("*.npy"))) == 2
    content = bytearray(whole := made.read_bytes())
    content[-1] ^= 1
    made.write_bytes(content)
    batches.load(prepared, prepared.subset("val"), 112, CPU)
    assert made.read_bytes() == whole


def test_a_full_disk_is_said_and_leaves_nothing(data_root, monkeypatch):
    prepared = make_dataset(n=8, size=224)

    def full(images, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(batches, "at_size", full)
    with raises(OSError, match=r"images of tiny-slo at 112 px.*free some space"):
        batches.load(prepared, np.arange(8), 112, CPU)
    assert not list(paths.cache_root().glob("*images*"))


def test_images_of_the_right_size_are_mapped_and_never_written(data_root):
    prepared = make_dataset("tiny-cfp", n=8, colour=True)
    before = (prepared.folder / "images.npy").read_bytes()
    data = batches.load(prepared, np.arange(8), 112, CPU)
    assert data.images.data_ptr() != 0 and not [*paths.cache_root().glob("*.npy")]
    data.images[0] = 0
    assert (prepared.folder / "images.npy").read_bytes() == before


def test_a_selection_keeps_labels_beside_their_images(data_root):
    prepared = make_dataset(n=16, quadrants=[9])
    data = batches.load(prepared, np.arange(4, 16), 112, CPU)
    some = data.select(torch.tensor([5, 1])).select(torch.tensor([1, 0]))
    images, profiles, quadrants = some.take(torch.arange(2))
    expected = data.take(torch.tensor([1, 5]))
    assert len(some) == 2 and some.images.data_ptr() == data.images.data_ptr()
    for one, other in zip((images, profiles, quadrants), expected, strict=True):
        assert torch.equal(one.nan_to_num(), other.nan_to_num())
    assert quadrants[1].isfinite().all() and profiles[1].isnan().all()


def test_batches_collected_ahead_are_the_same(data_root, monkeypatch):
    data = batches.load(make_dataset(n=12), np.arange(12), 112, CPU)
    indices = augmentation.epoch_order(12, 0, 0).split(5)
    expected = list(data.stream(indices))
    elsewhere = batches.replace(data, device=torch.device("meta"))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(batches.Batches, "_send", lambda self, images, index: (images, index))
    collected = list(elsewhere.stream(iter(indices)))
    assert [index.tolist() for _, index in collected] == [index.tolist() for index in indices]
    for (images, _), (own, *_) in zip(collected, expected, strict=True):
        assert torch.equal(images, own)


def test_in_order_covers_every_row_once(data_root):
    data = batches.load(make_dataset(n=12), np.arange(12), 112, CPU)
    whole = torch.cat([profiles for _, profiles, _ in data.in_order(5)])
    assert torch.equal(whole, data.profiles)


def test_order_depends_on_seed_and_epoch_alone():
    order = augmentation.epoch_order(50, seed=42, epoch=3)
    torch.rand(7)
    assert torch.equal(order, augmentation.epoch_order(50, seed=42, epoch=3))
    assert sorted(order.tolist()) == list(range(50))
    for other in ((42, 4), (43, 3), (3, 42)):
        assert not torch.equal(order, augmentation.epoch_order(50, *other))


def test_jitter_is_reproducible_bounded_and_leaves_the_data_alone(data_root):
    data = batches.load(make_dataset(n=8), np.arange(8), 112, CPU)
    kept = data.images.clone()
    first, second = (
        augmentation.jitter(data.take(torch.arange(8))[0], augmentation.seeded_generator(1))
        for _ in range(2)
    )
    plain, *_ = data.take(torch.arange(8))
    assert torch.equal(first, second) and torch.equal(data.images, kept)
    assert 0 <= first.min() and first.max() <= 1
    change = first.mean((1, 2, 3)) / plain.mean((1, 2, 3))
    assert change.std() > 0.02 and (change - 1).abs().max() < 0.25
