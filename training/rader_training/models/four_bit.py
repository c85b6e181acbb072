"""A base in 4 bits, on which an adapter is trained (QLoRA, Dettmers et al., 2023)."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from typing import Any

from rader_plugins.errors import InputError, MissingExtraError, import_extra

__all__ = ["check_four_bit", "put_in_four_bit"]


def check_four_bit() -> None:
    """Find out before anything is loaded whether weights can be kept in 4 bits.

    Raises:
        MissingExtraError: bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError("base_in_4bit needs the package bitsandbytes: pip install bitsandbytes")


def put_in_four_bit(model: Any, dtype: Any, *, besides: Collection[str] = ()) -> int:
    """Replace the weights of a model's linear layers by NF4 with doubly quantised constants, in place.

    Args:
        model: A model of transformers, on its device.
        dtype: Type in which the layers compute.
        besides: Last parts of the names of layers that stay as they are, as a head that is trained.

    Returns:
        How many layers were replaced.

    Raises:
        InputError: It has no linear layers.
    """
    torch = import_extra("torch", "training")
    bitsandbytes = import_extra("bitsandbytes", "training")
    replaced = 0
    for name, parent in list(model.named_modules()):
        if besides and name.rpartition(".")[2] in besides:
            continue
        for attribute, layer in list(parent.named_children()):
            if type(layer) is not torch.nn.Linear or attribute in besides:
                continue
            small = bitsandbytes.nn.Linear4bit(
                layer.in_features, layer.out_features, bias=layer.bias is not None, compute_dtype=dtype,
                quant_type="nf4", compress_statistics=True, device="meta",
            )  # fmt: skip
            small.weight = bitsandbytes.nn.Params4bit(
                layer.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True
            )
            small.bias = layer.bias
            # On processors with AVX512-BF16 it would pack the weights anew at the first evaluation: in place, and not
            # those of layers narrower than a block.
            small.support_avx512bf16_for_cpu = False
            # Going to a device is what quantises.
            setattr(parent, attribute, small.to(layer.weight.device))
            replaced += 1
    if not replaced:
        raise InputError("base_in_4bit has no effect: the model has no linear layers of its own.")
    model.is_loaded_in_4bit = True  # peft looks here
    return replaced
