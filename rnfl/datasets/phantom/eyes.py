"""Phantom population: patients, eyes and their true RNFL profiles.

A profile is a healthy double hump (von Mises bumps with individual positions, heights and widths,
whose peaks lie temporal of 90° and 270°), aged, shifted by planted group effects, and thinned by
glaucoma: a diffuse loss that spares the nasal and temporal quadrants, and wedge defects on the
temporal flanks of the humps. With more than one visit the loss spreads along the circle at first
and deepens where it is from a planted time on. `calibration.fit` chose the constants. Everything
here is **ours**: the paper has no phantom.
"""

from dataclasses import dataclass

import numpy as np

from rnfl.core.geometry import ANGLES
from rnfl.core.schema import RACES, SEVERITIES

#: Planted differences of the whole profile, in µm; fairness analyses must find them.
GROUP_SHIFT = {"Asian": 3.0, "Black": -3.0, "White": 0.0, "F": 1.0, "M": -1.0}
AGE_SLOPE = -0.2  # µm per year, about age 60

#: Fitted to GRAPE's quadrants and LEI-SFD's sectors ("grape"), or to LEI-SFD alone ("lei"); both
#: to healthy eyes. Whoever calls GRAPE unseen says which.
POPULATIONS: dict[str, dict[str, float]] = {
    "grape": {
        "base": 40.3,  # µm, level between the humps
        "base_sd": 0.907,
        "superior": 106.0,  # µm, hump heights above the base
        "inferior": 118.0,
        "superior_nasal": 18.9,  # µm, of the smaller humps nasal of them
        "inferior_nasal": 17.9,
        "hump_sd": 14.7,
        "nasal_hump_sd": 15.0,
        "superior_peak": 71.1,  # degrees
        "inferior_peak": 291.0,
        "peak_sd": 5.04,
        "temporal": 8.95,
        "temporal_sd": 23.4,
        "nasal": 29.0,
        "nasal_sd": 13.2,
        "damage": 0.235,  # mean diffuse loss of glaucomatous eyes, as a fraction
        "damage_sd": 0.214,
        "spare_nasal": 0.208,  # share of the diffuse loss that reaches the quadrant
        "spare_temporal": 0.401,
        "wedges": 2.01,  # mean number of wedge defects
        "wedge_depth": 0.347,
        "fellow": 0.725,  # share of the variance that the two eyes of a patient have in common
    },
    "lei": {
        "base": 39.2,
        "base_sd": 0.515,
        "superior": 111.0,
        "inferior": 120.0,
        "superior_nasal": 17.4,
        "inferior_nasal": 16.4,
        "hump_sd": 15.7,
        "nasal_hump_sd": 16.4,
        "superior_peak": 71.8,
        "inferior_peak": 289.0,
        "peak_sd": 4.0,
        "temporal": 7.99,
        "temporal_sd": 16.5,
        "nasal": 31.9,
        "nasal_sd": 14.8,
        "damage": 0.275,
        "damage_sd": 0.199,
        "spare_nasal": 0.472,
        "spare_temporal": 0.273,
        "wedges": 1.91,
        "wedge_depth": 0.315,
        "fellow": 0.844,
    },
}
FLOOR = 28.0  # µm: glia and vessels remain when every axon is gone
GLAUCOMA_SHARE = 0.6
NODES = 36  # of the circle, for what happens over time
DIFFUSION = 0.3  # squared nodes per year, before the switch
SWITCH = 5.0  # years of disease after which loss deepens where it is, instead of spreading
#: Logistic rate per year after the switch, and how many eyes progress so.
RATES = {"slow": (0.03, 0.66), "moderate": (0.10, 0.29), "fast": (0.30, 0.05)}


@dataclass(frozen=True)
class Eye:
    """One phantom eye at one visit. Profiles are in right-eye orientation, in µm.

    ``noise`` (3, 360) holds what one OCT scan added to the profile: an offset, a smooth part and a
    white part. ``years`` have passed since the first visit, at which the disease was ``offset``
    years old; ``rate`` is the class of its progression, '' in healthy eyes. ``seed`` is that of
    everything in the image that is not RNFL.
    """

    eye_id: str
    patient_id: str
    laterality: str
    age: float
    sex: str
    race: str
    ethnicity: str
    severity: str
    profile: np.ndarray
    label: np.ndarray
    noise: np.ndarray
    peaks: tuple[float, float]  # degrees: where the arcades leave the disc
    seed: tuple[int, int, int]
    visit: int = 1
    years: float = 0.0
    offset: float = np.nan
    rate: str = ""


