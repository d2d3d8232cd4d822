"""The page of an eye: right way round, nothing cut off, judged by the band, and no identifiers."""

import numpy as np
import pandas as pd
import pytest
from grape_tree import draw_fundus
from matplotlib.colors import to_hex
from matplotlib.patches import Wedge

from analysis.reports import eye as eye_report
from analysis.reports.eye import words
from rnfl.core import geometry
from rnfl.datasets import normative
from rnfl.imaging.disc import Disc

CARD = {
    "run_id": "grape-dinov2_vitl14-structured-s42-fold-1-of-5-s42-from-0123456789-0123456789",
    "phantom": True,
    "sentence": "dinov2_vitl14 (pretraining: DINOv2 on LVD-142M, self-supervised), adapted by the "
    "protocol 'structured' on 1,674 phantom fundus photographs (phantom-cfp-2400); mean absolute "
    "error 10.9 µm per angle on its 487 phantom test eyes, correlation of the mean thickness 0.80.",
    "notes": ["trained on phantom eyes: its numbers mean nothing for a patient",
              "trained by another version of the model's code"],
}  # fmt: skip
HUMP = 90 - 30 * np.cos(np.deg2rad(2 * geometry.ANGLES))


def make_eye(laterality="OD", profile=HUMP, confidence=0.98, width_mm=13.0):
    photo = draw_fundus(laterality)
    x = 0.74 * 480 - 0.5 if laterality == "OD" else 479 - (0.74 * 480 - 0.5)
    return eye_report.Eye(photo, laterality, Disc(x, 229.9, confidence), width_mm, profile)


@pytest.fixture(scope="module")
def band():
    level = np.linspace(-20, 20, 400)
    samples = pd.DataFrame({"severity": ["healthy"] * 400})
    return normative.band(HUMP + level[:, None], samples)


@pytest.fixture(scope="module")
def page(band):
    """A page with every part that a page may have, drawn once."""
    profile = HUMP - 60 * geometry.QUADRANTS["I"] - 19 * geometry.QUADRANTS["T"]
    profile = profile + 60 * geometry.QUADRANTS["N"]
    figure = eye_report.draw(make_eye("OS", profile, confidence=0.7), band, CARD, "eye 2 of 3")
    figure.draw_without_rendering()
    return figure


def texts(figure):
    """Return every text that is drawn: of the sheet, in axes, their titles and tick labels."""
    found = list(figure.texts)
    for axes in figure.axes:
        found += [*axes.texts, axes.title, axes._left_title]
        if axes.axison:
            found += [axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(),
                      *axes.get_yticklabels()]  # fmt: skip
    return [text for text in found if text.get_text().strip()]


def said(figure):
    return " ".join(t.get_text() for t in texts(figure)).replace("\n", " ")


def axes_titled(figure, title):
    return next(a for a in figure.axes if title in a.get_title("center") + a.get_title("left"))


def test_everything_is_said(page):
    text = said(page)
    for expected in (
        "Left eye (OS)", "eye 2 of 3", "PHANTOM MODEL", "mean nothing for a patient",
        "Reference: 400 healthy phantom eyes of the training set", "! Unsure", "confidence 0.70",
        "Research use only. Not a medical device.", "not measured by OCT", "dinov2_vitl14",
        CARD["run_id"], "13.0 mm of retina across", "5 to 95 %", "below 1 %",
    ):  # fmt: skip
        assert expected in text, expected


def test_the_page_is_a4_and_nothing_is_cut_off_or_runs_into_the_margin(page):
    assert page.get_size_inches() * 25.4 == pytest.approx([210, 297])
    width, height = page.canvas.get_width_height()
    for text in texts(page):
        box = text.get_window_extent()
        inside = box.x0 >= 0.04 * width and box.x1 <= 0.96 * width
        assert inside and box.y0 >= 0.01 * height and box.y1 <= 0.99 * height, text.get_text()


def test_no_two_texts_overlap(page):
    boxes = [(t.get_text(), t.get_window_extent().padded(-1.0)) for t in texts(page)]
    for i, (first, box) in enumerate(boxes):
        clash = [other for other, its in boxes[i + 1 :] if box.overlaps(its)]
        assert not clash, (first, clash)


@pytest.mark.parametrize("laterality", ["OD", "OS"])
def test_letters_ring_and_wheels_lie_where_the_photograph_has_them(laterality, band):
    figure = eye_report.draw(make_eye(laterality), band, CARD)
    eye, photo = make_eye(laterality), figure.axes[0]
    places = {t.get_text(): t.get_position() for t in photo.texts}
    mark = 2 * 0.07 * 480 * (-1 if laterality == "OD" else 1)  # the blue mark of the drawing
    assert np.sign(places["T"][0] - eye.disc.x) == np.sign(mark)
    assert places["S"][1] < eye.disc.y < places["I"][1]
    x, y = photo.lines[0].get_data()
    np.testing.assert_allclose(np.hypot(x - eye.disc.x, y - eye.disc.y), 1.73 / 13.0 * 480)
    assert np.ptp(photo.get_xlim()) == pytest.approx(4.943 / 13.0 * 480, abs=0.1)
    for title in ("Quadrants", "Clock hours"):
        wheel = {t.get_text(): t.get_position() for t in axes_titled(figure, title).texts}
        assert np.sign(wheel["T"][0]) == np.sign(mark) and wheel["S"][1] > 0 > wheel["I"][1]


