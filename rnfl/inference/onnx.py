"""Trained models as ONNX files that give the same numbers without torch.

The file takes float32 images (N, 3, S, S) in [0, 1], disc-centred, 4.943 mm wide and in right-eye
orientation, and gives profiles (N, 360) in µm; normalisation is inside. It is published only when
onnxruntime reproduces torch on random images and on crops of the model's dataset, where that is at
hand. A JSON beside it says what goes in and what comes out.
"""

from __future__ import annotations

import copy
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnfl import datasets
from rnfl.core.geometry import FIELD_MM, N_ANGLES
from rnfl.storage import errors, provenance
from rnfl.storage.paths import prepared_root

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from torch import nn

    from rnfl.inference.trained import Trained

INPUT, OUTPUT = "images", "profiles"
OPSET = 18
TOLERANCE = 1e-4  # largest difference from torch, relative to the thickness
LEAST_UM = 1.0  # thickness below which a difference is not taken relative to it (µm)
N_RANDOM, N_CROPS = 4, 8
LARGEST = 2**31 - 2**20  # bytes of weights in one file; the graph needs some
KEPT = "the run is as it was, and what is there already of the two is kept; --output names another"
TAKEN = "exists already, is not of this run, and is kept as it is: name another file"
USE = "Research use only. Not a medical device."
PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def export(trained: Trained, path: str | Path) -> dict[str, Any]:
    """Write a model as ONNX with a JSON beside it, if it gives the same numbers.

    Asked for again, what is there of the two is kept if it is of this model, and the rest is made.

    Parameters
    ----------
    trained : Trained
    path : str or Path
        File ending in .onnx; the JSON has the same name.

    Returns
    -------
    dict
        What the JSON says: the input's and the output's name, shape, unit and orientation, the
        largest relative difference from torch, the images it was checked on, and the card.

    Raises
    ------
    RuntimeError
        If the packages of the extra 'onnx' are missing, or a profile differs by more than 1e-4.
    ValueError
        If the path does not end in .onnx, it or its JSON exists and is of something else, or the
        model exceeds one file's 2 GB.
    OSError
        If they cannot be written, such as on a full disk; asking again finishes it.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ValueError(f"{path}: expected a name that ends in .onnx")
    note = path.with_suffix(".json")
    card = provenance.plain(trained.card)
    _refuse_others(path, note, card)
    images, checked_on = shown(trained)
    with errors.writing(f"{path.name} and {note.name}", path.parent, KEPT):
        if not path.exists():
            with (
                suppress(FileExistsError),  # what another call has published since is looked at
                provenance.publish_file(path, new=True) as aside,
            ):
                write(trained, aside, images, path)
        _refuse_others(path, note, card)
        if not (difference := compare(trained.module, path, images)) <= TOLERANCE:
            raise ValueError(f"{path} differs from this model by {difference:.1e}; it {TAKEN}")
        digest = provenance.sha256_file(path)
        if (about := _noted(note)).get("sha256") != digest:
            about = _about(trained, difference, checked_on)
            about["sha256"] = digest
            provenance.write_json(note, provenance.sealed(about))
    return about


def shown(trained: Trained) -> tuple[np.ndarray, dict[str, int]]:
    """Return what an ONNX file is compared with torch on, as the model takes it; and how many."""
    crops = _crops(trained)
    shape = N_RANDOM, 3, trained.size, trained.size
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    if len(crops):
        images = np.concatenate([images, trained.as_input(crops)])
    return images, {"images": len(images), "crops": len(crops)}


def write(trained: Trained, aside: Path, images: np.ndarray, path: Path) -> float:
    """Write a model's ONNX aside and return how far it is from torch.

    Where that is too far a RuntimeError says that ``path`` is not written, and where the weights
    exceed one file a ValueError.
    """
    n_bytes = 4 * sum(parameter.numel() for parameter in trained.module.parameters())
    if n_bytes >= LARGEST:
        raise ValueError(f"{path}: {n_bytes / 1e9:.1f} GB of weights; one ONNX file holds 2 GB")
    about = {"card": json.dumps(provenance.plain(trained.card)), "unit": "µm", "use": USE}
    to_onnx(trained.module, trained.size, aside, about)
    difference = compare(trained.module, aside, images)
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"{path} is not written: onnxruntime differs from torch by "
            f"{difference:.1e} of the thickness, at most {TOLERANCE:.0e} is allowed"
        )
    return difference


def _refuse_others(path: Path, note: Path, card: dict[str, Any]) -> None:
    """Raise a ValueError where a model or its JSON is there and is not of this card."""
    for file, found in ((path, _card_in(path)), (note, _noted(note).get("card"))):
        if file.exists() and found != card:
            raise ValueError(f"{file} {TAKEN}")


def _card_in(path: Path) -> dict[str, Any] | None:
    """Return the card of the model that an ONNX file holds, None where it is none of ours."""
    if not path.is_file():
        return None
    onnx = _packages()
    from google.protobuf.message import DecodeError

    try:
        properties = onnx.load(path, load_external_data=False).metadata_props
        return json.loads({one.key: one.value for one in properties}["card"])
    except (DecodeError, KeyError, ValueError):
        return None


def _noted(note: Path) -> dict[str, Any]:
    """Return what the JSON beside a model says, nothing where it is none of ours."""
    try:
        found = provenance.unsealed(json.loads(note.read_text(encoding="utf-8")))
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def to_onnx(
    module: nn.Module, size: int, path: Path, metadata: dict[str, str] | None = None
) -> None:
    """Write a module that takes (B, 3, size, size) as ONNX in single precision, any batch size."""
    import torch

    onnx = _packages()
    module = copy.deepcopy(module).cpu().float().eval()
    example = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        names = {"input_names": [INPUT], "output_names": [OUTPUT], "dynamic_shapes": ({0: "n"},)}
        how = {"dynamo": True, "verbose": False, "opset_version": OPSET}
        program = torch.onnx.export(module, (example,), **how, **names)
    proto = _without_traces(program.model_proto)
    onnx.helper.set_model_props(proto, metadata or {})
    onnx.checker.check_model(proto)
    onnx.save_model(proto, path)


def _without_traces(proto: Any) -> Any:
    """Return a message of ONNX without what says where and by whom it was made, at any depth."""
    for field, value in proto.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            proto.ClearField(field.name)
        elif field.message_type is not None and field.name not in ("initializer", "raw_data"):
            parts = value if hasattr(value, "__len__") else [value]
            for part in parts:
                _without_traces(part)
    return proto


def compare(module: nn.Module, model: Path | bytes, images: np.ndarray) -> float:
    """Return the largest relative difference between a module and its ONNX file.

    Parameters
    ----------
    module : nn.Module
    model : Path or bytes
        The file, or what it holds.
    images : ndarray float32 (N, 3, size, size) in [0, 1]
        Shown all at once and one by one, so that the batch size is seen not to matter.
    """
    import torch

    module = copy.deepcopy(module).cpu().float().eval()
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        expected = module(torch.from_numpy(images)).double().numpy()
    session = open_session(model)
    together = session.run([OUTPUT], {INPUT: images})[0]
    single = np.concatenate([session.run([OUTPUT], {INPUT: image[None]})[0] for image in images])
    return max(relative(got, expected) for got in (together, single))


def relative(profiles: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of profiles from expected ones, relative to the thickness."""
    expected = np.asarray(expected, float)
    return float((np.abs(profiles - expected) / np.maximum(np.abs(expected), LEAST_UM)).max())


