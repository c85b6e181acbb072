"""`train_reranker`: samples become a reranker that drops back in."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from rader_plugins.documents import Hit
from rader_plugins.encoding.models import LoadOptions, pick_dtype
from rader_plugins.errors import InputError, TruncationWarning, import_extra
from rader_plugins.files import fingerprint
from rader_plugins.index.bm25_only import bm25_index
from rader_plugins.recipes import Recipe
from rader_plugins.reranking import PointwiseReranker
from rader_training.config import RerankerConfig
from rader_training.defaults import Facts, fitted
from rader_training.preparing import (
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
from rader_training.run.processes import local_device
from rader_training.run.report import TrainingReport
from rader_training.run.run import TrainingRun

if TYPE_CHECKING:
    from rader_plugins.evaluation import RetrievalDataset, Run
    from rader_training.models.reranker_base import RerankerBase

__all__ = ["prepare_reranker", "train_reranker"]


def train_reranker(
    samples: SamplePaths,
    base: str | Recipe,
    out: str | os.PathLike[str],
    config: RerankerConfig | None = None,
    *,
    first_stage: Run | None = None,
    resume: bool = False,
    **options: Unpack[TrainingOptions],
) -> TrainingReport:
    """Train a reranker: a classifier of one label, by cross-entropy over each query's group (RaDeR, section 3.4).

    The passages of other queries are no negatives. What the model reads is put together by the code that inference
    uses. ``out/model`` is written at the end, if it does not rank worse than its first stage, adapters merged:
    :func:`rader_plugins.reranking.load_reranker` loads it, and so does ``AutoModelForSequenceClassification``.

    Args:
        samples: Sample sets, as for :func:`rader_training.train_retriever`. Samples without a hard negative are left
            out and counted.
        base: A reranker, whose training goes on; or a language model or an encoder, which gets a new head: see
            :func:`rader_training.models.reranker_base.load_base`.
        out: Folder of the run: ``model``, ``checkpoints``, ``metrics.jsonl``, ``curves.png``, ``training.json``.
        config: The hyper-parameters; those that it does not state are fitted to model and samples.
        first_stage: Query id -> document id -> score: the rankings whose best documents are reranked where it is
            evaluated; default: BM25.
        resume: Whether to go on with a run that was cut short, as for :func:`rader_training.train_retriever`.
        **options: Options of the run; see :class:`rader_training.run.options.RunOptions`.

    Raises:
        InputError: Samples, base or folder are unusable; a setting has no effect, or with the settings nothing would
            be learned; or samples hold queries of an evaluation set.
        WorseThanBaseError: It ranks worse than its first stage, or than the reranker that it was trained from; nothing
            was exported.
        TrainingDivergedError: The loss became NaN. ``out/model`` holds the last weights that were good, if any were
            saved or evaluated.
        RaderError: A checkpoint or the model cannot be written; earlier checkpoints are intact.
        MissingExtraError: The extra ``training`` is not installed.

    Example:
        >>> train_reranker("samples", "Qwen/Qwen2.5-0.5B", "run-2").model  # doctest: +SKIP
        PosixPath('run-2/model')
    """
    return prepare_reranker(samples, base, out, config, first_stage=first_stage, resume=resume, **options).run(resume)


def prepare_reranker(
    samples: SamplePaths,
    base: str | Recipe,
    out: str | os.PathLike[str],
    config: RerankerConfig | None = None,
    *,
    first_stage: Run | None = None,
    resume: bool = False,
    **options: Unpack[TrainingOptions],
) -> TrainingRun:
    """Return a run that :func:`train_reranker` would make, with its ``plan``; nothing is trained or written yet.

    Args and errors are those of :func:`train_reranker`.
    """
    import_extra("accelerate", "training")
    from rader_training.loss.group_scorer import GroupScorer
    from rader_training.models.export import adapter_base

    run_options, folder = RunOptions(**options), Path(out)
    config, earlier_settings = read_config(config or RerankerConfig(), folder, resume)
    check_options(run_options, 1 if isinstance(samples, str | os.PathLike) else len(samples), config)
    adapter_of = adapter_base(base) if run_options.keep_adapter else None
    if first_stage is not None and run_options.evaluate_on is None:
        raise InputError("A first stage is for evaluation: name the data set (evaluate_on=, --evaluate-on).")
    device = local_device(run_options.device)
    start = _loaded(base, device, config, run_options)
    start = _with_lengths(start, config)
    parameters = sum(weights.numel() for weights in start.classifier.model.parameters())
    prepared = prepare_data(
        samples, config, folder, run_options, parameters=parameters, earlier=earlier_settings, hard_only=True
    )
    config, development = prepared.config, prepared.development
    if development is None and config.changed("depth"):
        raise InputError("depth is how many documents are reranked where it is evaluated, and there is nothing to.")
    candidates = None if development is None else _candidates(development.dataset, first_stage, config.depth)
    settings = {
        "base": start.recipe.name,
        "base_fingerprint": fingerprint([start.digest, start.recipe.fingerprint]),
        "first_stage": None if candidates is None else fingerprint(_as_run(candidates)),
    }
    negatives = f"up to {config.group_size - 1} hard ones a query"
    return _RerankerRun(
        folder=folder,
        config=config,
        plan=make_plan("reranker", prepared, start.recipe, start.classifier.model, device, negatives),
        model=GroupScorer(start.classifier.model),
        recipe=start.recipe,
        base=settings,
        groups=prepared.groups,
        development=development,
        options=run_options,
        adapter_of=adapter_of,
        start=start,
        load_again=lambda: _with_lengths(_loaded(base, device, config, run_options), config),
        candidates=candidates or {},
        first_stage_name="its first stage" if first_stage is not None else "BM25, its first stage",
    )


def _loaded(base: str | Recipe, device: str, config: RerankerConfig, options: RunOptions) -> RerankerBase:
    from rader_training.models.reranker_base import load_base

    def load(dtype: str) -> RerankerBase:
        import_extra("transformers", "training").set_seed(config.seed)  # a new head begins at random
        return load_base(base, LoadOptions(device, pick_dtype(dtype, _ANY, device), None, options.trust_remote_code))

    dtype = weights_dtype(dataclasses.replace(config, lora=config.lora is not False), device)
    start = load(dtype)
    parameters = sum(weights.numel() for weights in start.classifier.model.parameters())
    fitting = weights_dtype(fitted(config, Facts(parameters, 1, options.keep_adapter)), device)
    return start if fitting == dtype else load(fitting)


_ANY = Recipe(name="any", model="any", kind="reranker")


def _with_lengths(start: RerankerBase, config: RerankerConfig) -> RerankerBase:
    recipe = with_lengths(start.recipe, config, positions_of(start.classifier.model))
    if recipe.pair_template is None and config.max_document_length:
        # A tokenizer that joins pairs by itself cuts them by itself, too.
        start.classifier.tokenizer.model_max_length = config.max_document_length
    return dataclasses.replace(start, recipe=recipe)


def _candidates(dataset: RetrievalDataset, first_stage: Run | None, depth: int) -> dict[str, list[Hit]]:
    """Return the documents to rerank, best first, without those that the data set deletes from a query's ranking."""
    if first_stage is None:
        ids = list(dataset.judged)
        deepest = max((len(dataset.excluded.get(query, ())) for query in ids), default=0)
        from rader_plugins import RaderRetriever

        with bm25_index(None, [document for document in dataset.corpus.values() if document.text.strip()]) as index:
            rankings = RaderRetriever(index, mode="bm25").search_batch(
                [dataset.queries[query] for query in ids], depth + deepest
            )
        first_stage = {
            query: {hit.document.id: hit.score for hit in hits} for query, hits in zip(ids, rankings, strict=True)
        }
    from rader_plugins.evaluation.rankings import check_run, ranking

    check_run(first_stage, "The first stage")
    if not any(first_stage.get(query) for query in dataset.judged):
        raise InputError("The first stage found nothing for any judged query: it is of another data set.")
    candidates: dict[str, list[Hit]] = {}
    for query in dataset.judged:
        scores = first_stage.get(query, {})
        excluded = dataset.excluded.get(query, ())
        names = [name for name in ranking(scores) if name not in excluded][:depth]
        if unknown := [name for name in names if name not in dataset.corpus]:
            raise InputError(f"The first stage names the document {unknown[0]!r}, which the corpus does not hold.")
        candidates[query] = [
            Hit(dataset.corpus[name], float(scores[name]), rank) for rank, name in enumerate(names, start=1)
        ]
    return candidates


