from dataclasses import replace
from types import SimpleNamespace

import timm
import torch
from pytest import approx, fixture, mark, raises
from torch import nn

from rnfl.models.backbone import Backbone, Stage, build, spec_of
from rnfl.models.regressor import RNFLRegressor
from rnfl.study.ablations import all_but
from rnfl.training import losses, protocols
from rnfl.training.protocols import PROTOCOLS, Adapter, Averaged, Loss, Part, Phase, Protocol, Rates

PATCH_EMBED = ("encoder.cls_token", "encoder.pos_embed", "encoder.patch_embed.")
FREEZING = {
    "naive": (),
    "aggressive": (),
    "gradient_loss": (),
    "structured": (*PATCH_EMBED, *(f"encoder.blocks.{i}." for i in range(3))),
    Protocol("freeze_third", (Phase(part=Part(2 / 3)),)): (
        "encoder.blocks.0.",
        "encoder.blocks.1.",
    ),
    Protocol("freeze_all", (Phase(part=all_but(1)),)): (*PATCH_EMBED, "encoder.blocks."),
    "probe": ("encoder.",),
}


def make_model(**options):
    """The phantom model, with whatever dropout or drop-path a test wants in its encoder."""
    spec = spec_of("phantom_scratch")
    torch.manual_seed(0)
    encoder = timm.create_model(
        spec.timm_name, img_size=112, num_classes=0, global_pool="", **spec.timm_kwargs, **options
    )
    model = RNFLRegressor(Backbone(spec, encoder))
    model.set_targets(torch.normal(90.0, 20.0, (9, 360)))
    return model


@fixture
def batch():
    torch.manual_seed(1)
    return torch.rand(4, 1, 112, 112), torch.normal(90.0, 20.0, (4, 360))


def train_steps(model, protocol, batch, steps=3):
    optimizer = torch.optim.AdamW(protocols.apply(model, protocol, lr_scale=10.0))
    model.train()
    for _ in range(steps):
        losses.combined(model(batch[0]), batch[1], protocol.loss.pearson).backward()
        optimizer.step()
        optimizer.zero_grad()


@mark.parametrize("protocol", FREEZING, ids=lambda p: getattr(p, "name", p))
def test_training_changes_exactly_what_is_not_frozen(protocol, batch):
    model = make_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train_steps(model, protocols.get(protocol), batch)
    frozen = {
        name for name in before if name.removeprefix("backbone.").startswith(FREEZING[protocol])
    }
    same = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert same == frozen
    assert all(p.grad is None for name, p in model.named_parameters() if name in frozen)


def test_blocks_of_a_convolutional_network_freeze_and_decay(batch):
    torch.manual_seed(0)
    model = RNFLRegressor(build("timm:tf_efficientnet_lite0@64", pretrained=False))
    model.set_targets(torch.normal(90.0, 20.0, (9, 360)))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train_steps(model, PROTOCOLS["structured"], batch, steps=1)
    same = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    frozen = tuple(
        f"backbone.encoder.{part}." for part in ("conv_stem", "bn1", "blocks.0", "blocks.1")
    )
    assert same == {name for name in before if name.startswith(frozen)}

    protocol = Protocol("decayed", rates=Rates(1e-4, layer_decay=0.5))
    peak = {id(p): g["peak_lr"] for g in protocols.apply(model, protocol) for p in g["params"]}
    for above, stage in enumerate(reversed(model.backbone.stages)):
        assert {peak[id(p)] for p in stage.parameters} == {1e-4 * 0.5**above}


def test_a_stage_that_a_network_lacks_is_refused():
    model = RNFLRegressor(build("timm:densenet121@64", pretrained=False))
    with raises(ValueError, match=r"no stage 'patch_embed'.*; it has \['block_0'"):
        protocols.apply(model, PROTOCOLS["structured"])


def test_frozen_part_has_no_dropout_and_no_drop_path(batch):
    model = make_model(proj_drop_rate=0.5, pos_drop_rate=0.5, drop_path_rate=0.5)
    outputs = []
    for stage in (2, 5):
        model.backbone.encoder.blocks[stage].register_forward_hook(
            lambda module, args, output: outputs.append(output)
        )
    protocols.apply(model, PROTOCOLS["structured"])
    model.train()
    for _ in range(2):
        model(batch[0])
    first, last, first_again, last_again = outputs
    assert torch.equal(first, first_again)
    assert not torch.equal(last, last_again)
    assert not first.requires_grad and last.requires_grad


@mark.parametrize("name", ["naive", "structured"])
def test_frozen_normalisation_statistics_do_not_move(name, batch):
    model = make_model()
    encoder = model.backbone.encoder
    encoder.patch_embed.norm = norm = nn.BatchNorm1d(49)
    model.backbone = Backbone(model.backbone.spec, encoder)
    train_steps(model, PROTOCOLS[name], batch)
    assert norm.num_batches_tracked.item() == (3 if name == "naive" else 0)
    assert (norm.running_mean == 0).all() == (name == "structured")


def test_frozen_stages_thaw_with_the_next_protocol(batch):
    model = make_model()
    protocols.apply(model, PROTOCOLS["structured"])
    protocols.apply(model, PROTOCOLS["naive"])
    assert all(p.requires_grad for p in model.parameters())
    assert all(module.training for module in model.train().modules())


