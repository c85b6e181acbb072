"""How ``rader import`` reads rows, and where the documents are that they name."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rader_plugins.cli.index_place import IndexPlace
from rader_plugins.cli.options import SearchMode, open_index
from rader_plugins.errors import InputError

if TYPE_CHECKING:
    from rader_synthesis.importing import Corpus, FileImporter, ImportOptions

__all__ = ["DEFAULT_READING", "NO_DOCUMENTS", "ImportDocuments", "RowReading"]


class FollowUps(str, Enum):
    """What becomes of questions after the first of a conversation."""

    carry = "carry"
    leave_out = "leave-out"


class Fragments(str, Enum):
    """What becomes of a result that is a part of a document of the corpus."""

    put_together = "join"
    keep = "keep"


@dataclass(frozen=True)
class ImportDocuments:
    """The documents that rows name, and how solutions are searched in them."""

    corpus: Annotated[
        Path | None,
        typer.Option("--corpus", metavar="PATH", help="The documents: folder of texts, BEIR folder or .jsonl."),
    ] = None
    index: Annotated[
        IndexPlace | None,
        typer.Option(
            "--index",
            metavar="INDEX",
            help="Index of the documents, a folder or an engine's URL; solutions are searched in it.",
            parser=IndexPlace,
        ),
    ] = None
    fragments: Annotated[
        Fragments | None,
        typer.Option(
            "--fragments", help="Make a result that is a part of a document that document (join, default), or not."
        ),
    ] = None
    mode: Annotated[SearchMode | None, typer.Option("--mode", help="How solutions are searched. Default: hybrid.")] = (
        None
    )
    k: Annotated[
        int | None, typer.Option("-k", min=1, help="Documents found for a step of a solution. Default: 5.", metavar="N")
    ] = None

    def check(self) -> None:
        """Refuse an option that would have no effect.

        Raises:
            InputError: Parts of documents are spoken of, and no documents are named.
        """
        if self.fragments is not None and self.corpus is None and self.index is None:
            raise InputError("--fragments is about parts of documents: it goes with --corpus or --index.")

    def opened(self, stack: contextlib.ExitStack) -> tuple[Corpus | None, Any]:
        """Return the documents that results are looked up in, and what solutions are searched with."""
        from rader_plugins.index import read_documents
        from rader_plugins.ingestion import open_source
        from rader_plugins.retrieval import RaderRetriever
        from rader_synthesis.importing import Corpus

        opened = None
        if self.index is not None:
            opened = stack.enter_context(contextlib.closing(open_index(self.index)))
        searcher = None if opened is None else RaderRetriever(opened, (self.mode or SearchMode.hybrid).value)
        fragments: Any = (self.fragments or Fragments.put_together).value
        if self.corpus is not None:
            return Corpus(open_source(self.corpus).documents(), fragments=fragments), searcher
        return (None if opened is None else Corpus(read_documents(opened), fragments=fragments)), searcher


@dataclass(frozen=True)
class RowReading:
    """How rows are read, as far as their kind leaves it open."""

    tool: Annotated[
        list[str] | None,
        typer.Option(
            "--tool", metavar="NAME", help="A search tool; repeatable. Default: by name and by what they return."
        ),
    ] = None
    follow_ups: Annotated[
        FollowUps | None,
        typer.Option(
            "--follow-ups", help="Questions after the first carry their conversation (default), or are left out."
        ),
    ] = None
    prompt_pattern: Annotated[
        str | None,
        typer.Option(
            "--prompt-pattern",
            metavar="REGEX",
            help="Finds documents in prompts, by the groups documents and question.",
        ),
    ] = None
    scale: Annotated[
        str | None, typer.Option("--scale", metavar="WORST-BEST", help="Scale of ratings, such as 1-5.")
    ] = None
    score: Annotated[
        list[str] | None,
        typer.Option("--score", metavar="NAME", help="Of several named scores, one that is feedback; repeatable."),
    ] = None
    group_by: Annotated[
        str | None,
        typer.Option(
            "--group-by", metavar="FIELD", help="Rows with the same value of this field are one conversation."
        ),
    ] = None
    function: Annotated[
        str | None,
        typer.Option("--function", metavar="MODULE:NAME", help="With function: takes a row, returns a Trajectory."),
    ] = None
    redact: Annotated[
        str | None,
        typer.Option(
            "--redact", metavar="MODULE:NAME", help="Applied to every text; presidio takes out what it recognises."
        ),
    ] = None
    keep_all: Annotated[bool, typer.Option("--keep-all", help="Also write trajectories without a retrieval.")] = False
    skip_faulty: Annotated[
        bool, typer.Option("--skip-faulty", help="Count rows that cannot be used instead of ending at the first.")
    ] = False

    def check(self, kind: str, importer: type[FileImporter], documents: ImportDocuments) -> None:
        """Refuse options that an importer has no use for.

        Raises:
            InputError: One is for other kinds.
        """
        if (self.function is not None) != ("function" in importer.takes):
            raise InputError("--function names what `rader import function` calls on every row; they go together.")
        for name, option, value in (
            ("tools", "--tool", self.tool),
            ("scale", "--scale or --score", self.scale or self.score),
            ("group_by", "--group-by", self.group_by),
            ("follow_ups", "--follow-ups", self.follow_ups),
            ("prompts", "--prompt-pattern", self.prompt_pattern),
            ("searcher", "--mode", documents.mode),
            ("k", "-k", documents.k),
        ):
            if value and name not in importer.takes:
                raise InputError(f"{option} goes with other kinds than {kind}, which has no use for it.")

    def options(self, **documents: Any) -> ImportOptions:
        """Return what an importer takes.

        Args:
            **documents: Options that are about documents; those that are None are left out.
        """
        from rader_synthesis.importing import ImportOptions, PromptDocuments, Scale, load_function
        from rader_synthesis.redaction import load_redaction

        options: dict[str, Any] = {
            "tools": self.tool,
            "group_by": self.group_by,
            "follow_ups": self.follow_ups and self.follow_ups.value,
            "keep_all": self.keep_all,
            "skip_faulty": self.skip_faulty,
            **documents,
        }
        if self.scale or self.score:
            options["scale"] = replace(Scale.parse(self.scale or "0-1"), names=frozenset(self.score or ()))
        if self.prompt_pattern is not None:
            options["prompts"] = PromptDocuments(self.prompt_pattern)
        if self.function is not None:
            options["function"] = load_function(self.function)
        if self.redact is not None:
            options["redact"] = load_redaction(self.redact)
        return ImportOptions(**{name: value for name, value in options.items() if value is not None})


NO_DOCUMENTS, DEFAULT_READING = ImportDocuments(), RowReading()
