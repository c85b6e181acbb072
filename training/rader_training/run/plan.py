"""What a run is going to do, before it does it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rader_plugins.errors import InputError, import_extra
from rader_training.config import RetrieverConfig, TrainingConfig
from rader_training.data.groups import DataReport, Groups

__all__ = ["TrainingPlan", "Work", "check_plan", "count_steps", "estimate_minutes", "kinds_without_samples"]

_LOOKED_AT = 32
_CHARACTERS_PER_TOKEN = 4
_EFFICIENCY = 0.35
"""Share of the speed of a large matrix product that a training reaches, as measured with small encoders."""


@dataclass(frozen=True)
class TrainingPlan:
    """What is trained on what, for how long.

    Args:
        kind: Kind of model, ``retriever`` or ``reranker``.
        base: Name of the model that is trained.
        parameters, trained: Number of the model's parameters, and how many of them are trained.
        how: ``adapter`` or ``all weights``, and where and in which precision.
        data: What is trained on.
        steps, queries_per_step, epochs: The epochs are those that the steps make.
        learning_rate, warmup_steps: Linear decay after the warm-up.
        negatives: What is a negative of a query, in words.
        evaluation: What is evaluated on and how often, in words.
        minutes: How long it takes, roughly; None where it cannot be told.
        notes: What else should be known: kinds without samples, problems held out.
    """

    kind: str
    base: str
    parameters: int
    trained: int
    how: str
    data: DataReport
    steps: int
    queries_per_step: int
    epochs: float
    learning_rate: float
    warmup_steps: int
    negatives: str
    evaluation: str
    minutes: float | None = None
    notes: Sequence[str] = ()

    def lines(self) -> list[tuple[str, str]]:
        """Return it as pairs of a name and a text."""
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.data.kinds.items())
        held_out = f"; {self.data.held_out:,} held out" if self.data.held_out else ""
        time = "unknown" if self.minutes is None else f"about {_minutes(self.minutes)}"
        lines = [
            ("train", f"{self.kind} from {self.base}: {self.how}, {self.trained:,} of {self.parameters:,} parameters"),
            ("samples", f"{self.data.samples:,} ({kinds}){held_out}"),
            (
                "steps",
                f"{self.steps:,} of {self.queries_per_step} queries ({self.epochs:.3g} epochs), {time} at the "
                "present speed of this machine",
            ),
            ("rate", f"{self.learning_rate:g}, {self.warmup_steps} steps of warm-up"),
            ("negatives", self.negatives),
            ("evaluation", self.evaluation),
        ]
        return lines + [("note", note) for note in self.notes]


def _minutes(minutes: float) -> str:
    if minutes < 1.5:
        return "a minute"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def count_steps(config: TrainingConfig, samples: int, processes: int, *, epochs_stated: bool) -> int:
    """Return how many steps a training makes.

    Args:
        config: The configuration, with epochs, batch_size and accumulate.
        samples: Seen in an epoch.
        processes: That train together; a last batch that is not full is left out where there are several.
        epochs_stated: Whether ``epochs`` bounds a run that has ``max_steps``.
    """
    queries = config.batch_size * processes
    batches = samples // queries if processes > 1 else math.ceil(samples / queries)
    per_epoch = max(1, math.ceil(batches / config.accumulate))
    steps = math.ceil(config.epochs * per_epoch)
    if not config.max_steps:
        return steps
    return min(steps, config.max_steps) if epochs_stated else config.max_steps


def check_plan(config: TrainingConfig, groups: Groups, steps: int) -> None:
    """Refuse a training that cannot learn.

    Raises:
        InputError: It would end within its warm-up, or there would be no negatives; the message names the option that
            helps.
    """
    if steps <= config.warmup_steps:
        raise InputError(
            f"Nothing would be learned: the {groups.report.samples:,} samples make {steps:,} steps, and the first "
            f"{config.warmup_steps:,} are the warm-up. Set warmup_steps below {steps}, raise epochs, or lower "
            f"batch_size (now {config.batch_size}) or accumulate (now {config.accumulate})."
        )
    if not isinstance(config, RetrieverConfig):
        return
    hard = config.group_size > 1 and groups.report.without_negatives < groups.report.samples
    in_batch = config.in_batch_negatives and min(config.batch_size, len(groups)) > 1
    if not hard and not in_batch and not config.random_negatives:
        raise InputError(
            "Nothing would be learned: there is nothing to tell a positive from. The samples have no hard negatives "
            "that are used, a batch holds no other queries, and no documents are drawn at random. Raise batch_size or "
            "random_negatives, or mine negatives with `rader samples`."
        )


@dataclass(frozen=True)
class Work:
    """What a run computes.

    Args:
        weights: Parameters that take part in products with every token.
        texts_per_step: Texts of a step: their length is looked at.
        tokens_per_text: Limit of the recipe.
        passes: Forward passes that a step costs: 3 with the backward pass, more with checkpointing.
        evaluated_texts: Texts that all evaluations encode together.
    """

    weights: int
    texts_per_step: float
    tokens_per_text: int
    passes: float
    evaluated_texts: int


def estimate_minutes(work: Work, groups: Groups, steps: int, device: str, dtype: Any) -> float:
    """Return about how many minutes a run takes, from the speed of one large matrix product on this machine."""
    looked_at = [groups[number] for number in range(min(_LOOKED_AT, len(groups)))]
    texts = [text for group in looked_at for text in (group.query, group.positive, *group.negatives)]
    tokens = sum(min(work.tokens_per_text, len(text) / _CHARACTERS_PER_TOKEN + 2) for text in texts) / len(texts)
    forwards = steps * work.texts_per_step * work.passes + work.evaluated_texts
    return 2.0 * work.weights * tokens * forwards / (_EFFICIENCY * _speed(device, dtype)) / 60


def _speed(device: str, dtype: Any) -> float:
    """Return operations per second of a matrix product, the best of some."""
    torch = import_extra("torch", "training")
    size = 1024
    matrix = torch.ones((size, size), dtype=dtype, device=device)
    best = math.inf
    for _ in range(4):
        start = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for a GPU, too
        best = min(best, time.perf_counter() - start)
    return float(2 * size**3 / max(best, 1e-9))


def kinds_without_samples(kinds: Mapping[str, float], report: DataReport) -> list[str]:
    """Return the kinds that have a weight and no samples."""
    return sorted(kind for kind in kinds if kind not in report.kinds)
