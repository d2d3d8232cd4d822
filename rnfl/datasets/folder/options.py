"""What photographs do not say themselves, and their owner may: ``folder.toml``.

The file lies in the folder, beside the CSV. Everything in it is optional, and what was decided is
in the manifest's settings::

    images = "photographs"          # or "crops": squares of 4.943 mm centred on the disc
    framing = "macula"              # or "disc": what the middle of a photograph shows
    left_eyes = "as taken"          # or "mirrored": all photographs look like right eyes already
    profile_orientation = "tsnit"   # of the columns 0 ... 359: "tsnit", 0° temporal, 90° superior
                                    # in both eyes; or "image", angles on the photograph as taken
                                    # (0° left, 90° up): profiles of left eyes are mirrored
    resample = false                # or true: profiles of another number of points than 360 are
                                    # resampled; `rnfl prepare --resample` says the same
    width_mm = 13.0                 # retina over the whole width of a photograph, margins too, if
                                    # the CSV has no width_mm or field_degrees; without it the lit
                                    # field is taken as that of a 45° camera, 13.0 mm
    split_seed = 0                  # of the 70/15/15 split, where the CSV has none
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Options:
    """The choices of the module's docstring, with their defaults."""

    FILE: ClassVar[str] = "folder.toml"
    images: Literal["photographs", "crops"] = "photographs"
    framing: Literal["macula", "disc"] = "macula"
    left_eyes: Literal["as taken", "mirrored"] = "as taken"
    profile_orientation: Literal["tsnit", "image"] = "tsnit"
    resample: bool = False
    width_mm: float | None = None
    split_seed: int = 0
