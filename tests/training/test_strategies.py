"""What moves, when: every preset on every family of backbones, adapters, and phases."""

import re
from dataclasses import asdict, replace

import pandas as pd
import pytest
import timm
import torch
from pytest import fixture, mark, raises
from torch import nn
from training_data import make_dataset, silent

import rnfl
from rnfl.models import adapters
from rnfl.models.backbone import Backbone
from rnfl.models.registry import BackboneSpec
from rnfl.models.regressor import RNFLRegressor
from rnfl.runs import results
from rnfl.training import finetuning, losses, protocols
from rnfl.training.config import RunConfig
from rnfl.training.protocols import (
    PROTOCOLS,
    Adapter,
    Loss,
    Part,
    Phase,
    Protocol,
    Rates,
)
from rnfl.training.state import Progress
from rnfl.training.step import Step

SMALL = {"depth": 4, "embed_dim": 48, "num_heads": 3}
FAMILIES = {
    "ViT": ("vit_tiny_patch16_224", SMALL),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", SMALL | {"patch_size": 16}),
    "DINOv3, rotary positions": ("vit_small_patch16_dinov3", SMALL),
    "DINOv3 with a bias of qkv": ("vit_small_patch16_dinov3_qkvb", SMALL),
    "EVA-02": ("eva02_tiny_patch14_224", SMALL | {"patch_size": 16}),
    "EVA-02, separate q, k, v": ("eva02_base_patch14_224", SMALL | {"patch_size": 16}),
    "BEiT": ("beit_base_patch16_224", SMALL),
    "convolutional": ("tf_efficientnet_lite0", {}),
}
GRADIENT = [name for name, one in PROTOCOLS.items() if isinstance(one, Protocol)]
#: What a preset may change of a transformer with four blocks, by the names of timm.
MOVES = {
    "structured": r"blocks\.[23]\.|norm\.",
    "probe": r"(?!)",
    "last_quarter": r"blocks\.3\.|norm\.",
    "bitfit": r".*bias$",
    "norms": r"(.*\.)?\w*norm\w*\.(weight|bias)$",
    "lora": r"blocks\.\d\.attn\.(qkv|[qkv]_proj)\.weight$",
    "dora": r"blocks\.\d\.attn\.(qkv|[qkv]_proj)\.weight$",
}
CONVOLUTIONAL = {
    "structured": r"blocks\.[3-9]\.|blocks\.2\.|conv_head|bn2",
    "probe": r"(?!)",
    "last_quarter": r"blocks\.[56]\.|conv_head|bn2",
    "bitfit": r".*bias$",
    "norms": r"(.*\.)?bn\d\.(weight|bias)$",
}


def make_model(family, seed=0):
    name, options = FAMILIES[family]
    torch.manual_seed(seed)
    size = {} if family == "convolutional" else {"img_size": 64}
    encoder = timm.create_model(name, num_classes=0, global_pool="", **size, **options)
    model = RNFLRegressor(
        Backbone(BackboneSpec(family, name, None, 64, timm_kwargs=options), encoder)
    )
    model.set_targets(torch.normal(90.0, 20.0, (9, 360)))
    # Biases and scales that start at exactly 0 or tiny would hide what does not learn.
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and "head" not in name:
            parameter.data.add_(torch.rand_like(parameter) * 0.1)
    return model


@fixture(scope="module")
def batch():
    torch.manual_seed(1)
    return torch.rand(3, 1, 64, 64), torch.normal(90.0, 20.0, (3, 360)), None


def merged(model):
    adapters.merge(model)
    return {name: p.detach().clone() for name, p in model.backbone.encoder.named_parameters()}


def stepped(model, protocol, batch, steps=2):
    """Take some steps in every phase; return the names that had a gradient in any."""
    optimizer = torch.optim.AdamW(protocols.apply(model, protocol, lr_scale=20.0))
    config = RunConfig("eyes", "any", protocol, epochs=8, augment=None)
    learnt = set()
    for phase in protocol.phases:
        protocols.enter(model.backbone, phase)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        take, model.training = Step(model, optimizer, config, "fp32"), True
        for number in range(steps):
            take(batch, 3, number)  # refuses what has no gradient
        moves = {n for n, p in model.named_parameters() if p.requires_grad}
        changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        assert changed == moves
        learnt |= moves
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert {name for name, p in model.named_parameters() if id(p) in held} == learnt


