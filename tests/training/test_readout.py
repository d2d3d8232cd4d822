"""Readouts: ridge regression on frozen tokens, its mirrored copies, and the profiles it returns."""

import tracemalloc
from dataclasses import asdict

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as Oracle
from training_data import make_dataset
from typer.testing import CliRunner

from rnfl import cli, datasets
from rnfl.core import splits
from rnfl.core.geometry import QUADRANTS, flip_profile, quadrant_means
from rnfl.models.backbone import build
from rnfl.models.readout import Readout, fields, places, tokens, widths
from rnfl.runs import restore, results
from rnfl.training import batches, protocols, ridge
from rnfl.training import readout as training
from rnfl.training.readout import encode, fit, progress

CPU = torch.device("cpu")
SWAPPED = [2, 1, 0, 3]


@pytest.fixture
def eyes(rng):
    """Two blocks of features of 40 eyes of 25 patients, and two labels that depend on them."""
    patients = np.array([f"p{i % 25}" for i in range(40)])
    blocks = [rng.normal(3, 2, (40, 60)), rng.normal(-1, 0.1, (40, 90))]
    labels = blocks[0][:, :2] + 10 * blocks[1][:, :2] + rng.normal(80, 0.3, (40, 2))
    return blocks, labels, patients


def test_one_block_is_ordinary_ridge(eyes):
    blocks, labels, patients = eyes
    x = blocks[0]
    solved = ridge.fit([x], labels, patients, penalties=np.array([0.3]))
    scale = ((x - x.mean(0)) ** 2).sum() / len(x)
    oracle = Oracle(alpha=0.3 * scale).fit(x, labels)
    np.testing.assert_allclose(solved.predict([x[:5]]), oracle.predict(x[:5]), rtol=1e-5)


def test_blocks_are_averaged(eyes):
    blocks, labels, patients = eyes
    penalty = np.array([0.3])
    both = ridge.fit(blocks, labels, patients, penalties=penalty).predict(blocks)
    single = [ridge.fit([x], labels, patients, penalties=penalty).predict([x]) for x in blocks]
    np.testing.assert_allclose(both, np.mean(single, axis=0), rtol=1e-5)


def test_copies_are_ordinary_rows_centred_by_themselves(eyes):
    blocks, labels, patients = eyes
    x, turned = blocks[0], blocks[0][:, ::-1] + 5
    mirrored = ([turned], labels[:, ::-1])
    solved = ridge.fit([x], labels, patients, mirrored, penalties=np.array([0.3]))
    rows = np.concatenate([x - x.mean(0), turned - turned.mean(0)])
    values = labels - labels.mean(0)
    scale = (rows**2).sum() / len(rows)
    oracle = Oracle(alpha=0.3 * scale, fit_intercept=False)
    oracle.fit(rows, np.concatenate([values, values[:, ::-1]]))
    expected = labels.mean(0) + oracle.predict(x - x.mean(0))
    np.testing.assert_allclose(solved.predict([x]), expected, rtol=1e-5)


def test_the_penalty_is_the_best_of_folds_by_patient(eyes):
    blocks, labels, patients = eyes
    penalties = np.array([0.01, 1.0, 100.0])
    solved = ridge.fit(blocks, labels, patients, penalties=penalties, seed=4)
    fold = splits.folds_by_patient(list(patients), ridge.INNER_FOLDS, 4)
    errors = np.zeros(3)
    for i in range(ridge.INNER_FOLDS):
        train, held = fold != i, fold == i
        for j, penalty in enumerate(penalties):
            parts = [x[train] for x in blocks]
            one = ridge.fit(parts, labels[train], patients[train], penalties=np.array([penalty]))
            errors[j] += np.abs(one.predict([x[held] for x in blocks]) - labels[held]).sum()
    np.testing.assert_allclose(solved.errors, errors / labels.size, rtol=1e-5)
    assert solved.penalty == penalties[np.argmin(errors)]


