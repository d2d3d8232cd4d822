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

    ``best`` are the weights of the epoch with the lowest validation MAE, without those that are
    frozen; ``precision`` is the one it began in and why
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

    @property
    def best_row(self) -> dict | None:
        """The epoch with the lowest validation MAE; the first of equals."""
        return min(self.history, key=lambda row: row["val_mae"], default=None)

    def is_over(self, epochs: int, patience: int) -> bool:
        """Whether ``epochs`` are done, or ``patience`` of them have passed without a better one."""
        stalled = bool(self.history) and self.epoch - 1 - self.best_row["epoch"] >= patience
        return stalled or self.epoch >= epochs


def collected(model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> dict:
    """Return everything that training needs to go on."""
    return {"model": learnt(model), "optimizer": optimizer.state_dict(), "progress": vars(progress)}


def learnt(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of a model without frozen weights, which are where it started."""
    frozen = {name for name, one in model.named_parameters() if not one.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def restore(model: nn.Module, found: dict[str, Tensor]) -> None:
    """Put what :func:`learnt` returned back into the model."""
    if differing := found.keys() ^ learnt(model).keys():
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
    restore(model, state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])
