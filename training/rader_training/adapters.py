"""LoRA on the model that is trained, and taking its trained weights out again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError, import_extra
from rader_training.config import LORA_TARGETS, TrainingConfig

__all__ = ["add_lora", "load_trained", "save_trained"]


def add_lora(transformer: Any, config: TrainingConfig, **more: Any) -> Any:
    """Return a model of transformers with an adapter on it; nothing else of it is trained.

    Args:
        transformer: The model; its layers are changed in place.
        config: Rank, alpha, dropout and layers.
        **more: Settings of peft's ``LoraConfig`` beside those.

    Raises:
        InputError: The model has no layer of these names.
    """
    peft = import_extra("peft", "training")
    names = {name.rpartition(".")[2] for name, _ in transformer.named_modules()}
    wanted: tuple[str, ...] | str = config.lora_targets or tuple(name for name in LORA_TARGETS if name in names)
    if config.lora_targets and (missing := [name for name in config.lora_targets if name not in names]):
        raise InputError(f"The model has no layers named {', '.join(missing)}; it has {', '.join(sorted(names))}.")
    settings = peft.LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(wanted) if wanted else "all-linear",
        bias="none",
        **more,
    )
    return peft.get_peft_model(transformer, settings)


def save_trained(model: Any, path: Path) -> None:
    """Write the weights that are trained, and no others."""
    safetensors = import_extra("safetensors.torch", "training")
    trained = {name: tensor.detach().contiguous() for name, tensor in model.named_parameters() if tensor.requires_grad}
    temporary = path.with_suffix(".tmp")
    safetensors.save_file(trained, str(temporary))
    temporary.replace(path)


def load_trained(model: Any, path: Path) -> None:
    """Read what :func:`save_trained` wrote into a model of the same shape.

    Raises:
        InputError: It is of another model or other settings.
    """
    torch = import_extra("torch", "training")
    safetensors = import_extra("safetensors.torch", "training")
    stored = safetensors.load_file(str(path))
    trained = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    if set(stored) != set(trained) or any(stored[name].shape != trained[name].shape for name in stored):
        raise InputError(f"{path} holds the weights of another model, or of other LoRA settings.")
    with torch.no_grad():
        for name, tensor in trained.items():
            tensor.copy_(stored[name])