def test_presets_are_the_papers():
    papers = {n: PROTOCOLS[n] for n in ("naive", "aggressive", "structured", "gradient_loss")}
    rates = {name: (p.rates.encoder, p.rates.head) for name, p in papers.items()}
    assert rates == {
        "naive": (1e-4, 1e-4),
        "aggressive": (5e-5, 1e-4),
        "structured": (5e-5, 1e-4),
        "gradient_loss": (5e-5, 1e-4),
    }
    assert {n: p.loss.pearson for n, p in papers.items() if p.loss.pearson} == {"structured": 10.0}
    gradient = {n: p.loss.gradient for n, p in papers.items() if p.loss.gradient}
    assert gradient == {"gradient_loss": 0.2}
    assert {p.rates.weight_decay for p in papers.values()} == {0.05}
    whole = [n for n, p in papers.items() if p.phases == (Phase(),)]
    assert whole == ["naive", "aggressive", "gradient_loss"]
    assert papers["structured"].phases == (Phase(part=Part(0.5, embedding=False)),)


@mark.parametrize("blocks", [0, 4, 8, 12])
def test_freezing_by_count_is_freezing_by_fraction(blocks):
    numbers = [nn.Parameter(torch.ones(1)) for _ in range(24)]
    stages = [Stage(f"block_{i}", (), (one,)) for i, one in enumerate(numbers)]
    deep = SimpleNamespace(depth=24, stages=stages, encoder=nn.ParameterList(numbers))
    found = protocols.moving(Part(1 - blocks / 24, norm=False), deep)
    assert [bool(stage) for stage in found] == [False] * blocks + [True] * (24 - blocks)


def test_groups_decay_weights_but_not_vectors():
    model = make_model()
    groups = protocols.apply(model, PROTOCOLS["aggressive"], lr_scale=8.0)
    rates = {(g["name"], g["weight_decay"]): g["peak_lr"] for g in groups}
    assert rates == approx(
        {("encoder", 0.05): 4e-4, ("encoder", 0.0): 4e-4, ("head", 0.05): 8e-4, ("head", 0.0): 8e-4}
    )
    assert all((p.ndim > 1) == (g["weight_decay"] > 0) for g in groups for p in g["params"])
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def test_layer_decay_gives_each_stage_its_share_of_the_rate_above():
    model = make_model()
    protocol = Protocol("decayed", rates=Rates(1e-4, layer_decay=0.5))
    peak = {id(p): g["peak_lr"] for g in protocols.apply(model, protocol) for p in g["params"]}
    stages = {
        stage.name: {peak[id(p)] for p in stage.parameters} for stage in model.backbone.stages
    }
    depth = model.backbone.depth
    assert stages["norm"] == {1e-4}
    for i in range(depth):
        assert stages[f"block_{i}"] == {1e-4 * 0.5 ** (depth - i)}
    assert stages["patch_embed"] == {1e-4 * 0.5 ** (depth + 1)}
    assert len(peak) == len(list(model.parameters()))


def test_layer_decay_leaves_frozen_stages_out():
    model = make_model()
    rates = Rates(5e-5, layer_decay=0.5)
    protocol = replace(PROTOCOLS["structured"], name="decayed", rates=rates)
    trained = {id(p) for g in protocols.apply(model, protocol) for p in g["params"]}
    assert trained == {id(p) for p in model.parameters() if p.requires_grad}


def test_learning_rate_warms_up_and_falls_to_the_floor():
    rates = [protocols.learning_rate(step, 80, 5, peak=1e-4) for step in range(80)]
    assert rates[:5] == approx([2e-5, 4e-5, 6e-5, 8e-5, 1e-4])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] == approx(1e-7)


def test_bad_protocols_are_refused():
    with raises(ValueError, match="gradient_loss"):
        protocols.get("gradient")
    with raises(ValueError, match=r"part: blocks must lie in \[0, 1\], got 1\.5"):
        Part(1.5)
    with raises(ValueError, match="layer_decay"):
        Rates(layer_decay=1.2)
    with raises(ValueError, match=r"phases must .* the shares \[0.5, 0.4\] add up to 0.9"):
        Protocol("short", (Phase(0.5), Phase(0.4)))
    with raises(ValueError, match="no l2_start where an adapter moves"):
        Protocol("drawn", (Phase(part=Part(adapter=Adapter())),), Loss(l2_start=0.1))
    with raises(ValueError, match="kind must be one of"):
        Adapter("ia3")
    for text in (lambda: Adapter(targets="attn.qkv"), lambda: Averaged("soup", "run1")):
        with raises(ValueError, match="expected a tuple of names"):
            text()
    with raises(ValueError, match="pairs of a name and a weight"):
        Loss(terms={"huber": 1})
    with raises(ValueError, match="l2_start must be 0 or more"):
        Loss(l2_start=-1)
    with raises(ValueError, match="phases are a tuple"):
        Protocol("one", Phase())
    with raises(ValueError, match="expected a name"):
        protocols.get(3)
    with raises(ValueError, match="two different runs"):
        Averaged("soup", ("one", "one"))
    with raises(ValueError, match=r"phases of .*: 3 epochs give one of them none"):
        protocols.starts(PROTOCOLS["gradual"], 3)
