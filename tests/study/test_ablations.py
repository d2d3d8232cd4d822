"""Ablations change one hyperparameter, and a setting that is a preset is that preset's run."""

from dataclasses import asdict

from rnfl.study import ablations, presets
from rnfl.training.protocols import PROTOCOLS, Loss, Part, Phase, Rates


def changed(protocol):
    """Return the fields in which a protocol differs from aggressive."""
    base = asdict(PROTOCOLS["aggressive"])
    return {k: v for k, v in asdict(protocol).items() if v != base[k] and k != "name"}


def test_shared_cells_are_presets():
    assert ablations.freezing([0]) == [PROTOCOLS["aggressive"]]
    assert ablations.losses([0], [0, 0.2]) == [PROTOCOLS["aggressive"], PROTOCOLS["gradient_loss"]]
    rates = ablations.learning_rates([5e-5, 1e-4])
    assert rates == [PROTOCOLS["aggressive"], PROTOCOLS["naive"]]


def test_each_ablation_turns_its_dial_alone():
    _, quarter = ablations.freezing([0, 0.25])
    assert changed(quarter) == {"phases": (asdict(Phase(part=Part(0.75, embedding=False))),)}
    pearson, gradient = ablations.losses([30], [0.05])
    assert changed(pearson) == {"loss": asdict(Loss(pearson=30))}
    assert changed(gradient) == {"loss": asdict(Loss(gradient=0.05))}
    (slow,) = ablations.learning_rates([1e-6], [0.75])
    assert changed(slow) == {"rates": asdict(Rates(1e-6, layer_decay=0.75))}


def test_names_tell_the_settings_apart():
    study = presets.get("paper")
    protocols = {config.protocol for config in study.configs_all()}
    assert len({protocol.name for protocol in protocols}) == len(protocols)


def test_every_experiment_shares_its_cells_with_table1():
    for name in ("smoke", "phantom", "reference", "paper"):
        study = presets.get(name)
        every = study.configs_all()
        assert len(set(every)) == len(every)
        for part in (study.configs_freezing(), study.configs_loss(), study.configs_learning_rate()):
            assert set(part) <= set(every)
            assert any(config.protocol == PROTOCOLS["aggressive"] for config in part)
