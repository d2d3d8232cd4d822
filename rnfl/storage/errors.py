"""What ends a run early, in words: what went wrong, what is kept and where, and what to do."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def unwritten(what: str, folder: Path, cause: OSError, kept: str) -> OSError:
    """Return an error that says what could not be written into a folder, and what there still is.

    Parameters
    ----------
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


@contextmanager
def writing(what: str, folder: Path, kept: str) -> Iterator[None]:
    """Say in words, as :func:`unwritten` does, when the body cannot write into a folder.

    An error that names a file elsewhere is none of writing and passes as it is, as does one that
    the system did not raise.
    """
    try:
        yield
    except OSError as error:
        named = isinstance(error.filename, str | Path)
        elsewhere = named and not Path(error.filename).is_relative_to(folder)
        if error.errno is None or elsewhere:
            raise
        raise unwritten(what, folder, error, kept) from error
