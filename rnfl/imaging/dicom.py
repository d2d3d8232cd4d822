"""DICOM photographs of the eye: which eye the header says it is, and the picture as RGB.

What is said of a file ends in tables, on pages and in logs, where no patient may be named: no text
of a header is ever repeated, only terms of the standard, and what pydicom says of it is not heard.

Source: DICOM PS3.3 C.8.17 (ophthalmic photography), C.7.6.3 (pixels), PS3.5 G (RLE).
"""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from rnfl.core.exclusion import Excluded
from rnfl.imaging import crops
from rnfl.imaging.inspection import check_width
from rnfl.storage import limits, provenance, readers

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIX, MAGIC, PREAMBLE = ".dcm", b"DICM", 128
CLASSES = ("1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.77.1.5.2")
RLE, JPEG = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50"
SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", RLE, JPEG)
# Samples per pixel, by photometric interpretation.
COLOURS = {"MONOCHROME1": 1, "MONOCHROME2": 1, "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3}
ZERO = np.array([0, 128, 128], np.float32)[:, None, None]  # of Y, Cb and Cr
SIDES = {"R": "OD", "L": "OS"}
UPRIGHT = ["L", "F"]  # rows run to the patient's left, columns to the foot: as photographs do
SQUARE = 0.01  # how far the two spacings of pixels that are taken as square may differ (ours)

NOT_TAKEN = "DICOM file that is not taken"
NO_SIDE = "DICOM file that does not say which eye it is of"
BURNT_IN = (
    "burnt-in annotation: the header says that text within the picture tells who the patient is; "
    "see that none lies round the disc; no page is drawn"
)
TURNED = "patient orientation: the header has another than L\\F: is the picture mirrored or turned?"
NOT_SQUARE = "pixel spacing: not two equal lengths, so that it is not used"

_ONE_AT_A_TIME = threading.Lock()


class _Wrong(ValueError):
    """What is wrong with a file, in words that quote no text of it."""


@dataclass(frozen=True)
class _Layout:
    """How the pixels of a photograph are stored."""

    rows: int
    columns: int
    samples: int  # per pixel
    kind: str  # of COLOURS
    size: int  # bytes per sample
    bits: int  # of them used
    planes: bool  # whether all of one colour lie together


@dataclass(frozen=True)
class Header:
    """What is taken from the header of a photograph; it holds nothing of the patient."""

    laterality: str  # OD or OS
    width_mm: float | None  # of retina on the photograph, where pixel spacing says a credible one
    doubts: tuple[str, ...]
    names_patient: bool  # whether text in the picture does


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM, or is called so."""
    if path.suffix.lower() == SUFFIX:
        return True
    try:
        if not path.is_file():  # a pipe would keep us waiting
            return False
        with path.open("rb") as file:
            return file.read(PREAMBLE + len(MAGIC))[PREAMBLE:] == MAGIC
    except OSError:
        return False


@contextmanager
def unheard() -> Iterator[None]:
    """Keep warnings and logs of DICOM libraries quiet in the body: they quote names and dates.

    Filters of warnings are the whole process's, so that one thread at a time is in here.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable()
        try:
            yield
        finally:
            logging.disable(before)


def read_header(path: Path) -> Header:
    """Return what the header of a photograph says.

    Raises
    ------
    Excluded
        For another kind of object, encoding or colours, more than one frame, a header that says no
        eye or two, or what is damaged.
    RuntimeError
        Without pydicom.
    """
    provenance.refuse_missing(("pydicom",), "dicom")
    with _refusing(path), unheard():
        _within("RNFL_MAX_BYTES", path.stat().st_size)
        with path.open("rb") as file:
            held, _, layout = _parse(file, path.name, pixels=False)
        width_mm, doubts = _width(held, layout.columns)
        orientation = [str(one) for one in held.get("PatientOrientation") or UPRIGHT]
        doubts += [TURNED] * (orientation != UPRIGHT)
        named = str(held.get("BurnedInAnnotation", "")).strip().upper() == "YES"
        doubts += [BURNT_IN] * named
        return Header(_side(held, path.name), width_mm, tuple(doubts), named)


def read(path: Path) -> np.ndarray:
    """Return a photograph as RGB (H, W, 3), uint8; levels of n bits are scaled to 0 to 255.

    Raises
    ------
    Excluded
        As :func:`read_header`, and for pixels that are not all there.
    """
    provenance.refuse_missing(("pydicom",), "dicom")
    data = crops.read_bytes(path)
    with _refusing(path):
        with unheard():
            held, syntax, layout = _parse(io.BytesIO(data), path.name, pixels=True)
            pixels = held.get("PixelData")
        if not isinstance(pixels, bytes):
            raise _Wrong("it holds no pixels")
        if syntax in (RLE, JPEG):
            from pydicom.encaps import get_frame

            pixels = get_frame(pixels, 0, number_of_frames=1)
        if syntax == JPEG:
            return _read_jpeg(pixels, layout)
        levels = (_unpack_rle if syntax == RLE else _unpack)(pixels, layout)
        top = 2**layout.bits - 1
        if levels.max() > top:
            raise _Wrong(f"levels above {top}, the most of its {layout.bits} bits")
        if top != 255:
            levels = np.round(levels * (255 / top))
        return _as_rgb(levels.astype(np.uint8), layout.kind)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Exclude a file over what the body raises; errors of a library may quote the header."""
    try:
        yield
        return
    except Excluded:
        raise
    except _Wrong as error:
        said = str(error)
    except Exception as error:  # over damaged bytes, a parser may end in any of them
        said = f"{type(error).__name__}; {readers.AGAIN}"
    raise Excluded(crops.UNREADABLE, f"{path.name} cannot be read as DICOM: {said}")


def _within(variable: str, n: int) -> None:
    try:
        limits.check(variable, n, "the file")
    except ValueError as error:
        raise _Wrong(str(error)) from error


def _parse(file: BinaryIO, name: str, pixels: bool) -> tuple[Dataset, str, _Layout]:
    """Return what a file holds, its transfer syntax and how its pixels lie.

    It is to be :func:`unheard`; a file that is no photograph, or of a kind not taken, is Excluded.
    """
    from pydicom import dcmread
    from pydicom.filereader import read_dataset

    file.seek(PREAMBLE)
    if file.read(len(MAGIC)) != MAGIC:
        raise _Wrong(f"no DICM after {PREAMBLE} bytes")
    # The syntax first: one that is deflated would be unpacked whole, whatever its size.
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, n: tag.group != 2)
    syntax = str(meta.get("TransferSyntaxUID", ""))
    _check_class(str(meta.get("MediaStorageSOPClassUID", "")), name)
    if syntax not in SYNTAXES:
        known = ", ".join(map(_term, SYNTAXES))
        _refuse(name, f"transfer syntax {_term(syntax)}; store it as one of {known}")
    file.seek(0)
    held = dcmread(file, stop_before_pixels=not pixels)
    _check_class(str(held.get("SOPClassUID", "")), name)
    return held, syntax, _layout(held, syntax, name)


def _check_class(uid: str, name: str) -> None:
    if uid not in CLASSES:
        _refuse(name, f"{_term(uid)}, expected an ophthalmic photograph of 8 or 16 bits")


def _refuse(name: str, said: str) -> None:
    raise Excluded(NOT_TAKEN, f"{name}: {said}")


def _term(uid: str) -> str:
    """Return the standard's name of a UID; any other text could be a patient's."""
    from pydicom.uid import UID

    return name if (name := UID(uid).name) and name != uid else "of an unknown kind"


def _layout(held: Dataset, syntax: str, name: str) -> _Layout:
    """Return how the pixels are stored, if that is one of the ways that are taken."""

    def number(key: str, default: int | None = None) -> int:
        # Text where a number belongs would be quoted by what is said of it.
        found = held.get(key, default)
        if not isinstance(found, int):
            raise _Wrong(f"{key} is missing, or no whole number")
        return int(found)

    if (frames := number("NumberOfFrames", 1)) != 1:
        _refuse(name, f"{frames} frames, expected one: save the one to read by itself")
    kind = str(held.get("PhotometricInterpretation"))
    if kind not in COLOURS:
        _refuse(name, f"its photometric interpretation is none of {', '.join(COLOURS)}")
    rows, columns = number("Rows"), number("Columns")
    samples, planes = number("SamplesPerPixel"), number("PlanarConfiguration", 0)
    if min(rows, columns) < 1 or samples != COLOURS[kind]:
        raise _Wrong(f"{columns}x{rows} pixels of {samples} samples, {kind}")
    _within("RNFL_MAX_PIXELS", rows * columns)
    allocated, bits, high = (number(key) for key in ("BitsAllocated", "BitsStored", "HighBit"))
    allowed = (8,) if syntax == JPEG or kind.startswith("YBR") else (8, 16)
    if allocated not in allowed or not 0 < bits <= allocated or high != bits - 1:
        raise _Wrong(f"bits allocated {allocated}, stored {bits}, the highest {high}; {kind}")
    if number("PixelRepresentation", 0) != 0:
        raise _Wrong("levels with a sign, expected none")
    return _Layout(rows, columns, samples, kind, allocated // 8, bits, planes == 1)


def _side(held: Dataset, name: str) -> str:
    """Return the laterality; where the image and the series say one, they must say the same."""
    told = [str(held.get(key) or "").strip() for key in ("ImageLaterality", "Laterality")]
    sides = {one for one in told if one}
    if len(sides) != 1 or not sides <= SIDES.keys():
        found = "both eyes" if "B" in sides or sides == set(SIDES) else "neither R nor L"
        told = f"{name}: ImageLaterality or Laterality must say R or L; there is {found}"
        raise Excluded(NO_SIDE, told)
    return SIDES[sides.pop()]


def _width(held: Dataset, columns: int) -> tuple[float | None, list[str]]:
    """Return the width of retina (mm) by the pixel spacing, and the doubts.

    In an ophthalmic photograph that is of the retina, and nominal (C.8.17.2): a length that no
    photograph shows, such as that of the sensor's pixels, is not used.
    """
    spacing = held.get("PixelSpacing")
    if spacing is None or spacing == "":
        return None, []
    try:
        down, across = map(float, spacing)
    except (TypeError, ValueError):
        return None, [NOT_SQUARE]
    if not abs(down - across) <= SQUARE * abs(across):
        return None, [NOT_SQUARE]
    width_mm = across * columns
    try:
        check_width(width_mm)
    except ValueError as error:
        return None, [f"pixel spacing: {error}; it is not used"]
    return width_mm, []


# pixels


def _read_jpeg(data: bytes, layout: _Layout) -> np.ndarray:
    """Return what Pillow makes of the JPEG, which says itself how its colours are coded."""
    picture = readers.open_image(io.BytesIO(data), ("JPEG",))
    if picture.size != (layout.columns, layout.rows):
        raise _Wrong(f"the JPEG has {picture.size} px, its header {layout.columns, layout.rows}")
    rgb = np.asarray(picture.convert("RGB"))
    return 255 - rgb if layout.kind == "MONOCHROME1" else rgb


def _unpack(data: bytes, layout: _Layout) -> np.ndarray:
    """Return pixels (H, W[, 3]) that are stored as they are."""
    rows, columns, samples = layout.rows, layout.columns, layout.samples
    halved = layout.kind == "YBR_FULL_422"  # Y Y Cb Cr: two pixels share their colour
    if halved and columns % 2:
        raise _Wrong(f"{layout.kind} of {columns} columns, expected an even number")
    n = rows * columns * (2 if halved else samples)
    if len(data) < n * layout.size:
        raise _Wrong(f"{len(data)} bytes of pixels, expected {n * layout.size}: it is cut off")
    levels = np.frombuffer(data, f"<u{layout.size}", n)
    if halved:
        pairs = levels.reshape(rows, columns // 2, 4)
        colours = [np.repeat(pairs[..., i], 2, axis=1) for i in (2, 3)]
        return np.stack([pairs[..., :2].reshape(rows, columns), *colours], axis=-1)
    if samples == 1:
        return levels.reshape(rows, columns)
    if layout.planes:
        return np.moveaxis(levels.reshape(samples, rows, columns), 0, -1)
    return levels.reshape(rows, columns, samples)


def _unpack_rle(data: bytes, layout: _Layout) -> np.ndarray:
    """Return pixels (H, W[, 3]) that are packed by run lengths, one segment per byte of a pixel.

    Pillow unpacks no more than the picture holds, whatever the runs say.
    """
    n, line = layout.samples * layout.size, (layout.columns * layout.rows, 1)
    head = np.frombuffer(data[:64], "<u4").tolist()
    if head[0] != n:
        raise _Wrong(f"{head[0]} segments of run lengths, expected {n}")
    ends = [*head[1 : n + 1], len(data)]
    segments = [
        np.asarray(Image.frombytes("L", line, data[start:end], "packbits", "L"))
        for start, end in pairwise(ends)
    ]
    planes = np.reshape(segments, (layout.samples, layout.size, layout.rows, layout.columns))
    levels = planes[:, 0]
    if layout.size == 2:  # the high byte comes first
        levels = levels.astype(np.uint16) << 8 | planes[:, 1]
    return levels[0] if layout.samples == 1 else np.moveaxis(levels, 0, -1)


def _as_rgb(levels: np.ndarray, kind: str) -> np.ndarray:
    if COLOURS[kind] == 1:
        grey = 255 - levels if kind == "MONOCHROME1" else levels
        return np.repeat(grey[..., None], 3, axis=-1)
    if kind == "RGB":
        return np.ascontiguousarray(levels)
    # Pillow's own conversion is up to two levels too dark in blue.
    y, blue, red = np.moveaxis(levels.astype(np.float32), -1, 0) - ZERO
    rgb = y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue
    return np.stack(rgb, axis=-1).round().clip(0, 255).astype(np.uint8)
