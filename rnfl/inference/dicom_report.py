"""What was read of a DICOM photograph, as DICOM: a structured report, and its page as a document.

Both lie in the study of the photograph and say who the patient is, as an archive needs it. They are
the only files with data of a patient that this package writes. What a library says while it copies
them is not heard, and no error repeats a value.

Source: DICOM PS3.16 TID 1500 (measurement report), 1501, 300, 310 (uncertainty), 4019; PS3.3 A.45.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import ANGLES, SECTORS
from rnfl.imaging import dicom
from rnfl.inference import bands
from rnfl.storage import provenance

if TYPE_CHECKING:
    from pydicom import Dataset

PACKAGES = ("pydicom", "highdicom")
RESEARCH_USE = "Research use only. Not a medical device."
ORIGIN = "Estimated by a model from a fundus photograph; not measured by OCT."
ENDS = (
    "+ and - lead from a value to the ends of its band; those of sectors are the mean of the "
    "whole curve's band."
)
UNWRITTEN = "no DICOM report"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
SERIES = {"SR": 9001, "DOC": 9002}  # numbers; what tells series apart is their UID
SCHEME = "99RNFL"  # of the regions, for which the standard has no codes
#: Meaning of each region, by its column in a table of readings.
REGIONS = {
    "rnfl_mean": "whole circle",
    "rnfl_S": "superior quadrant",
    "rnfl_N": "nasal quadrant",
    "rnfl_I": "inferior quadrant",
    "rnfl_T": "temporal quadrant",
    "sector_T": "temporal sector",
    "sector_TS": "temporal superior sector",
    "sector_NS": "nasal superior sector",
    "sector_N": "nasal sector",
    "sector_NI": "nasal inferior sector",
    "sector_TI": "temporal inferior sector",
}
# Of a photograph that lacks one of them, a report has it empty.
MAY_BE_EMPTY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber",
                "StudyID", "StudyDate", "StudyTime")  # fmt: skip
NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def values(row: pd.Series, held: Mapping[str, Any] | None) -> dict[str, tuple[float, float, float]]:
    """Return thickness and the ends of its band (µm, NaN without one) of each of :data:`REGIONS`.

    Parameters
    ----------
    row : Series
        Of a table of readings (:class:`rnfl.inference.readings.Readings`).
    held : mapping or None
        The model's bands. Sectors have none of their own: where the band holds the whole curve, it
        holds its mean over a sector, so that theirs are on the safe side.
    """
    curve = np.full((2, len(ANGLES)), np.nan)
    if held:
        profile = row[[str(angle) for angle in ANGLES]].to_numpy(float)
        curve = np.array(bands.profile_limits(held, profile[None])).reshape(2, -1)
    found = {}
    for name in REGIONS:
        low, high = (row.get(f"{name}_{end}", np.nan) for end in ("low", "high"))
        if name.startswith("sector_"):
            low, high = curve[:, SECTORS[name.removeprefix("sector_")]].mean(axis=1)
        found[name] = float(row[name]), float(low), float(high)
    return found


def write_report(
    path: Path,
    source: Path,
    row: pd.Series,
    card: Mapping[str, Any],
    held: Mapping[str, Any] | None = None,
) -> None:
    """Write a Comprehensive SR by TID 1500 of what was read of a photograph.

    Parameters
    ----------
    path : Path
        The file to write.
    source : Path
        The DICOM photograph.
    row, held
        As for :func:`values`.
    card : mapping
        The model's, see :func:`rnfl.inference.model_card.make`, with all notes.

    Raises
    ------
    Excluded
        If the photograph's header lacks what places it in a study, or cannot be copied.
    """
    with _copying(source) as header:
        from highdicom.sr import ComprehensiveSR

        report = ComprehensiveSR(
            evidence=[header],
            content=_content(header, row, card, values(row, held)),
            is_complete=True,
            **_about("SR", header),
        )
        _save(report, path)


def write_page(path: Path, source: Path, page: Path) -> None:
    """Write a page (PDF) as an encapsulated document in the study of a photograph.

    Parameters and errors are those of :func:`write_report`.
    """
    with _copying(source) as header:
        from highdicom.base import SOPClass
        from pydicom import Dataset
        from pydicom.uid import ExplicitVRLittleEndian

        study = {"study_instance_uid": header.StudyInstanceUID}
        made = SOPClass(
            **study | _about("DOC", header),
            sop_class_uid=PDF,
            modality="DOC",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            specific_character_set=header.SpecificCharacterSet,
        )
        for name in MAY_BE_EMPTY:
            made[name] = header[name]
        made.copy_patient_and_study_information(header)
        data = page.read_bytes()
        made.ConversionType = "WSD"  # workstation
        made.AcquisitionDateTime = None
        # The page shows the picture: only where that is said to be free of names, so is the page.
        burnt = str(header.get("BurnedInAnnotation", "")) != "NO"
        made.BurnedInAnnotation = "YES" if burnt else "NO"
        made.DocumentTitle = f"RNFL thickness. {ORIGIN} {RESEARCH_USE}"
        made.ConceptNameCodeSequence = []
        made.MIMETypeOfEncapsulatedDocument = "application/pdf"
        made.EncapsulatedDocument = data + bytes(len(data) % 2)  # of even length, as all values
        made.EncapsulatedDocumentLength = len(data)
        shown = Dataset()
        shown.ReferencedSOPClassUID = header.SOPClassUID
        shown.ReferencedSOPInstanceUID = header.SOPInstanceUID
        made.SourceInstanceSequence = [shown]
        _save(made, path)


@contextmanager
def _copying(source: Path) -> Iterator[Dataset]:
    """Yield a photograph's header, its texts in UTF-8; what goes wrong in the body is Excluded."""
    provenance.refuse_missing(PACKAGES, "dicom")
    try:
        with dicom.unheard():
            from pydicom import dcmread

            try:
                header = dcmread(source, stop_before_pixels=True)
            except OSError as error:  # since it was read
                raise Excluded(UNWRITTEN, error.strerror or "it cannot be read") from error
            if absent := [name for name in NEEDED if not header.get(name)]:
                raise Excluded(UNWRITTEN, f"its header lacks {', '.join(absent)}")
            header.decode()
            header.SpecificCharacterSet = "ISO_IR 192"
            for name in MAY_BE_EMPTY:
                if name not in header:
                    setattr(header, name, "")
            yield header
            return
    except (Excluded, OSError):
        raise
    except Exception as error:  # what it says could quote the header
        said = type(error).__name__
    raise Excluded(UNWRITTEN, f"its header cannot be copied ({said}): see that it is valid DICOM")


