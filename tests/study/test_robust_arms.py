"""Arms of notebook 21 differ in augmentation alone, and conditions in their pictures alone."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from rnfl import datasets
from rnfl.datasets import phantom
from rnfl.study import presets, robustness


@pytest.mark.parametrize("name", presets.PRESETS)
def test_arms_differ_in_augmentation_alone_and_conditions_are_there(name):
    study = presets.get(name)
    configs, known = robustness.configs(study), robustness.conditions(study)
    assert len(set(configs.values())) == (len(study.arms) + 1) * len(study.ablation_seeds)
    fields = [
        {k: v for k, v in asdict(c).items() if k not in ("augment", "seed", "dataset")}
        for c in configs.values()
    ]
    assert all(one == fields[0] for one in fields)
    special = {arm for (arm, _), c in configs.items() if c.dataset != study.spoilt_slo}
    assert special == {"specialist"} and "intensity" in study.arms
    recipes = {condition: phantom.parse(name) for condition, name in known.items()}
    assert len({(one.n_eyes, one.seed, one.calibrated) for one in recipes.values()}) == 1
    assert recipes["other camera"].modality == "cfp" and not recipes["clean"].severity
    assert recipes["jpeg0.8"].severity == {"jpeg": 0.8}


def test_conditions_show_the_same_eyes_and_labels():
    study = replace(presets.get("smoke"), spoilt_slo="phantom-slo-12", spoilt=("jpeg0.8",))
    made = {c: datasets.prepare(name) for c, name in robustness.conditions(study).items()}
    clean = made["clean"]
    for condition, one in made.items():
        assert list(one.samples["split"]) == list(clean.samples["split"])
        assert np.array_equal(one.profiles, clean.profiles)
        if condition != "clean":
            assert not np.array_equal(one.images, clean.images)
    shown = robustness.pictures(study)
    assert shown["images"].shape == (7, 112, 112, 3) and shown["images"].dtype == np.uint8
    assert list(shown["title"][-4:]) == ["mild view"] * 2 + ["severe view"] * 2
    change = np.abs(shown["images"][3:] - shown["images"][0].astype(float)).mean((1, 2, 3))
    assert change[:2].max() < change[2:].min()
