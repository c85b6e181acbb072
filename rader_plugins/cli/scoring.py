"""``rader score`` and ``rader compare``: what is done with runs that are there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rader_plugins.cli.datasets import Measures
from rader_plugins.cli.options import JsonOutput
from rader_plugins.cli.output import emit_json, fitted, note, room
from rader_plugins.errors import InputError

if TYPE_CHECKING:
    from rader_plugins.evaluation import Aspects, Comparison, Excluded, Qrels, Scores

__all__ = ["compare", "score"]

_DEFAULT = ["nDCG@1", "nDCG@5", "nDCG@10", "nDCG@100", "R@10", "R@100", "AP@100", "RR"]
_REMARKS = {
    "without_results": "judged queries have no results and count as 0",
    "without_judgements": "queries of the run are not judged and are left out",
    "without_relevant": "judged queries have no relevant document and count as 0",
}


def score(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="TREC run file, JSON {query: {document: score}} as RaDeR publishes it, or folder of `rader evaluate`.",
            show_default=False,
        ),
    ],
    qrels: Annotated[
        Path | None,
        typer.Argument(
            metavar="QRELS",
            help="Judgements: BEIR (.tsv) or TREC format, or a BEIR folder. A folder of `rader evaluate` has its own.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="NAME", help="Of a BEIR folder. Default: test, or the only one there is."),
    ] = None,
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
    ignore_identical_ids: Annotated[
        bool,
        typer.Option(
            "--ignore-identical-ids",
            help="Leave the document that has the id of the query out of its ranking, as BEIR does.",
        ),
    ] = False,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Write what was scored as a TREC run file.")
    ] = None,
    json: JsonOutput = False,
) -> None:
    """Score a run against judgements.

    Equal scores keep the order of the file. Questions for which the run has nothing score 0. Figures are shown x 100;
    with --json they are from 0 to 1.
    """
    from rader_plugins.evaluation import interpolate, read_excluded, score_run, write_run
    from rader_plugins.evaluation.measures import load_measure

    scored = _read_run(run)
    if add:
        runs = [scored, *(_read_run(path) for path in add)]
        scored = interpolate(runs, _weights(weights, len(runs)))
    elif weights is not None:
        raise InputError("--weights goes with --add.")
    judgements, aspects, banned, title = _judgements(run, qrels, split)
    if excluded is not None:
        banned = read_excluded(excluded)
    identical = [query for query in judgements if query in scored.get(query, {})]
    if ignore_identical_ids:
        banned = {**banned, **{query: {*banned.get(query, ()), query} for query in identical}}
    scores = score_run(
        scored,
        judgements,
        [load_measure(name) for name in measure or _DEFAULT],
        aspects=aspects,
        excluded=banned,
        ties="trec_eval" if trec_ties else "file",
    )
    if len(scores.without_relevant) == len(scores.per_query):
        raise InputError(
            f"None of the {len(scores.per_query):,} judged queries has a relevant document: nothing is told."
        )
    if write is not None:
        write_run(scored, write)
    if identical and not ignore_identical_ids:
        note(
            f"{len(identical):,} queries find a document of their own id (first: {identical[0]!r}), which counts like "
            "any other; BEIR leaves identical ids out: --ignore-identical-ids."
        )
    _show_scores(scores, title, json=json)


def _show_scores(scores: Scores, title: str, *, json: bool) -> None:
    from rader_plugins.evaluation.remarks import percent
    from rader_plugins.evaluation.tables import text_table

    remarks = {name: list(getattr(scores, name)) for name in _REMARKS}
    if json:
        emit_json({"mean": scores.mean, "queries": len(scores.per_query), "per_query": scores.per_query, **remarks})
        return
    rows = [[name, percent(value)] for name, value in scores.mean.items()]
    heading = f"mean of {len(scores.per_query):,} queries, x 100"
    typer.echo("\n".join(text_table([f"measure{title}", heading], rows)))
    for name, ids in remarks.items():
        if ids:
            note(f"{len(ids):,} {_REMARKS[name]} (first: {ids[0]!r}).")


def _read_run(path: Path) -> Any:
    from rader_plugins.evaluation import Evaluation, read_run

    return Evaluation.load(path).run if path.is_dir() else read_run(path)


def _judgements(run: Path, qrels: Path | None, split: str | None) -> tuple[Qrels, Aspects, Excluded, str]:
    """Return judgements, aspects, exclusions and what to call them."""
    from rader_plugins.evaluation import Evaluation, RetrievalDataset, read_aspects, read_qrels

    if split is not None and (qrels is None or not qrels.is_dir()):
        raise InputError("--split goes with a BEIR folder as QRELS.")
    if qrels is None:
        if not run.is_dir():
            raise InputError("Name the judgements, QRELS, after the run.")
        evaluation = Evaluation.load(run)
        if not evaluation.judgements:
            raise InputError(f"{run} was written by a version that did not keep the judgements: name QRELS after it.")
        # What was excluded is not in its run any more.
        return evaluation.judgements, {}, {}, f" ({evaluation.title})"
    if qrels.is_dir():
        dataset = RetrievalDataset.from_folder(qrels, split)
        judgements = {query: dataset.qrels[query] for query in dataset.judged}
        return judgements, dataset.aspects, dataset.excluded, f" ({dataset.title})"
    return read_qrels(qrels), read_aspects(qrels), {}, ""


def _weights(text: str | None, count: int) -> list[float]:
    if text is None:
        return [1 / count] * count
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--weights takes numbers such as 0.5,0.5, not {text!r}.") from None


def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="Folders that `rader evaluate` wrote, of one data set or many.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write comparison.md, comparison.html and per-query.tsv there."),
    ] = None,
    measure: Annotated[
        str | None, typer.Option("--measure", metavar="NAME", help="What is tested and plotted, such as nDCG@10.")
    ] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Write a LaTeX table (booktabs) instead.")] = False,
    cite: Annotated[bool, typer.Option("--cite", help="Write BibTeX of what was used, after the table.")] = False,
    json: JsonOutput = False,
) -> None:
    """Put runs side by side: means with intervals, paired tests, and who wins which question.

    Figures are shown x 100; with --json they are from 0 to 1.
    """
    from rader_plugins.evaluation import compare as put_together
    from rader_plugins.evaluation.comparing.summary import screenful

    if json and (latex or cite):
        raise InputError("--json goes without --latex and --cite.")
    comparison = put_together(folders, measure=measure)
    paths = comparison.write(out) if out is not None else []
    if json:
        emit_json({**_comparison_object(comparison), "written": [str(path) for path in paths]})
        return
    if latex:
        typer.echo(comparison.latex().rstrip())
    else:
        lines = screenful(comparison.groups, room()).splitlines()
        typer.echo("\n".join(part for line in lines for part in fitted(line)))
    if cite:
        typer.echo("\n" + comparison.bibtex())
    for path in paths:
        note(f"Wrote {path}")


def _comparison_object(comparison: Comparison) -> dict[str, Any]:
    return {
        "measure": comparison.measure,
        "level": comparison.level,
        "groups": [
            {
                "dataset": group.title,
                "means": {name: dict(group.runs[name].mean) for name in group.names},
                "intervals": {name: list(group.intervals[name]) for name in group.names},
                "tests": [asdict(test) for test in group.tests],
            }
            for group in comparison.groups
        ],
    }
