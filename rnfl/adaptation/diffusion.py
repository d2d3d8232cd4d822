"""Translate pictures to a camera of which a few pictures are known: stage 1 of MFM-DA.

A DDPM of source pictures (:func:`source`) is adapted to shots of the target (:func:`adapted`):
what a source picture shows is fed in behind the middle of the network, and where it is to move in
the space of a frozen encoder is told by a direction, the mean shift between cameras (static), one
that depends on the picture (dynamic), or a gated sum. :func:`translate` then redraws pictures.

Sources: MFM-DA (Jiang et al., 2025, arXiv 2503.00802) and its parent, Phasic Content Fusing
Diffusion (Hu et al., ICCV 2023). **Ours**: 64 px, pixels unshuffled by 2 into a small network of
the ``diffusers`` library; both losses in one step; a backbone that was pretrained on leaves as the
frozen encoder, in CLIP's and VGG's place; the high frequencies that are put back.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from rnfl.adaptation import SLO_MODEL
from rnfl.datasets.prepared import Prepared
from rnfl.models import backbone
from rnfl.models.checkpoints import packing
from rnfl.models.registry import WEIGHTS
from rnfl.storage import errors, hashed, locks, provenance, readers
from rnfl.storage.paths import cache_root, runs_root
from rnfl.training import batches, devices, loop
from rnfl.training.augmentation import epoch_order, seeded_generator
from rnfl.training.pretraining import publish, published
from rnfl.training.state import Progress

SIZE, FOLD = 64, 2  # px; each FOLD x FOLD of them become channels
CHANNELS = 3 * FOLD**2
WIDTHS = (32, 64, 96)
TIMES = 1000
JUDGE = "leaves_mae"  # frozen encoder f: it has met no eye, no camera and no reader
EMA = 0.995
POINTS, CHECKPOINT_SECONDS = 20, 60.0  # of a curve
FINE, ROUGH = 300, 800  # below the first the picture's grain is drawn, below the other its layout
START, GUIDED, DRAWN = 600, 400, 25  # of a translation: from which time, guided to which, steps
MODEL, CURVE = "model.safetensors", "curve.json"
DIRECTIONS = ("gated", "static", "dynamic")
Draw = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How a source DDPM is adapted.

    Attributes
    ----------
    direction : {'gated', 'static', 'dynamic'}
        ``static`` is the parent method.
    style : float
        Weight of the Gram loss against the shots.
    detached : bool
        Whether the direction is a target alone, which the losses do not move.
    """

    direction: str = "gated"
    style: float = 1.0
    steps: int = 300
    batch_size: int = 4
    lr: float = 1e-4
    detached: bool = False
    seed: int = 0

    def __post_init__(self):
        if self.direction not in DIRECTIONS:
            raise ValueError(f"direction {self.direction!r}: expected one of {DIRECTIONS}")
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(
                f"steps {self.steps}, batch_size {self.batch_size}: expected 1 or more"
            )


