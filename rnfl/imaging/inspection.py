"""What a photograph is, wherever one is read: its lit field, grey levels, colours, sharpness.

What cannot be right raises :class:`Excluded` with the remedy. What is doubtful is said in sentences
that begin with their kind ("dark margins: ..."), the same for the same photograph in every command;
an eye that has one is unsure. All limits are **ours**, and lie outside what the 102 photographs of
GRAPE at hand have (``data/README.md``): they speak of pictures of another make.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise, permutations

import numpy as np
from scipy import ndimage

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import FIELD_MM
from rnfl.imaging import disc, pixels
from rnfl.imaging.disc import DISC_RADIUS, PHOTOGRAPH_MM, Disc

MM_PER_DEGREE = 0.288  # of retina (ours)
WIDTHS_MM = (1.0, 50.0)  # of retina, that a photograph can show
FIELD_SHARE = 0.98  # of the width of a photograph that its lit field takes (GRAPE)
FINE = 768  # px of width, at which the edges of the field are looked for
MARGINS = 0.95  # of the picture; a smaller field has margins
CUT = 0.4  # of a side of the picture that the field touches where it is cut off
USUAL = 1.2  # times 45°: how far a stated width may take the field from it
FEWEST_LEVELS = 32  # grey levels, of 256, that a picture must use
PLAIN, BRIGHT = 6, 12  # grey levels: spread of a drawn margin; brightest that counts as black
DARK = 25  # median grey level of the brightest channel
FLAT = 25  # grey levels between the percentiles 1 and 99 of green
GLARE, GLARE_RED = 0.05, 0.5  # of the field that is full, in green and in red
TOP = 100  # grey level that the brightest hundredth of the field reaches
GREY = 0.1  # (brightest - darkest channel) / brightest of a picture without colour
ORDERED = 0.5  # of the field where red >= green >= blue
BLURRED = 0.5  # sharpness; photographs of GRAPE have 0.56 to 0.79
FEW_PIXELS = 112  # of the side that a crop is made of
FAR = 2.0  # disc radii between a stated and a located centre
STRANGE = 3.0  # standard deviations beyond the range of the training images
LEAST_SD = 0.02  # of a measure that is the same in all of them, such as the redness of grey ones

FEW_LEVELS = "few grey levels"
OFF_DISC = "disc centre outside the photograph"
FRACTIONS = "disc centre as fractions of the picture?"
UNLIT = "disc centre outside the lit field"

#: What a prepared folder records of this method.
SETTINGS = {"field_share": FIELD_SHARE, "margins": MARGINS}

# the lit field, and the scale that follows


@dataclass(frozen=True)
class Field:
    """The lit field of a photograph: its edges in px from the corner of its first pixel.

    They are those at mid height and mid width, so that a bar of text does not widen it.
    """

    left: float
    top: float
    right: float
    bottom: float
    share: float  # its diameter, the larger of width and height, over the photograph's width
    margins: bool  # whether it is clearly smaller than the photograph
    cut: bool  # whether the frame cuts it off, so that its diameter is not in the picture
    mask: np.ndarray  # (h, 256), bool


def blacken_margins(photo: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return a photograph (H, W, 3) with drawn margins of one colour made black, and the doubt."""
    margin = np.zeros(photo.shape[:2], bool)
    for side in (np.s_[:4], np.s_[-4:], np.s_[:, :4], np.s_[:, -4:]):
        strip = photo[side].reshape(-1, 3).astype(int)
        colour = np.median(strip, axis=0)
        if colour.max() > BRIGHT and (np.abs(strip - colour).max(axis=1) <= PLAIN).mean() > 0.9:
            labels, _ = ndimage.label((np.abs(photo - colour) <= PLAIN).all(axis=-1))
            margin |= np.isin(labels, np.setdiff1d(labels[side], 0))
    if not margin.any():
        return photo, []
    doubt = f"bright margins: {margin.mean():.0%} of the picture are of one colour; taken as black"
    margin = ndimage.binary_dilation(margin, iterations=2)  # the blurred edge
    return np.where(margin[..., None], np.uint8(0), photo), [doubt]


