"""What ends a command early, in words: what went wrong, what is kept and where, and what to do."""

import errno
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
FULL = 2**16  # bytes: writers that only say how much they wrote are believed where fewer are free


class Unwritten(OSError):
    """What :func:`unwritten` says: it needs no more words."""


def unwritten(what: str, folder: Path, cause: OSError, kept: str) -> Unwritten:
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
    if cause.errno in DISK_FULL and (there := _existing(folder)):
        reason += f", {shutil.disk_usage(there).free / 2**20:.1f} MiB are free without it"
        remedy = "free some space"
    text = f"cannot write {what} into {folder} ({reason}): {remedy} and ask again; {kept}"
    return Unwritten(cause.errno, text) if cause.errno else Unwritten(text)


def _existing(folder: Path) -> Path | None:
    return next((one for one in (folder, *folder.parents) if one.exists()), None)


@contextmanager
def writing(what: str, folder: Path, kept: str) -> Iterator[None]:
    """Say in words, as :func:`unwritten` does, when the body cannot write into a folder.

    An error that names a file elsewhere is none of writing and passes as it is, as does one that
    the system did not raise. When a signal ends the body, what is kept is said as well.
    """
    try:
        yield
    except Unwritten:
        raise
    except (KeyboardInterrupt, SystemExit) as end:
        say_stopped(f"{what} is not written into {folder}; {kept}", end)
        raise
    except Exception as error:
        cause = _cause(error, folder)
        if cause is None:
            raise
        raise unwritten(what, folder, cause, kept) from error


def _cause(error: Exception, folder: Path) -> OSError | None:
    """Return the system's refusal to write into a folder behind an error, if it is one."""
    if isinstance(error, OSError) and error.errno is not None:
        named = isinstance(error.filename, str | Path)
        return None if named and not Path(error.filename).is_relative_to(folder) else error
    if code := re.search(r"\bos error (\d+)\b", str(error)):  # as writers in Rust say it
        return OSError(int(code[1]), os.strerror(int(code[1])))
    # NumPy and Pillow only say that not everything was written.
    there = _existing(folder)
    if type(error) is OSError and there and shutil.disk_usage(there).free < FULL:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return error if type(error) is OSError else None


def say_stopped(text: str, end: BaseException) -> None:
    """Say on stderr what is kept where a signal ends the program, unless that is said already.

    Parameters
    ----------
    end : KeyboardInterrupt or SystemExit
        What the signal raised: of SIGTERM the exit status 143.
    """
    chain = [end]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(before)
    ends = [one for one in chain if isinstance(one, KeyboardInterrupt | SystemExit)]
    statuses = [getattr(one, "code", 128 + signal.SIGINT) for one in ends]
    numbers = [one for one in (signal.SIGINT, signal.SIGTERM) if 128 + one in statuses]
    if not numbers or any(getattr(one, "__notes__", ()) for one in ends):
        return  # an exit that no signal asked for, or one that is explained
    tqdm.write(f"{numbers[0].name}: {text}", file=sys.stderr)
    end.add_note(text)
