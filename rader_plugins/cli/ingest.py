"""From a source to an index: check everything first, then add what is not stored yet."""

from __future__ import annotations

import contextlib
import itertools
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rader_plugins.cli.output import count, note, progress
from rader_plugins.documents import Document
from rader_plugins.errors import InputError, TruncationWarning
from rader_plugins.files import canonical_json
from rader_plugins.sources import Report, Source

if TYPE_CHECKING:
    from rader_plugins.index import RaderIndex

__all__ = ["Outcome", "Survey", "committed", "ingest", "survey"]

# Documents per commit: as many as take about this long, so that an interruption loses little and large batches
# still fill a GPU.
_COMMIT_SECONDS = 4.0
_FIRST_BATCH, _LARGEST_BATCH = 32, 4096


@dataclass(frozen=True)
class Survey:
    """A source that was read through once and found usable.

    Args:
        places: Id of every document -> number for :meth:`Source.place`.
        report: What was skipped and mended.
    """

    source: Source
    places: dict[str, int] = field(default_factory=dict)
    report: Report = field(default_factory=Report)


@dataclass
class Outcome:
    """How many documents an ingestion touched, and how many of those encoded were longer than the model takes."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    removed: int = 0
    truncated: int = 0


def survey(source: Source) -> Survey:
    """Read a source through.

    Raises:
        InputError: An id stands twice (both places are named), a document is unusable, or there are none.
    """
    from rader_plugins.index.writer import prepare

    found = Survey(source)
    with progress("Reading") as advance:
        for number, document in source.read(found.report):
            try:
                prepare(document)
            except InputError as error:
                raise InputError(f"{source.place(number)}: {error}") from None
            first = found.places.setdefault(document.id, number)
            if first != number:
                raise InputError(
                    f"The id {document.id!r} stands twice: {source.place(first)} and {source.place(number)}. "
                    "Nothing was encoded; make ids unique."
                )
            advance(1)
    if not found.places:
        skipped = f" ({count(found.report.empty, 'empty text')} skipped)" if found.report.empty else ""
        raise InputError(f"{source.path} holds no documents{skipped}.")
    return found


def ingest(index: RaderIndex, found: Survey, *, prune: bool = False) -> Outcome:
    """Add the documents of a source; what is stored already with the same text and metadata is left alone.

    Chunks of a document that was read anew and is split otherwise now are removed.

    Args:
        index: Where they go.
        found: The source.
        prune: Also remove every document that is not in the source.
    """
    outcome = Outcome()
    outdated = _outdated(index, found, prune)
    with progress("Encoding", len(found.places)) as advance:
        documents = (document for _, document in found.source.read(Report()))
        size = _FIRST_BATCH
        while batch := list(itertools.islice(documents, size)):
            started = time.monotonic()
            stored = {document.id: document for document in index.get([document.id for document in batch])}
            fresh = [document for document in batch if not _same(stored.get(document.id), document)]
            if fresh:
                outcome.truncated += _add(index, fresh)
            replaced = sum(document.id in stored for document in fresh)
            outcome.added += len(fresh) - replaced
            outcome.replaced += replaced
            outcome.unchanged += len(batch) - len(fresh)
            advance(len(batch))
            if time.monotonic() - started < _COMMIT_SECONDS / 2:
                size = min(2 * size, _LARGEST_BATCH)
    if outdated:
        outcome.removed = index.delete(outdated)
    return outcome


def _add(index: RaderIndex, documents: list[Document]) -> int:
    """Add documents; return how many were cut."""
    before = getattr(index.encoder, "truncated", 0)
    with warnings.catch_warnings():
        # The encoder warns once, with the figure of its first batch; the summary has them all.
        warnings.simplefilter("ignore", TruncationWarning)
        index.add(documents)
    return int(getattr(index.encoder, "truncated", 0) - before)


@contextlib.contextmanager
def committed(index: RaderIndex, folder: object) -> Iterator[None]:
    """Say what is stored if the block is cut short."""
    try:
        yield
    except BaseException:
        note(f"Stopped: {count(len(index), 'document')} committed in {folder}. The same command goes on from there.")
        raise


def _outdated(index: RaderIndex, found: Survey, prune: bool) -> list[str]:
    if not len(index):
        return []
    ids = found.places
    parents = {_parent(document) for _, document in found.source.read(Report())}
    return [
        document.id
        for document in index.documents()
        if document.id not in ids and (prune or _parent(document) in parents)
    ]


def _parent(document: Document) -> str:
    """Return the id of the document that a chunk was cut from; of a whole document, its own."""
    parent, chunk = document.metadata.get("parent_id"), document.metadata.get("chunk")
    return str(parent) if document.id == f"{parent}#{chunk}" else document.id


def _same(stored: Document | None, document: Document) -> bool:
    # As JSON, so that true and 1, which Python takes for equal, differ.
    return (
        stored is not None
        and stored.text == document.text
        and canonical_json(stored.metadata) == canonical_json(document.metadata)
    )
