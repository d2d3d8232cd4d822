"""What preparing FairFedMed found and what it assumed, in sentences for the manifest."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from rnfl.core.geometry import quadrant_means
from rnfl.datasets.fairfedmed import images, targets
from rnfl.datasets.fairfedmed.files import Source
from rnfl.datasets.fairfedmed.options import FILE, Options
from rnfl.datasets.fairfedmed.tables import Tables


def describe(
    shapes: Counter[str],
    samples: pd.DataFrame,
    profiles: np.ndarray,
    tables: Tables,
    options: Options,
    raw: Source,
) -> list[str]:
    """Return in words what was found and what was assumed.

    Parameters
    ----------
    shapes : Counter
        How many SLO images lie which way, see :func:`images.orientation_of`.
    samples : DataFrame of N rows
    profiles : ndarray (N, 360), µm
    tables, options, raw
        What the eyes were read with.
    """
    by_shape = ", ".join(f"{n} {shape}" for shape, n in sorted(shapes.items()))
    way = "by their shape" if options.orientation == "auto" else f"{options.orientation} ({FILE})"
    notes = [f"Orientation of SLO images as stored: {by_shape}; turned {way}."]
    if shapes[images.SQUARE] and options.orientation == "auto":
        notes.append(
            f"{shapes[images.SQUARE]} SLO images are square: their orientation cannot be told "
            f"and they are taken as upright; look at the crops, or set orientation in {FILE}."
        )
    s, n, i, t = quadrant_means(profiles).mean()
    turned = "" if s + i > n + t else "; S and I should be thicker: profiles or maps are turned"
    notes.append(f"Mean profile: S {s:.0f}, N {n:.0f}, I {i:.0f}, T {t:.0f} µm{turned}.")
    if not samples["disc_stated"].all():
        n_assumed = int((~samples["disc_stated"]).sum())
        notes.append(f"{n_assumed} eyes have no disc centre: the SLO image's centre is taken.")
    surfaces = samples["target_source"] == targets.SURFACES
    if surfaces.any() and not {"map_x", "map_y"} <= tables.columns:
        notes.append("Surfaces: the disc is taken to be in the middle of the map (ours).")
    if not samples["patient_stated"].all():
        n_alone = int((~samples["patient_stated"]).sum())
        notes.append(f"{n_alone} eyes have no patient: each file is taken as a patient of its own.")
    own = "split" in tables.columns
    notes.append("Split: the tables' own." if own else "Split: 70/15/15 by patient.")
    if tables.unmatched:
        notes.append(f"{tables.unmatched} rows of summary tables name no npz.")
    if raw.unread:
        notes.append(f"Not read beside npz files: {', '.join(raw.unread)}.")
    notes.append(
        "gender and male: 0 female, 1 male; one published list has them reversed. "
        "Severity: glaucoma by mean deviation, Hodapp et al. 1993 (ours)."
    )
    return notes
