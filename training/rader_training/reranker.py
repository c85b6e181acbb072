"""`train_reranker`: samples become a reranker that drops back in."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rader_plugins.documents import Hit
from rader_plugins.encoding.models import LoadOptions, pick_dtype
from rader_plugins.errors import InputError, import_extra
from rader_plugins.files import fingerprint
from rader_plugins.index.bm25_only import bm25_index
from rader_plugins.recipes import Recipe
from rader_plugins.reranking import PointwiseReranker
from rader_training.config import RerankerConfig
from rader_training.data import Groups, load_rows
from rader_training.overlap import evaluation_sets
from rader_training.precision import weights_dtype
from rader_training.processes import local_device
from rader_training.report import TrainingReport
from rader_training.run import TrainingRun

if TYPE_CHECKING:
    from rader_plugins.evaluation import RetrievalDataset, Run
    from rader_plugins.evaluation.overlap import EvaluationSet
    from rader_training.reranker_base import RerankerBase

__all__ = ["train_reranker"]


def train_reranker(
    samples: str | os.PathLike[str],
    base: str | Recipe,
    out: str | os.PathLike[str],
    config: RerankerConfig | None = None,
    *,
    evaluate_on: RetrievalDataset | None = None,
    first_stage: Run | None = None,
    check_against: Sequence[str | EvaluationSet] = (),
    allow_overlap: bool = False,
    device: str | None = None,
    resume: bool = False,
    name: str | None = None,
    keep_adapter: bool = False,
    trust_remote_code: bool = False,
) -> TrainingReport:
    """Train a reranker: a classifier of one label, by cross-entropy over each query's group (RaDeR, section 3.4).

    The passages of other queries are no negatives. What the model reads is put together by the code that inference
    uses. ``out/model`` is written at the end, adapters merged: :func:`rader_plugins.reranking.load_reranker` loads it,
    and so does ``AutoModelForSequenceClassification``.

    Args:
        samples: A folder of ``rader samples``, one of its files, a Tevatron JSONL file, or a data set on the hub.
            Samples without a hard negative are left out and counted.
        base: A reranker, whose training goes on; or a language model or an encoder, which gets a new head: see
            :func:`rader_training.reranker_base.load_base`.
        out: Folder of the run: ``model``, ``checkpoints``, ``metrics.jsonl``, ``curves.png``, ``training.json``.
        config: The hyper-parameters.
        evaluate_on: A first stage's best documents of its queries are reranked before, during and after the training;
            the best weights are exported.
        first_stage: Query id -> document id -> score; default: BM25.
        check_against, allow_overlap: As for :func:`rader_training.train_retriever`.
        device: As for ``load_reranker``.
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
        >>> train_reranker("samples", "Qwen/Qwen2.5-0.5B", "run-2").model  # doctest: +SKIP
        PosixPath('run-2/model')
    """
    import_extra("accelerate", "training")
    from rader_training.export import adapter_base
    from rader_training.pairs import GroupScorer
    from rader_training.reranker_base import load_base

    config = config or RerankerConfig()
    folder = Path(out)
    if keep_adapter and not config.lora:
        raise InputError("There is no adapter to keep: lora is off.")
    adapter_of = adapter_base(base) if keep_adapter else None
    if first_stage is not None and evaluate_on is None:
        raise InputError("A first stage is for evaluation: name the data set (evaluate_on=, --evaluate-on).")
    chosen = local_device(device)
    import_extra("transformers", "training").set_seed(config.seed)  # a new head begins at random
    dtype = weights_dtype(config, chosen)
    start = load_base(base, LoadOptions(chosen, pick_dtype(dtype, _ANY, chosen), None, trust_remote_code))
    start = _with_lengths(start, config)
    groups = Groups(
        load_rows(samples, folder.with_name(f"{folder.name}.cache")),
        size=config.group_size,
        weights=config.kinds,
        seed=config.seed,
        hard_only=True,
    )
    candidates = None if evaluate_on is None else _candidates(evaluate_on, first_stage, config.depth)
    manifest = {
        "base": start.recipe.name,
        "base_fingerprint": fingerprint([start.digest, start.recipe.fingerprint]),
        "first_stage": None if candidates is None else fingerprint(_as_run(candidates)),
    }
    return _RerankerRun(
        folder=folder,
        config=config,
        model=GroupScorer(start.classifier.model),
        recipe=start.recipe,
        base=manifest,
        groups=groups,
        dataset=evaluate_on,
        name=name or folder.resolve().name,
        adapter_of=adapter_of,
        against=evaluation_sets(check_against),
        allow_overlap=allow_overlap,
        start=start,
        candidates=candidates or {},
    ).run(resume)


_ANY = Recipe(name="any", model="any", kind="reranker")


def _with_lengths(start: RerankerBase, config: RerankerConfig) -> RerankerBase:
    recipe = dataclasses.replace(
        start.recipe,
        max_query_length=config.max_query_length or start.recipe.max_query_length,
        max_document_length=config.max_document_length or start.recipe.max_document_length,
    )
    if recipe.pair_template is None and config.max_document_length:
        # A tokenizer that joins pairs by itself cuts them by itself, too.
        start.classifier.tokenizer.model_max_length = config.max_document_length
    return dataclasses.replace(start, recipe=recipe)


def _candidates(dataset: RetrievalDataset, first_stage: Run | None, depth: int) -> dict[str, list[Hit]]:
    """Return the documents to rerank, best first, without those that the data set deletes from a query's ranking."""
    if first_stage is None:
        ids = list(dataset.judged)
        most = max((len(dataset.excluded.get(query, ())) for query in ids), default=0)
        from rader_plugins import RaderRetriever

        with bm25_index(None, [one for one in dataset.corpus.values() if one.text.strip()]) as index:
            found = RaderRetriever(index, mode="bm25").search_batch(
                [dataset.queries[query] for query in ids], depth + most
            )
        first_stage = {
            query: {hit.document.id: hit.score for hit in hits} for query, hits in zip(ids, found, strict=True)
        }
    from rader_plugins.evaluation.rankings import check_run, ranking

    check_run(first_stage, "The first stage")
    if not any(first_stage.get(query) for query in dataset.judged):
        raise InputError("The first stage found nothing for any judged query: it is of another data set.")
    chosen: dict[str, list[Hit]] = {}
    for query in dataset.judged:
        scores = first_stage.get(query, {})
        left = [one for one in ranking(scores) if one not in dataset.excluded.get(query, ())][:depth]
        if unknown := [one for one in left if one not in dataset.corpus]:
            raise InputError(f"The first stage names the document {unknown[0]!r}, which the corpus does not hold.")
        chosen[query] = [Hit(dataset.corpus[one], float(scores[one]), rank) for rank, one in enumerate(left, start=1)]
    return chosen


