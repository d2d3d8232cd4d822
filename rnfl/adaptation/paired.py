"""Redraw pictures as pairs of them teach: as the other camera sees an eye, or less spoilt.

A network of the ``diffusers`` library learns the second picture of a pair from the first: at once,
which gives the mean of all it may be, or by diffusion, which draws one of them, so that several
may be averaged. Whoever trains on eyes without a defect can be asked whether one survives
(:mod:`rnfl.study.translation`).

Source: CoCoLIT (arXiv 2508.01292) for the loss on the picture and the average of draws. **Ours**:
64 px without an autoencoder, so that pictures are averaged and not latents; the first picture among
the network's channels in ControlNet's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rnfl.adaptation.diffusion import (
    CHANNELS,
    FOLD,
    MODEL,
    TIMES,
    Network,
    Noising,
    as_signal,
    draw_like,
    filled,
    folded,
    seeded,
    stepped_back,
    trained_once,
)
from rnfl.storage import provenance
from rnfl.training import devices
from rnfl.training.augmentation import seeded_generator
from rnfl.training.state import Progress

KINDS = ("mean", "diffusion", "weighted")
AT_ONCE, DRAWN = 64, 25  # pictures, and steps of a draw


@dataclass(frozen=True)
class Recipe:
    """How the second picture of a pair is learnt from the first.

    Attributes
    ----------
    kind : {'mean', 'diffusion', 'weighted'}
        At once, by L1; the noise in it, by L1; the same, and the picture that is left without that
        noise, by L1 times (T - t) / T (CoCoLIT).
    """

    kind: str = "mean"
    steps: int = 1500
    batch_size: int = 16
    lr: float = 5e-4
    seed: int = 0

    def __post_init__(self):
        if self.kind not in KINDS or self.steps < 1 or self.batch_size < 1:
            raise ValueError(
                f"{self}: expected a kind of {', '.join(KINDS)}, steps and batch_size of 1 or more"
            )


class Redrawing(Network):
    """The second picture of a pair, or the noise in it, from the first; both as in Network.

    ``kind`` is that of the recipe it is trained by.
    """

    def __init__(self, kind: str):
        super().__init__(given=CHANNELS)
        self.kind = kind

    def forward(self, noised: Tensor, times: Tensor, first: Tensor) -> Tensor:
        """Noise in pictures at times (B,)."""
        return self.unet(torch.cat([noised, first], dim=1), times).sample

    def mean(self, first: Tensor) -> Tensor:
        """The second pictures, of a network trained to give them at once."""
        return self(torch.zeros_like(first), first.new_zeros(len(first), dtype=torch.long), first)


class PairTraining(Noising):
    """Train on pairs of folded pictures uint8 (N, 12, 32, 32)."""

    def __init__(self, model: Redrawing, first: Tensor, second: Tensor, recipe: Recipe):
        self.model, self.first, self.second, self.recipe = model, first, second, recipe
        self.device, self.seed = first.device, recipe.seed
        self.batch_size = recipe.batch_size
        self.prepare(
            f"redrawing ({recipe.kind}) from {len(first)} pairs", recipe.steps, recipe.lr,
            list(model.parameters()),
        )  # fmt: skip

    def step(self, batch: int, number: int, progress: Progress) -> Tensor:
        random, rows = seeded_generator(self.seed, number, 8), self.rows(len(self.first), number)
        first, second = as_signal(self.first[rows]), as_signal(self.second[rows])
        if self.recipe.kind == "mean":
            loss = (self.model.mean(first) - second).abs().mean()
        else:
            times = torch.randint(TIMES, (len(first),), generator=random).to(self.device)
            noise = draw_like(second, random)
            noised = self.model.noised(second, times, noise)
            told = self.model(noised, times, first)
            loss = (told - noise).abs().mean()
            if self.recipe.kind == "weighted":
                share = ((TIMES - times) / TIMES).view(-1, 1, 1, 1)
                loss = (
                    loss + (share * (self.model.cleared(noised, times, told) - second).abs()).mean()
                )
        taken = self.take(loss)
        self.average(progress, number)
        return taken


def learnt(first: np.ndarray, second: np.ndarray, recipe: Recipe = Recipe()) -> Redrawing:
    """Train on pairs of pictures, or return what was trained on them before.

    Parameters
    ----------
    first, second : ndarray uint8 (N, S, S) or (N, S, S, 3)
        Of the same eyes in the same order, with the disc in one place.

    Returns
    -------
    Redrawing
        In evaluation mode.
    """
    if len(first) != len(second) or not len(first):
        raise ValueError(f"{len(first)} first and {len(second)} second pictures are no pairs")
    given = [folded(one) for one in (first, second)]
    settings = asdict(recipe) | {"pairs": [provenance.sha256_array(one.numpy()) for one in given]}
    make = partial(Redrawing, recipe.kind)
    model, device = seeded(make, recipe.seed), devices.choose_device()

    def begin() -> PairTraining:
        return PairTraining(model.to(device), *(one.to(device) for one in given), recipe)

    folder = trained_once("redrawing", settings, begin)
    filled(model, folder / MODEL, f"delete {folder} and ask again")
    return model.to(device).eval()


def redrawn(
    model: Redrawing, images: np.ndarray, seeds: Sequence[int], draws: Sequence[int] = (1,)
) -> dict[int, np.ndarray]:
    """Redraw pictures.

    Parameters
    ----------
    images : ndarray uint8 (N, S, S) or (N, S, S, 3)
    seeds : sequence of int (N,)
        Of each picture's noise: twins of one seed differ by what they show alone.
    draws : sequence of int
        How many are averaged, 1 or more; a model of kind ``mean`` makes one whatever is asked.

    Returns
    -------
    dict of int to ndarray uint8 (N, 64, 64, 3)
        By number of draws.
    """
    if not draws or min(draws) < 1:
        raise ValueError(f"draws {tuple(draws)}: expected numbers of 1 or more")
    if len(seeds) != len(images):
        raise ValueError(f"{len(seeds)} seeds for {len(images)} pictures: expected one each")
    at_once = model.kind == "mean"
    device = next(model.parameters()).device
    first = as_signal(folded(images))
    sums, found = torch.zeros(len(images), CHANNELS, *first.shape[2:]), {}
    with torch.inference_mode():
        for k in range(1 if at_once else max(draws)):
            for start in range(0, len(images), AT_ONCE):
                some = slice(start, start + AT_ONCE)
                given = first[some].to(device)
                one = model.mean(given) if at_once else _drawn(model, given, seeds[some], k)
                sums[some] += one.clamp(-1, 1).cpu()
            if k + 1 in draws or at_once:
                whole = (F.pixel_shuffle(sums / (k + 1), FOLD) + 1) * 127.5
                found[k + 1] = whole.round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return found


def _drawn(model: Redrawing, first: Tensor, seeds: Sequence[int], k: int) -> Tensor:
    """Draw the second pictures from noise, by DDIM (η = 1)."""
    randoms = [seeded_generator(seed, k, 9) for seed in seeds]

    def draw(like: Tensor) -> Tensor:
        drawn = [torch.randn(like.shape[1:], generator=random) for random in randoms]
        return torch.stack(drawn).to(like.device)

    now = draw(first)
    for here, there in pairwise(np.linspace(TIMES - 1, 0, DRAWN + 1).round().astype(int)):
        at, to = (torch.full((len(first),), int(t), device=first.device) for t in (here, there))
        now = stepped_back(model, now, at, to, model(now, at, first), draw(now))
    return now