@mark.parametrize("family", FAMILIES)
@mark.parametrize("name", GRADIENT)
def test_exactly_what_a_preset_names_changes_and_everything_that_moves_learns(name, family, batch):
    model, protocol = make_model(family), PROTOCOLS[name]
    before = {n: p.detach().clone() for n, p in model.backbone.encoder.named_parameters()}
    if family == "convolutional" and protocol.adapter:
        with raises(ValueError, match=r"adapter on 'attn.qkv' would train nothing: block_0 of "):
            protocols.apply(model, protocol)
        return
    stepped(model, protocol, batch)
    after = merged(model)
    changed = {n for n, value in after.items() if not torch.equal(value, before[n])}
    table = CONVOLUTIONAL if family == "convolutional" else MOVES
    assert changed == {n for n in before if re.match(table.get(name, ".*"), n)}
    assert changed or name == "probe"


@mark.parametrize("kind", ["lora", "dora"])
@mark.parametrize("family", [name for name in FAMILIES if name != "convolutional"])
def test_an_adapter_starts_as_nothing_and_merges_into_what_was_trained(family, kind, batch):
    model = make_model(family).eval()
    with torch.no_grad():
        plain = model(batch[0])
    protocol = replace(PROTOCOLS[kind], name="strong", rates=Rates(encoder=5e-3))
    groups = protocols.apply(model, protocol)
    with torch.no_grad():
        assert torch.equal(model(batch[0]), plain)
    optimizer = torch.optim.AdamW(groups)
    for _ in range(3):
        losses.combined(model(batch[0]), batch[1]).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        trained = model(batch[0])
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(batch[0])
        names = set(make_model(family).state_dict())
        adapters.merge(model)
        assert set(model.state_dict()) == names
        torch.testing.assert_close(model(batch[0]), trained, rtol=1e-5, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(model(batch[0]), rounded, rtol=1e-2, atol=1e-2)
    assert (trained - plain).abs().max() > 0.1


@mark.parametrize("kind", ["lora", "dora"])
@mark.parametrize("family", ["ViT", "DINOv2 with registers", "DINOv3, rotary positions"])
def test_adapters_are_those_of_peft(family, kind, batch):
    """Ten steps from the same start; on the architectures where peft reaches the weight."""
    import peft  # here: it takes seconds

    ours, theirs = make_model(family), make_model(family)
    adapter = Adapter(kind, rank=4, alpha=8.0)
    protocol = Protocol("tested", (Phase(part=Part(adapter=adapter)),), rates=Rates(1e-2, head=0))
    groups = protocols.apply(ours, protocol)
    asked = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["qkv"], use_dora=kind == "dora")
    peft.inject_adapter_in_model(asked, theirs.backbone.encoder)
    for module, other in zip(
        (m for m in ours.modules() if isinstance(m, adapters.LowRank)),
        (m for m in theirs.modules() if hasattr(m, "lora_A")),
        strict=True,
    ):
        other.lora_A["default"].weight.data.copy_(module.a)
    for parameter in (*theirs.projection.parameters(), *theirs.head.parameters()):
        parameter.requires_grad_(False)
    mine = torch.optim.AdamW([g for g in groups if g["name"] == "encoder"], weight_decay=0.0)
    for group in mine.param_groups:
        group["weight_decay"] = 0.0
    other = torch.optim.AdamW(
        [p for p in theirs.parameters() if p.requires_grad], 1e-2, weight_decay=0
    )
    for _ in range(10):
        for model, optimizer in ((ours, mine), (theirs, other)):
            model.eval()  # the head's dropout off
            losses.combined(model(batch[0]), batch[1]).backward()
            optimizer.step()
            model.zero_grad()
    with torch.no_grad():
        torch.testing.assert_close(ours(batch[0]), theirs(batch[0]), rtol=1e-4, atol=1e-3)
        moved = ours(batch[0]) - make_model(family).eval()(batch[0])
        assert moved.abs().max() > 0.1  # a hundred times what they may differ by


