"""Adapt a trained run to another camera with a few unlabelled pictures of it.

Every way ends in an ordinary run. Most translate the pictures that a run learnt from, which become
a prepared dataset with the labels they had, and train the same configuration on it; prior matching
moves the level of a finished run. The target is seen through its *shots* alone: pictures without
labels, in a dataset of their own, so that no label of the target can reach any of it. **Ours**, but
for the methods named in :mod:`rnfl.adaptation.recolouring` and :mod:`rnfl.adaptation.diffusion`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from rnfl import datasets
from rnfl.adaptation import SLO_MODEL
from rnfl.adaptation.recolouring import RECOLOURINGS
from rnfl.core.geometry import FIELD_MM, N_ANGLES
from rnfl.datasets.prepared import MADE_OF_ANOTHER, Prepared, manifest_of
from rnfl.runs import results
from rnfl.runs.results import RunResult
from rnfl.runs.run import run as train
from rnfl.storage import locks, provenance
from rnfl.storage.paths import prepared_root
from rnfl.storage.progress import progress
from rnfl.training.augmentation import mixed_seed
from rnfl.training.config import RunConfig
from rnfl.training.protocols import (
    UNREAD,
    Adapter,
    Averaged,
    Loss,
    Matched,
    Part,
    Phase,
    Protocol,
    Rates,
)

#: By diffusion: the changes of its recipe.
DIFFUSIONS: dict[str, dict[str, Any]] = {
    "parent": {"direction": "static"},
    "stage1": {},
    "dynamic": {"direction": "dynamic"},
    "no_style": {"style": 0.0},
    "detached": {"detached": True},
}
#: With alignment: the translation that pictures are aligned with. That of stage 2 costs nothing, so
#: that alignment is seen without diffusion (ours).
ALIGNED = {"stage2": "fourier", "full": "stage1"}
WAYS = ("none", *RECOLOURINGS, *DIFFUSIONS, *ALIGNED)
PRIOR = "prior"  # behind a way, as in 'fourier+prior'
AT_ONCE = 64  # pictures translated between two places to go on from

# The adapter, and that task and alignment are one loss, are MFM-DA's; rates are those of `lora`.
ALIGNMENT = Protocol(
    "aligned",
    (Phase(part=Part(adapter=Adapter(rank=16, targets=("attn.qkv", "attn.proj")))),),
    Loss(align=1.0),
    Rates(encoder=5e-4),
)


def take_shots(dataset: str, n: int = 10, draw: int = 0) -> Prepared:
    """Return a few pictures of a dataset as one of their own, without labels.

    Parameters
    ----------
    dataset : str
        Prepared. Shots are of different patients of its training split; where it has none, of any
        but the test split; where it has that alone, of any.
    n : int
        How many.
    draw : int
        Which draw of them.

    Raises
    ------
    ValueError
        If there are fewer such patients.
    """
    prepared = datasets.load(dataset)
    samples = prepared.samples.reset_index(drop=True)
    choices = (samples["split"] == "train", samples["split"] != "test", samples["split"].notna())
    known = next(samples[one] for one in choices if one.any())
    random = np.random.default_rng([draw, 5])
    mixed = known.iloc[random.permutation(len(known))].drop_duplicates("patient_id")
    if not 1 <= n <= len(mixed):
        raise ValueError(
            f"{n} shots of {dataset}: {len(mixed)} patients can give one each, expected 1 to that"
        )
    rows = np.sort(mixed.index[:n])
    name = f"{prepared.name}-shots{n}-d{draw}-{prepared.hash[:6]}"
    seen = samples.loc[rows, ["eye_id", "patient_id", "laterality", "modality"]]
    settings = {"shots_of": prepared.hash, "n": n, "draw": draw}
    return _made(
        name, prepared, settings, seen.assign(split="test"),
        np.full((n, N_ANGLES), np.nan), lambda: (prepared.images[row] for row in rows), {},
    )  # fmt: skip


def part(dataset: str, label: str, rows: np.ndarray) -> Prepared:
    """Return some rows of a dataset as one of their own, such as the eyes of one camera.

    Parameters
    ----------
    label : str
        What its name ends with: small letters and digits.
    rows : int array
    """
    prepared, rows = datasets.load(dataset), np.asarray(rows)
    which = provenance.sha256_json(rows.tolist())
    settings = {"part_of": prepared.hash, "label": label, "rows": which}
    extra = {} if prepared.masks is None else {"masks.npy": np.asarray(prepared.masks)[rows]}
    truth = None if prepared.profiles_true is None else prepared.profiles_true[rows]
    samples = prepared.samples.iloc[rows].reset_index(drop=True)
    return _made(
        f"{prepared.name}-{label}", prepared, settings, samples, prepared.profiles[rows],
        lambda: (prepared.images[row] for row in rows), {"profiles_true": truth, **extra},
    )  # fmt: skip


def translated(
    prepared: Prepared, shots: Prepared, way: str, draw: int = 0, source_model: str = SLO_MODEL
) -> Prepared:
    """Return a source as the target's camera might have seen it, with the labels it had.

    Each picture is translated by a shot of its own, or by a model that has learnt from all.

    Parameters
    ----------
    way : str
        Of ``RECOLOURINGS`` or ``DIFFUSIONS``; of ``ALIGNED``, each eye is there twice, as it was
        and translated.
    draw : int
        Seed of what is random.
    source_model : str
        The source's DDPM: a file of :func:`rnfl.adaptation.diffusion.make_source`, or the packaged
        one, which is of phantom SLO pictures and no other source's.
    """
    by = ALIGNED.get(way, way)
    settings = {"source": prepared.hash, "shots": shots.hash, "way": way, "draw": draw}
    pictures: Callable[[], Iterator[np.ndarray]]
    if by in RECOLOURINGS:

        def pictures():
            return _recoloured(prepared, shots, by, draw)
    elif by in DIFFUSIONS:
        from rnfl.adaptation import diffusion

        if source_model == SLO_MODEL and not (
            prepared.phantom and prepared.manifest["modality"] == "SLO"
        ):
            raise ValueError(
                f"way {way!r} of {prepared.name}: the packaged DDPM is of phantom SLO pictures. "
                "Train one of these pictures with rnfl.adaptation.diffusion.make_source, and give "
                "its file as source_model (rnfl adapt --source-model)"
            )
        recipe = recipe_of(by, draw)
        settings |= {"recipe": asdict(recipe), "start": diffusion.fingerprint(source_model)}

        def pictures():
            return _redrawn(prepared, shots, recipe, draw, source_model)
    else:
        raise ValueError(f"way {way!r}: expected one of {', '.join(WAYS[1:])}")
    samples = prepared.samples.assign(modality=shots.samples["modality"].iloc[0])
    extra = {} if prepared.masks is None else {"masks.npy": np.asarray(prepared.masks)}
    arrays = {"profiles": prepared.profiles, "profiles_true": prepared.profiles_true, **extra}
    if way in ALIGNED:
        samples = samples.loc[samples.index.repeat(2)].reset_index(drop=True)
        samples["view"] = np.tile([1, 2], len(prepared))
        samples["eye_id"] += np.where(samples["view"] == 2, "-translated", "")
        arrays = {k: None if v is None else np.repeat(v, 2, axis=0) for k, v in arrays.items()}
        alone = pictures

        def pictures():
            for before, after in zip(prepared.images, alone(), strict=True):
                yield _in_channels(before, after.ndim == 3)
                yield after

    name = f"{prepared.name}-as-{way}-{provenance.sha256_json(settings)[:8]}"
    profiles = arrays.pop("profiles")
    return _made(name, prepared, settings, samples, profiles, pictures, arrays)


def recipe_of(way: str, draw: int = 0) -> Any:
    """Return the :class:`rnfl.adaptation.diffusion.Recipe` of a way of ``DIFFUSIONS``."""
    from rnfl.adaptation import diffusion

    return diffusion.Recipe(**DIFFUSIONS[way], seed=draw)


def adapt(
    run: RunResult | str, to: str, way: str = "none", shots: int = 10, draw: int = 0,
    source_model: str = SLO_MODEL, **changes: Any,
) -> RunResult:  # fmt: skip
    """Adapt a finished run to a camera of which a few unlabelled pictures are at hand.

    Parameters
    ----------
    run : RunResult or str
        Or its id.
    to : str
        A prepared dataset of the target camera; its shots alone are read.
    way : str
        One of :data:`WAYS`; ``+prior`` behind it also moves the level of all predictions so that
        their mean over the shots is that of the source's labels. That is right where both have the
        same patients, and wrong where the target's are sicker.
    shots, draw : int
        How many, and which draw of them.
    source_model : str
        See :func:`translated`.
    **changes
        Fields of the :class:`~rnfl.training.config.RunConfig` to be trained that are to be others
        than the run's, such as ``epochs`` where a readout is aligned.

    Returns
    -------
    RunResult
        A run that was trained, computed or found.
    """
    found = results.load_run(run) if isinstance(run, str) else run
    way, _, level = way.partition("+")
    if found.config.task == "pictures":
        found.expect("profile", "")
    if level:
        found.expect("profile", "masks have no level to be moved, leave '+prior' out")
    config = to_train(found, to, way, shots, draw, source_model, level, **changes)
    if way != "none":
        found = train(config)
    if level:
        shown = take_shots(to, shots, draw).name
        matching = Matched(f"{found.config.protocol.name}_{PRIOR}", found.run_id, shown)
        found = train(replace(found.config, protocol=matching))
    return found


def to_train(
    found: RunResult, to: str, way: str, shots: int = 10, draw: int = 0,
    source_model: str = SLO_MODEL, level: str = "", **changes: Any,
) -> RunConfig:  # fmt: skip
    """Return what :func:`adapt` trains, its pictures translated; of 'none' the run's own."""
    if way not in WAYS or level not in ("", PRIOR):
        raise ValueError(
            f"way {way + '+' * bool(level) + level!r}: expected one of {', '.join(WAYS)}, "
            f"or such a one and '+{PRIOR}'"
        )
    protocol = ALIGNMENT if way in ALIGNED else found.config.protocol
    if way != "none" and isinstance(protocol, Averaged | Matched):
        raise ValueError(
            f"way {way!r} of {found.run_id}: nothing would be trained, its weights are made of "
            "other runs. Adapt one of those"
        )
    unread = [name for name in changes if way == "none" or name in UNREAD[type(protocol)]]
    if unread:
        raise ValueError(f"way {way!r} of {found.run_id} does not read {', '.join(unread)}")
    seen = take_shots(to, shots, draw)
    if way == "none":
        return found.config
    # All at once, for what a protocol does not read a configuration does not keep; and first of
    # all, for what makes no sense is refused before pictures are translated.
    config = replace(found.config, **changes, protocol=protocol, eval_on=())
    made = translated(datasets.load(config.dataset), seen, way, draw, source_model)
    return replace(config, dataset=made.name)


