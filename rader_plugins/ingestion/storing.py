"""From a source that was found usable to an index: only what is not stored yet is encoded."""

from __future__ import annotations

import itertools
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rader_plugins.documents import Document
from rader_plugins.errors import InputError, RefusedDocumentsError, TruncationWarning
from rader_plugins.ingestion.chunking import parent_id
from rader_plugins.ingestion.findings import Findings
from rader_plugins.ingestion.survey import Progress, Survey, no_progress

if TYPE_CHECKING:
    from rader_plugins.index import Index

__all__ = ["Outcome", "add_batch", "check_pruning", "ingest"]

# Documents per commit: as many as take about this long, so that an interruption loses little and large batches
# still fill a GPU.
_COMMIT_SECONDS = 4.0
_FIRST_BATCH, _LARGEST_BATCH = 32, 4096


@dataclass
class Outcome:
    """What an ingestion did.

    Attributes:
        added, replaced, unchanged, removed: How many documents were added, replaced, left as they were, and removed.
        encoded: How many texts the model read; a text that stands under its id already keeps its vector.
        truncated: Ids of those encoded that were longer than the model reads.
        refused: Id -> why of documents whose texts the model's server refuses; the others are stored.
        not_pruned: Why nothing was removed although that was asked for.
        kept: Ids of documents that are not removed since their file is there, though what it holds now is no text, or
            rows without ids, of which one may be theirs.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    removed: int = 0
    encoded: int = 0
    truncated: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    not_pruned: str | None = None
    kept: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether the index differs from before."""
        return bool(self.added or self.replaced or self.removed)


def ingest(
    index: Index,
    survey: Survey,
    *,
    prune: bool = False,
    progress: Progress = no_progress,
) -> Outcome:
    """Add the documents of a source; what is stored already with the same text and metadata is left alone.

    Chunks of a document that was read anew and is split otherwise now are removed.

    Args:
        index: The index that the documents are added to.
        survey: The source, which was read through.
        prune: Also remove every document that is not in the source, unless a part of the source could not be read:
            what was not seen is not known to be gone. What was made from a file that is there, and holds something else
            than text now, stays too.
        progress: Shows how far it is.
    """
    outcome, findings = Outcome(unchanged=survey.unchanged), Findings()
    surplus, superseded = _outdated(index, survey)
    if not prune:
        surplus = {}
    elif reason := survey.findings.incomplete:
        surplus, outcome.not_pruned = {}, reason
    with progress("Encoding", len(survey.origins) - survey.unchanged) as advance:
        documents = survey.documents(findings)
        size = _FIRST_BATCH
        while batch := list(itertools.islice(documents, size)):
            started = time.monotonic()
            add_batch(index, batch, outcome)
            advance(len(batch))
            if time.monotonic() - started < _COMMIT_SECONDS / 2:
                size = min(2 * size, _LARGEST_BATCH)
    # A file of rows may have become unreadable since it was first read.
    survey.findings.update(findings, ("unreadable", "faulty", "binary"))
    if surplus and (reason := survey.findings.incomplete):
        surplus, outcome.not_pruned = {}, reason
    unclear = _unclear_files(survey.findings)
    outcome.kept = [id for id, file in surplus.items() if file in unclear]
    if outdated := [*superseded, *(surplus.keys() - outcome.kept)]:
        outcome.removed = index.delete(outdated)
    return outcome


def check_pruning(index: Index, survey: Survey) -> None:
    """Refuse a source of which it is not known that the index was built from it, if it lacks most documents.

    Raises:
        InputError: Pruning would remove more than half of the documents.
    """
    surplus, _ = _outdated(index, survey)
    if 2 * len(surplus) > len(index):
        raise InputError(
            f"--prune would remove {len(surplus):,} of {len(index):,} documents, as {survey.source.path} does not hold "
            "them, and the index was not built from there, or with other patterns, as far as it remembers. Nothing was "
            "done. If it takes the place of the old source, say --new-source."
        )


def add_batch(index: Index, documents: list[Document], outcome: Outcome) -> None:
    """Add documents, and count what became of them."""
    from rader_plugins.encoding.truncation import collect_truncated  # brings numpy, which `rader --help` can do without

    with warnings.catch_warnings(), collect_truncated() as truncated:
        # The encoder warns once, with the figure of its first batch; the summary has them all.
        warnings.simplefilter("ignore", TruncationWarning)
        try:
            report = index.add(documents)
        except RefusedDocumentsError as error:
            report = error.report
            outcome.refused |= error.refused
    outcome.added += report.added
    outcome.replaced += report.replaced
    outcome.unchanged += report.unchanged
    outcome.encoded += report.encoded
    outcome.truncated += [document.id for document in documents if document.text in truncated]


def _unclear_files(findings: Findings) -> set[str]:
    """Return files that are there, of which it is not known what has become of their documents."""
    rows = findings.names.get("unnamed", {})
    return {*findings.names.get("binary", {}), *(row.rpartition(", row ")[0] for row in rows)}


def _outdated(index: Index, survey: Survey) -> tuple[dict[str, str], list[str]]:
    """Return id -> file of what the source lacks, and the ids of chunks that others replace."""
    surplus: dict[str, str] = {}
    superseded: list[str] = []
    if len(index):
        from rader_plugins.index import read_documents

        for document in read_documents(index):
            if document.id in survey.origins:
                continue
            if (parent := parent_id(document)) in survey.parents:
                superseded.append(document.id)
            else:
                surplus[document.id] = str(document.metadata.get("path", parent))
    return surplus, superseded