def test_the_curve_runs_tsnit_for_both_eyes(band):
    for laterality in geometry.LATERALITIES:
        curve = axes_titled(eye_report.draw(make_eye(laterality), band, CARD), "Thickness along")
        assert [t.get_text() for t in curve.get_xticklabels()] == [
            "TEMP",
            "SUP",
            "NAS",
            "INF",
            "TEMP",
        ]
        drawn = max(curve.lines, key=lambda line: line.get_linewidth())
        np.testing.assert_allclose(drawn.get_ydata(), [*HUMP, HUMP[0]])


def wedge_at(axes, bearing):
    """Return the wedge that covers a direction, degrees counter-clockwise from the right."""
    return next(w for w in axes.findobj(Wedge)
                if (bearing - w.theta1) % 360 < (w.theta2 - w.theta1))  # fmt: skip


def test_wheels_show_the_right_quadrant_in_the_colour_of_its_place(page):
    wheel = axes_titled(page, "Quadrants")  # a left eye: temporal on the right
    expected = {0: "below 5 %", 90: "within", 180: "above 95 %", 270: "below 1 %"}
    for bearing, place in expected.items():
        colour = to_hex(wedge_at(wheel, bearing).get_facecolor())
        assert colour == to_hex(words.PLACES[place].fill), (bearing, place)
    number = next(t for t in wheel.texts if t.get_position()[0] > 0.5 and t.get_text().isdigit())
    profile = (HUMP - 19)[geometry.QUADRANTS["T"]]
    assert number.get_text() == f"{profile.mean():.0f}"
    assert len(axes_titled(page, "Clock hours").findobj(Wedge)) == 12


def test_colours_are_told_apart_in_grey():
    def lightness(colour):
        red, green, blue = (int(to_hex(colour)[i : i + 2], 16) for i in (1, 3, 5))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    marks = [place.mark for place in words.PLACES.values()][:4]
    greys = sorted(lightness(words.PLACES[name].fill) for name in normative.POSITIONS)
    assert len(set(marks)) == 4 and min(np.diff(greys)) > 25


def test_without_a_band_nothing_is_judged_and_the_page_says_so():
    figure = eye_report.draw(make_eye(), None, CARD | {"phantom": None, "notes": []})
    text = said(figure)
    assert "No reference band" in text and "no reference to judge by" in text
    assert "below" not in text and "PHANTOM" not in text
    assert "not recorded what the model was trained on" in text
    fills = {to_hex(w.get_facecolor()) for a in figure.axes for w in a.findobj(Wedge)}
    assert fills == {to_hex(words.PLACES[None].fill)}


def test_a_band_of_quadrants_judges_quadrants_alone():
    level = np.linspace(50, 150, 60)
    columns = {f"rnfl_{name}": level for name in ("mean", "S", "N", "I", "T")}
    band = normative.band(np.full((60, 360), np.nan), pd.DataFrame(columns))
    figure = eye_report.draw(make_eye(), band, CARD | {"phantom": False})
    text = said(figure)
    assert "Reference: 60 eyes of the training set; quadrants and mean only" in text
    assert "no reference along the circle" in text and "PHANTOM" not in text
    assert "too few eyes to say" in text and "never measured" not in text
    hours = axes_titled(figure, "Clock hours").findobj(Wedge)
    quadrants = axes_titled(figure, "Quadrants").findobj(Wedge)
    assert {to_hex(w.get_facecolor()) for w in hours} == {to_hex(words.PLACES[None].fill)}
    assert to_hex(words.PLACES[None].fill) not in {to_hex(w.get_facecolor()) for w in quadrants}


def test_a_model_of_quadrant_means_says_so_where_it_draws_more(band):
    figure = eye_report.draw(make_eye(), band, CARD | {"trained_on": "quadrants"})
    figure.draw_without_rendering()
    axes_titled(figure, "Clock hours (µm): never measured")
    axes_titled(figure, "trained on quadrant means, not its shape")
    test_no_two_texts_overlap(figure)
    test_the_page_is_a4_and_nothing_is_cut_off_or_runs_into_the_margin(figure)


def test_too_few_reference_eyes_judge_nothing():
    columns = {f"rnfl_{name}": np.linspace(50, 150, 5) for name in ("mean", "S", "N", "I", "T")}
    band = normative.band(np.full((5, 360), np.nan), pd.DataFrame(columns))
    figure = eye_report.draw(make_eye(), band, CARD)
    text = said(figure)
    assert "too few to say" in text and "no reference to judge by" in text
    assert "––" not in text and "below" not in text and "above" not in text


def test_a_crop_has_no_whole_photograph_and_a_given_disc_is_not_called_located(band):
    eye = make_eye(confidence=1.0, width_mm=geometry.FIELD_MM)
    figure = eye_report.draw(eye, band, CARD)
    assert "centre given, not located" in said(figure)
    whole = eye_report.draw(make_eye(), band, CARD)
    assert len(whole.axes) == len(figure.axes) + 1


def test_a_page_is_saved_whole_and_the_same_twice(band, tmp_path):
    figure = eye_report.draw(make_eye(), band, CARD)
    first = eye_report.save(figure, tmp_path / "page")["pdf"].read_bytes()
    assert first.startswith(b"%PDF") and b"/MediaBox [ 0 0 595.27" in first
    eye_report.save(eye_report.draw(make_eye(), band, CARD), tmp_path / "again")
    again = (tmp_path / "again.pdf").read_bytes()
    assert first == again
    assert {p.name for p in tmp_path.iterdir()} == {
        "page.pdf", "page.png", "again.pdf", "again.png",
    }  # fmt: skip
