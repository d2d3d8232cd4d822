"""Disc localisation: on drawn photographs with a known disc, and on the real ones of GRAPE."""

import importlib
import json

import numpy as np
import pandas as pd
import pytest
from grape_tree import draw_fundus, row, write_workbook
from PIL import Image

from rnfl.core.exclusion import Excluded
from rnfl.datasets.grape import WORKBOOK
from rnfl.imaging import disc
from rnfl.storage.paths import project_root

BENCHMARKS = project_root() / "benchmarks"
REAL = project_root().parent / "shared" / "data" / "grape"


@pytest.fixture(scope="module")
def benchmark():
    """The program that measures the localisation, and the usual shortcut beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("disc")


def error(found: tuple[float, float], laterality: str, x: float, y: float, size: int) -> float:
    """Distance in disc radii from the disc that `draw_fundus` drew."""
    x = x * size - 0.5
    true = (x if laterality == "OD" else size - 1 - x, y * size - 0.5)
    return np.hypot(found[0] - true[0], found[1] - true[1]) / (disc.DISC_RADIUS * size)


@pytest.mark.parametrize("laterality", ["OD", "OS"])
@pytest.mark.parametrize(("x", "y"), [(0.74, 0.48), (0.60, 0.44), (0.85, 0.52)])
def test_finds_the_drawn_disc_where_glare_fools_the_brightest_spot(benchmark, laterality, x, y):
    photo = draw_fundus(laterality, x, y, glare=True)
    found = disc.locate(photo, laterality)
    assert error((found.x, found.y), laterality, x, y, len(photo)) < 0.2
    assert not found.unsure
    assert error(benchmark.brightest_spot(photo), laterality, x, y, len(photo)) > 3


@pytest.mark.parametrize("size", [300, 1000])
def test_position_follows_the_size_of_the_photograph(size):
    found = disc.locate(draw_fundus("OD", size=size), "OD")
    assert error((found.x, found.y), "OD", 0.74, 0.48, size) < 0.2


def test_picture_need_not_be_square():
    photo = draw_fundus("OS")
    wide = np.pad(photo, ((0, 0), (60, 60), (0, 0)))
    whole, padded = disc.locate(photo, "OS"), disc.locate(wide, "OS")
    assert np.hypot(padded.x - 60 - whole.x, padded.y - whole.y) < 0.2 * 0.07 * len(photo)


def test_left_eye_is_the_mirror_image_of_a_right_eye():
    photo = draw_fundus("OD", 0.80, 0.50)
    right, left = disc.locate(photo, "OD"), disc.locate(photo[:, ::-1].copy(), "OS")
    assert abs(left.x - (photo.shape[1] - 1 - right.x)) < 2  # the two priors are not exact mirrors
    assert abs(left.y - right.y) < 2


def test_photograph_without_a_disc_is_unsure():
    rng = np.random.default_rng(0)
    photo = np.full((300, 300, 3), 90.0) + rng.normal(0, 5, (300, 300, 1))
    assert disc.locate(photo.astype(np.uint8), "OD").unsure


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"'right'.*OD, OS"):
        disc.locate(draw_fundus("OD"), "right")
    with pytest.raises(ValueError, match=r"float64.*uint8"):
        disc.locate(draw_fundus("OD").astype(float), "OD")
    with pytest.raises(Excluded, match="covers 0% of the picture"):
        disc.locate(np.zeros((300, 300, 3), np.uint8), "OD")


def test_framing_and_scale_say_where_to_look():
    """A disc-centred photograph of half the width: its disc is twice as large, in the middle."""
    photo = draw_fundus("OD", size=960)
    x, y = round(0.74 * 960), round(0.48 * 960)
    part = photo[y - 240 : y + 240, x - 240 : x + 240]
    found = disc.locate(part, "OD", width_mm=6.5, framing="disc")
    assert np.hypot(found.x - 239.5, found.y - 239.5) < 0.2 * disc.DISC_RADIUS * 960
    assert not found.unsure
    assert found.confidence > disc.locate(part, "OD", width_mm=6.5).confidence
    with pytest.raises(ValueError, match=r"framing 'nose': expected macula or disc"):
        disc.locate(part, "OD", framing="nose")


@pytest.fixture(scope="module")
def real():
    """Real photographs at about a third of their size, with the truth: (photo, eye, x, y, radius).

    Where the published region-of-interest images lie; radius = a quarter of their width.
    """
    if not REAL.is_dir():
        pytest.skip(f"real GRAPE photographs absent: {REAL}")
    cases = []
    for eye in pd.read_csv(REAL / "roi_location_in_cfp.csv").itertuples():
        with Image.open(REAL / "CFPs" / eye.file) as file:
            file.draft("RGB", (512, 512))  # decoded at half or quarter size: seconds, not minutes
            photo = np.asarray(file.convert("RGB"))
        scale = eye.cfp_w / photo.shape[1]
        x, y = ((c + 0.5) / scale - 0.5 for c in (eye.centre_x, eye.centre_y))
        cases.append((photo, eye.file.split("_")[1], x, y, eye.roi_w / 4 / scale))
    return cases


def measure(cases, change=lambda photo, eye, x, y, r: (photo, eye, x, y, r)):
    """Return errors in disc radii, and which discs are unsure."""
    errors, unsure = [], []
    for case in cases:
        photo, eye, x, y, radius = change(*case)
        found = disc.locate(photo, eye)
        errors.append(np.hypot(found.x - x, found.y - y) / radius)
        unsure.append(found.unsure)
    return np.array(errors), np.array(unsure)


def test_real_photographs(benchmark, real):
    errors, unsure = measure(real)
    spots = [benchmark.brightest_spot(photo) for photo, *_ in real]
    spots = np.array(
        [np.hypot(u - x, v - y) / r for (u, v), (*_, x, y, r) in zip(spots, real, strict=True)]
    )
    assert np.median(errors) <= 0.25
    assert errors.max() <= 1
    assert unsure.mean() < 0.05
    assert spots.max() > 2  # the shortcut loses the disc altogether in some eyes
    assert errors.mean() <= 0.7 * spots.mean()
    for method, found in (("disc localisation", errors), ("brightest blurred spot", spots)):
        median, most, worst, lost = documented(method)
        assert np.quantile(found, [0.5, 0.9]) == pytest.approx([median, most], abs=0.03)
        assert found.max() == pytest.approx(worst, rel=0.1)
        assert (found > 1).sum() == lost


def mirror(photo, eye, x, y, r):
    return photo[:, ::-1].copy(), eye, photo.shape[1] - 1 - x, y, r


def erase(photo, eye, x, y, r):
    """Paint the disc over with what surrounds it."""
    v, u = np.mgrid[: photo.shape[0], : photo.shape[1]]
    away = np.hypot(u - x, v - y) / r
    photo = photo.copy()
    photo[away < 1.6] = np.median(photo[(away >= 1.6) & (away < 2.2)], axis=0)
    return photo, eye, x, y, r


def shift(share):
    def move(photo, eye, x, y, r):
        step = round(share * photo.shape[1])
        moved = np.zeros_like(photo)
        moved[:, max(step, 0) : photo.shape[1] + min(step, 0)] = photo[
            :, max(-step, 0) : photo.shape[1] - max(step, 0)
        ]
        return moved, eye, x + step, y, r

    return move


def cut(photo, eye, x, y, r):
    edge = photo.shape[1] // 10
    return photo[edge:-edge, edge:-edge].copy(), eye, x - edge, y - edge, r


def cut_high(photo, eye, x, y, r):
    edge = photo.shape[0] * 15 // 100
    return photo[edge:-edge].copy(), eye, x, y - edge, r


def darken(photo, eye, x, y, r):
    return (photo * 0.15).astype(np.uint8), eye, x, y, r


def shade(photo, eye, x, y, r):
    """Let the light fall off towards the left."""
    return (photo * np.linspace(0.4, 1, photo.shape[1])[:, None]).astype(np.uint8), eye, x, y, r


def halve(photo, eye, x, y, r):
    small = Image.fromarray(photo).reduce(2)
    return np.asarray(small), eye, (x + 0.5) / 2 - 0.5, (y + 0.5) / 2 - 0.5, r / 2


@pytest.mark.parametrize("change", [cut, cut_high, darken, shade, halve, shift(0.1), shift(-0.1)])
def test_real_photographs_taken_otherwise(real, change):
    """Framed, lit or scaled otherwise: found as well, or said to be unsure."""
    errors, unsure = measure(real[::8], change)
    assert np.median(errors) <= 0.25
    assert not ((errors > 1) & ~unsure).any()
    assert unsure.mean() <= 0.2


@pytest.mark.parametrize("change", [mirror, erase])
def test_real_photographs_of_the_wrong_eye_or_without_disc_are_unsure(real, change):
    errors, unsure = measure(real[::5], change)
    assert (errors > 1).mean() > 0.8
    assert unsure[errors > 1].mean() > 0.85


def test_tables_of_the_readme_are_those_of_the_benchmark():
    record = json.loads((BENCHMARKS / "results" / "disc.json").read_text(encoding="utf-8"))
    readme = (project_root() / "data" / "README.md").read_text(encoding="utf-8").splitlines()
    assert record["smoke"] is False
    for one in record["rows"]:
        errors = " | ".join(f"{one[name]:.2f}" for name in ("median", "90 %", "worst"))
        lost = f"{one['beyond 1 radius']} of {one['photographs']}"
        assert f"| {one['method']} | {errors} | {lost} |" in readme
    names = ("change", "beyond 1 radius", "of these unsure", "unsure though within")
    for one in record["changes"]:
        assert f"| {' | '.join(str(one[name]) for name in names)} |" in readme


def test_the_benchmark_measures_drawn_discs_rightly(benchmark, tmp_path):
    source, (x, y), side = tmp_path / "raw", (0.74, 0.48), 4 * disc.DISC_RADIUS
    (source / "CFPs").mkdir(parents=True)
    (source / "ROI images").mkdir()
    write_workbook(source / WORKBOOK, [row(1, "OD"), row(2, "OS")])
    for name, eye, left in (("1_OD_1.jpg", "OD", x - side / 2), ("2_OS_1.jpg", "OS", 0.26 - 0.14)):
        photo = Image.fromarray(draw_fundus(eye, x, y, size=960))
        photo.save(source / "CFPs" / name, quality=95)
        box = [round(960 * edge) for edge in (left, y - side / 2, left + side, y + side / 2)]
        photo.crop(box).save(source / "ROI images" / name, quality=95)
    path = benchmark.main(["--smoke", "--source", str(source), "--output", str(tmp_path / "out")])
    record = json.loads(path.read_text(encoding="utf-8"))
    found = {one["method"]: one for one in record["rows"]}
    assert found["disc localisation"]["worst"] < 0.2
    assert found["disc localisation"]["photographs"] == 2
    by_hand = [np.hypot((x - px) / 0.07, (y - py) / 0.07) for px, py in [disc.PRIOR_CENTRE["OD"]]]
    assert found["always the mean position"]["worst"] >= by_hand[0] - 0.05
    lost = {one["change"]: one["beyond 1 radius"] for one in record["changes"]}
    assert lost["none"] == lost["half the size"] == lost["darkened to 0.15"] == 0
    assert lost["wrong laterality (mirrored)"] + lost["disc painted over"] > 0
    with pytest.raises(SystemExit, match=r"there is no .*nowhere"):
        benchmark.main(["--smoke", "--source", str(tmp_path / "nowhere")])


def documented(method: str) -> tuple[float, float, float, int]:
    """Return a row of the table in data/README.md: median, 90 %, worst, number beyond 1 radius."""
    text = (project_root() / "data" / "README.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| {method} |"))
    _, _, median, most, worst, lost, _ = (cell.strip() for cell in row.split("|"))
    return float(median), float(most), float(worst), int(lost.split()[0])
