"""Fundus photographs: from a file to the disc-centred crop that every model is shown.

A crop is 4.943 mm wide, centred on the disc and in right-eye orientation. How many millimetres of
retina a photograph shows is rarely written in it: 13.0 mm is a 45° camera (45 · 0.288, **ours**).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from rnfl.core.geometry import FIELD_MM, to_right_eye
from rnfl.core.geometry import centre as centre_of
from rnfl.imaging import disc
from rnfl.imaging.disc import Disc

MM_PER_DEGREE = 0.288  # of retina (ours)
PHOTOGRAPH_MM = disc.PHOTOGRAPH_MM  # width of retina on a 45° photograph, 13.0 mm (ours)
CROP_WIDTH = FIELD_MM / PHOTOGRAPH_MM  # 0.380 = 2 · 0.19 of the photograph's width
SIZE = 224  # px
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
BYTES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
SHORTEST = 200  # px: the shorter side of the smallest photograph that is of use (ours)
LONGEST = 4  # times the shorter side (ours)


def read(path: str | Path) -> np.ndarray:
    """Return a photograph as RGB (H, W, 3) uint8, turned as its EXIF tag says.

    Raises
    ------
    ValueError
        For a file that is no readable image of 8 bits and one page, naming it.
    """
    try:
        with Image.open(path, formats=FORMATS) as file:
            if file.mode not in BYTES:
                raise ValueError(f"{file.mode} pixels, expected 8 bits per channel")
            if file.format == "TIFF" and file.n_frames > 1:
                raise ValueError(f"{file.n_frames} pages, expected one")
            return np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be read as an image: {error}") from error


def crop(photo: np.ndarray, x: float, y: float, width_mm: float = PHOTOGRAPH_MM) -> np.ndarray:
    """Return the square of 4.943 mm centred on the disc, area-resampled; black beyond the border.

    Parameters
    ----------
    photo : ndarray (H, W, 3), uint8
    x, y : float
        Disc centre, px.
    width_mm : float
        Width of retina on the photograph (mm).

    Returns
    -------
    ndarray (224, 224, 3), uint8
        Always a full square: padded, never clipped, so the scan circle stays a circle.
    """
    side = round(FIELD_MM / width_mm * photo.shape[1])
    left, top = round(x + 0.5 - side / 2), round(y + 0.5 - side / 2)
    square = Image.fromarray(photo).crop((left, top, left + side, top + side))
    return np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BOX))


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
    ValueError
        For an unknown laterality or framing, or an array that is not such a photograph.
    NoFieldError
        For a picture without a field of view, where the centre is not known.
    """
    if centre is not None:
        found = Disc(*map(float, centre), 1.0)
    else:
        found = disc.locate(photo, laterality, width_mm, framing)
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
    ValueError
        For a picture that is not square, or an unknown laterality.
    """
    height, width = picture.shape[:2]
    if height != width:
        raise ValueError(f"crop of {width}x{height} px: expected a square of {FIELD_MM:.3f} mm")
    how = Image.Resampling.BOX if width >= SIZE else Image.Resampling.BICUBIC
    small = np.asarray(Image.fromarray(picture).resize((SIZE, SIZE), how))
    return to_right_eye(small, laterality), Disc(*centre_of(height, width), 1.0)
