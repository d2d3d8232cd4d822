"""What FairFedMed's files do not say themselves, and their owner may: ``fairfedmed.toml``.

The file lies in the raw folder, or beside the archive. Everything in it is optional, and what was
decided is in the manifest's settings::

    orientation = "auto"            # of SLO images: "auto" (by shape), "upright" or "transposed"
    map_orientation = "upright"     # of rnflt maps and surfaces: "upright" or "transposed"
    profile_orientation = "tsnit"   # of profile CSVs: "tsnit", or "image" (angles on the image
                                    # as taken, so that left eyes are mirrored)
    left_eyes = "as taken"          # or "mirrored": images and maps already look like right eyes
    laterality = ""                 # "OD" or "OS": of eyes for which nothing else says it
    short_side_mm = 8.436           # retina over the short side of an SLO image
    map_mm = 6.0                    # width of maps and surfaces
    split_seed = 0                  # of the 70/15/15 split, where no table has one
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from rnfl.datasets.fairfedmed.images import SHORT_SIDE_MM
from rnfl.thickness_map import MAP_MM

FILE = "fairfedmed.toml"
VALID = {
    "orientation": ("auto", "upright", "transposed"),
    "map_orientation": ("upright", "transposed"),
    "profile_orientation": ("tsnit", "image"),
    "left_eyes": ("as taken", "mirrored"),
    "laterality": ("", "OD", "OS"),
}


@dataclass(frozen=True)
class Options:
    """The choices of the module's docstring, with their defaults."""

    orientation: str = "auto"
    map_orientation: str = "upright"
    profile_orientation: str = "tsnit"
    left_eyes: str = "as taken"
    laterality: str = ""
    short_side_mm: float = SHORT_SIDE_MM
    map_mm: float = MAP_MM
    split_seed: int = 0


def read_options(source: Path) -> Options:
    """Return the options of a raw folder or archive; the defaults where there is no file.

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
    defaults = {field.name: field.default for field in fields(Options)}
    for name, value in given.items():
        if name not in defaults:
            raise ValueError(f"{path}: option {name!r}: expected {', '.join(defaults)}")
        if name in VALID and value not in VALID[name]:
            raise ValueError(
                f"{path}: {name} = {value!r}: expected {' or '.join(map(repr, VALID[name]))}"
            )
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name.endswith("_mm") and not (number and 1 <= value <= 50):
            raise ValueError(f"{path}: {name} = {value!r}: expected a number of mm from 1 to 50")
        if name == "split_seed" and type(value) is not int:
            raise ValueError(f"{path}: {name} = {value!r}: expected a whole number")
    return Options(**given)