def test_the_start_of_an_adapter_is_of_the_seed(batch):
    parts = []
    for seed in (1, 1, 2):
        model = make_model("ViT")
        adapters.attach(model.backbone, Adapter(), 1.0, seed)
        parts.append(torch.cat([p.flatten() for p in adapters.of([model])]))
    assert torch.equal(parts[0], parts[1]) and not torch.equal(parts[0], parts[2])


def test_blocks_that_get_an_adapter_later_start_unlike_those_that_have_one():
    starts = {}
    for shares in ((0.5, 1.0), (1.0,)):
        model = make_model("ViT")
        for share in shares:
            adapters.attach(model.backbone, Adapter(), share, seed=3)
        starts[shares] = [adapters.of([block])[0] for block in model.backbone.encoder.blocks]
    assert all(torch.equal(*pair) for pair in zip(*starts.values(), strict=True))
    assert len({a[0, 0].item() for a in starts[1.0,]}) == 4


def test_row_norms_do_not_decay_and_a_row_of_zeros_stays_one(batch):
    model = make_model("ViT")
    model.backbone.encoder.blocks[0].attn.qkv.weight.data[5] = 0
    groups = protocols.apply(model, PROTOCOLS["dora"])
    norms = {id(m.norm) for m in model.modules() if isinstance(m, adapters.LowRank)}
    decayed = {id(p) for g in groups if g["weight_decay"] for p in g["params"]}
    assert len(norms) == 4 and not norms & decayed
    losses.combined(model(batch[0]), batch[1]).backward()
    assert all(p.grad.isfinite().all() for g in groups for p in g["params"])


def test_an_adapter_that_would_train_nothing_is_refused():
    model = make_model("DINOv3, rotary positions")
    with raises(ValueError, match=r"on 'attn.out' would .*linear layers are \['attn.proj', 'attn"):
        adapters.attach(model.backbone, Adapter(targets=("attn.qkv", "attn.out")), 1.0)
    with raises(ValueError, match=r"rank 99 is none"):
        adapters.attach(make_model("ViT").backbone, Adapter(rank=99), 1.0)
    with raises(ValueError, match=r"0\.05 of the 4 blocks .* are none"):
        protocols.apply(model, Protocol("few", (Phase(part=Part(0.05)),)))


def test_what_no_loss_depends_on_is_refused_at_the_first_step(batch):
    model = make_model("ViT")
    model.backbone.encoder.blocks[3].mlp.unused = nn.Parameter(torch.ones(2))
    model.backbone = Backbone(model.backbone.spec, model.backbone.encoder)
    optimizer = torch.optim.AdamW(protocols.apply(model, PROTOCOLS["last_quarter"]))
    step = Step(model, optimizer, RunConfig("eyes", "any", "last_quarter"), "fp32")
    with raises(
        ValueError, match=r"'last_quarter' lets 1 parameters move .*blocks\.3\.mlp\.unused"
    ):
        step(batch, 3, 0)


def test_the_frozen_prefix_ends_at_the_first_adapter():
    found = []
    for blocks in (1, 0.5, 0.25):
        model = make_model("ViT")
        part = Part(blocks, adapter=Adapter())
        protocols.apply(model, Protocol("some", (Phase(part=part),)))
        model.train()
        found.append(model.backbone.n_prefix)
        still = [block.training for block in model.backbone.encoder.blocks]
        assert still == [i >= 4 - 4 * blocks for i in range(4)]
    assert found == [0, 2, 3]
    protocols.apply(model := make_model("ViT"), PROTOCOLS["probe"])
    assert model.backbone.n_prefix == 4 and not model.backbone.encoder.norm.weight.requires_grad


def test_layer_decay_reaches_adapters():
    model = make_model("ViT")
    protocol = Protocol(
        "d", (Phase(part=Part(adapter=Adapter())),), rates=Rates(1.0, layer_decay=0.5)
    )
    peaks = {id(p): g["peak_lr"] for g in protocols.apply(model, protocol) for p in g["params"]}
    for i, block in enumerate(model.backbone.encoder.blocks):
        assert {peaks[id(p)] for p in adapters.of([block])} == {0.5 ** (4 - i)}


@mark.parametrize("name", PROTOCOLS)
def test_a_recorded_protocol_is_read_again(name):
    assert protocols.from_dict(asdict(PROTOCOLS[name])) == PROTOCOLS[name]


