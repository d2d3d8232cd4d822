"""One page per eye, as a clinician expects an OCT report: photograph, TSNIT curve and wheels.

The page is drawn from a photograph, a predicted profile, a reference band and a model's card, all
of them plain arrays and tables: no model is needed. The photograph is shown as it was taken, so
that temporal is on the right of a left eye; the curve always runs temporal, superior, nasal,
inferior, temporal. It carries no name of a patient or a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from analysis.presentation import style
from analysis.reports.eye import panels, words
from analysis.reports.eye.panels import Eye, Sheet
from rnfl.core.geometry import FIELD_MM
from rnfl.storage import provenance

FORMATS = {  # without the time of day, so that the same page has the same bytes
    "pdf": {"dpi": 300, "metadata": {"CreationDate": None, "ModDate": None}},
    "png": {"dpi": 150, "metadata": {"Software": None}},
}


def draw(
    eye: Eye, reference: pd.DataFrame | None, card: Mapping[str, Any], title: str = "eye 1 of 1"
) -> Figure:
    """Return the A4 page of one eye.

    Parameters
    ----------
    reference : DataFrame or None
        Band as :func:`rnfl.datasets.normative.band` returns it; without one, nothing is judged.
    card : mapping
        The model's card as :func:`rnfl.inference.model_card.make` returns it.
    title : str
        What distinguishes this page from its neighbours; never who the patient is.
    """
    with mpl.rc_context(style.THEME | {"font.size": 8}):
        sheet = Sheet()
        _head(sheet, eye, title)
        _banner(sheet, card)
        panels.disc(sheet.axes(15, 47, 76, 76), eye)
        sheet.text(15, 127, "As taken, not mirrored. Circle: 3.46 mm.", size=7.5, color=style.GREY)
        if eye.width_mm > FIELD_MM * 1.2:
            panels.whole(sheet.axes(97, 47, 44, 44), eye)
        panels.certainty(sheet, 97, 97, eye)
        panels.mean(sheet, 146, 47, eye, reference)
        panels.table(sheet, 146, 72, eye, reference)
        title = words.curve_title(card)
        title += "; dashed: the band that holds the whole curve" * (eye.ends is not None)
        panels.curve(sheet.axes(27, 137, 166, 48), eye, reference, title)
        for left, kind in ((13, "quadrant"), (74, "clock_hour")):
            heading = words.wheel_title(kind, card)
            panels.wheel(sheet.axes(left, 201, 56, 56), kind, eye, reference, heading)
        panels.key(sheet.axes(138, 200, 57, 56), reference, card)
        _foot(sheet, card)
        return sheet.figure


def _head(sheet: Sheet, eye: Eye, title: str) -> None:
    sheet.text(15, 18, "Retinal nerve fibre layer thickness", size=14, weight="bold")
    origin = "Estimated by a model from a fundus photograph; not measured by OCT"
    sheet.text(15, 24.5, origin, size=8.5, color=style.GREY)
    sheet.text(195, 18, words.SIDES[eye.laterality], size=14, weight="bold", ha="right")
    sheet.text(195, 24.5, title, size=8.5, color=style.GREY, ha="right")
    sheet.rule(28)


def _banner(sheet: Sheet, card: Mapping[str, Any]) -> None:
    """Say what must not be overlooked: a model that learnt from phantoms, and research use."""
    loud, text = words.warning(card)
    fill, ink = (style.INK, "white") if loud else ("#efefef", style.INK)
    sheet.box(15, 31.5, 180, 10, fill)
    sheet.text(18, 36.5, loud or words.RESEARCH_USE, size=9, weight="bold", color=ink, va="center")
    sheet.text(192, 36.5, text, size=8, color=ink, ha="right", va="center")


def _foot(sheet: Sheet, card: Mapping[str, Any]) -> None:
    sheet.rule(264)
    lines = words.wrap(f"Model: {card['sentence']} Run {card['run_id']}.", 120)
    if card["notes"]:
        lines += words.wrap(f"Notes: {'; '.join(card['notes'])}.", 120)
    for i, line in enumerate(lines[:5]):
        sheet.text(15, 269 + 3.7 * i, line, size=7, color=panels.SMALL_PRINT)
    sheet.text(15, 288.5, words.RESEARCH_USE, size=9, weight="bold")


def save(figure: Figure, path: Path) -> dict[str, Path]:
    """Write a page as PDF and as PNG; ``path`` has no suffix. Each file appears whole.

    Returns
    -------
    dict
        Paths by ``"pdf"`` and ``"png"``.
    """
    files = {kind: path.with_name(f"{path.name}.{kind}") for kind in FORMATS}
    with mpl.rc_context(style.THEME):
        for kind, options in FORMATS.items():
            with provenance.publish_file(files[kind]) as aside:
                figure.savefig(aside, format=kind, **options)
    return files
