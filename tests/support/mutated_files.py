"""Small whole files of every format that is read, the reader of each, and seeded damage to them."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dicom_photograph
import fairfedmed_tree
import grape_tree
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from training_data import make_dataset

from analysis.agreement.thinning import read_reference
from analysis.presentation.sidecar import read_about
from analysis.reports.evaluation.predictions import read_predictions
from rnfl import datasets
from rnfl.core.demographics import read_demographics
from rnfl.core.exclusion import Excluded
from rnfl.core.schema import predictions_frame
from rnfl.datasets import normative
from rnfl.datasets.base import read_options
from rnfl.datasets.folder.table import Options, read_rows
from rnfl.datasets.grape import annotations, workbook
from rnfl.datasets.npz.files import Source
from rnfl.datasets.npz.tables import read_tables
from rnfl.imaging import crops, dicom
from rnfl.models.checkpoints import reading
from rnfl.storage import readers

HUGE = 3 * 2**28  # bytes that a bomb unpacks to
NUMBER = re.compile(rb"-?\d+(\.\d+)?")
HUGE_NUMBERS = (b"9" * 400, b"1e999", b"-1", b"NaN", b"0x10", b"1e-400", b"99999999999999999999")


def _profiles(n: int = 3) -> np.ndarray:
    return (90 + 20 * np.cos(np.deg2rad(2 * np.arange(360) - 180)) + np.arange(n)[:, None]).round(1)


def _long(path: Path) -> None:
    rows = [(f"e{i}", a, v, v + 1) for i, p in enumerate(_profiles(2)) for a, v in enumerate(p)]
    columns = ["sample_id", "angle", "prediction", "ground_truth"]
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)


def _wide(path: Path) -> None:
    sides = ("prediction", "ground_truth")
    columns = {f"{s}_{a}": _profiles()[:, a] for s in sides for a in range(360)}
    pd.DataFrame({"sample_id": ["a", "b", "c"], **columns}).to_csv(path, index=False)


def _own(path: Path) -> None:
    frame = predictions_frame("run", list("abc"), list("pqr"), _profiles(), _profiles() + 1)
    frame.to_parquet(path, index=False)


def _folder(path: Path) -> None:
    means = {name: [90.5, 80.0, 100.0] for name in "SNIT"}
    rows = {"image": ["a.png", "b.png", "c.png"], "eye": ["OD", "OS", "OD"], "age": [50, 61, 70]}
    pd.DataFrame({**rows, **means}).to_csv(path, index=False)


def _people(path: Path) -> None:
    rows = {"eye_id": list("abc"), "patient_id": list("pqr"), "age": [50, 61, 70]}
    pd.DataFrame({**rows, "sex": ["F", "M", "F"], "race": "White"}).to_csv(path, index=False)


def _band(path: Path) -> None:
    normative.training_band(make_dataset("mutated", n=24, size=32)).to_csv(path, index=False)


def _about(path: Path) -> None:
    about = {"phantom": 2, "preset": "phantom", "tables": {"a.csv": "0" * 64}, "runs": []}
    path.write_text(json.dumps(about, indent=2))


def _weights(path: Path) -> None:
    held = {"a.weight": torch.arange(60.0).reshape(5, 12), "a.bias": torch.ones(5)}
    save_file(held, path) if path.suffix == ".safetensors" else torch.save({"model": held}, path)


def _picture(path: Path) -> None:
    drawn = Image.fromarray(grape_tree.draw_fundus("OD", size=220))
    drawn.save(path, quality=80) if path.suffix == ".jpg" else drawn.save(path)


def _dicom(path: Path) -> None:
    drawn = grape_tree.draw_fundus("OD", size=220)
    made = dicom_photograph.make(drawn)
    if path.stem == "rle":
        dicom_photograph.as_rle(made)
    elif path.stem == "jpeg":
        dicom_photograph.as_jpeg(made, drawn)
    dicom_photograph.save(made, path)


def _read_dicom(path: Path) -> None:
    dicom.read_header(path)
    dicom.read(path)


def _npz(path: Path) -> None:
    fairfedmed_tree.save(path.parent, 1).replace(path)


def _archive(path: Path) -> None:
    inner = path.with_name("data_00001.npz")
    _npz(inner)
    table = b"filename,age,race,md\ndata_00001,60,White,-2.5\n"
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(inner, inner.name)
            archive.writestr("meta.csv", table)
    else:
        with tarfile.open(path, "w") as archive:
            archive.add(inner, inner.name)
            member = tarfile.TarInfo("meta.csv")
            member.size = len(table)
            archive.addfile(member, io.BytesIO(table))
    inner.unlink()


def _read_source(path: Path) -> None:
    source = Source(path if path.suffix != ".npz" else path.parent)
    try:
        for entry in source.npz:
            source.take(entry, {"rnflt", "slo_fundus", "md", "race", "laterality"}, {})
        read_tables(source)
    finally:
        source.close()


def _read_dataset(path: Path) -> None:
    np.asarray(datasets.load(path.parent).images).sum()


def _read_workbook(path: Path) -> None:
    workbook.read_baseline(path)
    workbook.read_visits(path)


def _read_annotation(path: Path) -> None:
    try:
        annotations.read_annotation(path, grape_tree.SIZE, grape_tree.SIZE)
    except ValueError as error:  # the dataset says of which photograph it is
        raise Excluded("annotation", str(error)) from error


def _workbook(path: Path) -> None:
    rows = [grape_tree.row(i, side) for i in range(1, 4) for side in ("OD", "OS")]
    visits = [grape_tree.visit(i, "OD", n) for i in range(1, 4) for n in (1, 2)]
    grape_tree.write_workbook(path, rows, visits=visits)


def _outlines(path: Path) -> None:
    shapes = {"OD": grape_tree.outline(200, 200, 40), "OC": grape_tree.outline(200, 200, 20)}
    grape_tree.write_outlines(path, shapes)


#: What is read: name of the file, who makes it, who reads it.
FILES: dict[str, tuple[str, Callable[[Path], None], Callable[[Path], object]]] = {
    "long csv": ("long.csv", _long, read_predictions),
    "long csv.gz": ("long.csv.gz", _long, read_predictions),
    "wide csv": ("wide.csv", _wide, read_predictions),
    "own parquet": ("predictions.parquet", _own, read_predictions),
    "folder csv": ("samples.csv", _folder, lambda path: read_rows(path, Options())),
    "people csv": ("people.csv", _people, read_demographics),
    "band csv": ("reference.csv", _band, normative.read),
    "reference csv": ("reference.csv", _band, read_reference),
    "about json": ("about.json", _about, lambda path: read_about(path.parent)),
    "outlines json": ("a.json", _outlines, _read_annotation),
    "options toml": ("folder.toml", lambda path: path.write_text("width_mm = 9\n"),
                     lambda path: read_options(path.parent, Options)),
    "safetensors": ("weights.safetensors", _weights, reading.read),
    "pth": ("weights.pth", _weights, reading.read),
    "xlsx": ("grape.xlsx", _workbook, _read_workbook),
    "jpg": ("a_OD.jpg", _picture, crops.read),
    "png": ("a_OD.png", _picture, crops.read),
    "tiff": ("a_OD.tiff", _picture, crops.read),
    "dicom": ("plain.dcm", _dicom, _read_dicom),
    "dicom rle": ("rle.dcm", _dicom, _read_dicom),
    "dicom jpeg": ("jpeg.dcm", _dicom, _read_dicom),
    "npz": ("data_00001.npz", _npz, _read_source),
    "npz arrays": ("eyes.npz", lambda path: np.savez(path, a=_profiles()), readers.read_arrays),
    "npy": ("images.npy", lambda path: np.save(path, np.zeros((3, 8, 8), np.uint8)),
            lambda path: np.asarray(readers.open_array(path)).sum()),
    "zip": ("raw.zip", _archive, _read_source),
    "tar": ("raw.tar", _archive, _read_source),
}  # fmt: skip


def make(kind: str, folder: Path) -> bytes:
    """Write the whole file of a kind into a folder and return what it holds."""
    name, write, _ = FILES[kind]
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / name)
    return (folder / name).read_bytes()


def damaged(data: bytes, seed: object) -> tuple[str, bytes]:
    """Return a kind of damage, and what a file holds that suffered it."""
    rng = np.random.default_rng(seed)
    how = rng.choice(["bit", "bits", "cut", "insert", "swap", "blank", "number", "length"])
    at, n = int(rng.integers(len(data))), int(rng.integers(1, 65))
    made = bytearray(data)
    if how in ("bit", "bits"):
        for _ in range(1 if how == "bit" else n):
            made[rng.integers(len(made))] ^= 1 << rng.integers(8)
    elif how == "cut":
        del made[at:]
    elif how == "insert":
        made[at:at] = rng.bytes(n)
    elif how == "swap":
        other = int(rng.integers(len(data)))
        made[at : at + n], made[other : other + n] = data[other : other + n], data[at : at + n]
    elif how == "blank":
        made[at : at + n] = bytes([rng.choice([0, 255])]) * len(made[at : at + n])
    elif how == "number":
        found = list(NUMBER.finditer(data))
        if found:
            start, end = found[rng.integers(len(found))].span()
            made[start:end] = HUGE_NUMBERS[rng.integers(len(HUGE_NUMBERS))]
    else:  # whatever stood there, now it is a length that no file has
        made[at : at + 4] = rng.choice([2**32 - 1, 2**31 - 1, 2**24]).item().to_bytes(4, "little")
    return str(how), bytes(made)


def special(kind: str, data: bytes) -> dict[str, bytes]:
    """Return files of a kind that are made to harm: bombs, object arrays, cells far away."""
    if kind == "long csv.gz":
        squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
        head = squeeze.compress(b"sample_id,angle,prediction,ground_truth\n")
        rows = b"".join(squeeze.compress(b"a,0,90,90\n" * 10**6) for _ in range(40))
        bomb = head + rows + squeeze.flush()
        return {"bomb": bomb, "no gzip": data[10:], "of nothing": gzip.compress(b"")}
    if kind in ("npz", "npz arrays", "zip", "xlsx"):
        name = {"npz": "rnflt.npy", "npz arrays": "a.npy", "zip": "data_00001.npz"}
        return {"bomb": _bomb(data, name.get(kind, "xl/worksheets/sheet1.xml"))} | (
            {"far cell": _far(data)} if kind == "xlsx" else {}
        )
    if kind == "npy":
        objects = io.BytesIO()
        np.save(objects, np.array([None, {}], dtype=object), allow_pickle=True)
        return {"objects": objects.getvalue(), "type": data.replace(b"|u1", b"<f8")}
    if kind in ("png", "tiff"):
        picture = io.BytesIO()
        Image.new("L", (16000, 12000)).save(picture, "PNG" if kind == "png" else "TIFF", **(
            {} if kind == "png" else {"compression": "tiff_lzw"}))  # fmt: skip
        return {"pixels": picture.getvalue()}
    if kind.startswith("dicom"):
        rows = bytes.fromhex("28001000") + b"US\2\0"  # Rows, which Columns follow
        large = data.replace(rows + b"\xdc\0", rows + b"\xff\xff")
        endless = data[:-2000] + bytes([0x81, 200]) * 10**7  # runs of 128
        return {"pixels": large, "runs": endless}
    if kind.endswith("json"):
        return {"deep": b"[" * 200_000, "list": b"[]", "number": b"9" * 10_000}
    if kind == "long csv":
        return {
            "columns": b"sample_id" + b",a" * 200_000 + b"\n1\n",
            "nothing": b"",
            "zeros": bytes(999),
        }
    return {}


def _bomb(data: bytes, name: str) -> bytes:
    """Return a zip whose member of this name unpacks to zeros without end."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w", 8) as new:
        for member in old.namelist():
            if member != name:
                new.writestr(member, old.read(member))
        with new.open(name, "w", force_zip64=True) as file:
            for _ in range(HUGE >> 20):
                file.write(bytes(2**20))
    return made.getvalue()


