"""Hyper-parameters, with the paper's values as defaults."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError, import_extra

__all__ = ["LORA_TARGETS", "RetrieverConfig"]

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The layers that the paper adapts, by their names in Qwen2 and Llama."""


@dataclass(frozen=True, kw_only=True)
class RetrieverConfig:
    """How a retriever is trained (RaDeR, appendix, table 10, where not said otherwise).

    Args:
        temperature: Of InfoNCE.
        group_size: Passages per query: one positive and ``group_size - 1`` hard negatives, as far as there are so many.
        batch_size: Queries in a batch of one process; passages of other queries are negatives too.
        accumulate: Batches per step. Negatives come from one batch only.
        mini_batch: Texts that are run through the model at once (gradient caching: Gao et al., 2021). Memory depends
            on it alone, the result does not. None runs a whole batch at once.
        learning_rate, warmup_steps, weight_decay: Linear decay to 0 after the warm-up.
        epochs: Passes over the samples.
        max_steps: Ends earlier; 0 means no limit.
        lora: Train a low-rank adapter; False trains every weight.
        lora_rank, lora_alpha, lora_dropout: Of the adapter.
        lora_targets: Names of the layers to adapt; empty takes the paper's seven where the model has them, else every
            linear layer.
        max_query_length, max_document_length: In tokens; None takes the recipe's. The paper's own command cuts queries
            at 32 tokens, which leaves nothing of a ``cot`` query.
        kinds: How often samples of a kind are seen in an epoch: ``{"cot": 2.0, "lexical": 0.5}``; 1 for others, 0
            leaves them out.
        bf16: Compute in bfloat16; None does so where the hardware has it.
        gradient_checkpointing: Less memory, more time.
        evaluate_every, save_every, log_every: Steps; 0 evaluates and saves at the end only.
        patience: Evaluations without a better result after which training ends; 0 never ends it.
        seed: Of everything random.

    Raises:
        InputError: A value is outside its range.
    """

    temperature: float = 0.01
    group_size: int = 12
    batch_size: int = 2
    accumulate: int = 16
    mini_batch: int | None = None
    learning_rate: float = 1e-4
    warmup_steps: int = 28
    weight_decay: float = 0.0
    epochs: float = 1.0
    max_steps: int = 0
    lora: bool = True
    lora_rank: int = 16
    lora_alpha: int = 64
    lora_dropout: float = 0.1
    lora_targets: tuple[str, ...] = ()
    max_query_length: int | None = None
    max_document_length: int | None = None
    kinds: Mapping[str, float] = field(default_factory=dict)
    bf16: bool | None = None
    gradient_checkpointing: bool = False
    evaluate_every: int = 0
    save_every: int = 0
    log_every: int = 10
    patience: int = 0
    seed: int = 42

    def __post_init__(self) -> None:
        object.__setattr__(self, "lora_targets", tuple(self.lora_targets))
        object.__setattr__(self, "kinds", dict(self.kinds))
        for name in ("temperature", "learning_rate", "epochs"):
            if not _number(value := getattr(self, name)) or not value > 0:
                raise InputError(f"{name} must be a number above 0, not {value!r}.")
        least = {"group_size": 1, "batch_size": 1, "accumulate": 1, "lora_rank": 1, "lora_alpha": 1, "log_every": 1}
        least |= dict.fromkeys(("warmup_steps", "max_steps", "evaluate_every", "save_every", "patience", "seed"), 0)
        for name, bound in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < bound:
                raise InputError(f"{name} must be a whole number of at least {bound}, not {value!r}.")
        for name in ("mini_batch", "max_query_length", "max_document_length"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise InputError(f"{name} must be a whole number of at least 1, or left out, not {value!r}.")
        for name, value in (("weight_decay", self.weight_decay), ("lora_dropout", self.lora_dropout)):
            if not _number(value) or not 0 <= value < 1:
                raise InputError(f"{name} must be at least 0 and below 1, not {value!r}.")
        for kind, weight in self.kinds.items():
            if not _number(weight) or weight < 0:
                raise InputError(f"The weight of {kind!r} samples must be a number of at least 0, not {weight!r}.")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, as a JSON object."""
        return {**asdict(self), "lora_targets": list(self.lora_targets)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "the training configuration") -> RetrieverConfig:
        """Make a configuration from some of its fields.

        Raises:
            InputError: A name is unknown, or a value is outside its range.
        """
        known = [one.name for one in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise InputError(f"{where} does not know {', '.join(map(repr, unknown))}; known: {', '.join(known)}.")
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str], **overrides: Any) -> RetrieverConfig:
        """Read the table ``[retriever]`` of a TOML file.

        Args:
            path: The file.
            **overrides: Fields that come before those of the file.

        Raises:
            InputError: It is no TOML, or a value is unusable.
        """
        toml = import_extra("tomllib" if sys.version_info >= (3, 11) else "tomli", "training")
        try:
            tables = toml.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as TOML: {error}.") from None
        if unknown := sorted(set(tables) - {"retriever"}):
            raise InputError(f"{path} has the tables or keys {unknown}; hyper-parameters stand under [retriever].")
        return cls.from_dict({**tables.get("retriever", {}), **overrides}, os.fspath(path))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
