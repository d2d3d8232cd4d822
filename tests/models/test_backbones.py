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
    lite = backbones.spec_of("imagenet_lite0")
    config = timm.get_pretrained_cfg(lite.timm_name)
    assert (lite.mean, lite.std) == (config.mean, config.std) == ((0.5,) * 3, (0.5,) * 3)
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


@mark.parametrize(
    ("name", "grid", "widths", "stages"),
    [
        ("tf_efficientnet_lite0@100", (4, 4), [16, 24, 40, 112, 320], (3, 6, 18, 18, 54, 45, 3)),
        ("resnet18@64", (2, 2), [64, 128, 256, 512], (3, 12, 15, 15, 15)),
        ("convnext_tiny@64", (2, 2), [96, 192, 384, 768], (4, 27, 31, 85, 31, 2)),
        ("mobilenetv3_small_100@64", (2, 2), [16, 24, 48, 576], (3, 10, 18, 65, 42, 2)),
    ],
)
def test_convolutional_networks(name, grid, widths, stages):
    backbone = backbones.build(f"timm:{name}", pretrained=False).eval()
    assert (backbone.grid, backbone.widths, backbone.depth) == (grid, widths, len(widths))
    names = ["patch_embed", *(f"block_{i}" for i in range(len(widths))), "norm"]
    assert [stage.name for stage in backbone.stages] == names[: len(stages)]
    assert tuple(len(stage.parameters) for stage in backbone.stages) == stages
    held = [id(p) for stage in backbone.stages for p in stage.parameters]
    assert held == [id(p) for p in backbone.parameters()]
    images = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        assert backbone(images).shape == (2, backbone.embed_dim, *grid)


def test_a_stage_of_a_convolutional_network_ends_at_its_map():
    backbone = backbones.build("timm:tf_efficientnet_lite0@64", pretrained=False)
    owners = {id(p): name for name, p in backbone.encoder.named_parameters()}
    parts = [
        dict.fromkeys(owners[id(p)].split(".")[0:2][-1] for p in stage.parameters)
        for stage in backbone.stages[1:6]
    ]
    assert [list(part) for part in parts] == [["0"], ["1"], ["2"], ["3", "4"], ["5", "6"]]
    moving = [s for s in backbone.stages if s.name not in ("block_1", "norm")]
    backbone.let_move(p for stage in moving for p in stage.parameters)
    still = {name for name, module in backbone.train().encoder.named_modules()
             if not module.training and not list(module.children())}  # fmt: skip
    assert {"blocks.1.1.conv_pwl", "blocks.1.0.bn3.act", "conv_head"} <= still
    assert not {"blocks.0.0.conv_pw", "blocks.2.0.conv_pw", "conv_stem"} & still


def test_statistics_of_a_convolutional_network_stay():
    backbone = backbones.build("timm:resnet18@64", pretrained=False).train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone(torch.rand(3, 3, 64, 64)).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in backbone.named_buffers())
    assert all(p.grad is not None for p in backbone.parameters())
    assert backbone.encoder.layer1.training


@mark.parametrize(
    ("name", "why"),
    [
        ("mixer_s32_224", r"neither .*its output is \(49, 512\)"),
        ("swin_tiny_patch4_window7_224", r"neither .*\(7, 7, 768\), its last map \(768, 7, 7\)"),
        ("vgg11_bn", r"neither .*its output is \(4096, 1, 1\), its last map \(512, 7, 7\)"),
        ("coat_tiny", "neither a vision transformer"),
        ("efficientformer_l1@128", "takes no images of 128 px"),
        ("hrnet_w18_small", r"by no module: \['stem', 'stage1'\]"),
    ],
)
def test_networks_that_keep_no_grid_are_refused(name, why):
    with raises(ValueError, match=why):
        backbones.build(f"timm:{name}", pretrained=False)


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
