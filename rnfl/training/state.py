"""The state of a training run: how far it has come, what a checkpoint holds, and the way back."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rnfl.training import distributed
from rnfl.training.checkpointing import Checkpoints


@dataclass
class Progress:
    """How far training has come; with weights and optimiser, all that a checkpoint holds.

    The learning rate is a function of the step, the order of an epoch and all other randomness
    one of (seed, epoch) and (seed, step), and early stopping one of the history: none has a state
    of its own. There is no loss scaler, since bf16 needs none.

    ``watched`` is the column of the history whose lowest value is the best epoch, and ``best`` are
    the weights of that one, without those that never move; ``average`` is their exponential
    average, where a protocol asks for one; ``precision`` is the one it began in and why
    (:func:`~rnfl.training.devices.decide_precision`).
    """

    epoch: int = 0  # epochs finished
    step: int = 0  # steps done of the next one
    loss: float = 0.0  # its sum over those steps, weighted by images
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)  # a row per finished epoch
    best: dict[str, Tensor] = field(default_factory=dict)
    micro_batch: int = 0  # images computed at once; 0 before the first step
    precision: dict = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    watched: str = "val_mae"
    peak_bytes: int = 0  # of memory: measured on a GPU, else estimated (Step.estimated_bytes)

    @property
    def best_row(self) -> dict | None:
        """The epoch with the lowest validation error; the first of equals."""
        return min(self.history, key=lambda row: row[self.watched], default=None)

    def is_over(self, epochs: int, patience: int, since: int = 0) -> bool:
        """Whether ``epochs`` are done, or ``patience`` of them have passed without a better one.

        Of those from epoch ``since`` on.
        """
        best = self.best_row["epoch"] + 1 if self.history else 0
        return self.epoch - max(best, since) >= patience or self.epoch >= epochs


def collected(model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> dict:
    """Return everything that training needs to go on."""
    return {
        "model": learnt(model, optimizer),
        "optimizer": optimizer.state_dict(),
        "progress": vars(progress),
    }


def learnt(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of a model without weights that never move, which are where it started.

    What moves in some phase is what the optimiser holds, whether it moves at this moment or not.
    """
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    still = {name for name, one in model.named_parameters() if id(one) not in held}
    return {name: value for name, value in model.state_dict().items() if name not in still}


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, found: dict[str, Tensor]) -> None:
    """Put what :func:`learnt` returned back into the model."""
    if differing := found.keys() ^ learnt(model, optimizer).keys():
        raise ValueError(f"this state is not of this model: {sorted(differing)[:5]} differ")
    model.load_state_dict(found, strict=False)


def resume(
    checkpoints: Checkpoints,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> Progress:
    """Restore model and optimiser in place; without a checkpoint, start at the beginning."""
    state = checkpoints.load(device)
    found = None if state is None else (state["progress"]["epoch"], state["progress"]["step"])
    if distributed.agreed(found) != found:
        raise ValueError(
            f"process {distributed.rank()} finds another checkpoint in {checkpoints.folder} than "
            "the first one does: all need the same RNFL_DATA on a file system that they share"
        )
    distributed.wait()
    if state is None:
        return Progress()
    restore(model, optimizer, state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])
