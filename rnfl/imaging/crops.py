"""Fundus photographs: from a file to the disc-centred crop that every model is shown.

A crop is 4.943 mm wide, centred on the disc and in right-eye orientation. How many millimetres of
retina a photograph shows is rarely written in it: 13.0 mm is a 45° camera (45 · 0.288, **ours**).
Preparing a dataset and using a model both go through here, so that a model sees in use the pixels
that it would have seen in training.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import FIELD_MM, to_right_eye
from rnfl.core.geometry import centre as middle
from rnfl.imaging import disc, pixels
from rnfl.imaging.disc import Disc
from rnfl.imaging.pixels import SIZE

MM_PER_DEGREE = 0.288  # of retina (ours)
PHOTOGRAPH_MM = disc.PHOTOGRAPH_MM  # width of retina on a 45° photograph, 13.0 mm (ours)
CROP_WIDTH = FIELD_MM / PHOTOGRAPH_MM  # 0.380 = 2 · 0.19 of the photograph's width
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
BYTES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
SHORTEST = 200  # px: the shorter side of the smallest photograph that is of use (ours)
LONGEST = 4  # times the shorter side (ours)
SMALLEST_CROP = SIZE // 4  # px (ours)

UNREADABLE = "unreadable photograph"
TOO_SMALL = "photograph too small or too narrow"
NOT_SQUARE = "crop that is not square"
OFF_DISC = "disc centre outside the photograph"


def read(path: Path, data: bytes | None = None) -> np.ndarray:
    """Return a photograph as RGB (H, W, 3) uint8, turned as its EXIF tag says.

    ``data`` is what the file holds, where it was read already.

    Raises
    ------
    Excluded
        For a file that is no readable image of 8 bits and one page, naming it.
    """
    source = path if data is None else io.BytesIO(data)
    try:
        with Image.open(source, formats=FORMATS) as file:
            if file.mode not in BYTES:
                raise ValueError(f"{file.mode} pixels, expected 8 bits per channel")
            if file.format == "TIFF" and file.n_frames > 1:
                raise ValueError(f"{file.n_frames} pages, expected one")
            return np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        said = str(error).replace(repr(source), repr(path.name)).replace(str(path), path.name)
        raise Excluded(UNREADABLE, f"{path.name} cannot be read as an image: {said}") from error


def crop(photo: np.ndarray, x: float, y: float, width_mm: float = PHOTOGRAPH_MM) -> np.ndarray:
    """Return the square of 4.943 mm round the disc centre (px), as :func:`rnfl.imaging.pixels.cut`.

    Parameters
    ----------
    photo : ndarray (H, W, 3), uint8
    x, y : float
        Disc centre, px.
    width_mm : float
        Width of retina on the photograph (mm).
    """
    side = round(FIELD_MM / width_mm * photo.shape[1])
    return pixels.cut(photo, x, y, side, pixels.REPEATED)


def prepare(
    photo: np.ndarray,
    laterality: str,
    centre: tuple[float, float] | None = None,
    width_mm: float = PHOTOGRAPH_MM,
    framing: str = "macula",
) -> tuple[np.ndarray, Disc]:
    """Return the crop (224, 224, 3) of a photograph in right-eye orientation, and its disc.

    Parameters
    ----------
    photo : ndarray (H, W, 3), uint8
        As taken, not mirrored.
    laterality : {'OD', 'OS'}
    centre : (x, y), optional
        Disc centre in px where it is known (confidence 1); otherwise it is looked for.
    width_mm : float
        Width of retina on the photograph (mm).
    framing : {'macula', 'disc'}
        What the middle of the photograph shows, as for :func:`rnfl.imaging.disc.locate`.

    Raises
    ------
    Excluded
        For a photograph too small or too narrow, a centre outside it, or, where the centre is not
        known, a picture without a field of view.
    ValueError
        For an unknown laterality or framing, or an array that is not such a photograph.
    """
    height, width = photo.shape[:2]
    short, long = sorted((height, width))
    if short < SHORTEST or long > LONGEST * short:
        raise Excluded(TOO_SMALL, f"{width}x{height} px")
    if centre is None:
        found = disc.locate(photo, laterality, width_mm, framing)
    else:
        found = Disc(*map(float, centre), 1.0)
    if not (-0.5 <= found.x <= width - 0.5 and -0.5 <= found.y <= height - 0.5):
        raise Excluded(OFF_DISC, f"{found.x:g}, {found.y:g} on {width}x{height} px")
    return to_right_eye(crop(photo, found.x, found.y, width_mm), laterality), found


def prepare_crop(picture: np.ndarray, laterality: str) -> tuple[np.ndarray, Disc]:
    """Return a picture that is a crop already in the common size and orientation, and its disc.

    Parameters
    ----------
    picture : ndarray (S, S, 3), uint8
        4.943 mm wide, centred on the disc, not mirrored.
    laterality : {'OD', 'OS'}

    Returns
    -------
    ndarray (224, 224, 3), uint8
        Area-averaged from a larger picture, interpolated from a smaller one.
    Disc
        The middle of the picture, in its px.

    Raises
    ------
    Excluded
        For a picture that is not square, or smaller than 56 px.
    ValueError
        For an unknown laterality.
    """
    height, width = picture.shape[:2]
    if height != width:
        raise Excluded(NOT_SQUARE, f"{width}x{height} px")
    if width < SMALLEST_CROP:
        raise Excluded(TOO_SMALL, f"{width}x{height} px")
    square = pixels.fit(picture, pixels.BICUBIC)
    return to_right_eye(square, laterality), Disc(*middle(height, width), 1.0)
