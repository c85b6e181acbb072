"""What ``rader samples`` works with: the language model and the documents."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rader_plugins.cli.llm_choice import LLMChoice
from rader_plugins.cli.options import ModelChoice, open_index
from rader_plugins.errors import InputError

if TYPE_CHECKING:
    from rader_plugins.index import Index
    from rader_synthesis.config import PromptStyle
    from rader_synthesis.sampling import QueryWriter, SamplingConfig

__all__ = ["Asked", "documents_of", "kinds_of", "query_writer"]


@dataclass(frozen=True)
class Asked:
    """The language model that was named, and the file that keeps its answers."""

    llm: LLMChoice
    style: PromptStyle
    prompts: Path | None
    calls: Path


def kinds_of(text: str | None, llm: bool) -> tuple[str, ...]:
    """Return the kinds that were named; without, the paper's that are possible."""
    from rader_plugins.query_kinds import KINDS

    if text is None:
        return tuple(name for name, kind in KINDS.items() if llm or not kind.written)
    # What is no kind is refused by the configuration.
    return tuple(part.strip() for part in text.split(","))


@contextlib.contextmanager
def query_writer(
    asked: Asked,
    config: SamplingConfig,
    concurrency: int,
    retries: int,
    limits: tuple[int | None, int | None, float | None],
) -> Iterator[QueryWriter | None]:
    """Give what writes queries; None where no kind needs it."""
    from rader_plugins.llm import Budget, BudgetedLLM, CachedChat
    from rader_plugins.query_kinds import query_kind
    from rader_synthesis.sampling import QueryWriter
    from rader_synthesis.sampling.ledger import Ledger

    wanted = [name for name in config.kinds if query_kind(name).written]
    if not asked.llm.is_given:
        if wanted:
            raise InputError(f"--kinds {','.join(wanted)} needs a language model: --llm-url URL.")
        yield None
        return
    if not wanted:
        raise InputError("--llm-url is for the kinds llm and lexical, which --kinds leaves out.")
    with asked.llm.connect(concurrency=concurrency, max_retries=retries) as server:
        budget = Budget(calls=limits[0], tokens=limits[1], minutes=limits[2])
        # An answer that says nothing is asked for again under another seed: keeping it saves the call in a rerun.
        llm = CachedChat(BudgetedLLM(server, budget), asked.calls, keep_empty=True)
        yield QueryWriter(
            llm,
            style=asked.style,
            prompts=asked.prompts,
            concurrency=concurrency,
            ledger=Ledger(asked.calls),
        )


@contextlib.contextmanager
def documents_of(corpus: Path | None, index: Path | None, choice: ModelChoice) -> Iterator[tuple[Index | None, bool]]:
    """Give the documents and whether they have vectors of a model."""
    if index is not None:
        with open_index(index, choice) as opened:
            yield opened, opened.recipe is not None
        return
    if corpus is None:
        if choice.given:
            raise InputError("--model makes vectors of a corpus: give --corpus PATH.")
        yield None, False
        return
    from rader_plugins.cli.output import progress
    from rader_plugins.index import RaderIndex
    from rader_plugins.ingestion import ingest, open_source, survey
    from rader_synthesis.sampling import bm25_index

    found = survey(open_source(corpus), progress=progress)
    with tempfile.TemporaryDirectory(prefix="rader-samples-") as folder:
        if choice.model is None:
            with bm25_index(Path(folder) / "index", found.source.documents()) as opened:
                yield opened, False
        else:
            with RaderIndex.create(Path(folder) / "index", choice.load()) as opened:
                ingest(opened, found, progress=progress)
                yield opened, True
