"""``rader evaluate``, ``rader score`` and ``rader compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rader_plugins.cli.datasets import DataDir, DatasetName
from rader_plugins.cli.options import (
    Device,
    JsonOutput,
    Model,
    ModelChoice,
    RecipeName,
    SearchMode,
    ServedModel,
    TrustRemoteCode,
)
from rader_plugins.cli.output import emit_json, facts, note, progress, table
from rader_plugins.errors import InputError

if TYPE_CHECKING:
    from rader_plugins.evaluation import Evaluation, RetrievalDataset
    from rader_plugins.index import RaderIndex

__all__ = ["compare", "evaluate", "score"]

Measures = Annotated[
    list[str] | None,
    typer.Option("--measure", metavar="NAME", help="As in ir_measures: nDCG@10, R@100, AP, RR, P@5; repeatable."),
]


def evaluate(
    dataset: DatasetName,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the results go; a stopped run goes on from there.")
    ],
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="Judgements: qrels/NAME.tsv. Default: test.")
    ] = None,
    data_dir: DataDir = None,
    model: Model = None,
    mode: Annotated[SearchMode, typer.Option("--mode", help="How documents are ranked.")] = SearchMode.hybrid,
    alpha: Annotated[
        float, typer.Option("--alpha", min=0, max=1, help="Weight of the dense score in hybrid mode.")
    ] = 0.8,
    instruction: Annotated[
        str | None,
        typer.Option(
            "--instruction", metavar="TEXT", help="Instruction for the query, or bright:SPLIT for that of BRIGHT."
        ),
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option("--rerank", metavar="NAME", help="Reranker: registered name, model directory or hub id."),
    ] = None,
    rerank_top: Annotated[int, typer.Option("--rerank-top", min=1, help="How many documents it sees.")] = 100,
    queries_file: Annotated[
        Path | None,
        typer.Option(
            "--queries-file",
            metavar="FILE",
            help="JSONL of _id and text that is searched for instead of the questions: written-out reasoning, say.",
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            "--index", metavar="DIR", help="Index of the corpus, made if it is not there. Default: DIR/index in --out."
        ),
    ] = None,
    k: Annotated[list[int] | None, typer.Option("-k", min=1, help="Cutoff; repeatable. Default: 10 and 100.")] = None,
    measure: Measures = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Queries per call; 1 measures what one user waits.")
    ] = 1,
    recipe: RecipeName = None,
    served_model: ServedModel = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    json: JsonOutput = False,
) -> None:
    """Search for the questions of a data set and score what is found.

    Writes evaluation.json, queries.jsonl (per question) and run.trec into --out. A measure without a cutoff, such as
    nDCG, is taken at every -k. The model is needed once, to index the corpus.
    """
    from rader_plugins.evaluation import evaluate as run
    from rader_plugins.evaluation import index_corpus, read_queries
    from rader_plugins.evaluation.datasets.names import open_dataset
    from rader_plugins.reranking import load_reranker
    from rader_plugins.retrieval import RaderRetriever

    found = open_dataset(dataset, split, data_dir)
    if queries_file is not None:
        found = found.with_queries(read_queries(queries_file))
    choice = ModelChoice(model, recipe, served_model, device, trust_remote_code)
    with _open_or_create(index or out / "index", choice) as opened:
        with progress("Indexing", len(found.corpus)) as advance:
            index_corpus(found, opened, on_progress=advance)
        retriever = RaderRetriever(
            opened,
            mode=mode.value,
            alpha=alpha,
            instruction=_instruction(instruction),
            reranker=load_reranker(rerank, device=device) if rerank is not None else None,
            rerank_top=rerank_top,
        )
        with progress("Searching", len(found.judged)) as advance:
            result = run(
                retriever,
                found,
                k_values=k or [10, 100],
                measures=measure or ["nDCG", "R", "RR"],
                out=out,
                batch_size=batch_size,
                on_progress=advance,
            )
    if json:
        emit_json({**result.summary(), "out": str(out)})
        return
    typer.echo("\n".join(facts(_evaluation_facts(result, found, out))))


def score(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="TREC run file, or JSON {query: {document: score}} as RaDeR publishes it.",
            show_default=False,
        ),
    ],
    qrels: Annotated[
        Path, typer.Argument(metavar="QRELS", help="Judgements: BEIR (.tsv) or TREC format.", show_default=False)
    ],
    excluded: Annotated[
        Path | None,
        typer.Option("--excluded", metavar="FILE", help="JSONL of _id and excluded_ids: deleted before scoring."),
    ] = None,
    add: Annotated[
        list[Path] | None,
        typer.Option(
            "--add",
            metavar="RUN2",
            help="Add the scores of this run to the documents of RUN; see --weights; repeatable.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", metavar="W,W2", help="Weights of RUN and of every --add. Default: equal, summing to 1."
        ),
    ] = None,
    measure: Measures = None,
    trec_ties: Annotated[
        bool,
        typer.Option(
            "--trec-ties", help="Order equal scores by id, Z to A, as trec_eval does. Default: as in the file."
        ),
    ] = False,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Write what was scored as a TREC run file.")
    ] = None,
    json: JsonOutput = False,
) -> None:
    """Score a run file against judgements.

    Equal scores keep the order of the file. Questions for which the run has nothing score 0.
    """
    from rader_plugins.evaluation import interpolate, read_excluded, read_qrels, read_run, score_run, write_run

    scored: Any = read_run(run)
    if add:
        runs = [scored, *(read_run(path) for path in add)]
        scored = interpolate(runs, _weights(weights, len(runs)))
    elif weights is not None:
        raise InputError("--weights goes with --add.")
    found = score_run(
        scored,
        read_qrels(qrels),
        measure or ["nDCG@1", "nDCG@5", "nDCG@10", "nDCG@100", "R@10", "R@100", "AP@100", "RR"],
        excluded=read_excluded(excluded) if excluded is not None else None,
        ties="trec_eval" if trec_ties else "file",
    )
    if write is not None:
        write_run(scored, write)
    remarks = {
        "without_results": (found.without_results, "judged queries have no results and count as 0"),
        "without_judgements": (found.without_judgements, "queries of the run are not judged and are left out"),
        "without_relevant": (found.without_relevant, "judged queries have no relevant document and count as 0"),
    }
    if json:
        emit_json(
            {
                "mean": found.mean,
                "queries": len(found.per_query),
                "per_query": found.per_query,
                **{name: list(ids) for name, (ids, _) in remarks.items()},
            }
        )
        return
    rows = [[name, f"{value:.5f}"] for name, value in found.mean.items()]
    typer.echo("\n".join(table(["measure", f"mean of {len(found.per_query):,} queries"], rows, right=" r")))
    for ids, text in remarks.values():
        if ids:
            note(f"{len(ids):,} {text} (first: {ids[0]!r}).")


def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders that `rader evaluate` wrote.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write comparison.md, comparison.html and per-query.tsv there."),
    ] = None,
    measure: Annotated[
        str | None, typer.Option("--measure", metavar="NAME", help="What is tested and plotted, such as nDCG@10.")
    ] = None,
    json: JsonOutput = False,
) -> None:
    """Put runs side by side: means with intervals, paired tests, and who wins which question."""
    from dataclasses import asdict

    from rader_plugins.evaluation import compare as put_together

    found = put_together(folders, measure=measure)
    written = found.write(out) if out is not None else []
    if json:
        emit_json(
            {
                "measure": found.measure,
                "level": found.level,
                "groups": [
                    {
                        "dataset": group.title,
                        "means": {name: dict(group.runs[name].mean) for name in group.names},
                        "intervals": {name: list(group.intervals[name]) for name in group.names},
                        "tests": [asdict(test) for test in group.tests],
                    }
                    for group in found.groups
                ],
                "written": [str(path) for path in written],
            }
        )
        return
    typer.echo(found.markdown().rstrip())
    for path in written:
        note(f"Wrote {path}")


def _open_or_create(folder: Path, choice: ModelChoice) -> RaderIndex:
    from rader_plugins.cli.options import open_index
    from rader_plugins.index import RaderIndex

    if RaderIndex.exists(folder):
        return open_index(folder, choice)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return RaderIndex.create(folder, choice.load())


def _instruction(text: str | None) -> str | None:
    if text is None or not text.startswith("bright:"):
        return text
    from rader_plugins.recipes import bright_instruction

    return bright_instruction(text.removeprefix("bright:"))


def _weights(text: str | None, count: int) -> list[float]:
    if text is None:
        return [1 / count] * count
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--weights takes numbers such as 0.5,0.5, not {text!r}.") from None


def _evaluation_facts(result: Evaluation, dataset: RetrievalDataset, out: Path) -> list[tuple[str, str]]:
    from rader_plugins.evaluation.remarks import remarks, settings

    lines = [("data set", f"{dataset.name}, split {dataset.split}: {len(dataset.judged):,} questions")]
    lines += [("retriever", settings(result.manifest))]
    lines += [(name, f"{value:.5f}") for name, value in result.mean.items()]
    if "p50" in result.latency:
        latency = result.latency
        lines.append(
            (
                "latency",
                f"median {latency['p50']:.1f} ms, 95% under {latency['p95']:.1f} ms, "
                f"{latency['queries_per_second']:,.1f} queries a second",
            )
        )
    lines += [("left out", text) for text in remarks(result.left_out)]
    lines.append(("written to", str(out)))
    return lines