def test_protocols_recorded_before_they_had_phases_are_read():
    flat = {
        "name": "structured", "freeze_patch_embed": True, "freeze_fraction": 0.5,
        "lambda_pearson": 10.0, "lambda_gradient": 0.0, "lr_encoder": 5e-5, "lr_head": 1e-4,
        "layer_decay": 1.0, "weight_decay": 0.05, "solver": "gradient",
    }  # fmt: skip
    assert protocols.from_dict(flat) == PROTOCOLS["structured"]
    assert (
        protocols.from_dict(flat | {"name": "readout", "solver": "ridge"}) == PROTOCOLS["readout"]
    )
    whole = flat | {"name": "freeze_100pct", "freeze_fraction": 1.0, "lambda_pearson": 0.0}
    assert protocols.from_dict(whole).phases[0].part == Part(0, embedding=False, norm=True)
    with raises(ValueError, match=r"recorded protocol .*lr_middle"):
        protocols.from_dict(flat | {"lr_middle": 1.0})


# ------------------------------------------------------------------------------------- phases


QUICK = {"epochs": 4, "warmup_epochs": 1, "batch_size": 4, "lr_scale": 5.0}
PHASED = {
    "gradual": PROTOCOLS["gradual"],
    "lp_ft": PROTOCOLS["lp_ft"],
    "lora": PROTOCOLS["lora"],
    "average": Protocol("average", (Phase(0.5, Part(0.5, False)), Phase(0.5)), ema=0.9),
    "drawn": Protocol("drawn", loss=Loss(l2_start=0.5)),
}


@fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@mark.parametrize("name", PHASED)
def test_killed_in_any_phase_a_run_ends_with_the_same_bits(name, tmp_path, monkeypatch, one_thread):
    config = RunConfig(
        "tiny-slo", "phantom_scratch", PHASED[name], checkpoint_seconds=0.0, patience=9, **QUICK
    )
    supervised, per_epoch = losses.supervised, 3
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "undisturbed"))
    make_dataset(n=24)
    expected = rnfl.run(config, silent)
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "interrupted"))
    make_dataset(n=24)
    # In the middle of each epoch, and at the last step before each new phase.
    for stop in (1, 1, per_epoch, per_epoch - 1, 1):
        calls = iter(range(1000))

        def fails(*args, stop=stop, calls=calls):
            if next(calls) == stop:
                raise ZeroDivisionError
            return supervised(*args)

        with monkeypatch.context() as patch, raises(ZeroDivisionError):
            patch.setattr(losses, "supervised", fails)
            rnfl.run(config, silent)
    found = rnfl.run(config, silent)
    assert found.run_id == expected.run_id
    assert found.model_path.read_bytes() == expected.model_path.read_bytes()
    columns = ["epoch", "step", "train_loss", "val_mae", "lr_encoder", "lr_head"]
    pd.testing.assert_frame_equal(found.history[columns], expected.history[columns])
    pd.testing.assert_frame_equal(found.predictions, expected.predictions)


