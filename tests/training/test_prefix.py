import os
import signal
from dataclasses import replace

import timm
import torch
from pytest import mark, raises

from rnfl.models import backbone as backbones
from rnfl.models.backbone import Backbone
from rnfl.models.registry import BackboneSpec
from rnfl.models.regressor import RNFLRegressor
from rnfl.training import batches, finetuning, frozen_prefix, memory, protocols
from rnfl.training.config import RunConfig
from rnfl.training.protocols import Adapter, Part, Phase, Protocol
from rnfl.training.signals import Stop

CPU = torch.device("cpu")
CONFIG = RunConfig(
    "tiny-slo", "phantom_scratch", "structured",
    epochs=4, warmup_epochs=1, batch_size=4, lr_scale=5.0, augment=None,
)  # fmt: skip


def freezing(share, name="some"):
    return Protocol(name, (Phase(part=Part(1 - share, False, norm=True)),))


EVERYTHING = freezing(1, "everything")


def new_model(data):
    torch.manual_seed(0)
    model = RNFLRegressor(backbones.build("phantom_cls"))
    model.set_targets(data[0].labels)
    return model


def fit(data, folder, config, protocol):
    folder.mkdir(exist_ok=True)
    model = new_model(data)
    config = replace(config, protocol=protocol)
    progress = finetuning.fit(model, *data, config, folder, report=lambda row: None)
    return model, progress


def frozen_model(name, protocol, **options):
    encoder = timm.create_model(name, num_classes=0, global_pool="", img_size=64, **options)
    backbone = Backbone(BackboneSpec(name, name, None, input_size=64), encoder)
    moving = protocols.moving(protocol.phases[0].part, backbone)
    backbone.let_move(p for stage in moving for p in stage)
    return backbone


@mark.parametrize("fraction", [0, 0.5, 1])
@mark.parametrize(
    "name, options",
    [
        ("vit_tiny_patch16_224", {"depth": 4}),
        ("vit_small_patch14_reg4_dinov2", {"depth": 2, "patch_size": 16}),
        ("vit_small_patch16_dinov3", {"depth": 2}),
        ("vit_small_patch16_rope_mixed_224", {"depth": 2}),
    ],
)
def test_prefix_and_the_rest_are_the_whole(name, options, fraction):
    protocol = freezing(fraction)
    backbone = frozen_model(name, protocol, **options).eval()
    images = torch.rand(3, 1, 64, 64)
    assert backbone.n_prefix == round(fraction * backbone.depth)
    with torch.no_grad():
        assert torch.equal(backbone(backbone.prefix(images)), backbone(images))


LATE = Protocol("late", (Phase(part=Part(0.5, adapter=Adapter())),))
BEHIND = [protocols.get("structured"), EVERYTHING, LATE, protocols.get("gradual")]


@mark.parametrize("protocol", BEHIND, ids=lambda p: p.name)
def test_training_behind_the_prefix_is_the_same_training(data, tmp_path, protocol, monkeypatch):
    config = replace(CONFIG, precision="fp32")
    model, behind = fit(data, tmp_path / "behind", config, protocol)
    monkeypatch.setattr(frozen_prefix, "applies", lambda *args: False)
    expected, through = fit(data, tmp_path / "through", config, protocol)
    for row, other in zip(behind.history, through.history, strict=True):
        for key in ("train_loss", "val_mae"):
            assert abs(row[key] - other[key]) < 1e-3
    start = dict(new_model(data).named_parameters())
    for (name, a), b in zip(model.named_parameters(), expected.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-5), name
        if name in start:  # an adapter is not
            assert a.requires_grad != torch.equal(a, start[name]) or not a.numel(), name


def test_bf16_tokens_are_rounded_and_no_more(data, tmp_path, monkeypatch):
    config = replace(CONFIG, precision="bf16")
    _, behind = fit(data, tmp_path / "behind", config, EVERYTHING)
    monkeypatch.setattr(frozen_prefix, "applies", lambda *args: False)
    _, through = fit(data, tmp_path / "through", config, EVERYTHING)
    for row, other in zip(behind.history, through.history, strict=True):
        assert abs(row["val_mae"] - other["val_mae"]) < 0.01 * other["val_mae"]


def test_the_prefix_is_computed_once(data, tmp_path, monkeypatch):
    passes = []
    original = Backbone.prefix
    monkeypatch.setattr(
        Backbone, "prefix", lambda self, x: passes.append(len(x)) or original(self, x)
    )
    monkeypatch.setattr(
        backbones.Backbone, "normalise", counted := Counter(backbones.Backbone.normalise)
    )
    fit(data, tmp_path / "run", CONFIG, EVERYTHING)
    n = sum(map(len, data))
    assert sum(passes) == n + 1 and counted.images == n + 1


class Counter:
    """Count the images that pass through a method."""

    def __init__(self, method):
        self.method, self.images = method, 0

    def __get__(self, instance, owner):
        return lambda images: self(instance, images)

    def __call__(self, instance, images):
        self.images += len(images)
        return self.method(instance, images)


def test_augmentation_before_the_prefix_needs_views(data, tmp_path):
    model = new_model(data)
    protocols.apply(model, EVERYTHING)
    augmented = replace(CONFIG, augment="intensity")
    assert not frozen_prefix.applies(model.backbone, augmented)
    views, val = frozen_prefix.behind(*args(model, data, augmented, tmp_path))
    assert views == [data[0]] and val is data[1]
    views, val = frozen_prefix.behind(*args(model, data, replace(augmented, views=3), tmp_path))
    plain, _ = frozen_prefix.behind(*args(model, data, CONFIG, tmp_path))
    assert len(views) == 3 and len(plain) == 1
    tokens = [view.images for view in (*views, *plain)]
    assert all(not torch.equal(a, b) for i, a in enumerate(tokens) for b in tokens[:i])
    with raises(ValueError, match="views 3"):
        replace(CONFIG, views=3)
    with raises(ValueError, match="'naive' freezes none"):
        fit(data, tmp_path / "run", replace(augmented, views=3, protocol="naive"), "naive")