def test_each_label_has_the_penalty_that_is_best_for_it(eyes):
    blocks, labels, patients = eyes
    how = {"penalties": ridge.OWN, "seed": 4}
    both = ridge.fit(blocks, labels, patients, own=True, **how)
    for j in range(2):
        one = ridge.fit(blocks, labels[:, [j]], patients, **how)
        assert both.penalty[j] == one.penalty
        np.testing.assert_allclose(both.held_out[:, j], one.held_out[:, 0])
        expected = one.predict(blocks)[:, 0]
        np.testing.assert_allclose(both.predict(blocks)[:, j], expected, rtol=1e-5)
    np.testing.assert_allclose(both.fitted, both.predict(blocks), rtol=1e-5)
    assert both.error == pytest.approx(np.abs(both.held_out - labels).mean())
    assert both.error <= ridge.fit(blocks, labels, patients, **how).error


def test_a_label_that_cannot_be_read_is_its_mean_and_never_worse(eyes, rng):
    blocks, labels, patients = eyes
    labels[:, 1] = rng.normal(80, 10, len(labels))  # nothing to learn
    solved = ridge.fit(blocks, labels, patients, penalties=ridge.OWN, own=True)
    constant = ridge.fit(blocks, labels, patients, penalties=np.array([np.inf]))
    assert np.isfinite(solved.penalty[0])
    errors = [np.abs(one.held_out - labels).mean(axis=0) for one in (solved, constant)]
    assert (errors[0] <= errors[1]).all() and errors[0][0] < 0.8 * errors[1][0]
    # Measured on something else, the whole may be worse though each part is better: then it is not.
    unfair = (lambda codes: np.abs(codes - constant.held_out[0]) ** 3, np.zeros_like(labels))
    solved = ridge.fit(blocks, labels, patients, penalties=ridge.OWN, own=True, measured=unfair)
    assert np.isinf(solved.penalty).all()
    np.testing.assert_allclose(solved.predict(blocks), np.tile(labels.mean(0), (40, 1)))


def test_blocks_weigh_as_told(eyes):
    blocks, labels, patients = eyes
    how = {"penalties": np.array([0.3])}
    solved = ridge.fit(blocks, labels, patients, shares=[0.8, 0.2], **how)
    one, two = (ridge.fit([x], labels, patients, **how).predict([x]) for x in blocks)
    np.testing.assert_allclose(solved.predict(blocks), 0.8 * one + 0.2 * two, rtol=1e-5)


def test_missing_labels_are_refused(eyes):
    blocks, labels, patients = eyes
    labels[3, 0] = np.nan
    with pytest.raises(ValueError, match="finite labels"):
        ridge.fit(blocks, labels, patients)


def test_one_patient_is_refused(eyes):
    blocks, labels, patients = eyes
    with pytest.raises(ValueError, match=r"40 eyes of 1 patients .* expected 2 patients or more"):
        ridge.fit(blocks, labels, np.full_like(patients, "p0"))


def test_some_columns_at_a_time_give_the_same(eyes, monkeypatch):
    blocks, labels, patients = eyes
    mirrored = ([x[:, ::-1] for x in blocks], labels[:, ::-1])
    whole = ridge.fit(blocks, labels, patients, mirrored)
    monkeypatch.setattr(ridge, "COLUMNS", 7)
    parts = ridge.fit(blocks, labels, patients, mirrored)
    np.testing.assert_allclose(parts.predict(blocks), whole.predict(blocks), rtol=1e-6)
    np.testing.assert_allclose(parts.errors, whole.errors, rtol=1e-9)


def test_features_are_never_copied_whole_and_the_estimate_holds(rng, monkeypatch):
    monkeypatch.setattr(ridge, "COLUMNS", 500)
    n, widths, k = 30, [20000, 30000], 3
    blocks, copies = ([rng.normal(size=(n, d)).astype(np.float32) for d in widths] for _ in "ab")
    features = sum(x.nbytes for x in (*blocks, *copies))
    labels, patients = rng.normal(size=(n, k)), np.array([f"p{i}" for i in range(n)])
    tracemalloc.start()
    try:
        ridge.fit(blocks, labels, patients, (copies, labels))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.25 * features
    assert 0.95 < ridge.bytes_needed(n, widths, k) / (features + peak) < 1.2


