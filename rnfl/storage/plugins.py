"""What installed packages add: protocols, backbones, datasets and terms of the loss, by name.

A package declares an entry point of the group ``rnfl.protocols`` (or ``backbones``, ``datasets``,
``losses``), whose name is the one to ask for and whose object is what that name stands for. Nothing
of a package is imported before its name is asked for. Worker processes find the same names, since
they find the same packages.
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import UnionType
from typing import Any

KINDS = ("protocols", "backbones", "datasets", "losses")


@cache
def _declared(kind: str) -> dict[str, EntryPoint]:
    assert kind in KINDS, kind
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"rnfl.{kind}"):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise ValueError(
                f"two installed packages call one of their {kind} {point.name!r} "
                f"({other.value} and {point.value}): uninstall one of them"
            )
    return found


def names(kind: str) -> list[str]:
    """Return the names that installed packages add."""
    return sorted(_declared(kind))


def refuse_taken(kind: str, name: str) -> None:
    """Refuse a name of the project itself that an installed package gives to something else."""
    if name in _declared(kind):
        raise ValueError(
            f"an installed package registers {_declared(kind)[name].value} under {name!r}, a name "
            f"that one of the project's own {kind} has: give it another name"
        )


@cache
def find(kind: str, name: str, expected: type | UnionType | None = None) -> Any:
    """Return what an installed package registers under a name, or None.

    Parameters
    ----------
    kind : {'protocols', 'backbones', 'datasets', 'losses'}
    expected : type, optional
        What it must be; None = something that can be called.

    Raises
    ------
    ValueError
        If it cannot be imported, or is something else.
    """
    point = _declared(kind).get(name)
    if point is None:
        return None
    try:
        value = point.load()
    except Exception as error:
        raise ValueError(
            f"{name!r}, of {kind}, is registered as {point.value}, which cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    fits = callable(value) if expected is None else isinstance(value, expected)
    if not fits:
        wanted = "something that can be called" if expected is None else expected
        raise ValueError(f"{name!r}, of {kind}, is {type(value)} ({point.value}), not {wanted}")
    return value
