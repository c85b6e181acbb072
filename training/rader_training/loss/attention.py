"""Attention in float32 on processors whose bfloat16 attention is slow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["Float32Attention", "fast_attention"]


class Float32Attention(TorchFunctionMode):
    """Within it, scaled dot product attention is computed in float32, and its output has the type of its input.

    The backward pass of PyTorch's attention in bfloat16 takes four times that of float32 on a processor with
    AVX512-BF16 and without AMX (measured with PyTorch 2.13 and texts of 10 to 150 tokens); its linear layers are faster
    in bfloat16.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch."""
        kwargs = dict(kwargs or {})
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        first = args[0] if args else kwargs["query"]
        args = [_as_float32(value) for value in args]
        kwargs = {name: _as_float32(value) for name, value in kwargs.items()}
        with torch.autocast(first.device.type, enabled=False):
            return func(*args, **kwargs).to(first.dtype)


def _as_float32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16 else value


def fast_attention(device: str) -> contextlib.AbstractContextManager[Any]:
    """Return what a loss is computed within: :class:`Float32Attention` under bfloat16 autocast without AMX.

    Args:
        device: Kind of device: ``cpu``, ``cuda`` or ``mps``.
    """
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    slow = device == "cpu" and torch.is_autocast_enabled("cpu") and not (has_amx is not None and has_amx())
    return Float32Attention() if slow else contextlib.nullcontext()
