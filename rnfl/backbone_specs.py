"""The registry of backbones: what each is, without importing any of them."""

import json
from dataclasses import dataclass, field
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class BackboneSpec:
    """What a backbone is: architecture, weights and the images it expects.

    Attributes
    ----------
    weights : {'packaged', 'hub', None}
        'packaged' = a file of ``rnfl/weights``, 'hub' = timm's download, None = random.
    input_size : int
        Side of the square input (px); images of other sizes are resized.
    mean, std : tuple of float
        Per-channel normalisation of images in [0, 1].
    pretraining : str
        What the weights learnt from, in words.
    phantom : bool
        Whether the weights come from phantom eyes.
    """

    name: str
    timm_name: str
    weights: str | None
    input_size: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    licence: str = ""
    pretraining: str = ""
    phantom: bool = False
    timm_kwargs: dict = field(default_factory=dict)


def _phantom(name: str, weights: str | None, pretraining: str) -> BackboneSpec:
    return BackboneSpec(
        name,
        "vit_tiny_patch16_224",
        weights,
        input_size=112,
        mean=HALF,
        std=HALF,
        licence="MIT",
        pretraining=pretraining,
        phantom=True,
        timm_kwargs={"embed_dim": 128, "depth": 6, "num_heads": 4},
    )


BACKBONES: dict[str, BackboneSpec] = {
    spec.name: spec
    for spec in (
        _phantom("phantom_cls", "packaged", "classification of phantom eyes"),
        _phantom("phantom_depth", "packaged", "height maps of phantom eyes"),
        _phantom("phantom_mae", "packaged", "masked autoencoding of phantom eyes"),
        _phantom("phantom_scratch", None, "none (random initialisation)"),
        BackboneSpec(
            "imagenet_vitb16",
            "vit_base_patch16_224.augreg_in21k_ft_in1k",
            "hub",
            mean=HALF,
            std=HALF,
            licence="Apache-2.0",
            pretraining="ImageNet-21k, then ImageNet-1k, supervised",
        ),
        BackboneSpec(
            "dinov2_vits14",
            "vit_small_patch14_dinov2.lvd142m",
            "hub",
            licence="Apache-2.0",
            pretraining="DINOv2 on LVD-142M, self-supervised",
        ),
        BackboneSpec(
            "dinov2_vitl14",
            "vit_large_patch14_dinov2.lvd142m",
            "hub",
            licence="Apache-2.0",
            pretraining="DINOv2 on LVD-142M, self-supervised",
        ),
    )
}


def weights_file(name: str) -> Path | None:
    """Return the file of a backbone's packaged weights, there or not; None where it has none."""
    spec = BACKBONES.get(name)
    packaged = spec is not None and spec.weights == "packaged"
    return WEIGHTS / f"{name}.safetensors" if packaged else None


def recipe(name: str) -> dict:
    """Return how packaged weights were made: the json file beside them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    path = WEIGHTS / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: {name!r} has no recorded pretraining")
    return json.loads(path.read_text(encoding="utf-8"))
