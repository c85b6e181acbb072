"""The options of ``rader samples``, in groups."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rader_plugins.cli.index_place import IndexPlace
from rader_plugins.cli.llm_choice import LLMChoice
from rader_plugins.cli.options import ModelChoice, open_index
from rader_plugins.errors import InputError
from rader_plugins.files import read_toml
from rader_synthesis.cli.asking_options import DEFAULT_ASKING, AskingOptions, Style

if TYPE_CHECKING:
    from rader_plugins.index import Index
    from rader_synthesis.sampling import QueryWriter, SamplingConfig

__all__ = ["DocumentOptions", "SamplingOptions", "WritingOptions"]


class Negatives(str, Enum):
    """When negatives are searched for queries that reflection has judged documents for."""

    auto = "auto"
    always = "always"
    never = "never"


class PositivesFrom(str, Enum):
    """Which documents of a retrieval are positives."""

    kept = "kept"
    relevant = "relevant"


@dataclass(frozen=True)
class SamplingOptions:
    """What becomes a sample; None leaves it to ``--config``, and that to the default."""

    kinds: Annotated[
        str | None,
        typer.Option(
            "--kinds",
            metavar="K,K",
            help="Of question, cot, llm, lexical. Default: all with --llm-url, else the first two.",
        ),
    ] = None
    positives: Annotated[
        PositivesFrom | None,
        typer.Option("--positives", help="kept (default): what the solution went on with; relevant: all labelled so."),
    ] = None
    without_reward: Annotated[
        bool | None,
        typer.Option(
            "--without-reward/--with-reward",
            help="Also use unjudged answers, with labels of a proof, a citation, what was opened or a human.",
        ),
    ] = None
    min_reward: Annotated[
        float | None,
        typer.Option("--min-reward", help="Least reward of a right answer, 0 to 1. Default: 1.", metavar="X"),
    ] = None
    negatives: Annotated[
        Negatives | None,
        typer.Option("--negatives", help="Search negatives: where there are too few (auto, default), always or never."),
    ] = None
    enough: Annotated[
        int | None,
        typer.Option(
            "--enough",
            min=0,
            help="With --negatives auto: negatives that a sample should have. Default: 11.",
            metavar="N",
        ),
    ] = None
    relative_margin: Annotated[
        float | None,
        typer.Option(
            "--relative-margin", metavar="R", help="A found negative scores below R times its positive, such as 0.95."
        ),
    ] = None
    absolute_margin: Annotated[
        float | None,
        typer.Option("--absolute-margin", metavar="M", help="A found negative scores M below its positive."),
    ] = None
    ngram: Annotated[
        int | None,
        typer.Option(
            "--ngram", min=2, help="Words in a row that count as the same question. Default: 13.", metavar="N"
        ),
    ] = None
    near_duplicates: Annotated[
        float | None,
        typer.Option(
            "--near-duplicates",
            help="Similarity of equal queries; 1 removes equal 3-grams only. Default: 0.8.",
            metavar="X",
        ),
    ] = None
    dev_share: Annotated[
        float | None, typer.Option("--dev-share", help="Share of problems for validation. Default: 0.05.", metavar="X")
    ] = None
    max_overlap: Annotated[
        float | None,
        typer.Option(
            "--max-overlap", help="Most of an llm query's words that its document may hold. Default: 0.5.", metavar="X"
        ),
    ] = None
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of everything random. Default: 0.", metavar="N")
    ] = None

    def config(self, file: Path | None, *, has_llm: bool) -> SamplingConfig:
        """Return the parameters: defaults, then the table ``[samples]`` of a file, then the options.

        Raises:
            InputError: The file is unusable, or a value is outside its range.
        """
        from rader_plugins.query_kinds import KINDS
        from rader_synthesis.config import from_table
        from rader_synthesis.sampling import SamplingConfig

        tables = read_toml(file) if file is not None else {}
        if unknown := sorted(set(tables) - {"samples"}):
            raise InputError(f"{file} has the unknown {', '.join(map(repr, unknown))}; known: the table [samples].")
        table = tables.get("samples", {})
        if not isinstance(table, dict):
            raise InputError(f"{file}: 'samples' must be a table: [samples].")
        possible = tuple(name for name, kind in KINDS.items() if has_llm or not kind.written)
        values: Mapping[str, Any] = {"kinds": possible, **table, **self._values()}
        return from_table(SamplingConfig, values, f"{file}, [samples]" if table else "rader samples")

    def _values(self) -> dict[str, Any]:
        options = {
            "kinds": None if self.kinds is None else tuple(name.strip() for name in self.kinds.split(",")),
            "positives": None if self.positives is None else self.positives.value,
            "mine": None if self.negatives is None else self.negatives.value,
        }
        names = {field.name for field in fields(self)} - {"kinds", "positives", "negatives"}
        options |= {name: getattr(self, name) for name in names}
        return {name: value for name, value in options.items() if value is not None}


@dataclass(frozen=True)
class DocumentOptions:
    """Where the documents are."""

    corpus: Annotated[
        Path | None,
        typer.Option("--corpus", metavar="PATH", help="The documents: folder of texts, BEIR folder or .jsonl."),
    ] = None
    index: Annotated[
        IndexPlace | None,
        typer.Option(
            "--index",
            metavar="INDEX",
            help="An index of the documents, a folder or an engine's URL, instead of --corpus.",
            parser=IndexPlace,
        ),
    ] = None

    @property
    def name(self) -> str:
        """What the card calls the documents."""
        if self.corpus is None and self.index is not None:
            return self.index.folder.name if self.index.folder is not None else str(self.index)
        return (self.corpus or Path("none")).name

    def check(self, choice: ModelChoice) -> None:
        """Refuse options that do not go together.

        Raises:
            InputError: Both places are named, or a model and nothing to encode.
        """
        if self.corpus is not None and self.index is not None:
            raise InputError("Say where the documents are: either --corpus PATH or --index DIR.")
        if self.corpus is None and self.index is None and choice.is_given:
            raise InputError("--model makes vectors of a corpus: give --corpus PATH.")

    @contextlib.contextmanager
    def opened(self, choice: ModelChoice) -> Iterator[tuple[Index | None, bool]]:
        """Give the documents and whether they have vectors of a model."""
        self.check(choice)
        if self.index is not None:
            with contextlib.closing(open_index(self.index, choice)) as opened:
                yield opened, opened.recipe is not None
            return
        if self.corpus is None:
            yield None, False
            return
        from rader_plugins.cli.output import progress
        from rader_plugins.index import RaderIndex
        from rader_plugins.ingestion import ingest, open_source, survey
        from rader_synthesis.sampling import bm25_index

        surveyed = survey(open_source(self.corpus), progress=progress)
        surveyed.warn()
        with tempfile.TemporaryDirectory(prefix="rader-samples-") as folder:
            if choice.model is None:
                with bm25_index(Path(folder) / "index", surveyed.documents()) as opened:
                    yield opened, False
            else:
                with RaderIndex.create(Path(folder) / "index", choice.load()) as opened:
                    ingest(opened, surveyed, progress=progress)
                    yield opened, True


@dataclass(frozen=True)
class WritingOptions:
    """How the language model is asked for queries."""

    style: Annotated[
        Style, typer.Option("--style", help="How it is asked; completion for a model not trained to chat.")
    ] = Style.chat
    prompts: Annotated[
        Path | None, typer.Option("--prompts", metavar="DIR", help="Folder with your own llm.toml and lexical.toml.")
    ] = None
    calls: Annotated[
        Path | None,
        typer.Option("--calls", metavar="FILE", help="Cache of its answers. Default: DIR.calls.sqlite beside --out."),
    ] = None

    def calls_file(self, out: Path) -> Path:
        """Return the file that keeps the model's answers."""
        return self.calls or out.with_name(f"{out.name}.calls.sqlite")

    @contextlib.contextmanager
    def writer(
        self, llm: LLMChoice, asking: AskingOptions, config: SamplingConfig, out: Path
    ) -> Iterator[QueryWriter | None]:
        """Give what writes queries; None where no kind needs it.

        Raises:
            InputError: A kind needs a model and none was named, or the other way round.
        """
        from rader_plugins.llm import CachedChat
        from rader_plugins.query_kinds import query_kind
        from rader_synthesis.sampling import QueryWriter
        from rader_synthesis.sampling.ledger import Ledger

        written_kinds = [name for name in config.kinds if query_kind(name).written]
        if not llm.is_given:
            if written_kinds:
                raise InputError(f"--kinds {','.join(written_kinds)} needs a language model: --llm-url URL.")
            if (self, asking) != (WritingOptions(), DEFAULT_ASKING):
                raise InputError("Options of how a language model is asked need one: --llm-url URL.")
            yield None
            return
        if not written_kinds:
            raise InputError("--llm-url is for the kinds llm and lexical, which are left out here.")
        calls = self.calls_file(out)
        with asking.connected(llm) as (_, budgeted):
            # An answer that says nothing is asked for again under another seed: keeping it saves the call in a rerun.
            cached = CachedChat(budgeted, calls, keep_empty=True)
            yield QueryWriter(
                cached,
                style=self.style.value,
                prompts=self.prompts,
                concurrency=asking.concurrency,
                ledger=Ledger(calls),
            )