class Network(nn.Module):
    """A small network of the diffusers library with the schedule of its noise.

    Pictures are (B, 12, 32, 32) in [-1, 1], see :func:`folded`; ``given`` further channels are fed
    in beside them.
    """

    def __init__(self, given: int = 0):
        super().__init__()
        try:
            from diffusers import DDPMScheduler, UNet2DModel
        except ImportError as error:
            raise ImportError(
                "translation by diffusion needs the extra 'generative': "
                "pip install -e '.[generative]'"
            ) from error
        n = len(WIDTHS)
        self.unet = UNet2DModel(
            sample_size=SIZE // FOLD,
            in_channels=CHANNELS + given,
            out_channels=CHANNELS,
            layers_per_block=1,
            block_out_channels=WIDTHS,
            down_block_types=("DownBlock2D",) * n,
            up_block_types=("UpBlock2D",) * n,
            norm_num_groups=16,
            attention_head_dim=32,
        )
        schedule = DDPMScheduler(TIMES, beta_schedule="squaredcos_cap_v2").alphas_cumprod
        self.register_buffer("kept", schedule.float(), persistent=False)  # share of the picture

    def noised(self, pictures: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """Pictures with as much noise as there is at each time."""
        kept = self.kept[times].view(-1, 1, 1, 1)
        return kept.sqrt() * pictures + (1 - kept).sqrt() * noise

    def cleared(self, noised: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """The pictures that this noise was added to, in [-1, 1]."""
        kept = self.kept[times].view(-1, 1, 1, 1)
        return ((noised - (1 - kept).sqrt() * noise) / kept.sqrt()).clamp(-1, 1)


class Denoiser(Network):
    """Predict the noise in pictures, alone or knowing what the source picture shows."""

    def __init__(self):
        super().__init__()
        width = WIDTHS[-1]
        self.content = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip
        self._content: Tensor | None = None
        # A hook, so that the forward pass stays the library's.
        self.unet.mid_block.register_forward_hook(self._fuse)

    def _fuse(self, module: nn.Module, given: Any, output: Tensor) -> Tensor:
        if self._content is None:
            return output
        return self.content(torch.cat([output, self._content], dim=1))

    def forward(self, noised: Tensor, times: Tensor, content: Tensor | None = None) -> Tensor:
        """Noise in pictures at times (B,), given :meth:`content_of` the source or nothing."""
        self._content = content
        try:
            return self.unet(noised, times).sample
        finally:
            self._content = None

    @torch.no_grad()
    def content_of(self, noised: Tensor, times: Tensor, draw: Draw) -> Tensor:
        """What a noised source picture shows, (B, 96, 8, 8); below ``FINE`` noise takes its place.

        ``draw`` returns normal noise like a tensor.
        """
        unet = self.unet
        embedded, hidden = unet.time_embedding(unet.time_proj(times)), unet.conv_in(noised)
        for block in unet.down_blocks:
            hidden, _ = block(hidden_states=hidden, temb=embedded)
        share = torch.sigmoid((times - FINE).float()).view(-1, 1, 1, 1)
        return share * hidden + (1 - share) * draw(hidden)


class Adaptor(nn.Module):
    """Where a source picture is to move in the space of the frozen encoder."""

    def __init__(self, width: int, direction: str):
        super().__init__()
        self.direction = direction
        self.shift = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width), nn.Tanh()
        )
        self.gate = nn.Sequential(nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, 1))
        for layer in (self.shift[0], self.shift[2]):
            nn.init.normal_(layer.weight, std=0.01)
        nn.init.constant_(self.gate[2].bias, -5)  # it begins as the static direction

    def forward(self, features: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Directions (B, D) of features (B, D) and gates (B, 1), between mean features (D,)."""
        gate = torch.sigmoid(self.gate(features))
        if self.direction != "gated":
            gate = torch.full_like(gate, float(self.direction == "dynamic"))
        return gate * self.shift(features - target) + (1 - gate) * (target - source), gate


class Judge(nn.Module):
    """The frozen encoder: features and Gram matrices of pictures."""

    def __init__(self):
        super().__init__()
        self.backbone = backbone.build(JUDGE).requires_grad_(False).eval()

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Mean tokens (B, D) and Gram matrices (B, k, D, D) of folded pictures."""
        read, depth = self.backbone, self.backbone.depth
        images = (F.pixel_shuffle(pictures, FOLD) + 1) / 2
        blocks = read.encoder.forward_intermediates(
            read.normalise(images), [depth // 3, 2 * depth // 3, depth - 1],
            intermediates_only=True, output_fmt="NLC",
        )  # fmt: skip
        grams = [block.transpose(1, 2) @ block / block[0].numel() for block in blocks]
        return blocks[-1].mean(dim=1), torch.stack(grams, dim=1)


class Noising(loop.Steps):
    """What the trainings of this module share: pictures, Adam, one loss per step."""

    batch_size: int
    seed: int

    def prepare(self, name: str, n_steps: int, lr: float, parameters: Sequence[nn.Parameter]):
        self.name, self.n_steps, self.every = name, n_steps, max(1, n_steps // POINTS)
        self.checkpoint_seconds = CHECKPOINT_SECONDS
        self.remedy = f"Lower lr (now {lr:g}) and start again"
        self.optimizer = torch.optim.Adam(parameters, lr=lr, fused=True)
        self.decided = devices.decide_precision("fp32", self.device, 1)

    def batches(self, progress: Progress) -> Iterator[int]:
        yield from self.left(progress)

    def rows(self, n: int, number: int) -> Tensor:
        """The rows of a step's pictures: every pass over ``n`` has an order of its own."""
        places = torch.arange(number * self.batch_size, (number + 1) * self.batch_size)
        turns, within = places // n, places % n
        orders = {turn: epoch_order(n, self.seed, turn) for turn in turns.unique().tolist()}
        picked = zip(turns.tolist(), within.tolist(), strict=True)
        return torch.stack([orders[turn][place] for turn, place in picked])

    def take(self, loss: Tensor) -> Tensor:
        loss.backward()
        held = [p for group in self.optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(held, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def average(self, progress: Progress, number: int) -> None:
        """Keep the moving average of the network, whose decay grows at first."""
        now = self.model.unet.state_dict()
        if not progress.average:
            progress.average = {name: value.clone() for name, value in now.items()}
        decay = min(EMA, (1 + number) / (10 + number))
        names = list(now)
        torch._foreach_lerp_(
            [progress.average[n] for n in names], [now[n] for n in names], 1 - decay
        )

    def row(self, progress: Progress, loss: float) -> dict[str, Any]:
        step = self.steps_before(progress.epoch + 1)
        return {"step": step, "loss": loss / max(1, progress.step)}


class SourceTraining(Noising):
    """The source DDPM: its network (``part`` 'unet'), or the fusion of content alone."""

    def __init__(self, model: Denoiser, pictures: Tensor, part: str, settings: dict):
        self.model, self.pictures, self.part = model, pictures, part
        self.device, self.seed = pictures.device, settings["seed"]
        self.batch_size = settings["batch_size"]
        moving = getattr(model, part)
        self.prepare(
            f"DDPM of {len(pictures)} pictures, {part}", settings[f"{part}_steps"],
            settings[f"{part}_lr"], list(moving.parameters()),
        )  # fmt: skip

    def step(self, batch: int, number: int, progress: Progress) -> Tensor:
        random = seeded_generator(self.seed, number, 2)
        pictures = as_signal(self.pictures[self.rows(len(self.pictures), number)])
        times = torch.randint(TIMES, (len(pictures),), generator=random).to(self.device)
        noise = draw_like(pictures, random)
        noised = self.model.noised(pictures, times, noise)
        content = None
        if self.part == "content":
            content = self.model.content_of(noised, times, partial(draw_like, random=random))
        loss = self.take((self.model(noised, times, content) - noise).abs().mean())
        if self.part == "unet":
            self.average(progress, number)
        return loss


class AdaptationTraining(Noising):
    """Stage 1: network, content and adaptor move towards the shots."""

    def __init__(
        self, model: Denoiser, judge: Judge, source: Tensor, shots: Tensor, recipe: Recipe
    ):
        self.denoiser, self.judge, self.recipe = model, judge, recipe
        self.source, self.shots, self.device = source, shots, source.device
        self.batch_size, self.seed = recipe.batch_size, recipe.seed
        with torch.no_grad():
            self.mean_source = judge(as_signal(source[:256]))[0].mean(dim=0)
            features, grams = judge(as_signal(shots))
            self.mean_target, self.grams = features.mean(dim=0), grams
        width = len(self.mean_target)
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.adaptor = Adaptor(width, recipe.direction).to(self.device)
        self.model = nn.ModuleDict({"denoiser": model, "adaptor": self.adaptor})
        moving = [*model.parameters(), *self.adaptor.parameters()]
        self.prepare(f"adaptation to {len(shots)} pictures", recipe.steps, recipe.lr, moving)

    def step(self, batch: int, number: int, progress: Progress) -> Tensor:
        random, model = seeded_generator(self.seed, number, 3), self.denoiser
        source = as_signal(self.source[self.rows(len(self.source), number)])
        chosen = torch.randint(len(self.shots), (len(source),), generator=random)
        shots = as_signal(self.shots[chosen])
        times = torch.randint(FINE, ROUGH, (len(source),), generator=random).to(self.device)
        # Layout: the source picture, redrawn in one step, is to have moved as the direction says.
        noise = draw_like(source, random)
        noised = model.noised(source, times, noise)
        content = model.content_of(noised, times, partial(draw_like, random=random))
        redrawn = model.cleared(noised, times, model(noised, times, content))
        features, grams = self.judge(redrawn)
        with torch.no_grad():
            was = self.judge(source)[0]
        direction, gate = self.adaptor(was, self.mean_source, self.mean_target)
        if self.recipe.detached:
            direction = direction.detach()
        weight = 20 ** (times / TIMES)
        moved = (features - was - direction).square().mean(dim=1)
        unlike = (grams[:, None] - self.grams).square().mean(dim=(1, 2, 3, 4))
        own = (20**0.9 - weight) * self._unlike_shots(shots, times, random)
        loss = (weight * (moved + self.recipe.style * unlike) + own).mean()
        # Grain: below FINE the shots alone teach.
        times = torch.randint(FINE, (len(source),), generator=random).to(self.device)
        loss = loss + self._unlike_shots(shots, times, random).mean() / 5
        with torch.no_grad():
            static = (self.mean_target - self.mean_source).expand_as(direction)
            along = F.cosine_similarity(direction, static)
            seen = torch.stack([gate.mean(), along.mean(), moved.mean()])
            # In the checkpoint, so that a curve does not show that training was interrupted.
            progress.average["seen"] = progress.average.get("seen", 0 * seen) + seen
        return self.take(loss)

    def _unlike_shots(self, shots: Tensor, times: Tensor, random: torch.Generator) -> Tensor:
        noise = draw_like(shots, random)
        predicted = self.denoiser(self.denoiser.noised(shots, times, noise), times)
        return (predicted - noise).abs().mean(dim=(1, 2, 3))

    def row(self, progress: Progress, loss: float) -> dict[str, Any]:
        gate, along, moved = (progress.average.pop("seen") / progress.step).tolist()
        told = {"gate": gate, "cosine_with_static": along, "direction_loss": moved}
        return super().row(progress, loss) | told


def folded(images: np.ndarray) -> Tensor:
    """Pictures uint8 (N, S, S) or (N, S, S, 3) at ``SIZE`` px, folded: uint8 (N, 12, 32, 32)."""
    small = batches.channels_first(batches.at_size(np.array(images), SIZE)).expand(-1, 3, -1, -1)
    return F.pixel_unshuffle(small, FOLD).contiguous()


def as_signal(pictures: Tensor) -> Tensor:
    """Folded pictures uint8 as float in [-1, 1]."""
    return pictures.float().div(127.5).sub(1)


def draw_like(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Standard normal noise of this shape, on this device, drawn on the CPU."""
    return torch.randn(pictures.shape, generator=random).to(pictures.device, non_blocking=True)


def make_source(
    prepared: Prepared,
    name: str,
    *,
    unet_steps: int = 5000,
    content_steps: int = 500,
    batch_size: int = 16,
    unet_lr: float = 5e-4,
    content_lr: float = 1e-4,
    seed: int = 0,
    out_dir: str | Path,
) -> dict:
    """Train the DDPM of a dataset's pictures and its fusion of content, and publish both.

    Writes ``<name>.safetensors``, packed as :mod:`rnfl.models.checkpoints.packing` says, and
    ``<name>.json``: recipe, hash of the pictures, curve. A finished recipe returns at once, an
    interrupted one goes on exactly where it stopped. The packaged one is of ``phantom-slo-1200-s9``
    with 6,000 and 500 steps. Every eye of the dataset is used, so choose
    one whose eyes are in no experiment.

    Returns
    -------
    dict
        What the json holds.
    """
    settings = {
        "unet_steps": unet_steps, "content_steps": content_steps, "batch_size": batch_size,
        "unet_lr": unet_lr, "content_lr": content_lr, "seed": seed, "size": SIZE,
        "widths": list(WIDTHS), "pictures": prepared.hash, "n_pictures": len(prepared),
    }  # fmt: skip
    out_dir = Path(out_dir)
    if found := published(out_dir, name, settings):
        return found
    if (file := out_dir / f"{name}.safetensors").exists():
        raise ValueError(
            f"{file} is of another recipe, or damaged: give this one another name or out_dir, or "
            "move that file away"
        )
    unfinished = runs_root() / ".partial" / f"ddpm-{provenance.sha256_json(settings)[:10]}"
    with locks.locked(unfinished):
        model, device = seeded(Denoiser, seed), devices.choose_device()
        pictures = folded(np.asarray(prepared.images)).to(device)
        curve, seconds = [], 0.0
        for part in ("unet", "content"):
            training = SourceTraining(model.to(device), pictures, part, settings)
            done = loop.train(training, unfinished / part)
            if part == "unet":
                model.unet.load_state_dict(done.average)
            curve += [{"part": part, **row} for row in done.history]
            seconds += done.seconds
        made = {
            "name": name, "settings": settings, "dataset": prepared.name, "curve": curve,
            "seconds": round(seconds, 1), "device": devices.describe(device),
            "versions": provenance.versions(("torch", "diffusers", "numpy")),
        }  # fmt: skip
        publish(model, made, out_dir, name)
        shutil.rmtree(unfinished)
    return made


def source(name: str | Path = SLO_MODEL) -> Denoiser:
    """Return a source DDPM: a packaged one by name, or one of :func:`make_source` by its file.

    Raises
    ------
    FileNotFoundError
        If the file is absent, with how to make it.
    ValueError
        If it is damaged, or of another network.
    """
    model = Denoiser()
    filled(model, _file(name), "make it again, or restore it")
    return model


def filled(model: Denoiser, file: Path, remedy: str, prefix: str = "") -> None:
    """Load the tensors of a file whose names begin with a prefix."""
    try:
        held = packing.unpack(load_file(file)).items()
        own = {key.removeprefix(prefix): v.float() for key, v in held if key.startswith(prefix)}
        model.load_state_dict(own)
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{file} is damaged or holds no DDPM of {SIZE} px and widths {WIDTHS}: {remedy} "
            f"({str(error).splitlines()[0]})"
        ) from error


def _file(name: str | Path) -> Path:
    file = Path(name) if Path(name).suffix else WEIGHTS / f"{name}.safetensors"
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing: make one with rnfl.adaptation.diffusion.make_source, or restore "
            "the packaged one with 'git checkout rnfl/models/weights'"
        )
    return file


@dataclass(frozen=True)
class Adapted:
    """An adapted DDPM, how it went, and what identifies it."""

    model: Denoiser
    curve: list[dict]  # step, loss, gate, cosine_with_static, direction_loss
    digest: str


def adapted(
    prepared: Prepared, shots: Prepared, recipe: Recipe = Recipe(), start: str | Path = SLO_MODEL
) -> Adapted:
    """Adapt a source DDPM to shots, or return what was adapted so before.

    Parameters
    ----------
    prepared : Prepared
        The source; pictures of its training split are read.
    shots : Prepared
        Every picture is read, no label.
    recipe : Recipe
    start : str or Path
        See :func:`source`.
    """
    settings = asdict(recipe) | {"source": prepared.hash, "shots": shots.hash}
    settings |= {"start": fingerprint(start), "judge": JUDGE}
    model = source(start)

    def begin() -> AdaptationTraining:
        device, rows = devices.choose_device(), prepared.subset("train")
        given = folded(np.asarray(prepared.images[rows])), folded(np.asarray(shots.images))
        given = (one.to(device) for one in given)
        return AdaptationTraining(model.to(device), Judge().to(device), *given, recipe)

    folder = trained_once("adapted", settings, begin)
    filled(model, folder / MODEL, f"delete {folder} and ask again", "denoiser.")
    return Adapted(
        model.to(devices.choose_device()).eval(),
        readers.read_json(folder / CURVE, f"delete {folder} and ask again"),
        folder.name.removeprefix("adapted-"),
    )


def trained_once(kind: str, settings: dict[str, Any], begin: Callable[[], Noising]) -> Path:
    """Return the folder of a network trained with these settings, by whom asked first.

    Parameters
    ----------
    kind : str
        What its name begins with; the digest of the settings follows.
    begin : callable
        Returns what is to be trained; its ``model`` is kept, as moving average where it has one.

    Returns
    -------
    Path
        Of ``model.safetensors``, ``settings.json`` and ``curve.json``.
    """
    name = f"{kind}-{provenance.sha256_json(settings)[:10]}"
    folder, unfinished = cache_root() / name, runs_root() / ".partial" / name
    with locks.locked(unfinished):
        if not (folder / CURVE).exists():
            training = begin()
            done = loop.train(training, unfinished)
            average = {f"unet.{key}": value for key, value in done.average.items()}
            found = training.model.state_dict() | average
            kept = f"training is over and is kept in {unfinished}"
            with (
                errors.writing(f"network {name}", folder.parent, kept),
                provenance.publish_folder(folder) as aside,
            ):
                state = {key: v.cpu().contiguous() for key, v in found.items()}
                (aside / MODEL).write_bytes(serialise(state))
                provenance.write_json(aside / "settings.json", settings)
                provenance.write_json(aside / CURVE, done.history)
        shutil.rmtree(unfinished, ignore_errors=True)  # also of a call that ended before this line
    return folder


def fingerprint(start: str | Path = SLO_MODEL) -> str:
    """Return the SHA-256 of a source DDPM's file."""
    return provenance.sha256_file(_file(start))


def kept_translation(
    learnt: Adapted, images: np.ndarray, seeds: Sequence[int], name: str
) -> np.ndarray:
    """Return what :func:`translate` makes of pictures; a file beside the adapted model keeps it.

    ``name`` says whose pictures they are.
    """
    path = cache_root() / f"adapted-{learnt.digest}" / f"{name}.npy"
    if path.exists() and not hashed.is_as_noted(path):
        path.unlink()  # damaged
    if not path.exists():
        made = translate(learnt.model, images, seeds)
        with (
            errors.writing("pictures redrawn", path.parent, "those redrawn before are kept there"),
            provenance.publish_file(path) as aside,
            open(aside, "wb") as file,
        ):
            np.save(file, made, allow_pickle=False)
        hashed.note(path, provenance.sha256_file(path))
    return np.load(path, allow_pickle=False)


def translate(
    model: Denoiser, images: np.ndarray, seeds: Sequence[int], n_steps: int = DRAWN,
    start: int = START, detail: bool = True,
) -> np.ndarray:  # fmt: skip
    """Redraw pictures as the adapted camera would have taken them.

    From ``start`` on by DDIM (η = 1); down to ``GUIDED`` what is coarser than 8 px is that of the
    source picture, noised and taken one step back.

    Parameters
    ----------
    images : ndarray uint8 (N, S, S) or (N, S, S, 3)
    seeds : sequence of int (N,)
        Of each picture's noise, so that it does not depend on the others.
    detail : bool
        Whether what is finer than ``SIZE`` px is taken from the source picture **(ours)**.

    Returns
    -------
    ndarray uint8 (N, S, S, 3)
    """
    device = next(model.parameters()).device
    picture = as_signal(folded(images)).to(device)
    with torch.inference_mode():
        drawn = _drawn(model, picture, seeds, n_steps, start)
    small = ((F.pixel_shuffle(drawn, FOLD) + 1) * 127.5).clamp(0, 255).cpu()
    large = partial(F.interpolate, size=images.shape[1:3], mode="bilinear", antialias=True)
    made = large(small)
    if detail:
        whole = batches.channels_first(np.array(images)).float().mean(dim=1, keepdim=True)
        rough = F.pixel_shuffle(picture.cpu(), FOLD).add(1).mul(127.5).mean(dim=1, keepdim=True)
        made = made + whole - large(rough)
    return made.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def _drawn(
    model: Denoiser, picture: Tensor, seeds: Sequence[int], n_steps: int, start: int
) -> Tensor:
    """Translate folded pictures (B, 12, 32, 32)."""
    randoms = [seeded_generator(seed, 4) for seed in seeds]

    def draw(like: Tensor) -> Tensor:
        drawn = [torch.randn(like.shape[1:], generator=random) for random in randoms]
        return torch.stack(drawn).to(like.device)

    times = np.linspace(start, 0, n_steps + 1).round().astype(int)
    at = [torch.full((len(picture),), int(time), device=picture.device) for time in times]
    now = model.noised(picture, at[0], draw(picture))
    for here, there in pairwise(at):
        shows = model.noised(picture, here, draw(picture))
        content = model.content_of(shows, here, draw)
        now = stepped_back(model, now, here, there, model(now, here, content), draw(now))
        if there[0] > GUIDED:
            guide = stepped_back(model, shows, here, there, model(shows, here), draw(now))
            now = now - _rough(now) + _rough(guide)
    return now


def stepped_back(
    model: Denoiser, noised: Tensor, here: Tensor, there: Tensor, noise: Tensor, fresh: Tensor
) -> Tensor:
    """Take a DDIM step with η = 1 from one time to another."""
    clear = model.cleared(noised, here, noise)
    before, after = (model.kept[time].view(-1, 1, 1, 1) for time in (here, there))
    if int(there[0]) == 0:
        return clear
    noise = (noised - before.sqrt() * clear) / (1 - before).sqrt()  # of the clamped picture
    spread = ((1 - after) / (1 - before) * (1 - before / after)).sqrt()
    return (
        after.sqrt() * clear + (1 - after - spread**2).clamp(min=0).sqrt() * noise + spread * fresh
    )


def _rough(folded_pictures: Tensor) -> Tensor:
    """What is coarser than 8 px of folded pictures."""
    whole = F.pixel_shuffle(folded_pictures, FOLD)
    small = F.avg_pool2d(whole, 8)
    return F.pixel_unshuffle(F.interpolate(small, whole.shape[-2:], mode="bilinear"), FOLD)


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()
