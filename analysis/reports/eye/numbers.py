"""The numbers beside the photograph: mean thickness, quadrants and how sure the disc is."""

from __future__ import annotations

import pandas as pd

from analysis.presentation import style
from analysis.reports.eye import words
from analysis.reports.eye.page import Eye, Sheet
from rnfl.core import geometry
from rnfl.datasets import normative as bands


def draw_mean(sheet: Sheet, left: float, top: float, eye: Eye, reference) -> None:
    """Show the mean thickness large, with where it lies among the reference eyes."""
    value = geometry.sector_means(eye.profile, bands.CIRCLE)[0, 0]
    place = bands.position(value, bands.limits(reference, "mean"))
    sheet.text(left, top + 3, "Mean thickness", size=9, weight="bold")
    sheet.text(left, top + 14.5, words.thickness(value), size=28, weight="bold")
    sheet.text(left + (21 if value >= 99.5 else 15), top + 14.5, "µm", size=12)
    look = words.PLACES[place]
    sheet.box(left, top + 18, 49, 5.2, look.fill)
    sheet.text(left + 24.5, top + 20.6, f"{look.mark} {words.judged(place)}".strip(),
               size=8, color=look.ink, ha="center", va="center")  # fmt: skip


def draw_table(
    sheet: Sheet, left: float, top: float, eye: Eye, reference: pd.DataFrame | None
) -> None:
    """Tabulate the mean and the quadrants beside the reference's median and limits."""
    columns = {left: "left", left + 21: "right", left + 33: "right", left + 49: "right"}
    rows = [("", "µm", "median", "5 to 95 %")]
    for kind, name, label in (
        ("mean", "mean", "mean"),
        *(("quadrant", k, v) for k, v in words.QUADRANTS.items()),
    ):
        value = geometry.sector_means(eye.profile, {name: bands.REGIONS[kind][name]})[0, 0]
        row = bands.limits(reference, kind, name)
        ends = [row["p5"], row["p95"]] if row else [float("nan")] * 2
        limits = "–".join(map(words.thickness, ends)) if ends[0] == ends[0] else "–"
        rows.append(
            (label, words.thickness(value), words.thickness(row["p50"]) if row else "–", limits)
        )
    for i, row in enumerate(rows):
        y = top + 8.5 + 6.8 * i
        for (x, align), text in zip(columns.items(), row, strict=True):
            sheet.text(x, y, text, size=8, ha=align, color=style.GREY if i == 0 else style.INK)
        sheet.rule(y + 2.2, left, left + 49, 0.3 if i else 0.6)


def draw_disc_confidence(sheet: Sheet, left: float, top: float, eye: Eye) -> None:
    """Say how sure the place of the disc is, loudly where a person should look."""
    confidence = eye.disc.confidence
    sheet.text(left, top, "Optic disc", size=9, weight="bold")
    given = confidence >= 1
    said = (
        "centre given, not located" if given else f"located, confidence {min(confidence, 0.99):.2f}"
    )
    sheet.text(left, top + 5, said, size=8)
    across = f"{eye.width_mm:.1f} mm of retina across"
    sheet.text(left, top + 9.5, across, size=8, color=style.GREY)
    if eye.disc.unsure:
        look = words.PLACES["below 5 %"]
        sheet.box(left, top + 11.5, 44, 14.5, look.fill)
        for i, line in enumerate(
            ("! Disc unsure:", "check the ring before", "using any number here")
        ):
            sheet.text(left + 2, top + 15.7 + 4.2 * i, line, size=8, color=look.ink,
                       weight="bold" if i == 0 else "normal")  # fmt: skip
