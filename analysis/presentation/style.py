"""How everything looks: the names and marks of protocols and backbones, the theme, the saving.

A protocol, backbone or method keeps its label, colour, marker and hatch in every figure and table.
Colours of one family differ in lightness as well as hue, and never carry a distinction alone, so
that a figure reads the same when it is printed in grey.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from scipy.optimize import isotonic_regression

from analysis.presentation.sidecar import phantom_name, said_first
from rnfl.storage import provenance

PAGE = 7.2  # inches, two columns
INK, GREY, PALE, ACCENT = "#1a1a1a", "#7a7a7a", "#d0d0d0", "#0b5fa5"

THEME = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same letters on every machine
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.labelsize": 7,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 6.5,
    "text.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,  # embed TrueType, so that text stays text
}


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
    # strategies of adaptation: what moves, and when
    "readout": Look("readout", "#5e3c99", "v"),
    "probe": Look("probe", "#8c8c8c", "h"),
    "last_quarter": Look("last quarter", "#7a4300", "<"),
    "discriminative": Look("discriminative rates", "#e3c100", "d"),
    "gradual": Look("gradual unfreezing", "#66a61e", ">"),
    "lp_ft": Look("probe, then full", "#009e9e", "H"),
    "lora": Look("LoRA", "#0b5fa5", "o"),
    "dora": Look("DoRA", "#1b9e77", "D"),
    "bitfit": Look("BitFit", "#d95f02", "p"),
    "norms": Look("norms", "#a6761d", "*"),
    # ways of adapting to another camera
    "none": Look("untouched", "#8c8c8c", "o"),
    "histogram": Look("histogram", "#0b3c6f", "s"),
    "statistics": Look("pixel AdaIN", "#0b3c6f", "D"),
    "fourier": Look("Fourier (FDA)", "#0b3c6f", "^"),
    "plain": Look("LoRA, no augmentation", "#5e3c99", "h"),
    "graded": Look("LoRA, mild to severe", "#5e3c99", "p"),
    "stage2": Look("LoRA + alignment, Fourier", "#5e3c99", "v"),
    "parent": Look("static direction (parent)", "#c2477f", "s"),
    "stage1": Look("MFM-DA, stage 1", "#c2477f", "D"),
    "dynamic": Look("dynamic direction alone", "#c2477f", "<"),
    "no_style": Look("without the style loss", "#c2477f", ">"),
    "detached": Look("direction as a target alone", "#c2477f", "p"),
    "full": Look("MFM-DA, full", "#c2477f", "^"),
    "oracle": Look("true photographs, labelled", INK, "*"),
    "labels": Look("others, target's camera, labelled", INK, "p"),
    # references
    "target": Look("OCT label", INK, "P", ""),
    "template": Look("template", "#8c8c8c", "X", "xxxx", (0, (1, 1))),
    "few templates": Look("few templates", "#b07d62", "p", "||||", (0, (3, 1))),
    "oracle floor": Look("label-noise floor", INK, "*", ""),
    # backbones
    "phantom_cls": Look("phantom classifier", "#0b3c6f", "o", ""),
    "phantom_depth": Look("phantom depth", "#c2477f", "s", "////", (0, (4, 1.2))),
    "phantom_mae": Look("phantom masked AE", "#1b9e77", "D", "....", (0, (1.2, 1))),
    "phantom_mae_slo": Look("phantom masked AE, SLO", "#56b4e9", ">", "||||", (0, (4, 1, 1, 1))),
    "phantom_mae_fine": Look("phantom masked AE, fine", "#e3c100", "d", "oooo", (0, (2, 1))),
    "leaves_mae": Look("leaves masked AE", "#7a4300", "^", "\\\\\\\\", (0, (6, 1))),
    "phantom_scratch": Look("from scratch", "#8c8c8c", "v", "xxxx", (0, (1, 1))),
    "imagenet_vitb16": Look("ImageNet ViT-B/16", "#5e3c99", "h", "++++"),
    "imagenet_lite0": Look("ImageNet EfficientNet-Lite0", "#009e9e", "H", "xx", (0, (2, 2))),
    "depth_anything_v2_small@224": Look("Depth-Anything V2-S", "#56b4e9", "<", "||||", "--"),
    "retfound_mae_naturecfp": Look("RETFound ViT-L/16", "#d95f02", "p", "----", ":"),
    "dinov2_vits14": Look("DINOv2 ViT-S/14", "#e69f00", "^", "\\\\\\\\"),
    # what predicts quadrants
    "constant": Look("constant", "#8c8c8c", "X", "xxxx"),
    "PCA + ridge": Look("PCA + ridge", "#1b9e77", "D", "...."),
    "phantom SLO model": Look("phantom SLO model", "#0b3c6f", "o", ""),
    "phantom CFP model": Look("phantom CFP model", "#e69f00", "^", "\\\\\\\\"),
    # methods that learn from few eyes: a colour per group
    "fine-tuned": Look("fine-tuned", "#c2477f", "s"),
    "fine-tuned, phantom start": Look("fine-tuned, phantom start", "#c2477f", "^"),
    "readout, random": Look("readout, random", "#0b3c6f", "v"),
    "readout, masked AE": Look("readout, masked AE", "#0b3c6f", "o"),
    "readout, classifier": Look("readout, classifier", "#0b3c6f", "h"),
    "readout, depth": Look("readout, depth", "#0b3c6f", "<"),
    "readout, phantom start": Look("readout, phantom start", "#0b3c6f", "^"),
    "readout, classifier + depth": Look("readout, classifier + depth", "#0b3c6f", "p"),
    "fields, ImageNet": Look("fields of ImageNet", "#009e9e", "H"),
    "fields, ImageNet + depth": Look("fields of ImageNet + depth", "#009e9e", "p"),
    "chosen within folds": Look("chosen within folds", "#5e3c99", "*"),
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


def theme() -> AbstractContextManager[None]:
    """Draw inside the project's theme; the caller's matplotlib settings come back afterwards."""
    return mpl.rc_context(THEME)


def new_figure(width: float = PAGE, height: float = 3.0) -> Figure:
    """Return an empty figure of a size in inches, laid out without overlaps."""
    layout = _RoundedLayout(w_pad=0.03, h_pad=0.03, wspace=0.03, hspace=0.04)
    return Figure(figsize=(width, height), layout=layout)


class _RoundedLayout(ConstrainedLayoutEngine):
    """Constrained layout to a millionth of the figure.

    The last digits of its solver depend on where things lie in memory, and a PDF keeps ten: the
    same figure had other bytes from one process to the next.
    """

    def execute(self, fig: Figure) -> None:
        super().execute(fig)
        for axes in fig.axes:
            axes._set_position(Bbox(axes.get_position(original=True).get_points().round(6)))


def ticks(n: int, integer: bool = False) -> MaxNLocator:
    """Return a locator of at most ``n`` round steps."""
    return MaxNLocator(nbins=n, steps=[1, 2, 2.5, 5, 10], integer=integer)


def panel_letter(axes: Axes, letter: str, title: str, xlabel: str = "", ylabel: str = "") -> None:
    """Title a panel with a bold letter (panels that share one have it at the first) and what it
    shows, flush left, and name its axes."""
    axes.set_title(rf"$\bf{{{letter}}}$  {title}" if letter else title)
    axes.set(**{axis: name for axis, name in (("xlabel", xlabel), ("ylabel", ylabel)) if name})


def spread(values: Sequence[float], gap: float) -> np.ndarray:
    """Return label positions near ``values`` that keep their order and lie ``gap`` apart.

    Overlapping labels are centred on the mean of what they name: the least squared displacement.

    Examples
    --------
    >>> spread([1.0, 1.0, 5.0], gap=2.0).tolist()
    [0.0, 2.0, 5.0]
    """
    values = np.asarray(values, float)
    rank, steps = np.argsort(values, kind="stable"), gap * np.arange(len(values))
    placed = np.empty(len(values))
    placed[rank] = isotonic_regression(values[rank] - steps).x + steps
    return placed


def save_figure(
    fig: Figure,
    path: Path,
    inputs: Iterable[Path],
    caption: str,
    about: Mapping[str, Any],
    mark: str,
    code: str,
) -> dict[str, Path]:
    """Write a figure as PNG (200 dpi) and PDF with a JSON sidecar saying where it came from.

    Parameters
    ----------
    fig : Figure
    path : Path
        Target without suffix, ``<figures>/<stem>``.
    inputs : iterable of Path
        The tables the figure was drawn from; the sidecar holds their SHA-256.
    caption : str
        Prefixed with "Phantom 2 data." where it shows such.
    about : mapping
        Of its tables: ``run_ids``, and the version of the ``phantom`` whose eyes they show.
    mark : str
        What a phantom figure says in its corner, with ``{phantom}`` for which.
    code : str
        Hash of the code that drew it.

    Returns
    -------
    dict
        ``{"png": ..., "pdf": ..., "json": ...}``. Each file is replaced in one step.
    """
    files = {kind: path.with_name(f"{path.name}.{kind}") for kind in ("png", "pdf", "json")}
    if name := phantom_name(about["phantom"]):
        strip = 0.11 / fig.get_figheight()  # inches kept free for the mark
        fig.get_layout_engine().set(rect=(0, strip, 1, 1 - strip))
        fig.text(0.998, 0.002, mark.format(phantom=name), ha="right", va="bottom", fontsize=5.5,
                 color=GREY, style="italic", in_layout=False)  # fmt: skip
    undated = {"png": {"Software": None}, "pdf": {"CreationDate": None, "ModDate": None}}
    for kind, metadata in undated.items():
        with theme(), provenance.publish_file(files[kind]) as aside:
            fig.savefig(aside, format=kind, dpi=200, metadata=metadata)
    record = {
        "figure": path.name,
        "caption": said_first(about["phantom"]) + caption,
        "phantom": about["phantom"],
        "inputs": {f"{one.parent.name}/{one.name}": provenance.sha256_file(one) for one in inputs},
        "run_ids": sorted(set(about["run_ids"])),
        "code": code,
        "files": {files[kind].name: provenance.sha256_file(files[kind]) for kind in undated},
        "versions": provenance.versions(("numpy", "pandas", "matplotlib")),
    }
    provenance.write_json(files["json"], record)
    return files
