"""Which precision a training computes in, and keeps its base in."""

from __future__ import annotations

from rader_plugins.errors import import_extra
from rader_training.config import TrainingConfig

__all__ = ["uses_bf16", "weights_dtype"]


def uses_bf16(config: TrainingConfig, device: str) -> bool:
    """Whether a training computes in bfloat16 on a device."""
    if config.bf16 is not None:
        return config.bf16
    torch = import_extra("torch", "training")
    return not device.startswith("cpu") and bool(torch.cuda.is_available() and torch.cuda.is_bf16_supported())


def weights_dtype(config: TrainingConfig, device: str) -> str:
    """Return the precision of a base's weights: bfloat16 if they stay as they are, float32 if they are trained."""
    return "bfloat16" if config.lora and uses_bf16(config, device) else "float32"
