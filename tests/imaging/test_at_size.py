"""Resizing to a model's input gives PyTorch's bytes without PyTorch, whatever the sizes."""

import numpy as np
import pytest
import torch

from rnfl.imaging import pixels
from rnfl.models.backbone import resize


def by_torch(images, size):
    stack = torch.from_numpy(images.reshape(*images.shape[:3], -1)).permute(0, 3, 1, 2)
    levels = resize(stack.float(), size).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).reshape(len(images), size, size, *images.shape[3:]).numpy()


# Area means; enlarging; shrinking; what registered backbones take of a prepared crop of 224 px.
SIZES = [(224, 112), (448, 112), (60, 20), (112, 224), (97, 224), (333, 224), (150, 112), (224, 97),
         *((224, size) for size in (224, 256, 384, 392, 448, 512, 518))]  # fmt: skip


@pytest.mark.parametrize("colour", [(), (3,)], ids=["grey", "RGB"])
@pytest.mark.parametrize(("side", "size"), SIZES)
def test_the_bytes_are_those_of_torch(side, size, colour):
    rng = np.random.default_rng(side * size)
    noise = rng.integers(0, 256, (2, side, side, *colour), dtype=np.uint8)
    found, expected = pixels.at_size(noise, size), by_torch(noise, size)
    assert found.dtype == np.uint8 and found.shape == (2, size, size, *colour)
    # Where a processor has no fused multiply-add, PyTorch rounds a few halves to the other side.
    apart = np.abs(found.astype(int) - expected)
    assert apart.max() <= 1 and (apart > 0).mean() < 1e-4
    if torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        assert found.tobytes() == expected.tobytes()


def test_random_sizes_agree_too():
    rng = np.random.default_rng(0)
    for side, size in rng.integers(8, 260, (60, 2)).tolist():
        noise = rng.integers(0, 256, (1, side, side, 3), dtype=np.uint8)
        apart = np.abs(pixels.at_size(noise, size).astype(int) - by_torch(noise, size))
        assert apart.max() <= 1 and (apart > 0).mean() < 1e-3, (side, size)


def test_no_images_have_the_size_too():
    assert pixels.at_size(np.empty((0, 60, 60, 3), np.uint8), 20).shape == (0, 20, 20, 3)
