"""The packaged backbones: what each is shown, what it is asked, and one call that makes it.

All six share width, depth, heads and the seed of their random start, so that what tells them apart
is what is listed here. Nothing that they are asked is a function of the thickness of the RNFL:
classes are of the camera and of what surrounds the fibres, heights leave out cup and fibres, and
masked pixels are part of the picture itself (in which the thickness is visible, as in any eye).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnfl.datasets import phantom
from rnfl.datasets.phantom import leaves
from rnfl.models.registry import WEIGHTS
from rnfl.storage import errors, provenance
from rnfl.storage.paths import cache_root
from rnfl.training import pretraining


@dataclass(frozen=True)
class Recipe:
    """A task ('cls', 'depth', 'mae') on pictures ('eyes', 'slo', 'leaves') for some steps."""

    kind: str
    pictures: str
    steps: int


#: Steps are chosen for two cores in an hour and a half. Those that differ in one thing only (the
#: pictures, or the size of a token) take the same number.
RECIPES: dict[str, Recipe] = {
    "phantom_cls": Recipe("cls", "eyes", 1800),
    "phantom_depth": Recipe("depth", "eyes", 1800),
    "phantom_mae": Recipe("mae", "eyes", 2000),
    "phantom_mae_slo": Recipe("mae", "slo", 2000),
    "phantom_mae_fine": Recipe("mae", "eyes", 2000),
    "leaves_mae": Recipe("mae", "leaves", 2000),
}


def make(
    name: str,
    n_eyes: int = 6000,
    steps: int | None = None,
    batch_size: int = 64,
    out_dir: str | Path = WEIGHTS,
) -> dict:
    """Pretrain a packaged backbone, or go on with it where a process was stopped.

    Parameters
    ----------
    name : str
        A key of :data:`RECIPES`.
    n_eyes : int
        Phantom eyes, two pictures each; as many leaves as pictures.
    steps : int, optional
        The recipe's by default.

    Returns
    -------
    dict
        As :func:`rnfl.training.pretraining.pretrain` gives it; at once if it is finished.

    Raises
    ------
    ValueError
        If there is no such recipe.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe for backbone {name!r}; there are {list(RECIPES)}")
    recipe = RECIPES[name]
    shown = pictures(recipe.pictures, n_eyes)
    return pretraining.pretrain(
        recipe.kind,
        shown["images"],
        {"cls": shown.get("labels"), "depth": shown.get("heights"), "mae": None}[recipe.kind],
        name=name,
        steps=recipe.steps if steps is None else steps,
        batch_size=batch_size,
        out_dir=out_dir,
        notes={"images": shown["words"]},
    )


def pictures(of: str, n_eyes: int) -> dict[str, Any]:
    """Return ``images`` uint8 (N, 112, 112, 3), targets where there are any, and ``words``.

    They are drawn once and kept in ``<data root>/cache/pretraining`` (1.2 GB for 6,000 eyes), which
    may be removed at any time; another `phantom.VERSION` draws them anew.

    Parameters
    ----------
    of : {'eyes', 'slo', 'leaves'}
        Phantom eyes under both cameras, under the first alone, or leaves.
    """
    if of == "leaves":
        seed, n = leaves.SEED, 2 * n_eyes
        kept = _kept(f"leaves-{n}-s{seed}", lambda: {"images": leaves.pictures(n, seed)})
        return kept | {"words": f"{n} drawn leaves of seed {seed}"}
    seed = phantom.PRETRAINING_SEED
    kept = _kept(f"phantom-{n_eyes}-s{seed}", lambda: _eyes(n_eyes))
    labels = {key.removeprefix("label-"): a for key, a in kept.items() if key.startswith("label-")}
    made = {"images": kept["images"], "heights": kept["heights"], "labels": labels}
    words = f"phantom, {n_eyes} eyes of seed {seed}, SLO and CFP"
    if of == "slo":  # the camera of the even rows
        made = {"images": np.ascontiguousarray(kept["images"][::2])}
        words = words.replace("SLO and CFP", "SLO alone")
    return made | {"words": words}


def _eyes(n_eyes: int) -> dict[str, np.ndarray]:
    images, labels, heights = phantom.pretraining_set(n_eyes)
    return {"images": images, "heights": heights} | {f"label-{k}": v for k, v in labels.items()}


def _kept(name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return arrays by name, mapped from the files of an earlier call where there was one."""
    folder = cache_root() / "pretraining" / f"{name}-v{phantom.VERSION}"
    if not folder.exists():
        with (
            errors.writing(f"pictures {name}", folder.parent, "nothing is lost"),
            provenance.publish_folder(folder) as aside,
        ):
            for key, array in make().items():
                np.save(aside / f"{key}.npy", array)
    # Copy on write: PyTorch warns of arrays that cannot be written to.
    files = sorted(folder.glob("*.npy"))
    return {path.stem: np.load(path, mmap_mode="c") for path in files}
