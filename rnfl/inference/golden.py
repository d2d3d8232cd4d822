"""Golden pairs: drawn pictures and what a model reads of them, by which a copy of it is proved.

A picture is as a camera leaves it, neither cropped nor mirrored nor resized, so that a pair pins
all that happens between a file and a curve. Beside the curve it keeps the pixels that the model was
shown: a model that barely looks would not betray another resizing. All eyes are phantoms: no
picture of a person leaves with a model.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from rnfl.core.exclusion import Excluded
from rnfl.imaging import crops, disc, pixels
from rnfl.inference.onnx import TOLERANCE, relative

if TYPE_CHECKING:
    from rnfl.inference.trained import Trained

NAME = "golden.json"  # what is known of each pair, in their order
#: Of each: the eye, whether it is a crop already, and the side of the picture (px).
PAIRS = (("OD", False, 640), ("OS", False, 723), ("OS", True, 333), ("OD", True, 150),
         ("OS", True, 224))  # fmt: skip
SEED = 31
LEVELS = 1  # grey levels by which versions of Pillow may resize differently


class Checked(NamedTuple):
    """How far a model is from its golden pairs, at most."""

    pairs: int
    difference: float  # of a curve, relative to the thickness
    levels: int  # of the pixels it is shown


def make(trained: Trained) -> dict[str, bytes]:
    """Draw pictures, read them with a model, and return the pairs as files by name."""
    files, said = {}, []
    for i, (eye, is_crop, side) in enumerate(PAIRS):
        picture = _png(draw(i, eye, is_crop, side, trained.card.get("modality")))
        shown, profile = _read(picture, eye, is_crop, trained)
        names = {"picture": f"golden/{i + 1}.png", "shown": f"golden/{i + 1}-shown.png"}
        files |= {names["picture"]: picture, names["shown"]: _png(shown)}
        said.append({**names, "eye": eye, "is_crop": is_crop, "profile": profile.tolist()})
    return files | {NAME: json.dumps(said, indent=1).encode()}


def check(files: Mapping[str, bytes], trained: Trained) -> Checked:
    """Read the pictures of :func:`make` again.

    Raises
    ------
    ValueError
        That names the file of ``trained`` and the picture, where a curve differs by more than 1e-4,
        or the pixels that the model is shown by more than one grey level.
    """
    differences, levels = [], []
    said = json.loads(files[NAME])
    if not said:
        raise ValueError(f"{NAME} has no pairs")
    for one in said:
        where = f"{trained.folder}, {one['picture']}"
        try:
            shown, profile = _read(files[one["picture"]], one["eye"], one["is_crop"], trained)
        except Excluded as error:
            raise ValueError(f"{where}: the golden picture is refused here: {error}") from error
        then = crops.read(Path(one["shown"]), files[one["shown"]])
        levels.append(int(np.abs(shown.astype(int) - then).max()))
        if levels[-1] > LEVELS:
            raise ValueError(
                f"{where}: the model is shown other pixels here than where the bundle was made (by "
                f"{levels[-1]} grey levels, expected at most {LEVELS}): {_remedy()}"
            )
        differences.append(relative(profile, one["profile"]))
        if not differences[-1] <= TOLERANCE:
            raise ValueError(
                f"{where}: the curve differs from the golden one by {differences[-1]:.1e} of the "
                f"thickness, expected at most {TOLERANCE:.0e}: {_remedy()}"
            )
    return Checked(len(said), max(differences), max(levels))


def _remedy() -> str:
    return (
        "read no photograph with it here; use the versions that its manifest names, or bundle the "
        "run again (rnfl bundle)"
    )


def _read(
    picture: bytes, eye: str, is_crop: bool, trained: Trained
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a model is shown of a picture, uint8 (S, S, 3), and its profile (360,), µm."""
    prepare: Any = crops.prepare_crop if is_crop else crops.prepare
    photo = crops.read(Path("golden.png"), picture)
    images = prepare(photo, eye, modality=trained.card.get("modality")).image[None]
    return pixels.at_size(images, trained.size)[0], trained.predict(images)[0]


def draw(index: int, eye: str, is_crop: bool, side: int, modality: str | None) -> np.ndarray:
    """Draw a phantom as its camera takes it, uint8 (side, side, 3), an SLO crop (side, side).

    A whole photograph is in colour, whatever the model: the drawn crop where the disc of a 45°
    photograph lies, on an even ground.
    """
    from rnfl.datasets.phantom.eyes import population
    from rnfl.datasets.phantom.render import render

    drawn = [one for one in population(4 * len(PAIRS), SEED) if one.laterality == eye][index]
    size = side if is_crop else round(crops.CROP_WIDTH * side)
    rendering = render(drawn, size=size)
    crop = rendering.slo if is_crop and modality == "SLO" else rendering.cfp
    if is_crop:
        return crop
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    radius = np.hypot(x - 0.5, y - 0.5)
    rim = np.concatenate([crop[0], crop[-1], crop[:, 0], crop[:, -1]]).mean(axis=0)
    photo = np.multiply.outer(1 - 0.8 * radius**2, rim)
    left, top = (round(place * side - size / 2) for place in disc.PRIOR_CENTRE[eye])
    photo[top : top + size, left : left + size] = crop
    photo[radius > 0.49] = 0
    return photo.round().astype(np.uint8)


def _png(picture: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(picture).save(held, "PNG")
    return held.getvalue()
