"""Trainings whose loss or weights are no numbers any more."""

from __future__ import annotations

from typing import Any

from rader_plugins.errors import RaderError, import_extra
from rader_training.run.processes import all_agree

__all__ = ["TrainingDivergedError", "check_loss", "check_weights"]


class TrainingDivergedError(RaderError):
    """The loss or a weight is NaN or infinite. ``model`` holds the last weights that were good, if any were kept."""


def check_loss(loss: Any) -> None:
    """Raise :class:`TrainingDivergedError` if a loss is NaN or infinite, in all processes if it is in one."""
    if not all_agree(import_extra("torch", "training").isfinite(loss)):
        raise TrainingDivergedError(f"The loss became NaN or infinite (in this process it is {loss.item()}).")


def check_weights(model: Any) -> None:
    """Raise :class:`TrainingDivergedError` if a weight that is trained is NaN or infinite; all processes come here."""
    torch = import_extra("torch", "training")
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    own = [weight.to_local() if hasattr(weight, "to_local") else weight for weight in trained]
    if own and not all_agree(torch.stack([torch.isfinite(weight).all() for weight in own]).all()):
        raise TrainingDivergedError("Weights became NaN or infinite.")
