"""What decides a run: dataset, backbone, protocol and every setting of training."""

import re
from dataclasses import dataclass

from rnfl.core import geometry, splits
from rnfl.core.splits import EVERYTHING, Lesson
from rnfl.storage import plugins
from rnfl.training import protocols
from rnfl.training.protocols import AnyProtocol, Averaged, Masked, Matched, Protocol, Solved

# What a run's result does not depend on.
INCIDENTAL = ("checkpoint_seconds", "compile", "eval_on")
AUGMENTATIONS = ("intensity", None)
#: Augmentations that show an eye in graded views, side by side in a batch: how bad each view is.
#: Two mild and two severe are BrainFM's (arXiv 2509.00549); the other three are ours.
GRADED = {
    "mild": ("mild",) * 4,
    "severe": ("severe",) * 4,
    "mild_to_severe": ("mild", "mild", "severe", "severe"),
    "mild_to_severe_mix": ("mild", "mild", "severe", "severe"),
}
#: What spoils them (:mod:`rnfl.training.degradation`); JPEG is never among it, and is so held out.
DEGRADATIONS = ("exposure", "tilt", "noise", "blur", "resolution", "gain", "haze")
WITHOUT = "-without-"  # between a graded augmentation and the one of these that it leaves out
OUTPUT_SCALES = ("standardised", "raw")
TASKS = ("profile", "masks", "pictures")


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run (defaults: paper, Methods).

    Attributes
    ----------
    backbone : str
        A name of ``BACKBONES`` or ``timm:<name>``; ``@<px>`` behind it sets the input size. A
        readout takes several, joined by ``+``.
    protocol : Protocol, Solved, Averaged or Matched
        A name of ``PROTOCOLS``, or one that an installed package registers, stands for its
        protocol. What its kind does not read (``protocols.UNREAD``) is set to the default,
        whatever was given.
    micro_batch : int, 'auto' or None
        How much of a batch is computed at once: None = all of it, 'auto' = what fits into the
        memory that is free at the first step. Where memory runs out it is halved.
    augment : str or None
        'intensity', a name of :data:`GRADED`, such as 'mild_to_severe', or one with a family of
        :data:`DEGRADATIONS` held out, such as 'mild_to_severe-without-blur'. With graded views
        ``batch_size`` stays the number of pictures and an epoch that of its steps: it shows a
        quarter of the eyes, so that runs cost the same (ours).
    views : int or None
        Under a protocol that freezes the first blocks, this many augmented views of each image
        are drawn once and what the blocks make of them is kept (ours, see
        :mod:`rnfl.training.frozen_prefix`).
    split : str
        Which eyes train, validate and test: 'own' (the dataset's column), 'all' (none test) or
        'fold-<i>-of-<k>-s<seed>', see :func:`rnfl.core.splits.divide`.
    start : str or None
        Id of a finished run with the same backbone, whose whole model is the start: backbone,
        projection and head.
    task : {'profile', 'masks', 'pictures'}
        What is predicted: the profile, or masks of optic disc and cup
        (:mod:`rnfl.training.segmentation`). The protocol 'mae' predicts pictures, whatever was
        given, and no other does.
    lesson : Lesson, or a dict of its fields
        Which part of the labelled eyes it learns from.
    steps : int or None
        Steps in all, where runs on different numbers of eyes are to take the same: passes over the
        eyes follow each other until they are taken, and ``epochs`` is the number of equal parts,
        at the end of each of which it is validated. None: an epoch is a pass.
    output_scale : {'standardised', 'raw'}
        Whether the head's output is in SDs about the mean of the training labels (ours), or in µm
        as it is.
    """

    dataset: str  # prepared, to train and test on
    backbone: str
    protocol: AnyProtocol
    seed: int = 42
    epochs: int = 80
    batch_size: int = 60  # the effective one
    micro_batch: int | str | None = None
    warmup_epochs: int = 5
    patience: int = 15  # epochs without a better validation MAE before training stops
    lr_scale: float = 1.0  # multiplies the protocol's learning rates (ours)
    clip: float = 1.0  # largest norm of the gradient
    augment: str | None = "intensity"
    views: int | None = None
    compile: bool | None = None  # None = on a GPU; it moves last digits alone
    precision: str = "auto"  # or fp32, bf16
    radius_ratio: float = geometry.RADIUS_RATIO  # of the sampled circle, a share of the side
    pretrained: bool = True  # False starts the backbone from random weights
    split: str = "own"
    start: str | None = None
    output_scale: str = "standardised"
    task: str = "profile"
    lesson: Lesson = EVERYTHING
    steps: int | None = None
    eval_on: tuple[str, ...] = ()  # further prepared datasets whose test split is predicted
    checkpoint_seconds: float = 60.0  # between checkpoints within an epoch

    def __post_init__(self):
        protocol = protocols.get(self.protocol)
        object.__setattr__(self, "protocol", protocol)
        for name in protocols.UNREAD[type(protocol)]:
            object.__setattr__(self, name, getattr(RunConfig, name))
        if isinstance(protocol, Masked):
            object.__setattr__(self, "task", "pictures")
        elif self.task == "pictures":
            raise ValueError(f"task 'pictures' is the protocol 'mae', not {protocol.name!r}")
        if isinstance(self.lesson, dict):  # as a run records it
            object.__setattr__(self, "lesson", Lesson(**self.lesson))
        for name in ("epochs", "batch_size", "patience", "lr_scale", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)!r}")
        if self.steps is not None and not (_is_count(self.steps) and self.steps >= self.epochs):
            raise ValueError(
                f"steps {self.steps!r}: expected a number of at least epochs = {self.epochs}, the "
                "parts at whose ends it is validated"
            )
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be a whole number from 0 to 2**63 - 1, got {self.seed!r}")
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise ValueError(
                f"warmup_epochs must lie in [0, epochs = {self.epochs}], got {self.warmup_epochs}"
            )
        if isinstance(protocol, Protocol):
            protocols.starts(protocol, self.epochs)
            known = plugins.names("losses")
            if unknown := [name for name, _ in protocol.loss.terms if name not in known]:
                raise ValueError(f"terms {unknown} of the loss: installed packages have {known}")
        self._check_augmentation()
        if self.output_scale not in OUTPUT_SCALES:
            raise ValueError(f"output_scale {self.output_scale!r}: expected one of {OUTPUT_SCALES}")
        if self.task not in TASKS:
            raise ValueError(f"task {self.task!r}: expected one of {TASKS}")
        if self.task == "masks":
            self._refuse_of_profiles()
        if self.micro_batch not in (None, "auto") and not _is_count(self.micro_batch):
            raise ValueError(f"micro_batch {self.micro_batch!r}: expected 1 or more, auto or None")
        splits.check(self.split)
        started = protocol.runs if isinstance(protocol, Averaged) else [self.start or "none"]
        started = [protocol.run] if isinstance(protocol, Matched) else started
        for run in started:
            if not re.fullmatch(r"[\w-][\w.-]*", run):
                raise ValueError(f"start {run!r}: expected the id of a finished run")
        if self.views is not None and not (_is_count(self.views) and self.augment):
            raise ValueError(
                f"views {self.views!r}: expected a number of augmented views, and an augmentation"
            )
        several = isinstance(protocol, Solved | Matched) and not self.start
        if len(self.backbones) > 1 and not several:
            raise ValueError(
                f"{len(self.backbones)} backbones {self.backbone!r}: only the protocol 'readout' "
                "takes several, and then without a start"
            )

    def _refuse_of_profiles(self) -> None:
        """Refuse what only profiles have, rather than leave it unread."""
        protocol, refused = self.protocol, {}
        if isinstance(protocol, Solved):
            refused["a readout"] = "it solves for profiles: choose a protocol by gradient"
        elif isinstance(protocol, Matched):
            refused["prior matching"] = "masks have no level: leave it out"
        elif isinstance(protocol, Protocol) and protocol.loss.on_profiles:
            refused[f"terms {protocol.loss.on_profiles} of the loss"] = (
                "they compare profiles: choose a protocol without them, such as 'naive'"
            )
        for name in ("output_scale", "radius_ratio"):
            if getattr(self, name) != getattr(RunConfig, name):
                refused[f"{name} {getattr(self, name)!r}"] = "it is of profiles: leave it out"
        if refused:
            said = "; ".join(f"{what}: {why}" for what, why in refused.items())
            raise ValueError(f"task 'masks' with protocol {protocol.name!r} cannot have {said}")

    def _check_augmentation(self) -> None:
        name, without, left_out = (self.augment or "").partition(WITHOUT)
        if name not in GRADED and self.augment not in AUGMENTATIONS:
            known = (*AUGMENTATIONS, *GRADED)
            raise ValueError(f"augment {self.augment!r}: expected one of {known}")
        if without and left_out not in DEGRADATIONS:
            raise ValueError(f"augment {self.augment!r}: {name} can do without {DEGRADATIONS}")
        aligned = isinstance(self.protocol, Protocol) and self.protocol.loss.align
        if aligned and self.copies > 1:
            raise ValueError(
                f"augment {self.augment!r}: a loss that aligns two pictures of an eye has them "
                "side by side in a batch: choose 'intensity' or none"
            )
        if self.batch_size % self.copies:
            raise ValueError(
                f"batch_size {self.batch_size}: augment {self.augment!r} shows {self.copies} views "
                f"of each eye, so expected a multiple of {self.copies}"
            )
        if self.copies > 1 and self.views:
            raise ValueError(
                f"views {self.views}: augment {self.augment!r} draws new views in every epoch, and "
                "none is kept behind frozen blocks: leave views out"
            )

    @property
    def copies(self) -> int:
        """How often a batch shows an eye: once, or in so many graded views."""
        return len(GRADED.get((self.augment or "").partition(WITHOUT)[0], ("as it is",)))

    @property
    def backbones(self) -> list[str]:
        """The names that ``backbone`` joins, mostly one."""
        return self.backbone.split("+")

    @property
    def slug(self) -> str:
        """A readable name: dataset, backbone, protocol, seed; task, split, start if unusual."""
        text = f"{self.dataset}-{self.backbone}-{self.protocol.name}-s{self.seed}"
        if self.task == "masks":
            text += f"-{self.task}"
        if self.split != "own":
            text += f"-{self.split}"
        if self.lesson.fraction != 1:
            text += f"-of{self.lesson.fraction:g}"
        if self.lesson.quality is not None:
            text += f"-q{self.lesson.quality:g}"
        if self.start is not None:
            text += f"-from-{self.start.rpartition('-')[2]}"
        return re.sub(r"[^\w.-]+", "-", text)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 1
