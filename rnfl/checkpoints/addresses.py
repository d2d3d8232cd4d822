"""What of a backbone decides a result, and so enters a run's address."""

from __future__ import annotations

import ast
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from rnfl import backbone_specs, provenance
from rnfl.checkpoints import files

DECIDING = ("timm_name", "timm_kwargs", "weights", "input_size", "mean", "std")

# The code that turns a published file into a model's weights.
CODE = ("loading", "plans", "reading")


def specification(name: str) -> dict | None:
    """Return what of a registered backbone's specification decides a result; None for others."""
    spec = backbone_specs.registered(name)
    if spec is None:
        return None
    decides = {key: value for key, value in asdict(spec).items() if key in DECIDING}
    if spec.source is not None:
        decides["reading"] = {"layout": asdict(spec.source.layout), "code": _code()}
    return decides


def weights_file(name: str) -> Path | None:
    """Return the file that a backbone's weights come from; None where it has none of its own.

    A packaged file's path is returned whether it is there or not.

    Raises
    ------
    FileNotFoundError, ConnectionError
        If published weights are neither here nor to be had, with the way to get them.
    """
    spec = backbone_specs.registered(name)
    if spec is None or spec.weights is None:
        return None
    if spec.weights == "packaged":
        return backbone_specs.WEIGHTS / f"{spec.base}.safetensors"
    return files.obtain(spec)


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file, computed once while its size and time of change stay."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256(path: Path, size: int, changed: int) -> str:
    return provenance.sha256_file(path)


@lru_cache(maxsize=1)
def _code() -> str:
    sources = [Path(__file__).with_name(f"{name}.py") for name in CODE]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sources]
    return provenance.sha256_json([provenance.statements(tree) for tree in trees])[:16]
