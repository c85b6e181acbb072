"""Hyper-parameters. What is not stated is fitted to the model and the data: see :mod:`rader_training.defaults`."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from typing_extensions import Self

from rader_plugins.errors import InputError
from rader_plugins.files import read_toml
from rader_plugins.query_kinds import query_kind

__all__ = ["AUTO", "LORA_TARGETS", "MOST_SEEN", "RerankerConfig", "RetrieverConfig", "TrainingConfig"]

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The layers that the paper adapts, by their names in Qwen2 and Llama."""

AUTO: Any = None
"""The value of a field that is not stated: a run replaces it by one that fits."""

MOST_SEEN = 1000
"""How often samples of a kind or a set are seen in an epoch at most."""

_LORA_FIELDS = ("lora_rank", "lora_alpha", "lora_dropout", "lora_targets", "lora_layers", "base_in_4bit")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How retrievers and rerankers alike are trained.

    Fields whose default is ``AUTO`` get a value that fits the model and the data when a run is prepared; models of
    billions of parameters get the paper's (RaDeR, appendix, table 10).

    Args:
        group_size: Passages per query: one positive and ``group_size - 1`` hard negatives, as far as there are so many.
        batch_size: Queries in a batch of one process.
        accumulate: Batches per optimiser step.
        learning_rate, warmup_steps, weight_decay: Linear decay to 0 after the warm-up.
        epochs: Passes over the samples.
        max_steps: Ends earlier; 0 means no limit. Without ``epochs`` it alone says how long.
        lora: Train a low-rank adapter; False trains every weight.
        lora_rank, lora_alpha, lora_dropout: Rank, scaling and dropout of the adapter.
        lora_targets: Names of the layers to adapt; empty takes the paper's seven where the model has them, else every
            linear layer.
        lora_layers: Which transformer layers to adapt, counted from 0; empty adapts all of them.
        base_in_4bit: Keep the frozen base in 4 bits (NF4) while its adapter is trained (QLoRA); needs bitsandbytes.
            What is judged and exported at the end is the adapter on the base as it is.
        dropout: Dropout of the base's own layers while it trains. Retrievers that are small encoders get 0; for others
            None leaves it as the checkpoint has it.
        max_query_length, max_document_length: Greatest lengths in tokens; None takes the recipe's. The paper's own
            command cuts queries at 32 tokens, which leaves nothing of a ``cot`` query.
        kinds: How often samples of a kind are seen in an epoch: ``{"cot": 2.0, "lexical": 0.5}``; 1 for others, 0
            leaves them out. Where a small encoder is trained on questions and other kinds, ``question`` gets 2.
        bf16: Compute in bfloat16; None does so where the hardware is good at it.
        gradient_checkpointing: Less memory, more time.
        evaluate_every: Steps; 0 evaluates before and after the training only.
        save_every: Steps between checkpoints, 0 for none; None makes one every two minutes.
        log_every: Steps between two entries of the log.
        patience: Evaluations without a better result after which training ends; 0 never ends it.
        seed: Seed of everything random.

    Raises:
        InputError: A value is outside its range, or has no effect beside the others.
    """

    table: ClassVar[str] = "training"
    """Where the values stand in a TOML file."""

    group_size: int = AUTO
    batch_size: int = AUTO
    accumulate: int = AUTO
    learning_rate: float = AUTO
    warmup_steps: int = AUTO
    weight_decay: float = 0.0
    epochs: float = AUTO
    max_steps: int = 0
    lora: bool = AUTO
    lora_rank: int = 16
    lora_alpha: int = 64
    lora_dropout: float = 0.1
    lora_targets: tuple[str, ...] = ()
    lora_layers: tuple[int, ...] = ()
    base_in_4bit: bool = False
    dropout: float | None = None
    max_query_length: int | None = None
    max_document_length: int | None = None
    kinds: Mapping[str, float] = AUTO
    bf16: bool | None = None
    gradient_checkpointing: bool = False
    evaluate_every: int = AUTO
    save_every: int | None = None
    log_every: int = 10
    patience: int = 0
    seed: int = 42

    def __post_init__(self) -> None:
        object.__setattr__(self, "lora_targets", tuple(self.lora_targets))
        object.__setattr__(self, "lora_layers", tuple(self.lora_layers))
        object.__setattr__(self, "kinds", None if self.kinds is None else dict(self.kinds))
        self._check_positive("learning_rate", "epochs")
        bounds = {"group_size": 1, "batch_size": 1, "accumulate": 1, "lora_rank": 1, "lora_alpha": 1, "log_every": 1}
        bounds |= dict.fromkeys(("warmup_steps", "max_steps", "evaluate_every", "save_every", "patience", "seed"), 0)
        bounds |= {"max_query_length": 1, "max_document_length": 1}
        for name, bound in bounds.items():
            self._check_least(name, bound)
        for name in ("weight_decay", "lora_dropout", "dropout"):
            self._check_between(name, 0, 1, upper_allowed=False)
        if not isinstance(self.base_in_4bit, bool):
            raise InputError(f"base_in_4bit is true or false, not {self.base_in_4bit!r}.")
        if any(not isinstance(number, int) or isinstance(number, bool) or number < 0 for number in self.lora_layers):
            raise InputError(f"lora_layers are numbers of layers, counted from 0, not {list(self.lora_layers)!r}.")
        for kind, weight in (self.kinds or {}).items():
            query_kind(kind)  # a name that is none would be an option without effect
            if not _is_number(weight) or not 0 <= weight <= MOST_SEEN:
                raise InputError(
                    f"The weight of {kind!r} samples must be a number from 0 to {MOST_SEEN:,}, not {weight!r}."
                )
        if self.lora is False and (idle := self.changed(*_LORA_FIELDS)):
            raise InputError(f"{idle[0]} goes with lora = true; without, all weights are trained.")

    def changed(self, *names: str) -> list[str]:
        """Return those of the named fields that do not have their default."""
        defaults = {attribute.name: attribute.default for attribute in fields(self)}
        return [name for name in names if getattr(self, name) != defaults[name]]

    @property
    def wants_adapter(self) -> bool:
        """Whether a field is stated that only an adapter has."""
        return bool(self.changed(*_LORA_FIELDS))

    def _check_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and (not _is_number(value) or not value > 0):
                raise InputError(f"{name} must be a number above 0, not {value!r}.")

    def _check_least(self, name: str, bound: int) -> None:
        value = getattr(self, name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < bound):
            raise InputError(f"{name} must be a whole number of at least {bound}, or left out, not {value!r}.")

    def _check_between(self, name: str, low: float, high: float, *, upper_allowed: bool = True) -> None:
        value = getattr(self, name)
        inside = value is None or (_is_number(value) and (low <= value < high or (upper_allowed and value == high)))
        if not inside:
            upper = f"at most {high}" if upper_allowed else f"below {high}"
            raise InputError(f"{name} must be at least {low} and {upper}, not {value!r}.")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, as a JSON object."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "the training configuration") -> Self:
        """Make a configuration from some of its fields.

        Raises:
            InputError: A name is unknown, or a value is outside its range.
        """
        names = [attribute.name for attribute in fields(cls)]
        if unknown := sorted(set(values) - set(names)):
            raise InputError(f"{where} does not know {', '.join(map(repr, unknown))}; known: {', '.join(names)}.")
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str], **overrides: Any) -> Self:
        """Read the table of a TOML file: ``[retriever]`` or ``[reranker]``; the other may stand beside it.

        Args:
            path: The TOML file to read.
            **overrides: Fields that come before those of the file.

        Raises:
            InputError: It is no TOML, a value is unusable, or the file is for the other of the two alone.
        """
        tables = read_toml(path)
        if unknown := sorted(set(tables) - {"retriever", "reranker"}):
            raise InputError(f"{path} has the tables or keys {unknown}; hyper-parameters stand under [{cls.table}].")
        if tables and cls.table not in tables:
            raise InputError(
                f"{path} configures a {' and a '.join(tables)}, and a {cls.table} is to be trained: none of it would "
                f"have an effect. Hyper-parameters of a {cls.table} stand under [{cls.table}]."
            )
        return cls.from_dict({**tables.get(cls.table, {}), **overrides}, os.fspath(path))


@dataclass(frozen=True, kw_only=True)
class RetrieverConfig(TrainingConfig):
    """How a retriever is trained: what :class:`TrainingConfig` takes, and the following.

    Args:
        temperature: Temperature of InfoNCE, by which cosines are divided.
        in_batch_negatives: Whether the passages of a batch's other queries are negatives too. They come from one batch
            of one process only.
        random_negatives: Documents drawn evenly for each batch, negatives of all its queries: from the corpus that is
            named, or from the passages of all samples.
        reasoning_weight: How much less, 0 to 1, a sample counts whose query and positive share their words: its loss is
            weighted with ``1 - reasoning_weight * overlap``, scaled to a mean of 1 in the batch, where the overlap is
            :func:`rader_plugins.text_matching.word_overlap`. 0 weights all alike.
        anchor_weight: How strongly the vectors of other texts are held where the base has them: ``anchor_weight`` times
            their mean cosine distance from there is added to the loss. Keeps what the base knows of other subjects.
        anchors: How many such texts a batch gets.
        merge_weight: Share of what was learned that is kept, at most 1: evaluated and exported are the weights
            ``base + merge_weight * (trained - base)`` (Wortsman et al., 2022: robust fine-tuning by weight averaging).
        matryoshka: Lengths at which the vectors are to be of use when they are cut (Kusupati et al., 2022): the loss is
            the mean over these and the whole length.
        mini_batch: Texts that are run through the model at once (gradient caching: Gao et al., 2021). Memory depends
            on it alone, the result does not. None runs a whole batch at once.
        fsdp, fsdp_config: Cut the model apart over the processes that torchrun started: handed to the
            ``TrainingArguments`` of transformers as they are.
        deepspeed: The same by DeepSpeed: a configuration, or the path of one.

    Raises:
        InputError: A value is outside its range, or has no effect beside the others.
    """

    table: ClassVar[str] = "retriever"

    temperature: float = AUTO
    in_batch_negatives: bool = True
    random_negatives: int = AUTO
    reasoning_weight: float = 0.0
    anchor_weight: float = 0.0
    anchors: int = 24
    merge_weight: float = AUTO
    matryoshka: tuple[int, ...] = ()
    mini_batch: int | None = None
    fsdp: bool = False
    fsdp_config: Mapping[str, Any] = field(default_factory=dict)
    deepspeed: Mapping[str, Any] | str | None = None

    @property
    def sharded(self) -> bool:
        """Whether no process holds the whole model."""
        return self.fsdp or self.deepspeed is not None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "matryoshka", tuple(self.matryoshka))
        self._check_positive("temperature")
        for name, bound in {"mini_batch": 1, "random_negatives": 0, "anchors": 1}.items():
            self._check_least(name, bound)
        self._check_between("reasoning_weight", 0, 1)
        self._check_between("merge_weight", 0, 1)
        if not _is_number(self.anchor_weight) or self.anchor_weight < 0:
            raise InputError(f"anchor_weight must be a number of at least 0, not {self.anchor_weight!r}.")
        if self.merge_weight == 0:
            raise InputError("merge_weight must be above 0: with 0 nothing of what is learned would be kept.")
        if any(not isinstance(length, int) or isinstance(length, bool) or length < 1 for length in self.matryoshka):
            raise InputError(f"matryoshka holds lengths of vectors such as [128, 64], not {list(self.matryoshka)!r}.")
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.fsdp and self.deepspeed is not None:
            raise InputError("fsdp and deepspeed exclude each other.")
        if self.fsdp_config and not self.fsdp:
            raise InputError("fsdp_config goes with fsdp = true.")
        if self.sharded and self.evaluate_every:
            raise InputError("A model that is cut apart (fsdp, deepspeed) is not evaluated: leave evaluate_every out.")
        if self.changed("anchors") and not self.anchor_weight:
            raise InputError("anchors goes with anchor_weight above 0; without, no text is held.")
        if self.reasoning_weight and self.batch_size == 1:
            raise InputError("reasoning_weight compares the samples of a batch: it needs a batch_size above 1.")
        if not self.in_batch_negatives and self.group_size == 1 and self.random_negatives == 0:
            raise InputError(
                "There would be no negatives: with in_batch_negatives = false the group_size must be above 1, or "
                "random_negatives above 0."
            )


@dataclass(frozen=True, kw_only=True)
class RerankerConfig(TrainingConfig):
    """How a reranker is trained: what :class:`TrainingConfig` takes, and the following.

    ``group_size`` must be above 1: the hard negatives of its group are all that a positive is told from.
    ``max_document_length`` is that of the whole pair; ``max_query_length`` what a query may take of it.

    Args:
        depth: How many of a first stage's documents are reranked where it is evaluated.

    Raises:
        InputError: A value is outside its range.
    """

    table: ClassVar[str] = "reranker"

    depth: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_least("depth", 1)
        self._check_least("group_size", 2)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
