"""Which augmentation keeps the curve right as pictures get worse, and on another camera.

Every arm takes the same steps of the same protocol and sees the same number of pictures; with
graded views these are four of each eye, of a quarter of the eyes in an epoch (see
:data:`rnfl.training.config.GRADED`). A specialist is trained on pictures spoilt as those of
:data:`TAUGHT`: the best to be reached there. Test eyes choose nothing. **Ours**, for the phantom,
whose cameras can be told how bad a picture is to be.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from rnfl import datasets
from rnfl.runs.predictions import oracle_predictions, predict_with, template_predictions
from rnfl.runs.results import RunResult
from rnfl.study.presets import REFERENCE, SLO_BACKBONE, Preset
from rnfl.training.config import RunConfig

TAUGHT = "severity0.8"  # what spoils the pictures that the specialist learns from
CLEAN, OTHER = "clean", "other camera"
SIDE = 112  # px, of pictures to look at


def conditions(study: Preset) -> dict[str, str]:
    """Return the dataset of each condition: the same eyes, spoilt in other ways or not at all.

    Examples
    --------
    >>> from rnfl.study import presets
    >>> for condition, name in conditions(presets.get("smoke")).items():
    ...     print(f"{condition}: {name}")
    clean: phantom-slo-64
    severity0.8: phantom-slo-64-severity0.8
    jpeg0.8: phantom-slo-64-jpeg0.8
    other camera: phantom-cfp-64
    """
    slo = study.spoilt_slo
    spoilt = {one: f"{slo}-{one}" for one in dict.fromkeys((*study.spoilt, TAUGHT))}
    return {CLEAN: slo, **spoilt, OTHER: slo.replace("-slo-", "-cfp-", 1)}


def configs(study: Preset) -> dict[tuple[str, int], RunConfig]:
    """Return the run of each arm and seed, the specialist last."""
    found = {}
    for arm in (*study.arms, "specialist"):
        known = conditions(study)
        changes = {"dataset": known[TAUGHT if arm == "specialist" else CLEAN]}
        changes["epochs"] = study.spoilt_epochs or study.epochs
        if arm != "specialist":
            changes["augment"] = None if arm == "none" else arm
        for seed in study.ablation_seeds:
            found[arm, seed] = replace(study.config(SLO_BACKBONE, REFERENCE, seed), **changes)
    return found


def arms_table(results: Sequence[RunResult], study: Preset) -> pd.DataFrame:
    """Return what sets runs of :func:`configs` apart, in their order: the arm is the protocol."""
    return pd.DataFrame(
        {"run_id": run.run_id, "backbone": SLO_BACKBONE, "protocol": arm, "seed": seed}
        for run, (arm, seed) in zip(results, configs(study), strict=True)
    )


def predictions(results: Sequence[RunResult], study: Preset) -> pd.DataFrame:
    """Return what runs, the template and the truth predict of the test eyes, with ``condition``."""
    tables = []
    for condition, name in conditions(study).items():
        ends = template_predictions(name), oracle_predictions(name)
        found = [*ends, *(predict_with(one, name) for one in results)]
        tables += [one.assign(condition=condition) for one in found]
    return pd.concat(tables, ignore_index=True)


def pictures(study: Preset) -> dict[str, np.ndarray]:
    """Return the first test eye as it is tested, jointly spoilt, and as a batch would show it.

    Returns
    -------
    dict of str to ndarray
        ``images`` uint8 (k, 112, 112, 3), ``title`` str (k,).
    """
    import torch

    from rnfl.training import augmentation, batches

    images, titles = [], []
    for condition, name in conditions(study).items():
        if condition in (CLEAN, OTHER) or condition.startswith("severity"):
            prepared = datasets.load(name)
            images.append(batches.at_size(prepared.images[prepared.subset("test")[:1]], SIDE))
            titles.append(condition.replace("severity", "severity "))
    four = torch.from_numpy(np.repeat(images[0], 4, axis=0)).unsqueeze(1) / 255
    random = augmentation.seeded_generator(study.ablation_seeds[0])
    views = augmentation.augmented(four, "mild_to_severe", random)
    images += list((255 * views).round().to(torch.uint8).numpy())
    colour = [
        np.broadcast_to(i[0][..., None] if i.ndim == 3 else i[0], (SIDE, SIDE, 3)) for i in images
    ]
    return {
        "images": np.stack(colour),
        "title": np.array([*titles, *["mild view"] * 2, *["severe view"] * 2]),
    }
