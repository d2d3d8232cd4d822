"""What a network sees of an eye with a thickness map: an en-face image of the map's own field.

It is an array of the npz (``slo_fundus`` and its like), else a file ``slo/<name of the npz>.png``
beside it, else, only where the options ask for it, the map itself in grey. An image that is not
square cannot show the field of the map and is refused.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from rnfl.core.exclusion import Excluded
from rnfl.datasets.npz.images import NAMES, grey
from rnfl.storage.provenance import sha256_bytes

WHITE_UM = 300.0  # thickness that is drawn white
FOLDER = "slo"
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")

NO_IMAGE = "no en-face image"
NOT_SQUARE = "en-face image that is not square, so not of the map's field"
UNREADABLE = "unreadable en-face image"


def find_photos(source: Path) -> dict[str, Path]:
    """Return the images of the folder ``slo`` by the name of their eye.

    Raises
    ------
    ValueError
        When an eye has two.
    """
    folder = source / FOLDER
    photos: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in photos:
            raise ValueError(f"{folder}: {photos[path.stem].name} and {path.name}: keep one")
        photos[path.stem] = path
    return photos


def label(photo: Path) -> str:
    """Return what an image beside the npz files is called in the fingerprint."""
    return f"{FOLDER}/{photo.name}"


def see(
    arrays: Mapping[str, np.ndarray], photo: Path | None, orientation: str, hashes: dict[str, str]
) -> np.ndarray:
    """Return the en-face image of an eye, uint8 (S, S), over the field of its map.

    Parameters
    ----------
    arrays : mapping of name to array
        Of the npz.
    photo : Path, optional
        The file to use where the npz has no image.
    orientation : {'upright', 'transposed'}
    hashes : dict
        Takes the hash of that file, which is read once.

    Raises
    ------
    Excluded
        When there is no image, or it cannot be used.
    """
    found = next((name for name in NAMES if name in arrays), None)
    if found is not None:
        image = grey(arrays[found])
    elif photo is not None:
        image = _read(photo, hashes)
    else:
        raise Excluded(NO_IMAGE)
    if image.shape[0] != image.shape[1]:
        raise Excluded(NOT_SQUARE, f"{image.shape[1]} x {image.shape[0]} px")
    return np.ascontiguousarray(image.T) if orientation == "transposed" else image


def _read(path: Path, hashes: dict[str, str]) -> np.ndarray:
    data = path.read_bytes()
    hashes[label(path)] = sha256_bytes(data)
    source = io.BytesIO(data)
    try:
        with Image.open(source) as file:
            pixels = np.asarray(file if file.mode in ("L", "RGB") else file.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        said = str(error).replace(repr(source), repr(str(path)))
        raise Excluded(UNREADABLE, f"{path.name}: {said}") from error
    return grey(pixels)


def draw_map(thickness: np.ndarray) -> np.ndarray:
    """Return a thickness map (S, S) in µm as grey uint8: 0 black (also missing), 300 µm white."""
    return np.rint(np.clip(thickness / WHITE_UM, 0, 1) * 255).astype(np.uint8)
