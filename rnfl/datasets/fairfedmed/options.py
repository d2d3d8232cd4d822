"""What FairFedMed's files do not say themselves, and their owner may: ``fairfedmed.toml``.

The file lies in the raw folder, or beside the archive. Everything in it is optional, and what was
decided is in the manifest's settings::

    orientation = "auto"            # of SLO images: "auto" (by shape), "upright" or "transposed"
    map_orientation = "upright"     # of rnflt maps and surfaces: "upright" or "transposed"
    profile_orientation = "tsnit"   # of profile CSVs: "tsnit", or "image" (angles on the image
                                    # as taken, so that left eyes are mirrored)
    resample = false                # or true: of profile CSVs of another number of points than 360
    left_eyes = "as taken"          # or "mirrored": images and maps already look like right eyes
    laterality = ""                 # "OD" or "OS": of eyes for which nothing else says it
    short_side_mm = 8.436           # retina over the short side of an SLO image
    map_mm = 6.0                    # width of maps and surfaces
    split_seed = 0                  # of the 70/15/15 split, where no table has one
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rnfl.datasets.fairfedmed.images import SHORT_SIDE_MM
from rnfl.imaging.thickness_map import MAP_MM


@dataclass(frozen=True)
class Options:
    """The choices of the module's docstring, with their defaults."""

    FILE: ClassVar[str] = "fairfedmed.toml"
    orientation: Literal["auto", "upright", "transposed"] = "auto"
    map_orientation: Literal["upright", "transposed"] = "upright"
    profile_orientation: Literal["tsnit", "image"] = "tsnit"
    left_eyes: Literal["as taken", "mirrored"] = "as taken"
    laterality: Literal["", "OD", "OS"] = ""
    resample: bool = False
    short_side_mm: float = SHORT_SIDE_MM
    map_mm: float = MAP_MM
    split_seed: int = 0
