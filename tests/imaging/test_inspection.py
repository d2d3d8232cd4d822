"""What a photograph is: the same eye shown otherwise is read as before, refused, or said unsure."""

import numpy as np
import pytest
from grape_tree import draw_fundus
from PIL import Image, ImageDraw
from scipy import ndimage

from rnfl.core.exclusion import Excluded
from rnfl.imaging import crops, inspection
from rnfl.storage.paths import project_root

REAL = project_root().parent / "shared" / "data" / "grape" / "CFPs"
SIZE = 480
X, Y = 0.74 * SIZE, 0.48 * SIZE


@pytest.fixture(scope="module")
def photo():
    """A right eye with some structure at every scale, so that it is sharp."""
    drawn = draw_fundus("OD").astype(float)
    noise = np.random.default_rng(0).normal(0, 3, drawn.shape[:2])[..., None]
    return (
        np.where(drawn.max(-1, keepdims=True) > 12, drawn + noise, 0).clip(0, 255).astype(np.uint8)
    )


@pytest.fixture(scope="module")
def plain(photo):
    return crops.prepare(photo, "OD")


def kinds(crop):
    return [doubt.split(":")[0] for doubt in crop.doubts]


def test_an_untouched_photograph_has_no_doubts(plain):
    assert plain.doubts == [] and plain.width_mm == 13.0 and plain.disc.confidence > 0.9


# margins


def test_share_of_the_lit_field(photo):
    assert inspection.find_field(photo).share == pytest.approx(0.98, abs=0.01)
    assert inspection.find_field(padded(photo, 240, 240)).share == pytest.approx(0.49, abs=0.01)


def with_text(picture, box=None):
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    if box:
        draw.rectangle(box, fill="white")
    for y in (5, 25, 45):
        draw.text((4, y), "0001 OD 2019", fill="black" if box else "white")
    return np.asarray(image)


def padded(photo, left=0, right=0, top=0, bottom=0, level=0):
    return np.pad(photo, ((top, bottom), (left, right), (0, 0)), constant_values=level)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda photo: padded(photo, 120, 120), "dark margins"),
        (lambda photo: padded(photo, left=90), "dark margins"),
        (lambda photo: padded(photo, right=40), "dark margins"),
        (lambda photo: padded(photo, 60, 60, 60, 60), "dark margins"),
        (lambda photo: padded(photo, top=120, bottom=120), None),
        (lambda photo: padded(photo, 120, 120, level=255), "bright margins"),
        (lambda photo: padded(photo, left=120, level=90), "bright margins"),
        (lambda photo: np.where(photo.max(-1, keepdims=True) < 12, 255, photo).astype("u1"),
         "bright margins"),
        (lambda photo: with_text(padded(photo, 120, 120)), "dark margins"),
        (lambda photo: with_text(padded(photo, 120, 120, 65), (0, 0, 720, 60)), "bright margins"),
    ],
    ids=["both", "left", "right", "all", "letterbox", "white", "grey", "corners", "text", "bar"],
)  # fmt: skip
def test_margins_change_the_scale_and_are_said(photo, plain, change, kind):
    wide = change(photo)
    crop = crops.prepare(wide, "OD")
    assert (kinds(crop)[:1] or [None]) == [kind]
    assert crop.width_mm == pytest.approx(13 * wide.shape[1] / SIZE, rel=0.01)
    assert np.abs(crop.image.astype(float) - plain.image).mean() < 8  # one mm off: 20


def test_a_stated_width_counts_and_is_doubted_where_the_field_would_be_another(photo):
    wide = padded(photo, 120, 120)
    right, wrong = (crops.prepare(wide, "OD", width_mm=mm) for mm in (19.5, 13.0))
    assert right.doubts == [] and right.width_mm == 19.5
    assert kinds(wrong) == ["dark margins"] and wrong.width_mm == 13.0
    assert "make the field 30° wide; 45° would be 19.4 mm" in wrong.doubts[0]


def test_a_field_that_the_frame_cuts_off_has_no_known_scale(photo):
    assert kinds(crops.prepare(photo[60:-60, 60:-60], "OD"))[0] == "field cut off"
    assert "field cut off" not in kinds(crops.prepare(photo[60:-60, 60:-60], "OD", width_mm=9.75))
    sides = crops.prepare(photo[:, 60:-60], "OD")
    assert sides.width_mm == pytest.approx(13 * 0.75, rel=0.02)
    assert kinds(sides)[0] == "field cut off at its sides"


