"""`make_samples`: from trajectories to a folder of training samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.evaluation.overlap import EvaluationSet
from rader_plugins.files import as_utf8, sha256_file, write_json
from rader_plugins.index import Index
from rader_plugins.query_kinds import query_kind
from rader_plugins.reranking.base import Reranker
from rader_plugins.retrieval import RaderRetriever
from rader_plugins.sample_files import SampleWriter
from rader_plugins.samples import Sample
from rader_synthesis.sampling.assessment import warnings
from rader_synthesis.sampling.card import card, readme
from rader_synthesis.sampling.config import SamplingConfig
from rader_synthesis.sampling.human_labels import HumanLabels
from rader_synthesis.sampling.mining import Miner
from rader_synthesis.sampling.pipeline import Pipeline
from rader_synthesis.sampling.query_writing import QueryWriter
from rader_synthesis.sampling.spool import Spool
from rader_synthesis.sampling.statistics import Statistics
from rader_synthesis.sampling.workspace import CARD, Workspace, workspace

__all__ = ["SampleReport", "make_samples", "trajectory_files"]

_RUN_FILE = "trajectories.jsonl"


@dataclass(frozen=True)
class SampleReport:
    """What was made.

    Args:
        out: The folder that was written.
        card: The content of its ``card.json``.
        cost: What the language model was asked in this run: ``requests``, ``prompt_tokens``, ``completion_tokens``,
            and ``cached``, the calls that the cache answered. Empty without a model.
        examples: Five samples, drawn at random, to be read.
    """

    out: Path
    card: Mapping[str, Any]
    cost: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[Sample, ...] = ()

    @property
    def samples(self) -> dict[str, int]:
        """Samples by split."""
        return {split: sum(kind["samples"] for kind in kinds.values()) for split, kinds in self.card["samples"].items()}


def make_samples(
    trajectories: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    index: Index | None = None,
    dense: bool = True,
    config: SamplingConfig | None = None,
    writer: QueryWriter | None = None,
    reranker: Reranker | None = None,
    evaluation_sets: Sequence[EvaluationSet] = (),
    labels: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    about: Mapping[str, Any] | None = None,
    on_progress: Callable[[str, int], Any] = lambda stage, count: None,
) -> SampleReport:
    """Turn trajectories into a folder of samples, which appears complete or not at all.

    Memory does not grow with the number of trajectories. The same inputs and seed give the same bytes.

    Args:
        trajectories: JSONL files, or folders of synthesis runs.
        out: The folder to make; see docs/samples.md for what it holds.
        index: The documents that the trajectories come from: gives texts, mined negatives and the round trip of
            ``lexical`` queries. Without it there are neither.
        dense: Whether the index has the vectors of a model; False searches it by BM25 only.
        config: Parameters of the making; None takes the defaults.
        writer: Writes the queries of the kinds ``llm`` and ``lexical``.
        reranker: A cross-encoder that keeps false negatives away.
        evaluation_sets: Evaluation sets whose questions are left out.
        labels: JSONL of a person's corrections, which win over the labels of the trajectories; see
            :mod:`rader_synthesis.sampling.human_labels`.
        overwrite: Replace a sample set that is there.
        about: What the card shall tell besides, such as the name of the corpus: a JSON object.
        on_progress: Called with a stage and how many more of its items are done.

    Raises:
        InputError: An input is unusable, options do not go together, or no sample comes out.
        LLMError: The language model does not answer. What it answered before is in the writer's cache.
        BudgetExceededError: The budget of the language model is used up; the same call goes on with a new one.
        OSError: The disk is full, or worse. Nothing was changed.
    """
    config = config or SamplingConfig()
    written_names = [name for name in config.kinds if query_kind(name).written]
    _check_parts(config, index, writer, reranker)
    dense = dense and index is not None and index.recipe is not None
    files = trajectory_files(trajectories)
    human = HumanLabels.from_file(labels) if labels is not None else HumanLabels()
    miner = (
        Miner(index, config, dense=dense, reranker=reranker) if index is not None and config.mine != "never" else None
    )
    with workspace(Path(out), overwrite=overwrite) as space, Spool.opened(space.scratch / "spool.sqlite") as spool:
        statistics = Statistics(least=config.min_reward)
        pipeline = Pipeline(spool, statistics, config, index, evaluation_sets, human)
        pipeline.read(files, lambda count: on_progress("reading", count))
        if len(human) and not human.applied:
            raise InputError(f"None of the {len(human)} labels fits a search of these trajectories: another log?")
        pipeline.exclude_evaluated()
        if writer is not None and written_names:
            pipeline.write_queries(writer, lambda count: on_progress("asking", count))
        families = pipeline.split()
        with SampleWriter(space.result) as samples:
            pipeline.emit(samples, miner, lambda count: on_progress("writing", count))
        if not any(samples.counts.values()):
            raise InputError(_nothing(statistics))
        content = card(
            config,
            statistics,
            inputs=[{"file": file.name, "sha256": sha256_file(file)} for file in files],
            families=families,
            evaluation_sets=evaluation_sets,
            documents=pipeline.documents(),
            llm=writer.described() if writer is not None and written_names else None,
            mined={"bm25": miner is not None, "dense": miner is not None and dense, "reranker": reranker is not None},
            about={"documents": _described(index, dense), **(about or {})},
        )
        content["human_labels"] = {"given": len(human), "applied": human.applied}
        content["warnings"] = warnings(content, statistics)
        _write_card(space, content)
    cost = writer.cost() if writer is not None and written_names else {}
    return SampleReport(Path(out), content, cost, tuple(pipeline.examples))


def _described(index: Index | None, dense: bool) -> dict[str, Any] | None:
    """Return what decides which negatives are found."""
    return None if index is None else RaderRetriever(index, "hybrid" if dense else "bm25").describe(corpus=True)


def _check_parts(
    config: SamplingConfig, index: Index | None, writer: QueryWriter | None, reranker: Reranker | None
) -> None:
    """Refuse what lacks a part that it needs."""
    written_names = [name for name in config.kinds if query_kind(name).written]
    if written_names and writer is None:
        raise InputError(
            f"Queries of the kind {' and '.join(written_names)} are written by a language model; name one."
        )
    if index is None and (checked := [name for name in config.kinds if query_kind(name).needs_corpus]):
        raise InputError(
            f"Queries of the kind {' and '.join(checked)} are checked by BM25; give the corpus, or an index of it."
        )
    if reranker is not None and index is None:
        raise InputError("A cross-encoder judges mined negatives; give the corpus, or an index of it.")


def trajectory_files(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return the files that some paths name; the folder of a synthesis run stands for its trajectories.

    Raises:
        InputError: There is no such file, or none is named.
    """
    files = []
    for path in map(Path, paths):
        file = path / _RUN_FILE if path.is_dir() else path
        if not file.is_file():
            raise InputError(f"{path} is no file of trajectories, nor the folder of a synthesis run, which holds one.")
        files.append(file)
    if not files:
        raise InputError("Name at least one file of trajectories.")
    return files


