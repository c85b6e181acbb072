"""What our hyper-parameters are to the trainers of transformers and sentence-transformers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rader_training.config import TrainingConfig
from rader_training.precision import uses_bf16

__all__ = ["trainer_arguments"]

_PATIENCE = 24 * 3600  # seconds that other processes wait while the first evaluates


def trainer_arguments(config: TrainingConfig, folder: Path, device: str) -> dict[str, Any]:
    """Return what ``TrainingArguments`` takes.

    Args:
        config: The hyper-parameters.
        folder: Of the run.
        device: ``cpu``, ``cuda`` or ``mps``.
    """
    on_cpu = device == "cpu"
    # The other kind passes no gradient on where the embeddings are frozen, as with an adapter.
    checkpointing = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    return {
        "output_dir": str(folder / "checkpoints"),
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.accumulate,
        "learning_rate": config.learning_rate,
        "warmup_steps": config.warmup_steps,
        "weight_decay": config.weight_decay,
        "lr_scheduler_type": "linear",
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "bf16": uses_bf16(config, device),
        **(checkpointing if config.gradient_checkpointing else {}),
        "logging_steps": config.log_every,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if config.save_every else "no",
        "save_steps": config.save_every or 500,
        "save_total_limit": 2,
        "seed": config.seed,
        "data_seed": config.seed,
        "use_cpu": on_cpu,
        "report_to": "none",
        "disable_tqdm": not (sys.stderr is not None and sys.stderr.isatty()),
        "dataloader_pin_memory": not on_cpu,
        "remove_unused_columns": False,
        "ddp_timeout": _PATIENCE,
    }
