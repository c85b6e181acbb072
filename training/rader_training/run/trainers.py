"""The trainers, with checkpoints that hold the trained weights alone and are whole or not there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformerTrainer
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rader_plugins.errors import InputError, RaderError
from rader_training.data.groups import Groups
from rader_training.loss.divergence import check_weights
from rader_training.models.adapters import load_trained, save_trained
from rader_training.run.processes import is_main, wait

__all__ = [
    "GroupEpochs",
    "RerankerTrainer",
    "RetrieverTrainer",
    "TrainedWeights",
    "WholeCheckpoints",
    "Watch",
    "checkpoint_step",
    "newest_checkpoint",
    "unmark",
]

WEIGHTS = "trained.safetensors"
_WHOLE = "complete"


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint of the most steps that was written to its end, or None."""
    checkpoints = [path for path in folder.glob("checkpoint-*") if (path / _WHOLE).is_file()]
    return max(checkpoints, key=checkpoint_step, default=None)


def checkpoint_step(path: Path) -> int:
    """Return the step of a checkpoint."""
    return int(path.name.rpartition("-")[2])


def unmark(folder: Path, step: int) -> None:
    """Make the checkpoint of a step one that does not count."""
    (folder / f"checkpoint-{step}" / _WHOLE).unlink(missing_ok=True)


class TrainedWeights:
    """Makes a trainer of transformers keep the weights that are trained, and no others."""

    args: Any
    model: Any
    state: Any

    def _save_checkpoint(self, *arguments: Any, **options: Any) -> None:
        check_weights(self.model)  # in all processes: their weights are the same
        step = self.state.global_step
        try:
            super()._save_checkpoint(*arguments, **options)  # type: ignore[misc]
        except (OSError, RuntimeError, SafetensorError) as error:
            raise RaderError(
                f"The checkpoint of step {step} cannot be written: {error}. Earlier ones are intact: make room and go "
                "on with --resume."
            ) from error

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not self.args.should_save:  # other processes have the same weights
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_trained(self.model, folder / WEIGHTS, state_dict)

    def _load_from_checkpoint(self, checkpoint_path: str, model: Any = None) -> None:
        weights = Path(checkpoint_path) / WEIGHTS
        if not weights.is_file():
            raise InputError(f"{checkpoint_path} is no checkpoint of this training.")
        load_trained(self.model if model is None else model, weights)


class RetrieverTrainer(TrainedWeights, SentenceTransformerTrainer):
    """Trains embeddings on :class:`rader_training.data.groups.Groups`, which it reads as they are."""

    def preprocess_dataset(self, dataset: Any = None, *arguments: Any, **options: Any) -> Any:
        """Return the groups: they have no columns that prompts or names would have to be added to."""
        return dataset

    def _build_dataloader(self, dataset: Any, batch_size: int, dataset_kind: str) -> Any:
        generator = torch.Generator()
        generator.manual_seed(self.args.seed)
        sampler = self.get_batch_sampler(
            dataset,
            batch_size=batch_size,
            drop_last=self.args.dataloader_drop_last,
            valid_label_columns=[],
            generator=generator,
            seed=self.args.seed,
        )
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def add_model_card_callback(self, *arguments: Any, **options: Any) -> None:
        """Do nothing: the card of sentence-transformers reads columns of text, and the exported model has our own."""


class RerankerTrainer(TrainedWeights, Trainer):
    """Trains scores on :class:`rader_training.data.groups.Groups`."""


class GroupEpochs(TrainerCallback):
    """Tells the groups which epoch it is."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the epoch that groups are drawn for."""
        # After a resume in the middle of an epoch this is a fraction.
        self._groups.epoch = math.floor((state.epoch or 0.0) + 1e-6)


class WholeCheckpoints(TrainerCallback):
    """Marks a checkpoint once all of its files are there; a kill while it is written leaves it without the mark."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Mark what is complete."""
        wait()  # every process writes the state of its random numbers
        if not is_main():
            return
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if folder.is_dir():
            (folder / _WHOLE).touch()


class Watch(TrainerCallback):
    """Hands logged figures on, and calls for evaluations and checkpoints.

    Args:
        on_log: Gets step and figures.
        every: Steps between evaluations; 0 for none on the way.
        evaluate: Gets the step; returns whether training should end.
        save_seconds: Time between checkpoints; None leaves them to the trainer.
    """

    def __init__(
        self,
        on_log: Callable[[int, dict[str, float]], None],
        every: int,
        evaluate: Callable[[int], bool],
        save_seconds: float | None = None,
    ) -> None:
        self._on_log = on_log
        self._every = every
        self._evaluate = evaluate
        self._save_seconds = save_seconds
        self._saved = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._saved = time.monotonic()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start it again: also a large checkpoint that takes long to write takes little of the time between two."""
        self._saved = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Hand the figures on."""
        if logs:
            self._on_log(state.global_step, logs)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Evaluate, or call for a checkpoint, where it is time."""
        if self._every and state.global_step % self._every == 0 and self._evaluate(state.global_step):
            control.should_training_stop = True
        if self._save_seconds is not None and time.monotonic() - self._saved >= self._save_seconds:
            control.should_save = True
