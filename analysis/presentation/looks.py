"""How each protocol, backbone and method appears in every figure: colour, marker, hatch, line.

Colours of one family differ in lightness as well as hue, and never carry a distinction alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

INK = "#1a1a1a"


@dataclass(frozen=True)
class Look:
    """How one protocol, backbone or method appears: colour, marker, hatch, line style and label."""

    label: str
    colour: str
    marker: str
    hatch: str = ""
    line: str | tuple = "-"


LOOKS: dict[str, Look] = {
    # protocols
    "naive": Look("naive", "#0b3c6f", "o", "", "-"),
    "aggressive": Look("aggressive", "#c2477f", "s", "////", (0, (4, 1.2))),
    "gradient_loss": Look("gradient loss", "#1b9e77", "D", "....", (0, (1.2, 1))),
    "structured": Look("structured", "#e69f00", "^", "\\\\\\\\", (0, (5, 1, 1, 1))),
    # references
    "target": Look("OCT label", INK, "P", ""),
    "template": Look("template", "#8c8c8c", "X", "xxxx", (0, (1, 1))),
    "few templates": Look("few templates", "#b07d62", "p", "||||", (0, (3, 1))),
    "oracle floor": Look("oracle floor", INK, "*", ""),
    # backbones
    "phantom_cls": Look("phantom classifier", "#0b3c6f", "o", ""),
    "phantom_depth": Look("phantom depth", "#c2477f", "s", "////", (0, (4, 1.2))),
    "phantom_mae": Look("phantom masked AE", "#1b9e77", "D", "....", (0, (1.2, 1))),
    "phantom_scratch": Look("from scratch", "#8c8c8c", "v", "xxxx", (0, (1, 1))),
    "imagenet_vitb16": Look("ImageNet ViT-B/16", "#5e3c99", "h", "++++"),
    "depth_anything_v2_small@224": Look("Depth-Anything V2-S", "#56b4e9", "<", "||||", "--"),
    "retfound_mae_naturecfp": Look("RETFound ViT-L/16", "#d95f02", "p", "----", ":"),
    "dinov2_vits14": Look("DINOv2 ViT-S/14", "#e69f00", "^", "\\\\\\\\"),
    # ways to predict quadrants
    "constant": Look("constant", "#8c8c8c", "X", "xxxx"),
    "PCA + ridge": Look("PCA + ridge", "#1b9e77", "D", "...."),
    "phantom SLO model": Look("phantom SLO model", "#0b3c6f", "o", ""),
    "phantom CFP model": Look("phantom CFP model", "#e69f00", "^", "\\\\\\\\"),
    # ways to learn from few eyes: a colour per group
    "fine-tuned": Look("fine-tuned", "#c2477f", "s"),
    "fine-tuned, phantom start": Look("fine-tuned, phantom start", "#c2477f", "^"),
    "readout, random": Look("readout, random", "#0b3c6f", "v"),
    "readout, masked AE": Look("readout, masked AE", "#0b3c6f", "o"),
    "readout, classifier": Look("readout, classifier", "#0b3c6f", "h"),
    "readout, depth": Look("readout, depth", "#0b3c6f", "<"),
    "readout, phantom start": Look("readout, phantom start", "#0b3c6f", "^"),
    "readout, classifier + depth": Look("readout, classifier + depth", "#0b3c6f", "p"),
}
_SPARE = (("#5e3c99", "v"), ("#56b4e9", ">"), ("#a6761d", "<"), ("#66a61e", "p"), ("#d95f02", "h"))


def look(name: str, among: Sequence[str] = ()) -> Look:
    """Return the fixed look of a name, or a spare one by its place among the unknown names.

    Examples
    --------
    >>> look("structured").marker
    '^'
    >>> look("timm:resnet", among=["naive", "timm:resnet"]).label
    'timm:resnet'
    """
    if name in LOOKS:
        return LOOKS[name]
    unknown = [other for other in dict.fromkeys(among) if other not in LOOKS]
    colour, marker = _SPARE[(unknown.index(name) if name in unknown else 0) % len(_SPARE)]
    return Look(name, colour, marker)


def order(names: Iterable[str]) -> list[str]:
    """Return distinct names in the order of :data:`LOOKS`, unknown ones after them as they came.

    Examples
    --------
    >>> order(["structured", "mine", "naive", "structured"])
    ['naive', 'structured', 'mine']
    """
    known = list(LOOKS)
    distinct = list(dict.fromkeys(names))
    return sorted(distinct, key=lambda name: known.index(name) if name in known else len(known))
