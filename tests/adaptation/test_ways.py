"""Adapting with shots: labels of the target reach nothing, those of the source stay."""

import numpy as np
import pytest
import torch
from training_data import make_dataset, silent

from rnfl import datasets
from rnfl.adaptation import ways
from rnfl.runs import restore, results
from rnfl.runs.predictions import predict_with
from rnfl.runs.run import run
from rnfl.training import finetuning, losses, protocols, step
from rnfl.training.config import RunConfig

SIZES = {"epochs": 1, "batch_size": 4, "warmup_epochs": 0}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A source, a target of other patients in colour, and the target with other labels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(tmp_path_factory.mktemp("data")))
        source = make_dataset("source", n=24, size=32)
        target = make_dataset("target", n=24, size=32, colour=True, seed=1, patients="q")
        fields = {k: target.manifest[k] for k in ("dataset", "modality", "phantom", "settings")}
        labels = np.asarray(target.profiles)[::-1] + 50
        other = datasets.write("other", target.images, labels, target.samples, fields)
        yield source, target, other


def readout(dataset="source"):
    return run(RunConfig(dataset, "phantom_scratch@32", "readout"))


def trained(dataset="source"):
    return run(RunConfig(dataset, "phantom_scratch@32", "lora", **SIZES), silent)


def test_shots_are_pictures_without_labels_of_different_training_patients(world):
    _, target, _ = world
    first, again, other = (ways.take_shots("target", 5, draw) for draw in (0, 0, 1))
    assert first.hash == again.hash != other.hash
    assert np.isnan(first.profiles).all() and first.profiles_true is None
    assert not any(name.startswith("rnfl") for name in first.samples)
    assert first.samples["patient_id"].nunique() == 5
    known = target.samples.set_index("eye_id").loc[first.samples["eye_id"]]
    assert set(known["split"]) == {"train"}
    rows = target.samples.index[target.samples["eye_id"].isin(first.samples["eye_id"])]
    assert (first.images == target.images[rows]).all()
    with pytest.raises(ValueError, match="13 shots of target: 12 patients"):
        ways.take_shots("target", 13)


@pytest.mark.parametrize("way", ["none+prior", "fourier", "histogram+prior"])
def test_no_label_of_the_target_reaches_an_adapted_model(world, way):
    states = [
        restore.load_model(ways.adapt(readout(), name, way, shots=4)).state_dict()
        for name in ("target", "other")
    ]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("make", [readout, trained])
def test_prior_matching_gives_the_shots_the_mean_label_of_the_source(world, make):
    source, _, _ = world
    found = ways.adapt(make(), "target", "none+prior", shots=6)
    shots = ways.take_shots("target", 6)
    table = predict_with(found, shots.name, None)
    mean = np.stack(table["prediction"]).mean(axis=0)
    wanted = source.profiles[source.subset("train")].mean(axis=0)
    np.testing.assert_allclose(mean, wanted, atol=2e-3)
    # An ordinary run, found again by what it records.
    again = results.load_run(found.run_id)
    assert again.config == found.config and again.config.protocol.shots == shots.name
    patients = source.samples["patient_id"]
    assert restore.shared_patients(again, source, source.subset("train")) == set(
        patients[source.subset("train")]
    )


def test_matching_moves_every_prediction_by_the_same_profile(world):
    base = readout()
    tables = [
        predict_with(one, "target", None)
        for one in (base, ways.adapt(base, "target", "none+prior"))
    ]
    before, after = (np.stack(one["prediction"]) for one in tables)
    assert np.ptp(after - before, axis=0).max() < 2e-3
    assert np.abs(after - before).max() > 1


def test_a_translation_keeps_labels_patients_and_splits(world):
    source, _, _ = world
    made = ways.translated(source, ways.take_shots("target", 3), "statistics")
    assert made.images.shape == (24, 32, 32, 3)
    assert (np.asarray(made.profiles) == np.asarray(source.profiles)).all()
    for column in ("eye_id", "patient_id", "split"):
        assert (made.samples[column] == source.samples[column]).all()
    assert set(made.samples["modality"]) == {"CFP"}
    assert made.phantom == source.phantom


