"""Contact sheets: the right eyes, the ring and the letters where they belong, and what is said."""

import numpy as np
import pandas as pd
import pytest
from PIL import ImageDraw

from rnfl.core.geometry import QUADRANTS, RADIUS_RATIO
from rnfl.datasets import contact_sheet
from rnfl.datasets.contact_sheet import (
    MOST,
    RING,
    SIDE,
    choose,
    draw_sheet,
    draw_tile,
    letter_places,
)

ABOUT = {"name": "some", "dataset": "some", "modality": "CFP", "phantom": False}


@pytest.fixture
def said(monkeypatch):
    """What is written on sheets."""
    words = []
    write = ImageDraw.ImageDraw.text

    def text(self, place, words_, *arguments, **options):
        words.append(words_)
        return write(self, place, words_, *arguments, **options)

    contact_sheet._overlay()  # its letters are drawn once
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return words


def eyes(n, colour=True, side=8):
    images = np.random.default_rng(0).integers(0, 255, (n, side, side, 3)).astype(np.uint8)
    samples = pd.DataFrame({
        "eye_id": [f"secret-{i}" for i in range(n)],
        "patient_id": [f"patient-{i}" for i in range(n)],
        "laterality": [("OD", "OS")[i % 2] for i in range(n)],
    })  # fmt: skip
    return images if colour else images[..., 0], samples


def test_unsure_eyes_come_first_and_the_others_are_spread_evenly():
    doubtful = np.zeros(1000, bool)
    doubtful[100:140] = True
    unsure, others = choose(doubtful)
    assert unsure.tolist() == list(range(100, 116)) and len(others) == MOST - 16
    assert others[0] == 0 and others[-1] == 999 and not set(unsure) & set(others)
    assert np.ptp(np.diff(others)[5:]) <= 1
    few = choose(np.array([False, True, False]))
    assert few[0].tolist() == [1] and few[1].tolist() == [0, 2]
    assert len(choose(np.full(20, True))[1]) == 4  # all eyes, though many are unsure


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (SIDE, SIDE, 3), (32, 32), (32, 40, 3)])
def test_the_ring_is_the_scan_circle(shape):
    tile = np.asarray(draw_tile(np.zeros(shape, np.uint8))).astype(int)
    assert tile.shape == (SIDE, SIDE, 3)
    y, x = np.nonzero(np.abs(tile - RING).sum(axis=2) < 60)
    radius = np.hypot(x - 111.5, y - 111.5)
    assert radius.mean() == pytest.approx(RADIUS_RATIO * SIDE, abs=0.5) and radius.std() < 0.8
    angles = np.rad2deg(np.arctan2(y - 111.5, x - 111.5))
    assert len(set(np.floor(angles / 10))) == 36  # all the way round


def test_letters_stand_where_a_right_eye_has_them():
    tile = np.asarray(draw_tile(np.full((SIDE, SIDE), 40, np.uint8))).astype(int)
    places = letter_places(SIDE)
    expected = {"T": (-1, 0), "S": (0, -1), "N": (1, 0), "I": (0, 1)}
    assert set(places) == set(QUADRANTS) == set(expected)
    for letter, (right, down) in expected.items():
        x, y = places[letter]
        reach = contact_sheet.LETTER_RATIO * SIDE
        assert (x, y) == pytest.approx((111.5 + right * reach, 111.5 + down * reach), abs=0.1)
        around = tile[round(y) - 12 : round(y) + 12, round(x) - 12 : round(x) + 12].min(axis=2)
        assert (around > 240).sum() > 15, letter
    white = (tile.min(axis=2) > 240).sum(axis=1)
    assert white[: SIDE // 4].any() and white[-SIDE // 4 :].any()


def test_images_are_shown_as_they_are_stored():
    half = np.zeros((SIDE, SIDE), np.uint8)
    half[:, : SIDE // 2] = 200
    samples = eyes(1)[1].assign(laterality="OS")
    sheet = np.asarray(draw_sheet(half[None], samples, ABOUT))
    left, top = contact_sheet.MARGIN, contact_sheet.HEADING
    assert sheet[top + 60, left + 60].tolist() == [200] * 3
    assert sheet[top + 60, left + SIDE - 60].tolist() == [0] * 3


def test_what_is_said(said):
    draw_sheet(*eyes(5, colour=False), {**ABOUT, "phantom": True})
    assert "some - CFP" in said and "phantom: simulated eyes" in said and "all 5 eyes" in said
    assert said.count("OD") == 3 and said.count("OS, mirrored") == 2
    assert {"0", "1", "2", "3", "4"} <= set(said)
    assert not any("secret" in words or "patient" in words for words in said)
    assert any("3.46 mm" in words and "T temporal" in words for words in said)


def test_unsure_eyes_are_marked_and_what_was_left_off_is_said(said):
    doubts = {7: ["disc unsure: confidence 0.61"], 50: ["dark margins: 65%", "too dark: 20"]}
    unsure = [{"id": f"secret-{i}", "doubts": said} for i, said in doubts.items()]
    sheet = draw_sheet(*eyes(100), {**ABOUT, "unsure": unsure})
    assert "phantom: simulated eyes" not in said
    assert {"disc unsure", "dark margins +1", "7", "50"} <= set(said)
    assert said[1] == "48 of 100 eyes: 2 unsure ones first, the others evenly spaced by row"
    numbers = [words for words in said if words.isdigit()]
    assert numbers[:3] == ["7", "50", "0"] and len(numbers) == MOST
    pixels = np.asarray(sheet)
    assert (pixels[contact_sheet.HEADING - 4] == contact_sheet.UNSURE).all(axis=1).sum() == 2 * (
        SIDE + 8
    )
