"""The study of camera shift: who is read, by whom; two real cameras by subject."""

import numpy as np
import pytest
from training_data import make_dataset

from rnfl import datasets
from rnfl.adaptation import ways
from rnfl.study import camera_shift


@pytest.fixture
def two_cameras(tmp_path, monkeypatch):
    """Forty eyes with quadrants alone; the first patient of the second camera was seen by both."""
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    monkeypatch.setattr(camera_shift, "SLO_BACKBONE", "phantom_scratch@32")
    made = make_dataset("drawn", n=40, size=32, colour=True, quadrants=range(40))
    device = np.repeat(["TRC (TOPCON, Japan)", "CR-2 (CANON, Japan)"], [22, 18])
    samples = made.samples.assign(device=device, split="test")
    samples.loc[22, "patient_id"] = samples.loc[0, "patient_id"]
    fields = {"dataset": "real", "modality": "CFP", "phantom": False, "settings": {}}
    return datasets.write("cameras", made.images, made.profiles, samples, fields)


def test_real_cameras_are_read_by_subject(two_cameras):
    frames, runs = camera_shift.on_grape("cameras")
    assert set(frames) == {"Topcon to Canon", "Canon to Topcon"}
    both = two_cameras.samples.loc[0, "patient_id"]
    for direction, by in frames.items():
        target = {"Topcon to Canon": 17, "Canon to Topcon": 21}[direction]
        for way, frame in by.items():
            assert len(frame) == target - camera_shift.SHOTS, way
            assert both not in set(frame["patient_id"])
        assert by["constant"][[f"pred_{q}" for q in "SNIT"]].nunique().eq(1).all()
    assert len(runs) == 2 * 2 * len(camera_shift.REAL_WAYS)


def test_a_part_is_its_rows(two_cameras):
    part = ways.part("cameras", "some", np.array([3, 5]))
    assert (part.images == two_cameras.images[[3, 5]]).all() and len(part) == 2
    assert part.samples["rnfl_S"].tolist() == two_cameras.samples["rnfl_S"][[3, 5]].tolist()
    assert not part.phantom
