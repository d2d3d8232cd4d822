"""From raw files to prepared datasets, the folders between them and training."""

from __future__ import annotations

from pathlib import Path

from rnfl.datasets import registry
from rnfl.datasets.prepared import Prepared, load, write
from rnfl.storage import locks, provenance
from rnfl.storage.paths import prepared_root

__all__ = ["Prepared", "load", "prepare", "write"]


def prepare(name: str, source: str | Path | None = None, resample: bool = False) -> Prepared:
    """Return a prepared dataset; it is built when absent or when its settings have changed.

    Programs that ask for the same one at the same time build it once.

    Parameters
    ----------
    name : str
        A name of :data:`rnfl.datasets.registry.DATASETS`, or of a dataset of your own that
        :func:`write` has made, which is returned as it is.
    source : path, optional
        Folder of raw files, for datasets that have them.
    resample : bool
        Whether profiles of another number of points than 360 are resampled, in datasets that read
        them from a table.

    Raises
    ------
    ValueError
        For an unknown name, or a damaged folder under that name.
    OSError
        When the disk is full or read-only, with what is kept and what to do.
    """
    provenance.clear_aside(prepared_root())
    found = _made(name, source, resample)
    if found is not None:
        locks.remove_remains(prepared_root() / ".locks" / name)  # of one killed when it was done
        return found
    dataset = registry.find(name)
    with locks.locked(prepared_root() / ".locks" / name):
        found = _made(name, source, resample)  # by a program that had the lock before
        if found is not None:
            return found
        return dataset.prepare(name, source=source, **_more(name, resample))


def _more(name: str, resample: bool) -> dict[str, bool]:
    """Return what only datasets take that read profiles from a table."""
    if not resample:
        return {}
    options = getattr(registry.find(name), "Options", object)
    if "resample" not in getattr(options, "__annotations__", ()):
        raise ValueError(f"{name} reads no profiles from a table: nothing can be resampled")
    return {"resample": True}


def _made(name: str, source: str | Path | None, resample: bool) -> Prepared | None:
    """Return a dataset that is there already and has the settings asked for."""
    if Path(name).name != name or not (prepared_root() / name / "manifest.json").is_file():
        return None
    prepared = load(name)  # before raw files are looked at: a damaged one has to be made anew
    if prepared.made_of_another and source is not None:
        raise ValueError(f"{prepared.folder} was made of another dataset: give yours another name")
    if source is None and (prepared.made_of_another or not registry.is_registered(name)):
        return prepared
    settings = registry.find(name).settings(name, source=source, **_more(name, resample))
    return prepared if prepared.manifest["settings"] == provenance.plain(settings) else None