@pytest.mark.parametrize("width", [0.5, 0, -2, 60, 13000, float("nan")])
def test_no_width_beyond_a_retina_passes(photo, width):
    with pytest.raises(ValueError, match="expected 1 to 50 mm of retina"):
        crops.prepare(photo, "OD", width_mm=width)


@pytest.mark.parametrize("width", [2.0, 30.0, 45.0, 50.0])
def test_a_width_that_may_be_degrees_is_doubted(photo, width):
    doubts = crops.prepare(photo, "OD", width_mm=width).doubts
    assert "were degrees given as mm, or mm as degrees?" in doubts[0]


# levels and colours


@pytest.mark.parametrize(
    ("order", "said"),
    [((2, 1, 0), "BGR"), ((1, 0, 2), "GRB"), ((0, 2, 1), "RBG"), ((2, 0, 1), "BRG"),
     ((1, 2, 0), "GBR")],
)  # fmt: skip
def test_exchanged_channels_are_named(photo, order, said):
    (doubt,) = crops.prepare(photo[..., order], "OD").doubts
    assert doubt.startswith("channel order: ") and doubt.endswith(f"stored as {said}?")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda photo: photo[..., [1, 1, 1]], "no colour"),
        (lambda photo: photo * np.array([0, 1, 0], "u1"), "one channel"),
        (lambda photo: 255 - photo, "bright margins"),
        (lambda photo: photo // 4, "used range"),
        (lambda photo: (photo * 0.18).astype("u1"), "too dark"),
        (lambda photo: (photo * 4.0).clip(0, 255).astype("u1"), "over-exposed"),
        (lambda photo: ndimage.gaussian_filter(photo, (3, 3, 0)), "not sharp"),
        (lambda photo: np.asarray(Image.fromarray(photo).resize((160, 160)).resize((480, 480))),
         "not sharp"),
        (lambda photo: np.asarray(Image.fromarray(photo).resize((200, 200))), "few pixels"),
    ],
    ids=["grey", "green", "negative", "14 bits", "dark", "bright", "blur", "copy", "small"],
)  # fmt: skip
def test_what_was_done_to_the_pixels_is_said(photo, change, kind):
    assert kind in kinds(crops.prepare(change(photo), "OD"))


def test_colour_is_doubted_by_what_the_model_learnt(photo):
    grey = photo[..., [1, 1, 1]]
    assert crops.prepare(grey, "OD", modality="SLO").doubts == []
    assert kinds(crops.prepare(photo, "OD", modality="SLO")) == ["colour"]
    assert all(not crops.prepare(p, "OD", modality=None).doubts for p in (grey, photo))
    cut = crops.prepare(photo, "OD").image
    assert kinds(crops.prepare_crop(cut[..., ::-1], "OD")) == ["channel order"]
    assert kinds(crops.prepare_crop(cut[..., [1, 1, 1]], "OD")) == ["no colour"]


def test_few_grey_levels_are_refused(photo):
    for poor in (photo // 16, photo // 32 * 32, (photo > 60) * np.uint8(255)):
        with pytest.raises(Excluded, match=r"few grey levels: \d+ of 256"):
            crops.prepare(poor, "OD")
        with pytest.raises(Excluded, match="few grey levels"):
            crops.prepare_crop(poor[:300, :300], "OD")


def test_sharpness_falls_with_blur_and_not_with_exposure(plain):
    sharp = inspection.measure(plain.image)["sharpness"]
    values = [inspection.measure(ndimage.gaussian_filter(plain.image, (s, s, 0)))["sharpness"]
              for s in (0.5, 1.0, 1.5)]  # fmt: skip
    assert np.all(np.diff([sharp, *values]) < 0)
    dim = inspection.measure((plain.image * 0.7).astype(np.uint8))["sharpness"]
    assert dim == pytest.approx(sharp, rel=0.1)


def test_crops_unlike_the_training_images_are_said(plain):
    others = [np.clip(plain.image.astype(float) + d, 0, 255).astype(np.uint8) for d in (-8, 0, 8)]
    known = inspection.summarise(others)
    assert inspection.judge_distance(plain.image, known) == []
    assert inspection.judge_distance(plain.image, None) == []
    dark = inspection.judge_distance((plain.image * 0.3).astype(np.uint8), known)
    assert dark and dark[0].startswith("unlike the training images: brightness")
    assert inspection.summarise(np.zeros((2, 32, 32), np.uint8)) == {}


# files


def test_files_of_another_depth_are_refused_whatever_they_are(tmp_path, photo):
    import struct
    import zlib

    def png16(levels):  # three channels of 16 bits, which Pillow cannot write
        height, width = levels.shape[:2]
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
        head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
        chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )

    (tmp_path / "rgb12.png").write_bytes(png16(photo.astype(np.uint16) * 16))
    (tmp_path / "rgb16.png").write_bytes(png16(photo.astype(np.uint16) * 257))
    grey = photo[..., 1]
    Image.fromarray(grey.astype(np.uint16) * 16).save(tmp_path / "grey12.tif")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(grey > 60).save(tmp_path / "one.png")
    Image.fromarray(grey > 60).save(tmp_path / "one.tif")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(Excluded, match=rf"{path.name} .*bits, expected 8 bits per channel"):
            crops.read(path)