def find_field(photo: np.ndarray) -> Field:
    """Return the :func:`rnfl.imaging.disc.lit_field` of a photograph (H, W, 3), uint8."""
    mask = disc.lit_field(pixels.shrink(photo, max(1.0, photo.shape[1] / FINE)))
    height, width = mask.shape
    top, bottom = _ends(mask.any(axis=1))
    left, right = _ends(_middle(mask, top, bottom).any(axis=0))
    top, bottom = _ends(_middle(mask.T, left, right).any(axis=0))
    across, high = right - left, bottom - top
    sides = max(mask[:, 0].mean(), mask[:, -1].mean()) > CUT
    ends = max(mask[0].mean(), mask[-1].mean()) > CUT
    return Field(
        *(float(edge * (photo.shape[1] / width)) for edge in (left, top, right, bottom)),
        share=max(across, high) / width,
        margins=bool(across < MARGINS * width or high < MARGINS * height),
        cut=bool(sides and (ends or across >= high)),
        mask=disc.lit_field(disc.to_working_width(photo)),
    )


def _ends(lit: np.ndarray) -> tuple[int, int]:
    at = np.flatnonzero(lit)
    return at[0], at[-1] + 1


def _middle(mask: np.ndarray, first: int, last: int) -> np.ndarray:
    """Return the middle third of the rows from ``first`` to ``last``."""
    third = (last - first) // 3
    return mask[first + third : last - third]


def frame(field: Field, photo: np.ndarray) -> tuple[int, int, int, int]:
    """Return the part (left, top, right, bottom, px) of a photograph without its margins.

    Round the field it keeps what photographs of GRAPE have; without margins it is all of it.
    """
    height, width = photo.shape[:2]
    if field.cut or not field.margins:
        return 0, 0, width, height
    rim = (1 / FIELD_SHARE - 1) / 2 * field.share * width
    left, top = (max(0, round(edge - rim)) for edge in (field.left, field.top))
    return left, top, min(width, round(field.right + rim)), min(height, round(field.bottom + rim))


def choose_width(field: Field | None, stated: float | None) -> tuple[float, list[str]]:
    """Return the width of retina (mm) on a photograph, its margins included, and the doubts.

    A stated width counts, after :func:`check_width`; without one the lit field is taken as that of
    a 45° camera, 13.0 mm.
    """
    if stated is not None:
        check_width(stated)
        if not FIELD_MM <= stated <= 2 * PHOTOGRAPH_MM:
            return stated, [
                f"width: {stated:g} mm of retina are {stated / MM_PER_DEGREE:.0f}° (45° are 13.0 "
                "mm): were degrees given as mm, or mm as degrees?"
            ]
    width = stated or PHOTOGRAPH_MM
    if field is None or (field.cut and stated):
        return width, []
    if field.cut:
        return width, [
            "field cut off: its border is not in the picture, so that 13.0 mm across (45°) are a "
            "guess; state width_mm or field_degrees"
        ]
    if MARGINS < field.share / FIELD_SHARE < 1 / MARGINS:
        return width, []
    follows = PHOTOGRAPH_MM * FIELD_SHARE / field.share
    kind = "dark margins" if field.share < FIELD_SHARE else "field cut off at its sides"
    said = f"{kind}: the diameter of the lit field is {field.share:.0%} of the picture's width"
    if stated is None:
        return follows, [
            f"{said}; taken as 45° it makes the picture {follows:.1f} mm wide, not 13.0; state "
            "width_mm to be sure"
        ]
    if 1 / USUAL < follows / stated < USUAL:
        return stated, []
    seen = stated * field.share / FIELD_SHARE / MM_PER_DEGREE
    return stated, [
        f"{said}; {stated:.1f} mm over the whole picture, margins too, make the field {seen:.0f}° "
        f"wide; 45° would be {follows:.1f} mm"
    ]


def check_width(width_mm: float) -> None:
    """Refuse a width of retina (mm) that no photograph shows, with a ValueError that has the range.

    Examples
    --------
    >>> check_width(13000)
    Traceback (most recent call last):
        ...
    ValueError: width of the photograph 13000 mm: expected 1 to 50 mm of retina (3.5 to 174°; \
45° are 13.0 mm)
    """
    low, high = WIDTHS_MM
    if not low <= width_mm <= high:
        raise ValueError(
            f"width of the photograph {width_mm:g} mm: expected {low:g} to {high:g} mm of retina "
            f"({low / MM_PER_DEGREE:.1f} to {high / MM_PER_DEGREE:.0f}°; 45° are 13.0 mm)"
        )


# grey levels, colours, sharpness


def check_levels(picture: np.ndarray) -> None:
    """Refuse a picture (H, W, 3), uint8, that uses too few grey levels to hold a photograph.

    What :class:`Excluded` says has their number, the largest, and the remedy.
    """
    used = max(np.count_nonzero(np.bincount(picture[..., i].ravel())) for i in range(3))
    if used < FEWEST_LEVELS:
        raise Excluded(
            FEW_LEVELS,
            f"{used} of 256, the largest {picture.max()}: 1 or 4 bits, or the high byte of 12-bit "
            "values? Save it with 8 bits per channel that use 0 to 255",
        )


