"""What tests of training share: a few eyes that can be learnt, as batches."""

import pytest
import torch
from training_data import make_dataset

from rnfl.training import batches


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Ten eyes to train and five to validate, of 112 px, in a data folder of the module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(tmp_path_factory.mktemp("data")))
        prepared, cpu = make_dataset(n=20), torch.device("cpu")
        yield [batches.load(prepared, prepared.subset(s), 112, cpu) for s in ("train", "val")]
