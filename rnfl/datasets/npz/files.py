"""Raw files, read where they lie: npz and CSV in a folder, a zip or tar shards.

Nothing is unpacked to disk and nothing pickled is loaded. A file that cannot be used raises
:class:`Excluded`, which leaves out one eye; what is wrong with the whole source is a ValueError.
"""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import BinaryIO

import numpy as np

from rnfl.core.exclusion import Excluded
from rnfl.storage.hashed import file_stamp
from rnfl.storage.limits import limit
from rnfl.storage.provenance import sha256_bytes, sha256_file
from rnfl.storage.tables import listed

# Python 3.11 before 3.11.8 fails now and then when two threads parse headers at once.
PARSING = Lock()
LARGEST = "RNFL_MAX_BYTES"  # of a file, and of one of its arrays; real ones have a few million
KINDS = (".npz", ".csv")
AGAIN = "copy or download it again"
UNREADABLE = "unreadable npz"
OBJECTS = "object arrays in the npz, which are never loaded"
TOO_LARGE = f"file or array too large to be read ({LARGEST} sets the limit)"
DAMAGE = (
    *(OSError, EOFError, ValueError, KeyError, NotImplementedError, RuntimeError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, struct.error, MemoryError),
)


@dataclass(frozen=True)
class Entry:
    """A file of the source: its path there, and where on disk its bytes are."""

    name: str
    container: Path
    offset: int = -1  # of a tar's member; -1 elsewhere
    size: int = 0

    @property
    def key(self) -> str:
        """The file's name without folder and ``.npz``, which names the eye."""
        return key_of(self.name)


def key_of(name: str) -> str:
    """Return the key of an eye from a file's name or path.

    Examples
    --------
    >>> key_of("all/data_00001.npz"), key_of(" data_00001 ")
    ('data_00001', 'data_00001')
    """
    return PurePosixPath(name.strip().replace("\\", "/")).name.removesuffix(".npz")


