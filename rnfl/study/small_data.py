"""Methods for a few dozen eyes, cross-validated by patient: networks, readouts, baselines.

Every method sees the same folds. A **readout** leaves a backbone as it is and solves for a linear
map; a **fine-tuned** network changes all of it by gradient; either begins with the packaged
backbone or with one that has already learnt from phantoms. A readout of **fields** looks at several
parts of each picture; it was chosen on 127 eyes of GRAPE, so that its errors there are flattered.
"""

from dataclasses import replace

import pandas as pd

from rnfl import datasets
from rnfl.runs.results import RunResult
from rnfl.study import baselines, crossval
from rnfl.study.presets import REFERENCE, Preset
from rnfl.training.config import RunConfig

PAIR = "phantom_cls+phantom_depth"
IMAGENET = "imagenet_lite0"  # read in fields
PHANTOM = "phantom-cfp-2400"  # that a phantom start has learnt from, if not the study's own
EPOCHS, BATCH, RATE = 20, 16, 4.0  # of fine-tuning (ours)


def configs(study: Preset, dataset: str, start: RunResult) -> dict[str, RunConfig]:
    """Return one configuration per method, by its name in tables and figures.

    Parameters
    ----------
    study : Preset
        Its featured backbone is fine-tuned. Fields are read where the ImageNet backbone is among
        its starts, so not by the smoke preset.
    dataset : str
        Prepared dataset to learn from.
    start : RunResult
        A run of the featured backbone on phantom photographs.
    """
    read = RunConfig(dataset, study.featured, "readout", seed=study.seeds[0])
    sizes = {"epochs": min(EPOCHS, 10 * study.epochs), "warmup_epochs": 1, "batch_size": BATCH}
    tuned = replace(read, protocol="aggressive", lr_scale=RATE, **sizes)
    fields = replace(read, backbone=IMAGENET, protocol="fields")
    of_fields = {
        "fields, ImageNet": fields,
        "fields, ImageNet + depth": replace(fields, backbone=f"{IMAGENET}+phantom_depth"),
    }
    return {
        "fine-tuned": tuned,
        "fine-tuned, phantom start": replace(tuned, start=start.run_id),
        "readout, random": replace(read, backbone="phantom_scratch"),
        "readout, masked AE": replace(read, backbone="phantom_mae"),
        "readout, classifier": replace(read, backbone="phantom_cls"),
        "readout, depth": replace(read, backbone="phantom_depth"),
        "readout, phantom start": replace(read, start=start.run_id),
        "readout, classifier + depth": replace(read, backbone=PAIR),
        **(of_fields if IMAGENET in study.starts else {}),
    }


def start_config(study: Preset) -> RunConfig:
    """Return the run that a phantom start begins with: the featured backbone on photographs."""
    phantom = study.cfp if study.cfp.startswith("phantom-") else PHANTOM
    config = study.config(study.featured, REFERENCE, study.seeds[0])
    return replace(config, dataset=phantom)


def frames(study: Preset, dataset: str, start: RunResult) -> dict[str, pd.DataFrame]:
    """Return out-of-fold quadrant frames of every method, one run per fold seed; trains if absent.

    First come the constant and PCA + ridge, then :func:`configs` in order; folds and their seeds
    are those of ``study``.
    """
    prepared, k, seeds = datasets.load(dataset), study.folds, study.fold_seeds
    inner = study.seeds[0]  # the readouts' inner folds too
    made = {
        name: pd.concat(
            predict(prepared, k, seed, inner).assign(run_id=f"{name}, folds {seed}")
            for seed in seeds
        ).reset_index(drop=True)
        for name, predict in baselines.BY_NAME.items()
    }
    return made | crossval.out_of_fold(configs(study, dataset, start), k, seeds)
