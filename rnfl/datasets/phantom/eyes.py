"""Phantom population: patients, eyes and their true RNFL profiles.

A profile is a healthy double hump (von Mises bumps with individual positions, heights and
widths), aged, shifted by planted group effects, and thinned by glaucoma: a diffuse loss that
spares the nasal and temporal quadrants, and wedge defects on the temporal flanks of the humps.
The constants in `POPULATION` were fitted so that the glaucomatous eyes match the real figures
of GRAPE and LEI-SFD (`calibration`). Everything here is **ours**: the paper has no phantom.
"""

from dataclasses import dataclass

import numpy as np

from rnfl.core.geometry import ANGLES
from rnfl.core.schema import RACES, SEVERITIES

#: Planted differences of the whole profile, in µm; fairness analyses must find them.
GROUP_SHIFT = {"Asian": 3.0, "Black": -3.0, "White": 0.0, "F": 1.0, "M": -1.0}
AGE_SLOPE = -0.2  # µm per year, about age 60

POPULATION = {
    "base": 48.5,  # µm, level between the humps
    "base_sd": 2.2,
    "superior": 82.0,  # µm, hump heights above the base
    "inferior": 93.0,
    "hump_sd": 18.8,
    "temporal": 16.5,
    "temporal_sd": 23.0,
    "nasal": 21.0,
    "nasal_sd": 13.0,
    "peak_sd": 6.0,  # degrees
    "damage": 0.19,  # mean diffuse loss of glaucomatous eyes, as a fraction
    "damage_sd": 0.24,
    "spare_nasal": 0.06,  # share of the diffuse loss that reaches the quadrant
    "spare_temporal": 0.72,
    "wedges": 2.4,  # mean number of wedge defects
    "wedge_depth": 0.41,
    "fellow": 0.76,  # share of the variance that the two eyes of a patient have in common
}
FLOOR = 28.0  # µm: glia and vessels remain when every axon is gone
GLAUCOMA_SHARE = 0.6


@dataclass(frozen=True)
class Eye:
    """One phantom eye. Profiles are in right-eye orientation, in µm."""

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
    peaks: tuple[float, float]  # degrees: where the arcades leave the disc
    seed: tuple[int, int, int]  # of everything in the image that is not RNFL


def bump(centre: float, kappa: float) -> np.ndarray:
    """Von Mises bump of height 1 over the 360 angles (`kappa` sets its sharpness)."""
    return np.exp(kappa * (np.cos(np.deg2rad(ANGLES - centre)) - 1.0))


def _healthy(z: np.ndarray, p: dict) -> tuple[np.ndarray, tuple[float, float]]:
    superior, inferior = 80.0 + p["peak_sd"] * z[4], 281.0 + p["peak_sd"] * z[5]
    profile = p["base"] + p["base_sd"] * z[0]
    for height, centre, nasal, k in (
        (p["superior"] + p["hump_sd"] * z[1], superior, 122.0, 6.0 * np.exp(0.2 * z[8])),
        (p["inferior"] + p["hump_sd"] * z[2], inferior, 243.0, 7.0 * np.exp(0.2 * z[9])),
    ):
        profile = profile + height * (bump(centre, k) + 0.22 * bump(nasal, 10.0))
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
        centre = peaks[1] + rng.normal(10.0, 8.0) if inferior else peaks[0] - rng.normal(10.0, 8.0)
        depth = np.clip(rng.normal(p["wedge_depth"], 0.15), 0.05, 0.9)
        width = rng.uniform(7.0, 16.0)
        kept = kept * (1.0 - depth * bump(centre, (57.3 / width) ** 2))
    return 1.0 - kept


def oct_noise(rng: np.random.Generator) -> np.ndarray:
    """Error of one simulated OCT scan at each angle, in µm (360,).

    A scan-wide offset (signal strength), a smooth part (segmentation, centration) and a white part.
    """
    phase = np.deg2rad(np.outer(np.arange(1, 13), ANGLES))
    a, b = rng.standard_normal((2, 12))
    smooth = (a @ np.cos(phase) + b @ np.sin(phase)) / np.sqrt(12.0)
    return 2.5 * rng.standard_normal() + 4.0 * smooth + 1.5 * rng.standard_normal(360)


def patient(index: int, seed: int, p: dict = POPULATION) -> list[Eye]:
    """The one or two eyes of patient `index`; depends on `(seed, index)` alone."""
    rng = np.random.default_rng([seed, index])
    age = float(np.clip(rng.normal(61.0, 13.0), 20.0, 92.0))
    sex = "F" if rng.random() < 0.55 else "M"
    race = RACES[rng.choice(3, p=(0.18, 0.22, 0.60))]
    ethnicity = "Hispanic" if rng.random() < 0.12 else "Non-Hispanic"
    glaucoma = rng.random() < GLAUCOMA_SHARE
    shared, shared_damage = rng.standard_normal(18), rng.standard_normal()
    sides = ("OD", "OS") if rng.random() < 0.65 else (("OD",) if rng.random() < 0.5 else ("OS",))
    own, common = np.sqrt(1.0 - p["fellow"]), np.sqrt(p["fellow"])
    eyes = []
    for side in ("OD", "OS"):  # both are always drawn, so that a side never depends on the other
        z = common * shared + own * rng.standard_normal(18)
        z_damage = common * shared_damage + own * rng.standard_normal()
        profile, peaks = _healthy(z, p)
        profile = profile + AGE_SLOPE * (age - 60.0) + GROUP_SHIFT[race] + GROUP_SHIFT[sex]
        damage = max(0.0, p["damage"] + p["damage_sd"] * z_damage) if glaucoma else 0.0
        loss = _loss(rng, damage, peaks, p)
        profile = FLOOR + np.maximum(profile - FLOOR, 5.0) * (1.0 - loss)
        label = np.maximum(profile + oct_noise(rng), 5.0)
        stage = int(np.digitize(loss.mean(), (0.12, 0.25))) + 1 if glaucoma else 0
        if side in sides:
            patient_id = f"phantom-{seed}-{index:06d}"
            eyes.append(
                Eye(
                    f"{patient_id}-{side}",
                    patient_id,
                    side,
                    round(age, 1),
                    sex,
                    race,
                    ethnicity,
                    SEVERITIES[stage],
                    profile.astype(np.float32),
                    label.astype(np.float32),
                    peaks,
                    (seed, index, int(side == "OS")),
                ),
            )
    return eyes


def population(n_eyes: int, seed: int = 0, p: dict = POPULATION) -> list[Eye]:
    """The first `n_eyes` phantom eyes of a seed.

    Eyes come in the order of their patients, so a larger population starts with the smaller one.
    """
    eyes: list[Eye] = []
    index = 0
    while len(eyes) < n_eyes:
        eyes.extend(patient(index, seed, p))
        index += 1
    return eyes[:n_eyes]
