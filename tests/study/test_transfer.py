"""Table 2's models and baselines: the same eyes for all, and an absent dataset is an answer."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from rnfl import datasets
from rnfl.core import schema
from rnfl.study import cross_modality, presets


def test_one_cell_is_trained_on_either_modality_and_shared_with_table_1():
    study = presets.get("phantom")
    configs = cross_modality.configs(study)
    assert list(configs) == [study.slo, study.cfp]
    assert [replace(c, dataset=study.cfp) for c in configs[study.slo]] == configs[study.cfp]
    assert set(configs[study.slo]) <= set(study.configs_table1())


def test_absent_external_files_are_a_reason_without_a_path(monkeypatch, tmp_path):
    monkeypatch.setenv("RNFL_GRAPE", str(tmp_path))
    assert cross_modality.available(None) == "this preset has no external dataset"
    reason = cross_modality.available("grape")
    assert "the files of grape are not at hand" in reason and str(tmp_path) not in reason
    with pytest.raises(ValueError, match="dataset 'nope' is unknown"):
        cross_modality.available("nope")


@pytest.fixture
def made(rng):
    """A dataset of 24 patients with measured quadrants and no profiles."""
    n = 24
    samples = {"eye_id": [f"e{i}" for i in range(n)], "patient_id": [f"p{i}" for i in range(n)]}
    samples |= {"laterality": "OD", "modality": "CFP", "split": "test"}
    frame = pd.DataFrame(samples)
    for name in "SNIT":
        frame[f"rnfl_{name}"] = 80 + 10 * rng.standard_normal(n)
    images = rng.integers(0, 255, (n, 48, 48, 3)).astype(np.uint8)
    fields = {"dataset": "made", "modality": "CFP", "phantom": True, "settings": {}}
    return datasets.write("made-external", images, np.full((n, 360), np.nan), frame, fields)


def test_every_method_of_an_external_dataset_is_asked_about_the_same_eyes(made, monkeypatch):
    def predict(result, dataset, split):
        assert (dataset, split) == (made.name, None)
        eyes, patients = (made.samples[name].tolist() for name in ("eye_id", "patient_id"))
        flat = np.full((len(eyes), 360), 75.0)
        return schema.predictions_frame(result, eyes, patients, flat, made.profiles)

    monkeypatch.setattr(cross_modality, "predict_with", predict)
    frames = cross_modality.external_quadrants({"model": ["run-a", "run-b"]}, made.name)
    assert list(frames) == ["constant", "PCA + ridge", "model"]
    assert frames["model"].groupby("run_id").size().to_dict() == {"run-a": 24, "run-b": 24}
    truth = {name: f.drop_duplicates("eye_id").set_index("eye_id")["true_S"] for name, f in
             frames.items()}  # fmt: skip
    for column in truth.values():
        assert column.reindex(made.samples["eye_id"]).to_numpy() == pytest.approx(
            made.samples["rnfl_S"].to_numpy()
        )
