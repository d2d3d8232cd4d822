"""Tables made elsewhere: read as they are, and say precisely what is wrong with them.

Identifiers are read as text, so that ``007`` stays ``007``; a line of a message is the line of the
file as Excel shows it, its header being line 1.
"""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.io.common import get_handle

from rnfl.storage import escaping, limits
from rnfl.storage.readers import check_text, read_parquet, readable

MISSING = ("", "nan", "NaN", "NAN", "na", "NA", "n/a", "N/A", "null", "NULL", "none", "None")
DELIMITERS = ",;\t|"
TEXTS = {".csv", ".tsv", ".txt"}
HEADS = 20  # lines in which a header is looked for
HEAD_BYTES = 2**20
LONGEST = 100  # characters of a number
UNNAMED = "\0"  # begins the name of a column that has none
UNSEEN = dict.fromkeys(map(ord, "\u200b\u200c\u200d\ufeff\u00ad"))  # of no width
UNITS = {  # of headers, that are ours
    *("μm", "um", "micron", "microns", "micrometres", "micrometers", "px", "pixel", "pixels"),
    *("years", "year", "yrs", "y", "°", "deg", "degrees"),
}
EXCELS = re.compile(r"\d(\.\d+)?E\+\d+")  # how Excel writes long numbers, less their digits


def listed(
    values: Iterable[object], limit: int = 5, total: int | None = None, comma: str = ", "
) -> str:
    """Return the first few distinct values as text, and how many more there are.

    ``total`` is their number when ``values`` holds only the first of them.

    Examples
    --------
    >>> listed("abcdefg", limit=3), listed(["a", "a"])
    ('a, b, c and 4 more', 'a')
    """
    texts = list(dict.fromkeys(map(str, values)))
    more = (len(texts) if total is None else total) - limit
    return comma.join(texts[:limit]) + (f" and {more} more" if more > 0 else "")


def column_name(found: object) -> str:
    """Return the name that a column's header stands for, in lower case.

    Unicode forms, case, spaces, hyphens, arrows and a unit that the project works in do not count;
    another unit stays, so that it is not taken for ours.

    Examples
    --------
    >>> [column_name(name) for name in (" Patient ID", "MAE (µm) ↓", "R²", "S (mm)")]
    ['patient_id', 'mae', 'r2', 's_(mm)']
    """
    text = unicodedata.normalize("NFKC", str(found)).translate(UNSEEN).strip("↑↓ \t\r\n").casefold()
    measured = re.fullmatch(r"(.*\S)\s*[(\[](.*)[)\]]", text)
    if measured and (measured[2].strip() in UNITS or measured[1].endswith(f"_{measured[2]}")):
        text = measured[1]
    return re.sub(r"(?<=\S)[\s-]+(?=\S)", "_", text.strip())


@dataclass(frozen=True)
class Form:
    """How a text file holds a table: encoding, delimiter, and lines above its header."""

    encoding: str
    delimiter: str
    skipped: int = 0


def form_of(head: bytes, where: object, needed: Collection[str], same: Mapping[str, str]) -> Form:
    """Return how a text file holds its table, from its beginning.

    The header is the first line that names a needed column, and the delimiter the one by which it
    does. Excel's own first line ``sep=`` is honoured.

    Raises
    ------
    ValueError
        When lines stand above the header, or the delimiter or the encoding is not clear.
    """
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = head.decode(encoding, "replace")
    if "\0" in text:
        raise ValueError(f"{where} is no text in UTF-8: save it as 'CSV UTF-8'")
    lines = text.splitlines()[:HEADS]
    told = re.fullmatch(r'"?sep=(.?)"?[;,\t|"]*', lines[0], re.IGNORECASE) if lines else None
    if told and told[1] and told[1] not in DELIMITERS:
        raise ValueError(f"{where}: {lines[0]!r}: expected one of {' '.join(DELIMITERS)!r}")
    among = told[1] if told and told[1] else DELIMITERS
    skipped = 1 if told else 0
    for number, line in enumerate(lines[skipped:], skipped + 1):
        names = {mark: _cells(line, mark, same) for mark in among}
        fit = {mark: len(of) for mark, of in names.items() if set(needed) & set(of)}
        widest = [mark for mark in fit if fit[mark] == max(fit.values())]
        if not fit:
            continue
        if len(widest) > 1 and fit[widest[0]] > 1:
            marks = " or ".join(map(repr, widest))
            raise ValueError(
                f"{where}: line {number} is separated by {marks}, which is not clear: "
                "put a line such as 'sep=,' above it"
            )
        if number > skipped + 1:
            raise ValueError(
                f"{where}: line {skipped + 1} is no header: {lines[skipped][:60]!r}; the header "
                f"seems to be line {number}: remove what is above it"
            )
        return Form(encoding, widest[0], skipped)
    first = lines[skipped] if len(lines) > skipped else ""
    return Form(encoding, max(among, key=lambda mark: len(_cells(first, mark, same))), skipped)


