"""Bundles: a trained model in one file, with all that reading photographs takes but the code.

A bundle is a zip archive, stored and not packed, of JSON, PNG and ONNX alone:

- ``model.onnx``, normalisation inside; ``preprocessing.json``, what goes into it and comes out;
- ``card.json``, what the model is; ``licences.json``, of what it was made of;
- ``reference.json`` and ``band.json``, reference values and bands, where the run has them;
- ``golden.json`` and its pictures, see :mod:`rnfl.inference.golden`;
- ``manifest.json``: format, versions, and the size and SHA-256 of every other member.

The archive's comment, its last 64 bytes, is the SHA-256 of all before, so that no byte of the file
is in nobody's keeping. Hashes tell damage and not forgery: whoever hands a bundle on says its own.
:func:`load` needs onnxruntime and neither torch nor timm.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from rnfl.core.geometry import FIELD_MM
from rnfl.datasets import normative
from rnfl.imaging.crops import PHOTOGRAPH_MM
from rnfl.imaging.pixels import SIZE
from rnfl.inference import golden
from rnfl.inference import onnx as exporting
from rnfl.inference.trained import Trained
from rnfl.models.registry import BackboneSpec, registered
from rnfl.storage import errors, limits, provenance, readers

SUFFIX = ".rnfl.zip"
FORMAT, VERSION = "rnfl bundle", 1
MANIFEST, MODEL, HOW = "manifest.json", "model.onnx", "preprocessing.json"
CARD, LICENCES, REFERENCE, BAND = "card.json", "licences.json", "reference.json", "band.json"
OWN = (CARD, REFERENCE, BAND)  # by which a bundle is known to be of a run as it is
NEEDED = (MODEL, HOW, CARD, LICENCES, golden.NAME)
MOST = 64  # members
DIGEST = 64  # hex digits at the end of the file
REMEDY = "copy it again, or bundle the run again (rnfl bundle)"
KEPT = "the run is as it was, and what is there already is kept; --output names another file"
PACKAGES = ("rnfl", "torch", "onnx", "onnxruntime", "numpy", "pillow", "scipy")


@dataclasses.dataclass(frozen=True)
class Bundled(Trained):
    """A model read from a bundle: ``folder`` is its file, ``module`` a session of onnxruntime."""

    # A session does not say how many fields it looks at, each an image of its own: 32 images of 16
    # fields took 7.7 GB. On a CPU many at once are hardly faster than two.
    AT_ONCE: ClassVar[int] = 2

    def profiles_of(self, batch: np.ndarray) -> np.ndarray:
        """Return what the network makes of images (B, 3, size, size): profiles (B, 360), µm."""
        return self.module.run([exporting.OUTPUT], {exporting.INPUT: batch})[0]


def write(trained: Trained, path: str | Path) -> dict[str, Any]:
    """Write a model as a bundle, if it gives the same numbers without torch.

    Asked for again, a bundle of this very model, its card, bands and reference values, is kept.

    Parameters
    ----------
    trained : Trained
    path : str or Path
        File ending in .rnfl.zip.

    Returns
    -------
    dict
        The manifest: format, version, the members' sizes and SHA-256, the largest relative
        difference from torch, the images it was checked on, and versions.

    Raises
    ------
    RuntimeError
        If the packages of the extra 'onnx' are missing, or a profile differs by more than 1e-4.
    ValueError
        If the path does not end so, is there already and something else, or the model is too
        large.
    OSError
        If it cannot be written, such as on a full disk.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIX):
        raise ValueError(f"{path}: expected a name that ends in {SUFFIX}")
    facts = _facts(trained)
    images, checked_on = exporting.shown(trained)
    with errors.writing(path.name, path.parent, KEPT):
        if not path.exists():
            with (
                suppress(FileExistsError),  # what another call has published since is looked at
                provenance.publish_file(path, new=True) as aside,
            ):
                difference = exporting.write(trained, aside, images, path)
                # On the CPU: a GPU may convolve in TF32, which is 1e-3 away.
                exact = copy.deepcopy(trained.module).cpu().float().eval()
                pairs = golden.make(dataclasses.replace(trained, module=exact))
                members = {MODEL: aside.read_bytes(), **facts, **pairs}
                about = {
                    "format": FORMAT,
                    "version": VERSION,
                    "run_id": trained.card["run_id"],
                    "max_relative_difference": difference,
                    "checked_on": checked_on,
                    "versions": provenance.versions(PACKAGES),
                    "use": exporting.USE,
                }
                pack(aside, members, about)
                verify(aside)
        try:
            manifest, members = _read(path)
        except ValueError as error:
            raise ValueError(f"{path} {exporting.TAKEN} ({error})") from error
        if changed := [one for one in OWN if members.get(one) != facts.get(one)]:
            raise ValueError(f"{path} {exporting.TAKEN} (another {', '.join(changed)})")
        difference = exporting.compare(trained.module, members[MODEL], images)
        if not difference <= exporting.TOLERANCE:
            said = f"differs from this model by {difference:.1e}; it {exporting.TAKEN}"
            raise ValueError(f"{path} {said}")
    return manifest


