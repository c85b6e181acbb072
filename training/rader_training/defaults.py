"""Hyper-parameters that fit a model and its data, for the fields that were not stated.

Small encoders are trained in full with large batches; models of half a billion parameters and more as in the paper.
docs/training.md tells what the values for small encoders were chosen by.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from rader_training.config import RetrieverConfig, TrainingConfig

__all__ = ["SMALL", "Facts", "fitted", "fitted_steps", "unstated"]

SMALL = 500_000_000
"""Parameters below which a model counts as a small encoder."""

_PAPER: Mapping[str, Any] = {
    "group_size": 12,
    "batch_size": 2,
    "accumulate": 16,
    "learning_rate": 1e-4,
    "epochs": 1.0,
    "lora": True,
    "temperature": 0.01,
    "random_negatives": 0,
    "merge_weight": 1.0,
    "kinds": {},
}
_PAPER_WARMUP = 28
_SMALL_RETRIEVER: Mapping[str, Any] = {
    "group_size": 3,
    "accumulate": 1,
    "learning_rate": 5e-5,
    "epochs": 2.0,
    "lora": False,
    "temperature": 0.05,
    "random_negatives": 128,
    "merge_weight": 0.5,
    "dropout": 0.0,
}
_MIXED: Mapping[str, Any] = {"kinds": {"question": 2.0}, "epochs": 1.5}
"""Of a small retriever whose samples are questions and other kinds, in the place of the above: people ask questions,
and a question has several positives, of which another is drawn each time."""
_SMALL_RERANKER: Mapping[str, Any] = {
    "group_size": 8,
    "accumulate": 1,
    "learning_rate": 5e-5,
    "epochs": 2.0,
    "lora": False,
}
_ADAPTER_RATE = 5e-4
"""Learning rate of an adapter on a small encoder: its few weights have to move further."""
_LARGEST_BATCH = {"retriever": 48, "reranker": 8}
_SMALLEST_BATCH = {"retriever": 8, "reranker": 2}
_STEPS_PER_EPOCH = 20
_EVALUATIONS = 4

Config = TypeVar("Config", bound=TrainingConfig)


@dataclass(frozen=True)
class Facts:
    """What defaults are fitted to.

    Args:
        parameters: Number of the model's parameters.
        samples: How many samples are seen in an epoch.
        keeps_adapter: Whether the adapter is to be written alone.
        mixed: Whether the samples are questions and other kinds.
    """

    parameters: int
    samples: int
    keeps_adapter: bool = False
    mixed: bool = False


def fitted(config: Config, facts: Facts, *, absent: Collection[str] = ()) -> Config:
    """Return a configuration whose unstated fields have values, but for those that the number of steps decides.

    Args:
        config: The configuration as it was stated.
        facts: What it is fitted to.
        absent: Fields that the run that goes on had no value for: it was begun before they had a default.
    """
    small = facts.parameters < SMALL
    values = dict(_PAPER)
    if small:
        values |= _SMALL_RETRIEVER if isinstance(config, RetrieverConfig) else _SMALL_RERANKER
        values["batch_size"] = _fitting_batch(config, facts.samples)
        if facts.mixed and isinstance(config, RetrieverConfig) and config.kinds is None:
            values |= _MIXED
    if facts.keeps_adapter or config.wants_adapter:
        values["lora"] = True
    adapted = values["lora"] if config.lora is None else config.lora
    if small and adapted:
        values["learning_rate"] = _ADAPTER_RATE
    return _with_unstated(config, {name: value for name, value in values.items() if name not in absent})


def _fitting_batch(config: TrainingConfig, samples: int) -> int:
    """Return a batch size that leaves a small set of samples some steps in each epoch."""
    kind = "retriever" if isinstance(config, RetrieverConfig) else "reranker"
    return max(_SMALLEST_BATCH[kind], min(_LARGEST_BATCH[kind], samples // _STEPS_PER_EPOCH))


def fitted_steps(config: Config, facts: Facts, steps: int, *, evaluated: bool) -> Config:
    """Return a configuration whose fields that count steps have values.

    Args:
        config: The configuration that :func:`fitted` returned.
        facts: What it is fitted to.
        steps: Number of optimiser steps of the training.
        evaluated: Whether there is something to evaluate on.
    """
    tenth = steps // 10
    every = math.ceil(steps / _EVALUATIONS) if evaluated else 0
    warmup = tenth if facts.parameters < SMALL else min(_PAPER_WARMUP, tenth)
    return _with_unstated(config, {"warmup_steps": warmup, "evaluate_every": every})


def unstated(config: Config, stored: Mapping[str, Any]) -> Config:
    """Return a configuration whose unstated fields are those of a run that goes on."""
    return _with_unstated(config, {name: value for name, value in stored.items() if value is not None})


def _with_unstated(config: Config, values: Mapping[str, Any]) -> Config:
    names = {attribute.name for attribute in dataclasses.fields(config)}
    missing = {name: value for name, value in values.items() if name in names and getattr(config, name) is None}
    return dataclasses.replace(config, **missing)
