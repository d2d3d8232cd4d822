"""Read photographs with a trained model: from files to a table with one row per eye."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import ANGLES, CLOCK_HOURS, QUADRANTS, SECTORS, sector_means
from rnfl.imaging import crops as pictures  # a parameter says whether they are crops already
from rnfl.imaging import inspection
from rnfl.imaging.crops import Crop
from rnfl.inference import bands
from rnfl.inference.photographs import Request
from rnfl.storage import provenance
from rnfl.storage.paths import as_text, short_name
from rnfl.storage.progress import progress
from rnfl.storage.tables import listed

if TYPE_CHECKING:
    from rnfl.inference.trained import Trained

THREADS = 4  # photographs read at once


@dataclass(frozen=True)
class Readings:
    """What a model read, in the order of the requests.

    ``table`` has one row per request: image (file), eye, disc_x, disc_y (px), disc_confidence,
    width_mm, doubts (why it is unsure, empty where it is not), then µm: rnfl_mean,
    rnfl_S ... rnfl_T, clock_1 ... clock_12, sector_T ... sector_TI, 0 ... 359. Hours are those of a
    right eye, 9 temporal; angles run from temporal over superior. Of a model with bands there are
    columns that end in _low and _high too (:func:`rnfl.inference.bands.columns`).
    """

    requests: list[Request]  # those that could be read
    crops: list[Crop]  # what the model was shown of them, with disc, scale and doubts
    table: pd.DataFrame
    exclusions: pd.DataFrame  # image, reason: what was left out

    @property
    def profiles(self) -> np.ndarray:
        """Predicted profiles (N, 360), µm."""
        return self.table[[str(angle) for angle in ANGLES]].to_numpy()


def read(
    requests: Sequence[Request],
    trained: Trained,
    excluded: Sequence[dict[str, str]] = (),
    crops: bool = False,
    framing: str = "macula",
) -> Readings:
    """Read photographs with a trained model.

    Parameters
    ----------
    excluded : sequence of {"image", "reason"}
        What was left out before, kept in the answer.
    crops : bool
        Whether the pictures are crops already: squares of 4.943 mm centred on the disc, as taken.
    framing : {'macula', 'disc'}
        What the middle of a photograph shows.

    Raises
    ------
    ValueError
        If none can be read, with the reasons.
    """
    modality = trained.card["modality"]

    def attempt(request: Request) -> Crop | str:
        try:
            photo = request.picture()
            if crops:
                crop = pictures.prepare_crop(photo, request.laterality, modality)
            else:
                eye = request.laterality, request.centre, request.width_mm
                crop = pictures.prepare(photo, *eye, framing, modality)
        except Excluded as excluded:
            return str(excluded)
        crop.doubts.extend(request.header.doubts if request.header else ())
        crop.doubts.extend(inspection.judge_distance(crop.image, trained.card.get("images")))
        return crop

    threads = ThreadPoolExecutor(THREADS)
    try:
        found = threads.map(attempt, requests)
        answers = list(progress(found, "reading photographs", total=len(requests)))
    finally:
        threads.shutdown(cancel_futures=True)
    exclusions, kept, seen = list(excluded), [], []
    for request, answer in zip(requests, answers, strict=True):
        if isinstance(answer, str):
            exclusions.append({"image": str(request.path), "reason": answer})
        else:
            kept.append(request)
            seen.append(answer)
    if not kept:
        reasons = (f"  {one['image']}: {one['reason']}" for one in exclusions)
        said = listed(reasons, 20, comma="\n")
        raise ValueError(f"none of {len(exclusions)} could be read:\n{said}")
    profiles = trained.predict(np.stack([crop.image for crop in seen]))
    exclusions = [(as_text(one["image"]), as_text(one["reason"])) for one in exclusions]
    left_out = pd.DataFrame(exclusions, columns=["image", "reason"])
    return Readings(kept, seen, _table(kept, seen, profiles, trained.bands), left_out)


def _table(
    requests: list[Request], seen: list[Crop], profiles: np.ndarray, held: dict | None
) -> pd.DataFrame:
    profiles = np.asarray(profiles, dtype=float)
    columns = ["image", "eye", "disc_x", "disc_y", "disc_confidence", "width_mm", "doubts"]
    rows = []
    for request, crop in zip(requests, seen, strict=True):
        x, y, certain = crop.disc.x, crop.disc.y, crop.disc.confidence
        certain = certain if certain == 1 else min(certain, 0.999)  # only a given centre reads as 1
        doubts = "; ".join(crop.doubts)
        rows.append(
            (as_text(request.path), request.laterality, x, y, certain, crop.width_mm, doubts)
        )
    about = pd.DataFrame(rows, columns=columns).assign(rnfl_mean=profiles.mean(axis=1))
    means = [
        pd.DataFrame(sector_means(profiles, regions), columns=list(regions)).add_prefix(prefix)
        for prefix, regions in (("rnfl_", QUADRANTS), ("clock_", CLOCK_HOURS), ("sector_", SECTORS))
    ]
    angles = pd.DataFrame(profiles, columns=[str(angle) for angle in ANGLES])
    table = pd.concat([about, *means, angles], axis=1)
    if held is not None:
        table = pd.concat([table, bands.columns(held, profiles, table)], axis=1)
    table = table.round(3)
    return table.round({"disc_x": 1, "disc_y": 1})


def write(
    readings: Readings, folder: Path, card: dict[str, Any], held: dict[str, Any] | None = None
) -> None:
    """Write predictions.csv, excluded.csv and about.json (the model's card and the code).

    ``held`` are the bands that the table has, of which about.json says where they come from.
    """
    provenance.write_csv(folder / "predictions.csv", readings.table)
    provenance.write_csv(folder / "excluded.csv", readings.exclusions)
    table, excluded = readings.table, readings.exclusions
    about = {"model": card, "units": "µm", "read": len(table), "excluded": len(excluded)}
    about |= {"unsure": int((table["doubts"] != "").sum())}
    about |= {"bands": held and {k: v for k, v in held.items() if k not in ("profile", "measures")}}
    about |= {"width_mm": sorted(set(table["width_mm"])), "code": provenance.record()}
    provenance.write_json(folder / "about.json", about)


def destinations(given: Path | None, root: Path, name: str) -> Iterator[Path]:
    """Return the folders to write to, of which the first is taken that is free in the end.

    The given one alone, or those of a name under ``root``: it, and with -2, -3 and so on behind it.

    Raises
    ------
    ValueError
        If the given folder exists and is not empty: nothing is ever written over.
    """
    if given is None:
        name = short_name(name)
        return (root / (name if n == 1 else f"{name}-{n}") for n in count(1))
    if given.exists() and (not given.is_dir() or any(given.iterdir())):
        raise ValueError(f"{given} exists already and is kept as it is: name another folder")
    return iter([given])
