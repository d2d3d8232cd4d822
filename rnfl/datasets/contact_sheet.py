"""The contact sheet of a prepared dataset: crops as a model sees them, for a person to look at.

Each tile shows one image with the scan circle and the letters T, S, N, I where a right eye has
them; letters that do not fit the anatomy (arcades above and below the disc, macula image-left)
mean that laterality or orientation is wrong. Unsure eyes come first, with the kind of their doubts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont, ImageOps

from rnfl.core.geometry import QUADRANTS, RADIUS_RATIO, SCAN_RADIUS_MM, centre, circle

FILE = "contact_sheet.png"
MOST = 48  # eyes of a sheet
MOST_UNSURE = 16
COLUMNS = 8
FEWEST_COLUMNS = 4  # the heading needs that width
SIDE = 224  # px, of a tile's image
GAP, MARGIN, CAPTION, HEADING = 14, 28, 26, 104  # px
LETTER_RATIO = 0.425  # of the side: letters stand just outside the circle
FINE = 4  # the overlay is drawn this much larger, for smooth lines

PAPER, INK, PALE = (252, 252, 250), (32, 36, 42), (112, 118, 126)
RING, UNSURE, BADGE = (64, 224, 208), (214, 92, 20), (126, 58, 160)


def doubtful(samples: pd.DataFrame, manifest: Mapping) -> np.ndarray:
    """Return the mask (N,) of the eyes that the manifest calls unsure."""
    return samples["eye_id"].isin([one["id"] for one in manifest.get("unsure", ())]).to_numpy()


def choose(doubtful: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a sheet: unsure ones, at most 16, and others evenly spaced, 48 in all.

    Parameters
    ----------
    doubtful : ndarray (N,), bool

    Examples
    --------
    >>> unsure, others = choose(np.arange(100) == 7)
    >>> unsure.tolist(), len(others), others[:3].tolist(), int(others[-1])
    ([7], 47, [0, 2, 4], 99)
    """
    unsure = np.flatnonzero(doubtful)[:MOST_UNSURE]
    rest = np.setdiff1d(np.arange(len(doubtful)), unsure)
    places = np.linspace(0, len(rest) - 1, min(MOST - len(unsure), len(rest)))
    return unsure, rest[np.rint(places).astype(int)]


def letter_places(side: float) -> dict[str, tuple[float, float]]:
    """Return the place ``(x, y)`` in px of each quadrant's letter on an image of this side.

    Examples
    --------
    >>> {letter: (round(x), round(y)) for letter, (x, y) in letter_places(201).items()}
    {'S': (100, 15), 'N': (185, 100), 'I': (100, 185), 'T': (15, 100)}
    """
    x, y = circle(*centre(side, side), LETTER_RATIO * side, "OD")
    middles = {}
    for name, arc in QUADRANTS.items():
        theta = np.deg2rad(np.flatnonzero(arc) + 0.5)  # arcs are half open
        middles[name] = round(np.rad2deg(np.angle(np.exp(1j * theta).sum())))
    return {name: (float(x[at]), float(y[at])) for name, at in middles.items()}


@cache
def _overlay() -> Image.Image:
    """Return ring and letters, drawn once, as an image with transparency."""
    side = SIDE * FINE
    overlay = Image.new("RGBA", (side, side), (*RING, 0))
    draw = ImageDraw.Draw(overlay)
    radius, middle = RADIUS_RATIO * side, side / 2
    for width, colour in ((3.4, (0, 0, 0, 90)), (1.5, (*RING, 255))):  # a dark halo first
        reach = radius + width * FINE / 2
        box = (middle - reach, middle - reach, middle + reach, middle + reach)
        draw.ellipse(box, outline=colour, width=round(width * FINE))
    font = ImageFont.load_default(18 * FINE)
    for letter, (x, y) in letter_places(side).items():
        for width, colour in ((2.4, (0, 0, 0, 150)), (0.5, (255, 255, 255, 255))):
            style = {"anchor": "mm", "stroke_width": round(width * FINE), "stroke_fill": colour}
            draw.text((x + 0.5, y + 0.5), letter, colour, font, **style)
    return overlay.resize((SIDE, SIDE), Image.Resampling.BOX)


def draw_tile(image: np.ndarray) -> Image.Image:
    """Return a prepared image, uint8 (S, S) or (S, S, 3), with ring and letters, 224 px wide."""
    shown = Image.fromarray(np.asarray(image)).convert("RGB")
    shown = ImageOps.fit(shown, (SIDE, SIDE), Image.Resampling.BICUBIC)
    shown.paste(_overlay(), (0, 0), _overlay())
    return shown


