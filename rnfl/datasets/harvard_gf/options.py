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

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from rnfl.geometry import LATERALITIES
from rnfl.thickness_map import MAP_MM

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
    """Return the options of a raw folder or zip; the defaults where there is no file.

    Raises
    ------
    ValueError
        Naming the file, the option or value that is not valid, and the valid ones.
    """
    path = (source if source.is_dir() else source.parent) / FILE
    if not path.is_file():
        return Options()
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as TOML: {error}") from error
    names = [field.name for field in fields(Options)]
    for name, value in given.items():
        if name not in names:
            raise ValueError(f"{path}: option {name!r}: expected {', '.join(names)}")
        if name in VALID and value not in VALID[name]:
            raise ValueError(
                f"{path}: {name} = {value!r}: expected {' or '.join(map(repr, VALID[name]))}"
            )
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name == "map_mm" and not (number and 1 <= value <= 20):
            raise ValueError(f"{path}: {name} = {value!r}: expected a number of mm from 1 to 20")
    return Options(**given)


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