def args(model, data, config, folder):
    return model.backbone, *data, config, "fp32", folder, Stop()


def test_views_take_turns(data, tmp_path, monkeypatch):
    seen = []

    class Seen(batches.Batches):
        def stream(self, indices):
            seen.append(self.images.data_ptr())
            return super().stream(indices)

    monkeypatch.setattr(frozen_prefix, "Batches", Seen)
    monkeypatch.setattr(finetuning, "validation_error", lambda *args: 1.0)
    fit(data, tmp_path / "run", replace(CONFIG, augment="intensity", views=3), EVERYTHING)
    assert len(set(seen)) == 3 and seen[3] == seen[0]


def test_tokens_go_where_there_is_room(data, tmp_path, monkeypatch, capsys):
    model = new_model(data)
    protocols.apply(model, EVERYTHING)
    expected, _ = frozen_prefix.behind(*args(model, data, CONFIG, tmp_path))
    monkeypatch.setattr(memory, "fits", lambda n_bytes, device: False)
    mapped, val = frozen_prefix.behind(*args(model, data, CONFIG, tmp_path))
    assert torch.equal(mapped[0].images, expected[0].images) and len(val) == len(data[1])
    assert (tmp_path / "prefix-0-0.bin").stat().st_size == mapped[0].images.nbytes
    monkeypatch.setattr(memory, "place", lambda *args: None)
    assert frozen_prefix.behind(*args(model, data, CONFIG, tmp_path)) == ([data[0]], data[1])
    assert "no room" in capsys.readouterr().out
    with raises(ValueError, match=r"no room.*fewer views than 2"):
        views = replace(CONFIG, augment="intensity", views=2)
        frozen_prefix.behind(*args(model, data, views, tmp_path))


def before_each_pass(act, monkeypatch):
    """Let something happen before each pass through frozen blocks, which is told its images."""
    original = Backbone.prefix
    monkeypatch.setattr(Backbone, "prefix", lambda self, x: act(len(x)) or original(self, x))


@mark.parametrize(
    "number, error", [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_is_heeded_between_two_batches(data, tmp_path, monkeypatch, capsys, number, error):
    _, undisturbed = fit(data, tmp_path / "undisturbed", CONFIG, EVERYTHING)
    passes, run = [], tmp_path / "run"

    def signal_in_the_second_batch(n):
        passes.append(n)
        if len(passes) == 3:  # the first is a look at the shape
            assert len(list(run.glob("prefix-*.bin"))) == 2
            signal.raise_signal(number)

    with monkeypatch.context() as patch, raises(error) as caught:
        patch.setattr(memory, "fits", lambda n_bytes, device: False)
        patch.setattr(frozen_prefix, "BATCH_SIZE", 4)
        before_each_pass(signal_in_the_second_batch, patch)
        fit(data, run, CONFIG, EVERYTHING)
    assert passes == [1, 4, 4] and not os.listdir(run)
    assert number == signal.SIGINT or caught.value.code == 143
    (said,) = (line for line in capsys.readouterr().err.splitlines() if "saved" in line)
    assert f"{number.name}: training is saved as it was before" in said and str(run) in said
    assert losses(fit(data, run, CONFIG, EVERYTHING)) == losses((None, undisturbed))


def losses(fitted):
    return [(row["train_loss"], row["val_mae"]) for row in fitted[1].history]


def test_out_of_memory_halves_the_images_at_once_and_not_the_batch(
    data, tmp_path, monkeypatch, capsys
):
    model, tried = new_model(data), []
    protocols.apply(model, EVERYTHING)
    given = args(model, data, replace(CONFIG, augment="intensity", views=2), tmp_path)
    expected, expected_val = frozen_prefix.behind(*given)
    capsys.readouterr()

    def at_most_4(n):
        tried.append(n)
        if n > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")

    before_each_pass(at_most_4, monkeypatch)
    views, val = frozen_prefix.behind(*given)
    assert tried == [1, 10, 5, *2 * 5 * [2], 2, 2, 1]  # two views of 10 images, and 5 others
    for found, whole in zip([*views, val], [*expected, expected_val], strict=True):
        assert torch.allclose(found.images, whole.images, atol=1e-4)
    assert [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()] == [
        f"memory ran out at {n} images at once in frozen blocks; from here on {n // 2}"
        for n in (10, 5)
    ]


@mark.parametrize("text, tries", [("CUDA out of memory", 4), ("shapes do not fit", 1)])
def test_what_fails_leaves_no_file_of_tokens(data, tmp_path, monkeypatch, text, tries):
    tried = []

    def fail(n):
        tried.append(n)
        if len(tried) > 1:
            raise torch.OutOfMemoryError(text) if "memory" in text else RuntimeError(text)

    monkeypatch.setattr(memory, "fits", lambda n_bytes, device: False)
    before_each_pass(fail, monkeypatch)
    with raises(RuntimeError, match=text):
        fit(data, tmp_path / "run", CONFIG, EVERYTHING)
    assert tried == [1, 10, 5, 2, 1][: 1 + tries] and not os.listdir(tmp_path / "run")


def test_other_architectures_have_no_prefix():
    backbone = frozen_model("beit_base_patch16_224", EVERYTHING, depth=1)
    assert backbone.n_prefix == 0
