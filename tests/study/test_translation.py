"""Planted defects: twins differ by them alone, and what erases or invents one is seen."""

import numpy as np
import pytest
from planted_translation import planted

from analysis import conclusions, tables
from analysis.accuracy import translation as statistics
from analysis.resampling import Resampling
from analysis.tables.translation import passes
from rnfl.adaptation import paired
from rnfl.core.geometry import ANGLES, FIELD_MM
from rnfl.study import presets, translation


@pytest.fixture(scope="module")
def seen():
    return translation.twins(presets.get("smoke"))


def truth(seen):
    return np.concatenate(seen.pictures["truth"])


def fates(seen, images):
    return translation.defects(seen, images, np.concatenate(seen.profiles)).mean(numeric_only=True)


def test_twins_differ_by_their_defect_alone(seen):
    thinner = seen.profiles[:, 0] - seen.profiles[:, 1]
    away = np.abs((ANGLES - seen.centres[:, None] + 180) % 360 - 180)
    assert (thinner >= 0).all() and (thinner[away > 90] < 0.1).all()
    assert (np.abs((thinner.argmax(axis=1) - seen.centres + 180) % 360 - 180) < 25).all()
    light = translation.ring(truth(seen)).reshape(len(seen.eyes), 2, -1)
    darker = light[:, 0] - light[:, 1]
    inside = away <= translation.WINDOW
    assert darker[inside].mean() > max(10, 5 * np.abs(darker[away > 60]).mean())


def test_ring_begins_temporal_and_turns_to_superior():
    image = np.full((1, 112, 112), 100, np.uint8)
    mm = (np.arange(112) + 0.5) / 112 * FIELD_MM - FIELD_MM / 2
    x, y = np.meshgrid(mm, -mm)
    image[0][(y > 1.0) & (np.abs(x) < 0.2)] = 0  # above the disc
    image[0][(x < -1.0) & (np.abs(y) < 0.2)] = 200  # left of it: temporal
    light = translation.ring(image)[0]
    assert light.argmin() in range(85, 96) and light.argmax() in (*range(355, 360), *range(6))


def test_a_true_picture_erases_and_invents_nothing_however_dark_it_is(seen):
    images = truth(seen)
    for one in (images, (0.6 * images + 20).astype(np.uint8)):
        found = fates(seen, one)
        assert found["erased"] == 0 and found["invented"] == 0
    assert found["read"] == pytest.approx(1, abs=1e-5) and found["psnr"] > 10
    assert np.isnan(fates(seen, images)["psnr"])


def test_a_picture_without_the_defect_has_erased_it(seen):
    images = truth(seen).copy()
    images[1::2] = images[::2]
    assert fates(seen, images)["erased"] == 1 and fates(seen, images)["invented"] == 0


def test_a_dark_wedge_that_is_not_there_is_invented(seen):
    images, whole = truth(seen).copy(), fates(seen, truth(seen))
    at = (np.arange(images.shape[1]) + 0.5) / images.shape[1] - 0.5
    angle = np.degrees(np.arctan2(-at[:, None], -at[None]))  # 0 temporal, 90 superior
    wedge = np.abs((angle - 180 + 180) % 360 - 180) < 20  # nasal, where none is planted
    images[:, wedge] = (0.4 * images[:, wedge]).astype(np.uint8)
    found = fates(seen, images)
    assert found["invented"] >= 1 and found["erased"] == whole["erased"]


@pytest.mark.parametrize(("better", "word"), [(2.0, "spares it"), (0.0, "nothing dearer")])
def test_the_kill_rule_asks_for_less_error_than_both(better, word):
    table, comparisons = statistics.statistics(*planted(better), Resampling(200, 200))
    said = conclusions.translation(table, comparisons)
    assert word in said[-1] and len(said) == 3
    assert passes("diffusion4") == 4 * paired.DRAWN
    wide = tables.translation_wide(table, comparisons).set_index("Way")
    assert wide.loc["diffusion, mean of 4", "Passes"] == "100"
    assert wide.index[0] == "as it is" and wide.index[-1] == "true picture"
