"""One optimiser step on a batch, computed in as many parts as memory asks for."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import repeat

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rnfl.models.backbone import Backbone
from rnfl.training import distributed, losses, memory, segmentation
from rnfl.training.augmentation import augmented, mixed_seed
from rnfl.training.batches import Batch, as_float
from rnfl.training.config import RunConfig
from rnfl.training.devices import autocast

ALIGNED_AT = (1 / 3, 1 / 2, 2 / 3, 1.0)  # of the depth


@dataclass(eq=False)
class Step:
    """The optimiser's step of a run: a callable that keeps what steps have in common.

    ``micro_batch`` are the images computed at once; 0 = as the configuration says. ``compiled`` is
    the model, compiled where that pays (on a GPU), for whoever predicts between steps. ``drawn_to``
    are parameters and where they started, which L2-SP draws them to.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    config: RunConfig
    precision: str
    micro_batch: int = 0
    drawn_to: Sequence[tuple[nn.Parameter, Tensor]] = ()
    _all_learn: bool = False  # once every parameter that is to move was seen to have a gradient

    def __post_init__(self):
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        on_gpu = next(self.model.parameters()).device.type == "cuda"
        compiling = on_gpu if self.config.compile is None else self.config.compile
        compiling &= not self.config.protocol.loss.align  # which looks into the network
        self.compiled = torch.compile(self.model) if compiling else self.model
        self.network = distributed.wrap(self.compiled)

    def __call__(self, batch: Batch, n: int, number: int) -> Tensor:
        """Take step ``number`` on this process's share of a batch of ``n`` images.

        Where memory runs out, the part computed at once is halved, which is said and kept; the
        batch stays what it is. Returned is the loss summed over the ``n`` images.
        """
        self.micro_batch = self.micro_batch or self._first_size(batch)
        backward = partial(self._backward, batch, n, number)
        total, self.micro_batch = memory.halve_until_it_fits(
            backward, self.micro_batch, len(batch[1]), self._halved
        )
        self._all_learn = self._all_learn or self._refuse_idle()
        self._draw_to_start()
        nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return distributed.total(total)

    def _refuse_idle(self) -> bool:
        """Refuse a model of which something should move, but no loss depends on it."""
        idle = [n for n, p in self.model.named_parameters() if p.requires_grad and p.grad is None]
        if idle:
            raise ValueError(
                f"{self.config.slug}: protocol {self.config.protocol.name!r} lets {len(idle)} "
                f"parameters move that the prediction does not depend on, such as {idle[0]}: they "
                "would stay as they are. Choose a protocol that leaves them out"
            )
        return True

    def _draw_to_start(self) -> None:
        moved = [(p, start) for p, start in self.drawn_to if p.grad is not None]
        if moved:
            now, starts = zip(*moved, strict=True)
            distance = torch._foreach_sub([p.detach() for p in now], list(starts))
            weight = self.config.protocol.loss.l2_start
            torch._foreach_add_([p.grad for p in now], distance, alpha=weight)

    def _backward(self, batch: Batch, n: int, number: int, at_once: int) -> Tensor:
        """Add up the gradients of the batch's mean loss; return the loss summed over images."""
        # Dropout draws from the global state, so that is what a step must set.
        place = (distributed.rank(),) if distributed.rank() else ()
        random = torch.manual_seed(mixed_seed(self.config.seed, number, 1, *place))
        counts = None  # every eye has a whole mask: a mean over eyes is one over pixels
        if self.config.task == "profile":
            counts = distributed.total(torch.stack(losses.count_valid(*batch[1:]))).double()
        total = torch.zeros((), device=batch[1].device)
        if self.config.protocol.loss.align:  # the two pictures of an eye stay together
            at_once = max(2, at_once // 2 * 2)
        places = distributed.share(torch.arange(n)).split(at_once)
        parts = list(zip(_split(batch, at_once), places, strict=True))
        for part, where in parts[:-1]:
            with distributed.gradients_stay(self.network):
                total += self._part(part, n, random, counts, where)
        return total + self._part(parts[-1][0], n, random, counts, parts[-1][1])

    def _part(
        self,
        part: Batch,
        n: int,
        random: torch.Generator,
        counts: Tensor | None,
        places: Tensor,
    ) -> Tensor:
        # Sums over the part are divided by its even share of the batch's counts, then weighted by
        # that share: together once by the counts, to the last bit as a mean where none is missing.
        share = None
        if counts is not None:
            share = losses.Counts(*(counts * len(part[1]) / n).float())
        loss = len(part[1]) * self._mean_loss(self.network, part, random, share, places)
        (loss * distributed.size() / n).backward()
        return loss.detach()

    def _mean_loss(
        self,
        network: nn.Module,
        part: Batch,
        random: torch.Generator,
        counts: losses.Counts | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        loss = self.config.protocol.loss
        images, profiles, quadrants = as_float(part)
        if images.ndim == 4:  # tokens of a prefix are augmented already
            images = augmented(images, self.config.augment, random, places)
        with (
            autocast(images.device, self.precision),
            tokens_of(self.model.backbone, ALIGNED_AT) if loss.align else nullcontext() as tokens,
        ):
            prediction = network(images)
        weights = loss.pearson, loss.gradient
        if self.config.task == "masks":
            total = segmentation.loss(prediction, profiles)
        else:
            total = losses.supervised(prediction, profiles, quadrants, *weights, counts, loss.terms)
        return total + loss.align * losses.unaligned(tokens) if loss.align else total

    def _first_size(self, batch: Batch) -> int:
        if self.config.micro_batch != "auto":
            return self.config.micro_batch or self.config.batch_size
        device = batch[0].device
        n_bytes = sum(p.nbytes for p in self.parameters if p.requires_grad)

        # Where the pictures of an eye are aligned, they come in pairs.
        unit = 2 if self.config.protocol.loss.align else 1

        def forward(n: int) -> Tensor:
            some = tuple(part if part is None else part[: n * unit] for part in batch)
            return self._mean_loss(self.model, some, torch.Generator())

        most = self.config.batch_size // unit
        size = unit * memory.images_that_fit(forward, n_bytes, most, device)
        tqdm.write(f"{self.config.slug}: {size} of {self.config.batch_size} images at once")
        return size

    def estimated_bytes(self, batch: Batch) -> int:
        """Estimate the memory of a step: weights, gradients, AdamW's moments, what is kept."""
        moving = sum(p.nbytes for p in self.parameters if p.requires_grad)
        weights = sum(p.nbytes for p in self.model.parameters())
        images = as_float(batch)[0][:1].expand(2, *batch[0].shape[1:])

        def forward(n: int) -> Tensor:
            with autocast(images.device, self.precision):  # the loss keeps next to nothing
                return self.model(images[:n].clone())

        at_once = min(self.micro_batch, self.config.batch_size)
        return memory.step_bytes(forward, at_once, weights, moving)

    def _halved(self, too_many: int, at_once: int) -> None:
        said = f"{self.config.slug}: memory ran out at {too_many} images at once"
        if distributed.size() > 1:  # the others are waiting for this one's gradients
            raise RuntimeError(f"{said} in each process: set micro_batch to {at_once}")
        self.optimizer.zero_grad(set_to_none=True)
        tqdm.write(
            f"{said}; from here on {at_once}, "
            f"with the same effective batch of {self.config.batch_size}"
        )


@contextmanager
def tokens_of(backbone: Backbone, shares: Iterable[float]) -> Iterator[list[Tensor]]:
    """Yield a list that a forward pass fills with the tokens after some blocks, by depth."""
    numbers = sorted({max(1, round(share * backbone.depth)) - 1 for share in shares})
    stages, found = {stage.name: stage for stage in backbone.stages}, []
    hooks = [
        stages[f"block_{i}"]
        .modules[-1]
        .register_forward_hook(lambda *given: found.append(given[-1]))
        for i in numbers
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _split(batch: Batch, size: int) -> zip:
    """Cut a batch into parts of at most ``size`` images; what is None stays None."""
    return zip(*(repeat(None) if p is None else p.split(size) for p in batch), strict=False)
