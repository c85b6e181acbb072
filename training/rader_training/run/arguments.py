"""What our hyper-parameters are to the trainers of transformers and sentence-transformers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError, MissingExtraError
from rader_training.config import TrainingConfig
from rader_training.run.precision import uses_bf16
from rader_training.run.processes import process_count

__all__ = ["check_reporting", "trainer_arguments"]

_PATIENCE = 24 * 3600  # seconds that other processes wait while the first evaluates
_CHECKPOINTS = 20
_SERVICES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "trackio": ("trackio",)}


def trainer_arguments(
    config: TrainingConfig, steps: int, folder: Path, device: str, report_to: str | None = None
) -> dict[str, Any]:
    """Return what ``TrainingArguments`` takes.

    Args:
        config: The hyper-parameters, none of them unstated.
        steps: Number of optimiser steps of the training.
        folder: Folder of the run.
        device: ``cpu``, ``cuda`` or ``mps``.
        report_to: Where figures are sent to as well.
    """
    on_cpu = device == "cpu"
    # The other kind passes no gradient on where the embeddings are frozen, as with an adapter.
    checkpointing = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    save_steps = config.save_every
    if save_steps is None and process_count() > 1:  # processes do not agree on the time
        save_steps = max(1, steps // _CHECKPOINTS)
    return {
        "output_dir": str(folder / "checkpoints"),
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.accumulate,
        "learning_rate": config.learning_rate,
        "warmup_steps": config.warmup_steps,
        "weight_decay": config.weight_decay,
        "lr_scheduler_type": "linear",
        "max_steps": steps,
        "bf16": uses_bf16(config, device),
        **(checkpointing if config.gradient_checkpointing else {}),
        "logging_steps": config.log_every,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if save_steps else "no",
        "save_steps": save_steps or 500,
        "save_total_limit": 2,
        "seed": config.seed,
        "data_seed": config.seed,
        "use_cpu": on_cpu,
        "report_to": [report_to] if report_to else "none",
        "disable_tqdm": True,  # it prints dicts; see ProgressLine
        "dataloader_pin_memory": not on_cpu,
        "remove_unused_columns": False,
        "ddp_timeout": _PATIENCE,
    }


def check_reporting(report_to: str | None) -> None:
    """Find out before the training whether figures can be sent.

    Raises:
        InputError: There is no such service here.
        MissingExtraError: Its package is not installed.
    """
    if report_to is None:
        return
    if report_to not in _SERVICES:
        raise InputError(f"Figures are sent to {', '.join(_SERVICES)}, not to {report_to!r}.")
    if not any(importlib.util.find_spec(name) for name in _SERVICES[report_to]):
        raise MissingExtraError(f"report_to={report_to!r} needs its package: pip install {report_to}")