def _as_run(hits: Mapping[str, list[Hit]]) -> dict[str, dict[str, float]]:
    return {query: {hit.document.id: hit.score for hit in found} for query, found in hits.items()}


@dataclasses.dataclass(kw_only=True)
class _RerankerRun(TrainingRun):
    kind = "reranker"

    config: RerankerConfig
    start: RerankerBase
    candidates: Mapping[str, list[Hit]]
    _adapted: Any = dataclasses.field(default=None, init=False)

    def _add_adapter(self) -> None:
        from rader_training.adapters import add_lora

        # The classifier itself is changed; what peft wraps around it is of use for merging and saving only.
        self._adapted = add_lora(
            self.model.classifier, self.config, task_type="SEQ_CLS", modules_to_save=list(self.start.heads)
        )

    def _merge_adapter(self) -> None:
        self.model.classifier = self._adapted.merge_and_unload()

    def _collator(self) -> Any:
        from rader_training.pairs import PairCollator

        return PairCollator(self.start.classifier, self.recipe)

    def _training_arguments(self, values: dict[str, Any]) -> Any:
        # Every weight that is trained takes part in every score.
        return import_extra("transformers", "training").TrainingArguments(**values, ddp_find_unused_parameters=False)

    def _make_trainer(self, arguments: Any, **parts: Any) -> Any:
        from rader_training.checkpoints import RerankerTrainer

        return RerankerTrainer(model=self.model, args=arguments, **parts)

    def _measure(self, dataset: RetrievalDataset) -> float:
        from rader_plugins.evaluation import score_run

        reranker = PointwiseReranker(self.recipe, classifier=self.start.classifier, show_progress=False)
        # Questions as they were asked, also where the first stage searched with written-out reasoning.
        queries = [dataset.originals.get(query, dataset.queries[query]) for query in self.candidates]
        with self._autocast():
            found = reranker.rerank_batch(queries, list(self.candidates.values()))
        run = _as_run(dict(zip(self.candidates, found, strict=True)))
        return float(score_run(run, dataset.qrels, ["nDCG@10"]).mean["nDCG@10"])

    def _facts(self) -> dict[str, Any]:
        if self.dataset is None:
            return {}
        from rader_plugins.evaluation import score_run

        found = score_run(_as_run(self.candidates), self.dataset.qrels, ["nDCG@10"]).mean["nDCG@10"]
        return {"First stage (nDCG@10)": found}

    def _export(self, folder: Path, recipe: Recipe, facts: Mapping[str, Any]) -> Path:
        from rader_training.export import export

        return export(recipe, folder, base=self.recipe.name, facts=facts, write=self._write)

    def _export_adapter(self, folder: Path, recipe: Recipe, base: str) -> None:
        from rader_training.export import export_adapter

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
