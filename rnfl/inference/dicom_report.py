"""What was read of a DICOM photograph, for the archive that it came from: numbers and page.

A Comprehensive SR (TID 1500) holds the numbers, an Encapsulated PDF the page, each in a new series
of the photograph's study. An archive files by patient: these are the only files that say who that
is, with the mode 600. Regions and band ends have codes of our own, as no standard has them.

Source: DICOM PS3.16 TID 1500, 1501, 300; PS3.3 A.45.1.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnfl.core.geometry import QUADRANTS, SECTORS
from rnfl.imaging import dicom
from rnfl.inference.onnx import USE
from rnfl.storage import provenance

if TYPE_CHECKING:
    from pydicom import Dataset

PDF = "1.2.840.10008.5.1.4.1.1.104.1"
OURS = "99RNFL"  # coding scheme, private
MAKER = "rnfl research package"
TITLE = "RNFL thickness estimated from a photograph"
SERIES = 9101  # number of that of numbers, the next is that of pages
SIDES = {"S": "superior", "N": "nasal", "I": "inferior", "T": "temporal"}


def _named(letters: str) -> str:
    return " ".join(SIDES[letter] for letter in letters)


#: Code of a region: its column in a reading, and what it is.
REGIONS = {
    "mean": ("rnfl_mean", "circle of 3.46 mm round the optic disc"),
    **{one: (f"rnfl_{one}", f"{_named(one)} quadrant") for one in QUADRANTS},
    **{f"sector_{one}": (f"sector_{one}", f"{_named(one)} Garway-Heath sector") for one in SECTORS},
}
EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate",
         "StudyTime", "AccessionNumber", "ReferringPhysicianName")  # fmt: skip


def refuse_missing() -> None:
    """Raise a RuntimeError that says what to install where something is missing."""
    provenance.refuse_missing(("pydicom", "highdicom"), dicom.EXTRA)


def write(source: Path, reading: Mapping[str, Any], card: Mapping[str, Any], place: Path) -> None:
    """Write the numbers as ``<place>_sr.dcm`` and, where ``<place>.pdf`` is, ``<place>_pdf.dcm``.

    Parameters
    ----------
    source : Path
        The DICOM photograph.
    reading : mapping
        Its row of :class:`rnfl.inference.readings.Readings`, µm.
    card : mapping
        The model's; its notes say of which eyes the bands hold how many.
    place : Path
        Without suffix.

    Raises
    ------
    Excluded
        If the photograph cannot be read any more.
    ValueError
        If its header is such that no report can be made of it; the message quotes none of it.
    """
    header = dicom.header(source)
    page = place.with_name(f"{place.name}.pdf")
    drawn = page.read_bytes() if page.exists() else None
    try:
        header.decode()  # to be written in UTF-8: notes and doubts have signs of all kinds
        header.SpecificCharacterSet = "ISO_IR 192"
        for name in EMPTY:  # which must be there, and may be empty
            if name not in header:
                setattr(header, name, None)
        made = {"sr": structured(header, reading, card)}
        if drawn is not None:
            made["pdf"] = encapsulated(header, drawn)
        files = {kind: _encoded(one) for kind, one in made.items()}
    except Exception as error:  # whatever a value of the header ends in, which it may quote
        raise ValueError(
            f"no DICOM report of {source}: patient and study cannot be copied from its header "
            f"({type(error).__name__}), expected values as the standard has them: correct them"
        ) from None
    for kind, data in files.items():
        with provenance.publish_file(place.with_name(f"{place.name}_{kind}.dcm")) as aside:
            aside.touch(mode=0o600)
            aside.write_bytes(data)


def structured(header: Dataset, reading: Mapping[str, Any], card: Mapping[str, Any]) -> Dataset:
    """Return the Comprehensive SR of a reading; see :func:`write`."""
    import highdicom
    from highdicom import sr
    from pydicom.sr.codedict import codes

    def our(value: str, meaning: str) -> sr.CodedConcept:
        return sr.CodedConcept(value, OURS, meaning)

    side = codes.SCT.Right if reading["eye"] == "OD" else codes.SCT.Left
    kinds = {"": codes.SCT.Mean}
    kinds |= {f"_{end}": our(f"band_{end}", f"{end} end of the band") for end in ("low", "high")}
    measurements = [
        sr.Measurement(
            name=codes.DCM.RetinalNerveFiberLayerThickness,
            value=float(reading[column + end]),
            unit=codes.UCUM.Micrometer,
            derivation=derivation,
            finding_sites=[sr.FindingSite(codes.SCT.Retina, side, our(region, meaning))],
        )
        for region, (column, meaning) in REGIONS.items()
        for end, derivation in kinds.items()
        if np.isfinite(reading.get(column + end, np.nan))
    ]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(highdicom.UID(), f"RNFL {reading['eye']}"),
        algorithm_id=sr.AlgorithmIdentification(
            MAKER, provenance.versions(("rnfl",))["rnfl"], [f"run {card['run_id']}"]
        ),
        finding_sites=[sr.FindingSite(codes.SCT.Retina, side)],
        measurements=measurements,
        qualitative_evaluations=[sr.QualitativeEvaluation(our("use", "Use"), our("research", USE))],
        source_images=[
            sr.SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID)
        ],
    )
    for text in ("; ".join(card["notes"]), reading["doubts"] and f"Unsure: {reading['doubts']}"):
        if text:
            said = codes.DCM.Comment, text, sr.RelationshipTypeValues.CONTAINS
            group[0].ContentSequence.append(sr.TextContentItem(*said))
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=_device(card["run_id"]), name=MAKER, manufacturer_name=MAKER, model_name="rnfl"
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(codes.DCM.Device, device)
        ),
        procedure_reported=our("estimate", TITLE),
        imaging_measurements=[group],
    )
    made = sr.ComprehensiveSR(
        evidence=[header],
        content=report,
        series_instance_uid=highdicom.UID(),
        series_number=SERIES,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=MAKER,
        is_complete=True,
    )
    made.SeriesDescription = USE
    return made


def encapsulated(header: Dataset, page: bytes) -> Dataset:
    """Return a page, the bytes of a PDF, as Encapsulated PDF in the study of a header."""
    import highdicom
    from pydicom import Dataset
    from pydicom.uid import ExplicitVRLittleEndian

    study = {
        name: header.get(keyword)
        for name, keyword in {
            "patient_id": "PatientID",
            "patient_name": "PatientName",
            "patient_birth_date": "PatientBirthDate",
            "patient_sex": "PatientSex",
            "accession_number": "AccessionNumber",
            "study_id": "StudyID",
            "study_date": "StudyDate",
            "study_time": "StudyTime",
            "referring_physician_name": "ReferringPhysicianName",
            "specific_character_set": "SpecificCharacterSet",
        }.items()
    }
    made = highdicom.SOPClass(
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=highdicom.UID(),
        series_number=SERIES + 1,
        sop_instance_uid=highdicom.UID(),
        sop_class_uid=PDF,
        instance_number=1,
        modality="DOC",
        manufacturer=MAKER,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description=USE,
        **study,
    )
    made.copy_patient_and_study_information(header)
    source = Dataset()
    source.ReferencedSOPClassUID = header.SOPClassUID
    source.ReferencedSOPInstanceUID = header.SOPInstanceUID
    made.SourceInstanceSequence = [source]
    made.ConversionType = "WSD"
    made.BurnedInAnnotation = "NO"
    made.AcquisitionDateTime = None
    made.ConceptNameCodeSequence = []
    made.DocumentTitle = f"{TITLE}. {USE}"
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocumentLength = len(page)
    made.EncapsulatedDocument = page + b"\0" * (len(page) % 2)
    return made


def _device(run_id: str) -> str:
    """Return the same UID for the same run."""
    from pydicom.uid import generate_uid

    return generate_uid(prefix=None, entropy_srcs=["rnfl", run_id])


def _encoded(made: Dataset) -> bytes:
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
