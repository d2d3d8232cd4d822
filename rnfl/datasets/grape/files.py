"""GRAPE's raw folder: where the workbook, the photographs and what belongs to them are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WORKBOOK = "VF and clinical information.xlsx"
PHOTOGRAPHS = "CFPs"
REGIONS = "ROI images"
ANNOTATIONS = "json"


@dataclass(frozen=True)
class Files:
    """The parts of a raw folder; ``regions`` and ``annotations`` may be absent."""

    workbook: Path
    photographs: Path
    regions: Path | None
    annotations: Path | None

    def of(self, photograph: str) -> tuple[Path | None, Path | None, Path | None]:
        """Return photograph, region and annotation by the photograph's name, None if absent."""
        outlines = f"{Path(photograph).stem}.json"
        return (
            _file(self.photographs, photograph),
            _file(self.regions, photograph),
            _file(self.annotations, outlines),
        )

    def strangers(self, names: set[str]) -> list[str]:
        """Return the photographs that the workbook does not name."""
        return sorted(p.name for p in _pictures(self.photographs) if p.name not in names)


def find_files(place: Path) -> Files | None:
    """Return the files of a folder, None where workbook or photographs are not there.

    Spaces of names may be underscores, and an archive may have been unpacked into a folder of its
    own name (``CFPs/CFPs``).
    """
    workbook = _named(place, WORKBOOK)
    parts = [_unpacked(place, name) for name in (PHOTOGRAPHS, REGIONS, ANNOTATIONS)]
    if workbook is None or not workbook.is_file() or parts[0] is None:
        return None
    return Files(workbook, *parts)


def _named(place: Path, name: str) -> Path | None:
    either = (place / name, place / name.replace(" ", "_"))
    return next((path for path in either if path.exists()), None)


def _unpacked(place: Path, name: str) -> Path | None:
    folder = _named(place, name)
    if folder is None or not folder.is_dir():
        return None
    inner = _named(folder, name)
    return inner if inner is not None and inner.is_dir() else folder


def _file(folder: Path | None, name: str) -> Path | None:
    return folder / name if folder is not None and (folder / name).is_file() else None


def _pictures(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