def _recoloured(prepared: Prepared, shots: Prepared, by: str, draw: int) -> Iterator[np.ndarray]:
    recolour, likes = RECOLOURINGS[by], np.asarray(shots.images)
    colour = likes.ndim == 4
    for row, image in enumerate(progress(prepared.images, f"{prepared.name}, {by}", len(prepared))):
        random = np.random.default_rng([draw, row, 6])
        like = likes[random.integers(len(likes))]
        if like.shape[:2] != image.shape[:2]:
            raise ValueError(
                f"{shots.name}: pictures of {like.shape[:2]} px, those of {prepared.name} have "
                f"{image.shape[:2]}: prepare both at one size"
            )
        made = recolour(np.atleast_3d(_in_channels(image, colour)), np.atleast_3d(like))
        yield made if colour else made[..., 0]


def _redrawn(
    prepared: Prepared, shots: Prepared, recipe: Any, draw: int, source_model: str
) -> Iterator[np.ndarray]:
    """Translate by diffusion; what is done is kept until all is, so that nothing is done twice."""
    from rnfl.adaptation import diffusion

    learnt = diffusion.adapted(prepared, shots, recipe, source_model)
    colour = np.asarray(shots.images).ndim == 4
    starts = range(0, len(prepared), AT_ONCE)
    for first in progress(starts, f"{prepared.name}, redrawn", len(starts), unit="batch"):
        images = np.asarray(prepared.images[first : first + AT_ONCE])
        seeds = [mixed_seed(draw, first + k, 7) for k in range(len(images))]
        for made in diffusion.kept_translation(
            learnt, images, seeds, f"{prepared.hash[:10]}-{first}"
        ):
            yield _in_channels(made, colour)


