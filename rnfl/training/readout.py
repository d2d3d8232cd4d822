"""Fit a readout: backbones that stay as they are, and a linear map from their tokens to a profile.

The tokens after every block of one or several frozen backbones go through
:mod:`rnfl.training.ridge` to a few numbers per eye, the *code*, and a fixed linear map turns the
code into a profile. Where eyes have profiles the code is their principal components. Where they
have only quadrant means the code is those four, and the profile is the one expected of phantom eyes
with these quadrant means: its quadrant means are exactly the predicted ones, its shape within a
quadrant is the phantom's.

There is nothing to tune but one penalty, chosen by cross-validation, so some dozens of eyes are
enough to learn from. **Ours**; the paper has no such protocol.

The protocol may ask for tokens averaged over several fields of each picture, for a penalty of each
number of the code, and for backbones that weigh alike
(:class:`~rnfl.training.protocols.Solved`). Tokens of fields take long to compute. They depend on
the backbone and the picture alone, so those that were computed last are kept as long as the
process, for the other folds of a cross-validation.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from rnfl.core.geometry import flip_profile, flip_quadrants, quadrant_means
from rnfl.datasets.prepared import Prepared
from rnfl.models.backbone import Backbone
from rnfl.models.readout import Readout, fields, places, tokens, widths
from rnfl.training import ridge
from rnfl.training.batches import QUADRANT_COLUMNS, Batches
from rnfl.training.predict import predict
from rnfl.training.protocols import Solved
from rnfl.training.state import Progress

COMPONENTS = 24  # at most, of profiles
#: (5, 360): the profile that four quadrant means S, N, I, T imply, a constant first. Least squares
#: on 2,000 eyes of the first phantom; kept as numbers, so that trained models keep their bits.
SHAPES = Path(__file__).with_name("quadrant_shapes.npy")
BATCH = 32
AT_ONCE = 8  # fields: their maps fit into a processor's cache, which halves the time again
LARGEST = 16e9  # bytes of memory
KEPT = 2e9  # bytes of tokens of fields that a process keeps, about
PLAIN = Solved("readout", "ridge")
_kept: OrderedDict[tuple[str, ...], list[np.ndarray]] = OrderedDict()


@dataclass(frozen=True)
class Code:
    """What the regression is to predict: codes (n, k), those of mirrored eyes, and the way back."""

    codes: np.ndarray
    mirrored: np.ndarray
    decoder: np.ndarray
    offset: np.ndarray
    exact: bool  # whether the codes are the labels

    def measure(self, codes: np.ndarray) -> np.ndarray:
        """Return what codes say of the labels: the codes themselves, or profiles (..., 360)."""
        return codes if self.exact else codes @ self.decoder + self.offset


def encode(data: Batches) -> Code:
    """Return the codes of labels; one that is missing, angle or quadrant, is a ValueError."""
    labels = data.labels.cpu().numpy().astype(float)
    if not np.isfinite(labels).all():
        raise ValueError(f"a readout needs complete labels; {data.target} has missing values")
    if data.target == "quadrants":
        solution = np.load(SHAPES, allow_pickle=False)
        return Code(labels, flip_quadrants(labels), solution[1:], solution[0], exact=True)
    mean = labels.mean(axis=0)
    k = min(COMPONENTS, len(labels) - 1)
    components = np.linalg.svd(labels - mean, full_matrices=False)[2][:k]
    codes, mirrored = ((x - mean) @ components.T for x in (labels, flip_profile(labels)))
    return Code(codes, mirrored, components, mean, exact=False)


def learning_rows(prepared: Prepared, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the rows to learn from as 'train', those of train and val with complete labels.

    Profiles go before quadrants: where any of these eyes has a profile, eyes without one are left
    out. A readout validates by folds within its training eyes, so 'val' is empty. That no eye has
    complete labels is a ValueError.
    """
    every = np.sort(np.concatenate([rows["train"], rows["val"]]))
    labels = np.asarray(prepared.profiles)[every]
    if not np.isfinite(labels).any():
        labels = prepared.samples.iloc[every][QUADRANT_COLUMNS].to_numpy(dtype=float)
    kept = every[np.isfinite(labels).all(axis=1)]
    if not len(kept):
        raise ValueError(
            f"dataset {prepared.name!r}: none of {len(every)} eyes to learn from has complete "
            f"labels (360 angles or four quadrants), which a readout needs"
        )
    return rows | {"train": kept, "val": every[:0]}


def progress(model: Readout, solved: ridge.Ridge, data: Batches, seconds: float) -> Progress:
    """Return a readout's fit as the one epoch of a history: errors in µm, no learning rates.

    ``val_quadrant_mae`` is the error of quadrant means in the inner cross-validation, whatever the
    labels are.
    """
    labels = data.labels.cpu().numpy()
    decoder, offset = (part.cpu().numpy() for part in (model.decoder, model.offset))
    if model.n_fields > 1:  # the model would compute all of its fields again
        predicted = (solved.fitted @ decoder + offset).astype(np.float32)
    else:
        predicted = predict(model, data).cpu().numpy()
    quadrants = error = solved.error
    if data.target == "quadrants":
        predicted = quadrant_means(predicted).to_numpy()
    else:
        held_out = quadrant_means(solved.held_out @ decoder + offset)
        quadrants = float((held_out - quadrant_means(labels)).abs().to_numpy().mean())
    row = {
        "epoch": 0,
        "step": 0,
        "train_loss": float(np.abs(predicted - labels).mean()),
        "val_mae": error,
        "val_quadrant_mae": quadrants,
        "lr_encoder": 0.0,
        "lr_head": 0.0,
        "seconds": seconds,
    }
    precision = {"precision": "fp32", "because": "a readout is solved for in fp32"}
    return Progress(epoch=1, seconds=seconds, history=[row], precision=precision)


