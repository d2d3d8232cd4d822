"""What the owner of raw files may say of them: a TOML file beside them, every entry checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

Options = TypeVar("Options")
MM = (1, 50)  # range of a width of retina


def read_choices(
    source: Path, file: str, options: type[Options], valid: Mapping[str, tuple[str, ...]]
) -> Options:
    """Return the options of a raw folder or archive; the defaults where there is no file.

    Parameters
    ----------
    source : Path
        Folder that holds the file, or archive beside which it lies.
    file : str
    options : type
        Dataclass with a default for each option. Names that end in ``_mm`` are widths of retina,
        those that end in ``_seed`` whole numbers.
    valid : mapping of str to tuple of str
        Valid values of the others.

    Raises
    ------
    ValueError
        Naming the file, the option or value that is not valid, and the valid ones.
    """
    path = (source if source.is_dir() else source.parent) / file
    if not path.is_file():
        return options()
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as TOML: {error}") from error
    names = [field.name for field in fields(options)]
    for name, value in given.items():
        if name not in names:
            raise ValueError(f"{path}: option {name!r}: expected {', '.join(names)}")
        if name in valid and value not in valid[name]:
            raise ValueError(
                f"{path}: {name} = {value!r}: expected {' or '.join(map(repr, valid[name]))}"
            )
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name.endswith("_mm") and not (number and MM[0] <= value <= MM[1]):
            raise ValueError(f"{path}: {name} = {value!r}: expected {MM[0]} to {MM[1]} mm")
        if name.endswith("_seed") and type(value) is not int:
            raise ValueError(f"{path}: {name} = {value!r}: expected a whole number")
    return options(**given)
