from dataclasses import replace

import torch
from pytest import approx, raises

from rnfl.models import backbone
from rnfl.models.regressor import RNFLRegressor
from rnfl.training import finetuning, losses, state
from rnfl.training.config import RunConfig

CPU = torch.device("cpu")
CONFIG = RunConfig(
    "tiny-slo", "phantom_scratch", "naive",
    epochs=3, warmup_epochs=1, batch_size=4, lr_scale=5.0, patience=3,
)  # fmt: skip


def fit(data, folder, config=CONFIG, protocol="naive", **options):
    torch.manual_seed(config.seed)
    model = RNFLRegressor(backbone.build("phantom_scratch"), **options)
    model.set_targets(data[0].labels)
    rows = []
    config = replace(config, protocol=protocol)
    progress = finetuning.fit(model, *data, config, folder, report=rows.append)
    assert rows == progress.history[len(progress.history) - len(rows) :]
    return model, progress


def same(first, second):
    second = second.state_dict()
    return all(torch.equal(value, second[key]) for key, value in first.state_dict().items())


def test_eight_eyes_can_be_overfitted(data, tmp_path):
    eight = data[0].select(torch.arange(8))
    config = replace(CONFIG, epochs=30, batch_size=8, lr_scale=10.0, augment=None, patience=30)
    _, progress = fit([eight, eight], tmp_path, config, dropout=0.0)
    assert progress.best_row["val_mae"] < 3.0


def test_same_seed_same_weights_and_other_seed_other_weights(data, tmp_path):
    first, _ = fit(data, tmp_path / "a")
    torch.rand(3)
    assert same(first, fit(data, tmp_path / "b")[0])
    assert not same(first, fit(data, tmp_path / "c", replace(CONFIG, seed=43))[0])


def test_training_leaves_the_global_random_state_alone(data, tmp_path):
    torch.manual_seed(CONFIG.seed)
    backbone.build("phantom_scratch")
    model = RNFLRegressor(backbone.build("phantom_scratch"))
    state = torch.get_rng_state()
    model.set_targets(data[0].profiles)
    finetuning.fit(model, *data, CONFIG, tmp_path, report=print)
    assert torch.equal(state, torch.get_rng_state())


def test_history_has_one_row_per_epoch_with_its_rates(data, tmp_path):
    _, progress = fit(data, tmp_path, replace(CONFIG, lr_scale=2.0), "aggressive")
    assert [row["epoch"] for row in progress.history] == [0, 1, 2]
    assert [row["step"] for row in progress.history] == [3, 6, 9]
    assert progress.history[0]["lr_encoder"] == approx(1e-4)
    assert progress.history[0]["lr_head"] == approx(2e-4)
    assert progress.history[-1]["lr_head"] == approx(1e-7)


def test_small_batches_add_up_to_the_effective_one(data, tmp_path):
    config = replace(CONFIG, epochs=1, warmup_epochs=0, augment=None)
    whole, _ = fit(data, tmp_path / "whole", config, dropout=0.0)
    parts, _ = fit(data, tmp_path / "parts", replace(config, micro_batch=1), dropout=0.0)
    start = backbone.build("phantom_scratch")
    for (name, a), b in zip(whole.named_parameters(), parts.parameters(), strict=True):
        assert (a - b).abs().max() < 2e-4, name
    assert not same(whole.backbone, start)


def test_a_compiled_model_is_the_same_model(data, tmp_path, monkeypatch):
    compiled, original = [], torch.compile

    def counted(model):
        compiled.append(model)
        return original(model, backend="eager")

    monkeypatch.setattr(torch, "compile", counted)
    plain, _ = fit(data, tmp_path / "plain")
    assert not compiled  # on a CPU it does not pay
    model, progress = fit(data, tmp_path / "compiled", replace(CONFIG, compile=True))
    assert compiled == [model] and same(plain, model)
    assert set(progress.best) == set(plain.state_dict())


def test_frozen_weights_are_not_written_again_and_again(data, tmp_path):
    model, progress = fit(data, tmp_path, protocol="structured")
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["model"]
    frozen = {name for name, one in model.named_parameters() if not one.requires_grad}
    assert frozen and kept.keys() == set(model.state_dict()) - frozen
    assert progress.best.keys() == kept.keys()
    again, _ = fit(data, tmp_path, protocol="structured")
    assert same(model, again)
    other = {k: v for k, v in kept.items() if "block" not in k}
    with raises(ValueError, match="not of this model"):
        state.restore(
            model, torch.optim.SGD(p for p in model.parameters() if p.requires_grad), other
        )


def test_stops_early_and_keeps_the_best_weights(data, tmp_path, monkeypatch):
    maes = iter([9.0, 5.0, 7.0, 6.0, 5.0, 1.0])
    seen = []

    def validation_error(model, val, precision):
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        return next(maes)

    monkeypatch.setattr(finetuning, "validation_error", validation_error)
    model, progress = fit(data, tmp_path, replace(CONFIG, epochs=10))
    assert len(progress.history) == 5 and progress.best_row["epoch"] == 1
    assert all(torch.equal(value, seen[1][key]) for key, value in model.state_dict().items())
    model, again = fit(data, tmp_path, replace(CONFIG, epochs=10))
    assert again.history == progress.history


def test_divergence_is_an_error_that_keeps_the_checkpoint(data, tmp_path, monkeypatch):
    def diverge(prediction, target, *weights):
        if (tmp_path / "checkpoint.pt").exists():
            return prediction.sum() * torch.nan
        return losses.l1(prediction, target)

    monkeypatch.setattr(losses, "combined", diverge)
    with raises(FloatingPointError, match=r"tiny-slo-phantom_scratch-naive-s42.*epoch 1.*lr_scale"):
        fit(data, tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["progress"]["epoch"] == 1
    assert all(value.isfinite().all() for value in state["model"].values())


def test_divergence_before_the_first_checkpoint_promises_none(data, tmp_path, monkeypatch):
    monkeypatch.setattr(losses, "combined", lambda prediction, *args: prediction.sum() * torch.nan)
    with raises(FloatingPointError, match=r"nan in epoch 0, step 3; no checkpoint was written yet"):
        fit(data, tmp_path)
    assert not list(tmp_path.iterdir())


def test_missing_labels_do_not_reach_the_loss(data, tmp_path):
    train_set, val = data
    profiles = train_set.profiles.clone()
    profiles[::2, :100] = torch.nan
    profiles[1] = torch.nan
    _, progress = fit([replace(train_set, profiles=profiles), val], tmp_path, protocol="structured")
    assert all(torch.isfinite(torch.tensor(row["train_loss"])) for row in progress.history)
