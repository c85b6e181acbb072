"""Writing to an engine: only what changed is encoded and sent, and nothing is reported that is not stored."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy.typing as npt

from rader_plugins.background import Workers
from rader_plugins.engines.collection import Collection, Row
from rader_plugins.engines.counting import CountedTexts, FirstAdd
from rader_plugins.engines.header import Header, fresh_stamp, remove_orphans, write_statistics
from rader_plugins.engines.moments import MOST_DRIFT, Moments
from rader_plugins.engines.row_making import check_limits, check_terms, digest_of, metadata_digest, row_of
from rader_plugins.engines.sparse import Counts, TermWeights, count_terms, term_counts
from rader_plugins.engines.statistics import Statistics, StatisticsBuilder
from rader_plugins.errors import EngineError
from rader_plugins.index.adding import Prepared, encode_texts
from rader_plugins.index.encoders import EncoderSlot
from rader_plugins.index.protocol import AddReport

__all__ = ["Writing", "repeated"]

Array = npt.NDArray[Any]
T = TypeVar("T")
_FEW = 10_000  # documents of which add() renews the statistics itself: that takes seconds
_PAUSES = (0.2, 1.0, 3.0)  # seconds before a write is repeated


@dataclass(frozen=True)
class _Difference:
    """How a batch differs from what is stored: positions in it.

    Attributes:
        rewritten: Text, or given vector, is new.
        relabelled: Only the metadata is.
        added: How many of the rewritten are not stored yet.
        unchanged: How many are stored as they are.
    """

    rewritten: list[int]
    relabelled: list[int]
    added: int
    unchanged: int


@dataclass(frozen=True)
class _Write:
    """A batch as it is to be stored.

    Attributes:
        rows: What differs from what is stored.
        encoded: Text -> vector of what was encoded for it.
        report: What may be told once it is stored.
    """

    rows: list[Row]
    encoded: dict[str, Array]
    report: AddReport


class Writing:
    """Adds documents to one collection and renews its statistics.

    Args:
        collection: The collection that rows are written to.
        partition: The part of it that documents go to.
        encoders: Holds what makes its vectors.
        moments: Header and statistics of the collection.
    """

    def __init__(self, collection: Collection, partition: str, encoders: EncoderSlot, moments: Moments) -> None:
        self._collection = collection
        self._partition = partition
        self._encoders = encoders
        self._moments = moments
        # Text -> vector of what was encoded for a write that then failed; the next one need not pay.
        self._spare: dict[str, Array] = {}
        self._written = 0  # since the statistics were last compared with the corpus
        self._writers = Workers(4, "rader-writing")

    def begin(self) -> FirstAdd | None:
        """Begin a call of add(): return what counts the first documents of an empty index, otherwise None."""
        header = self._moments.newest()
        return FirstAdd() if header.statistics is None and not self._collection.size() else None

    def add(
        self,
        batches: Iterable[tuple[Sequence[Prepared], Array | None]],
        first: FirstAdd | None,
        refused: dict[str, str],
    ) -> AddReport:
        """Store what differs; while a batch is written, the next one is encoded.

        Args:
            batches: Documents of different ids, and their vectors in the storage type, shape (n, dimension), if they
                are known: these win over stored ones.
            first: What counts the first documents of an empty index.
            refused: Takes id -> why of documents whose texts a server refuses; the others are stored.

        Raises:
            InputError: The engine cannot store one of them; nothing of its batch is, and all before it.
            EncodingError: The encoder failed.
            EngineError: The engine failed. What was encoded is kept for the next call.
        """
        reports: list[AddReport] = []
        pending: Future[AddReport] | None = None
        try:
            for batch, vectors in batches:
                write = self._prepare(batch, vectors, first, refused)
                if pending is not None:
                    written, pending = pending, None
                    try:
                        reports.append(written.result())
                    except EngineError:
                        self._spare |= write.encoded
                        raise
                pending = self._writers.submit(self._store, write)
        finally:
            if pending is not None:  # also where a later batch cannot be stored: this one can
                reports.append(pending.result())
        return AddReport.total(reports) if reports else AddReport()

    def _prepare(
        self, batch: Sequence[Prepared], vectors: Array | None, first: FirstAdd | None, refused: dict[str, str]
    ) -> _Write:
        check_limits(batch, self._collection.limits, self._collection.engine)
        difference = self._difference(batch, vectors)
        changed = [*difference.rewritten, *difference.relabelled]
        if not changed:
            return _Write([], {}, AddReport(unchanged=difference.unchanged))
        encoded, count = self._encoded(batch, difference, vectors, refused)
        stored_vectors = self._stored_vectors(batch, difference, vectors)
        changed = [position for position in changed if batch[position].document.id not in refused]
        counts = count_terms(
            [batch[position].document.text for position in changed],
            self._moments.header.settings.bm25.analyzer,
            self._collection.term_dimensions,
        )
        check_terms(
            [(batch[position].document.id, len(names)) for position, (names, _) in zip(changed, counts, strict=True)],
            self._collection,
        )
        weights = self._weights(counts, first)
        header = self._moments.header
        stamp = header.stamp if first is not None and first.stamp == header.stamp else header.stamp + 1
        rows = []
        for position, terms in zip(changed, weights.of_all_counts(counts), strict=True):
            document = batch[position].document
            vector = None
            if self._moments.header.settings.dimension is not None:
                vector = vectors[position] if vectors is not None else stored_vectors.get(document.id)
                vector = encoded[document.text] if vector is None else vector
            rows.append(row_of(batch[position], vector, terms, stamp))
        missing = sum(batch[position].document.id in refused for position in difference.rewritten)
        # Which of the refused were stored before does not matter: they are no part of the report but as skipped.
        added = max(0, difference.added - missing)
        return _Write(rows, encoded, AddReport(added, len(rows) - added, difference.unchanged, count))

    def _store(self, write: _Write) -> AddReport:
        if not write.rows:
            return write.report
        try:
            repeated(lambda: self._collection.upsert(self._partition, write.rows))
        except EngineError as error:
            self._spare = write.encoded
            if write.encoded:
                raise EngineError(
                    f"{error} The {len(write.encoded)} vectors that were made are kept for the next add().",
                    transient=error.transient,
                ) from None
            raise
        self._spare = {}
        self._written += len(write.rows)
        return write.report

    def end(self, first: FirstAdd | None) -> None:
        """End a call of add(): make statistics that fit, or say that they do not any more."""
        header = self._moments.header
        if first is not None and first.stamp == header.stamp and first.stamp == self._moments.newest().stamp:
            builder = first.builder
            if builder.documents > header.documents:
                is_exact = builder.mean_length == header.mean_length
                self._renew(header, builder.statistics(header.mean_length), header.stamp, is_exact=is_exact)
            self._written = 0
        elif self._written > MOST_DRIFT * header.documents:
            # Also where somebody else filled the empty index at the same time, and the statistics are of theirs.
            self._written = 0
            drift = self._moments.drift()
            if drift.share > MOST_DRIFT and self._collection.size() <= _FEW:
                self.renew_statistics()
            else:
                self._moments.warn(drift)

    def renew_statistics(self) -> bool:
        """Take the statistics of all documents, and make the terms of all rows anew by them; return whether it did.

        Safe to interrupt: until the last step the old statistics are in force. Rows that were written anew by then
        score by the new mean length, which matters little.
        """
        header = self._moments.newest()
        drift = self._moments.drift()
        current = header.is_exact and header.analyzer == header.settings.bm25.analyzer.name
        if header.statistics is not None and current and not drift.written and not drift.gone:
            return False
        stamp = fresh_stamp()
        builder, counted = StatisticsBuilder(), CountedTexts(self._counts)
        for part in self._collection.scan(0):
            builder.add(counted.first(where, id, text) for where, id, text in part)
        statistics = builder.statistics()
        weights = self._weights_by(statistics)
        for part in self._collection.scan(stamp):
            rows = [(where, id, weights.of_counts(*counted.again(where, id, text))) for where, id, text in part]
            repeated(lambda rows=rows: self._collection.put_terms(rows, stamp))  # type: ignore[misc]  # a default
        header = replace(header, analyzer=header.settings.bm25.analyzer.name)
        self._renew(header, statistics, stamp)
        remove_orphans(self._collection, self._moments.header)
        return True

    def _renew(self, header: Header, statistics: Statistics, stamp: int, *, is_exact: bool = True) -> None:
        renewed = repeated(
            lambda: write_statistics(self._collection, header, statistics, stamp=stamp, is_exact=is_exact)
        )
        self._moments.take(renewed, self._weights_by(statistics))

    def _weights_by(self, statistics: Statistics) -> TermWeights:
        return TermWeights(self._moments.header.settings.bm25, statistics, self._collection.term_dimensions)

    def _counts(self, text: str) -> Counts:
        return term_counts(self._moments.header.settings.bm25.analyzer.terms(text), self._collection.term_dimensions)

    def _weights(self, counts: Sequence[Counts], first: FirstAdd | None) -> TermWeights:
        """Return what makes the terms of a batch; the first batch of an index makes its statistics."""
        if first is not None:
            first.builder.add(counts)
            if first.stamp is None:
                first.stamp = fresh_stamp()
                header = self._moments.newest()
                if header.statistics is None:  # nobody else was quicker
                    self._renew(header, first.builder.statistics(), first.stamp)
        return self._moments.weights()

    def _difference(self, batch: Sequence[Prepared], vectors: Array | None) -> _Difference:
        stored = self._collection.stored(self._partition, [item.document.id for item in batch])
        same_text = {
            position
            for position, item in enumerate(batch)
            if item.document.id in stored and stored[item.document.id][0] == digest_of(item.document.text)
        }
        if vectors is not None and same_text:
            ids = [batch[position].document.id for position in sorted(same_text)]
            there = self._collection.vectors(self._partition, ids)
            dtype = vectors.dtype
            same_text = {
                position
                for position in same_text
                if (vector := there.get(batch[position].document.id)) is not None
                and bool((vector.astype(dtype) == vectors[position]).all())
            }
        relabelled = [
            position
            for position in sorted(same_text)
            if stored[batch[position].document.id][1] != metadata_digest(batch[position].metadata)
        ]
        rewritten = [position for position in range(len(batch)) if position not in same_text]
        added = sum(batch[position].document.id not in stored for position in rewritten)
        return _Difference(rewritten, relabelled, added, len(same_text) - len(relabelled))

    def _encoded(
        self, batch: Sequence[Prepared], difference: _Difference, vectors: Array | None, refused: dict[str, str]
    ) -> tuple[dict[str, Array], int]:
        """Return text -> vector of what is to be encoded, and how many texts the encoder was given."""
        if vectors is not None or self._moments.header.settings.dimension is None or not difference.rewritten:
            return {}, 0
        items = [batch[position] for position in difference.rewritten]
        encoded = dict(self._spare)
        texts = [text for text in dict.fromkeys(item.document.text for item in items) if text not in encoded]
        encoder = self._encoders.get()
        if not texts or encoder is None:
            return encoded, 0
        fresh, reasons = encode_texts(encoder, texts, self._moments.header.settings)
        refused |= {item.document.id: reasons[item.document.text] for item in items if item.document.text in reasons}
        return encoded | fresh, len(fresh)

    def _stored_vectors(
        self, batch: Sequence[Prepared], difference: _Difference, vectors: Array | None
    ) -> dict[str, Array]:
        if vectors is not None or not difference.relabelled:
            return {}
        ids = [batch[position].document.id for position in difference.relabelled]
        there: dict[str, Array] = dict(self._collection.vectors(self._partition, ids))
        return there


def repeated(call: Callable[[], T], pauses: Sequence[float] = _PAUSES, *, longest: float = math.inf) -> T:
    """Call something that may be repeated safely; repeat it where the engine says that this may help.

    Args:
        call: The function to call, without arguments.
        pauses: Seconds before each repetition.
        longest: Seconds after which whoever waits is better told than kept waiting for another trial.

    Raises:
        EngineError: It failed for good, or each time.
    """
    for pause in pauses:
        began = time.monotonic()
        try:
            return call()
        except EngineError as error:
            if not error.transient or time.monotonic() - began > longest:
                raise
            time.sleep(pause)
    return call()