def _as_run(rankings: Mapping[str, list[Hit]]) -> dict[str, dict[str, float]]:
    return {query: {hit.document.id: hit.score for hit in hits} for query, hits in rankings.items()}


def _ndcg(dataset: RetrievalDataset, rankings: Mapping[str, list[Hit]]) -> Values:
    from rader_plugins.evaluation import score_run

    scores = score_run(_as_run(rankings), dataset.qrels, ["nDCG@10"])
    return {query: float(values["nDCG@10"]) for query, values in scores.per_query.items()}


class _TrainedReranker(PointwiseReranker):
    """Computes as the trainer does: a base in bfloat16 has a head in float32 while it trains."""

    computing: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext

    def _forward(self, *arguments: Any, **options: Any) -> Any:
        with self.computing():  # here, since models run in a thread of their own
            return super()._forward(*arguments, **options)


@dataclasses.dataclass(kw_only=True)
class _RerankerRun(TrainingRun):
    kind = "reranker"

    config: RerankerConfig
    start: RerankerBase
    candidates: Mapping[str, list[Hit]]
    first_stage_name: str
    load_again: Callable[[], RerankerBase]
    _adapted: Any = dataclasses.field(default=None, init=False)

    def _put_base_in_four_bit(self) -> None:
        from rader_training.models.four_bit import put_in_four_bit

        dtype = compute_dtype(self.config, self._device)
        put_in_four_bit(self.model.classifier, dtype, besides=self.start.heads)

    def _forget_model(self) -> None:
        super()._forget_model()
        del self.start, self._adapted

    def _load_base_anew(self) -> None:
        from rader_training.loss.group_scorer import GroupScorer

        self.start = self.load_again()
        self.model = GroupScorer(self.start.classifier.model)

    def _add_adapter(self) -> None:
        from rader_training.models.adapters import add_lora

        # The classifier itself is changed; what peft wraps around it is of use for merging and saving only.
        self._adapted = add_lora(
            self.model.classifier, self.config, task_type="SEQ_CLS", modules_to_save=list(self.start.heads)
        )

    def _merge_adapter(self) -> None:
        self.model.classifier = self._adapted.merge_and_unload()

    def _collator(self) -> Any:
        from rader_training.data.pairs import PairCollator

        return PairCollator(self.start.classifier, self.recipe, self.groups.report.weighted)

    def _training_arguments(self, values: dict[str, Any]) -> Any:
        # Every weight that is trained takes part in every score.
        return import_extra("transformers", "training").TrainingArguments(**values, ddp_find_unused_parameters=False)

    def _make_trainer(self, arguments: Any, **parts: Any) -> Any:
        from rader_training.run.trainers import RerankerTrainer

        return RerankerTrainer(model=self.model, args=arguments, **parts)

    def _measure(self, dataset: RetrievalDataset) -> Values:
        # Questions as they were asked, also where the first stage searched with written-out reasoning.
        queries = [dataset.originals.get(query, dataset.queries[query]) for query in self.candidates]
        rankings = self._reranker().rerank_batch(queries, list(self.candidates.values()))
        return _ndcg(dataset, dict(zip(self.candidates, rankings, strict=True)))

    def _reference(self) -> tuple[str, Values]:
        """Return the first stage, or the reranker that was trained further if it ranks better."""
        name, base = super()._reference()
        first = {} if self.development is None else _ndcg(self.development.dataset, self.candidates)
        if self.start.has_own_head and sum(base.values()) > sum(first.values()):
            return name, base
        return self.first_stage_name, first

    def _reranker(self) -> PointwiseReranker:
        reranker = _TrainedReranker(self.recipe, classifier=self.start.classifier, show_progress=False)
        reranker.computing = self._autocast
        return reranker

    def _probe(self, count: int) -> NDArray[np.float32]:
        groups = [self.groups[number] for number in range(min(count, len(self.groups)))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)  # the report tells what was cut
            scores = self._reranker().score_pairs([(group.query, group.positive) for group in groups])
        return np.asarray(scores, dtype=np.float32)[:, None]

    def _facts(self) -> dict[str, Any]:
        if self.development is None:
            return {}
        values = _ndcg(self.development.dataset, self.candidates)
        return {"First stage (nDCG@10)": sum(values.values()) / len(values)}

    def _export(self, folder: Path, recipe: Recipe, facts: Mapping[str, Any]) -> Path:
        from rader_training.models.export import export

        return export(recipe, folder, base=self.recipe.name, facts=facts, write=self._write)

    def _export_adapter(self, folder: Path, recipe: Recipe, base: str) -> None:
        from rader_training.models.export import export_adapter

        export_adapter(self._adapted, recipe, folder, base=base)

    def _write(self, folder: Path) -> None:
        from rader_plugins.encoding.saving import self_ending

        tokenizer: Any = self.start.classifier.tokenizer
        model = self.model.classifier
        if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
            # transformers finds the last token of a pair by it. Where both are one token it would read one too early;
            # without it, it takes one pair at a time and reads the right one.
            model.config.pad_token_id = tokenizer.pad_token_id
        elif self.model.is_decoder:
            model.config.pad_token_id = None
        model.save_pretrained(str(folder))
        self_ending(tokenizer, self.recipe).save_pretrained(str(folder))
