"""`train_retriever`: samples become a retriever that drops back in."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib.util
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rader_plugins.encoding.load import load_encoder
from rader_plugins.encoding.local import LocalEncoder
from rader_plugins.encoding.saving import prompts_of, self_ending
from rader_plugins.errors import InputError, MissingExtraError, import_extra
from rader_plugins.recipes import Recipe
from rader_training.adapters import add_lora, averaged, load_trained, save_trained
from rader_training.anchors import Anchors
from rader_training.config import RetrieverConfig
from rader_training.corpus import Corpus
from rader_training.data import Groups, load_rows
from rader_training.export import adapter_base, export, export_adapter
from rader_training.overlap import evaluation_sets
from rader_training.precision import weights_dtype
from rader_training.processes import is_main, local_device, process_count
from rader_training.report import TrainingReport
from rader_training.run import TrainingRun

if TYPE_CHECKING:
    from rader_plugins.evaluation import RetrievalDataset
    from rader_plugins.evaluation.overlap import EvaluationSet

__all__ = ["train_retriever"]

_BASE = "base.safetensors"


def train_retriever(
    samples: str | os.PathLike[str],
    base: str | Recipe,
    out: str | os.PathLike[str],
    config: RetrieverConfig | None = None,
    *,
    corpus: str | os.PathLike[str] | None = None,
    anchor: str | os.PathLike[str] | None = None,
    evaluate_on: RetrievalDataset | None = None,
    check_against: Sequence[str | EvaluationSet] = (),
    allow_overlap: bool = False,
    device: str | None = None,
    resume: bool = False,
    name: str | None = None,
    keep_adapter: bool = False,
    trust_remote_code: bool = False,
) -> TrainingReport:
    """Train a retriever with InfoNCE over hard and in-batch negatives (RaDeR, section 3.4).

    The trainer is sentence-transformers'; templates, lengths and end-of-sequence tokens are those of the base's recipe,
    put on by the very code that inference uses. ``out/model`` is written at the end: a Sentence Transformers directory
    with a recipe of its own, adapters merged.

    Args:
        samples: A folder of ``rader samples``, one of its files, a Tevatron JSONL file, or a data set on the hub.
        base: What to start from: what :func:`rader_plugins.load_encoder` takes.
        out: Folder of the run: ``model``, ``checkpoints``, ``metrics.jsonl``, ``curves.png``, ``training.json``.
        config: The hyper-parameters.
        corpus: Where ``random_negatives`` are drawn from: what ``rader index build`` takes.
        anchor: Documents for ``anchor_weight``, of other subjects than the samples: what ``rader index build`` takes.
        evaluate_on: Is searched (dense) before, during and after the training; the best weights are exported.
        check_against: Evaluation sets that no sample may hold a query of: what
            :func:`rader_plugins.evaluation.overlap.load_evaluation_set` takes. ``evaluate_on`` is one by itself.
        allow_overlap: Train nevertheless. What was found is in ``out/overlap.json``, the report and the card.
        device: As for ``load_encoder``.
        resume: Go on from the newest checkpoint of a run that was stopped, killed or not: to the same weights as
            without the stop, on hardware that computes deterministically.
        name: Of the new model; default: that of ``out``.
        keep_adapter: Write the adapter alone as well, into ``out/adapter``.
        trust_remote_code: Let the base's repository run its own code.

    Raises:
        InputError: Samples, base or folder are unusable; or samples hold queries of an evaluation set.
        TrainingDivergedError: The loss became NaN. ``out/model`` holds the last weights that were good, if any were
            saved or evaluated.
        RaderError: A checkpoint or the model cannot be written; earlier checkpoints are intact.
        MissingExtraError: The extra ``training`` is not installed.

    Example:
        >>> train_retriever("samples", "mini", "run-1", RetrieverConfig(epochs=2)).model  # doctest: +SKIP
        PosixPath('run-1/model')
    """
    import_extra("accelerate", "training")
    config = config or RetrieverConfig()
    folder = Path(out)
    if config.random_negatives and corpus is None:
        raise InputError("random_negatives are drawn from a corpus: name it (corpus=, --corpus).")
    if corpus is not None and not config.random_negatives:
        raise InputError("A corpus is for random negatives: set random_negatives in the configuration.")
    if bool(config.anchor_weight) != (anchor is not None):
        raise InputError("anchor_weight and the documents that are held (anchor=, --anchor) go together.")
    if config.sharded:
        _check_sharded(config, resume, evaluate_on is not None)
    if keep_adapter and not config.lora:
        raise InputError("There is no adapter to keep: lora is off.")
    adapter_of = adapter_base(base) if keep_adapter else None
    device = local_device(device)
    encoder = _trainable(base, device, weights_dtype(config, device), trust_remote_code)
    if keep_adapter and encoder.recipe.pooling == "model":
        raise InputError(f"{encoder.recipe.name!r} has modules of its own, which an adapter alone cannot hold.")
    recipe = _with_lengths(encoder.recipe, config)
    cache = folder.with_name(f"{folder.name}.cache")
    groups = Groups(load_rows(samples, cache), size=config.group_size, weights=config.kinds, seed=config.seed)
    documents = None if corpus is None else Corpus(corpus, cache)
    anchors = None if anchor is None else Anchors(anchor, cache)
    start = {
        "base": encoder.recipe.name,
        "base_fingerprint": encoder.fingerprint,
        "corpus": None if documents is None else documents.digest,
        "anchor": None if anchors is None else anchors.digest,
    }
    return _RetrieverRun(
        folder=folder,
        config=config,
        model=encoder.model,
        recipe=recipe,
        base=start,
        groups=groups,
        dataset=evaluate_on,
        name=name or folder.resolve().name,
        adapter_of=adapter_of,
        against=evaluation_sets(check_against),
        allow_overlap=allow_overlap,
        corpus=documents,
        anchors=anchors,
    ).run(resume)


def _check_sharded(config: RetrieverConfig, resume: bool, evaluated: bool) -> None:
    if process_count() == 1:
        raise InputError("fsdp and deepspeed cut a model apart over several processes: start them with torchrun.")
    if resume or evaluated:
        raise InputError(
            "A training that cuts the model apart (fsdp, deepspeed) does not go on from a checkpoint and is not "
            "evaluated on the way: leave resume and evaluate_on out, and evaluate the model that comes of it."
        )
    if config.deepspeed is not None and importlib.util.find_spec("deepspeed") is None:
        raise MissingExtraError("The configuration names DeepSpeed, which is not installed: pip install deepspeed")


def _trainable(base: str | Recipe, device: str | None, dtype: str, trust_remote_code: bool) -> LocalEncoder:
    encoder = load_encoder(base, device=device, dtype=dtype, show_progress=False, trust_remote_code=trust_remote_code)
    if not isinstance(encoder, LocalEncoder) or type(encoder.model[0]).__name__ != "Transformer":
        raise InputError(f"{base!r} cannot be trained: it must be a transformer on this machine.")
    recipe = encoder.recipe
    if not recipe.pool_prompt and (recipe.query_prefix() or recipe.document_template != "{text}"):
        raise InputError(f"Recipe {recipe.name!r} leaves prompts out of its pooling, which training does not do yet.")
    if recipe.append_eos and encoder.tokenizer.eos_token_id is None and recipe.eos_token is None:
        raise InputError(f"The tokenizer of {recipe.model!r} has no end-of-sequence token. Name it in the recipe.")
    prompts_of(recipe)  # what would fail at the end fails now
    self_ending(encoder.tokenizer, recipe)
    return encoder


def _with_lengths(recipe: Recipe, config: RetrieverConfig) -> Recipe:
    return dataclasses.replace(
        recipe,
        max_query_length=config.max_query_length or recipe.max_query_length,
        max_document_length=config.max_document_length or recipe.max_document_length,
    )


@dataclasses.dataclass(kw_only=True)
class _RetrieverRun(TrainingRun):
    kind = "retriever"

    config: RetrieverConfig
    corpus: Corpus | None = None
    anchors: Anchors | None = None
    _whole: Any = dataclasses.field(default=None, init=False)  # of a model that is cut apart

    def _choose_weights(self) -> None:
        super()._choose_weights()
        if not self.config.lora and self.config.merge_weight < 1 and is_main():
            save_trained(self.model, self.folder / _BASE)
        if self.config.sharded and is_main():
            self._whole = copy.deepcopy(self.model).cpu()

    def _gather(self, trainer: Any) -> None:
        if not self.config.sharded:
            return
        from rader_training.checkpoints import WEIGHTS

        gathered = self.folder / "gathered"
        trainer.save_model(str(gathered))
        if is_main():
            self.model = self._whole
            load_trained(self.model, gathered / WEIGHTS)
            shutil.rmtree(gathered)

    def _add_adapter(self) -> None:
        self.model[0].model = add_lora(self.model[0].model, self.config)

    def _merge_adapter(self) -> None:
        self.model[0].model = self.model[0].model.merge_and_unload()

    def _collator(self) -> Any:
        from rader_training.batches import Collator

        config = self.config
        if self.anchors is not None:  # no checkpoint is loaded yet, and a new adapter changes nothing
            self.model.eval()
            self.anchors.encode(LocalEncoder(self.recipe, model=self.model, show_progress=False))
        return Collator(
            self.model.tokenizer,
            self.recipe,
            in_batch=config.in_batch_negatives,
            corpus=self.corpus,
            drawn=config.random_negatives,
            reasoning_weight=config.reasoning_weight,
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
        from rader_training.checkpoints import RetrieverTrainer
        from rader_training.loss import InfoNCE

        config = self.config
        loss = InfoNCE(
            self.model,
            temperature=config.temperature,
            mini_batch_size=config.mini_batch,
            anchor_weight=config.anchor_weight,
        )
        return RetrieverTrainer(model=self.model, args=arguments, loss=loss, **parts)

    def _measure(self, dataset: RetrievalDataset) -> float:
        """Search (dense)."""
        from rader_plugins import RaderIndex, RaderRetriever
        from rader_plugins.evaluation import evaluate, index_corpus

        encoder = LocalEncoder(self.recipe, model=self.model, show_progress=False)
        with RaderIndex.create(None, encoder=encoder) as index:
            index_corpus(dataset, index)
            found = evaluate(
                RaderRetriever(index, mode="dense"), dataset, k_values=[10], measures=["nDCG"], batch_size=64
            )
        return float(found.mean["nDCG@10"])

    def _exported_weights(self) -> contextlib.AbstractContextManager[None]:
        return averaged(self.model, self.config.merge_weight, self.folder / _BASE)

    def _export_adapter(self, folder: Path, recipe: Recipe, base: str) -> None:
        export_adapter(self.model[0].model, recipe, folder, base=base, scale=self.config.merge_weight)

    def _export(self, folder: Path, recipe: Recipe, facts: Mapping[str, Any]) -> Path:
        if self.config.merge_weight < 1:
            weights = f"base + {self.config.merge_weight} * (trained - base), evaluated as such"
            facts = {**facts, "Weights": weights}
        encoder = LocalEncoder(recipe, model=self.model, show_progress=False)
        path = export(recipe, folder, base=self.recipe.name, facts=facts, write=encoder.save)
        (self.folder / _BASE).unlink(missing_ok=True)
        return path
