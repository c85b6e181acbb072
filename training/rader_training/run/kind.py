"""What a kind of model (retriever, reranker) brings to a training run."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rader_plugins.recipes import Recipe
from rader_training.config import TrainingConfig
from rader_training.data.development import Development
from rader_training.data.groups import Groups
from rader_training.run.options import RunOptions
from rader_training.run.plan import TrainingPlan
from rader_training.run.processes import wait
from rader_training.run.record import Record

if TYPE_CHECKING:
    from rader_plugins.evaluation import RetrievalDataset

__all__ = ["ModelKind", "Values"]

Values = dict[str, float]
"""Query -> nDCG@10."""


@dataclass(kw_only=True)
class ModelKind(ABC):
    """One training in one folder, prepared, and how its kind of model is adapted, fed, measured and exported.

    :class:`rader_training.run.run.TrainingRun` calls these methods in their order.

    Args:
        folder: Folder of the run.
        config: The hyper-parameters, none of them unstated.
        plan: What is going to be done.
        model: The module that is trained, on its device.
        recipe: How texts become what the model reads.
        base: What the model starts from, for the settings.
        groups: What it is trained on.
        development: What it is evaluated on.
        options: How it is judged and delivered.
        adapter_of: What the adapter is put on, if it is to be kept apart as well.
    """

    kind: ClassVar[str]

    folder: Path
    config: TrainingConfig
    plan: TrainingPlan
    model: Any
    recipe: Recipe
    base: Mapping[str, Any]
    groups: Groups
    development: Development | None
    options: RunOptions
    adapter_of: str | None = None
    record: Record = field(init=False)

    @abstractmethod
    def _put_base_in_four_bit(self) -> None:
        """Keep the linear layers of the frozen model in 4 bits."""

    def _forget_model(self) -> None:
        """Let go of the model; another one is loaded next."""
        self.model = None

    @abstractmethod
    def _load_base_anew(self) -> None:
        """Begin again with the model as it was before anything was done to it."""

    @abstractmethod
    def _add_adapter(self) -> None:
        """Put an adapter on the frozen model."""

    @abstractmethod
    def _merge_adapter(self) -> None:
        """Merge it into the weights."""

    @abstractmethod
    def _collator(self) -> Any:
        """Return what makes batches of groups, with the counts ``seen`` and ``truncated``."""

    @abstractmethod
    def _training_arguments(self, values: dict[str, Any]) -> Any:
        """Return the arguments of the trainer."""

    @abstractmethod
    def _make_trainer(self, arguments: Any, **parts: Any) -> Any:
        """Return a trainer that keeps :class:`rader_training.run.trainers.TrainedWeights`."""

    @abstractmethod
    def _measure(self, dataset: RetrievalDataset) -> Values:
        """Return nDCG@10 of each query of a data set with the weights as they are."""

    @abstractmethod
    def _probe(self, count: int) -> NDArray[np.float32]:
        """Return what the model gives for the texts of the first groups: vectors, or scores of shape (pairs, 1)."""

    @abstractmethod
    def _export(self, folder: Path, recipe: Recipe, facts: Mapping[str, Any]) -> Path:
        """Write the model directory, with a recipe that names the new model."""

    @abstractmethod
    def _export_adapter(self, folder: Path, recipe: Recipe, base: str) -> None:
        """Write the adapter alone; the weights are the trained ones."""

    def _gather(self, trainer: Any) -> None:
        """Put together what was cut apart over the processes; called in all of them."""
        wait()

    def _exported_weights(self) -> contextlib.AbstractContextManager[None]:
        """Give the model the weights that are evaluated and exported, where these are not the trained ones."""
        return contextlib.nullcontext()

    def _facts(self) -> dict[str, Any]:
        """Return more facts for the model's card."""
        return {}

    def _reference(self) -> tuple[str, Values]:
        """Return what the result is compared with, in words, and its nDCG@10 by query."""
        return "the base", self.record.evaluations[0]
