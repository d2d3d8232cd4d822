"""Photographs in DICOM files: Ophthalmic Photography of 8 and of 16 bits, one frame each.

The header says which eye it is and how pixels are stored, and who the patient is: of its values
only terms of the standard and numbers are ever said, and never the text of a library's error or
warning, which may quote any of them. pydicom, of the extra 'dicom', is imported when it is needed.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnfl.core.exclusion import Excluded
from rnfl.imaging.crops import UNREADABLE
from rnfl.storage import limits, provenance, readers

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIX = ".dcm"
EXTRA = "dicom"  # of pyproject.toml
#: Ophthalmic Photography of 8 and of 16 bits.
CLASSES = ("1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.77.1.5.2")
JPEG = "1.2.840.10008.1.2.4.50"
SYNTAXES = {
    "1.2.840.10008.1.2": "implicit little endian",
    "1.2.840.10008.1.2.1": "explicit little endian",
    "1.2.840.10008.1.2.5": "RLE",
    JPEG: "JPEG baseline",
}
SAMPLES = {"RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3, "MONOCHROME1": 1, "MONOCHROME2": 1}
SIDES = {"R": "OD", "L": "OS"}
BURNT_IN = "burnt-in text: the file says that text is part of the picture; no page is drawn"
REMEDY = "if it is damaged, export it again"


def is_dicom(path: Path) -> bool:
    """Return whether a file is taken for DICOM, by its name.

    Examples
    --------
    >>> is_dicom(Path("7.DCM")), is_dicom(Path("7.png"))
    (True, False)
    """
    return path.suffix.lower() == SUFFIX


@cache
def library() -> Any:
    """Return pydicom, silenced: its warnings, and highdicom's, quote what headers hold.

    Raises
    ------
    RuntimeError
        If it is not installed.
    """
    provenance.refuse_missing(("pydicom",), EXTRA)
    import pydicom

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    for name in ("pydicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # They may be put down to whoever called: for the whole process, as threads share the filters.
    warnings.filterwarnings("ignore", module=r"(pydicom|highdicom|rnfl\..*dicom)\b")
    return pydicom


def laterality(path: Path) -> str:
    """Return the eye that a file's header names, OD or OS; it is never guessed.

    Raises
    ------
    Excluded
        If it names none, both, or two that differ, or is no header of a photograph.
    """
    found = header(path)
    with _in_words(path):
        said = {str(found.get(name) or "") for name in ("ImageLaterality", "Laterality")} - {""}
        if len(said) == 1 and (side := SIDES.get(said.pop())):
            return side
        raise Excluded(
            UNREADABLE,
            f"{path.name}: its header does not say which eye it is (ImageLaterality, else "
            "Laterality: expected R or L, and not two that differ): set it where it was taken",
        )


def header(path: Path) -> Dataset:
    """Return the header of a photograph, without its pixels.

    Raises
    ------
    Excluded
        If the file is too large, damaged, or none of :data:`CLASSES` in one of :data:`SYNTAXES`.
    """
    return _open(path, stop_before_pixels=True)


def read(path: Path) -> tuple[np.ndarray, list[str]]:
    """Return a photograph as RGB (H, W, 3) uint8, as taken, and the doubts that its header raises.

    Of B bits stored, 0 to 2^B - 1 becomes 0 to 255, rounded.

    Raises
    ------
    Excluded
        As :func:`header`, or if pixels are of another kind, several frames or not all there.
    """
    dataset = _open(path)
    with _in_words(path):
        stored = _check_pixels(path, dataset)
        values = library().pixels.pixel_array(dataset)  # YBR as RGB
        if values.shape[:2] != (dataset.Rows, dataset.Columns):
            raise ValueError("another size than the header says")
        most = 2**stored - 1
        levels = np.rint(np.arange(most + 1) * (255 / most)).astype(np.uint8)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            levels = levels[::-1]
        pixels = levels[values & most]  # bits above those stored are no part of the picture
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=-1)
        burnt_in = dataset.get("BurnedInAnnotation") == "YES"
        return np.ascontiguousarray(pixels), [BURNT_IN] if burnt_in else []


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Turn what pydicom raises in the body into :class:`Excluded`, without its text."""
    try:
        yield
    except Excluded:
        raise
    except Exception as error:  # over damaged bytes, a parser may end in any of them
        said = f"{path.name} cannot be read as DICOM ({type(error).__name__}): {REMEDY}"
        raise Excluded(UNREADABLE, said) from None


def _refuse(path: Path, found: str, expected: str) -> None:
    raise Excluded(UNREADABLE, f"{path.name}: {found}, expected {expected}")


def _within(variable: str, found: int, path: Path) -> None:
    try:
        limits.check(variable, found, path.name)
    except ValueError as error:
        raise Excluded(UNREADABLE, str(error)) from error


def _name(uid: str) -> str:
    name = library().uid.UID(uid).name
    return "a private or unknown one" if name == uid else name


def _open(path: Path, **how: Any) -> Dataset:
    pydicom = library()
    with _in_words(path):
        _within("RNFL_MAX_BYTES", path.stat().st_size, path)
        # First, since a deflated file unpacks to any size.
        syntax = pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID
        if syntax not in SYNTAXES:
            _refuse(path, f"transfer syntax {_name(syntax)}", ", ".join(SYNTAXES.values()))
        dataset = pydicom.dcmread(path, **how)
        if dataset.SOPClassUID not in CLASSES:
            kind = f"the DICOM kind {_name(dataset.SOPClassUID)}"
            _refuse(path, kind, "Ophthalmic Photography 8 or 16 Bit")
        return dataset


def _check_pixels(path: Path, dataset: Dataset) -> int:
    """Return how many bits a value has, if the picture is of a kind and size that is read."""
    if (frames := int(dataset.get("NumberOfFrames") or 1)) != 1:
        _refuse(path, f"{frames} frames", "one: save the frame to be read by itself")
    kind = dataset.PhotometricInterpretation
    if kind not in SAMPLES:
        known = {one.value for one in library().pixels.common.PhotometricInterpretation}
        found = kind if kind in known else "an unknown one"
        _refuse(path, f"photometric interpretation {found}", ", ".join(SAMPLES))
    rows, columns, allocated, stored, samples = (
        int(dataset[name].value)
        for name in ("Rows", "Columns", "BitsAllocated", "BitsStored", "SamplesPerPixel")
    )
    _within("RNFL_MAX_PIXELS", rows * columns, path)
    whole = allocated in (8, 16) and 8 <= stored <= allocated and dataset.HighBit == stored - 1
    if not whole or dataset.PixelRepresentation != 0 or samples != SAMPLES[kind]:
        bits = f"{samples} samples of {stored} bits in {allocated}"
        _refuse(path, f"{bits} ({kind})", "unsigned values of 8 to 16 bits, the lowest ones")
    # No compression that is read needs more bytes than the picture, but for some overhead.
    if (size := len(dataset.PixelData)) > 2 * rows * columns * samples * (allocated // 8) + 2**16:
        _refuse(path, f"{size:,} bytes of pixels", f"those of {columns}x{rows} px")
    if dataset.file_meta.TransferSyntaxUID == JPEG:  # which says its own size
        frame = next(library().encaps.generate_frames(dataset.PixelData, number_of_frames=1))
        with readers.open_image(io.BytesIO(frame), ("JPEG",)) as picture:
            if picture.size != (columns, rows):
                _refuse(path, "a JPEG of another size", f"{columns}x{rows} px as its header says")
    return stored