def _far(data: bytes) -> bytes:
    """Return a workbook with a cell at the end of the largest sheet there can be."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w", 8) as new:
        for member in old.namelist():
            held = old.read(member)
            if member == "xl/worksheets/sheet1.xml":
                far = b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
                held = held.replace(b"</sheetData>", far)
            new.writestr(member, held)
    return made.getvalue()


def outcome(kind: str, data: bytes, folder: Path) -> str:
    """Return what reading a file of a kind that holds ``data`` ended in.

    'accepted'; 'refused' in words that name the file; 'nameless', in words that do not; or the
    traceback's last line.
    """
    name, _, read = FILES[kind]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    try:
        read(path)
    except Excluded:  # one eye of many, and its exclusion names it
        return "refused"
    except ValueError as error:
        return "refused" if path.name in str(error) else f"nameless: {str(error)[:200]}"
    except Exception as error:  # what this looks for
        return f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        path.unlink()
    return "accepted"


def bit_flips(folder: Path, n: int, seed: int) -> dict[str, int]:
    """Flip ``n`` single bits, one at a time, in files of a run, a dataset and an exported bundle.

    Returns
    -------
    dict
        flipped; refused when the run, dataset or bundle is loaded; reported by verify, of what is
        for people alone; and believed.
    """
    from rnfl import RunConfig, run
    from rnfl.cli import verify
    from rnfl.inference import trained
    from rnfl.storage import paths, provenance

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(folder))
        dataset = make_dataset("mutated", n=12, size=32).folder
        config = RunConfig(
            "mutated", "phantom_scratch@32", "naive", epochs=1, warmup_epochs=0, batch_size=6
        )
        finished = run(config, lambda row: None).folder
        exported = paths.data_root() / "exported" / "model.onnx"
        exported.parent.mkdir()
        exported.write_bytes(np.random.default_rng(seed).bytes(5000))
        about = provenance.sealed({"sha256": provenance.sha256_file(exported), "opset": 18})
        provenance.write_json(exported.with_suffix(".json"), about)

        def refused(path: Path) -> str:
            try:
                if path.parent == dataset:
                    datasets.load(dataset)
                elif path.parent == finished:
                    trained.load(finished)
            except ValueError as error:
                return "refused" if path.name in str(error) else "believed"
            said = {one.name: one for one in verify.findings()}[
                path.stem if path.parent == exported.parent else path.parent.name
            ]
            return "reported by verify" if path.name in said.said else "believed"

        places = [
            one for at in (dataset, finished, exported.parent) for one in sorted(at.iterdir())
        ]
        found, rng = Counter(flipped=0), np.random.default_rng(seed)
        for i in range(n):
            path = places[i % len(places)]
            whole = path.read_bytes()
            made = bytearray(whole)
            made[rng.integers(len(whole))] ^= 1 << rng.integers(8)
            path.write_bytes(made)
            found.update(["flipped", refused(path)])
            path.write_bytes(whole)
        return {k: found[k] for k in ("flipped", "refused", "reported by verify", "believed")}