def test_what_alpha_hides_is_black(tmp_path, photo, plain):
    lit = photo.max(-1) > 12
    white = np.where(lit[..., None], photo, 255).astype(np.uint8)
    Image.fromarray(np.dstack([white, lit * np.uint8(255)])).save(tmp_path / "mask.png")
    assert (crops.prepare(crops.read(tmp_path / "mask.png"), "OD").image == plain.image).all()
    Image.fromarray(np.dstack([photo, lit * np.uint8(0)])).save(tmp_path / "none.png")
    with pytest.raises(Excluded, match="no field of view"):
        crops.prepare(crops.read(tmp_path / "none.png"), "OD")


@pytest.mark.parametrize("mode", ["P", "CMYK", "RGBA", "LAB"])
def test_other_ways_to_store_colours_are_read(tmp_path, photo, mode):
    path = tmp_path / ("a.png" if mode in ("P", "RGBA") else "a.tif")
    picture = Image.fromarray(photo)
    (picture.quantize(256) if mode == "P" else picture.convert(mode)).save(path)
    assert np.abs(crops.read(path).astype(float) - photo).mean() < 12


# stated discs


@pytest.mark.parametrize(
    ("centre", "said"),
    [
        ((0.74, 0.48), "fractions of the picture.*in px that would be 355, 230"),
        ((2 * X, 2 * Y), "outside the photograph: .*a copy 9[56][0-9] px wide"),
        ((-1, -1), "outside the photograph"),
        ((5, 5), "outside the lit field: 5, 5 on 480x480 px$"),
        ((X / 4, Y / 4), "outside the lit field: .*a copy 1[12][0-9] px wide"),
        ((74, 48), "outside the lit field: .*per cent"),
    ],
    ids=["fractions", "of a larger copy", "code", "corner", "of a small copy", "per cent"],
)
def test_a_stated_disc_that_cannot_be_is_refused(photo, centre, said):
    with pytest.raises(Excluded, match=said):
        crops.prepare(photo, "OD", centre)


@pytest.mark.parametrize(
    ("centre", "said"),
    [
        ((Y, X), "x and y are exchanged"),
        ((Y, SIZE - 1 - X), "before the EXIF turn (90° clockwise)"),
        ((SIZE - 1 - X, SIZE - 1 - Y), "before the EXIF turn (180°)"),
        ((SIZE - 1 - X, Y), "the picture is mirrored"),
        ((0.7 * X, 0.7 * Y), "in px of a copy"),
        ((SIZE / 2, SIZE / 2), "disc radii from the disc that is seen"),
    ],
)
def test_a_stated_disc_far_from_the_one_that_is_seen_is_unsure(photo, centre, said):
    crop = crops.prepare(photo, "OD", centre)
    assert (crop.disc.x, crop.disc.y) == centre and crop.disc.unsure
    assert said in crop.doubts[0] and crop.doubts[0].startswith("stated disc: ")


def test_a_stated_disc_near_the_one_that_is_seen_is_believed(photo):
    for shift in (0, 0.1 * SIZE):  # 1.4 disc radii
        crop = crops.prepare(photo, "OD", (X - shift, Y))
        assert crop.disc == crops.Disc(X - shift, Y, 1.0) and "stated disc" not in kinds(crop)
    margins = crops.prepare(padded(photo, 120, 120), "OD", (X, Y))
    assert margins.disc.unsure and "from the corner of the lit field" in margins.doubts[-1]


# real photographs


@pytest.mark.skipif(not REAL.is_dir(), reason=f"real GRAPE photographs absent: {REAL}")
def test_real_photographs_have_no_new_doubts():
    for path in sorted(REAL.glob("*.jpg"))[::7]:
        crop = crops.prepare(crops.read(path), path.stem.split("_")[1])
        assert set(kinds(crop)) <= {"disc unsure"} and crop.width_mm == 13.0, path