def test_phases_move_in_turn_and_the_best_epoch_may_be_of_any(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    make_dataset(n=24)
    maes, seen = iter([9.0, 5.0, 7.0, 8.0]), []

    def validation_error(model, val, precision):
        moving = {n.split(".")[2] + n.split(".")[3] for n, p in model.named_parameters()
                  if p.requires_grad and "blocks" in n}  # fmt: skip
        seen.append((moving, {k: v.clone() for k, v in model.state_dict().items()}))
        return next(maes)

    monkeypatch.setattr(finetuning, "validation_error", validation_error)
    config = RunConfig("tiny-slo", "phantom_scratch", "gradual", patience=1, **QUICK)
    run = rnfl.run(config, silent)
    assert [len(moving) for moving, _ in seen] == [0, 2, 4, 6]
    assert run.summary["best_epoch"] == 1 and run.summary["n_epochs"] == 4
    kept = rnfl.load_model(run).state_dict()
    assert all(torch.equal(kept[name], value) for name, value in seen[1][1].items())
    assert list(run.history["lr_encoder"] > 0) == [False, True, True, True]
    assert run.summary["n_trainable_backbone"] == 1_294_848


def test_patience_counts_in_the_last_phase_alone():
    rows = [{"epoch": i, "val_mae": mae} for i, mae in enumerate([1.0, 2.0, 2.0, 2.0])]
    progress = Progress(epoch=4, history=rows)
    assert progress.is_over(epochs=9, patience=3)
    assert not progress.is_over(epochs=9, patience=3, since=2)
    assert progress.is_over(epochs=9, patience=2, since=2)


def test_schedules_begin_anew_with_each_phase_where_rates_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    make_dataset(n=24)
    config = RunConfig("tiny-slo", "phantom_scratch", "lp_ft", patience=9, **QUICK)
    rates = list(rnfl.run(config, silent).history["lr_head"])
    assert rates[0] == rates[2] == pytest.approx(5e-4) and rates[1] == rates[3] < 1e-6
    one = replace(config, protocol=replace(PROTOCOLS["lp_ft"], name="one", rates=Rates()))
    rates = list(rnfl.run(one, silent).history["lr_head"])
    assert rates[0] > rates[1] > rates[2] > rates[3]


def test_too_few_epochs_for_the_phases_are_refused():
    with raises(ValueError, match=r"'gradual' has phases of .*: 2 epochs give one of them none"):
        RunConfig("eyes", "phantom_scratch", "gradual", epochs=2, warmup_epochs=0)


def test_an_average_of_weights_is_the_one_of_a_loop_by_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    make_dataset(n=24)
    states, take = [], finetuning.Step.__call__

    def watched(self, *args):
        loss = take(self, *args)
        states.append({k: v.detach().clone() for k, v in self.model.state_dict().items()})
        return loss

    monkeypatch.setattr(finetuning.Step, "__call__", watched)
    protocol = Protocol("average", ema=0.5)
    config = RunConfig(
        "tiny-slo", "phantom_scratch", protocol, epochs=1, warmup_epochs=0, batch_size=4
    )
    run = rnfl.run(config, silent)
    torch.manual_seed(config.seed)
    from rnfl.runs import restore

    model = restore.untrained(config, None)
    model.target_mean, model.target_sd = states[0]["target_mean"], states[0]["target_sd"]
    average = {k: v.double() for k, v in model.state_dict().items()}
    for number, state in enumerate(states):
        decay = min(0.5, (1 + number) / (10 + number))
        average = {k: decay * v + (1 - decay) * state[k].double() for k, v in average.items()}
    kept = rnfl.load_model(run).state_dict()
    for name, value in average.items():
        torch.testing.assert_close(kept[name].double(), value, rtol=1e-5, atol=1e-6)


def test_l2_sp_draws_the_backbone_to_its_start_and_nothing_else(batch):
    """One step of SGD from a moved backbone, against the gradient written out."""
    moved = {}
    for weight in (0.0, 0.25):
        model, protocol = make_model("ViT"), Protocol("drawn", loss=Loss(l2_start=weight))
        groups = protocols.apply(model, protocol)
        encoder = [p for g in groups if g["name"] == "encoder" for p in g["params"]]
        starts = [(p, p.detach() - 0.5) for p in encoder]
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        config = RunConfig("eyes", "any", protocol, augment=None, clip=1e9)
        Step(model, optimizer, config, "fp32", drawn_to=starts)(batch, 3, 0)
        moved[weight] = {n: p.detach().clone() for n, p in model.named_parameters()}
    for name, value in moved[0.25].items():
        drawn = 0.25 * 0.5 if name.startswith("backbone.") else 0.0
        torch.testing.assert_close(value, moved[0.0][name] - drawn, rtol=1e-4, atol=1e-5)


def test_the_scale_of_the_output_is_a_field(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    make_dataset(n=24)
    config = RunConfig("tiny-slo", "phantom_scratch", "naive", **QUICK | {"epochs": 1})
    runs = {scale: rnfl.run(replace(config, output_scale=scale), silent)
            for scale in ("standardised", "raw")}  # fmt: skip
    scales = {name: (float((m := rnfl.load_model(run)).target_mean), float(m.target_sd))
              for name, run in runs.items()}  # fmt: skip
    assert scales["raw"] == (0.0, 1.0) and scales["standardised"][0] > 50
    assert runs["raw"].summary["best_val_mae"] > 2 * runs["standardised"].summary["best_val_mae"]
    assert results.load_run(runs["raw"].run_id).config.output_scale == "raw"
    with raises(ValueError, match="output_scale 'mm'"):
        replace(config, output_scale="mm")
