"""``rader search``."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rader_plugins.cli.options import (
    Device,
    IndexFolder,
    JsonOutput,
    Model,
    ModelChoice,
    ModelOptions,
    RecipeName,
    SearchMode,
    ServedModel,
    TrustRemoteCode,
    open_index,
    parse_filter,
)
from rader_plugins.cli.output import cell_width, clip, emit_json, note, one_line, table, width
from rader_plugins.errors import InputError
from rader_plugins.text_files import read_lines

if TYPE_CHECKING:
    from rader_plugins.documents import Hit
    from rader_plugins.index import Index

__all__ = ["search"]

_BATCH = 256
_LEAST_TEXT = 30


def search(
    folder: IndexFolder,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The question; - reads one per line from stdin.")],
    k: Annotated[int, typer.Option("-k", min=0, help="How many hits.")] = 10,
    mode: Annotated[SearchMode, typer.Option("--mode", help="How documents are ranked.")] = SearchMode.hybrid,
    alpha: Annotated[
        float, typer.Option("--alpha", min=0, max=1, help="Weight of the dense score in hybrid mode.")
    ] = 0.8,
    filter: Annotated[
        str | None,
        typer.Option("--filter", metavar="JSON", help="""Condition on metadata: '{"year": {"$gte": 2000}}'."""),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="ID", help="Leave this document out; repeatable.")
    ] = None,
    instruction: Annotated[
        str | None,
        typer.Option(
            "--instruction", metavar="TEXT", help="Instruction for the query, or bright:SPLIT for that of BRIGHT."
        ),
    ] = None,
    model: Model = None,
    recipe: RecipeName = None,
    served_model: ServedModel = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    model_option: ModelOptions = None,
    json: JsonOutput = False,
) -> None:
    """Search an index.

    The index remembers its model; --model is needed only if that has moved or is behind a URL.
    With --json: a list of hits; for QUERY -, one JSON object per line with "query" and "hits".
    """
    condition = parse_filter(filter)
    instruction = _instruction(instruction)
    if not query.strip():
        raise InputError("The query is empty.")
    choice = ModelChoice(model, recipe, served_model, device, trust_remote_code, model_option)
    if mode is SearchMode.bm25:
        choice = ModelChoice()  # no model takes part
    options = {"filter": condition, "mode": mode.value, "alpha": alpha, "instruction": instruction}
    with open_index(folder, choice) as index:
        if mode is not SearchMode.bm25 and k > 0:
            _check_loadable(index, choice)
        if query != "-":
            _show(_hits(index, [query], k, exclude or (), options)[0], json)
            return
        first = True
        for queries in _lines():
            for text, hits in zip(queries, _hits(index, queries, k, exclude or (), options), strict=True):
                if json:
                    emit_json({"query": text, "hits": [_hit_object(hit) for hit in hits]}, indent=None)
                    continue
                typer.echo(("" if first else "\n") + f"> {one_line(text)}")
                _show(hits, json)
                first = False


def _hits(
    index: Index, queries: Sequence[str], k: int, exclude: Sequence[str], options: dict[str, Any]
) -> list[list[Hit]]:
    from rader_plugins.retrieval import RaderRetriever

    retriever = RaderRetriever(index, options.get("mode") or "hybrid")
    return retriever.search_batch(queries, k, exclude_ids=[exclude] * len(queries), **options)


def _check_loadable(index: Index, choice: ModelChoice) -> None:
    if choice.model is None and index.recipe is not None and index.recipe.name == "plain":
        raise InputError(
            f"The index was built through an embedding server ({index.recipe.model}), and an index does not store "
            "its address: name it with --model URL (or search with --mode bm25)."
        )


def _instruction(text: str | None) -> str | None:
    if text is None or not text.startswith("bright:"):
        return text
    from rader_plugins.recipes import bright_instruction

    return bright_instruction(text.removeprefix("bright:"))


def _lines() -> Iterator[list[str]]:
    """Yield the queries on the standard input in batches; blank lines are skipped."""
    lines = (line.strip() for _, line in read_lines(sys.stdin.buffer))
    queries = (line for line in lines if line)
    while batch := list(itertools.islice(queries, _BATCH)):
        yield batch


def _hit_object(hit: Hit) -> dict[str, Any]:
    return {
        "id": hit.document.id,
        "score": hit.score,
        "rank": hit.rank,
        "scores": dict(hit.scores),
        "text": hit.document.text,
        "metadata": dict(hit.document.metadata),
    }


def _show(hits: Sequence[Hit], json: bool) -> None:
    if json:
        emit_json([_hit_object(hit) for hit in hits])
    elif not hits:
        note("No hits.")
    else:
        typer.echo("\n".join(_table(hits)))


def _table(hits: Sequence[Hit]) -> list[str]:
    # The score that decided the order has its own column already.
    stages = [stage for stage in hits[0].scores if any(hit.scores.get(stage) != hit.score for hit in hits)]
    rows = []
    for hit in hits:
        scores = [f"{hit.scores[stage]:.3f}" if stage in hit.scores else "" for stage in stages]
        rows.append([str(hit.rank), f"{hit.score:.3f}", *scores, one_line(hit.document.id)])
    lines = table(["rank", "score", *stages, "id"], rows, right="r" * (2 + len(stages)))
    texts = ["text", *(one_line(hit.document.text) for hit in hits)]
    margin = max(map(cell_width, lines)) + 2
    if width() - margin >= _LEAST_TEXT:
        return [
            line + " " * (margin - cell_width(line)) + clip(text, width() - margin)
            for line, text in zip(lines, texts, strict=True)
        ]
    # Long ids leave no room: the text goes below.
    output = [lines[0]]
    for line, text in zip(lines[1:], texts[1:], strict=True):
        output += [line, "      " + clip(text, max(_LEAST_TEXT, width() - 6))]
    return output
