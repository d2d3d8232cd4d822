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
from typing import ClassVar, Literal

import pandas as pd

from rnfl.imaging.thickness_map import MAP_MM


@dataclass(frozen=True)
class Options:
    """The choices of the module's docstring, with their defaults."""

    FILE: ClassVar[str] = "harvard_gf.toml"
    laterality: Literal["", "OD", "OS"] = ""
    left_eyes: Literal["as taken", "mirrored"] = "as taken"
    map_orientation: Literal["upright", "transposed"] = "upright"
    map_mm: float = MAP_MM
    image: Literal["en-face", "map"] = "en-face"


def statements(options: Options, samples: pd.DataFrame) -> list[str]:
    """Return in sentences what a reader of the manifest must know of these eyes.

    Parameters
    ----------
    options : Options
    samples : DataFrame with eye_id and patient_id
    """
    alone, file = int((samples["eye_id"] == samples["patient_id"]).sum()), options.FILE
    told = {
        f"{alone} of {len(samples)} files name no patient; each is taken for a patient of its own, "
        "so fellow eyes, if there are any, may fall into different splits.": alone > 0,
        f"Laterality is {options.laterality} where file and tables do not say, by {file}.": (
            options.laterality != ""
        ),
        f"Left eyes were mirrored before they came here, by {file}.": (
            options.left_eyes == "mirrored"
        ),
        f"Maps and images were transposed, by {file}.": options.map_orientation == "transposed",
        "The image is the thickness map itself: the input holds the answer, and errors on it say "
        "nothing of photographs.": options.image == "map",
        "The image is taken to show the field of the map, lying the same way.": (
            options.image == "en-face"
        ),
    }
    return [sentence for sentence, applies in told.items() if applies]
