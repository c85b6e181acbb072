"""``rader evaluate``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rader_plugins.cli.datasets import DataDir, DatasetNames, Measures
from rader_plugins.cli.index_place import IndexPlace
from rader_plugins.cli.interruption import resumable
from rader_plugins.cli.option_groups import with_option_groups
from rader_plugins.cli.options import (
    OWN_MODEL,
    JsonOutput,
    ModelChoice,
    SearchMode,
    check_ranking,
)
from rader_plugins.cli.output import emit_json, facts, note, progress, room
from rader_plugins.errors import InputError

if TYPE_CHECKING:
    from rader_plugins.evaluation import Evaluation, RetrievalDataset, Suite
    from rader_plugins.index import Index

__all__ = ["evaluate"]


@with_option_groups
def evaluate(
    dataset: DatasetNames,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the results go; a stopped run goes on from there.")
    ],
    split: Annotated[
        str | None,
        typer.Option(
            "--split", metavar="NAME", help="Judgements: qrels/NAME.tsv. Default: test, or the only one there is."
        ),
    ] = None,
    data_dir: DataDir = None,
    choice: ModelChoice = OWN_MODEL,
    mode: Annotated[
        SearchMode, typer.Option("--mode", help="How documents are ranked; bm25 needs no model.")
    ] = SearchMode.hybrid,
    alpha: Annotated[
        float | None,
        typer.Option(
            "--alpha", min=0, max=1, help="Weight of the dense score in hybrid mode. Default: 0.8.", metavar="X"
        ),
    ] = None,
    instruction: Annotated[
        str | None,
        typer.Option(
            "--instruction",
            metavar="TEXT",
            help="Instruction for the query; bright:SPLIT for that of BRIGHT, bright for that of each of its splits.",
        ),
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option("--rerank", metavar="NAME", help="Reranker: registered name, model directory or hub id."),
    ] = None,
    rerank_top: Annotated[
        int | None, typer.Option("--rerank-top", min=1, help="How many documents it sees. Default: 100.", metavar="N")
    ] = None,
    queries_file: Annotated[
        Path | None,
        typer.Option(
            "--queries-file",
            metavar="FILE",
            help="JSONL of _id and text that is searched for instead of the questions: written-out reasoning, say.",
        ),
    ] = None,
    index: Annotated[
        IndexPlace | None,
        typer.Option(
            "--index",
            metavar="INDEX",
            help="Index of the corpus, a folder or an engine's URL, made if it is not there. Default: DIR/index in "
            "--out.",
            parser=IndexPlace,
        ),
    ] = None,
    k: Annotated[
        list[int] | None, typer.Option("-k", min=1, help="Cutoff; repeatable. Default: 10 and 100.", metavar="N")
    ] = None,
    measure: Measures = None,
    ignore_identical_ids: Annotated[
        bool | None,
        typer.Option(
            "--ignore-identical-ids/--keep-identical-ids",
            help="Leave the document that has the id of the query out of its ranking, as BEIR does, or not. Default: "
            "where it holds the query's text and is not judged relevant.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Queries per call; 1 measures what one user waits.", metavar="N")
    ] = 1,
    json: JsonOutput = False,
) -> None:
    """Search for the questions of data sets and score what is found.

    Writes evaluation.json, queries.jsonl (per question) and run.trec into --out, for several data sets into a folder of
    each. A measure without a cutoff, such as nDCG, is taken at every -k. The model is needed once, to index the corpus.
    Figures are shown x 100; with --json they are from 0 to 1.
    """
    from rader_plugins.evaluation.datasets.names import check_names
    from rader_plugins.evaluation.measures import load_measure

    names = check_names(dataset)
    single = {
        "--index": index,
        "--queries-file": queries_file,
        "--data-dir": data_dir if "hub:" in str(names) else None,
    }
    for option, value in single.items():
        if len(names) > 1 and value is not None:
            raise InputError(f"{option} goes with a single data set.")
    plan = _Plan(
        choice=choice,
        mode=mode,
        alpha=alpha,
        instruction=instruction,
        rerank=rerank,
        rerank_top=rerank_top,
    )
    plan.check()
    options: dict[str, Any] = {
        "k_values": k or [10, 100],
        "measures": [load_measure(name) for name in measure] if measure else ["nDCG", "R", "RR"],
        "ignore_identical_ids": ignore_identical_ids,
        "batch_size": batch_size,
    }
    own_folder = out if index is None else None  # an index elsewhere is kept, too
    with resumable(lambda: f"the index and the finished queries are kept in {out}", own_folder):
        if len(names) == 1:
            data = _load(names[0], split, data_dir, queries_file)
            _show(plan.run(data, index or IndexPlace(str(out / "index")), out, options), out, json=json)
            return
        _show_suite(_run_all(plan, names, split, data_dir, out, options), out, json=json)


@dataclass(frozen=True)
class _Plan:
    """How documents are found."""

    choice: ModelChoice
    mode: SearchMode
    alpha: float | None
    instruction: str | None
    rerank: str | None
    rerank_top: int | None

    def check(self) -> None:
        """Refuse options that would have no effect."""
        check_ranking(self.mode, self.alpha, self.instruction)
        if self.rerank_top is not None and self.rerank is None:
            raise InputError("--rerank-top goes with --rerank.")

    def run(self, dataset: RetrievalDataset, index: IndexPlace, out: Path, options: dict[str, Any]) -> Evaluation:
        """Index the corpus of a data set and evaluate."""
        from rader_plugins.evaluation import evaluate as run
        from rader_plugins.evaluation import index_corpus
        from rader_plugins.evaluation.measures import at_cutoffs
        from rader_plugins.evaluation.scoring import check_measures
        from rader_plugins.reranking import load_reranker
        from rader_plugins.retrieval import RaderRetriever

        # Before the corpus is indexed, which may take hours.
        dataset.check_answerable()
        judgements = {query: dataset.qrels[query] for query in dataset.judged}
        check_measures(at_cutoffs(options["measures"], options["k_values"]), judgements, dataset.aspects)
        reranker = (
            load_reranker(self.rerank, device=self.choice.device, backend=self.choice.backend)
            if self.rerank is not None
            else None
        )
        with self._index(index) as opened:
            with progress("Indexing", len(dataset.corpus)) as advance:
                index_corpus(dataset, opened, on_progress=advance)
            retriever = RaderRetriever(
                opened,
                mode=self.mode.value,
                alpha=0.8 if self.alpha is None else self.alpha,
                instruction=_instruction(self.instruction, dataset),
                reranker=reranker,
                rerank_top=100 if self.rerank_top is None else self.rerank_top,
            )
            with progress("Searching", len(dataset.judged)) as advance:
                return run(retriever, dataset, out=out, on_progress=advance, **options)

    @contextlib.contextmanager
    def _index(self, place: IndexPlace) -> Iterator[Index]:
        from rader_plugins.cli.options import open_index
        from rader_plugins.index import Bm25Config

        lexical = self.mode is SearchMode.bm25
        if place.exists():
            opened = place.open() if lexical else open_index(place, self.choice)
            if not lexical and opened.fingerprint is None:
                opened.close()
                raise InputError(
                    f"{place} is an index without vectors, made for --mode bm25. Name another with --index, or "
                    "another --out."
                )
        else:
            # BM25 alone needs no model, nor has one to be installed.
            encoder = None if lexical and not self.choice.is_given else self.choice.load()
            opened = place.create(encoder, "float32", None, Bm25Config())
        with contextlib.closing(opened):
            yield opened


def _load(name: str, split: str | None, data_dir: Path | None, queries_file: Path | None) -> RetrievalDataset:
    from rader_plugins.evaluation import read_queries
    from rader_plugins.evaluation.datasets.names import open_dataset

    dataset = open_dataset(name, split, data_dir)
    return dataset if queries_file is None else dataset.with_queries(read_queries(queries_file))


def _run_all(
    plan: _Plan, names: list[str], split: str | None, data_dir: Path | None, out: Path, options: dict[str, Any]
) -> Suite:
    from rader_plugins.evaluation import Suite
    from rader_plugins.evaluation.suite import folder_name

    evaluations: dict[str, Evaluation] = {}
    label = out.resolve().name
    for number, name in enumerate(names, start=1):
        dataset = _load(name, split, data_dir, None)
        if dataset.title in evaluations:
            raise InputError(f"There are two data sets called {dataset.title!r}. Evaluate them apart.")
        folder = out / folder_name(dataset.title)
        evaluations[dataset.title] = plan.run(
            dataset, IndexPlace(str(folder / "index")), folder, {**options, "name": label}
        )
        note(f"{number} of {len(names)}: {dataset.title}")
    return Suite(evaluations, label)


def _instruction(text: str | None, dataset: RetrievalDataset) -> str | None:
    if text is None or text.partition(":")[0] != "bright":
        return text
    from rader_plugins.recipes import bright_instruction

    return bright_instruction(text.partition(":")[2] or dataset.split)


def _show(result: Evaluation, out: Path, *, json: bool) -> None:
    from rader_plugins.evaluation.remarks import facts as facts_of

    if json:
        emit_json({**result.summary(), "out": str(out)})
        return
    lines = facts_of(result.mean, result.latency, result.left_out, result.manifest)
    typer.echo("\n".join(facts([*lines, ("written to", f"{out} (figures x 100)")])))


def _show_suite(suite: Suite, out: Path, *, json: bool) -> None:
    from rader_plugins.evaluation.remarks import model_remarks, remarks

    if json:
        parts = {title: run.summary() for title, run in suite.evaluations.items()}
        emit_json({"average": suite.mean, "datasets": parts, "out": str(out)})
        return
    typer.echo(suite.table(room()))
    for title, run in suite.evaluations.items():
        for text in (*remarks(run.left_out), *model_remarks(run.manifest)):
            note(f"{title}: {text}")
