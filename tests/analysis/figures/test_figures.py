"""Every figure is drawn from tables alone, and its sidecar says which."""

import hashlib
import json
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import planted_ablations
import planted_cameras
import planted_lessons
import planted_robustness
import planted_strategies
import planted_translation
import pytest
from matplotlib.image import imread
from synthetic_tables import eyes, profiles, study

from analysis import agreement, collapse, fairness, figures, published, tables
from analysis.accuracy import performance
from analysis.accuracy.external import load_external
from analysis.accuracy.learning import BASELINE
from analysis.accuracy.quadrants import paired_quadrants, quadrant_table
from analysis.agreement import thinning
from analysis.fairness import group_effects
from analysis.presentation import style
from analysis.published import ablations, audit
from analysis.resampling import Resampling
from rnfl.core import schema
from rnfl.storage import provenance
from rnfl.storage.paths import project_root


def quickstart(folder, predictions, samples, k=2):
    truth, label = profiles(samples)
    eyes = samples.iloc[:k][["laterality", "age", "severity"]].assign(eye=list("AB")[:k], mae=3.0)
    eyes = eyes.assign(**{f"err_{name}": [1.5, -2.0][:k] for name in "SNIT"})
    provenance.write_csv(folder / "eyes.csv", eyes)
    images = np.random.default_rng(0).integers(0, 255, (k, 64, 64), dtype=np.uint8)
    curves = {"prediction": truth[:k], "target": label[:k], "truth": np.full((k, 360), np.nan)}
    np.savez(folder / "eyes.npz", images=images, **curves)


def calibration(folder):
    rows = [("mean S", 93.0, 95.0, 0.8, True), ("SD S", 23.1, 30.0, 4.1, False),
            ("r S-I", 0.67, 0.6, -1.1, True)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["quantity", "reference", "phantom", "z", "within"])
    provenance.write_csv(folder / "calibration.csv", table.assign(source="GRAPE"))
    cells = [
        (camera, learnt, gap, backbone, 0.5 - 0.1 * gap)
        for camera in ("SLO", "CFP")
        for learnt in ("at this gap", "at gap 0")
        for gap in (0.0, 1.0)
        for backbone in ("phantom_mae", "phantom_scratch")
    ]
    known = pd.DataFrame(cells, columns=["camera", "learnt", "gap", "backbone", "r_between"])
    provenance.write_csv(folder / "known.csv", known)
    rng = np.random.default_rng(0)
    np.savez(
        folder / "samples.npz",
        slo=rng.integers(0, 255, (2, 32, 32), dtype=np.uint8),
        cfp=rng.integers(0, 255, (2, 32, 32, 3), dtype=np.uint8),
        title=np.array(["gap 0", "gap 1"]),
        photograph=rng.integers(0, 255, (32, 32, 3), dtype=np.uint8),
    )


def fairness_tables(folder, predictions, samples, runs):
    table = fairness.fairness_table(predictions, samples, runs, Resampling(20, 20))
    provenance.write_csv(folder / "fairness.csv", table)
    _, labels = profiles(samples)
    found = group_effects.label_effects(samples, labels, resampling=Resampling(20), planted=True)
    provenance.write_csv(folder / "labels.csv", found)
    effects = group_effects.group_effects(predictions, samples, runs, Resampling(20), planted=True)
    provenance.write_csv(folder / "effects.csv", effects)


def audit_tables(folder):
    printed = published.load()
    points = ablations.freezing_points()
    lines = ablations.freezing_lines(points)
    provenance.write_csv(folder / "points.csv", points)
    provenance.write_csv(folder / "lines.csv", lines)
    errors = audit.errors(printed, audit.audit(printed))
    provenance.write_csv(folder / "errors.csv", errors)


def agreement_tables(folder, predictions, runs):
    shown = [("phantom_cls", "naive"), ("—", "template")]
    healthy, _ = profiles(eyes(60, seed=9), seed=9)
    made = {
        "points": agreement.points_table(predictions, runs, shown),
        "agreement": agreement.agreement_table(predictions, runs, Resampling(20)),
        "thickness": agreement.thickness_table(predictions, runs, Resampling(20)),
        "thinning": thinning.thinning_table(
            predictions, healthy, runs, Resampling(20), tuning=predictions.assign(patient_id="else")
        ),
    }
    for name, table in made.items():
        provenance.write_csv(folder / f"{name}.csv", table)


