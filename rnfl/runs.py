"""What a run is: its configuration, its address and its folder. Imports no model code."""

import ast
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from rnfl import datasets, geometry, prepare, protocols, provenance, schema
from rnfl.backbone_specs import BACKBONES, weights_file
from rnfl.paths import prepared_root, runs_root
from rnfl.prepare import Prepared
from rnfl.protocols import Protocol

# The code that a trained model depends on; a change of these makes new runs.
CODE = ("backbones", "batches", "devices", "losses", "model", "predict", "protocols", "train")

# What a run's result does not depend on.
INCIDENTAL = ("checkpoint_seconds", "eval_on")


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run (defaults: paper, Methods).

    Attributes
    ----------
    dataset : str
        Prepared dataset to train and test on.
    backbone : str
        A name of ``BACKBONES`` or ``timm:<name>``.
    protocol : Protocol
        A name of ``PROTOCOLS`` stands for its protocol.
    batch_size, micro_batch : int
        Effective batch, and how much of it is computed at once (None = all of it).
    patience : int
        Epochs without a better validation MAE before training stops.
    lr_scale : float
        Multiplies the protocol's learning rates (ours).
    clip : float
        Largest norm of the gradient.
    augment : {'intensity', None}
    precision : {'auto', 'fp32', 'bf16'}
    radius_ratio : float
        Radius of the sampled circle as a share of the image's side.
    pretrained : bool
        False starts the backbone from random weights.
    eval_on : tuple of str
        Further prepared datasets whose test split is predicted.
    checkpoint_seconds : float
        Time between checkpoints within an epoch (s).
    """

    dataset: str
    backbone: str
    protocol: Protocol
    seed: int = 42
    epochs: int = 80
    batch_size: int = 60
    micro_batch: int | None = None
    warmup_epochs: int = 5
    patience: int = 15
    lr_scale: float = 1.0
    clip: float = 1.0
    augment: str | None = "intensity"
    precision: str = "auto"
    radius_ratio: float = geometry.RADIUS_RATIO
    pretrained: bool = True
    eval_on: tuple[str, ...] = ()
    checkpoint_seconds: float = 60.0

    def __post_init__(self):
        for name in ("epochs", "batch_size", "patience", "lr_scale", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)!r}")
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise ValueError(
                f"warmup_epochs must lie in [0, epochs = {self.epochs}], got {self.warmup_epochs}"
            )
        object.__setattr__(self, "protocol", protocols.get(self.protocol))

    @property
    def slug(self) -> str:
        """A readable name: dataset, backbone, protocol and seed."""
        text = f"{self.dataset}-{self.backbone}-{self.protocol.name}-s{self.seed}"
        return re.sub(r"[^\w.-]+", "-", text)

    def resolve(self, prepared: Prepared) -> dict:
        """Everything the result depends on, spelt out: config, protocol, data, weights, code."""
        weights = weights_file(self.backbone) if self.pretrained else None
        return {
            **{key: value for key, value in asdict(self).items() if key not in INCIDENTAL},
            "backbone_spec": _deciding(self.backbone),
            "dataset_hash": prepared.manifest["hash"],
            "weights": provenance.sha256_file(weights) if weights and weights.exists() else None,
            "code": code_version(),
        }

    def run_id(self, prepared: Prepared) -> str:
        """The run's address: its slug and a hash of what it resolves to."""
        return f"{self.slug}-{provenance.sha256_json(self.resolve(prepared))[:10]}"


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder and what is in it."""

    folder: Path
    run_id: str
    config: RunConfig

    @property
    def model_path(self) -> Path:
        """Weights of the best validation epoch (safetensors)."""
        return self.folder / "model.safetensors"

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Predictions of the test split."""
        return schema.validate(pd.read_parquet(self.folder / "predictions.parquet"), "predictions")

    @cached_property
    def history(self) -> pd.DataFrame:
        """Loss, validation MAE (µm) and learning rates of each epoch."""
        return pd.read_csv(self.folder / "history.csv")

    @cached_property
    def summary(self) -> dict:
        """Best epoch, number of epochs, speed."""
        return json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))


def open_dataset(name: str) -> Prepared:
    """Open a prepared dataset.

    Raises
    ------
    ValueError
        If it is absent or damaged, with the way to make it.
    """
    if (prepared_root() / name).exists():
        return prepare.load(name)
    try:
        datasets.find(name)
        remedy = f"make it with rnfl.prepare.prepare({name!r})"
    except ValueError as error:
        remedy = f"{error}; data of your own become a dataset with rnfl.prepare.write"
    raise ValueError(
        f"dataset {name!r} is not in {prepared_root()}: {remedy} "
        "(finished runs need it too: their address holds its hash)"
    )


def find(config: RunConfig, prepared: Prepared | None = None) -> RunResult | None:
    """Return the finished run of a configuration, or None.

    ``prepared`` is the configuration's dataset, where it is open already.
    """
    run_id = config.run_id(prepared or open_dataset(config.dataset))
    folder = runs_root() / run_id
    return RunResult(folder, run_id, config) if (folder / "summary.json").exists() else None


def runs_table(results: Iterable[RunResult]) -> pd.DataFrame:
    """One row per run: id, configuration, the protocol's own fields, and summary."""
    rows = []
    for result in results:
        config = {k: v for k, v in asdict(result.config).items() if k not in INCIDENTAL}
        protocol = config["protocol"]
        fields = {"protocol": protocol.pop("name"), **protocol}
        rows.append({"run_id": result.run_id} | config | fields | result.summary)
    return schema.validate(pd.DataFrame(rows), "runs")


def predictions_of(results: Iterable[RunResult]) -> pd.DataFrame:
    """Test predictions of several runs, one below the other."""
    return pd.concat([result.predictions for result in results], ignore_index=True)


def histories_of(results: Iterable[RunResult]) -> pd.DataFrame:
    """Histories of several runs with their backbone, protocol and seed; empty for none."""
    frames = [
        result.history.assign(
            backbone=result.config.backbone,
            protocol=result.config.protocol.name,
            seed=result.config.seed,
        )
        for result in results
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


@cache
def code_version() -> str:
    """Hash of the code that matters; comments, docstrings and layout do not.

    Of ``geometry`` only the sampled circle itself counts.
    """
    digest = hashlib.sha256()
    for name in CODE:
        digest.update(_statements(Path(__file__).with_name(f"{name}.py")).encode())
    digest.update(np.round(geometry.circle(0, 0, 1), 6).tobytes())
    return digest.hexdigest()[:16]


def _statements(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # Annotated tables of a module are registries: a run's own entry is in what it resolves to.
    tree.body = [node for node in tree.body if not isinstance(node, ast.AnnAssign)]
    return provenance.statements(tree)


def _deciding(backbone: str) -> dict | None:
    """What of a registered backbone's specification decides a result."""
    if backbone not in BACKBONES:
        return None
    spec = asdict(BACKBONES[backbone])
    keys = ("timm_name", "timm_kwargs", "weights", "input_size", "mean", "std")
    return {key: spec[key] for key in keys}


def partial_folder(run_id: str) -> Path:
    """Where an unfinished run keeps its checkpoints."""
    return runs_root() / ".partial" / run_id