class Source:
    """The npz and CSV files of a folder, a zip or a tar, sorted by path.

    In a folder without npz files its zip and tar files are read instead; beside npz files they
    are not, and ``unread`` names them.

    Raises
    ------
    ValueError
        When there are no npz files, two share a name, or an archive is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.unread, self._zips = path, [], {}
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        files = [f for f in files if f.is_file() and not _hidden(f.relative_to(path).as_posix())]
        loose = [f for f in files if f.suffix.lower() in KINDS] if path.is_dir() else []
        archives = [f for f in files if f.suffix.lower() in (".zip", ".tar")]
        found = [Entry(f.relative_to(path).as_posix(), f, size=f.stat().st_size) for f in loose]
        if any(f.suffix.lower() == ".npz" for f in loose):
            self.unread = [f.relative_to(path).as_posix() for f in archives]
        else:
            found += [entry for f in archives for entry in self._members(f)]
        found.sort(key=lambda entry: (entry.name, entry.container.name))
        self.npz, self.csv = ([e for e in found if e.name.lower().endswith(k)] for k in KINDS)
        if not self.npz:
            raise ValueError(
                f"{path}: no npz files; found {listed((f.name for f in files), 5) or 'nothing'}. "
                "Expected a folder of *.npz or all/*.npz, a zip, or tar shards (*.tar)"
            )
        places: dict[str, list[str]] = {}
        for entry in self.npz:
            places.setdefault(entry.key, []).append(f"{entry.name} in {entry.container.name}")
        twice = [f"{key} ({', '.join(at)})" for key, at in places.items() if len(at) > 1]
        if twice:
            raise ValueError(f"{path}: files of the same name: {listed(twice)}; keep one of each")

    def _members(self, archive: Path) -> list[Entry]:
        """Return the npz and CSV files of an archive, none of which may point outside it."""
        try:
            if archive.suffix.lower() == ".zip":
                self._zips[archive] = zipfile.ZipFile(archive)
                infos = [i for i in self._zips[archive].infolist() if not i.is_dir()]
                found = [Entry(info.filename, archive, size=info.file_size) for info in infos]
            else:
                with tarfile.open(archive, "r:") as tar:
                    infos = [member for member in tar if member.isfile()]
                found = [Entry(m.name, archive, m.offset_data, m.size) for m in infos]
        except (OSError, zipfile.BadZipFile, tarfile.TarError) as error:
            raise ValueError(f"{archive} is damaged ({error}): {AGAIN}") from error
        outside = [e.name for e in found if e.name.startswith("/") or ".." in e.name.split("/")]
        if outside:
            raise ValueError(
                f"{archive}: members point outside the archive: {listed(outside)}; "
                "make the archive again with paths relative to its own folder"
            )
        return [e for e in found if e.name.lower().endswith(KINDS) and not _hidden(e.name)]

    def open(self, entry: Entry) -> BinaryIO:
        """Return a file to read and seek in; a member of an archive is held in memory."""
        if entry.size > limit(LARGEST):
            raise Excluded(TOO_LARGE, f"{entry.name}: {entry.size} bytes")
        if entry.container in self._zips:
            return io.BytesIO(self._zips[entry.container].read(entry.name))
        handle = open(entry.container, "rb")
        if entry.offset < 0:
            return handle
        with handle:
            handle.seek(entry.offset)
            return io.BytesIO(handle.read(entry.size))

    def stamp(self, entry: Entry) -> str:
        """Return a text that changes when the file's bytes do, without reading them."""
        if entry.container in self._zips:
            info = self._zips[entry.container].getinfo(entry.name)
            return f"{info.file_size} {info.CRC:08x}"
        return f"{file_stamp(entry.container)} {entry.offset} {entry.size}"

    def read(self, entry: Entry) -> bytes:
        """Return the bytes of a file, or raise a ValueError when they cannot be read."""
        try:
            with self.open(entry) as handle:
                return handle.read()
        except (Excluded, *DAMAGE) as error:
            raise ValueError(f"{self.path}: {entry.name} is damaged ({error}): {AGAIN}") from error

    def fingerprint(self, entry: Entry, wanted: Collection[str] = ()) -> str:
        """Return the hash of a file, see :meth:`take`."""
        return self._contents(entry, wanted)[0]

    def take(self, entry: Entry, wanted: Collection[str], hashes: dict[str, str]) -> dict:
        """Return the wanted arrays that an npz holds, by name in lower case; note its hash.

        The hash tells any change in the arrays that are used: it covers names, sizes and CRC-32 of
        all arrays, and the contents of the wanted ones are verified. The OCT volumes, most of the
        bytes, are not read. A damaged file is hashed whole, as is a CSV.

        Raises
        ------
        Excluded
            When the file or one of these arrays cannot be read.
        """
        hashes[entry.name], held = self._contents(entry, wanted)
        try:
            if isinstance(held, Exception):
                raise held
            with PARSING:
                return {
                    name: np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
                    for name, data in held.items()
                }
        except DAMAGE as error:
            if "allow_pickle" in str(error):
                raise Excluded(OBJECTS, str(error)) from error
            raise Excluded(UNREADABLE, f"{type(error).__name__}: {error}") from error

    def _contents(
        self, entry: Entry, wanted: Collection[str]
    ) -> tuple[str, dict[str, bytes] | Exception]:
        """Return the hash of an npz and the bytes of the wanted arrays, or why there are none."""
        digest, held, large = hashlib.sha256(), {}, []
        try:
            with self.open(entry) as handle, zipfile.ZipFile(handle) as npz:
                for info in sorted(npz.infolist(), key=lambda info: info.filename):
                    digest.update(f"{info.filename} {info.file_size} {info.CRC}\n".encode())
                    name = _array(info.filename)
                    if name in wanted and info.file_size > limit(LARGEST):
                        large.append(name)
                    elif name in wanted:
                        held[name] = npz.read(info)  # raises when they differ from their CRC-32
            too_large = Excluded(TOO_LARGE, f"array {listed(large)}")
            return digest.hexdigest(), too_large if large else held
        except (Excluded, *DAMAGE) as error:
            return self._whole(entry), error

    def _whole(self, entry: Entry) -> str:
        """Return the hash of all bytes of a file."""
        try:
            if entry.container not in self._zips and entry.offset < 0:
                return sha256_file(entry.container)
            with self.open(entry) as handle:
                return sha256_bytes(handle.read())
        except (Excluded, *DAMAGE) as error:
            return f"unreadable: {type(error).__name__}, {entry.size} bytes"

    def holds(self, entry: Entry, name: str) -> bool:
        """Return whether an npz has an array of this name; False when it cannot be opened."""
        try:
            with self.open(entry) as handle, zipfile.ZipFile(handle) as npz:
                return name in map(_array, npz.namelist())
        except (Excluded, *DAMAGE):
            return False

    def close(self) -> None:
        """Close the archives."""
        for archive in self._zips.values():
            archive.close()


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) and part != "." for part in name.split("/"))


def _array(member: str) -> str:
    """Return the name of the array that a member of an npz holds."""
    return member.removesuffix(".npy").lower()
