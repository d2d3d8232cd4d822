"""Which version of the code a run was computed by, as far as it matters to the result."""

import ast
import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from rnfl import geometry, provenance

# The code that a trained model depends on; a change of these makes new runs.
_SHARED = ("backbones", "batches", "devices", "predict", "protocols", "randomness")
CODE = {
    "gradient": (*_SHARED, "losses", "model", "prefix", "state", "step", "train"),
    "ridge": (*_SHARED, "readout", "ridge", "datasets/phantom/eyes"),
}


@cache
def code_version(solver: str = "gradient") -> str:
    """Hash of the code that matters to a solver; comments, docstrings and layout do not.

    Of ``geometry`` only the sampled circle itself and the quadrants count.
    """
    digest = hashlib.sha256()
    for name in sorted(CODE[solver]):
        digest.update(_statements(Path(__file__).parent / f"{name}.py").encode())
    digest.update(np.round(geometry.circle(0, 0, 1), 6).tobytes())
    digest.update(np.stack(list(geometry.QUADRANTS.values())).tobytes())
    return digest.hexdigest()[:16]


def _statements(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # Annotated tables of a module are registries: a run's own entry is in what it resolves to.
    tree.body = [node for node in tree.body if not isinstance(node, ast.AnnAssign)]
    return provenance.statements(tree)