def is_named(model: str | Path) -> bool:
    """Return whether a model is given as a file, which only a bundle is."""
    return str(model).endswith(SUFFIX) or Path(model).is_file()


def load(path: str | Path, threads: int = 0) -> Bundled:
    """Load a bundle for use, if every byte is as it was written.

    Parameters
    ----------
    threads : int
        Of onnxruntime, see :func:`rnfl.inference.onnx.open_session`.

    Raises
    ------
    ValueError
        If it is damaged, another kind of file, of another format, or prepares images otherwise.
    RuntimeError
        If onnxruntime is not installed.
    """
    path = Path(path)
    return _opened(path, *_read(path), threads)[0]


def verify(path: str | Path) -> golden.Checked:
    """Check every byte of a bundle, and read its golden pairs again; see :func:`load`."""
    path = Path(path)
    used, members = _opened(path, *_read(path))
    with readers.readable(path, "a bundle", REMEDY):
        return golden.check(members, used)


def preprocessing(size: int) -> dict[str, Any]:
    """Return what happens between a photograph and a curve, in words and numbers."""
    return {
        "crop": {
            "centre": "optic disc",
            "field_mm": round(FIELD_MM, 6),
            "photograph_mm": PHOTOGRAPH_MM,
            "size_px": SIZE,
            "resize": "area mean; where smaller, photographs repeat pixels and crops are bicubic",
        },
        **exporting.stated(size),
    }


def _facts(trained: Trained) -> dict[str, bytes]:
    """Return the members that say what a model is, those alone that it has."""
    said = {HOW: preprocessing(trained.size), CARD: trained.card, LICENCES: licences(trained.card)}
    if trained.reference is not None:
        said[REFERENCE] = trained.reference.to_dict("records")
    if trained.bands is not None:
        said[BAND] = trained.bands
    return {name: _json(value) for name, value in said.items()}


