"""Drawn leaves: varied, the same everywhere, and nothing like a fundus."""

import numpy as np
from pytest import fixture

from rnfl.datasets.phantom import leaves
from rnfl.storage import provenance


@fixture(scope="module")
def drawn():
    return leaves.pictures(48)


def test_pictures_are_those_of_their_seeds(drawn):
    assert drawn.shape == (48, 112, 112, 3) and drawn.dtype == np.uint8
    assert np.array_equal(leaves.pictures(3), drawn[:3])
    assert not np.array_equal(leaves.pictures(3, seed=1), drawn[:3])
    # Whoever changes what is drawn renews leaves_mae: pretrain it again.
    assert provenance.sha256_array(drawn[:16]) == (
        "e2ac5684b3040d2341d7143465a7689f461bc909da82c6017aeb11bd9f4a288b"
    )


def test_they_vary_and_some_are_grey(drawn):
    grey = (drawn == drawn[..., :1]).all(axis=(1, 2, 3))
    assert 0.15 < grey.mean() < 0.6
    assert drawn.mean(axis=(1, 2, 3)).std() > 20 and drawn.std(axis=(1, 2, 3)).min() > 2


def test_nothing_lies_where_the_disc_of_an_eye_would(drawn):
    mean = drawn.mean(axis=(0, 3))
    assert abs(mean[40:72, 40:72].mean() - mean.mean()) < 0.15 * mean.mean()
