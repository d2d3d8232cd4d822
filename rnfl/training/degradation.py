"""Pictures gone wrong, as tensors: graded views of an eye for training from mild to severe.

BrainFM (arXiv 2509.00549) shows each subject in two mild and two severe renderings of one anatomy.
Here (ours) a picture is spoilt after it was taken, by the families of
:data:`rnfl.training.config.DEGRADATIONS` with the worst of each as the phantom's cameras have it
(:data:`rnfl.datasets.phantom.cameras.WORST`). Whoever measures on those cameras tests families that
training has met; JPEG is never trained on and held out, and so may be one of the others. A disc off
the middle is left out, because its profile would have to move with it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from rnfl.core.geometry import FIELD_MM
from rnfl.datasets.phantom.cameras import BRIGHTER, VEILING, WORST
from rnfl.training.config import DEGRADATIONS, GRADED, WITHOUT

#: Strengths are drawn evenly between these, a picture and a family at a time (ours).
STRENGTHS = {"mild": (0.0, 0.15), "severe": (0.4, 1.0)}
GAMMA = 0.3  # log units by which the exponent of an exposure is off at worst (ours)
MIXED = 0.2  # share of views that are mixed with another picture of the same eye (BrainFM)


def graded_views(images: Tensor, name: str, random: torch.Generator, places: Tensor) -> Tensor:
    """Return images, graded as the named augmentation grades their places in the batch.

    Parameters
    ----------
    images : float Tensor (B, C, S, S) in [0, 1]
        C = 3 is a colour photograph, C = 1 an SLO image.
    name : str
        Of :data:`rnfl.training.config.GRADED`, maybe without a family. What ends in ``_mix`` mixes
        one view in five with the picture itself, recoloured anew, at an even weight (ours; BrainFM
        takes a real image of the same subject; eyes are never mixed with other eyes).
    random : torch.Generator
        On the CPU, source of all randomness.
    places : int Tensor (B,)
        In host memory.
    """
    kind, _, left_out = name.partition(WITHOUT)
    low, high = torch.tensor([STRENGTHS[one] for one in GRADED[kind]])[places % len(GRADED[kind])].T
    drawn = torch.rand(len(DEGRADATIONS), len(images), generator=random)
    strengths = dict(zip(DEGRADATIONS, low + drawn * (high - low), strict=True))
    strengths.pop(left_out, None)
    views = degraded(images, strengths, random)
    if not kind.endswith("_mix"):
        return views
    chosen, weight, exponent = torch.rand(3, len(images), generator=random)
    tints = torch.randn(len(images), images.shape[1], generator=random)
    own = torch.where(chosen < MIXED, weight, 0)  # what the picture itself weighs
    own, exponent, tints = _on(images, own, GAMMA * (2 * exponent - 1), WORST["gain"] * tints)
    return views.lerp(_toned(images, tints, exponent), own)


def degraded(images: Tensor, strengths: Mapping[str, Tensor], random: torch.Generator) -> Tensor:
    """Spoil float images (B, C, S, S) in [0, 1], each family as strongly as asked for.

    Parameters
    ----------
    strengths : mapping of family to Tensor (B,)
        From 0, which changes nothing, to 1, the worst; an absent family is 0.
    random : torch.Generator
        On the CPU. As much is drawn whatever the strengths, so that views differ by these alone.

    Returns
    -------
    float Tensor (B, C, S, S) in [0, 1]
    """
    n, channels, side, _ = images.shape
    angle, way, exponent = torch.rand(3, n, generator=random)
    tints = torch.randn(n, channels, generator=random)
    # Noise is drawn where the images are: numbers of a GPU need not pass through the host.
    seed = int(torch.randint(2**62, (), generator=random))
    local = torch.Generator(images.device).manual_seed(seed)
    grain = torch.randn(images.shape, generator=local, device=images.device)
    bad = {one: WORST[one] * strengths.get(one, torch.zeros(n)) for one in DEGRADATIONS}
    brighter = torch.where(way < 0.5, -1.0, BRIGHTER) * bad["exposure"]
    exponent = (2 * exponent - 1) * GAMMA / WORST["exposure"] * bad["exposure"]
    across, up = (bad["tilt"] * turn(2 * torch.pi * angle) for turn in (torch.cos, torch.sin))
    sigma, wide = bad["blur"] * side / FIELD_MM, 1 / (1 - bad["resolution"])
    veiling = torch.tensor(VEILING["cfp" if channels == 3 else "slo"]).expand(n, -1)
    given = veiling, bad["haze"], sigma, across, up, exponent, bad["noise"], wide
    veiling, veil, sigma, across, up, exponent, noise, wide, gains = _on(
        images, *given, bad["gain"][:, None] * tints + brighter[:, None]
    )

    views = images.lerp(veiling, veil)
    views = _along_both(_blurring(sigma[:, 0], side), views)
    at = (torch.arange(side, device=images.device) + 0.5) / side - 0.5
    views = _toned(views, gains + across * at - up * at[:, None], exponent)
    # The grain of an SLO image grows with its light, as in the phantom's cameras.
    views = views + noise * grain * (1 if channels == 3 else 0.4 + views)
    return _along_both(_fewer_pixels(wide[:, 0], side), views.clamp(0, 1)).clamp(0, 1)


def _on(images: Tensor, *values: Tensor) -> list[Tensor]:
    """Move values (B,) or (B, C) to the images' device at once, each (B, 1 or C, 1, 1)."""
    columns = [value.view(len(images), -1) for value in values]
    sent = torch.cat(columns, dim=1).to(images.device, non_blocking=True)
    return [one[..., None, None] for one in sent.split([c.shape[1] for c in columns], dim=1)]


def _toned(images: Tensor, log_light: Tensor, log_exponent: Tensor) -> Tensor:
    return (images * log_light.exp()).clamp(0, 1).pow(log_exponent.exp())


def _along_both(operator: Tensor, images: Tensor) -> Tensor:
    """Apply operators (B, S, S), one per picture, to its rows and columns."""
    operator = operator[:, None]
    return operator @ images @ operator.mT


def _blurring(sigma: Tensor, side: int) -> Tensor:
    """Gaussian blur of SD ``sigma`` (B, 1, 1), px, as matrices (B, S, S) whose rows add up to 1."""
    at = torch.arange(side, device=sigma.device)
    distance = (at[:, None] - at) / sigma.clamp(min=1e-3)  # at 1e-3 px it is the identity
    return (-distance.square() / 2).softmax(dim=-1)


def _fewer_pixels(wide: Tensor, side: int) -> Tensor:
    """Means over cells ``wide`` (B, 1, 1) px across, then lines between them: (B, S, S)."""
    at = torch.arange(side, device=wide.device)
    start = at[:, None] * wide  # of each cell, px
    shared = (torch.minimum(at + 1, start + wide) - torch.maximum(at, start)).clamp(min=0)
    # The last cell may reach over the border; those beyond it cover nothing and are never asked.
    mean = shared / shared.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    last = ((side - 0.5) / wide).floor()
    centre = ((at[:, None] + 0.5) / wide - 0.5).clamp(min=0).minimum(last)
    between = (1 - (centre - at).abs()).clamp(min=0)
    return between @ mean