def draw_sheet(
    images: np.ndarray | Mapping[int, np.ndarray], samples: pd.DataFrame, manifest: Mapping
) -> Image.Image:
    """Return the contact sheet of a dataset.

    Parameters
    ----------
    images : ndarray uint8 (N, S, S) or (N, S, S, 3), or those of its rows that are chosen
        Disc-centred, in right-eye orientation.
    samples : DataFrame of N rows in the same order
        Eyes are called by their row, never by an id.
    manifest : mapping
        ``name``, ``dataset``, ``modality`` and ``phantom`` are said on the sheet; ``unsure``, if
        any, has ``id`` and ``doubts``.
    """
    doubts = {one["id"]: one["doubts"] for one in manifest.get("unsure", ())}
    unsure, others = choose(doubtful(samples, manifest))
    rows = [*unsure, *others]
    n_columns = min(COLUMNS, max(FEWEST_COLUMNS, int(np.ceil(np.sqrt(len(rows) * 4 / 3)))))
    n_lines = -(-len(rows) // n_columns)
    width = 2 * MARGIN + n_columns * SIDE + (n_columns - 1) * GAP
    height = HEADING + MARGIN + n_lines * (SIDE + CAPTION + GAP)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    _head(draw, width, manifest, _counted(len(rows), len(samples), len(doubts), len(unsure)))
    lateralities, ids = samples["laterality"].to_list(), samples["eye_id"].to_list()
    for place, row in enumerate(rows):
        line, column = divmod(place, n_columns)
        x, y = MARGIN + column * (SIDE + GAP), HEADING + line * (SIDE + CAPTION + GAP)
        sheet.paste(draw_tile(images[row]), (x, y))
        side = "OS, mirrored" if lateralities[row] == "OS" else lateralities[row]
        draw.text((x, y + SIDE + 5), f"{row}", PALE, _font(14))
        draw.text((x + _font(14).getlength(f"{row}  "), y + SIDE + 5), side, INK, _font(14))
        if ids[row] in doubts:
            draw.rectangle((x - 4, y - 4, x + SIDE + 3, y + SIDE + 3), outline=UNSURE, width=4)
            kinds = _kinds(doubts[ids[row]])
            draw.text((x + SIDE, y + SIDE + 5), kinds, UNSURE, _font(14), anchor="ra")
    return sheet


def _kinds(doubts: list[str]) -> str:
    """Return the kind of the first doubt, and how many more there are, beside the laterality.

    Examples
    --------
    >>> _kinds(["dark margins: 65 %", "not sharp: 0.31"])
    'dark margins +1'
    """
    return doubts[0].split(":")[0] + (f" +{len(doubts) - 1}" if len(doubts) > 1 else "")


def _counted(shown: int, total: int, unsure: int, n_first: int) -> str:
    """Return in words how many eyes are shown, and what was left off.

    Examples
    --------
    >>> _counted(48, 100, 80, 16)
    '48 of 100 eyes: 16 of 80 unsure ones first, the others evenly spaced by row'
    >>> _counted(3, 3, 0, 0)
    'all 3 eyes'
    """
    words = []
    if unsure:
        them = "unsure one" if unsure == 1 else "unsure ones"
        of = f"{n_first:,} of {unsure:,}" if unsure > n_first else f"{unsure:,}"
        words.append(f"{of} {them} first")
    if shown < total:
        words.append(f"{'the others ' if unsure else ''}evenly spaced by row")
    counted = f"{shown:,} of {total:,} eyes" if shown < total else f"all {total:,} eyes"
    return f"{counted}: {', '.join(words)}" if words else counted


def _head(draw: ImageDraw.ImageDraw, width: int, manifest: Mapping, counted: str) -> None:
    """Write what the dataset is, what is shown, and how to read a tile."""
    title = f"{manifest['name']} - {manifest['modality']}"
    draw.text((MARGIN, 16), title, INK, _font(26))
    if manifest["phantom"]:
        left = MARGIN + _font(26).getlength(title) + 18
        words = "phantom: simulated eyes"
        box = (left, 18, left + _font(16).getlength(words) + 20, 44)
        draw.rounded_rectangle(box, 6, BADGE)
        draw.text((left + 10, 31), words, "white", _font(16), anchor="lm")
    draw.text((MARGIN, 52), counted, INK, _font(15))
    reading = (
        f"Ring: the {2 * SCAN_RADIUS_MM:.2f} mm circle. All as right eyes: T temporal, S superior, "
        "N nasal, I inferior. Number: row of samples, from 0."
    )
    beside = width - MARGIN - _font(13).getlength(reading) > MARGIN + 500
    place, anchor = ((width - MARGIN, 54), "ra") if beside else ((MARGIN, 72), "la")
    draw.text(place, reading, PALE, _font(13), anchor=anchor)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
