import json
import signal

import numpy as np
import timm
import torch
from pytest import fixture, mark, raises

from rnfl.datasets import phantom
from rnfl.models import backbone
from rnfl.models.checkpoints import packing, reading
from rnfl.models.registry import BACKBONES
from rnfl.storage import provenance
from rnfl.storage.paths import runs_root
from rnfl.training import pretraining
from rnfl.training.augmentation import seeded_generator
from rnfl.training.pretraining import Pretraining, recipes
from rnfl.training.pretraining.tasks import TASKS, MaskedAutoencoder, augment


@fixture(scope="module")
def eyes():
    """Images of one bright band each, its level as a label, and its brightness as a height."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, 2, 80)
    images = rng.integers(0, 60, (80, 112, 112, 3)).astype(np.uint8)
    for image, high in zip(images, level, strict=True):
        start = rng.integers(0, 80)
        image[start : start + 30] += np.uint8(60 + 100 * high)
    return images, {"cls": {"level": level}, "depth": images[..., 0].astype(float), "mae": None}


SMALL = {"steps": 6, "batch_size": 8, "warmup_fraction": 0.2}


@mark.parametrize("kind", sorted(TASKS))
def test_writes_an_encoder_that_timm_loads_strictly(kind, eyes, tmp_path):
    images, targets = eyes
    record = pretraining.pretrain(kind, images, targets[kind], out_dir=tmp_path, **SMALL)
    assert [p.name for p in sorted(tmp_path.iterdir())] == [
        f"phantom_{kind}.json", f"phantom_{kind}.safetensors"
    ]  # fmt: skip
    file = tmp_path / f"phantom_{kind}.safetensors"
    packed = {"sha256": provenance.sha256_file(file), "packing": packing.PACKING}
    assert record["weights"] == packed and file.stat().st_size < 1.4e6
    weights = reading.read(file).groups[""]
    spec = backbone.spec_of(f"phantom_{kind}")
    encoder = timm.create_model(spec.timm_name, img_size=112, num_classes=0, **spec.timm_kwargs)
    encoder.load_state_dict({key: value.float() for key, value in weights.items()}, strict=True)
    assert [point["step"] for point in record["curve"]] == [1, 2, 3, 4, 5, 6]
    assert np.isfinite([list(point.values()) for point in record["curve"]]).all()


def test_learns(eyes, tmp_path):
    images, targets = eyes
    options = {"batch_size": 8, "lr": 1e-3, "out_dir": tmp_path}
    curve = pretraining.pretrain("depth", images, targets["depth"], steps=30, **options)["curve"]
    assert curve[-1]["val_metric"] > 0.5 > curve[0]["val_metric"]
    curve = pretraining.pretrain("cls", images, targets["cls"], steps=30, **options)["curve"]
    assert curve[-1]["loss"] < 0.5 * curve[0]["loss"]


def test_a_finished_recipe_returns_at_once_and_a_changed_one_does_not(eyes, tmp_path, monkeypatch):
    images, _ = eyes
    first = pretraining.pretrain("mae", images, out_dir=tmp_path, **SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "Pretraining", None)
        assert pretraining.pretrain("mae", images, out_dir=tmp_path, **SMALL) == first
    file = tmp_path / "phantom_mae.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"?")  # not the file that the recipe names
    again = pretraining.pretrain("mae", images, out_dir=tmp_path, **SMALL)
    assert file.read_bytes() == whole and again["curve"] == first["curve"]
    second = pretraining.pretrain("mae", images[::-1].copy(), out_dir=tmp_path, **SMALL)
    assert second["curve"] != first["curve"]


def stops(patch, number, stop):
    """Let pretraining meet something in the middle of its step of this number."""
    step = Pretraining.step

    def interrupted(self, batch, k, progress):
        if k == number:
            stop()
        return step(self, batch, k, progress)

    patch.setattr(Pretraining, "step", interrupted)


def killed():
    raise ZeroDivisionError


STOPS = {
    "killed": (killed, ZeroDivisionError, 61),
    "SIGTERM": (lambda: signal.raise_signal(signal.SIGTERM), SystemExit, 62),
    "SIGINT": (lambda: signal.raise_signal(signal.SIGINT), KeyboardInterrupt, 62),
}


@mark.parametrize(
    "kind, how",
    [
        ("cls", "killed"),
        ("depth", "killed"),
        ("mae", "killed"),
        ("mae", "SIGTERM"),
        ("mae", "SIGINT"),
    ],
)
def test_an_interrupted_recipe_resumes_exactly(kind, how, eyes, tmp_path, monkeypatch, capsys):
    """In the middle of two points of the curve, which are two steps apart."""
    images, targets = eyes
    arguments = (kind, images[:30], None if kind == "mae" else firsts(targets[kind]))
    options = {"steps": 80, "batch_size": 2, "checkpoint_seconds": -1.0}
    stop, error, done = STOPS[how]
    if not (whole := tmp_path.parent / f"whole-{kind}").exists():
        pretraining.pretrain(*arguments, out_dir=whole, **options)
    with monkeypatch.context() as patch, raises(error):
        stops(patch, 61, stop)
        pretraining.pretrain(*arguments, out_dir=tmp_path, **options)
    (unfinished,) = runs_root().glob(f".partial/pretraining-phantom_{kind}-*/")
    if how != "killed":
        assert f"{how}: training is saved after step 62 in {unfinished}" in capsys.readouterr().err
    steps = []
    stops(monkeypatch, done, lambda: steps.append(done))
    pretraining.pretrain(*arguments, out_dir=tmp_path, **options)
    assert steps == [done] and not unfinished.exists()
    assert content(tmp_path, kind) == content(whole, kind)


def firsts(targets):
    return {k: v[:30] for k, v in targets.items()} if isinstance(targets, dict) else targets[:30]


def content(folder, kind):
    record = json.loads((folder / f"phantom_{kind}.json").read_text())
    return record["curve"], (folder / f"phantom_{kind}.safetensors").read_bytes()


def test_the_encoder_never_sees_hidden_patches():
    torch.manual_seed(0)
    task = MaskedAutoencoder(backbone.build("phantom_scratch", False), None, 2).eval()
    visible = torch.stack([torch.randperm(49)[:12] for _ in range(2)])
    shown = torch.zeros(2, 49).scatter(1, visible, 1.0).view(2, 1, 7, 7)
    shown = shown.repeat_interleave(16, 2).repeat_interleave(16, 3)
    images = torch.rand(2, 3, 112, 112)
    changed = torch.where(shown.bool(), images, torch.rand(2, 3, 112, 112))
    assert task.backbone.visible(images, visible).shape == (2, 13, 128)
    assert torch.equal(
        task.backbone.visible(images, visible), task.backbone.visible(changed, visible)
    )


def test_decoded_patches_return_to_their_places():
    task = MaskedAutoencoder(backbone.build("phantom_scratch", False), None, 2)
    identity = torch.nn.Identity()
    task.embed = task.blocks = task.norm = task.pixels = identity
    task.position.data.zero_()
    order = torch.stack([torch.randperm(49) for _ in range(2)])
    tokens = order[:, :12, None].float().expand(-1, -1, task.width) + 1
    first = torch.full((2, 1, task.width), -5.0)
    places = task.decode(torch.cat([first, tokens], dim=1), order)[:, :, 0]
    for row, kept in zip(places, order[:, :12], strict=True):
        assert {i: int(v) for i, v in enumerate(row) if v} == {int(i): int(i) + 1 for i in kept}


@mark.parametrize("cell", [1, 4])
def test_maps_move_with_their_images(cell):
    coarse = torch.randint(40, 200, (6, 28, 28), dtype=torch.uint8)
    images = coarse.repeat_interleave(4, 1).repeat_interleave(4, 2)
    maps = images if cell == 1 else coarse
    index = torch.tensor([5, 0, 3, 3])
    moved, target = augment(images, maps, index, cell, seeded_generator(0), intensity=0.0)
    expected = moved[:, 0, ::cell, ::cell] * 255
    torch.testing.assert_close(expected.round().to(torch.uint8), target)
    assert not torch.equal(target, maps[index])
    assert not torch.equal(target[2], target[3])


def test_mistaken_inputs_are_refused(eyes, tmp_path):
    images, targets = eyes
    for kind, given, message in (
        ("gan", None, "valid kinds"),
        ("cls", None, "mapping"),
        ("cls", {"level": targets["depth"][:, 0, 0]}, "'level' must be 80 integers"),
        ("depth", targets["depth"][:, ::2], r"\(80, 112, 112\)"),
        ("mae", targets["depth"], "must be None"),
    ):
        with raises(ValueError, match=message):
            pretraining.pretrain(kind, images, given, out_dir=tmp_path)
    with raises(ValueError, match="uint8"):
        pretraining.pretrain("mae", images.astype(float), out_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_registered_backbone_is_pretrained_in_its_own_architecture(eyes, tmp_path):
    options = {"name": "phantom_mae_fine", "out_dir": tmp_path, **SMALL}
    record = pretraining.pretrain("mae", eyes[0][:24], **options)
    assert record["settings"]["encoder"]["timm_name"] == "vit_small_patch8_224"
    weights = reading.read(tmp_path / "phantom_mae_fine.safetensors").groups[""]
    assert weights["pos_embed"].shape == (1, 1 + 14 * 14, 128)


@fixture
def drawn(monkeypatch):
    """Eyes and leaves of noise, and how often each was drawn."""
    calls = []

    def eyes(n_eyes):
        calls.append("eyes")
        images = np.random.default_rng(0).integers(0, 255, (2 * n_eyes, 112, 112, 3), np.uint8)
        labels = {"camera": np.arange(2 * n_eyes) % 2, "atrophy": np.arange(2 * n_eyes) // 2 % 2}
        return images, labels, images[..., 0].astype(np.float16)

    def leaves(n, seed):
        calls.append("leaves")
        return np.random.default_rng(seed).integers(0, 255, (n, 112, 112, 3), np.uint8)

    monkeypatch.setattr(phantom, "pretraining_set", eyes)
    monkeypatch.setattr(recipes.leaves, "pictures", leaves)
    return calls


def test_every_packaged_backbone_has_a_recipe_and_its_pictures(drawn, tmp_path):
    assert set(recipes.RECIPES) == {n for n, s in BACKBONES.items() if s.weights == "packaged"}
    options = {"n_eyes": 8, "steps": 2, "batch_size": 4, "out_dir": tmp_path}
    records = {name: recipes.make(name, **options) for name in recipes.RECIPES}
    assert drawn == ["eyes", "leaves"]  # once each, and then kept
    assert {name: record["settings"]["n_images"] for name, record in records.items()} == {
        name: 8 if name == "phantom_mae_slo" else 16 for name in recipes.RECIPES
    }
    assert records["phantom_cls"]["settings"]["task"]["labels"] == {"atrophy": 2, "camera": 2}
    assert "leaves" in records["leaves_mae"]["notes"]["images"]
    data = [records[name]["settings"]["data"] for name in ("phantom_mae", "phantom_mae_fine")]
    assert data[0] == data[1] != records["phantom_mae_slo"]["settings"]["data"]
    assert recipes.make("leaves_mae", **options) == records["leaves_mae"] and len(drawn) == 2
    with raises(ValueError, match="no recipe for backbone 'phantom_scratch'"):
        recipes.make("phantom_scratch")


def test_slo_alone_is_grey_and_kept_pictures_are_those_drawn(drawn):
    phantom_eyes, slo = recipes.pictures("eyes", 5), recipes.pictures("slo", 5)
    assert np.array_equal(slo["images"], phantom_eyes["images"][0::2])
    again = recipes.pictures("eyes", 5)
    assert np.array_equal(again["heights"], phantom_eyes["heights"]) and drawn == ["eyes"]
