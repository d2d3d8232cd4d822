"""Which runs notebooks 13 to 15 ask for: rates chosen on validation, the seeds of the preset."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from rnfl.study import presets, strategies

STUDY = replace(
    presets.get("phantom"),
    ablation_seeds=(42, 43, 44),
    strategy_gaps=(1.0, 0.5),
    rate_factors=(0.5, 1.0, 2.0),
    lengths=(8, 24),
)


@pytest.fixture
def asked(monkeypatch):
    """Return the lists of runs asked for; a run errs by its rate's distance from 4 or 16."""
    lists = []

    def run_grid(configs, engine):
        lists.append(list(configs))
        best = {"lora": 16.0}
        return [
            SimpleNamespace(
                config=c, summary={"best_val_mae": abs(c.lr_scale - best.get(c.protocol.name, 4.0))}
            )
            for c in configs
        ]

    monkeypatch.setattr(strategies, "run_grid", run_grid)
    return lists


def test_each_strategy_takes_the_rate_that_validates_best_at_the_first_seed(asked):
    runs, rates = strategies.tried(STUDY, ("aggressive", "lora"), STUDY.slo)
    first, kept = asked
    assert {c.seed for c in first} == {42} and len(first) == 6
    assert [(c.protocol.name, c.seed, c.lr_scale) for c in kept] == [
        *(("aggressive", seed, 4.0) for seed in STUDY.ablation_seeds),
        *(("lora", seed, 16.0) for seed in STUDY.ablation_seeds),
    ]
    assert len(runs) == 6
    chosen = rates[rates["chosen"]].set_index("protocol")["factor"]
    assert chosen.to_dict() == {"aggressive": 0.5, "lora": 2.0} and len(rates) == 6


def test_a_choice_is_taken_over_to_another_dataset(asked):
    _, rates = strategies.tried(STUDY, ("aggressive", "lora"), STUDY.slo)
    asked.clear()
    _, again = strategies.tried(STUDY, ("aggressive", "lora"), "phantom-slo-1200-gap0.5", rates)
    assert [len(configs) for configs in asked] == [2, 6]  # nothing is tried
    assert {c.lr_scale for c in asked[1] if c.protocol.name == "lora"} == {16.0}
    assert again["chosen"].all()


def test_a_readout_has_no_rate_and_is_tried_once(asked):
    strategies.tried(STUDY, ("readout",), STUDY.slo)
    assert [len(configs) for configs in asked] == [1, 3]


def test_the_factorial_has_every_cell_once_and_no_early_stopping():
    configs = strategies.scales(STUDY)
    assert len(set(configs)) == len(configs) == 2 * 2 * 2 * 3
    assert all(c.patience >= c.epochs for c in configs)
    table = strategies.scaled_table([SimpleNamespace(run_id=c.slug, config=c) for c in configs])
    assert len(table.drop(columns="run_id").drop_duplicates()) == len(configs)
    # What Table 1 has trained already is the same run.
    assert STUDY.config(STUDY.featured, "aggressive", 42) in configs


def test_a_shorter_study_is_a_part_of_the_preset():
    short = strategies.shortened(STUDY, n_seeds=1, gaps=[0.5], lengths=[8])
    assert (short.ablation_seeds, short.lengths) == ((42,), (8,))
    assert strategies.datasets(short) == {0.5: "phantom-slo-1200-gap0.5"}
    assert strategies.shortened(STUDY) == STUDY
    with pytest.raises(ValueError, match=r"lengths \{9\}: preset 'phantom' has \(8, 24\)"):
        strategies.shortened(STUDY, lengths=[9])
    with pytest.raises(ValueError, match="n_seeds 4"):
        strategies.shortened(STUDY, n_seeds=4)
