"""Trained models, whatever kind they are: images in, profiles out, and a card that says what it is.

Only this module knows that a run holds a neural network. Everything that uses a model asks
:func:`load` for a :class:`Trained` and needs no dataset, only the run's folder and, where that
holds changes alone, the file of the backbone's weights.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from rnfl import datasets
from rnfl.core.geometry import N_ANGLES
from rnfl.datasets import normative
from rnfl.imaging import pixels
from rnfl.inference import bands, model_card
from rnfl.models.registry import registered
from rnfl.runs import results
from rnfl.runs.results import RunResult
from rnfl.storage import provenance
from rnfl.storage.paths import prepared_root, runs_root
from rnfl.storage.tables import listed

if TYPE_CHECKING:
    from torch import nn

LISTED = 12  # runs named in an error
DECIDING = ("timm_name", "timm_kwargs", "input_size", "mean", "std")


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model ready to be used, in evaluation mode and single precision.

    Of one without torch, :class:`rnfl.inference.bundle.Bundled`, another ``module`` is asked.
    """

    AT_ONCE: ClassVar[int] = 32  # images that the network is shown

    folder: Path  # of the run it was loaded from
    module: nn.Module  # float images (B, 3, size, size) in [0, 1] to profiles (B, 360), µm
    size: int  # px, side of the images that ``module`` takes; :meth:`predict` resizes
    card: dict[str, Any]  # see :func:`rnfl.inference.model_card.make`
    reference: pd.DataFrame | None  # see :func:`rnfl.datasets.normative.band`
    bands: dict[str, Any] | None = None  # see :func:`rnfl.inference.bands.calibrate`

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Predict profiles float32 (N, 360), µm, of prepared crops uint8 (N, S, S[, 3]).

        The crops are disc-centred, 4.943 mm wide and in right-eye orientation.

        Raises
        ------
        ValueError
            If the images have another type or shape.
        FloatingPointError
            If a prediction is not finite.
        """
        profiles = [np.empty((0, N_ANGLES), np.float32)]
        # Each field that a readout looks at is an image of its own.
        step = max(1, self.AT_ONCE // getattr(self.module, "n_fields", 1))
        for i in range(0, len(images), step):
            profiles.append(self.profiles_of(self.as_input(images[i : i + step])))
        profiles = np.concatenate(profiles)
        bad = np.flatnonzero(~np.isfinite(profiles).all(axis=1))
        if len(bad):
            raise FloatingPointError(f"{self.folder}: predictions of images {bad[:5]} not finite")
        return profiles

    def profiles_of(self, batch: np.ndarray) -> np.ndarray:
        """Return what the network makes of :meth:`as_input`: profiles float32 (B, 360), µm."""
        import torch

        device = next(self.module.parameters()).device
        with torch.inference_mode():
            return self.module(torch.from_numpy(batch).to(device)).cpu().numpy()

    def as_input(self, images: np.ndarray) -> np.ndarray:
        """Return crops uint8 (N, S, S[, 3]) as float32 (N, 3, size, size) in [0, 1].

        They are resized as those of a training set, byte for byte.
        """
        images = np.asarray(images)
        shape = images.shape
        square = len(shape) in (3, 4) and shape[1] == shape[2] and shape[3:] in ((), (3,))
        if images.dtype != np.uint8 or not square:
            raise ValueError(f"images {images.dtype} {shape}: expected uint8 (N, S, S[, 3])")
        stack = pixels.at_size(images, self.size)
        stack = stack[:, None] if stack.ndim == 3 else np.moveaxis(stack, -1, 1)
        shape = len(stack), 3, self.size, self.size
        return np.ascontiguousarray(np.broadcast_to(stack, shape), np.float32) / np.float32(255)


def load(run: str | Path) -> Trained:
    """Load a finished run for use; its dataset need not be there.

    Parameters
    ----------
    run : str or Path
        Folder of a finished run, its id, or the beginning of an id that only one run has.

    Raises
    ------
    ValueError
        If there is no such run, several, one that predicts masks, or one whose backbone has
        another definition or other weights by now.
    RuntimeError
        If PyTorch is not installed.
    FileNotFoundError, ConnectionError
        If the weights that a run changed are neither here nor to be had.
    """
    try:
        from rnfl.runs import restore
        from rnfl.training import devices
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"{run}: a run is read with PyTorch ({error}): install all of rnfl, or read its "
            "bundle, made by 'rnfl bundle' where PyTorch is"
        ) from error

    finished = results.load_run(find(run))
    finished.expect("profile", "its masks of a prepared dataset come from rnfl.segment_with")
    _refuse_changed_backbones(finished)
    module = restore.load_model(finished).float().to(devices.choose_device())
    facts, band = _training_set(finished)
    card = model_card.make(finished, facts)
    size, kept = module.backbone.spec.input_size, bands.of_run(finished.folder)
    return Trained(finished.folder, module, size, card, band, kept)


def find(run: str | Path) -> Path:
    """Return the folder of a finished run given as folder, id or unambiguous beginning of an id."""
    named = Path(run).name == str(run)  # else it is the path of a folder
    for folder in (Path(run), *([runs_root() / run] if named else [])):
        if (folder / "summary.json").is_file():
            return folder.resolve()
    matches = [f for f in _finished() if f.name.startswith(str(run))] if str(run) else []
    if len(matches) == 1:
        return matches[0]
    said = f"neither the folder of a finished run nor its id. {at_hand()}"
    said = f"ambiguous:\n{_listing(matches)}" if matches else said
    raise ValueError(f"model {str(run)!r} is {said}")


def at_hand() -> str:
    """Return the finished runs in words, those first that a photograph should be read with.

    Real eyes go before phantoms, photographs before SLO images, many training eyes before few,
    and at last a small test error before a large one.
    """
    # Those that predict masks of disc and cup, or are starts, read no photograph here.
    others = "masks", "pictures"
    folders = [f for f in _finished() if _said(f, "summary.json").get("target") not in others]
    if not folders:
        return f"There are no finished runs in {runs_root()}: make one with 'rnfl train'"
    return f"Finished runs in {runs_root()}:\n{_listing(folders)}"


def _finished() -> list[Path]:
    return sorted(path.parent for path in runs_root().glob("[!.]*/summary.json"))


def _listing(folders: list[Path]) -> str:
    return listed((text for _, text in sorted(map(_ranked, folders))), LISTED, comma="\n")


def _ranked(folder: Path) -> tuple[tuple, str]:
    """Return what a run is sorted by, and its line."""
    summary, facts = (_said(folder, name) for name in ("summary.json", "training_set.json"))
    if not summary:
        return (True, True, 0, np.inf, folder.name), f"  {folder.name}  (damaged: see rnfl verify)"
    eyes, error = summary.get("n_train") or 0, summary.get("test_mae")
    phantom = facts.get("phantom", folder.name.startswith("phantom-"))
    rank = phantom, facts.get("modality") != "CFP", -eyes, np.inf if error is None else error
    kind = ("phantom " if phantom else "") + model_card.KINDS.get(facts.get("modality"), "images")
    mae = "" if error is None else f", test MAE {error:.1f} µm"
    return (*rank, folder.name), f"  {folder.name}  ({eyes:,} {kind}{mae})"


def _refuse_changed_backbones(run: RunResult) -> None:
    """Raise a ValueError where a backbone is no longer what the run was trained with."""
    for name, then in zip(run.config.backbones, run.resolved["backbone_specs"], strict=True):
        now = provenance.plain(registered(name))
        changed = [key for key in DECIDING if then and now and then.get(key) != now[key]]
        if changed:
            raise ValueError(
                f"{run.folder}: backbone {name!r} had another {', '.join(changed)} when this run "
                "was trained: train it again"
            )


def _training_set(run: RunResult) -> tuple[dict, pd.DataFrame | None]:
    """Return facts and band kept with the run, or of the prepared dataset while it is there."""
    kept, path = run.folder / "training_set.json", run.folder / "reference.csv"
    if kept.is_file():
        return run.read(kept.name), normative.read(path) if path.is_file() else None
    name = run.config.dataset
    if (prepared_root() / name).exists():
        prepared = datasets.load(name)
        if prepared.hash == run.resolved.get("dataset_hash"):
            prepared = results.divided(prepared, run.config.split, run.config.lesson)
            band = normative.training_band(prepared)
            return normative.facts(prepared), band if len(band) else None
    return {"dataset": name, "phantom": True if name.startswith("phantom-") else None}, None


def _said(folder: Path, name: str) -> dict[str, Any]:
    """Return what a JSON of a run says, nothing where it is not there or damaged."""
    try:
        said = RunResult(folder, folder.name, None).read(name)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
