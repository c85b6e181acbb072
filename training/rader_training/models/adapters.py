"""LoRA on the model that is trained, and taking its trained weights out again."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError, RaderError, import_extra
from rader_training.config import LORA_TARGETS, TrainingConfig

__all__ = ["adapted_layers", "add_lora", "averaged", "load_trained", "save_trained", "set_dropout"]

_IN_LAYER = re.compile(r"(?:^|\.)([^.]+)\.(\d+)\.")


def add_lora(transformer: Any, config: TrainingConfig, **more: Any) -> Any:
    """Return a model of transformers with an adapter on it; nothing else of it is trained.

    Args:
        transformer: The model; its layers are changed in place.
        config: Rank, alpha, dropout and layers.
        **more: Settings of peft's ``LoraConfig`` beside those.

    Raises:
        InputError: The model has no layer of these names or numbers.
    """
    peft = import_extra("peft", "training")
    names = {name.rpartition(".")[2] for name, _ in transformer.named_modules()}
    targets: tuple[str, ...] = config.lora_targets or tuple(name for name in LORA_TARGETS if name in names)
    if config.lora_targets and (missing := [name for name in config.lora_targets if name not in names]):
        raise InputError(f"The model has no layers named {', '.join(missing)}; it has {', '.join(sorted(names))}.")
    if config.lora_layers:
        targets, where = _in_layers(transformer, targets, config.lora_layers)
        more = {**more, **where}
    settings = peft.LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(targets) if targets else "all-linear",
        bias="none",
        **more,
    )
    return peft.get_peft_model(transformer, settings)


def adapted_layers(transformer: Any, config: TrainingConfig) -> Callable[[str], bool]:
    """Return whether :func:`add_lora` adapts the linear layer of a name."""
    last = {name.rpartition(".")[2] for name, _ in transformer.named_modules()}
    targets = config.lora_targets or tuple(name for name in LORA_TARGETS if name in last)

    def adapts(name: str) -> bool:
        match = _IN_LAYER.search(name)
        if config.lora_layers and (match is None or int(match[2]) not in config.lora_layers):
            return False
        return not targets or name.rpartition(".")[2] in targets

    return adapts


def _in_layers(
    transformer: Any, targets: tuple[str, ...], layers: tuple[int, ...]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return what to adapt in some of the transformer layers, and how peft finds these."""
    linear = import_extra("torch.nn", "training").Linear
    modules = dict(transformer.named_modules())
    matches = {name: match for name in modules if (match := _IN_LAYER.search(name))}
    numbers = {int(match[2]) for match in matches.values()}
    if missing := sorted(set(layers) - numbers):
        raise InputError(f"The model has no transformer layers {missing}; they are counted from 0 to {max(numbers)}.")
    names = {name.rpartition(".")[2] for name in matches if isinstance(modules[name], linear)}
    patterns = sorted({match[1] for match in matches.values()})
    return targets or tuple(sorted(names)), {"layers_to_transform": list(layers), "layers_pattern": patterns}


@contextlib.contextmanager
def averaged(model: Any, weight: float, base: Path) -> Iterator[None]:
    """Give the model the weights ``base + weight * (trained - base)`` for the length of the block.

    Args:
        model: The model, with an adapter or trained in full.
        weight: Share of what was trained, from 0 (the base) to 1 (as trained).
        base: What :func:`save_trained` wrote before the training; is not read where there is an adapter.
    """
    torch = import_extra("torch", "training")
    adapted = [module for module in model.modules() if isinstance(getattr(module, "scaling", None), dict)]
    if weight == 1:
        yield
    elif adapted:
        scalings = [dict(module.scaling) for module in adapted]
        for module in adapted:
            module.scaling.update({name: weight * scale for name, scale in module.scaling.items()})
        try:
            yield
        finally:
            for module, scaling in zip(adapted, scalings, strict=True):
                module.scaling.update(scaling)
    else:
        safetensors = import_extra("safetensors", "training")
        trained_file = base.with_name("trained.safetensors")
        save_trained(model, trained_file)
        try:
            # One tensor at a time: a third copy of all the weights may not fit.
            with torch.no_grad(), safetensors.safe_open(str(base), "pt") as stored:
                for name, tensor in model.named_parameters():
                    if tensor.requires_grad:
                        tensor.lerp_(stored.get_tensor(name).to(tensor), 1 - weight)
            yield
        finally:
            load_trained(model, trained_file)
            trained_file.unlink()


def set_dropout(model: Any, share: float) -> None:
    """Set the dropout of a model that has no adapter yet; it only counts while the model trains.

    Raises:
        InputError: The model has no such layers, so that the setting would have no effect.
    """
    torch = import_extra("torch", "training")
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    if not layers and share:
        raise InputError("dropout has no effect: the base has no dropout layers (lora_dropout is another).")
    for module in layers:
        module.p = share


def save_trained(model: Any, path: Path, weights: Mapping[str, Any] | None = None) -> None:
    """Write the weights that are trained, and no others.

    Args:
        model: Says which they are, and holds them.
        path: The file to write.
        weights: Holds them where the model is cut apart over processes.

    Raises:
        RaderError: The file cannot be written; what was there is intact.
    """
    safetensors = import_extra("safetensors.torch", "training")
    full_disk = import_extra("safetensors", "training").SafetensorError
    parameters = dict(model.named_parameters())
    weights = parameters if weights is None else weights
    trained = {name: weights[name].detach().contiguous() for name in parameters if parameters[name].requires_grad}
    temporary = path.with_suffix(".tmp")
    try:
        safetensors.save_file(trained, str(temporary))
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except (OSError, full_disk) as error:
        temporary.unlink(missing_ok=True)
        raise RaderError(
            f"{path} cannot be written: {error}. The checkpoints are intact: make room and go on with --resume."
        ) from error


def load_trained(model: Any, path: Path) -> None:
    """Read what :func:`save_trained` wrote into a model of the same shape.

    Raises:
        InputError: It is of another model or other settings.
    """
    torch = import_extra("torch", "training")
    safetensors = import_extra("safetensors.torch", "training")
    weights = safetensors.load_file(str(path))
    trained = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    if set(weights) != set(trained) or any(weights[name].shape != trained[name].shape for name in weights):
        raise InputError(f"{path} holds the weights of another model, or of other LoRA settings.")
    with torch.no_grad():
        for name, tensor in trained.items():
            tensor.copy_(weights[name])
