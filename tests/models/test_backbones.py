import huggingface_hub
import timm
import torch
from pytest import MonkeyPatch, fixture, mark, raises
from safetensors.torch import save_file

from rnfl.models import backbone as backbones
from rnfl.models.checkpoints import files


@fixture(scope="module")
def small():
    torch.manual_seed(0)
    return backbones.build("phantom_scratch").eval()


def test_tokens_form_the_grid_in_reading_order(small):
    assert small.grid == (7, 7)
    assert (small.embed_dim, small.depth) == (128, 6)
    images = torch.rand(2, 3, 112, 112)
    tokens = small(images)
    assert tokens.shape == (2, 128, 7, 7)
    whole = small.encoder.forward_features(small.normalise(images))
    assert torch.equal(tokens[:, :, 2, 3], whole[:, 1 + 2 * 7 + 3])


def test_stages_hold_every_parameter_once_and_in_order(small):
    names = [stage.name for stage in small.stages]
    assert names == ["patch_embed", *(f"block_{i}" for i in range(6)), "norm"]
    held = [id(p) for stage in small.stages for p in stage.parameters]
    assert sorted(held) == sorted(id(p) for p in small.parameters())
    first = {id(p) for p in small.stages[0].parameters}
    assert {id(small.encoder.pos_embed), id(small.encoder.cls_token)} <= first


@mark.parametrize(
    ("name", "grid", "prefix"),
    [
        ("dinov2_vits14", (16, 16), 1),
        ("timm:vit_small_patch14_reg4_dinov2@224", (16, 16), 5),
        ("timm:vit_small_patch16_dinov3", (16, 16), 5),
        ("dinov2_vits14_reg4@112", (8, 8), 5),
        ("dinov3_vits16@128", (8, 8), 5),
        ("dinov3_vits16plus@64", (4, 4), 5),
        ("retfound_green@112", (8, 8), 5),
        ("depth_anything_v2_small@112", (8, 8), 1),
    ],
)
def test_published_architectures(name, grid, prefix):
    backbone = backbones.build(name, pretrained=False).eval()
    assert backbone.grid == grid
    assert backbone.encoder.num_prefix_tokens == prefix
    with torch.inference_mode():
        assert backbone(torch.rand(1, 1, 112, 112)).shape == (1, 384, *grid)
    held = [id(p) for stage in backbone.stages for p in stage.parameters]
    assert sorted(held) == sorted(id(p) for p in backbone.parameters())


def test_normalisation_is_the_models_own():
    config = timm.get_pretrained_cfg(backbones.spec_of("imagenet_vitb16").timm_name)
    assert backbones.spec_of("imagenet_vitb16").mean == config.mean == (0.5, 0.5, 0.5)
    assert backbones.spec_of("dinov2_vits14").std == (0.229, 0.224, 0.225)
    assert backbones.spec_of("timm:vit_base_patch16_clip_224.openai").mean[0] == 0.48145466


def test_input_size_is_the_models_own_unless_named():
    assert backbones.spec_of("timm:vit_small_patch14_dinov2").input_size == 518
    assert backbones.spec_of("timm:vit_small_patch14_dinov2@392").input_size == 392
    assert backbones.spec_of("dinov2_vits14@518").input_size == 518
    assert backbones.spec_of("dinov2_vits14@518").name == "dinov2_vits14@518"
    for name in ("timm:vit_small_patch14_dinov2@large", "dinov2_vits14@", "phantom_mae@0"):
        with raises(ValueError, match="@<px>"):
            backbones.spec_of(name)
    for name in ("dinov2_vits14@220", "timm:vit_small_patch14_dinov2@220"):
        with raises(ValueError, match="multiple of its patch of 14 px such as @224"):
            backbones.build(name)


def test_grey_equals_replicated_colour(small):
    grey = torch.rand(2, 1, 112, 112)
    assert torch.equal(small(grey), small(grey.repeat(1, 3, 1, 1)))


def test_halving_is_the_mean_of_four_pixels():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert backbones.resize(image, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert backbones.resize(image, 4) is image
    assert backbones.resize(torch.ones(1, 1, 5, 7), 3).shape == (1, 1, 3, 3)


def test_unknown_names_list_the_valid_ones():
    for name in ("resnet", "timm:no_such_model"):
        with raises(ValueError, match="phantom_scratch"):
            backbones.build(name)
    with raises(ValueError, match="not a vision transformer"):
        backbones.build("timm:resnet18", pretrained=False)


def test_unreachable_hub_says_what_to_run(monkeypatch: MonkeyPatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setenv("RNFL_CHECKPOINTS", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with raises(ConnectionError, match=r"dinov2_vits14(.|\n)*cannot be reached(.|\n)*hf download"):
        backbones.build("dinov2_vits14")
    monkeypatch.setattr(timm, "create_model", unreachable)
    with raises(ConnectionError, match=r"cannot be reached(.|\n)*pretrained=True"):
        backbones.build("timm:vit_small_patch14_dinov2")


def test_packaged_weights_are_strict(small, tmp_path, monkeypatch: MonkeyPatch):
    monkeypatch.setattr(files, "WEIGHTS", tmp_path)
    with raises(FileNotFoundError, match=r"phantom_mae.safetensors is missing"):
        backbones.build("phantom_mae")
    weights = {key: value.half() for key, value in small.encoder.state_dict().items()}
    save_file(weights, tmp_path / "phantom_mae.safetensors")
    loaded = backbones.build("phantom_mae").encoder.state_dict()
    assert all(torch.equal(loaded[key], weights[key].float()) for key in weights)
    del weights["norm.weight"]
    save_file(weights, tmp_path / "phantom_mae.safetensors")
    with raises(ValueError, match=r"missing 1: norm\.weight"):
        backbones.build("phantom_mae")


def test_weights_leave_the_state_of_the_generator_to_the_architecture():
    states = []
    for pretrained in (True, False):
        torch.manual_seed(3)
        backbones.build("phantom_mae", pretrained)
        states.append(torch.rand(3))
    assert torch.equal(*states)


def test_freezing_an_unknown_stage_is_refused(small):
    with raises(ValueError, match="block_9"):
        small.freeze(["block_9"])