@pytest.fixture
def data():
    """Return 24 drawn eyes with quadrant means alone, and whose they are."""
    prepared = make_dataset("quadrants", 24, colour=True, quadrants=range(24))
    rows = np.arange(len(prepared))
    return batches.load(prepared, rows, 112, CPU), prepared.samples["patient_id"].tolist()


def test_a_readout_predicts_profiles_with_the_quadrants_of_its_regression(data):
    eyes, patients = data
    backbone = build("phantom_depth")
    model, solved = fit([backbone], eyes, patients)
    images = eyes.images.float() / 255
    with torch.inference_mode():
        profiles = model(images).numpy()
        blocks = [block.numpy() for block in tokens(backbone, images)]
    expected = solved.predict(blocks)
    np.testing.assert_allclose(quadrant_means(profiles), expected, atol=0.01)
    # A phantom's double hump within quadrants: not four flat steps.
    assert np.abs(np.diff(profiles, axis=1)).max() < 8
    assert profiles[:, QUADRANTS["S"]].std(axis=1).min() > 3


@pytest.mark.parametrize("labels", ["quadrants", "profile"])
def test_the_error_within_the_training_eyes_is_of_quadrants_whatever_the_labels(labels):
    rows = range(24) if labels == "quadrants" else ()
    eyes = make_dataset(labels, 24, colour=True, quadrants=rows)
    patients = eyes.samples["patient_id"].to_numpy()
    data = batches.load(eyes, np.arange(24), 112, CPU)
    model, solved = fit([build("phantom_depth")], data, patients)
    row = progress(model, solved, data, 1.0).history[0]
    code, truth = encode(data), data.labels.numpy()
    found, told = code.measure(solved.held_out), truth
    if labels == "profile":
        assert row["val_mae"] == pytest.approx(np.abs(found - truth).mean(), rel=1e-6)
        found, told = quadrant_means(found).to_numpy(), quadrant_means(truth).to_numpy()
    else:
        assert row["val_mae"] == row["val_quadrant_mae"]
    assert row["val_quadrant_mae"] == pytest.approx(np.abs(found - told).mean(), rel=1e-5)


def test_it_learns_and_leaves_the_backbone_alone(data):
    eyes, patients = data
    backbone = build("phantom_depth")
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    model, _ = fit([backbone], eyes, patients)
    assert all(torch.equal(before[k], v) for k, v in model.backbones[0].state_dict().items())
    assert not any(p.requires_grad for p in model.parameters())
    with torch.inference_mode():
        predicted = quadrant_means(model(eyes.images.float() / 255).numpy()).to_numpy()
    truth = eyes.quadrants.numpy()
    assert np.abs(predicted - truth).mean() < 0.8 * np.abs(truth - truth.mean(0)).mean()


def test_upside_down_swaps_superior_and_inferior(data):
    code = encode(data[0])
    np.testing.assert_array_equal(code.mirrored, code.codes[:, SWAPPED])
    turned = quadrant_means(flip_profile(np.where(QUADRANTS["S"], 100.0, 50.0))).iloc[0]
    assert turned["I"] > 99 and turned["S"] < 51  # all but the arc's one closed end


def test_profiles_are_coded_by_components(data):
    eyes = data[0]
    profiles = torch.randn(len(eyes), 3) @ torch.randn(3, 360) + 90
    code = encode(batches.Batches(eyes.images, profiles, CPU))
    np.testing.assert_allclose(code.codes @ code.decoder + code.offset, profiles, atol=1e-3)
    turned = flip_profile(profiles.numpy().astype(float))
    known = (turned - code.offset) @ code.decoder.T
    np.testing.assert_allclose(code.mirrored, known, atol=1e-3)