def _write_card(space: Workspace, content: Mapping[str, Any]) -> None:
    write_json(space.result / CARD, content)
    (space.result / "README.md").write_bytes(as_utf8(readme(content)))


def _nothing(statistics: Statistics) -> str:
    """Say why no sample came out, and what to do about the commonest reason."""
    reasons = {**statistics.trajectories, **statistics.dropped}
    counts = {reason: number for reason, number in reasons.items() if number and reason not in ("used", "read")}
    listed = "; ".join(f"{number:,} {reason}" for reason, number in sorted(counts.items(), key=lambda pair: -pair[1]))
    message = f"No sample came out of {statistics.trajectories['read']:,} trajectories ({listed or 'there are none'}). "
    remedies = {
        "answer not judged": "Answers that nobody judged are used with --without-reward, if a person, a citation or "
        "what was opened labels the documents; a test set's answers judge them (`rader import --checker`).",
        "no positive": "The documents have no labels: see `rader import --label`.",
        "nothing retrieved": "No search was found in these runs: see the tools that `rader import` names.",
        "wrong answer": "A sample needs a right answer (reward 1, or at least --min-reward).",
    }
    causes = [reason for reason in sorted(counts, key=lambda name: -counts[name]) if reason in remedies]
    return message + (
        remedies[causes[0]]
        if causes
        else "A sample needs a right answer (reward 1) and a retrieval with a relevant document."
    )
