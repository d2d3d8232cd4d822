"""What the owner of raw files may say of them: a TOML file beside them, every entry checked.

The options of a dataset are a dataclass: ``FILE`` names the file, each field has its default, and a
field of type ``Literal`` its valid values. Names that end in ``_mm`` are widths of retina, those
that end in ``_seed`` whole numbers.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from rnfl.imaging.inspection import WIDTHS_MM

Options = TypeVar("Options")


@dataclass(frozen=True)
class NoOptions:
    """Of a dataset of which everything is known."""

    FILE: ClassVar[str] = ""


def read_options(source: Path, options: type[Options]) -> Options:
    """Return the options of a raw folder or archive; the defaults where there is no file.

    Parameters
    ----------
    source : Path
        Folder that holds the file, or archive beside which it lies.
    options : type
        Dataclass as the module describes it.

    Raises
    ------
    ValueError
        Naming the file, the option or value that is not valid, and the valid ones.
    """
    path = (source if source.is_dir() else source.parent) / options.FILE
    if not path.is_file():
        return options()
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as TOML: {error}") from error
    kinds = {name: kind for name, kind in get_type_hints(options).items() if name != "FILE"}
    for name, value in given.items():
        if name not in kinds:
            raise ValueError(f"{path}: option {name!r}: expected {', '.join(kinds)}")
        valid = get_args(kinds[name])
        if get_origin(kinds[name]) is Literal and value not in valid:
            raise ValueError(
                f"{path}: {name} = {value!r}: expected {' or '.join(map(repr, valid))}"
            )
        number = isinstance(value, int | float) and not isinstance(value, bool)
        low, high = WIDTHS_MM
        if name.endswith("_mm") and not (number and low <= value <= high):
            raise ValueError(f"{path}: {name} = {value!r}: expected {low:g} to {high:g} mm")
        if kinds[name] is bool and type(value) is not bool:
            raise ValueError(f"{path}: {name} = {value!r}: expected true or false")
        if name.endswith("_seed") and type(value) is not int:
            raise ValueError(f"{path}: {name} = {value!r}: expected a whole number")
    return options(**given)