def bump(centre: float, kappa: float) -> np.ndarray:
    """Von Mises bump of height 1 over the 360 angles (`kappa` sets its sharpness)."""
    return np.exp(kappa * (np.cos(np.deg2rad(ANGLES - centre)) - 1.0))


def _healthy(z: np.ndarray, p: dict) -> tuple[np.ndarray, tuple[float, float]]:
    superior = p["superior_peak"] + p["peak_sd"] * z[4]
    inferior = p["inferior_peak"] + p["peak_sd"] * z[5]
    profile = p["base"] + p["base_sd"] * z[0]
    for name, centre, nasal, hump, small, width in (
        ("superior", superior, 116.0, z[1], z[18], z[8]),
        ("inferior", inferior, 246.0, z[2], z[19], z[9]),
    ):
        main = p[name] + p["hump_sd"] * hump
        second = p[f"{name}_nasal"] + p["nasal_hump_sd"] * (0.6 * hump + 0.8 * small)
        profile = profile + main * bump(centre, 6.5 * np.exp(0.2 * width)) + second * bump(nasal, 7)
    profile = profile + (p["temporal"] + p["temporal_sd"] * z[3]) * bump(0.0, 2.0)
    profile = profile + (p["nasal"] + p["nasal_sd"] * z[6]) * bump(180.0, 1.5)
    for order, k in enumerate((10, 11, 12, 13), start=3):  # individual small-scale shape
        profile = profile + 1.5 * z[k] * np.cos(np.deg2rad(order * ANGLES) + 2.0 * z[k + 4])
    return profile, (float(superior), float(inferior))


def _loss(rng: np.random.Generator, damage: float, peaks: tuple[float, float], p: dict):
    """Fraction of the healthy fibres lost at each angle."""
    reach = 1.0 - (1.0 - p["spare_nasal"]) * bump(180.0, 2.5)
    reach = reach - (1.0 - p["spare_temporal"]) * bump(0.0, 3.0)
    kept = 1.0 - np.clip(damage * reach, 0.0, 0.95)
    for _ in range(rng.poisson(p["wedges"] * min(2.0, damage / 0.25))):
        inferior = rng.random() < 0.6
        centre = peaks[1] + rng.normal(6.0, 9.0) if inferior else peaks[0] - rng.normal(6.0, 9.0)
        depth = np.clip(rng.normal(p["wedge_depth"], 0.15), 0.05, 0.9)
        kept = kept * (1.0 - depth * bump(centre, (57.3 / rng.uniform(7.0, 16.0)) ** 2))
    return 1.0 - kept


def oct_noise(rng: np.random.Generator) -> np.ndarray:
    """Errors of one simulated OCT scan at each angle, in µm (3, 360).

    A scan-wide offset (signal strength), a smooth part (segmentation, centration), a white part.
    """
    phase = np.deg2rad(np.outer(np.arange(1, 13), ANGLES))
    a, b = rng.standard_normal((2, 12, 1)) / np.sqrt(12.0)
    smooth = (a * np.cos(phase) + b * np.sin(phase)).sum(0)  # no matmul: equal on every machine
    return np.stack(
        [np.full(360, 2.5 * rng.standard_normal()), 4.0 * smooth, 1.5 * rng.standard_normal(360)]
    )


def progress_loss(loss: np.ndarray, years: float, offset: float, rate: float) -> np.ndarray:
    """Return the loss (360,) after some years: it spreads until `SWITCH`, then deepens.

    Explicit steps of at most a tenth of a year on `NODES` nodes: dD/dt is diffusion along the
    circle while the disease is younger than `SWITCH` years, ``rate`` D (1 - D) afterwards.
    """
    nodes = loss.reshape(NODES, -1).mean(1)
    now, steps = nodes, int(np.ceil(years / 0.1))
    for k in range(steps):
        if offset + k * years / steps < SWITCH:
            change = DIFFUSION * (np.roll(now, 1) + np.roll(now, -1) - 2.0 * now)
        else:
            change = rate * now * (1.0 - now)
        now = now + change * years / steps
    at = (np.arange(NODES) + 0.5) * 360.0 / NODES - 0.5
    return np.clip(loss + np.interp(ANGLES, at, now - nodes, period=360.0), 0.0, 0.97)


def dates(rng: np.random.Generator, visits: int) -> np.ndarray:
    """Return years since the first visit (visits,): about two a year, at irregular intervals."""
    return np.concatenate([[0.0], np.cumsum(rng.gamma(3.0, 0.55 / 3.0, visits - 1) + 0.1)])


