"""From raw files to prepared datasets, the folders between them and training."""

from rnfl.datasets.build import prepare
from rnfl.datasets.prepared import Prepared, load, write

__all__ = ["Prepared", "load", "prepare", "write"]
