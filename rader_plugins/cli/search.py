"""``rader search``."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rader_plugins.cli.hits import HitTexts, ShownHit, details, group_hits, hit_object, hit_table
from rader_plugins.cli.llm_choice import NO_LLM, LLMChoice
from rader_plugins.cli.option_groups import with_option_groups
from rader_plugins.cli.options import (
    OWN_MODEL,
    IndexFolder,
    JsonOutput,
    ModelChoice,
    SearchMode,
    check_ranking,
    complete_model,
    open_index,
    parse_filter,
)
from rader_plugins.cli.output import emit_json, note, one_line
from rader_plugins.errors import InputError
from rader_plugins.text_files import read_lines

if TYPE_CHECKING:
    from rader_plugins.documents import Hit
    from rader_plugins.index import Index
    from rader_plugins.retrieval import RaderRetriever

__all__ = ["HitOutput", "Stages", "search"]

_BATCH = 256
_REASONING_AT_ONCE = 8


@dataclass(frozen=True)
class Stages:
    """What is done before and after the search itself."""

    rerank: Annotated[
        str | None,
        typer.Option(
            "--rerank",
            metavar="NAME",
            autocompletion=complete_model,
            help="Reranker for the best hits: registered name, model directory or hub id.",
        ),
    ] = None
    rerank_top: Annotated[
        int | None,
        typer.Option("--rerank-top", min=1, help="How many hits the reranker sees. Default: 100.", metavar="N"),
    ] = None
    reasoning: Annotated[
        bool,
        typer.Option(
            "--reasoning", help="Let a language model (--llm-url) write the reasoning that is searched for first."
        ),
    ] = False

    def check(self, llm: LLMChoice) -> None:
        """Refuse options that would have no effect."""
        if self.rerank_top is not None and self.rerank is None:
            raise InputError("--rerank-top goes with --rerank.")
        if self.reasoning and not llm.is_given:
            raise InputError("--reasoning needs a language model: name its server with --llm-url URL.")
        if not self.reasoning and llm.is_given:
            raise InputError("The language model (--llm-url) has nothing to do: add --reasoning.")

    def retriever(self, index: Index, mode: str, choice: ModelChoice, llm: LLMChoice) -> RaderRetriever:
        """Return what searches."""
        from rader_plugins.reranking import load_reranker
        from rader_plugins.retrieval import RaderRetriever, ReasoningQuery

        reasoning = None
        if self.reasoning:
            reasoning = ReasoningQuery(llm.connect(concurrency=_REASONING_AT_ONCE))
        reranker = (
            None if self.rerank is None else load_reranker(self.rerank, device=choice.device, backend=choice.backend)
        )
        return RaderRetriever(
            index,
            mode,  # type: ignore[arg-type]  # of the enumeration
            reranker=reranker,
            rerank_top=100 if self.rerank_top is None else self.rerank_top,
            reasoning=reasoning,
        )


@dataclass(frozen=True)
class HitOutput:
    """How hits are written."""

    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Say why each hit is where it is: terms that match, ranks and scores of each list."
        ),
    ] = False
    group: Annotated[
        bool, typer.Option("--group", help="Show each document once, by its best chunk; -k counts documents.")
    ] = False
    context: Annotated[
        int | None,
        typer.Option(
            "--context", min=0, metavar="N", help="Also print N neighbours on each side: chunks, or lines of a text."
        ),
    ] = None
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Write one JSON object per hit and line.")] = False
    ids: Annotated[bool, typer.Option("--ids", help="Write the ids alone, one per line.")] = False

    def check(self, *, json: bool) -> None:
        """Refuse what does not go together."""
        formats = [name for name, wanted in (("--json", json), ("--jsonl", self.jsonl), ("--ids", self.ids)) if wanted]
        if len(formats) > 1:
            raise InputError(f"{' and '.join(formats)} are different forms of the same hits: choose one.")
        if self.ids and (self.explain or self.context is not None):
            raise InputError("--ids writes no texts: --explain and --context have no effect beside it.")

    @property
    def is_detailed(self) -> bool:
        """Whether hits stand one below the other, not in a table."""
        return self.explain or bool(self.context)


@with_option_groups
def search(
    folder: IndexFolder,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The question; - reads one per line from stdin.")],
    k: Annotated[int, typer.Option("-k", min=0, help="How many hits.", metavar="N")] = 10,
    mode: Annotated[SearchMode, typer.Option("--mode", help="How documents are ranked.")] = SearchMode.hybrid,
    alpha: Annotated[
        float | None,
        typer.Option(
            "--alpha", min=0, max=1, help="Weight of the dense score in hybrid mode. Default: 0.8.", metavar="X"
        ),
    ] = None,
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
    stages: Stages = Stages(),
    llm: LLMChoice = NO_LLM,
    choice: ModelChoice = OWN_MODEL,
    output: HitOutput = HitOutput(),
    json: JsonOutput = False,
) -> None:
    """Search an index.

    The index remembers its model; --model is needed only if that has moved or is behind a URL. The text shown is the
    passage whose words match best, else the beginning.
    With --json: a list of hits; for QUERY -, one JSON object per line with "query" and "hits".
    """
    condition = parse_filter(filter)
    instruction = _instruction(instruction)
    if not query.strip():
        raise InputError("The query is empty.")
    output.check(json=json)
    stages.check(llm)
    check_ranking(mode, alpha, instruction)
    is_idle = replace(choice, device=None).is_given or (choice.device is not None and stages.rerank is None)
    if mode is SearchMode.bm25 and is_idle:
        raise InputError("--mode bm25 compares no vectors: --model and its options have no effect.")
    options = {"filter": condition, "mode": mode.value, "alpha": alpha, "instruction": instruction}
    own = OWN_MODEL if mode is SearchMode.bm25 else choice
    with contextlib.closing(open_index(folder, own)) as index:
        if mode is not SearchMode.bm25 and k > 0:
            _check_loadable(index, choice)
        shows = not (json or output.jsonl or output.ids)
        options["explain"] = (output.explain or shows or bool(output.context)) and "terms" in index.capabilities
        if output.explain and not options["explain"]:
            raise InputError("This index cannot explain its hits.")
        call = _Search(stages.retriever(index, mode.value, choice, llm), k, exclude or (), options, output.group)
        writer = _Writer(output, json, HitTexts(index, output.context or 0))
        if query != "-":
            writer.write_single(call([query])[0])
            return
        for queries in _lines():
            for text, hits in zip(queries, call(queries), strict=True):
                writer.write_next(text, hits)


@dataclass(frozen=True)
class _Search:
    """Finds hits for some queries."""

    retriever: RaderRetriever
    k: int
    exclude: Sequence[str]
    options: dict[str, Any]
    is_grouped: bool

    def __call__(self, queries: Sequence[str]) -> list[list[ShownHit]]:
        if not self.is_grouped or self.k == 0:
            return [[ShownHit(hit) for hit in hits] for hits in self._search(queries, self.k)]
        answers: list[list[ShownHit]] = [[] for _ in queries]
        depth, left = 4 * self.k, list(range(len(queries)))
        while left:
            rankings = self._search([queries[position] for position in left], depth)
            unfinished = []
            for position, hits in zip(left, rankings, strict=True):
                groups = group_hits(hits)
                answers[position] = groups[: self.k]
                if len(groups) < self.k and len(hits) == depth:
                    unfinished.append(position)
            depth, left = 4 * depth, unfinished
        return answers

    def _search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return self.retriever.search_batch(queries, k, exclude_ids=[self.exclude] * len(queries), **self.options)


class _Writer:
    """Writes hits in the form that was asked for."""

    def __init__(self, output: HitOutput, json: bool, texts: HitTexts) -> None:
        self._output = output
        self._json = json
        self._texts = texts
        self._number = 0

    def _objects(self, hits: Sequence[ShownHit]) -> list[dict[str, Any]]:
        explain, grouped = self._output.explain, self._output.group
        return [hit_object(hit, self._texts, explain=explain, grouped=grouped) for hit in hits]

    def write_single(self, hits: Sequence[ShownHit]) -> None:
        """Write the hits of the only query."""
        if self._json:
            emit_json(self._objects(hits))
        elif self._output.jsonl:
            for hit in self._objects(hits):
                emit_json(hit, indent=None)
        elif self._output.ids:
            for shown in hits:
                typer.echo(_id_line(shown.hit.document.id))
        else:
            self._show(hits)

    def write_next(self, query: str, hits: Sequence[ShownHit]) -> None:
        """Write the hits of the next of many queries."""
        self._number += 1
        if self._json:
            emit_json({"query": query, "hits": self._objects(hits)}, indent=None)
        elif self._output.jsonl:
            for hit in self._objects(hits):
                emit_json({"query": query, **hit}, indent=None)
        elif self._output.ids:
            for shown in hits:
                typer.echo(f"{self._number}\t{_id_line(shown.hit.document.id)}")
        else:
            typer.echo(("" if self._number == 1 else "\n") + f"> {one_line(query)}")
            self._show(hits)

    def _show(self, hits: Sequence[ShownHit]) -> None:
        if not hits:
            note("No hits.")
        elif self._output.is_detailed:
            typer.echo("\n".join(details(hits, self._texts, explain=self._output.explain)))
        else:
            typer.echo("\n".join(hit_table(hits, self._texts)))


def _id_line(id: str) -> str:
    if len(id.splitlines()) > 1:
        raise InputError(f"The id {id!r} has line breaks: --jsonl writes such ids.")
    return id


def _check_loadable(index: Index, choice: ModelChoice) -> None:
    if index.recipe is None:
        raise InputError("The index holds no vectors, only words: search it with --mode bm25.")
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
    first = next(queries, None)
    if first is None:
        raise InputError("No query came on the standard input: QUERY - takes one a line.")
    batches = itertools.chain([first], queries)
    while batch := list(itertools.islice(batches, _BATCH)):
        yield batch
