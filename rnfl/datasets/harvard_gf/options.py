"""What the files of thickness maps do not say themselves, and their owner may: ``harvard_gf.toml``.

The file lies in the raw folder, or beside the zip. Everything in it is optional, and what was
decided is in the manifest's settings::

    laterality = ""                 # "OD" or "OS": of eyes for which nothing else says it
    left_eyes = "as taken"          # or "mirrored": maps and images already look like right eyes
    map_orientation = "upright"     # or "transposed": of maps and images
    map_mm = 6.0                    # width of maps and images
    image = "en-face"               # or "map": the thickness map itself, drawn in grey
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rnfl.core.geometry import LATERALITIES
from rnfl.datasets.options import read_choices
from rnfl.imaging.thickness_map import MAP_MM

FILE = "harvard_gf.toml"
VALID = {
    "laterality": ("", *LATERALITIES),
    "left_eyes": ("as taken", "mirrored"),
    "map_orientation": ("upright", "transposed"),
    "image": ("en-face", "map"),
}


@dataclass(frozen=True)
class Options:
    """The choices of the module's docstring, with their defaults."""

    laterality: str = ""
    left_eyes: str = "as taken"
    map_orientation: str = "upright"
    map_mm: float = MAP_MM
    image: str = "en-face"


def read_options(source: Path) -> Options:
    """Return the options of raw files, see :func:`rnfl.datasets.options.read_choices`."""
    return read_choices(source, FILE, Options, VALID)


def statements(options: Options, samples: pd.DataFrame) -> list[str]:
    """Return in sentences what a reader of the manifest must know of these eyes.

    Parameters
    ----------
    options : Options
    samples : DataFrame with eye_id and patient_id
    """
    alone = int((samples["eye_id"] == samples["patient_id"]).sum())
    told = {
        f"{alone} of {len(samples)} files name no patient; each is taken for a patient of its own, "
        "so fellow eyes, if there are any, may fall into different splits.": alone > 0,
        f"Laterality is {options.laterality} where file and tables do not say, by {FILE}.": (
            bool(options.laterality)
        ),
        f"Left eyes were mirrored before they came here, by {FILE}.": (
            options.left_eyes == "mirrored"
        ),
        f"Maps and images were transposed, by {FILE}.": options.map_orientation == "transposed",
        "The image is the thickness map itself: the input holds the answer, and errors on it say "
        "nothing of photographs.": options.image == "map",
        "The image is taken to show the field of the map, lying the same way.": (
            options.image == "en-face"
        ),
    }
    return [sentence for sentence, applies in told.items() if applies]
