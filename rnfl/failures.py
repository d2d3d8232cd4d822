"""What ends a run early, in words: what went wrong, what is kept and where, and what to do."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnfl import prepare
from rnfl.prepare import Prepared

DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def unwritten(what: str, folder: Path, cause: OSError, kept: str) -> OSError:
    """Return an error that says what could not be written into a folder, and what there still is.

    Parameters
    ----------
    what : str
    folder : Path
    cause : OSError
        What the system answered.
    kept : str
        What asking again will find.
    """
    reason = os.strerror(cause.errno) if cause.errno else str(cause)
    remedy = "put that right"
    if cause.errno in DISK_FULL and folder.exists():
        reason += f", {shutil.disk_usage(folder).free / 2**20:.1f} MiB are free"
        remedy = "free some space"
    text = f"cannot write {what} into {folder} ({reason}): {remedy} and ask again; {kept}"
    return OSError(cause.errno, text) if cause.errno else OSError(text)


def check_unchanged(prepared: Prepared, kept: str) -> None:
    """Refuse to go on with a dataset that is no longer the one that was opened.

    Parameters
    ----------
    prepared : Prepared
        As it was opened.
    kept : str
        What there is of the run so far.

    Raises
    ------
    ValueError
        If its folder is gone, damaged or holds another dataset now.
    """
    was = prepared.manifest["hash"]
    try:
        now = prepare.load(prepared.folder).manifest["hash"]
    except (ValueError, OSError) as error:
        raise ValueError(
            f"dataset {prepared.name} was deleted, moved or damaged during the run ({error}); "
            f"{kept}. Put the dataset of hash {was[:10]} back and ask again"
        ) from error
    if now != was:
        raise ValueError(
            f"dataset {prepared.name} in {prepared.folder} was replaced during the run: its hash "
            f"was {was[:10]} and is {now[:10]}; {kept}. Put the former back and ask again, or ask "
            "again for a new run on the one that is there"
        )


@contextmanager
def unchanged(prepared: Prepared, kept: str) -> Iterator[None]:
    """Hold a dataset to be the same before and after the body; blame it for what fails in between.

    Raises
    ------
    ValueError
        As :func:`check_unchanged` does.
    """
    check_unchanged(prepared, kept)
    try:
        yield
    except (OSError, ValueError):
        check_unchanged(prepared, kept)
        raise
    check_unchanged(prepared, kept)