def learning_tables(folder, quadrants):
    names = [name for name in style.LOOKS if name.startswith(("fine", "readout"))]
    frames = dict.fromkeys(["constant", BASELINE, *names], quadrants)
    table = quadrant_table(frames, "phantom", Resampling(20))
    provenance.write_csv(folder / "quadrants.csv", table)
    paired = paired_quadrants(frames, BASELINE, Resampling(20, 20))
    provenance.write_csv(folder / "paired.csv", paired)
    provenance.write_csv(folder / "external.csv", load_external())


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder with the tables of every figure, tiny."""
    root = tmp_path_factory.mktemp("results")
    predictions, samples, runs = study(n_patients=14)
    quickstart(root / "00_quickstart", predictions, samples)
    folder = root / "01_visualize_predictions"
    provenance.write_parquet(folder / "curves.parquet", collapse.curves_table(predictions, runs))
    stats = collapse.collapse_table(predictions, runs, Resampling(20))
    provenance.write_csv(folder / "collapse.csv", stats)
    folder = root / "02_protocols"
    table = performance.table1(predictions, samples, runs, Resampling(20, 20))
    provenance.write_csv(folder / "table1.csv", table)
    history = runs.merge(pd.DataFrame({"epoch": [0, 1, 2], "val_mae": [9.0, 6.0, np.nan]}), "cross")
    provenance.write_csv(folder / "history.csv", history)
    quadrants = schema.quadrant_frame(predictions[predictions.run_id == runs.run_id[0]], samples)
    methods = {"constant": quadrants, "mine": quadrants, "oracle floor": quadrants}
    table = quadrant_table(methods, "phantom CFP", Resampling(20))
    absent = table.iloc[:1].assign(domain="GRAPE", method="not evaluated", n=0)
    absent[["estimate", "low", "high"]] = np.nan
    provenance.write_csv(root / "06_cross_modality" / "quadrants.csv", pd.concat([table, absent]))
    learning_tables(root / "12_learning_on_grape", quadrants)
    calibration(root / "09_phantom")
    losses = pd.DataFrame({"backbone": "phantom_cls", "step": [0, 50, 100], "loss": [3.0, 2, 1]})
    losses = losses.assign(val_metric=[np.nan, 0.5, 0.8], val_name="AUC")
    provenance.write_csv(root / "10_pretraining" / "losses.csv", losses)
    planted_ablations.write_tables(root)
    planted_strategies.write_tables(root)
    planted_cameras.write_tables(root)
    planted_lessons.write_tables(root)
    planted_robustness.write_tables(root)
    planted_translation.write_tables(root)
    fairness_tables(root / "07_fairness", predictions, samples, runs)
    audit_tables(root / "08_audit")
    agreement_tables(root / "11_agreement", predictions, runs)
    for stem in figures.FIGURES:
        tables.write_about(
            root / stem, phantom=[2, 1], preset="smoke", run_ids=runs.run_id, note="N."
        )
    return root


@pytest.mark.parametrize("stem", figures.FIGURES)
def test_each_figure_is_drawn_with_its_sidecar(stem, results, tmp_path):
    files = figures.make(stem, results, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"{stem}.{x}" for x in ("json", "pdf", "png")
    ]
    pixels = imread(files["png"])
    height, width = pixels.shape[:2]
    assert width <= style.PAGE * 200 + 1 and height > 100
    assert pixels[..., :3].std() > 0.02  # not blank
    record = json.loads(files["json"].read_text())
    assert record["phantom"] == [2, 1] and record["caption"].startswith("Phantom 1 and 2 data. ")
    assert record["caption"].endswith("N.") and record["run_ids"]
    assert len(record["inputs"]) == len(figures.FIGURES[stem].inputs) + 1
    for name, digest in record["inputs"].items():
        assert hashlib.sha256((results / name).read_bytes()).hexdigest() == digest
    assert b"Type3" not in files["pdf"].read_bytes()  # fonts embedded as TrueType


@pytest.mark.parametrize("stem", ["00_quickstart", "01_visualize_predictions", "10_pretraining"])
def test_a_figure_is_the_same_twice(stem, results, tmp_path):
    one, two = (figures.make(stem, results, tmp_path / name) for name in "ab")
    for kind in ("png", "pdf", "json"):
        assert one[kind].read_bytes() == two[kind].read_bytes()


def visible_texts(axes):
    """Yield titles, annotations and the tick labels inside the view."""
    yield from (axes.title, axes._left_title, axes._right_title, *axes.texts)
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        for tick in axis.get_major_ticks():
            if min(limits) <= tick.get_loc() <= max(limits):
                yield tick.label1


@pytest.mark.parametrize("stem", figures.FIGURES)
def test_no_labels_lie_over_each_other(stem, results):
    with style.theme():
        spec = figures.FIGURES[stem]
        figure = spec.draw(*(figures.read(results / stem / name) for name in spec.inputs))
        figure.set_dpi(200)
        figure.draw_without_rendering()
    boxes = [
        (text.get_text(), text.get_window_extent().shrunk(0.98, 0.8))
        for axes in figure.axes
        for text in visible_texts(axes)
        if text.get_text() and text.get_visible()
    ]
    overlapping = [
        (a, b) for i, (a, one) in enumerate(boxes) for b, two in boxes[:i] if one.overlaps(two)
    ]
    assert not overlapping


def test_redrawing_needs_no_torch(results, tmp_path):
    code = (
        "import sys; from analysis.figures.__main__ import main; "
        "status = main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(status)"
    )
    options = ["--results", str(results), "--figures", str(tmp_path), "--only", "02_protocols"]
    done = subprocess.run(
        [sys.executable, "-c", code, *options], cwd=project_root(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "02_protocols.png")]


def test_what_is_missing_is_named(results, tmp_path):
    with pytest.raises(ValueError, match="02_protocols"):
        figures.make("03_figure", results, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"losses\.csv"):
        figures.make("10_pretraining", tmp_path, tmp_path)
    assert figures.make_all(tmp_path, tmp_path) == []
    assert figures.available(results) == list(figures.FIGURES)


def test_colours_of_protocols_differ_in_grey_and_markers_everywhere():
    protocols = [style.look(n) for n in ("naive", "aggressive", "gradient_loss", "structured")]
    assert len({one.marker for one in protocols}) == len({one.hatch for one in protocols}) == 4
    grey = sorted(
        float(np.dot(mpl.colors.to_rgb(one.colour), [0.299, 0.587, 0.114])) for one in protocols
    )
    assert grey[-1] - grey[0] > 0.4
    unknown = ["timm:a", "naive", "timm:b"]
    assert style.look("timm:a", unknown).colour != style.look("timm:b", unknown).colour


def test_spread_labels_keep_order_and_distance():
    values = np.array([3.0, 1.0, 1.1, 1.05, 8.0])
    placed = style.spread(values, gap=0.5)
    assert (np.argsort(placed) == np.argsort(values)).all()
    assert (np.diff(np.sort(placed)) >= 0.5 - 1e-9).all()
    assert placed[4] == 8.0
    assert style.spread([], gap=1.0).size == 0
