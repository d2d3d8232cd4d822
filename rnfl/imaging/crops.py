"""Fundus photographs: from a file to the disc-centred crop that every model is shown.

A crop is 4.943 mm wide, centred on the disc and in right-eye orientation. How many millimetres of
retina a photograph shows is rarely written in it: 13.0 mm is a 45° camera (45 · 0.288, **ours**).
Preparing a dataset and using a model both go through here, so that a model sees in use the pixels
that it would have seen in training.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from rnfl.core import masks
from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import FIELD_MM, to_right_eye
from rnfl.core.geometry import centre as middle
from rnfl.imaging import disc, inspection, pixels
from rnfl.imaging.disc import Disc
from rnfl.imaging.pixels import SIZE
from rnfl.storage import readers

PHOTOGRAPH_MM = disc.PHOTOGRAPH_MM  # width of retina on a 45° photograph, 13.0 mm (ours)
CROP_WIDTH = FIELD_MM / PHOTOGRAPH_MM  # 0.380 = 2 · 0.19 of the photograph's width
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
BYTES = ("L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
PNG_DEPTH = 24  # place of the bit depth in a PNG file
BITS_PER_SAMPLE = 258  # tag of a TIFF file
SHORTEST = 200  # px: the shorter side of the smallest photograph that is of use (ours)
LONGEST = 4  # times the shorter side (ours)
SMALLEST_CROP = SIZE // 4  # px (ours)
NARROWEST = 0.5  # of the field that a crop has to show, the rest is its reflection (ours)

UNREADABLE = "unreadable photograph"
TOO_SMALL = "photograph too small or too narrow"
NOT_SQUARE = "crop that is not square"
TOO_NARROW = "crop that shows too little round the disc"
OTHER_MASK = "mask that is not one of its photograph's disc and cup"


def read_bytes(path: Path) -> bytes:
    """Return what the file of a photograph holds; one that cannot be read is :class:`Excluded`."""
    try:
        return readers.read_bytes(path)
    except ValueError as error:
        said = str(error).replace(str(path), path.name)
        raise Excluded(UNREADABLE, said) from error


def read(path: Path, data: bytes | None = None) -> np.ndarray:
    """Return a photograph as RGB (H, W, 3) uint8, turned as its EXIF tag says.

    What alpha hides is black. ``data`` is what the file holds, where it was read already. A file
    that is no readable image of one page with 8 bits per channel is :class:`Excluded`, by name.
    """
    source = io.BytesIO(read_bytes(path) if data is None else data)
    try:
        with readers.open_image(source, FORMATS) as file:
            _check_bits(file)
            if file.format == "TIFF" and file.n_frames > 1:
                raise ValueError(f"{file.n_frames} pages, expected one")
            upright = ImageOps.exif_transpose(file)
            if upright.has_transparency_data:
                picture = upright.convert("RGBA")
                black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
                upright = Image.alpha_composite(black, picture)
            return np.asarray(upright.convert("RGB"))
    except Exception as error:  # over damaged bytes, a decoder may end in any of them
        said = str(error).replace(repr(source), repr(path.name)).replace(str(path), path.name)
        raise Excluded(UNREADABLE, f"{path.name} cannot be read as an image: {said}") from error


def _check_bits(file: Image.Image) -> None:
    """Refuse other depths than 8 bits: of 16 Pillow would take the high byte and say nothing."""
    bits = {8}
    if file.format == "TIFF":
        bits = set(file.tag_v2.get(BITS_PER_SAMPLE, (1,)))
    elif file.format == "PNG":
        place = file.fp.tell()
        file.fp.seek(PNG_DEPTH)
        depth = file.fp.read(1)[0]
        file.fp.seek(place)
        bits = {8} if file.mode == "P" else {depth}
    if file.mode not in BYTES or bits != {8}:
        raise ValueError(
            f"{file.mode} pixels of {max(bits)} bits, expected 8 bits per channel: save it so, its "
            "used range spread over 0 to 255"
        )


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
    return pixels.cut(photo, x, y, _side(photo, width_mm), pixels.REPEATED)


def _side(photo: np.ndarray, width_mm: float) -> int:
    return round(FIELD_MM / width_mm * photo.shape[1])


def crop_mask(mask: np.ndarray, made: Crop, laterality: str) -> np.ndarray:
    """Return a mask of disc and cup as its photograph was cropped and mirrored.

    Parameters
    ----------
    mask : ndarray (H, W), uint8
        Of the photograph, in the numbers of :mod:`rnfl.core.masks`.
    made : Crop
        Of the photograph, by :func:`prepare` or :func:`prepare_crop`.
    laterality : {'OD', 'OS'}
        As it was told to them.

    Returns
    -------
    ndarray (112, 112), uint8
    """
    place = made.disc.x, made.disc.y, _side(mask, made.width_mm)
    return to_right_eye(pixels.cut_labels(mask, *place, masks.SIDE), laterality)


def read_mask(path: Path, data: bytes, shape: tuple[int, ...]) -> tuple[np.ndarray, str]:
    """Return the mask of disc and cup of a photograph, and what its values were taken for.

    Parameters
    ----------
    path, data
        Its file, and what that holds.
    shape : tuple of int
        Of the photograph: (H, W, 3).

    Returns
    -------
    mask : ndarray (H, W), uint8
        In the numbers of :mod:`rnfl.core.masks`.
    convention : str
        One of :data:`rnfl.core.masks.CONVENTIONS`.

    Raises
    ------
    Excluded
        For a file that is no image of grey levels, of another size than the photograph, or of
        other values than those that are known.
    """
    picture = read(path, data)
    if picture.shape != shape:
        sizes = (f"{one[1]}x{one[0]} px" for one in (picture.shape, shape))
        raise Excluded(OTHER_MASK, "{}: {}, its photograph {}".format(path.name, *sizes))
    if (picture != picture[..., :1]).any():
        raise Excluded(OTHER_MASK, f"{path.name} is coloured: expected grey levels")
    try:
        return masks.from_levels(picture[..., 0])
    except ValueError as error:
        raise Excluded(OTHER_MASK, f"{path.name}: {error}") from error


@dataclass(frozen=True)
class Crop:
    """What a model is shown of a photograph, and what is to be known of it."""

    image: np.ndarray  # (224, 224, 3), uint8: 4.943 mm round the disc, in right-eye orientation
    disc: Disc  # in px of the photograph
    width_mm: float  # of retina on the photograph, margins included
    field_share: float  # diameter of the lit field over the photograph's width; NaN without one
    doubts: list[str]  # why it is unsure, if it is: of the disc, or of the inspection


def prepare(
    photo: np.ndarray,
    laterality: str,
    centre: tuple[float, float] | None = None,
    width_mm: float | None = None,
    framing: str = "macula",
    modality: str | None = "CFP",
) -> Crop:
    """Return the crop of a photograph (H, W, 3), uint8, after a look at what the photograph is.

    Parameters
    ----------
    photo : ndarray
        As taken, not mirrored.
    laterality : {'OD', 'OS'}
    centre : (x, y), optional
        Disc centre in px where it is known (confidence 1 unless another disc is seen); otherwise
        it is looked for.
    width_mm : float, optional
        Width of retina on the photograph, margins included (mm); otherwise its lit field is taken
        as 13.0 mm wide.
    framing : {'macula', 'disc'}
        What the middle of the photograph shows, as for :func:`rnfl.imaging.disc.locate`.
    modality : {'CFP', 'SLO', None}
        What the model or dataset is of, None where that is not known.

    Raises
    ------
    Excluded
        For a photograph too small, too narrow or of too few grey levels, a centre outside it or
        its lit field, or, where the centre is not known, a picture without a field of view.
    """
    height, width = photo.shape[:2]
    short, long = sorted((height, width))
    if short < SHORTEST or long > LONGEST * short:
        raise Excluded(TOO_SMALL, f"{width}x{height} px")
    photo, doubts = inspection.blacken_margins(photo)
    field = _field(photo, needed=centre is None)
    width_mm, doubtful = inspection.choose_width(field, width_mm)
    doubts += doubtful
    place, corner = None, (0, 0)
    if field:
        left, top, right, bottom = inspection.frame(field, photo)
        part_mm = width_mm * (right - left) / width
        seen = disc.locate(photo[top:bottom, left:right], laterality, part_mm, framing)
        place, corner = Disc(seen.x + left, seen.y + top, seen.confidence), (left, top)
    if centre is not None:
        stated, size = tuple(map(float, centre)), (width, height)
        place, doubtful = inspection.judge_centre(stated, place, field, size, width_mm, corner)
        doubts += doubtful
    elif place.unsure:
        doubts.append(disc.doubt(place.confidence))
    inspection.check_levels(photo)
    if field:
        small = disc.to_working_width(photo)
        doubts += inspection.judge_levels(small[field.mask], modality)
    image = to_right_eye(crop(photo, place.x, place.y, width_mm), laterality)
    doubts += inspection.judge_crop(image, FIELD_MM / width_mm * width)
    return Crop(image, place, width_mm, field.share if field else np.nan, doubts)


def _field(photo: np.ndarray, needed: bool) -> inspection.Field | None:
    try:
        return inspection.find_field(photo)
    except Excluded:
        if needed:
            raise
        return None


def prepare_crop(
    picture: np.ndarray,
    laterality: str,
    modality: str | None = "CFP",
    width_mm: float = FIELD_MM,
) -> Crop:
    """Return a picture that is a crop already in the common size and orientation.

    Parameters
    ----------
    picture : ndarray (S, S, 3), uint8
        Centred on the disc, not mirrored; area-averaged to 224 px where it is larger, interpolated
        where it is smaller.
    laterality : {'OD', 'OS'}
    modality : {'CFP', 'SLO', None}
    width_mm : float
        Of retina on it. A narrower picture than 4.943 mm is continued by its reflection, of a wider
        one the middle is taken.

    Raises
    ------
    Excluded
        For a picture that is not square, smaller than 56 px, of too few grey levels, or narrower
        than half of 4.943 mm.
    ValueError
        For an unknown laterality.
    """
    height, width = picture.shape[:2]
    if height != width:
        raise Excluded(NOT_SQUARE, f"{width}x{height} px")
    if width < SMALLEST_CROP:
        raise Excluded(TOO_SMALL, f"{width}x{height} px")
    if not width_mm >= NARROWEST * FIELD_MM:
        least = NARROWEST * FIELD_MM
        raise Excluded(TOO_NARROW, f"{width_mm:.2f} mm, expected {least:.2f} mm or more")
    inspection.check_levels(picture)
    square = picture if width_mm == FIELD_MM else _to_field(picture, width_mm)
    image = to_right_eye(pixels.fit(square, pixels.BICUBIC), laterality)
    lit = image[image.max(axis=-1) > inspection.BRIGHT].astype(float)
    doubts = inspection.judge_levels(lit if len(lit) else image.reshape(-1, 3), modality)
    doubts += inspection.judge_crop(image, width)
    return Crop(image, Disc(*middle(height, width), 1.0), width_mm, np.nan, doubts)


def _to_field(picture: np.ndarray, width_mm: float) -> np.ndarray:
    """Return the square of 4.943 mm round the middle of a picture of another width."""
    side = round(len(picture) * FIELD_MM / width_mm)
    before = abs(side - len(picture)) // 2
    if side <= len(picture):
        return picture[before : before + side, before : before + side]
    after = side - len(picture) - before
    return np.pad(picture, ((before, after), (before, after), (0, 0)), mode="reflect")
