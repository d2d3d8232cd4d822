"""Synthetic fundus photographs as DICOM files, with a made-up patient whom nothing may repeat."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

from rnfl.imaging.dicom import CLASSES

PATIENT = {"PatientName": "Mustermann^Erika", "PatientID": "PID-471147",
           "PatientBirthDate": "19501224", "PatientSex": "F", "AccessionNumber": "ACC-90817",
           "ReferringPhysicianName": "Hausarzt^Heinz", "StudyID": "STU-55", "StudyDate": "20240229",
           "StudyTime": "101112"}  # fmt: skip
SECRETS = ("Mustermann", "Erika", "471147", "19501224", "1950-12-24", "90817", "Hausarzt")


def make(picture: np.ndarray, side: str | None, kind: str = "RGB", **more: Any) -> Dataset:
    """Return a picture as an uncompressed photograph.

    Parameters
    ----------
    picture : ndarray
        Values as they are stored: (H, W, 3) uint8, or (H, W) uint8 or uint16.
    side : {'R', 'L', 'B', None}
        ImageLaterality.
    kind : str
        PhotometricInterpretation.
    more
        Further elements, or others than those made here; None leaves one out.
    """
    deep = picture.dtype == np.uint16
    bits = 16 if deep else 8
    made = Dataset()
    elements = PATIENT | {
        "SOPClassUID": CLASSES[deep], "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(),
        "Modality": "OP", "SeriesNumber": 1, "InstanceNumber": 1, "NumberOfFrames": 1,
        "ImageLaterality": side, "BurnedInAnnotation": "NO", "PixelSpacing": [0.01, 0.01],
        "Rows": picture.shape[0], "Columns": picture.shape[1],
        "SamplesPerPixel": 3 if picture.ndim == 3 else 1, "PhotometricInterpretation": kind,
        "PlanarConfiguration": 0 if picture.ndim == 3 else None, "PixelRepresentation": 0,
        "BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1,
    }  # fmt: skip
    for name, value in (elements | more).items():
        if value is not None:
            setattr(made, name, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.PixelData = picture.tobytes()
    made["PixelData"].VR = "OW" if deep else "OB"
    return made


def as_jpeg(made: Dataset, picture: np.ndarray, quality: int = 95) -> bytes:
    """Make a photograph hold its picture (H, W, 3) as JPEG, and return that."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    made.PhotometricInterpretation = "YBR_FULL_422"
    made.PixelData = encapsulate([stream.getvalue()])
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return stream.getvalue()


def save(made: Dataset, path: Path) -> Path:
    """Write a photograph as a DICOM file."""
    made.save_as(path, enforce_file_format=True)
    return path
