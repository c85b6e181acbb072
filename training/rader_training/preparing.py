"""What retrievers and rerankers prepare alike: settings that fit, samples, what is held out, and the plan."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from rader_plugins.errors import InputError, import_extra
from rader_plugins.recipes import Recipe
from rader_training.config import RetrieverConfig, TrainingConfig
from rader_training.data.development import Development, development_set
from rader_training.data.groups import Groups
from rader_training.data.rows import SampleRows, load_samples
from rader_training.defaults import SMALL, Facts, fitted, fitted_steps, unstated
from rader_training.models.four_bit import check_four_bit
from rader_training.models.publishing import check_publishing
from rader_training.run.arguments import check_reporting
from rader_training.run.options import RunOptions
from rader_training.run.plan import (
    TrainingPlan,
    Work,
    check_plan,
    count_steps,
    estimate_minutes,
    kinds_without_samples,
)
from rader_training.run.precision import uses_bf16
from rader_training.run.processes import process_count
from rader_training.run.record import stored_settings

__all__ = ["Prepared", "SamplePaths", "check_options", "make_plan", "prepare_data", "read_config", "with_lengths"]

SamplePaths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Config = TypeVar("Config", bound=TrainingConfig)

_DOCUMENTS_SMALL, _DOCUMENTS_LARGE = 2_000, 500
_TOO_FEW = "the samples have fewer than ten problems, or all queries that could be held out are trained on as well"


@dataclass(frozen=True)
class Prepared(Generic[Config]):
    """Samples and the settings that fit them.

    Args:
        config: None of its fields unstated.
        steps: Number of optimiser steps of the training.
        groups: The groups to train on.
        development: Queries to choose the best weights by; None where there are none.
        cache: Where memory-mapped copies go.
        notes: What else should be known of the samples and what they are judged on.
        unjudged: Why nothing is to be held out.
    """

    config: Config
    steps: int
    groups: Groups
    development: Development | None
    cache: Path
    notes: Sequence[str] = ()
    unjudged: str = ""


def read_config(config: Config, folder: Path, resume: bool) -> tuple[Config, Mapping[str, Any] | None]:
    """Return a configuration and the settings of the run that it goes on with, which fill what it does not state."""
    earlier = stored_settings(folder) if resume else None
    return (config if earlier is None else unstated(config, earlier.get("config", {}))), earlier


def check_options(options: RunOptions, sets: int, config: TrainingConfig) -> None:
    """Find out before anything long is loaded what could not work.

    Raises:
        InputError: Options that exclude each other or would have no effect.
    """
    options.check_sets(sets)
    check_reporting(options.report_to)
    check_publishing(options.push_to_hub)
    if options.keep_adapter and config.lora is False:
        raise InputError("There is no adapter to keep: lora is off.")
    if config.base_in_4bit:
        check_four_bit()


def prepare_data(
    samples: SamplePaths,
    config: Config,
    folder: Path,
    options: RunOptions,
    *,
    parameters: int,
    earlier: Mapping[str, Any] | None,
    hard_only: bool = False,
) -> Prepared[Config]:
    """Open the samples, hold some out, and fit the settings.

    Args:
        samples: One or several sets.
        config: The configuration as it was stated.
        folder: Folder of the run.
        options: Options of the run.
        parameters: Number of the model's parameters.
        earlier: Settings of the run that goes on.
        hard_only: Leave samples without a hard negative out.

    Raises:
        InputError: The samples are unusable, or a setting has no effect.
    """
    paths = [samples] if isinstance(samples, str | os.PathLike) else list(samples)
    cache = folder.with_name(f"{folder.name}.cache")
    rows = load_samples(paths, cache)
    unjudged = _unjudged(config, options, earlier)
    development = None if unjudged else _development(paths, rows, cache, config, options, parameters)
    if config.patience and development is None:
        raise InputError("patience ends a training by its evaluations, and there is nothing to evaluate on.")
    if config.evaluate_every and development is None:
        raise InputError("evaluate_every has no effect: there is nothing to evaluate on (evaluate_on, --evaluate-on).")
    facts = Facts(parameters, len(rows), options.keep_adapter, mixed=_is_mixed(rows))
    epochs_stated = config.epochs is not None
    began_with = {} if earlier is None else earlier.get("config", {})
    config = fitted(config, facts, absent=[name for name, value in began_with.items() if value is None])
    groups = Groups(
        rows,
        size=config.group_size,
        weights=config.kinds,
        seed=config.seed,
        set_weights=options.set_weights,
        held_out=frozenset() if development is None else development.held_out,
        hard_only=hard_only,
    )
    steps = count_steps(config, len(groups), process_count(), epochs_stated=epochs_stated)
    config = fitted_steps(config, facts, steps, evaluated=development is not None)
    check_plan(config, groups, steps)
    notes = _notes(rows, groups, development, hard_only=hard_only)
    return Prepared(config, steps, groups, development, cache, notes, unjudged)


def _is_mixed(rows: SampleRows) -> bool:
    """Whether there are questions and samples of other kinds; reads no more of them than it has to."""
    kinds: set[bool] = set()
    for sample in rows:
        kinds.add(sample.query_kind == "question")
        if len(kinds) == 2:
            return True
    return False


def _unjudged(config: TrainingConfig, options: RunOptions, earlier: Mapping[str, Any] | None) -> str:
    """Return why nothing is evaluated on; empty where something may be."""
    if options.evaluate_on is not None:
        return ""
    if not options.holdout:
        return "all samples are trained on"
    if isinstance(config, RetrieverConfig) and config.sharded:
        return "a model that is cut apart is not evaluated"
    if earlier is not None and "held_out" not in earlier:
        return "the run was begun by a version that held nothing out"
    return ""


def _development(
    paths: Sequence[str | os.PathLike[str]],
    rows: SampleRows,
    cache: Path,
    config: TrainingConfig,
    options: RunOptions,
    parameters: int,
) -> Development | None:
    named = options.evaluate_on
    if named is not None:
        named.check_answerable()
        return Development(named, {}, f"{named.name}:{named.split}")
    most_documents = _DOCUMENTS_SMALL if parameters < SMALL else _DOCUMENTS_LARGE
    return development_set(paths, rows, cache, seed=config.seed, most_documents=most_documents)


def _notes(rows: SampleRows, groups: Groups, development: Development | None, *, hard_only: bool) -> list[str]:
    report, notes = groups.report, []
    if rows.unread:
        notes.append(f"columns that are not read: {', '.join(rows.unread)}")
    if report.negatives_dropped:
        notes.append(f"{report.negatives_dropped:,} negatives are left out: positives of their own query, or empty")
    if hard_only and report.without_negatives:
        notes.append(f"{report.without_negatives:,} samples without a hard negative are left out")
    if report.weighted:
        notes.append("samples have weights: the loss of each counts by its own")
    if development is not None and (idle := len(development.dataset.judged) - len(development.dataset.answerable)):
        notes.append(f"{idle:,} queries that are evaluated have no relevant document and count as 0")
    return notes


def with_lengths(recipe: Recipe, config: TrainingConfig, positions: int | None) -> Recipe:
    """Return a recipe with the lengths of the configuration.

    Args:
        recipe: Recipe of the base.
        config: States other lengths, or none.
        positions: How many tokens the base can read.

    Raises:
        InputError: A length is beyond that.
    """
    for name in ("max_query_length", "max_document_length"):
        value = getattr(config, name)
        if value is not None and positions is not None and value > positions:
            raise InputError(
                f"{name} is {value}, and the base {recipe.name!r} has {positions} positions: it cannot read longer "
                f"texts. Set {name} to at most {positions}."
            )
    return dataclasses.replace(
        recipe,
        max_query_length=config.max_query_length or recipe.max_query_length,
        max_document_length=config.max_document_length or recipe.max_document_length,
    )


def positions_of(model: Any) -> int | None:
    """Return how many tokens a model of transformers can read, by its configuration; None where it does not say."""
    config = model.config
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return None
    # RoBERTa's kin count positions from behind the padding token's.
    offset = (config.pad_token_id or 0) + 1 if config.model_type in _OFFSET_POSITIONS else 0
    return positions - offset


_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"})


def make_plan(
    kind: str, prepared: Prepared[Config], recipe: Recipe, model: Any, device: str, negatives: str
) -> TrainingPlan:
    """Return what is going to be done."""
    torch = import_extra("torch", "training")
    config, groups, development = prepared.config, prepared.groups, prepared.development
    parameters = sum(weights.numel() for weights in model.parameters())
    in_bf16 = uses_bf16(config, device)
    queries = config.batch_size * config.accumulate * process_count()
    evaluations = _count_evaluations(config, prepared.steps) if development is not None else 0
    texts = 0 if development is None else len(development.dataset.corpus) + len(development.dataset.queries)
    extra = getattr(config, "random_negatives", 0) * config.accumulate * process_count()
    work = Work(
        weights=parameters - _embedding_parameters(model),
        texts_per_step=queries * (1 + config.group_size) + extra,
        tokens_per_text=recipe.max_document_length,
        passes=3.0 + config.gradient_checkpointing + (getattr(config, "mini_batch", None) is not None),
        evaluated_texts=texts * evaluations,
    )
    try:
        minutes: float | None = estimate_minutes(
            work, groups, prepared.steps, device, torch.bfloat16 if in_bf16 else torch.float32
        )
    except RuntimeError:  # a device without such products
        minutes = None
    how = ("a LoRA adapter" if config.lora else "all weights") + (" of a base in 4 bits" if config.base_in_4bit else "")
    how += f" on {device}" + (", bfloat16" if in_bf16 else "")
    idle = kinds_without_samples(config.kinds, groups.report)
    often = ", ".join(f"{kind} x {weight:g}" for kind, weight in config.kinds.items() if kind not in idle)
    notes = [f"how often samples of a kind are seen in an epoch: {often}, others x 1"] if often else []
    notes += [*prepared.notes, *(f"kinds has a weight for {name}, and no sample is of it" for name in idle)]
    return TrainingPlan(
        kind=kind,
        base=recipe.name,
        parameters=parameters,
        trained=_trained(model, config, parameters),
        how=how,
        data=groups.report,
        steps=prepared.steps,
        queries_per_step=queries,
        epochs=prepared.steps * queries / len(groups),
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps,
        negatives=negatives,
        evaluation=f"none ({prepared.unjudged or _TOO_FEW}): the result is compared with nothing"
        if development is None
        else (
            f"{len(development.dataset.judged):,} queries over {len(development.dataset.corpus):,} documents "
            f"({development.origin}), {evaluations} times"
        ),
        minutes=minutes,
        notes=notes,
    )


def _count_evaluations(config: TrainingConfig, steps: int) -> int:
    between = steps // config.evaluate_every if config.evaluate_every else 0
    last = not config.evaluate_every or steps % config.evaluate_every > 0
    return 1 + between + last


def _embedding_parameters(model: Any) -> int:
    torch = import_extra("torch", "training")
    return sum(module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Embedding))


def _trained(model: Any, config: TrainingConfig, parameters: int) -> int:
    """Return how many parameters are trained; those of an adapter are counted by the layers that it goes on."""
    if not config.lora:
        return parameters
    torch = import_extra("torch", "training")
    from rader_training.models.adapters import adapted_layers

    layers: Callable[[str], bool] = adapted_layers(model, config)
    return sum(
        config.lora_rank * (module.in_features + module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and layers(name)
    )
