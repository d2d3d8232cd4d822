"""The address of a run: what decides its result, and nothing else.

A finished run is found by its address, so what must give a new one is spelt out here: the
configuration, the prepared eyes, the weights that it starts with, and
:data:`TRAINING_VERSION`. Fields equal to their default are left out, so that a new field renews no
run. The code is recorded with a run, but is no part of its address: moving a function changes no
result.
"""

from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any

from rnfl.models import registry
from rnfl.models.checkpoints.files import weights_file
from rnfl.models.registry import BackboneSpec
from rnfl.storage.provenance import fingerprint, sha256_json
from rnfl.training.config import INCIDENTAL, RunConfig

# Raised by whoever changes what training or a readout gives for the same configuration;
# tests/runs/test_training_version.py trains tiny runs and says when that is.
TRAINING_VERSION = 2

# Of a registered backbone; its licence or a sentence about it decide nothing.
DECIDING = ("timm_name", "timm_kwargs", "weights", "input_size", "mean", "std")


def run_id(config: RunConfig, dataset_hash: str) -> str:
    """Return the address of a run on a prepared dataset: its slug and a hash of what decides it.

    Parameters
    ----------
    dataset_hash : str
        Of the prepared dataset (``Prepared.hash``).

    Raises
    ------
    FileNotFoundError, ConnectionError
        If published weights are neither here nor to be had, with the way to get them.

    Examples
    --------
    >>> run_id(RunConfig("phantom-slo-64", "phantom_scratch", "naive"), "0" * 64)
    'phantom-slo-64-phantom_scratch-naive-s42-095330a295'
    """
    return f"{config.slug}-{sha256_json(deciding(config, dataset_hash))[:10]}"


def deciding(config: RunConfig, dataset_hash: str) -> dict[str, Any]:
    """Return what a run's result depends on, defaults left out: what its address is made of."""
    return {
        "config": {k: v for k, v in given(config).items() if k not in INCIDENTAL},
        "dataset": dataset_hash,
        "backbones": [_specification(registry.registered(name)) for name in config.backbones],
        "weights": weights(config),
        "training_version": TRAINING_VERSION,
    }


def resolved(config: RunConfig, dataset_hash: str) -> dict[str, Any]:
    """Return the whole configuration with what it stood for: what a run's ``config.json`` holds."""
    spelt = {key: value for key, value in asdict(config).items() if key not in INCIDENTAL}
    specs = [registry.registered(name) for name in config.backbones]
    return spelt | {
        "backbone_specs": [s and {name: getattr(s, name) for name in DECIDING} for s in specs],
        "dataset_hash": dataset_hash,
        "weights": weights(config),
        "training_version": TRAINING_VERSION,
    }


def weights(config: RunConfig) -> list[str | None]:
    """Return the SHA-256 of each backbone's weights file; None where it has none of its own."""
    files = [weights_file(name) if config.pretrained else None for name in config.backbones]
    return [fingerprint(file) if file and file.exists() else None for file in files]


def given(value: Any) -> Any:
    """Return a dataclass as a dict without the fields that equal their default, recursively.

    Examples
    --------
    >>> given(RunConfig("eyes", "phantom_mae", "naive", seed=43))
    {'dataset': 'eyes', 'backbone': 'phantom_mae', 'protocol': {'name': 'naive', 'rates': \
{'encoder': 0.0001}}, 'seed': 43}
    """
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((field, getattr(value, field.name)) for field in fields(value))
        return {field.name: given(item) for field, item in pairs if item != _default(field)}
    if isinstance(value, tuple):
        return tuple(given(item) for item in value)
    return value


def _default(field) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _specification(spec: BackboneSpec | None) -> dict | None:
    """Return what of a registered backbone decides a result; None for one that timm alone knows."""
    if spec is None:
        return None
    decides = {key: value for key, value in given(spec).items() if key in DECIDING}
    if spec.source is not None:
        decides["layout"] = given(spec.source.layout)
    return decides
