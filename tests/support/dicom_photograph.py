"""Drawn photographs as DICOM files, of a made-up patient whom nothing may name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless, generate_uid

from rnfl.imaging.dicom import CLASSES

PATIENT = {
    "SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müstermann^Erika",
    "PatientID": "PID-471147", "PatientBirthDate": "19501224", "PatientSex": "F",
    "OtherPatientIDs": "ALIAS-5252", "ReferringPhysicianName": "Hausarzt^Heinz",
    "AccessionNumber": "ACC-90817", "StudyID": "STU-55", "StudyDate": "20240229",
    "StudyTime": "101112", "InstitutionName": "Augenklinik",
}  # fmt: skip
#: What of it must stand nowhere but in DICOM files.
SECRETS = ("stermann", "Erika", "471147", "19501224", "1950-12-24", "5252", "Hausarzt", "90817",
           "STU-55", "Augenklinik")  # fmt: skip


def make(picture: np.ndarray, side: str | None = "R", **more: Any) -> Dataset:
    """Return a picture as a photograph of the study of the patient, its pixels as they are.

    Parameters
    ----------
    picture : ndarray
        (H, W, 3) uint8, or (H, W) uint8 or uint16, as they are to be stored.
    side : {'R', 'L', 'B', None}
        ImageLaterality.
    more
        Elements beside or in place of the usual ones; None leaves one out.
    """
    colours, size = picture.ndim == 3, picture.dtype.itemsize
    elements = {
        "SOPClassUID": CLASSES[size - 1], "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(),
        "Modality": "OP", "SeriesNumber": 1, "InstanceNumber": 1, "NumberOfFrames": 1,
        "ImageLaterality": side, "PatientOrientation": ["L", "F"], "BurnedInAnnotation": "NO",
        "Rows": picture.shape[0], "Columns": picture.shape[1],
        "SamplesPerPixel": 3 if colours else 1, "PlanarConfiguration": 0 if colours else None,
        "PhotometricInterpretation": "RGB" if colours else "MONOCHROME2",
        "BitsAllocated": 8 * size, "BitsStored": 8 * size, "HighBit": 8 * size - 1,
        "PixelRepresentation": 0, "PixelData": picture.tobytes(),
    }  # fmt: skip
    made = Dataset()
    for name, value in (PATIENT | elements | more).items():
        if value is not None:
            setattr(made, name, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made["PixelData"].VR = "OB" if size == 1 else "OW"
    return made


def as_rle(made: Dataset) -> Dataset:
    """Pack a photograph by run lengths, with pydicom's own code."""
    made.compress(RLELossless, generate_instance_uid=False)
    return made


def as_jpeg(made: Dataset, picture: np.ndarray) -> bytes:
    """Make a photograph hold its picture as JPEG, and return that."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95)
    made.PhotometricInterpretation = "YBR_FULL_422"
    made.PixelData = encapsulate([file.getvalue()])
    made["PixelData"].VR = "OB"
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return file.getvalue()


def halved(ybr: np.ndarray) -> bytes:
    """Return YBR (H, W, 3) as YBR_FULL_422 is stored: Y Y Cb Cr, of each pair its first colour."""
    first, second = ybr[:, ::2], ybr[:, 1::2]
    return np.stack([first[..., 0], second[..., 0], first[..., 1], first[..., 2]], -1).tobytes()


def save(made: Dataset, path: Path) -> Path:
    """Write a photograph as a DICOM file and return its path."""
    made.save_as(path, enforce_file_format=True)
    return path
