"""Which precision a training computes in, and keeps its base in."""

from __future__ import annotations

from typing import Any

from rader_plugins.errors import import_extra
from rader_training.config import TrainingConfig

__all__ = ["compute_dtype", "uses_bf16", "weights_dtype"]


def uses_bf16(config: TrainingConfig, device: str) -> bool:
    """Whether a training computes in bfloat16 on a device: where it was asked for, or where the hardware is good at it.

    Processors with AMX multiply in bfloat16 5 to 10 times as fast as in float32, those with AVX512-BF16 about twice as
    fast; all others are slower.
    """
    if config.bf16 is not None:
        return config.bf16
    torch = import_extra("torch", "training")
    if device.startswith("cpu"):
        names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(bool(check()) for name in names if (check := getattr(torch.cpu, name, None)) is not None)
    return bool(torch.cuda.is_available() and torch.cuda.is_bf16_supported())


def compute_dtype(config: TrainingConfig, device: str) -> Any:
    """Return the precision of torch that layers compute in whose weights are stored in 4 bits."""
    torch = import_extra("torch", "training")
    return torch.bfloat16 if uses_bf16(config, device) else torch.float32


def weights_dtype(config: TrainingConfig, device: str) -> str:
    """Return the precision of a base's weights: bfloat16 if they stay as they are, float32 if they are trained.

    On a CPU that was not told otherwise the base stays in float32, so that an adapter is merged without rounding.
    """
    if device.startswith("cpu") and config.bf16 is None:
        return "float32"
    return "bfloat16" if config.lora and uses_bf16(config, device) else "float32"
