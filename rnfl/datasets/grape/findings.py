"""What preparing GRAPE found besides what the counts say, in sentences for the manifest."""

from __future__ import annotations

from typing import Any

import pandas as pd

from rnfl.datasets.grape.files import NO_PHOTOGRAPH
from rnfl.storage.tables import listed

FAR = 1.0  # disc radii from the middle of the ROI image beyond which a disc is listed


def describe(
    samples: pd.DataFrame,
    faults: pd.Series,
    table: pd.DataFrame,
    seen: pd.DataFrame,
    strangers: list[str],
    exclusions: list[dict[str, Any]],
) -> list[str]:
    """Return in words what was found.

    Parameters
    ----------
    samples : DataFrame of the eyes that are kept
    faults : Series of str by eye
        Why annotations were not used.
    table, seen : DataFrame
        Baseline and visits.
    strangers : list of str
        Photographs that the workbook does not name.
    exclusions : list of dict
    """
    notes = ["Photographs are taken to be 45° wide, 13.0 mm (ours)."]
    later = seen[seen["visit"] > 1]
    notes.append(
        f"Later visits: {len(later)}, of which {later['photograph_present'].sum()} have their "
        f"photograph here; they have no RNFL thickness and are in visits.parquet only."
    )
    if len(faults):
        each = listed((f"{eye}: {fault}" for eye, fault in faults.items()), 5, comma="; ")
        notes.append(f"{len(faults)} annotations are not used, the disc is looked for: {each}.")
    far = samples.loc[samples["roi_distance"] > FAR, "eye_id"]
    compared = samples["roi_distance"].notna().sum()
    if compared:
        notes.append(
            f"{compared} discs compared with the middle of the ROI image: median distance "
            f"{samples['roi_distance'].median():.2f} disc radii, {len(far)} beyond {FAR:g}"
            + (f" ({listed(far)})." if len(far) else ".")
        )
    without = [one for one in exclusions if one["reason"] == NO_PHOTOGRAPH]
    regions = sum(one["has_region"] for one in without)
    if regions:
        notes.append(f"Of {len(without)} eyes without photograph {regions} have an ROI image.")
    unread = [*table.attrs["faults"], *seen.attrs["faults"]]
    if unread:
        notes.append(f"{len(unread)} entries of the workbook are left empty: {listed(unread, 10)}.")
    orphans = sorted(set(seen["eye_id"]) - set(table["eye_id"]))
    if orphans:
        notes.append(f"{len(orphans)} eyes have visits and no baseline: {listed(orphans)}.")
    if strangers:
        notes.append(f"{len(strangers)} photographs are not in the workbook: {listed(strangers)}.")
    return notes