def judge_levels(lit: np.ndarray, modality: str | None) -> list[str]:
    """Return the doubts about brightness and colours.

    Parameters
    ----------
    lit : ndarray (N, 3)
        Pixels of the lit field, averaged over a few neighbours.
    modality : {'CFP', 'SLO', None}
        What the model, or the dataset, is of; None where that is not known.
    """
    doubts, medians = [], np.median(lit, axis=0)
    if medians.max() < DARK:
        doubts.append(f"too dark: the median grey level of the field is {medians.max():.0f}")
    full = (lit >= 250).mean(axis=0)
    if full[1] > GLARE or full[0] > GLARE_RED:
        doubts.append(f"over-exposed: red is full in {full[0]:.0%}, green in {full[1]:.0%}")
    top = np.percentile(lit.max(axis=1), 99)
    if top < TOP:
        doubts.append(
            f"used range: 99% of the field are below {top:.0f} of 255 (10 or 14 bits in 16?)"
        )
    low, high = np.percentile(lit[:, 1], [1, 99])
    if high - low < FLAT:
        doubts.append(f"flat: green uses the levels {low:.0f} to {high:.0f} only")
    return doubts + _judge_colours(lit, medians, modality)


def _judge_colours(lit: np.ndarray, medians: np.ndarray, modality: str | None) -> list[str]:
    chroma = float(np.mean(np.ptp(lit, axis=1)) / max(lit.max(axis=1).mean(), 1.0))
    if chroma < GREY:
        said = "no colour: a grey picture, where colour photographs are expected"
        return [said] if modality == "CFP" else []
    if modality == "SLO":
        return ["colour: a colour picture, where grey SLO images are expected"]
    levels = "red {:.0f}, green {:.0f}, blue {:.0f}".format(*medians)
    if (np.percentile(lit, 99, axis=0) < 16).sum() == 2:
        return [f"one channel: only one holds a picture (medians: {levels})"]
    # How much of the field fits red >= green >= blue under each order of the channels.
    shares = {
        order: float(np.mean((np.diff(lit[:, order], axis=1) <= 3).all(axis=1)))
        for order in permutations(range(3))
    }
    if shares[0, 1, 2] >= ORDERED:
        return []
    best = "".join("RGB"[i] for i in np.argsort(max(shares, key=shares.get)))
    hint = f"; stored as {best}?" if max(shares.values()) >= ORDERED else "; false colours?"
    return [f"channel order: medians {levels} in the field, expected red > green > blue{hint}"]


def measure(crop: np.ndarray) -> dict[str, float]:
    """Return what a crop (S, S[, 3]) uint8 looks like: levels, contrast, sharpness.

    ``sharpness`` is the one score of quality: structure of log green between Gaussians of 0.7 and
    1.4 px over that between 1.4 and 2.8 px, as standard deviations, at 224 px for 4.943 mm. It does
    not depend on exposure; photographs of GRAPE have 0.56 to 0.79, blurred by 3 px 0.30 to 0.41,
    enlarged from a third of the size 0.45 to 0.55. Noise raises it.
    """
    crop = pixels.fit(np.asarray(crop), pixels.BILINEAR)
    crop = crop if crop.ndim == 3 else np.repeat(crop[..., None], 3, axis=-1)
    lit = ndimage.binary_erosion(crop.max(axis=-1) > BRIGHT, iterations=6)
    if lit.mean() < 0.1:
        return {}
    green = np.log(crop[..., 1] + 8.0)
    smooth = [ndimage.gaussian_filter(green, sigma) for sigma in (0.7, 1.4, 2.8)]
    fine, coarse = (float((a - b)[lit].std()) for a, b in pairwise(smooth))
    red, _, blue = np.moveaxis(crop, -1, 0)
    return {
        "brightness": float(crop[lit].mean()),
        "redness": float(np.log((red[lit].mean() + 8) / (blue[lit].mean() + 8))),
        "contrast": float(green[lit].std()),
        "sharpness": fine / max(coarse, 1e-9),
    }


def judge_crop(crop: np.ndarray, side: float) -> list[str]:
    """Return the doubts about a crop (224, 224, 3) that was made of ``side`` px."""
    doubts, seen = [], measure(crop)
    if side < FEW_PIXELS:
        doubts.append(f"few pixels: 4.943 mm round the disc are {side:.0f} px")
    if not seen:
        return [*doubts, "too dark: less than a tenth of the crop is lit"]
    if seen["sharpness"] < BLURRED:
        doubts.append(
            f"not sharp: {seen['sharpness']:.2f}, expected {BLURRED} or more: out of focus, or "
            "enlarged from a small copy"
        )
    return doubts