def test_an_alignment_has_both_pictures_of_an_eye_side_by_side(world):
    source, _, _ = world
    made = ways.translated(source, ways.take_shots("target", 3), "stage2")
    alone = ways.translated(source, ways.take_shots("target", 3), "fourier")
    assert (made.images[1::2] == alone.images).all()
    assert (made.images[::2] == np.asarray(source.images)[..., None]).all()
    assert (np.asarray(made.profiles[::2]) == np.asarray(made.profiles[1::2])).all()
    assert (made.samples["patient_id"][::2].values == made.samples["patient_id"][1::2].values).all()


def test_aligned_training_keeps_pairs_together_in_every_part_of_a_batch(world, monkeypatch):
    seen = []
    real = losses.unaligned

    def watched(tokens):
        seen.append([one.detach() for one in tokens])
        return real(tokens)

    monkeypatch.setattr(losses, "unaligned", watched)
    found = ways.adapt(readout(), "target", "stage2", shots=3, **SIZES, augment=None, micro_batch=3)
    assert found.config.protocol == ways.ALIGNMENT and found.config.epochs == 1
    assert {len(one[0]) for one in seen} == {2}  # of 3 at once, the two of an eye
    assert len(seen[0]) == 4
    with pytest.raises(ValueError, match="needs two of each eye"):
        run(RunConfig(found.config.dataset, "phantom_scratch@32", ways.ALIGNMENT, batch_size=3))


def test_alignment_draws_the_pictures_of_an_eye_together(world):
    found = [
        ways.adapt(
            readout(), "target", "stage2", shots=3, **(SIZES | {"epochs": 6, "lr_scale": 10})
        )
    ]
    made = datasets.load(found[0].config.dataset)
    plain = protocols.get("lora")
    found.append(run(RunConfig(made.name, "phantom_scratch@32", plain, lr_scale=10.0,
                               **(SIZES | {"epochs": 6})), silent))  # fmt: skip
    images = torch.from_numpy(np.array(made.images[:12])).permute(0, 3, 1, 2) / 255
    apart = []
    for one in found:
        backbone = restore.load_model(one).backbone
        with torch.no_grad(), step.tokens_of(backbone, step.ALIGNED_AT) as tokens:
            backbone(images)
        apart.append(float(losses.unaligned(tokens)))
    assert apart[0] < 0.9 * apart[1]


def test_pairs_are_rows_next_to_each_other():
    class Config:
        seed = 3
        protocol = ways.ALIGNMENT

    training = finetuning.FineTuning.__new__(finetuning.FineTuning)
    training.config, training.train = Config, range(10)
    order = training._order(2).tolist()
    assert sorted(order) == list(range(10))
    assert all(b == a + 1 and a % 2 == 0 for a, b in zip(order[::2], order[1::2], strict=True))


def test_what_makes_no_sense_is_refused_by_name(world):
    base = readout()
    with pytest.raises(ValueError, match="way 'magic': expected one of none, histogram"):
        ways.adapt(base, "target", "magic")
    with pytest.raises(ValueError, match=r"way 'fourier\+posterior'"):
        ways.adapt(base, "target", "fourier+posterior")
    with pytest.raises(ValueError, match="does not read epochs"):
        ways.adapt(base, "target", "fourier", epochs=3)
    make_dataset("large", n=8, size=40, colour=True)
    with pytest.raises(ValueError, match="prepare both at one size"):
        ways.adapt(base, "large", "fourier", shots=2)