def open_session(model: Path | bytes, threads: int = 0) -> InferenceSession:
    """Return a session of onnxruntime on the CPU.

    0 threads are as many as ``OMP_NUM_THREADS`` says, which torch obeys too; else one per core.
    """
    provenance.refuse_missing(("onnxruntime",), "deploy")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = threads or (int(asked) if asked.isdecimal() else 0)
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _packages():
    """Return the onnx package, if all that an export needs are there."""
    provenance.refuse_missing(PACKAGES, "onnx")
    import onnx

    return onnx


def _crops(trained: Trained) -> np.ndarray:
    """Return some crops of the dataset that the model was trained on, none if it is not there."""
    name = trained.card["dataset"]
    if not (prepared_root() / name / "manifest.json").is_file():
        return np.empty((0, 1, 1), np.uint8)
    images = datasets.load(name).images
    return np.array(images[:: max(1, len(images) // N_CROPS)][:N_CROPS])


def stated(size: int) -> dict[str, Any]:
    """Return what goes into a model's file and what comes out, in words."""
    return {
        "input": {
            "name": INPUT,
            "type": "float32",
            "shape": ["n", 3, size, size],
            "range": [0, 1],
            "content": f"RGB (grey repeated), disc in the centre, {FIELD_MM:.3f} mm wide",
            "orientation": "right eye: temporal left, superior up; left eyes mirrored",
            "resize": f"area mean or antialiased bilinear to {size} px, whole grey levels",
        },
        "output": {
            "name": OUTPUT,
            "type": "float32",
            "shape": ["n", N_ANGLES],
            "unit": "µm",
            "order": "0 temporal, 90 superior, 180 nasal, 270 inferior, one value per degree",
        },
    }


def _about(trained: Trained, difference: float, checked_on: dict[str, int]) -> dict[str, Any]:
    return {
        **stated(trained.size),
        "max_relative_difference": difference,
        "checked_on": checked_on,
        "opset": OPSET,
        "versions": provenance.versions(("torch", *PACKAGES)),
        "use": USE,
        "card": trained.card,
    }
