"""The rotation response is 1 for a predictor that turns with its image and 0 for a template."""

import numpy as np
import pandas as pd
import pytest
from synthetic_tables import HUMP, eyes, frame, only, profiles

from analysis.collapse import rotation
from analysis.resampling import Resampling

TURNS = (-20, 0, 20)


def table(kept, n=20, noise=0.0):
    """Predictions whose shape turns by a share ``kept`` of each turn."""
    samples = eyes(n)
    truth, label = profiles(samples)
    rng, parts = np.random.default_rng(0), []
    for turn in TURNS:
        moved = np.roll(truth, round(kept * turn), axis=1) + rng.normal(0, noise, truth.shape)
        parts.append(frame("run", samples, moved, label).assign(turn=turn))
    runs = pd.DataFrame({"run_id": ["run"], "backbone": "b", "protocol": "p"})
    return rotation.rotation_table(pd.concat(parts, ignore_index=True), runs, Resampling(200))


@pytest.mark.parametrize("kept", [1.0, 0.5, 0.0, -1.0])
def test_the_slope_is_the_share_of_the_turn_that_the_prediction_follows(kept):
    row = only(table(kept), metric="rotation_response")
    assert row["estimate"] == pytest.approx(kept, abs=1e-6)
    noisy = only(table(kept, noise=5.0), metric="rotation_response")
    assert noisy["estimate"] == pytest.approx(kept, abs=0.06)
    assert noisy["low"] < noisy["estimate"] < noisy["high"]


def test_a_template_has_exactly_zero_and_few_templates_too():
    samples = eyes(12)
    _, label = profiles(samples)
    few = np.where(np.arange(len(samples))[:, None] % 2, HUMP - 14, HUMP + 14)
    for shape in (np.tile(HUMP, (len(samples), 1)), few, np.full((len(samples), 360), 80.0)):
        still = pd.concat([frame("template", samples, shape, label).assign(turn=t) for t in TURNS])
        found = rotation.rotation_table(still, resampling=Resampling(50))
        row = only(found, metric="rotation_response")
        assert row["estimate"] == row["low"] == row["high"] == 0


def test_rolled_back_a_follower_errs_as_without_a_turn():
    found = table(1.0).set_index(["metric", "group"])["estimate"]
    assert found["rolled_mae", "+20"] == pytest.approx(found["turned_mae", "+0"])
    assert found["turned_mae", "+20"] > 1.5 * found["rolled_mae", "+20"]
    assert found["shift", "-20"] == -20


def test_shifts_are_found_between_degrees_and_turns_are_checked():
    angles = np.deg2rad(np.arange(360))

    def curve(by, still=0.0):
        return (50 + 20 * np.cos(2 * (angles - np.deg2rad(by))) + still * np.cos(angles - 1))[None]

    assert rotation.shifts(curve(0), curve(3.4))[0] == pytest.approx(3.4, abs=0.05)
    # a part that stays where it was holds the whole back
    assert 0 < rotation.shifts(curve(0, still=9), curve(10, still=9))[0] < 9.9
    with pytest.raises(ValueError, match="expected 0"):
        rotation.rotation_table(pd.DataFrame({"turn": [10, 20]}))
