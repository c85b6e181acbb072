"""A training run from its base to the exported model: what retrievers and rerankers share."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rader_plugins.errors import import_extra
from rader_plugins.recipes import Recipe
from rader_training.arguments import trainer_arguments
from rader_training.config import TrainingConfig
from rader_training.data import Groups
from rader_training.divergence import TrainingDivergedError, check_weights
from rader_training.precision import uses_bf16
from rader_training.processes import from_main, is_main, process_count, wait
from rader_training.report import TrainingReport

if TYPE_CHECKING:
    from rader_plugins.evaluation import RetrievalDataset
    from rader_plugins.evaluation.overlap import EvaluationSet

__all__ = ["TrainingRun"]

_BEST = "best.safetensors"
_REMEDY = "Lower the learning rate, or raise the temperature of a retriever, in a new folder."


@dataclass(kw_only=True)
class TrainingRun(ABC):
    """One training in one folder.

    Args:
        folder: Of the run.
        config: The hyper-parameters.
        model: The module that is trained, on its device.
        recipe: How texts become what the model reads.
        base: What the model starts from, for the manifest.
        groups: What it is trained on.
        dataset: What it is evaluated on.
        name: Of the new model.
        adapter_of: What the adapter is put on, if it is to be kept apart as well.
        against: Evaluation sets that the samples must have nothing of; ``dataset`` is one without being named.
        allow_overlap: Train on what they have in common nevertheless.
    """

    kind: ClassVar[str]

    folder: Path
    config: TrainingConfig
    model: Any
    recipe: Recipe
    base: Mapping[str, Any]
    groups: Groups
    dataset: RetrievalDataset | None
    name: str
    adapter_of: str | None = None
    against: Sequence[EvaluationSet] = ()
    allow_overlap: bool = False
    evaluations: dict[int, float] = field(default_factory=dict)

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
        """Return a trainer that keeps :class:`rader_training.checkpoints.TrainedWeights`."""

    @abstractmethod
    def _measure(self, dataset: RetrievalDataset) -> float:
        """Return nDCG@10 on a data set with the weights as they are."""

    def _gather(self, trainer: Any) -> None:
        """Put together what was cut apart over the processes; called in all of them."""
        wait()

    def _exported_weights(self) -> contextlib.AbstractContextManager[None]:
        """Give the model the weights that are evaluated and exported, where these are not the trained ones."""
        return contextlib.nullcontext()

    @abstractmethod
    def _export(self, folder: Path, recipe: Recipe, facts: Mapping[str, Any]) -> Path:
        """Write the model directory, with a recipe that names the new model."""

    @abstractmethod
    def _export_adapter(self, folder: Path, recipe: Recipe, base: str) -> None:
        """Write the adapter alone; the weights are the trained ones."""

    def _facts(self) -> dict[str, Any]:
        """Return more facts for the model's card."""
        return {}

    def run(self, resume: bool) -> TrainingReport:
        """Train, or go on, and write the model."""
        from rader_training.checkpoints import newest_checkpoint
        from rader_training.record import Record

        # Processes that were started together meet here.
        arguments = self._training_arguments(trainer_arguments(self.config, self.folder, self._device))
        overlap = from_main(self._check_overlap)
        self.record = from_main(lambda: Record(self.folder, self._manifest(), resume=resume))
        self.record.writes = is_main()
        self._choose_weights()
        checkpoint = newest_checkpoint(self.folder / "checkpoints") if resume else None
        if checkpoint is not None:
            self.record.go_on_from(int(checkpoint.name.rpartition("-")[2]))
            self.evaluations = {row["step"]: row["nDCG@10"] for row in self.record.rows if "nDCG@10" in row}
        collator = self._collator()
        if self.dataset is not None and 0 not in self.evaluations:
            self._evaluate(0)
        trainer = self._trainer(arguments, collator)
        loss, diverged = math.nan, None
        try:
            result = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
            steps, loss = trainer.state.global_step, float(result.training_loss)
        except TrainingDivergedError as error:
            steps, diverged = self._back_to_good(trainer, error), error
        if self.dataset is not None and steps not in self.evaluations:
            self._evaluate(steps)
        self._gather(trainer)
        report = from_main(lambda: self._finish(steps, loss, collator, overlap))
        if diverged is not None:
            raise TrainingDivergedError(
                f"Step {trainer.state.global_step + 1}: {diverged} {_REMEDY} {report.model} holds the weights of step "
                f"{report.best_step}."
            ) from diverged
        return report

    def _finish(self, steps: int, loss: float, collator: Any, overlap: dict[str, Any] | None) -> TrainingReport:
        """Write the model."""
        from rader_training.adapters import load_trained
        from rader_training.export import trained_recipe

        best = max((step for step in self.evaluations if step), key=lambda step: self.evaluations[step], default=steps)
        if best != steps:
            load_trained(self.model, self.folder / _BEST)
        truncated = {role: collator.truncated[role] / max(1, collator.seen[role]) for role in collator.seen}
        data = dataclasses.asdict(self.groups.report)
        facts = {
            "Data": data,
            "Hyper-parameters": self.config.as_dict(),
            "Evaluation (nDCG@10 by step)": self.evaluations,
            "Share of texts that were cut": truncated,
            "Overlap with evaluation sets": overlap or "not looked for",
            **self._facts(),
        }
        recipe = trained_recipe(self.recipe, self.name)
        if self.adapter_of is not None:
            self._export_adapter(self.folder / "adapter", recipe, self.adapter_of)
        with self._exported_weights():
            if self.config.lora:
                self._merge_adapter()
            self.model.eval()
            exported = self._export(self.folder / "model", recipe, facts)
        self.model.requires_grad_(False)
        return TrainingReport(
            model=exported,
            adapter=None if self.adapter_of is None else self.folder / "adapter",
            steps=steps,
            loss=None if math.isnan(loss) else loss,
            evaluations=dict(self.evaluations),
            best_step=best,
            data=data,
            truncated=truncated,
            overlap=overlap,
            curves=self.record.draw(),
        )

    def _back_to_good(self, trainer: Any, error: TrainingDivergedError) -> int:
        """Load the last weights that gave a loss, and return their step.

        Raises:
            TrainingDivergedError: None were kept, or they are cut apart over processes.
        """
        from rader_training.adapters import load_trained
        from rader_training.checkpoints import WEIGHTS, newest_checkpoint, unmark

        step = trainer.state.global_step
        unmark(self.folder / "checkpoints", step)  # its weights are what diverged
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise TrainingDivergedError(
                f"Step {step + 1}: {error} {_REMEDY} Earlier checkpoints are intact."
            ) from error
        if (kept := newest_checkpoint(self.folder / "checkpoints")) is not None:
            load_trained(self.model, kept / WEIGHTS)
            return int(kept.name.rpartition("-")[2])
        measured = [at for at in self.evaluations if at]
        if not measured:
            raise TrainingDivergedError(
                f"Step {step + 1}: {error} {_REMEDY} No weights were kept: set save_every to have some."
            ) from error
        load_trained(self.model, self.folder / _BEST)
        return max(measured, key=lambda at: self.evaluations[at])

    def _check_overlap(self) -> dict[str, Any] | None:
        from rader_plugins.evaluation.overlap import EvaluationSet
        from rader_training.overlap import check_overlap

        own = [] if self.dataset is None else [EvaluationSet.of(self.dataset)]
        return check_overlap(self.groups, [*self.against, *own], self.folder, allow=self.allow_overlap)

    def _choose_weights(self) -> None:
        """Make what is trained require gradients, and nothing else."""
        from rader_training.adapters import set_dropout

        import_extra("transformers", "training").set_seed(self.config.seed)  # an adapter begins at random
        self.model.requires_grad_(not self.config.lora)
        if self.config.dropout is not None:
            set_dropout(self.model, self.config.dropout)
        if self.config.lora:
            self._add_adapter()
        for weights in self.model.parameters():
            if weights.requires_grad:  # small steps are lost in bfloat16
                weights.data = weights.data.float()

    @property
    def _device(self) -> str:
        return str(next(self.model.parameters()).device.type)

    def _autocast(self) -> contextlib.AbstractContextManager[None]:
        """Compute as the trainer does."""
        torch = import_extra("torch", "training")
        device = self._device
        context: contextlib.AbstractContextManager[None] = torch.autocast(
            device, dtype=torch.bfloat16, enabled=uses_bf16(self.config, device)
        )
        return context

    def _manifest(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            **self.base,
            "config": self.config.as_dict(),
            "data": self.groups.report.digest,
            "evaluated_on": None if self.dataset is None else self.dataset.digest,
            **({"processes": count} if (count := process_count()) > 1 else {}),
        }

    def _trainer(self, arguments: Any, collator: Any) -> Any:
        datasets = import_extra("datasets", "training")
        from rader_training.checkpoints import GroupEpochs, Watch, WholeCheckpoints

        places = datasets.Dataset.from_dict({"place": list(range(len(self.groups)))})
        places.set_transform(lambda batch: {"group": [self.groups[place] for place in batch["place"]]})
        trainer = self._make_trainer(
            arguments,
            train_dataset=places,
            data_collator=collator,
            callbacks=[
                GroupEpochs(self.groups),
                WholeCheckpoints(),
                Watch(self.record.add, self.config.evaluate_every if self.dataset is not None else 0, self._evaluate),
            ],
        )
        # It prints what it logs; the record has it.
        trainer.remove_callback(import_extra("transformers", "training").PrinterCallback)
        return trainer

    def _evaluate(self, step: int) -> bool:
        """Measure the weights as they are and keep them if they are the best; returns whether patience has run out."""
        from rader_training.adapters import save_trained

        if self.dataset is None:
            return False
        check_weights(self.model)
        dataset = self.dataset
        value = from_main(lambda: self._value(dataset))
        earlier = [self.evaluations[at] for at in self.evaluations if at]
        self.evaluations[step] = value
        self.record.add(step, {"nDCG@10": value})
        if step and value > max(earlier, default=-1.0) and is_main():
            save_trained(self.model, self.folder / _BEST)
        best = max((at for at in self.evaluations if at), key=lambda at: self.evaluations[at], default=0)
        since = sum(at > best for at in self.evaluations)
        return bool(step and self.config.patience and since >= self.config.patience)

    def _value(self, dataset: RetrievalDataset) -> float:
        training = self.model.training
        self.model.eval()
        with self._exported_weights():
            value = self._measure(dataset)
        self.model.train(training)
        return value