def _cells(line: str, delimiter: str, same: Mapping[str, str]) -> list[str]:
    return _spelt(next(csv.reader([line], delimiter=delimiter), []), same)


def _spelt(found: Iterable[object], same: Mapping[str, str]) -> list[str]:
    return [same.get(name, name) for name in map(column_name, found)]


def read_table(
    path: Path,
    same: Mapping[str, str],
    text: Sequence[str] | None,
    expected: str,
    needed: Collection[str],
) -> pd.DataFrame:
    """Return a CSV (also compressed) or parquet file with its columns under their usual names.

    Columns may be separated by commas, semicolons, tabs or bars, in UTF-8 or UTF-16; where they
    are not separated by commas, numbers may have decimal commas. Columns without name or entry are
    left out, and ``attrs["delimiter"]`` tells of a text file what separates the others.

    Parameters
    ----------
    same : mapping of str to str
        Other names of columns, as :func:`column_name` spells them.
    text : sequence of str, optional
        Columns of text; the other ones are numbers where all their values are. None: all are text.
    expected : str
        What the file should hold, for the message.
    needed : collection of str
        Columns of which the header has at least one, by which it is known.

    Raises
    ------
    ValueError
        When it cannot be read as a table, or two columns mean the same.
    """
    parquet = path.suffix == ".parquet"
    with readable(path, "a table", expected):
        if not parquet and not TEXTS & {suffix.lower() for suffix in path.suffixes}:
            raise ValueError(
                f"its name ends in {path.suffix!r}, not in .csv or .parquet; a workbook can be "
                "saved as 'CSV UTF-8', its identifiers formatted as text"
            )
        if parquet:
            frame = read_parquet(path, expected)
            found = list(frame)
        else:
            check_text(path)
            with get_handle(path, "rb", is_text=False, compression="infer") as handles:
                form = form_of(handles.handle.read(HEAD_BYTES), path, needed, same)
            how = {"sep": form.delimiter, "skiprows": form.skipped, "encoding": form.encoding}
            head = pd.read_csv(path, header=None, nrows=1, dtype=str, **how)
            found = head.iloc[0].fillna("").tolist()
        limits.check("RNFL_MAX_COLUMNS", len(found), path)
    names = _spelt(found, same)
    spellings = {name: [] for name in names}
    for name, spelling in zip(names, found, strict=True):
        spellings[name].append(str(spelling))
    twice = [f"{name} ({', '.join(of)})" for name, of in spellings.items() if name and of[1:]]
    if twice:
        raise ValueError(f"{path}: columns that mean the same: {listed(twice)}; keep one of each")
    if parquet:
        return frame.set_axis(names, axis=1)
    names = [name or f"{UNNAMED}{place}" for place, name in enumerate(names)]
    numeric = [] if text is None else [name for name in names if name not in text]
    with readable(path, "a table", "Save it as 'CSV UTF-8'"):
        frame = pd.read_csv(
            path,
            header=0,
            names=names,
            dtype={name: str for name in names if name not in numeric},
            keep_default_na=False,
            na_values={name: list(MISSING) for name in numeric},
            decimal="." if form.delimiter == "," else ",",
            low_memory=False,
            **how,
        )
    unnamed = [name for name in names if name.startswith(UNNAMED)]
    last = frame.iloc[:, -1] if names[-1:] == unnamed[-1:] else pd.Series(dtype=str)
    if last.replace("", np.nan).notna().any() or not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(f"{path}: rows have more values than the header has columns")
    frame = escaping.in_texts(frame.drop(columns=unnamed), escaping.original)
    frame = frame if form.delimiter == "," else frame.apply(with_points)
    frame.attrs["delimiter"] = form.delimiter
    return frame


