"""Errors that know no group, though spread, fellow eyes and visits differ, and their p-values."""

import numpy as np
import pandas as pd

from analysis.fairness import LEVELS, gap_tests
from analysis.resampling import Resampling

N_PERM = 199  # p-values are multiples of 1/200
RACES, SEVERITIES = np.array(LEVELS["race"], object), np.array(LEVELS["severity"], object)


def clustered(rng, eyes, icc, draw):
    """Return patients' codes and errors of SD 1, of which patients share the part ``icc``."""
    codes = np.repeat(np.arange(len(eyes)), eyes)
    own = np.sqrt(1 - icc) * draw(rng, len(codes))
    return codes, np.sqrt(icc) * draw(rng, len(eyes))[codes] + own


def normal(rng, n):
    return rng.normal(size=n)


def skewed(rng, n):
    return (rng.gamma(2, 1, n) - 2) / np.sqrt(2)


def races(rng, sizes, sds, draw=skewed):
    """Groups of so many patients, one or two eyes each, whose errors spread by so much."""
    race = np.repeat(np.arange(len(sizes)), sizes)
    codes, errors = clustered(rng, rng.integers(1, 3, len(race)), 0.6, draw)
    race = race[codes]
    return 12 + 3 * np.array(sds)[race] * errors, codes, pd.DataFrame({"race": RACES[race]})


def severities(rng, discordant, icc, levels, sds=(1, 1, 1, 1)):
    """Fellow eyes whose severity differs in a share of 150 patients."""
    labels = np.repeat(rng.integers(0, levels, 150), 2)
    differs = rng.random(150) < discordant
    step = rng.choice([1, levels - 1], differs.sum())
    labels[1::2][differs] = (labels[::2][differs] + step) % levels
    codes, errors = clustered(rng, np.full(150, 2), icc, normal)
    return 5 + np.array(sds)[labels] * errors, codes, pd.DataFrame({"severity": SEVERITIES[labels]})


def visits(rng, icc, most=6, least=6, trend=0.0):
    """Yearly visits of 80 patients, many of whom turn 60 in between."""
    codes, errors = clustered(rng, rng.integers(least, most + 1, 80), icc, normal)
    visit = np.arange(len(codes)) - np.searchsorted(codes, codes)
    ages = rng.uniform(56, 64, 80)[codes] + visit
    return 5 + errors + trend * visit, codes, pd.DataFrame({"age": ages})


NULLS = {
    "equal spread": (races, (90, 40, 20), (1, 1, 1)),
    "small group, double spread": (races, (150, 10), (1, 2)),
    "small of three, double spread": (races, (100, 40, 12), (1, 1, 2)),
    "small group, double spread, normal": (races, (140, 12), (1, 2), normal),
    "large group, double spread": (races, (140, 20), (2, 1)),
    "large of three, double spread": (races, (100, 40, 10), (2, 1, 1)),
    "severity, 0 % discordant": (severities, 0.0, 0.5, 2),
    "severity, 50 % discordant": (severities, 0.5, 0.5, 2),
    "severity, 80 % discordant": (severities, 0.8, 0.5, 2),
    "severity, 100 % discordant": (severities, 1.0, 0.5, 2),
    "four severities, 80 % discordant": (severities, 0.8, 0.2, 4),
    "four severities, one spread": (severities, 0.5, 0.5, 4, (1, 1, 1, 2)),
    "visits across 60, ICC 0.2": (visits, 0.2),
    "visits across 60, ICC 0.8": (visits, 0.8),
    "unequal visits, errors that grow": (visits, 0.5, 6, 2, 0.3),
}


def p_values(case, n, seed=5, n_perm=N_PERM):
    make, *given = case
    rng, found = np.random.default_rng(seed), []
    for trial in range(n):
        errors, codes, eyes = make(rng, *given)
        attributes, resampling = list(eyes), Resampling(n_perm=n_perm, seed=trial)
        found.append(gap_tests(errors, codes.astype(str), eyes, attributes, resampling)["p"][0])
    return np.array(found)