def summarise(crops: Iterable[np.ndarray]) -> dict[str, list[float]]:
    """Return smallest, largest and standard deviation of each measure of training images."""
    seen = [found for found in map(measure, crops) if found]
    columns = {name: np.array([found[name] for found in seen]) for name in (seen or [{}])[0]}
    return {
        name: [round(float(f(values)), 4) for f in (np.min, np.max, np.std)]
        for name, values in columns.items()
    }


def judge_distance(crop: np.ndarray, trained_on: Mapping[str, list[float]] | None) -> list[str]:
    """Return the doubt that a crop is unlike the training images of :func:`summarise`."""
    doubts, seen = [], measure(crop)
    for name, (low, high, sd) in (trained_on or {}).items():
        value = seen.get(name, np.nan)
        slack = STRANGE * max(sd, LEAST_SD)
        if not low - slack <= value <= high + slack:
            doubts.append(
                f"unlike the training images: {name} {value:.2f}, theirs {low:.2f} to {high:.2f}"
            )
    return doubts


# stated disc centres


def judge_centre(
    stated: tuple[float, float],
    found: Disc | None,
    field: Field | None,
    size: tuple[int, int],
    width_mm: float,
    corner: tuple[int, int] = (0, 0),
) -> tuple[Disc, list[str]]:
    """Return a stated disc (px) with its confidence, and the doubts about it.

    The confidence is 1; where the located centre is more than two disc radii away, it is what the
    locator leaves for other places. Fractions, and a centre outside the photograph or its lit
    field, are :class:`Excluded`.

    Parameters
    ----------
    stated : (x, y)
    found : Disc or None
        The located one, and ``field``, the lit field; None where there is no field.
    size : (width, height)
        Of the photograph (px); ``width_mm`` is its width of retina.
    corner : (left, top)
        Of :func:`frame`.
    """
    (x, y), (width, height) = stated, size
    where = f"{x:g}, {y:g} on {width}x{height} px"
    if 0 <= x <= 1 and 0 <= y <= 1:
        raise Excluded(FRACTIONS, f"{where}; in px that would be {x * width:.0f}, {y * height:.0f}")
    radius = DISC_RADIUS * PHOTOGRAPH_MM / width_mm * width
    meant = _how_it_fits(x, y, size, found, radius, corner) if found else ""
    if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
        raise Excluded(OFF_DISC, where + meant)
    if found is None:
        return Disc(x, y, 1.0), ["no field of view: nothing to compare the stated disc with"]
    scale = width / field.mask.shape[1]
    row, column = (int((at + 0.5) / scale) for at in (y, x))
    if not field.mask[min(row, len(field.mask) - 1), min(column, field.mask.shape[1] - 1)]:
        raise Excluded(UNLIT, where + meant)
    away = float(np.hypot(x - found.x, y - found.y) / radius)
    if away <= FAR:
        return Disc(x, y, 1.0), []
    return Disc(x, y, 1 - found.confidence), [
        f"stated disc: {where} is {away:.1f} disc radii from the disc that is seen at "
        f"{found.x:.0f}, {found.y:.0f} (confidence {min(found.confidence, 0.999):.3f}){meant}"
    ]


def _how_it_fits(
    x: float, y: float, size: tuple[int, int], found: Disc, radius: float, corner: tuple[int, int]
) -> str:
    """Say which mistakes would bring a stated centre to the located disc."""
    width, height = size
    right, bottom = width - 1, height - 1
    meant = {
        "x and y are exchanged": (y, x),
        "it was read before the EXIF turn (90° clockwise)": (right - y, x),
        "it was read before the EXIF turn (90° counter-clockwise)": (y, bottom - x),
        "it was read before the EXIF turn (180°)": (right - x, bottom - y),
        "the picture is mirrored": (right - x, y),
        "the picture is upside down": (x, bottom - y),
        "it is in per cent": (x / 100 * width, y / 100 * height),
        "it counts from the corner of the lit field": (x + corner[0], y + corner[1]),
    }
    scale = np.hypot(found.x, found.y) / max(np.hypot(x, y), 1e-9)
    if not 0.9 < scale < 1.1:
        meant[f"it is in px of a copy {width / scale:.0f} px wide"] = (scale * x, scale * y)
    fits = [
        words
        for words, place in meant.items()
        if place != (x, y) and np.hypot(place[0] - found.x, place[1] - found.y) <= radius
    ]
    return f"; it would fit if {' or if '.join(fits)}" if fits else ""