def command(monkeypatch, capsys, *words):
    from rnfl import cli

    monkeypatch.setattr("sys.argv", ["rnfl", "adapt", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code, capsys.readouterr().out


def test_the_command_adapts_and_says_the_error(world, capsys, monkeypatch):
    given = readout().run_id, "--to", "target", "--shots", 4
    code, said = command(monkeypatch, capsys, *given)
    assert code in (0, None)
    assert "adapted with 4 shots of target (fourier+prior)" in said
    assert " µm on 6 eyes of target" in said and "left out" not in said


def test_an_error_is_of_eyes_whose_patients_neither_taught_nor_gave_a_shot(
    world, capsys, monkeypatch
):
    source, target, _ = world
    fields = {k: target.manifest[k] for k in ("dataset", "modality", "phantom", "settings")}
    # Everybody to be tested on, two of them patients of the source's training split.
    samples = target.samples.assign(split="test")
    samples.loc[:1, "patient_id"] = source.samples["patient_id"][:2].to_numpy()
    datasets.write("tested", target.images, target.profiles, samples, fields)
    given = readout().run_id, "--to", "tested", "--shots", 4, "--way", "none"
    code, said = command(monkeypatch, capsys, *given)
    shots = ways.take_shots("tested", 4)
    gave = set(shots.samples["patient_id"]) | set(samples["patient_id"][:2])
    assert code in (0, None)
    assert f"on {24 - len(gave)} eyes of tested; {len(gave)} of patients it knows" in said


def test_a_run_that_segments_is_adapted_without_a_level(world, capsys, monkeypatch):
    source, target, _ = world
    fields = {k: source.manifest[k] for k in ("dataset", "modality", "phantom", "settings")}
    drawn = np.zeros((24, 112, 112), np.uint8)
    drawn[:, 30:80, 30:80], drawn[:, 45:65, 45:65] = 1, 2
    extra = {"masks.npy": drawn}
    for name, of in (("seen", source), ("asked", target)):
        datasets.write(name, of.images, of.profiles, of.samples, fields, extra=extra)
    config = RunConfig("seen", "phantom_scratch@32", "naive", task="masks", **SIZES)
    base = run(config, silent)
    given = base.run_id, "--to", "asked", "--shots", 3, "--way", "statistics"
    code, said = command(monkeypatch, capsys, *given)
    assert code in (0, None) and "(statistics)" in said and "Dice of disc" in said
    made = datasets.load(results.load_run(said.split(":")[0].rpartition("/")[2]).config.dataset)
    assert (np.asarray(made.masks) == drawn).all()
    with pytest.raises(ValueError, match="masks have no level"):
        ways.adapt(base, "asked", "statistics+prior", shots=3)


def test_what_is_made_of_other_runs_is_not_adapted_in_name_alone(world):
    level = ways.adapt(readout(), "target", "none+prior", shots=4)
    with pytest.raises(ValueError, match="nothing would be trained"):
        ways.adapt(level, "target", "fourier", shots=4)


def test_a_model_of_phantom_slo_pictures_redraws_no_others(world):
    with pytest.raises(ValueError, match="the packaged DDPM is of phantom SLO"):
        ways.translated(datasets.load("target"), ways.take_shots("target", 3), "stage1")


def test_nothing_is_translated_for_a_run_that_is_refused(world, monkeypatch):
    monkeypatch.setattr(ways, "translated", None)
    with pytest.raises(ValueError, match="seed must be a whole number"):
        ways.adapt(trained(), "target", "fourier", shots=4, seed=-1)


def test_pictures_that_are_no_pairs_are_not_aligned(world):
    with pytest.raises(ValueError, match="needs two of each eye"):
        run(RunConfig("source", "phantom_scratch@32", ways.ALIGNMENT, **SIZES))


def test_memory_for_pairs_is_measured_in_pairs(world):
    given = SIZES | {"micro_batch": "auto"}
    found = ways.adapt(readout(), "target", "stage2", shots=3, draw=1, **given)
    assert found.summary["micro_batch"] % 2 == 0


def test_a_dataset_of_ones_own_keeps_its_name(world):
    source, _, _ = world
    name = ways.part("source", "some", np.arange(4)).name
    assert datasets.prepare(name).hash == datasets.load(name).hash
    fields = {k: source.manifest[k] for k in ("dataset", "modality", "phantom", "settings")}
    given = source.images, source.profiles, source.samples, fields
    mine = datasets.write("source-mine", *given)
    with pytest.raises(ValueError, match="a dataset of your own, and stays"):
        ways.part("source", "mine", np.arange(4))
    assert datasets.load("source-mine").hash == mine.hash


@pytest.mark.parametrize("name", ["grape-topcon", "folder-mine-as-fourier-7ab106a2",
                                  "phantom-cfp-9-shots4-d0"])  # fmt: skip
def test_preparing_what_was_made_of_another_dataset_makes_nothing_anew(world, name):
    source, _, _ = world
    fields = {k: source.manifest[k] for k in ("dataset", "modality", "phantom")}
    fields["settings"] = {"way": "fourier"}
    made = datasets.write(name, source.images, source.profiles, source.samples, fields)
    assert datasets.prepare(name).hash == made.hash
    with pytest.raises(ValueError, match="made of another dataset"):
        datasets.prepare(name, source=".")


def test_a_start_is_that_of_the_run(world):
    base = trained()
    found = ways.adapt(base, "target", "fourier", shots=4, start=base.run_id)
    assert found.config.start == base.run_id