def _in_channels(image: np.ndarray, colour: bool) -> np.ndarray:
    """Return a picture in colour (H, W, 3) or grey (H, W), whichever it was."""
    if colour:
        return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    return image if image.ndim == 2 else image.mean(axis=2).round().astype(np.uint8)


def _made(
    name: str, of: Prepared, settings: dict[str, Any], samples: Any, profiles: np.ndarray,
    pictures: Callable[[], Iterator[np.ndarray]], arrays: dict[str, Any],
) -> Prepared:  # fmt: skip
    """Return a dataset that is made of another one, made once."""
    settings = {**settings, "version": of.manifest["settings"].get("version", 1)}
    with locks.locked(prepared_root() / ".locks" / name):
        if (there := manifest_of(name)) and there["settings"] == settings:
            return datasets.load(name)
        if there and not MADE_OF_ANOTHER & set(there["settings"]):
            raise ValueError(
                f"{prepared_root() / name} is a dataset of your own, and stays: what is to be made "
                f"of {of.name} would have its name. Prepare yours under another one"
            )
        about = {key: of.manifest[key] for key in ("dataset", "phantom")}
        about |= {"modality": samples["modality"].iloc[0], "settings": settings}
        about |= {"field_mm": of.manifest.get("field_mm", FIELD_MM)}
        truth = arrays.pop("profiles_true", None)
        given = name, pictures(), profiles, samples, about, truth, arrays
        return datasets.write(*given)