def fit(
    backbones: Sequence[Backbone],
    data: Batches,
    patients: Sequence[str],
    seed: int = 0,
    protocol: Solved = PLAIN,
) -> tuple[Readout, ridge.Ridge]:
    """Fit a readout on labelled eyes and their copies turned upside down.

    Parameters
    ----------
    backbones : sequence of Backbone
    data : Batches
        Profiles, or quadrant means where no eye has a profile.
    patients : sequence of str
        Whose eye each is.
    seed : int
        Of the inner folds that choose the penalty.
    protocol : Solved

    Raises
    ------
    ValueError
        When labels are incomplete, or the features would not fit into memory.
    """
    code = encode(data)
    n_codes = code.codes.shape[1]
    wide = [n for backbone in backbones for n in widths(backbone)]
    size = ridge.bytes_needed(len(data), wide, n_codes) + 4 * (n_codes + 1) * sum(wide)
    if size > LARGEST:
        raise ValueError(
            f"a readout of {len(data)} eyes would take {size / 1e9:.0f} GB, at most "
            f"{LARGEST / 1e9:.0f}: choose a smaller backbone, or a protocol that trains by gradient"
        )
    if protocol.fields > 1:
        upright, flipped = _field_features(backbones, data, protocol.fields)
    else:
        upright, flipped = _features(backbones, data)
    measured = code.measure, data.labels.cpu().numpy()
    given = upright, code.codes, np.asarray(patients), (flipped, code.mirrored)
    how = {"seed": seed, "measured": measured}
    if protocol.own_penalties:
        how |= {"own": True, "penalties": ridge.OWN}
    if protocol.alike:
        depths = [backbone.depth for backbone in backbones]
        how["shares"] = [1 / (len(depths) * depth) for depth in depths for _ in range(depth)]
    solved = ridge.fit(*given, **how)
    model = Readout([b.cpu() for b in backbones], n_codes, protocol.fields)
    blocks = zip(solved.means, solved.weights, strict=True)
    for i, backbone in enumerate(backbones):
        for row in range(backbone.depth):
            mean, weights = next(blocks)
            getattr(model, f"mean_{i}")[row, : len(mean)] = torch.from_numpy(mean)
            getattr(model, f"weights_{i}")[row, : len(mean)] = torch.from_numpy(weights)
    fixed = {"level": solved.level, "decoder": code.decoder, "offset": code.offset}
    for name, values in fixed.items():
        getattr(model, name).copy_(torch.from_numpy(values))
    return model.to(data.device).eval(), solved


def _features(
    backbones: Sequence[Backbone], data: Batches
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return every block's tokens of the eyes as they are and turned upside down."""
    upright, flipped = [], []
    for backbone in backbones:
        backbone = backbone.to(data.device).eval()
        both = [np.empty((2, len(data), n), np.float32) for n in widths(backbone)]
        steps = tqdm(data.in_order(BATCH), backbone.spec.name, -(-len(data) // BATCH), disable=None)
        for step, (images, *_) in enumerate(steps):
            rows = slice(step * BATCH, (step + 1) * BATCH)
            with torch.inference_mode():
                for kind, shown in enumerate((images, images.flip(2))):
                    for block, found in enumerate(tokens(backbone, shown)):
                        both[block][kind, rows] = found.cpu().numpy()
        upright, flipped = [*upright, *(b[0] for b in both)], [*flipped, *(b[1] for b in both)]
    return upright, flipped


def _field_features(
    backbones: Sequence[Backbone], data: Batches, n: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return every block's tokens as :func:`_features`, averaged over ``n`` fields of each eye.

    An eye's are computed alone, so that they do not depend on the eyes beside it.
    """
    upright, flipped = [], []
    at = places(n).to(data.device)
    for backbone in backbones:
        backbone = backbone.to(data.device).eval()
        given = f"{_identity(backbone)} {n} {data.device.type}"
        both = [np.empty((2, len(data), m), np.float32) for m in widths(backbone)]
        steps = tqdm(data.in_order(1), f"{backbone.spec.name}, {n} fields", len(data), disable=None)
        for row, (images, *_) in enumerate(steps):
            key = given, hashlib.sha256(images.cpu().numpy().tobytes()).hexdigest()
            if key not in _kept:
                with torch.inference_mode():
                    shown = fields(torch.cat([images, images.flip(2)]), at)
                    parts = [tokens(backbone, part) for part in shown.split(AT_ONCE)]
                found = [torch.cat(part) for part in zip(*parts, strict=True)]
                _keep(key, [one.unflatten(0, (2, n)).mean(dim=1).cpu().numpy() for one in found])
            else:
                _kept.move_to_end(key)
            for block, found in zip(both, _kept[key], strict=True):
                block[:, row] = found
        upright, flipped = [*upright, *(b[0] for b in both)], [*flipped, *(b[1] for b in both)]
    return upright, flipped


def _keep(key: tuple[str, ...], blocks: list[np.ndarray]) -> None:
    """Keep an eye's tokens; those used longest ago make room for them."""
    _kept[key] = blocks
    size = sum(block.nbytes for block in blocks)
    while len(_kept) > max(1, KEPT // size):
        _kept.popitem(last=False)


def _identity(backbone: Backbone) -> str:
    """Return a hash of what decides a backbone's tokens: its definition and its weights."""
    digest = hashlib.sha256(repr(backbone.spec).encode())
    for name, value in backbone.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
