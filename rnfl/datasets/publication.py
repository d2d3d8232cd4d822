"""Publishing a prepared dataset: tables are checked first, then images are written as they come.

One image is held at a time, so that memory does not limit how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnfl.core import schema
from rnfl.core.geometry import FIELD_MM, N_ANGLES
from rnfl.datasets import contact_sheet, summary
from rnfl.datasets.kept import forget
from rnfl.imaging import disc
from rnfl.storage import provenance
from rnfl.storage.paths import prepared_root

REQUIRED = ("dataset", "modality", "phantom", "settings")
FOR_PEOPLE = (contact_sheet.FILE, summary.CSV, summary.MARKDOWN)
IMAGES = "images.npy"


def check_array(
    array: np.ndarray, dtype: str, leading: tuple[int, ...], ndims: tuple[int, ...], where: str
) -> None:
    """Raise a ValueError that begins with ``where`` for another type or shape than expected."""
    fits = array.ndim in ndims and array.shape[: len(leading)] == leading
    if array.dtype != dtype or not fits or (array.ndim == 4 and array.shape[3] != 3):
        raise ValueError(
            f"{where}: {array.dtype} {array.shape}: expected {dtype} of "
            f"{' or '.join(map(str, ndims))} axes beginning {leading}, colour in 3 channels"
        )


@contextmanager
def publish(
    name: str,
    profiles: np.ndarray,
    samples: pd.DataFrame,
    manifest_fields: Mapping[str, Any],
    profiles_true: np.ndarray | None = None,
    extra: Mapping[str, pd.DataFrame] | None = None,
) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that takes the images one by one; then the dataset is published.

    Images come in the order of ``samples``. When the body raises, or there are more or fewer
    images than rows, nothing is published. Parameters are those of :func:`rnfl.datasets.write`.

    Raises
    ------
    ValueError
        When shapes, types, columns or manifest fields are wrong.
    """
    absent = [field for field in REQUIRED if field not in manifest_fields]
    if absent:
        raise ValueError(f"dataset {name!r}: manifest fields {absent} are missing")
    samples = schema.validate(samples, "samples", name)
    arrays = {}
    for file, values in (("profiles.npy", profiles), ("profiles_true.npy", profiles_true)):
        if values is not None:
            arrays[file] = np.asarray(values, dtype=np.float32)
            check_array(arrays[file], "float32", (len(samples), N_ANGLES), (2,), f"{name}: {file}")

    counts = {"patients": samples["patient_id"].nunique()}
    counts |= {split: (samples["split"] == split).sum() for split in schema.SPLITS}
    manifest = {"name": name, "n": len(samples), "exclusions": [], "field_mm": FIELD_MM}
    manifest |= manifest_fields
    if "disc_confidence" in samples:
        manifest["unsure"] = disc.unsure(samples, name)
        counts["disc_unsure"] = len(manifest["unsure"])
    manifest["counts"] = counts | dict(manifest_fields.get("counts", {}))
    with provenance.publish_folder(prepared_root() / name) as aside:
        with image_file(aside / IMAGES, len(samples), f"{name}: images") as add:
            yield add
        for file, array in arrays.items():
            np.save(aside / file, array, allow_pickle=False)
        samples.to_parquet(aside / "samples.parquet", index=False)
        for file, table in (extra or {}).items():
            if (aside / file).exists():
                raise ValueError(f"{name}: extra table {file!r}: the dataset has such a file")
            table.to_parquet(aside / file, index=False)
        _show(aside, arrays["profiles.npy"], samples, manifest)
        files = {path.name: provenance.sha256_file(path) for path in sorted(aside.iterdir())}
        sizes = {file: (aside / file).stat().st_size for file in files if file not in FOR_PEOPLE}
        manifest = provenance.plain({**manifest, "files": files, "bytes": sizes})
        provenance.write_json(
            aside / "manifest.json", {**manifest, "hash": content_hash(manifest, samples)}
        )
    forget(name)


@contextmanager
def image_file(path: Path, n: int, where: str) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that appends an image to an npy file of ``n`` images.

    Parameters
    ----------
    path : Path
    n : int
    where : str
        How errors begin.

    Raises
    ------
    ValueError
        For an image that is not uint8 (H, W) or (H, W, 3), or not as the first; at the end, when
        ``n`` images have not come.
    """
    shape: tuple[int, ...] = ()  # of each image
    written = 0

    def add(image: np.ndarray) -> None:
        nonlocal shape, written
        image = np.ascontiguousarray(image)
        ndims = (1 + len(shape),) if written else (3, 4)
        check_array(np.broadcast_to(image, (n, *image.shape)), "uint8", (n, *shape), ndims, where)
        if written == n:
            raise ValueError(f"{where}: more than {n}, the rows of samples")
        if not written:
            shape = image.shape
            header = {"descr": "|u1", "fortran_order": False, "shape": (n, *shape)}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(image)
        written += 1

    with open(path, "wb") as file:  # not mapped: a full disk must be an error, not a crash
        yield add
        seen = np.broadcast_to(np.uint8(0), (written, *shape))
        check_array(seen, "uint8", (n,), (3, 4), where)


def _show(aside: Path, profiles: np.ndarray, samples: pd.DataFrame, manifest: Mapping) -> None:
    """Write the contact sheet and the summary."""
    images = np.load(aside / IMAGES, mmap_mode="r", allow_pickle=False)
    sheet = contact_sheet.draw_sheet(images, samples, manifest)
    sheet.save(aside / contact_sheet.FILE, compress_level=1)
    table = summary.summarise(samples, profiles, manifest["exclusions"])
    provenance.write_csv(aside / summary.CSV, table)
    provenance.write_text(aside / summary.MARKDOWN, summary.to_markdown(table, manifest))


def content_hash(manifest: Mapping[str, Any], samples: pd.DataFrame) -> str:
    """Hash what a training run depends on; parquet bytes vary with the writer's version."""
    arrays = {file: digest for file, digest in manifest["files"].items() if file.endswith(".npy")}
    kept = {key: manifest[key] for key in (*REQUIRED, "field_mm")}
    return provenance.sha256_json(
        {**kept, "arrays": arrays, "samples": provenance.sha256_frame(samples)}
    )
