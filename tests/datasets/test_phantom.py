"""The phantom: reproducible, calibrated, and with the RNFL physically in the image."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from sklearn.linear_model import RidgeCV

from rnfl import datasets
from rnfl.core.geometry import RADIUS_RATIO, centre, circle, to_right_eye
from rnfl.datasets import phantom
from rnfl.datasets.phantom.calibration import calibration_table
from rnfl.datasets.phantom.eyes import GROUP_SHIFT, patient, population
from rnfl.datasets.phantom.render import render

SIZE = 112
#: Of patient 0, seed 0: mean true profile (µm) and mean grey levels, on any machine.
PINNED = {"profile": 97.8465, "slo": 82.958, "cfp": 98.471}


@pytest.fixture(scope="module")
def crowd():
    """Profiles, labels and eyes of many phantom eyes, without images."""
    eyes = population(3000, seed=5)
    return eyes, np.stack([e.profile for e in eyes]), np.stack([e.label for e in eyes])


def read_ring(image: np.ndarray) -> np.ndarray:
    """Brightness on rings round the disc against the image's own level, (3 * 72,)."""
    cx, cy = centre(*image.shape)
    rings = []
    for ratio in (0.26, 0.31, RADIUS_RATIO):
        x, y = circle(cx, cy, ratio * image.shape[1])
        ring = map_coordinates(image.astype(float), [y, x], order=1).reshape(72, 5)
        rings.append(np.median(ring, axis=1))
    rings = np.concatenate(rings)
    return np.log((rings + 5.0) / np.median(rings))


def test_population_is_seeded_and_nested():
    few, many = population(20, seed=3), population(60, seed=3)
    for a, b in zip(few, many[:20], strict=True):
        assert a.eye_id == b.eye_id
        np.testing.assert_array_equal(a.label, b.label)
    assert population(20, seed=4)[0].age != few[0].age


def test_known_values_across_machines():
    eye = patient(0, seed=0)[0]
    seen = render(eye, size=SIZE)
    assert eye.profile.mean() == pytest.approx(PINNED["profile"], abs=1e-3)
    assert seen.slo.mean() == pytest.approx(PINNED["slo"], abs=0.05)
    assert seen.cfp.mean() == pytest.approx(PINNED["cfp"], abs=0.05)


def test_patients_have_one_or_two_eyes_and_every_attribute(crowd):
    eyes, _, _ = crowd
    counts = np.unique([e.patient_id for e in eyes], return_counts=True)[1]
    assert set(counts) == {1, 2}
    for name, n in (("laterality", 2), ("sex", 2), ("race", 3), ("severity", 4), ("ethnicity", 2)):
        assert len({getattr(e, name) for e in eyes}) == n


def test_planted_group_effect_is_there(crowd):
    eyes, truth, _ = crowd
    healthy = np.array([e.severity == "healthy" for e in eyes])
    black = np.array([e.race == "Black" for e in eyes])
    asian = np.array([e.race == "Asian" for e in eyes])
    gap = truth[healthy & asian].mean() - truth[healthy & black].mean()
    assert gap == pytest.approx(GROUP_SHIFT["Asian"] - GROUP_SHIFT["Black"], abs=3.0)


def test_calibrated_to_real_eyes(crowd):
    eyes, _, labels = crowd
    table = calibration_table(
        type("Made", (), {"profiles": labels, "samples": phantom.samples_table(eyes, "slo")})
    )
    outside = table[~table["within"]]
    # GRAPE and LEI-SFD contradict each other in the temporal spread: 19.9 against 13.1 µm
    allowed = {("SD T", "LEI-SFD")}
    named = set(zip(outside["quantity"], outside["source"], strict=True))
    spreads = {key for key in named if not key[0].startswith("mean")}
    assert spreads <= allowed, outside.to_string()


def test_left_eye_is_the_mirror_of_its_right_twin():
    eye = next(e for e in population(20, seed=1) if e.laterality == "OS")
    twin = replace(eye, laterality="OD")
    left, right = render(eye, size=SIZE), render(twin, size=SIZE)
    assert not np.array_equal(left.slo, right.slo)
    np.testing.assert_array_equal(to_right_eye(left.slo, "OS"), right.slo)
    np.testing.assert_array_equal(to_right_eye(left.cfp, "OS"), right.cfp)
    np.testing.assert_array_equal(to_right_eye(left.disc, "OS"), right.disc)


def test_cup_lies_in_disc_and_grows_with_loss():
    eye = patient(3, seed=0)[0]
    full = render(eye, np.full(360, 110.0), size=SIZE)
    thin = render(eye, np.full(360, 45.0), size=SIZE)
    assert full.cup.sum() < thin.cup.sum()
    assert np.all(full.disc[full.cup])
    assert full.height.shape == (SIZE, SIZE)
    assert full.height[full.cup].mean() < full.height[~full.disc].mean()


@pytest.fixture(scope="module")
def readings():
    """Ring readings of eyes rendered with their own RNFL and with a flattened one."""
    eyes = [replace(eye, laterality="OD") for eye in population(300, seed=8)]
    own = np.stack([read_ring(render(eye, size=SIZE).slo) for eye in eyes])
    flat_profile = np.full(360, 85.0)
    flat = np.stack([read_ring(render(eye, flat_profile, size=SIZE).slo) for eye in eyes])
    return own, flat, np.stack([eye.profile for eye in eyes])


def between_eyes(features: np.ndarray, profiles: np.ndarray) -> float:
    """Correlation across eyes, over angles, of a ridge reader trained on two thirds."""
    k = 2 * len(profiles) // 3
    mean, sd = features[:k].mean(0), features[:k].std(0) + 1e-9
    features = (features - mean) / sd
    reader = RidgeCV(np.logspace(1, 5, 9)).fit(features[:k], profiles[:k])
    predicted, true = reader.predict(features[k:]), profiles[k:]
    predicted, true = predicted - predicted.mean(0), true - true.mean(0)
    norm = np.sqrt((predicted**2).sum(0) * (true**2).sum(0))
    return float(np.mean((predicted * true).sum(0) / norm))


def test_the_image_carries_the_profile(readings):
    own, flat, profiles = readings
    assert between_eyes(own, profiles) > 0.35
    assert between_eyes(flat, profiles) < 0.20


def test_prepare_makes_both_cameras(data_root):
    slo = phantom.prepare("phantom-slo-40")
    cfp = datasets.load("phantom-cfp-40")
    assert slo.images.shape == (40, 224, 224) and cfp.images.shape == (40, 224, 224, 3)
    assert list(slo.samples["eye_id"]) == list(cfp.samples["eye_id"])
    assert set(slo.samples["modality"]) == {"SLO"} and slo.manifest["phantom"] is True
    error = np.abs(slo.profiles - slo.profiles_true).mean()
    assert 1.0 < error < 8.0


@pytest.mark.parametrize("name", ["phantom-oct-10", "phantom-slo-0", "phantom-slo", "phantom-9x"])
def test_bad_names_are_refused(name):
    with pytest.raises(ValueError, match="phantom-slo-N"):
        phantom.parse(name)


def test_pretraining_set_is_of_other_patients():
    images, labels, heights = phantom.pretraining_set(4)
    assert images.shape == (8, 112, 112, 3) and heights.shape == (8, 112, 112)
    assert all(len(column) == 8 for column in labels.values())
    assert phantom.PRETRAINING_SEED != 0
