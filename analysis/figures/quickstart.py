"""00_quickstart: a few eyes, each with its image, its profile and its quadrant errors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.eyes import closed, show_eye, tsnit_axis
from analysis.figures.panels import DASHED, beside, row_axis
from analysis.presentation import style

CAPTION = (
    "Prediction of the retinal nerve fibre layer (RNFL) profile from one fundus image. Left: the "
    "image in right-eye orientation with the 3.46 mm scan circle (T temporal, S superior, N nasal, "
    "I inferior). Middle: thickness along the circle, predicted and measured (OCT label), with the "
    "noise-free truth where it is known. Right: error of the quadrant means, predicted minus "
    "label. MAE: mean absolute error over the 360 angles. Shown is the first test eye of each of "
    "three stages, whatever its error."
)
LINES = {
    "predicted": {"label": "predicted", "color": style.ACCENT, "lw": 1.6},
    "label": {"label": "OCT label", "color": "#9a9a9a", "lw": 0.8},
    "truth": {"label": "truth without noise", "color": style.INK, "lw": 1.0, "ls": DASHED},
}


def draw(profiles: Mapping[str, np.ndarray], eyes: pd.DataFrame) -> Figure:
    """Draw one row per eye.

    ``profiles`` holds ``images`` uint8 (k, H, W[, 3]) and ``prediction``, ``target``, ``truth``
    (k, 360), µm, truth perhaps all NaN; ``eyes`` in the same order eye, laterality, age, mae,
    err_S, err_N, err_I, err_T.
    """
    k = len(eyes)
    figure = style.new_figure(style.PAGE, 0.35 + 1.62 * k)
    grid = figure.subplots(k, 3, squeeze=False, width_ratios=[1, 2.35, 1.05])
    curves = [np.asarray(profiles[name], float) for name in ("prediction", "target", "truth")]
    top = float(np.nanmax(np.stack(curves))) * 1.06
    errors = eyes[[f"err_{name}" for name in "SNIT"]].to_numpy(float)
    reach = max(5.0, float(np.nanmax(np.abs(errors))) * 1.7)
    for i, eye in enumerate(eyes.to_dict("records")):
        show_eye(grid[i, 0], profiles["images"][i])
        grid[i, 0].set_title(_title(eye))
        _profile(grid[i, 1], *(values[i] for values in curves), top=top, last=i == k - 1)
        grid[i, 1].set_title(f"MAE {eye['mae']:.1f} µm", loc="right", fontweight="normal")
        _errors(grid[i, 2], errors[i], reach, last=i == k - 1)
    grid[0, 1].set_title("RNFL thickness along the circle")
    grid[0, 2].set_title("Quadrant error")
    _key(grid[0, 1], with_truth=bool(np.isfinite(curves[2]).any()))
    return figure


def _title(eye: Mapping[str, object]) -> str:
    mirrored = ", mirrored" if eye["laterality"] == "OS" else ""
    severity, name = eye.get("severity"), str(eye["eye"])
    return f"{name[:1].upper()}{name[1:]} ({eye['laterality']}{mirrored})" + (
        f"\n{severity}, {eye['age']:.0f} years" if isinstance(severity, str) else ""
    )


def _profile(axes: Axes, prediction, target, truth, top: float, last: bool) -> None:
    tsnit_axis(axes, labels=last)
    angles = np.arange(361)
    for name, values in (("label", target), ("truth", truth), ("predicted", prediction)):
        axes.plot(angles, closed(values), **LINES[name])
    axes.set(ylim=(0, top), ylabel="thickness (µm)")
    axes.yaxis.set_major_locator(style.ticks(4))
    if last:
        axes.set_xlabel("angle: temporal, superior, nasal, inferior, temporal")


def _key(axes: Axes, with_truth: bool) -> None:
    """Name the three lines once, along the bottom of the first panel."""
    shown = [name for name in ("predicted", "label", "truth") if with_truth or name != "truth"]
    handles = [axes.plot([], [], **LINES[name])[0] for name in shown]
    axes.legend(handles=handles, loc="lower center", ncols=3, borderaxespad=0.2, handlelength=2.2,
                columnspacing=1.4)  # fmt: skip


def _errors(axes: Axes, errors: np.ndarray, reach: float, last: bool) -> None:
    places = np.arange(4)
    axes.axvline(0, color=style.INK, lw=0.6)
    axes.barh(places, errors, height=0.62, color=style.ACCENT, alpha=0.85, lw=0)
    for place, error in zip(places, errors, strict=True):
        if np.isfinite(error):
            side, align = (3, "left") if error >= 0 else (-3, "right")
            text = f"{error:+.1f}".replace("-", "−")
            beside(axes, text, error, place, xytext=(side, 0), ha=align)
    axes.set_xlim(-reach, reach)
    row_axis(axes, list("SNIT"))
    axes.xaxis.set_major_locator(style.ticks(4))
    axes.tick_params(labelbottom=last)
    axes.set_xlabel("predicted − label (µm)" if last else "")