def patient(
    index: int,
    seed: int,
    p: dict = POPULATIONS["grape"],
    visits: int = 1,
    linear: bool = False,
    sick: float = GLAUCOMA_SHARE,
) -> list[Eye]:
    """Return the one or two eyes of patient `index`, a row per visit; `(seed, index)` decides.

    Parameters
    ----------
    visits : int
        Dates at which each eye was scanned; the first is the eye of a data set of one visit.
    linear : bool
        Null: loss grows by the same amount every year, neither spreading nor speeding up.
    sick : float
        Probability of glaucoma; whoever is healthy with another one looks the same.
    """
    rng = np.random.default_rng([seed, index])
    age = float(np.clip(rng.normal(61.0, 13.0), 20.0, 92.0))
    sex = "F" if rng.random() < 0.55 else "M"
    race = RACES[rng.choice(3, p=(0.18, 0.22, 0.60))]
    ethnicity = "Hispanic" if rng.random() < 0.12 else "Non-Hispanic"
    glaucoma = rng.random() < sick
    shared, shared_damage = rng.standard_normal(20), rng.standard_normal()
    sides = ("OD", "OS") if rng.random() < 0.65 else (("OD",) if rng.random() < 0.5 else ("OS",))
    own, common = np.sqrt(1.0 - p["fellow"]), np.sqrt(p["fellow"])
    patient_id = f"phantom-{seed}-{index:06d}"
    eyes = []
    for side in ("OD", "OS"):  # both are always drawn, so that a side never depends on the other
        z = common * shared + own * rng.standard_normal(20)
        z_damage = common * shared_damage + own * rng.standard_normal()
        healthy, peaks = _healthy(z, p)
        healthy = healthy + AGE_SLOPE * (age - 60.0) + GROUP_SHIFT[race] + GROUP_SHIFT[sex]
        damage = max(0.0, p["damage"] + p["damage_sd"] * z_damage) if glaucoma else 0.0
        loss = _loss(rng, damage, peaks, p)
        scan, later = oct_noise(rng), np.random.default_rng([seed, index, int(side == "OS"), 7])
        offset = later.uniform(0.0, 8.0)
        rate = list(RATES)[later.choice(3, p=[share for _, share in RATES.values()])]
        for visit, years in enumerate(dates(later, visits) if side in sides else (), start=1):
            scan = scan if visit == 1 else oct_noise(later)
            lost = loss
            if glaucoma and visit > 1:
                whole = progress_loss(loss, 6.0, SWITCH, RATES[rate][0]) - loss
                lost = (
                    np.minimum(loss + whole * years / 6.0, 0.97)
                    if linear
                    else progress_loss(loss, years, offset, RATES[rate][0])
                )
            aged = np.maximum(healthy + AGE_SLOPE * years - FLOOR, 5.0)
            # Two decimals, as an instrument exports: equal on machines that round otherwise.
            profile = np.round(FLOOR + aged * (1.0 - lost), 2)
            stage = int(np.digitize(lost.mean(), (0.12, 0.25))) + 1 if glaucoma else 0
            eyes.append(
                Eye(
                    f"{patient_id}-{side}" + (f"-visit{visit}" if visits > 1 else ""),
                    patient_id,
                    side,
                    round(age + years, 1),
                    sex,
                    race,
                    ethnicity,
                    SEVERITIES[stage],
                    profile.astype(np.float32),
                    np.round(np.maximum(profile + scan.sum(0), 5.0), 2).astype(np.float32),
                    np.round(scan, 2).astype(np.float32),
                    (round(peaks[0], 3), round(peaks[1], 3)),
                    (seed, index, int(side == "OS")),
                    visit,
                    round(float(years), 3),
                    round(offset, 3) if glaucoma else np.nan,
                    rate if glaucoma else "",
                )
            )
    return eyes


def population(
    n_eyes: int,
    seed: int = 0,
    p: dict = POPULATIONS["grape"],
    visits: int = 1,
    linear: bool = False,
    sick: float = GLAUCOMA_SHARE,
) -> list[Eye]:
    """Return the first `n_eyes` phantom eyes of a seed, a row per visit.

    Eyes come in the order of their patients, so a larger population starts with the smaller one.
    """
    eyes: list[Eye] = []
    index = 0
    while len(eyes) < n_eyes * visits:
        eyes.extend(patient(index, seed, p, visits, linear, sick))
        index += 1
    return eyes[: n_eyes * visits]
