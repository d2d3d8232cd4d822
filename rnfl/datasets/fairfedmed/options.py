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

from dataclasses import dataclass
from pathlib import Path

from rnfl.datasets.fairfedmed.images import SHORT_SIDE_MM
from rnfl.datasets.options import read_choices
from rnfl.imaging.thickness_map import MAP_MM

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
    """Return the options of raw files, see :func:`rnfl.datasets.options.read_choices`."""
    return read_choices(source, FILE, Options, VALID)
