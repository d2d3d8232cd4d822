"""A small GRAPE look-alike, drawn on the spot: photographs of known discs and their workbook."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openpyxl
from PIL import Image
from scipy import ndimage

from rnfl.imaging.disc import DISC_RADIUS

GROUPS = {
    "Subject Number": [], "Laterality": [], "Age": [], "Gender": [], "IOP": [], "CCT": [],
    "Total Visits": [], "Progression Status": ["PLR2", "PLR3", "MD"], "Category of Glaucoma": [],
    "OCT RNFL thickness": ["Mean", "S", "N", "I", "T"], "Corresponding CFP": [],
    "Acquisition Device": [], "Resolusion": [], "VF": list(range(61)),
}  # fmt: skip
LATER = {
    "Subject Number": [], "Laterality": [], "Visit Number": [], "Interval Years": [], "IOP": [],
    "Corresponding CFP": [], "Acquisition Device": [], "Resolusion": [], "VF": list(range(61)),
}  # fmt: skip
FIELD = tuple(-1 if i in (21, 32) else 25 for i in range(61))
SIZE = 480  # px


def draw_fundus(
    laterality: str, x: float = 0.74, y: float = 0.48, size: int = SIZE, glare: bool = False
) -> np.ndarray:
    """Return a photograph (size, size, 3) uint8 of a right or left eye.

    ``x``, ``y`` place the disc of the *right-eye* picture, as fractions of the size; a left eye is
    its mirror image. A blue mark lies one disc diameter temporal of the disc, so that orientation
    shows. ``glare`` adds a spot brighter than the disc near the temporal border.
    """
    v, u = (np.mgrid[:size, :size] + 0.5) / size
    radius = DISC_RADIUS
    photo = np.array([150.0, 75.0, 35.0]) * (1 - 0.8 * ((u - 0.5) ** 2 + (v - 0.5) ** 2))[..., None]
    bend = x - 0.6 * (v - y) ** 2 / 0.25  # arcades curve temporally
    vessel = np.exp(-0.5 * ((u - bend) / 0.006) ** 2) * (np.abs(v - y) < 0.35)
    photo *= 1 - 0.5 * vessel[..., None]
    disc = np.hypot(u - x, v - y) <= radius
    photo[disc] = photo[disc] * 0.3 + np.array([200.0, 160.0, 90.0]) * 0.7
    mark = np.hypot(u - (x - 2 * radius), v - y) <= 0.25 * radius
    photo[mark] = 20, 20, 200
    if glare:
        photo[np.hypot(u - 0.12, v - 0.5) <= 0.04] = 255
    photo[np.hypot(u - 0.5, v - 0.5) > 0.49] = 0
    photo = ndimage.gaussian_filter(photo, (size / 300, size / 300, 0))
    photo = np.round(photo).clip(0, 255).astype(np.uint8)
    return photo if laterality == "OD" else photo[:, ::-1].copy()


def row(subject: int, laterality: str, rnfl: tuple = (80, 95, 70, 90, 65), **changes) -> dict:
    """Return one row of the baseline sheet; ``changes`` are by header, such as ``Age="/"``."""
    values = {
        "Subject Number": subject, "Laterality": laterality, "Age": 50 + subject, "Gender": "F",
        "IOP": 15.5, "CCT": 540, "Total Visits": 3, "Progression Status": (0, 0, 1), "VF": FIELD,
        "Category of Glaucoma": "OAG", "Corresponding CFP": f"{subject}_{laterality}_1.jpg",
        "Acquisition Device": "TRC-NW8", "Resolusion": f"{SIZE}*{SIZE}",
        "OCT RNFL thickness": rnfl,
    }  # fmt: skip
    return values | changes


def visit(subject: int, laterality: str, number: int, **changes) -> dict:
    """Return one row of the follow-up sheet."""
    values = {
        "Subject Number": subject, "Laterality": laterality, "Visit Number": number,
        "Interval Years": 0.75 * (number - 1), "IOP": 14, "VF": FIELD,
        "Corresponding CFP": f"{subject}_{laterality}_{number}.jpg",
        "Acquisition Device": "TRC-NW8", "Resolusion": f"{SIZE}*{SIZE}",
    }  # fmt: skip
    return values | changes


def write_workbook(
    path: Path, rows: list[dict], merged: bool = True, visits: list[dict] | tuple = ()
) -> Path:
    """Write the workbook with merged headers, or unmerged with the labels repeated."""
    book = openpyxl.Workbook()
    book.active.title = "Baseline"
    _fill(book.active, GROUPS, rows, merged)
    _fill(book.create_sheet("Follow-up"), LATER, visits, merged)
    book.save(path)
    return path


def _fill(sheet, groups: dict, rows, merged: bool) -> None:
    column = 1
    for top, lows in groups.items():
        width = max(1, len(lows))
        for i in range(width):
            if merged:
                sheet.cell(1, column + i, top if i == 0 else None)
                sheet.cell(2, column + i, lows[i] if lows else None)
            else:
                sheet.cell(1, column + i, top if i == 0 else f"{top}.{i}")
                sheet.cell(2, column + i, lows[i] if lows else top)
        if merged:
            end = (2, column) if not lows else (1, column + width - 1)
            sheet.merge_cells(start_row=1, start_column=column, end_row=end[0], end_column=end[1])
        column += width
    for values in rows:
        cells = []
        for top, lows in groups.items():
            value = values[top]
            cells += list(value) if isinstance(value, tuple) else [value] * max(1, len(lows))
        sheet.append(cells)


def outline(x: float, y: float, radius: float, n: int = 40) -> list[list[float]]:
    """Return a polygon round pixel x, y as LabelMe has it, from the corner of the first pixel.

    Its corners are ten times as dense on the right, so that their mean is not the middle.
    """
    angles = np.concatenate([np.linspace(-0.5, 0.5, n), np.linspace(0.6, 2 * np.pi - 0.6, n // 4)])
    return [[x + 0.5 + radius * np.cos(a), y + 0.5 + radius * np.sin(a)] for a in angles]


def write_outlines(path: Path, shapes: dict, size: int = SIZE, **changes) -> Path:
    """Write a LabelMe file; ``shapes`` is label to points."""
    content = {
        "version": "5.0.1", "flags": {}, "imagePath": path.stem + ".jpg", "imageData": None,
        "imageWidth": size, "imageHeight": size,
        "shapes": [
            {"label": label, "points": points, "shape_type": "polygon", "flags": {}}
            for label, points in shapes.items()
        ],
    }  # fmt: skip
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content | changes))
    return path


def write_tree(folder: Path, merged: bool = True) -> Path:
    """Write a raw folder of four usable eyes of three subjects and four to be excluded."""
    photographs = folder / "CFPs"
    photographs.mkdir(parents=True)
    rows = [
        row(1, "OD", (110, 120, 80, 130, 90)),
        row(1, "OS", (100, 110, 75, 120, 85)),
        row(2, "OS", (60, 70, 50, 65, 55), Age="/", Gender="M"),
        row(3, "OD", (75, 85, 62, 88, 66)),
        row(4, "OD", ("/",) * 5),
        row(5, "OS"),
        row(6, "OD"),
        row(7, "OD"),
    ]
    visits = [
        *(visit(1, "OD", 1), visit(1, "OD", 2), visit(1, "OD", 3, IOP="/")),
        visit(2, "OS", 2, **{"Corresponding CFP": "/", "Acquisition Device": "/"}),
    ]
    write_workbook(folder / "VF and clinical information.xlsx", rows, merged, visits)
    Image.fromarray(draw_fundus("OD")).save(photographs / "1_OD_2.jpg", quality=95)
    places = {"1_OD": 0.74, "1_OS": 0.70, "2_OS": 0.78, "3_OD": 0.85, "4_OD": 0.74}
    for name, x in places.items():
        photo = Image.fromarray(draw_fundus(name[-2:], x))
        photo.save(photographs / f"{name}_1.jpg", quality=95)
    (photographs / "6_OD_1.jpg").write_bytes(b"not a photograph")
    Image.new("RGB", (SIZE, SIZE)).save(photographs / "7_OD_1.jpg")
    return folder