def _about(modality: str, header: Dataset) -> dict[str, Any]:
    """Return what a new object in a series of its own says of itself and who made it."""
    from pydicom.uid import generate_uid

    return {
        "series_instance_uid": generate_uid(),
        "series_number": SERIES[modality],
        "sop_instance_uid": generate_uid(),
        "instance_number": 1,
        "manufacturer": "rnfl",
        "manufacturer_model_name": "rnfl",
        "software_versions": provenance.versions(("rnfl",))["rnfl"],
        "series_description": RESEARCH_USE,
    }


def _content(
    header: Dataset,
    row: pd.Series,
    card: Mapping[str, Any],
    found: Mapping[str, tuple[float, float, float]],
) -> Any:
    """Return the tree of the report: one group of measurements, and comments in words."""
    from highdicom import sr
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    software = sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=["rnfl", card["run_id"]]),
        name="rnfl",
        manufacturer_name="rnfl",
        model_name=card["run_id"],
    )
    observer = sr.ObserverContext(codes.DCM.Device, software)
    side = codes.SCT.Right if row["eye"] == "OD" else codes.SCT.Left
    group = sr.MeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(generate_uid(), f"RNFL {row['eye']}"),
        algorithm_id=sr.AlgorithmIdentification("rnfl", card["run_id"]),
        finding_sites=[sr.FindingSite(codes.SCT.Retina, side)],
        measurements=[_measurement(name, side, *three) for name, three in found.items()],
        source_images=[
            sr.SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID)
        ],
    )
    notes = [RESEARCH_USE, ORIGIN, card["sentence"], *card["notes"]]
    notes += [f"Unsure, look at the photograph: {row['doubts']}"] if row["doubts"] else []
    if any(np.isfinite(ends).any() for ends in found.values()):
        notes.append(ENDS)
    contains = sr.RelationshipTypeValues.CONTAINS
    for note in notes:
        group[0].ContentSequence.append(sr.TextContentItem(codes.DCM.Comment, note, contains))
    context = sr.ObservationContext(observer_device_context=observer)
    return sr.MeasurementReport(context, codes.SCT.ImagingProcedure, [group])


def _measurement(name: str, side: Any, value: float, low: float, high: float) -> Any:
    """Return the mean thickness of a region, with how far the ends of its band are away (µm)."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    um, belongs = codes.UCUM.Micrometer, sr.RelationshipTypeValues.HAS_PROPERTIES
    away = {
        codes.SCT.RangeOfUpperMeasurementUncertainty: high - value,
        codes.SCT.RangeOfLowerMeasurementUncertainty: value - low,
    }
    ends = sr.MeasurementProperties()  # whose own arguments would give them no unit
    for code, one in away.items():
        if np.isfinite(one):
            ends.append(sr.NumContentItem(code, round(one, 3), um, relationship_type=belongs))
    region = sr.CodedConcept(name, SCHEME, REGIONS[name])
    return sr.Measurement(
        codes.DCM.RetinalNerveFiberLayerThickness,
        round(value, 3),
        um,
        derivation=codes.SCT.Mean,
        finding_sites=[sr.FindingSite(codes.SCT.Retina, side, region)],
        properties=ends if len(ends) else None,
    )


def _save(made: Dataset, path: Path) -> None:
    with provenance.publish_file(path) as aside:
        made.save_as(aside, enforce_file_format=True)