def with_points(column: pd.Series) -> pd.Series:
    """Return a column of numbers with decimal commas, none of them identifiers, with points."""
    textual = ("_id", "image", "model")
    if pd.api.types.is_numeric_dtype(column) or str(column.name).endswith(textual):
        return column
    plain = column.fillna("").str.strip().str.replace(r"^([+−-]?\d*),(\d+)$", r"\1.\2", regex=True)
    others = plain[~plain.isin(MISSING)]
    is_numeric = pd.to_numeric(others, errors="coerce").notna().all()
    return plain if len(others) and is_numeric else column


def unused(
    frame: pd.DataFrame, known: Collection[str], path: Path, too: Collection[str] = ()
) -> list[str]:
    """Return the columns that are not known and so not used; ``too`` are names for a message.

    Raises
    ------
    ValueError
        When one is a known column in a unit that is not read.
    """
    others = [name for name in frame if name not in known]
    measured = [name for name in others if re.sub(r"_?[(\[].*[)\]]$", "", name) in {*known, *too}]
    if measured:
        raise ValueError(
            f"{path}: {listed(measured)}: expected lengths of the retina in µm, ages in years and "
            "places in px; convert the values and leave out the unit"
        )
    return others


def named_file(path: Path) -> Path:
    """Return the file that a table names, also where Unicode spells its name in another form."""
    if path.exists():
        return path
    wanted = unicodedata.normalize("NFC", path.name)
    near = [name for name in near_names(path) if unicodedata.normalize("NFC", name) == wanted]
    return path.with_name(near[0]) if len(near) == 1 else path


def near_names(path: Path) -> list[str]:
    """Return the files beside an absent one whose names differ in case, spaces or forms alone."""
    if not path.parent.is_dir():
        return []
    return _names_in(path.parent, path.parent.stat().st_mtime_ns).get(_plain(path.name), [])


@lru_cache(maxsize=8)
def _names_in(folder: Path, changed: int) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        names.setdefault(_plain(name), []).append(name)
    return names


def _plain(name: str) -> str:
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def _lines(bad: np.ndarray) -> str:
    rows = np.flatnonzero(bad)
    return f"line {listed(rows[:6] + 2, 5, len(rows))}"


def identifiers(series: pd.Series, where: str) -> pd.Series:
    """Return identifiers as text without surrounding spaces, in Unicode's composed form.

    Raises
    ------
    ValueError
        When an entry is missing, is a number with a fraction, or one that has lost its digits.
    """
    if pd.api.types.is_float_dtype(series):
        raise ValueError(f"{where} holds numbers with decimals: expected text or whole numbers")
    codes, distinct = pd.factorize(series, use_na_sentinel=False)
    distinct = pd.Series(distinct, dtype=object)
    told = distinct.astype(str).str.translate(UNSEEN).str.strip().str.normalize("NFC")
    text = told.where(distinct.notna(), "").to_numpy(object)[codes]
    lost = pd.Series(text, dtype=object).str.fullmatch(EXCELS).to_numpy(bool)
    if lost.any():
        raise ValueError(
            f"{where} has lost digits: {listed(text[lost])} ({_lines(lost)}): in the workbook, "
            "format the column as text before it is saved as CSV"
        )
    if (absent := text == "").any():
        raise ValueError(f"{where} is missing in {int(absent.sum())} rows: {_lines(absent)}")
    return pd.Series(text, index=series.index, name=series.name)


def numbers(series: pd.Series, where: str) -> np.ndarray:
    """Return a column as float64, NaN where missing.

    Raises
    ------
    ValueError
        Listing entries that are no numbers, and their lines.
    """
    if pd.api.types.is_numeric_dtype(series):
        return series.to_numpy(dtype=float)
    text = series.where(~series.isin(MISSING))
    plain = text.astype(object).replace("−", "-", regex=True)
    plain = plain.where(plain.astype(str).str.len() <= LONGEST)  # Python's integers never end
    found = pd.to_numeric(plain, errors="coerce")
    bad = (found.isna() & text.notna()).to_numpy()
    if bad.any():
        entries = listed((repr(one)[:LONGEST] for one in text[bad]), 5)
        commas = text[bad].astype(str).str.fullmatch(r"\s*[+−-]?\d*,\d+\s*").any()
        hint = "; expected decimal points, not commas" if commas else ""
        if not text[bad].astype(str).str.contains(r"\d").all():  # '/', '-', 'n.d.': no number
            hint += "; where nothing was measured, leave the cell empty"
        raise ValueError(f"{where}: not numbers: {entries} ({_lines(bad)}){hint}")
    return found.to_numpy(dtype=float)
