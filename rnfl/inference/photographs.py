"""Which photographs a user wants read, of which eye: from files, a folder, a table or file names.

The laterality of an eye is never guessed: it decides which way the profile runs. It is given for
all photographs, or in a table, or taken from file names when the user says that it is there. A
DICOM file says it itself, and what is given besides must agree.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import realpath  # unlike resolve, it passes over links in a circle
from pathlib import Path

import numpy as np

from rnfl.core.demographics import SPELLINGS
from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import LATERALITIES
from rnfl.datasets.folder.table import SAME
from rnfl.imaging import crops, dicom
from rnfl.imaging.inspection import MM_PER_DEGREE, check_width
from rnfl.storage.tables import listed, named_file, near_names, read_table

FROM_NAME = "from-name"
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
COLUMNS = ("image", "eye", "disc_x", "disc_y", "width_mm")
DEGREES = "field_degrees"
EXPECTED = f"Expected a CSV with the columns image and eye, optionally {', '.join(COLUMNS[2:])}"
WAYS = (
    f"give one of --eye OD, --eye OS, --eye {FROM_NAME} (when it stands in the file names) and "
    "--eyes TABLE.csv (columns image, eye)"
)
_SIDE = re.compile(rf"(?<![^\W_])({'|'.join(LATERALITIES)})(?![^\W_])", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """One photograph to read, and what the user knows of it."""

    path: Path
    laterality: str  # OD or OS
    centre: tuple[float, float] | None = None  # of the disc, px of the photograph
    width_mm: float | None = None  # of retina on the photograph, margins included
    header: dicom.Header | None = None  # of a DICOM file

    def picture(self) -> np.ndarray:
        """Return the photograph as RGB (H, W, 3), uint8, or raise :class:`Excluded`."""
        return dicom.read(self.path) if self.header else crops.read(self.path)


def collect(
    images: Sequence[Path],
    eye: str | None = None,
    table: Path | None = None,
    centre: tuple[float, float] | None = None,
    width_mm: float | None = None,
) -> tuple[list[Request], list[dict[str, str]]]:
    """Return what is to be read, in order, and what cannot be, with its reason.

    Parameters
    ----------
    images : sequence of Path
        Photographs, and folders whose files are meant (not those of folders within). Without any,
        those of ``table``.
    eye : {'OD', 'OS', 'from-name'}, optional
        Laterality of all of them, or that it stands in each file's name, as in ``12_OD_1.jpg``;
        not needed of DICOM files.
    table : Path, optional
        CSV with columns image (file name or path from the table's folder) and eye, optionally
        disc_x, disc_y (px) and width_mm or field_degrees, where empty means not known. Columns
        and eyes may have the other names that a dataset ``folder`` knows.
    centre : (x, y), optional
        Disc centre of the only photograph.
    width_mm : float, optional
        Width of retina on photographs for which ``table`` says nothing; by default what the header
        of a DICOM file says, else their lit field is taken as 13.0 mm wide.

    Returns
    -------
    requests : list of Request
    exclusions : list of {"image", "reason"}

    Raises
    ------
    ValueError
        If lateralities are given in no way or in two, an option does not fit, or the table is
        wrong.
    FileNotFoundError
        If a photograph or folder is not there.
    RuntimeError
        If there are DICOM files and no package to read them.
    """
    _check(eye, table, width_mm)
    rows = _read_table(table) if table else {}
    if not images and table is None:
        raise ValueError("no photograph is given: name files or a folder")
    named = {name: named_file(table.parent / name) for name in rows}
    rows_by_path = {realpath(path): name for name, path in named.items()}
    paths, exclusions = _files(images) if images else (list(named.values()), [])
    if table:  # which may lie among the photographs
        exclusions = [e for e in exclusions if realpath(e["image"]) != realpath(table)]
    if eye is None and table is None and not all(map(dicom.is_dicom, paths)):
        raise ValueError(
            f"which eye it is is not given: {WAYS}; only DICOM files say it themselves"
        )
    if centre and len(paths) != 1:
        raise ValueError(f"one disc centre is given for {len(paths)} photographs: use a table")

    requests, used = [], set()
    for path in paths:
        name = rows_by_path.get(realpath(path), unicodedata.normalize("NFC", path.name))
        used.add(name)
        try:
            requests.append(_request(path, eye, rows.get(name), centre, width_mm))
        except (ValueError, Excluded) as error:
            exclusions.append({"image": str(path), "reason": str(error)})
    if not images or any(path.is_dir() for path in images):
        exclusions += [{"image": name, "reason": f"named in {table.name}, but {_absence(path)}"}
                       for name, path in named.items() if name not in used]  # fmt: skip
    return requests, exclusions


def _absence(path: Path) -> str:
    if path.is_file():
        return "not among the photographs given"
    near = near_names(path)
    return "no such file" + (f"; the folder has {listed(near)}" if near else "")


def _check(eye: str | None, table: Path | None, width_mm: float | None) -> None:
    if eye is not None and table is not None:
        raise ValueError(f"which eye it is is given twice: {WAYS}")
    valid = (*LATERALITIES, FROM_NAME)
    if eye is not None and eye not in valid:
        raise ValueError(f"eye {eye!r}: expected one of {', '.join(valid)}")
    if width_mm is not None:
        check_width(width_mm)


def _files(images: Sequence[Path]) -> tuple[list[Path], list[dict[str, str]]]:
    """Return the photographs among files and in folders, and what else lies in the folders."""
    paths, exclusions = [], []
    for image in map(Path, images):
        if not image.exists():
            raise FileNotFoundError(f"{image}: no such photograph or folder")
        if not image.is_dir():
            paths.append(image)
            continue
        for path in sorted(p for p in image.iterdir() if not p.name.startswith(".")):
            if path.is_dir():
                exclusions.append({"image": str(path), "reason": "a folder within the folder"})
            elif path.suffix.lower() not in SUFFIXES and not dicom.is_dicom(path):
                exclusions.append({"image": str(path), "reason": "not an image file"})
            elif not path.is_file():
                reason = "a link that leads nowhere" if path.is_symlink() else "not a regular file"
                exclusions.append({"image": str(path), "reason": reason})
            else:
                paths.append(path)
    count = Counter(map(realpath, paths))
    if twice := sorted(str(path) for path, times in count.items() if times > 1):
        raise ValueError(f"photographs are given twice: {listed(twice)}")
    return paths, exclusions


def _read_table(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a table of eyes by image, as text."""
    frame = read_table(path, SAME, None, EXPECTED, needed=COLUMNS[:2])
    if absent := [name for name in COLUMNS[:2] if name not in frame]:
        raise ValueError(f"{path}: columns {absent} are missing; found {listed(frame, 12)}")
    if {"width_mm", DEGREES} <= set(frame):
        raise ValueError(f"{path}: columns width_mm and {DEGREES}: keep one of them")
    frame = frame[[name for name in (*COLUMNS, DEGREES) if name in frame]]
    frame = frame.apply(lambda column: column.str.strip().str.normalize("NFC"))
    repeated = frame.loc[frame["image"].duplicated(), "image"]
    if len(repeated) or (frame["image"] == "").any():
        raise ValueError(f"{path}: image must name each photograph once; see {listed(repeated)}")
    return {row["image"]: row for row in frame.to_dict("records")}


def _request(path: Path, eye: str | None, row: dict | None, centre, width_mm: float) -> Request:
    known = dicom.is_dicom(path)
    if eye is None and row is None and not known:
        raise ValueError("no row in the table of eyes")
    if not path.is_file():
        raise ValueError(_absence(path))
    header = dicom.read_header(path) if known else None
    side = _side(path, row["eye"] if row else eye, eye == FROM_NAME, header)
    row = row or {}
    if header and width_mm is None:
        width_mm = header.width_mm
    x, y = (_number(row, name) for name in ("disc_x", "disc_y"))
    if (x is None) != (y is None):
        raise ValueError("disc_x and disc_y: only one of them is given")
    name, mm = (DEGREES, MM_PER_DEGREE) if DEGREES in row else ("width_mm", 1.0)
    width = _number(row, name)
    if width is not None:
        width_mm = width * mm
        check_width(width_mm)
    return Request(path, side, centre if x is None else (x, y), width_mm, header)


def _side(path: Path, given: str | None, named: bool, header: dicom.Header | None) -> str:
    """Return the laterality that is given, or stands in the file's name, or in a DICOM header."""
    if named:
        given = None if header and not _sides_in(path.stem) else _side_in(path.stem)
    if header and not given:
        return header.laterality
    side = SPELLINGS["laterality"].get(given.lower(), given.upper())
    if side not in LATERALITIES:
        raise ValueError(f"eye {given!r}: expected one of {', '.join(LATERALITIES)}")
    if header and side != header.laterality:
        raise ValueError(
            f"{side} is given, its DICOM header says {header.laterality}: which is it?"
        )
    return side


def _number(row: dict, name: str) -> float | None:
    text = row.get(name, "").strip()
    try:
        return float(text) if text else None
    except ValueError:
        raise ValueError(f"{name} {text!r}: expected a number") from None


def _sides_in(stem: str) -> set[str]:
    return {side.upper() for side in _SIDE.findall(stem)}


def _side_in(stem: str) -> str:
    sides = _sides_in(stem)
    if len(sides) != 1:
        said = "both OD and OS stand" if sides else "neither OD nor OS stands"
        raise ValueError(f"{said} in the file's name")
    return sides.pop()
