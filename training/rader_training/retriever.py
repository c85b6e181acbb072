"""`train_retriever`: samples become a retriever that drops back in."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from rader_plugins.encoding.load import load_encoder
from rader_plugins.encoding.local import LocalEncoder
from rader_plugins.encoding.saving import prompts_of, self_ending
from rader_plugins.errors import InputError, MissingExtraError, TruncationWarning, import_extra
from rader_plugins.recipes import Recipe
from rader_training.config import RetrieverConfig
from rader_training.data.anchors import Anchors
from rader_training.data.corpus import Corpus
from rader_training.defaults import Facts, fitted
from rader_training.models.adapters import add_lora, averaged, load_trained, save_trained
from rader_training.models.export import adapter_base, export, export_adapter
from rader_training.models.four_bit import put_in_four_bit
from rader_training.preparing import (
    Prepared,
    SamplePaths,
    check_options,
    make_plan,
    positions_of,
    prepare_data,
    read_config,
    with_lengths,
)
from rader_training.run.kind import Values
from rader_training.run.options import RunOptions, TrainingOptions
from rader_training.run.precision import compute_dtype, weights_dtype
from rader_training.run.processes import is_main, local_device, process_count
from rader_training.run.report import TrainingReport
from rader_training.run.run import TrainingRun

if TYPE_CHECKING:
    from rader_plugins.evaluation import RetrievalDataset

__all__ = ["prepare_retriever", "train_retriever"]

_BASE = "base.safetensors"


def train_retriever(
    samples: SamplePaths,
    base: str | Recipe,
    out: str | os.PathLike[str],
    config: RetrieverConfig | None = None,
    *,
    corpus: str | os.PathLike[str] | None = None,
    anchor: str | os.PathLike[str] | None = None,
    resume: bool = False,
    **options: Unpack[TrainingOptions],
) -> TrainingReport:
    """Train a retriever with InfoNCE over hard, in-batch and random negatives (RaDeR, section 3.4).

    The trainer is sentence-transformers'; templates, lengths and end-of-sequence tokens are those of the base's recipe,
    put on by the very code that inference uses. ``out/model`` is written at the end, if it is not worse than the base:
    a Sentence Transformers directory with a recipe of its own, adapters merged.

    Args:
        samples: A folder of ``rader samples``, one of its files, a JSONL file with the columns of Tevatron,
            FlagEmbedding or sentence-transformers, or a data set on the hub; or several of these.
        base: What to start from: what :func:`rader_plugins.load_encoder` takes.
        out: Folder of the run: ``model``, ``checkpoints``, ``metrics.jsonl``, ``curves.png``, ``training.json``.
        config: The hyper-parameters; those that it does not state are fitted to model and samples.
        corpus: Where ``random_negatives`` are drawn from: what ``rader index build`` takes; default: the passages of
            the samples.
        anchor: Documents for ``anchor_weight``, of other subjects than the samples: what ``rader index build`` takes.
        resume: Go on from the newest checkpoint of a run that was stopped, killed or not: to the same weights as
            without the stop, on hardware that computes deterministically. A run that has ended trains nothing more.
        **options: Options of the run; see :class:`rader_training.run.options.RunOptions`.

    Raises:
        InputError: Samples, base or folder are unusable; a setting has no effect, or with the settings nothing would
            be learned; or samples hold queries of an evaluation set.
        WorseThanBaseError: What was trained is worse than the base, or the same; nothing was exported.
        TrainingDivergedError: The loss became NaN. ``out/model`` holds the last weights that were good, if any were
            saved or evaluated.
        RaderError: A checkpoint or the model cannot be written; earlier checkpoints are intact.
        MissingExtraError: The extra ``training`` is not installed.

    Example:
        >>> train_retriever("samples", "mini", "run-1", RetrieverConfig(epochs=2)).verdict.outcome  # doctest: +SKIP
        'better'
    """
    run = prepare_retriever(samples, base, out, config, corpus=corpus, anchor=anchor, resume=resume, **options)
    return run.run(resume)


def prepare_retriever(
    samples: SamplePaths,
    base: str | Recipe,
    out: str | os.PathLike[str],
    config: RetrieverConfig | None = None,
    *,
    corpus: str | os.PathLike[str] | None = None,
    anchor: str | os.PathLike[str] | None = None,
    resume: bool = False,
    **options: Unpack[TrainingOptions],
) -> TrainingRun:
    """Return a run that :func:`train_retriever` would make, with its ``plan``; nothing is trained or written yet.

    Args and errors are those of :func:`train_retriever`.
    """
    import_extra("accelerate", "training")
    run_options, folder = RunOptions(**options), Path(out)
    config, earlier_settings = read_config(config or RetrieverConfig(), folder, resume)
    check_options(run_options, 1 if isinstance(samples, str | os.PathLike) else len(samples), config)
    if bool(config.anchor_weight) != (anchor is not None):
        raise InputError("anchor_weight and the documents that are held (anchor=, --anchor) go together.")
    if config.sharded:
        _check_sharded(config, resume, run_options.evaluate_on is not None)
    adapter_of = adapter_base(base) if run_options.keep_adapter else None
    device = local_device(run_options.device)
    encoder = _trainable(base, device, config, run_options)
    if run_options.keep_adapter and encoder.recipe.pooling == "model":
        raise InputError(f"{encoder.recipe.name!r} has modules of its own, which an adapter alone cannot hold.")
    recipe = with_lengths(encoder.recipe, config, positions_of(_transformer(encoder)))
    parameters = sum(weights.numel() for weights in encoder.model.parameters())
    prepared = prepare_data(samples, config, folder, run_options, parameters=parameters, earlier=earlier_settings)
    config = prepared.config
    _check_dimensions(config, encoder)
    if corpus is not None and not config.random_negatives:
        raise InputError("A corpus is for random negatives: set random_negatives in the configuration.")
    anchors = None if anchor is None else Anchors(anchor, prepared.cache)
    documents = _documents(corpus, prepared)
    start = {
        "base": encoder.recipe.name,
        "base_fingerprint": encoder.fingerprint,
        "corpus": None if documents is None or corpus is None else documents.digest,
        "anchor": None if anchors is None else anchors.digest,
    }
    return _RetrieverRun(
        folder=folder,
        config=config,
        plan=make_plan("retriever", prepared, recipe, encoder.model, device, _negatives(prepared, corpus)),
        model=encoder.model,
        recipe=recipe,
        base=start,
        groups=prepared.groups,
        development=prepared.development,
        options=run_options,
        adapter_of=adapter_of,
        corpus=documents,
        anchors=anchors,
        load_again=lambda: _trainable(base, device, config, run_options),
    )


def _documents(corpus: str | os.PathLike[str] | None, prepared: Prepared[RetrieverConfig]) -> Corpus | None:
    if not prepared.config.random_negatives:
        return None
    if corpus is not None:
        return Corpus(corpus, prepared.cache)
    return Corpus.of_samples(prepared.groups.samples, prepared.cache)


def _negatives(prepared: Prepared[RetrieverConfig], corpus: str | os.PathLike[str] | None) -> str:
    config, report = prepared.config, prepared.groups.report
    parts = []
    if config.group_size > 1:
        share = 1 - report.short_groups / max(1, report.samples)
        parts.append(f"up to {config.group_size - 1} hard ones a query ({share:.0%} of the samples have so many)")
    if config.in_batch_negatives:
        parts.append("the passages of the batch's other queries")
    if config.random_negatives:
        source = "the samples' passages" if corpus is None else os.fspath(corpus)
        parts.append(f"{config.random_negatives} a batch at random from {source}")
    return ", ".join(parts)


def _check_dimensions(config: RetrieverConfig, encoder: LocalEncoder) -> None:
    if longer := [length for length in config.matryoshka if length >= encoder.dimension]:
        raise InputError(f"matryoshka holds lengths below the vectors' {encoder.dimension}, not {longer[0]}.")


def _transformer(encoder: LocalEncoder) -> Any:
    module: Any = encoder.model[0]
    return module.model


def _check_sharded(config: RetrieverConfig, resume: bool, evaluated: bool) -> None:
    if process_count() == 1:
        raise InputError("fsdp and deepspeed cut a model apart over several processes: start them with torchrun.")
    if config.base_in_4bit:
        raise InputError("base_in_4bit does not go with a model that is cut apart (fsdp, deepspeed).")
    if resume or evaluated:
        raise InputError(
            "A training that cuts the model apart (fsdp, deepspeed) does not go on from a checkpoint and is not "
            "evaluated on the way: leave resume and evaluate_on out, and evaluate the model that comes of it."
        )
    if config.deepspeed is not None and importlib.util.find_spec("deepspeed") is None:
        raise MissingExtraError("The configuration names DeepSpeed, which is not installed: pip install deepspeed")


def _trainable(base: str | Recipe, device: str, config: RetrieverConfig, options: RunOptions) -> LocalEncoder:
    def load(dtype: str) -> Any:
        return load_encoder(
            base,
            device=device,
            dtype=dtype,
            show_progress=False,
            trust_remote_code=options.trust_remote_code,
            shared=False,
        )

    dtype = weights_dtype(dataclasses.replace(config, lora=config.lora is not False), device)
    encoder = load(dtype)
    if not isinstance(encoder, LocalEncoder) or type(encoder.model[0]).__name__ != "Transformer":
        raise InputError(f"{base!r} cannot be trained: it must be a transformer on this machine.")
    parameters = sum(weights.numel() for weights in encoder.model.parameters())
    if (fitting := weights_dtype(fitted(config, Facts(parameters, 1, options.keep_adapter)), device)) != dtype:
        encoder = load(fitting)  # all weights of a small model are trained, and small steps are lost in bfloat16
    recipe = encoder.recipe
    if not recipe.pool_prompt and (recipe.query_prefix() or recipe.document_template != "{text}"):
        raise InputError(f"Recipe {recipe.name!r} leaves prompts out of its pooling, which training does not do yet.")
    if recipe.append_eos and encoder.tokenizer.eos_token_id is None and recipe.eos_token is None:
        raise InputError(f"The tokenizer of {recipe.model!r} has no end-of-sequence token. Name it in the recipe.")
    prompts_of(recipe)  # what would fail at the end fails now
    self_ending(encoder.tokenizer, recipe)
    trainable: LocalEncoder = encoder
    return trainable


@dataclasses.dataclass(kw_only=True)
class _RetrieverRun(TrainingRun):
    kind = "retriever"

    config: RetrieverConfig
    corpus: Corpus | None = None
    anchors: Anchors | None = None
    load_again: Callable[[], LocalEncoder]
    _whole: Any = dataclasses.field(default=None, init=False)  # of a model that is cut apart

    def _choose_weights(self, *, in_4bit: bool | None = None) -> None:
        super()._choose_weights(in_4bit=in_4bit)
        if not self.config.lora and self.config.merge_weight < 1 and is_main():
            save_trained(self.model, self.folder / _BASE)
        if self.config.sharded and is_main():
            self._whole = copy.deepcopy(self.model).cpu()

    def _gather(self, trainer: Any) -> None:
        if not self.config.sharded:
            return
        from rader_training.run.trainers import WEIGHTS

        gathered = self.folder / "gathered"
        trainer.save_model(str(gathered))
        if is_main():
            self.model = self._whole
            load_trained(self.model, gathered / WEIGHTS)
            shutil.rmtree(gathered)

    def _put_base_in_four_bit(self) -> None:
        put_in_four_bit(self.model[0].model, compute_dtype(self.config, self._device))

    def _load_base_anew(self) -> None:
        self.model = self.load_again().model

    def _add_adapter(self) -> None:
        self.model[0].model = add_lora(self.model[0].model, self.config)

    def _merge_adapter(self) -> None:
        self.model[0].model = self.model[0].model.merge_and_unload()

    def _encoder(self, recipe: Recipe | None = None) -> LocalEncoder:
        return LocalEncoder(recipe or self.recipe, model=self.model, show_progress=False)

    def _collator(self) -> Any:
        from rader_training.data.batches import Collator

        config = self.config
        if self.anchors is not None:  # no checkpoint is loaded yet, and a new adapter changes nothing
            self.model.eval()
            self.anchors.encode(self._encoder())
        return Collator(
            self.model.tokenizer,
            self.recipe,
            in_batch=config.in_batch_negatives,
            corpus=self.corpus,
            drawn=config.random_negatives,
            reasoning_weight=config.reasoning_weight,
            weighted=self.groups.report.weighted,
            anchors=self.anchors,
            anchored=config.anchors,
        )

    def _training_arguments(self, values: dict[str, Any]) -> Any:
        config = self.config
        if config.fsdp:
            values = {**values, "fsdp": True, "fsdp_config": copy.deepcopy(dict(config.fsdp_config))}
        elif config.deepspeed is not None:
            values = {**values, "deepspeed": copy.deepcopy(config.deepspeed)}
        return import_extra("sentence_transformers", "training").SentenceTransformerTrainingArguments(**values)

    def _make_trainer(self, arguments: Any, **parts: Any) -> Any:
        from rader_training.loss.info_nce import InfoNCE
        from rader_training.run.trainers import RetrieverTrainer

        config = self.config
        loss = InfoNCE(
            self.model,
            temperature=config.temperature,
            mini_batch_size=config.mini_batch,
            anchor_weight=config.anchor_weight,
            lengths=config.matryoshka,
        )
        return RetrieverTrainer(model=self.model, args=arguments, loss=loss, **parts)

    def _measure(self, dataset: RetrievalDataset) -> Values:
        """Return nDCG@10 of every query, in dense search."""
        from rader_plugins import RaderIndex, RaderRetriever
        from rader_plugins.evaluation import evaluate, index_corpus

        with RaderIndex.create(None, encoder=self._encoder()) as index:
            index_corpus(dataset, index)
            evaluation = evaluate(
                RaderRetriever(index, mode="dense"), dataset, k_values=[10], measures=["nDCG"], batch_size=64
            )
        return {query: float(values["nDCG@10"]) for query, values in evaluation.per_query.items()}

    def _probe(self, count: int) -> NDArray[np.float32]:
        groups = [self.groups[number] for number in range(min(count, len(self.groups)))]
        encoder = self._encoder()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)  # the report tells what was cut
            queries = encoder.encode_queries([group.query for group in groups])
            documents = encoder.encode_documents([group.positive for group in groups])
        return np.concatenate([queries, documents])

    def _exported_weights(self) -> contextlib.AbstractContextManager[None]:
        return averaged(self.model, self.config.merge_weight, self.folder / _BASE)

    def _export_adapter(self, folder: Path, recipe: Recipe, base: str) -> None:
        export_adapter(self.model[0].model, recipe, folder, base=base, scale=self.config.merge_weight)

    def _export(self, folder: Path, recipe: Recipe, facts: Mapping[str, Any]) -> Path:
        if self.config.merge_weight < 1:
            weights = f"base + {self.config.merge_weight} * (trained - base), evaluated as such"
            facts = {**facts, "Weights": weights}
        path = export(recipe, folder, base=self.recipe.name, facts=facts, write=self._encoder(recipe).save)
        (self.folder / _BASE).unlink(missing_ok=True)
        return path