def test_incomplete_and_oversized_labels_are_refused(data, monkeypatch):
    eyes, patients = data
    monkeypatch.setattr("rnfl.training.readout.LARGEST", 1000)
    with pytest.raises(ValueError, match=r"24 eyes would take .* choose a smaller backbone"):
        fit([build("phantom_scratch", pretrained=False)], eyes, patients)
    eyes.quadrants[2, 1] = torch.nan
    with pytest.raises(ValueError, match="complete labels"):
        fit([build("phantom_scratch", pretrained=False)], eyes, patients)


def test_eyes_with_a_missing_angle_are_left_out_and_the_command_counts_them(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    made = make_dataset("made", n=16)
    profiles = np.array(made.profiles)
    profiles[[1, 9], 77] = np.nan  # one that trains, one that validates
    fields = {"dataset": "made", "modality": "SLO", "phantom": True, "settings": {}}
    datasets.write("gaps", np.array(made.images), profiles, made.samples, fields)
    done = CliRunner().invoke(
        cli.app, ["train", "gaps", "phantom_scratch", "--protocol", "readout"]
    )
    assert done.exit_code == 0, done.output
    counted = "(10 eyes train, 0 validate, 4 test, 2 lack complete labels; inner cross-validation"
    assert counted in done.stdout


def test_large_grids_are_averaged_to_few_cells():
    backbone = build("timm:vit_tiny_patch16_224@224", pretrained=False)
    blocks = tokens(backbone, torch.rand(2, 3, 224, 224))
    assert len(blocks) == 12
    assert blocks[0].shape == (2, backbone.embed_dim * 7 * 7)
    model = Readout([backbone], 4)
    assert model(torch.rand(2, 3, 50, 50)).shape == (2, 360)


def test_every_resolution_of_a_convolutional_network_is_brought_to_its_last_grid(data):
    eyes, patients = data
    torch.manual_seed(0)
    backbone = build("timm:tf_efficientnet_lite0@96", pretrained=False).eval()
    images = eyes.images.float() / 255
    with torch.inference_mode():
        blocks = tokens(backbone, images)
        whole = backbone.encoder.forward_intermediates(
            backbone.normalise(images), intermediates_only=True
        )
    assert [b.shape[1] for b in blocks] == widths(backbone) == [9 * c for c in backbone.widths]
    corner = whole[1][:, 5, 16:, :8].mean((1, 2))  # of 24 × 24 cells, the last row's first
    torch.testing.assert_close(blocks[1].unflatten(1, (24, 3, 3))[:, 5, 2, 0], corner)
    model, solved = fit([build("phantom_depth"), backbone], eyes, patients)
    with torch.inference_mode():
        both = [b.numpy() for one in model.backbones for b in tokens(one, images)]
        profiles = model(images).numpy()
    np.testing.assert_allclose(quadrant_means(profiles), solved.predict(both), atol=0.01)
    assert not model.mean_1[0, 9 * 16 :].any() and model.mean_1[-1].all()


def test_fields_are_parts_of_the_picture_and_the_same_for_ever():
    at = places(16)
    share = at[:, :, :2].norm(dim=1)
    assert share.min() >= 0.55 and share.max() <= 1 and share[:, 0].max() - share[:, 0].min() > 0.35
    assert at[:, :, 2].abs().max() <= 0.2 and at[:, :, 2].mean(0).abs().max() < 0.02
    torch.testing.assert_close(places(4), at[:4])
    np.testing.assert_allclose(at[0].flatten()[:3], [0.704614, 0.091294, -0.106443], atol=1e-6)
    ramp = torch.linspace(0, 1, 64).expand(2, 3, 64, 64)
    half = torch.tensor([[[0.5, 0, 0.1], [0, 0.5, 0]], [[1.0, 0, 0], [0, 1, 0]]])
    shown = fields(ramp, half)
    assert shown.shape == (4, 3, 64, 64)
    torch.testing.assert_close(shown[1::2], ramp)
    # from a quarter to three quarters, moved to the right by a twentieth of the width
    assert shown[2, 0, 5, [0, -1]].tolist() == pytest.approx([0.3, 0.8], abs=0.01)
    beyond = fields(ramp, torch.tensor([[[1.0, 0, 0.2], [0, 1, 0]]]))[0, 0, 0]
    assert beyond[-1] == pytest.approx(0.9, abs=0.02) and beyond.max() > 0.99  # reflected


def test_a_reading_of_fields_is_the_mean_of_their_readings(data, tmp_path):
    eyes, patients = data
    lite = build("timm:tf_efficientnet_lite0@96", pretrained=False)
    backbones = [build("phantom_depth"), lite]
    protocol = protocols.Solved("f", "ridge", fields=3, own_penalties=True, alike=True)
    model, solved = fit(backbones, eyes, patients, protocol=protocol)
    images = eyes.images.float() / 255
    with torch.inference_mode():
        profiles = model(images)
        model.n_fields = 1
        single = [model(fields(images, place[None])) for place in model.places]
    torch.testing.assert_close(profiles, torch.stack(single).mean(0), rtol=1e-4, atol=1e-3)
    expected = solved.fitted
    np.testing.assert_allclose(quadrant_means(profiles.numpy()), expected, atol=0.01)
    # Loaded, it looks at the same fields.
    again = Readout([build("phantom_depth"), lite], 4, 3)
    again.places.zero_()
    again.load_state_dict(model.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(again.eval()(images), profiles, rtol=0, atol=0)


def test_tokens_of_fields_are_computed_once_whatever_the_folds(data, monkeypatch):
    eyes, patients = data
    monkeypatch.setattr(training, "_kept", type(training._kept)())
    shown = []

    def counted(backbone, images):
        shown.append(len(images))
        return tokens(backbone, images)

    monkeypatch.setattr(training, "tokens", counted)
    protocol = protocols.Solved("f", "ridge", fields=2)
    order = torch.arange(len(eyes)).flip(0)
    whole = training._field_features([build("phantom_depth")], eyes, 2)
    assert sum(shown) == 4 * len(eyes)  # each picture and its mirror image, two fields of both
    part = training._field_features([build("phantom_depth")], eyes.select(order[:5]), 2)
    fit([build("phantom_depth")], eyes.select(order), patients[::-1], protocol=protocol)
    assert sum(shown) == 4 * len(eyes)
    for known, found in zip(whole[1], part[1], strict=True):
        np.testing.assert_array_equal(known[order[:5]], found)
    training._field_features([build("phantom_depth")], eyes.select(order[:1]), 3)
    other = build("phantom_depth")
    with torch.no_grad():
        next(other.parameters()).add_(0.01)
    training._field_features([other], eyes.select(order[:1]), 2)
    assert shown[-2:] == [6, 4]  # other fields, another backbone
    monkeypatch.setattr(training, "KEPT", 1)
    training._field_features([other], eyes.select(order[:3]), 2)
    assert len(training._kept) == 1


def test_recorded_fields_are_read_again():
    protocol = protocols.get("fields")
    assert protocols.from_dict(asdict(protocol)) == protocol
    assert protocols.from_dict({"name": "readout", "solver": "ridge"}) == protocols.get("readout")
    with pytest.raises(ValueError, match="fields must be 1 or more, got 0"):
        protocols.Solved("f", "ridge", fields=0)


def test_the_command_trains_a_run_that_loads_with_its_fields(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    make_dataset("made", n=16, colour=True, quadrants=range(16))
    asked = ["train", "made", "phantom_depth", "--protocol", "fields", "--split", "all"]
    done = CliRunner().invoke(cli.app, asked)
    assert done.exit_code == 0, done.output
    (folder,) = (tmp_path / "runs").glob("made-phantom_depth-fields-*")
    loaded = restore.load_model(results.load_run(folder))
    assert loaded.n_fields == 16
    torch.testing.assert_close(loaded.places, places(16), rtol=0, atol=0)
