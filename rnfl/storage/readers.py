"""One reader per format: what is wrong with a file ends in a ValueError that names it.

Libraries end in whatever their parsers stumble over; here each call of one is wrapped, and what is
larger than :mod:`rnfl.storage.limits` allows is refused before it is read.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pandas as pd
from pandas.io.common import get_handle

from rnfl.storage import escaping, limits, provenance

if TYPE_CHECKING:
    from PIL import Image

AGAIN = "if it is damaged, copy or download it again"
BLOCK = 2**20  # bytes looked at together


@contextmanager
def readable(path: object, what: str, remedy: str = AGAIN) -> Iterator[None]:
    """Turn what a library raises in the body into a ValueError that names the file.

    Parameters
    ----------
    path : path or str
        The file, as the message begins; a ValueError that begins so already passes as it is.
    what : str
        What was expected, such as 'a workbook'.
    remedy : str
        What to do.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        said = "save it as 'CSV UTF-8'" if "table" in what else remedy
        raise ValueError(f"{path} is not in UTF-8 ({error}): {said}") from error
    except Exception as error:  # over damaged bytes, a parser may end in any of them
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        said = str(error)[:500]
        if not isinstance(error, OSError | ValueError):
            said = f"{type(error).__name__}: {said}"
        raise ValueError(f"{path} cannot be read as {what} ({said}): {remedy}") from error


def read_bytes(path: Path) -> bytes:
    """Return what a file holds, unless it is larger than one may be."""
    with readable(path, "a file"):
        limits.check("RNFL_MAX_BYTES", path.stat().st_size, path)
        return path.read_bytes()


def open_image(source: Path | BinaryIO, formats: Sequence[str]) -> Image.Image:
    """Return an image, opened and not decoded, if it has not too many pixels."""
    from PIL import Image

    most = limits.limit("RNFL_MAX_PIXELS")
    # Pillow warns above its own limit and refuses twice as much.
    Image.MAX_IMAGE_PIXELS = max(most, Image.MAX_IMAGE_PIXELS or most)
    try:
        picture = Image.open(source, formats=formats)
    except Image.DecompressionBombError:
        limits.check("RNFL_MAX_PIXELS", 2 * Image.MAX_IMAGE_PIXELS, "the image")
        raise
    limits.check("RNFL_MAX_PIXELS", picture.width * picture.height, "the image")
    return picture


def read_json(path: Path, remedy: str = AGAIN) -> Any:
    """Return what a JSON file holds; of a sealed one, if its seal is unbroken, and without it."""
    with readable(path, "JSON", remedy):
        return provenance.unsealed(json.loads(read_bytes(path).decode("utf-8-sig")))


def open_array(path: Path, remedy: str = AGAIN) -> np.ndarray:
    """Return the array of an npy file, mapped and read-only."""
    with readable(path, "an array", remedy):
        return np.load(path, mmap_mode="r", allow_pickle=False)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file by name."""
    with readable(path, "arrays"), zipfile.ZipFile(path) as held:
        for member in held.infolist():
            limits.check("RNFL_MAX_BYTES", member.file_size, f"{path}, {member.filename}")
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)


def read_parquet(path: Path, remedy: str = AGAIN) -> pd.DataFrame:
    """Return the table of a parquet file, of which the footer says how large it is."""
    from pyarrow import parquet

    with readable(path, "a table", remedy):
        about = parquet.read_metadata(path)
        groups = [about.row_group(i) for i in range(about.num_row_groups)]
        limits.check("RNFL_MAX_ROWS", about.num_rows, path)
        limits.check("RNFL_MAX_COLUMNS", about.num_columns, path)
        limits.check("RNFL_MAX_TABLE_BYTES", sum(one.total_byte_size for one in groups), path)
        return pd.read_parquet(path)


def check_text(path: Path) -> None:
    """Refuse a CSV, also a compressed one, of more bytes or lines than a table may have."""
    size = rows = 0
    with get_handle(path, "rb", is_text=False, compression="infer") as handles:
        while block := handles.handle.read(BLOCK):
            size += len(block)
            rows += max(block.count(b"\n"), block.count(b"\r"))
            limits.check("RNFL_MAX_TABLE_BYTES", size, path)
            limits.check("RNFL_MAX_ROWS", rows, path)


def read_csv(path: str | Path, remedy: str = AGAIN, **how: Any) -> pd.DataFrame:
    """Return a CSV that :func:`rnfl.storage.provenance.write_csv` wrote, its texts as they were.

    ``how`` are options of ``pandas.read_csv``.
    """
    with readable(path, "a table", remedy):
        check_text(Path(path))
        return escaping.in_texts(pd.read_csv(path, **how), escaping.original)