def licences(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return whose work is in a model, and under which licence."""
    found = [{"what": "rnfl, by which it was made", "licence": "MIT"}]
    for name in card.get("backbone", "").split("+"):
        # Any model of timm may be a backbone, of whose weights only its own page says more.
        spec = registered(name) or BackboneSpec(name, name.removeprefix("timm:"), None)
        source = spec.source
        where = source and (source.hub or source.page or source.package)
        found.append(
            {
                "what": f"backbone {name}: weights, and architecture {spec.timm_name} of timm",
                "licence": spec.licence or "see the model's page",
                "pretraining": spec.pretraining or None,
                "from": where or None,
                "gated": source is not None and source.gated,
            }
        )
    return found


def _json(value: Any) -> bytes:
    text = json.dumps(provenance.plain(value), indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode()


def pack(path: Path, members: Mapping[str, bytes], about: Mapping[str, Any]) -> None:
    """Write members and their manifest as an archive that says its own SHA-256."""
    listed = {
        name: {"bytes": len(data), "sha256": provenance.sha256_bytes(data)}
        for name, data in members.items()
    }
    manifest = _json({**about, "members": listed})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {MANIFEST: manifest, **members}.items():
            entry = zipfile.ZipInfo(name)  # dated 1980: it says nothing of when
            entry.external_attr = 0o644 << 16  # else nobody may read what is unpacked
            archive.writestr(entry, data)
        archive.comment = b"0" * DIGEST
    with open(path, "r+b") as file:
        file.seek(-DIGEST, 2)
        digest = _digest(path)
        file.write(digest.encode())


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file without its last 64 bytes."""
    digest, left = hashlib.sha256(), path.stat().st_size - DIGEST
    with open(path, "rb") as file:
        while left > 0:
            block = file.read(min(left, readers.BLOCK))
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the manifest and the members of a bundle, if they are what was written."""
    with readers.readable(path, "a bundle", REMEDY), zipfile.ZipFile(path) as archive:
        held = archive.infolist()
        names = [one.filename for one in held]
        if len(held) > MOST or len(set(names)) < len(names):
            raise ValueError(f"{len(held)} members, expected at most {MOST}, each of its own name")
        for one in held:
            _refuse_odd(path, one)
        if sum(one.file_size for one in held) > path.stat().st_size:
            raise ValueError("its members claim more bytes than the file has")
        if MANIFEST not in names:
            raise ValueError(f"it has no {MANIFEST}")
        manifest = json.loads(archive.read(MANIFEST))
        found = manifest.get("format"), manifest.get("version")
        if found != (FORMAT, VERSION):
            raise ValueError(
                f"{path} is of the format {found[0]!r}, version {found[1]!r}; expected {FORMAT!r}, "
                f"version {VERSION}: install the rnfl that made it, or bundle the run again"
            )
        listed = manifest["members"]
        absent = {*listed, *NEEDED} - {*names}
        foreign = {*names} - {*listed, MANIFEST}
        if absent or foreign:
            said = f"missing: {sorted(absent)}, not in its manifest: {sorted(foreign)}"
            raise ValueError(f"its members are not those of its manifest ({said})")
        members = {name: archive.read(name) for name in listed}
        for name, data in members.items():
            if provenance.sha256_bytes(data) != listed[name]["sha256"]:
                raise ValueError(f"{name}: its SHA-256 is not that of what was written")
        if archive.comment != _digest(path).encode():
            raise ValueError("its SHA-256 is not that of what was written")
    return manifest, members


def _refuse_odd(path: Path, member: zipfile.ZipInfo) -> None:
    """Refuse a member that leads elsewhere, is packed, or is larger than is read."""
    name, where = member.filename, f"{path}, {member.filename}"
    if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
        raise ValueError(f"{where}: expected a name within the bundle")
    # What is stored is no larger than the file itself; what is packed may unpack to any size.
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise ValueError(f"{where} is packed: expected members that are stored as they are")
    most = "RNFL_MAX_MODEL_BYTES" if name == MODEL else "RNFL_MAX_BYTES"
    limits.check(most, member.file_size, where)


def _opened(
    path: Path, manifest: dict[str, Any], members: dict[str, bytes], threads: int = 0
) -> tuple[Bundled, dict[str, bytes]]:
    """Return the model of a bundle and its members, if images are prepared here as it says."""
    provenance.refuse_missing(("onnxruntime",), "deploy")
    with readers.readable(path, "a bundle", REMEDY):
        how, card = json.loads(members[HOW]), json.loads(members[CARD])
        size = int(how["input"]["shape"][-1])
        if how != (here := preprocessing(size)):
            parts = [key for key in {**here, **how} if here.get(key) != how.get(key)]
            raise ValueError(
                f"{path}, {HOW}: images are prepared otherwise here ({', '.join(parts)}; it says "
                f"{how.get(parts[0])}, expected {here.get(parts[0])}): install the rnfl that made "
                "it, or bundle the run again"
            )
        reference = None
        if REFERENCE in members:
            rows = pd.DataFrame(json.loads(members[REFERENCE]), columns=list(normative.COLUMNS))
            numbers = [f"p{p}" for p in normative.PERCENTILES]
            reference = rows.astype(dict.fromkeys(numbers, float))
        band = json.loads(members[BAND]) if BAND in members else None
        session = exporting.open_session(members[MODEL], threads)
        if (takes := session.get_inputs()[0].shape[1:]) != how["input"]["shape"][1:]:
            raise ValueError(f"{path}, {MODEL} takes images {takes}, not those of {HOW}: {REMEDY}")
    card |= {"bundle": {"file": path.name, "sha256": provenance.sha256_file(path)}}
    return Bundled(path, session, size, card, reference, band), members
