"""The statistics that one index object works with: read when they are first needed, looked at again now and then."""

from __future__ import annotations

import threading
import time
import warnings

from rader_plugins.background import after_fork
from rader_plugins.engines.collection import Collection
from rader_plugins.engines.header import Header, read_header, read_statistics
from rader_plugins.engines.sparse import TermWeights
from rader_plugins.engines.statistics import Drift
from rader_plugins.errors import DriftWarning, EngineError, FingerprintMismatchError, OutdatedTermsWarning

__all__ = ["MOST_DRIFT", "Moments"]

MOST_DRIFT = 0.5
"""Share of the documents that may have come, changed or gone before a warning says so."""

_REFRESH = 30.0  # seconds until another process's optimize() is seen
_ATTEMPTS = 5


class Moments:
    """Holds the header and the statistics of an index.

    Args:
        collection: The collection that stores both.
        header: What was read last.
    """

    def __init__(self, collection: Collection, header: Header) -> None:
        self._collection = collection
        self._header = header
        self._weights: TermWeights | None = None
        self._looked = time.monotonic()
        self._warned: str | None = None
        self._start_anew()
        after_fork(self._start_anew)

    def _start_anew(self) -> None:
        self._lock = threading.RLock()

    @property
    def header(self) -> Header:
        """The header as it was read last."""
        return self._header

    def newest(self) -> Header:
        """Read the header again and return it.

        Raises:
            FingerprintMismatchError: Another index is there in place of the one that was opened.
        """
        header = read_header(self._collection)
        if header.settings.fingerprint != self._header.settings.fingerprint:
            raise FingerprintMismatchError(
                f"The index in {self._collection.shown} was replaced by one of another recipe: open it anew."
            )
        with self._lock:
            self.take(header)
        return header

    def take(self, header: Header, weights: TermWeights | None = None) -> None:
        """Go on with another header, and with its weights if they are known."""
        with self._lock:
            if weights is not None or header.statistics != self._header.statistics:
                self._weights = weights
            self._header = header
            self._looked = time.monotonic()

    def look(self) -> None:
        """Read the header again if that was half a minute ago."""
        with self._lock:
            if time.monotonic() - self._looked > _REFRESH:
                self.newest()

    def weights(self, *, warn: bool = False) -> TermWeights:
        """Return what makes sparse vectors of texts; half a minute old at most.

        Args:
            warn: Say, once for the same statistics, if the corpus has moved far from them.
        """
        with self._lock:
            for _ in range(_ATTEMPTS):
                self.look()
                if self._weights is not None:
                    return self._weights
                header = self._header
                statistics = read_statistics(self._collection, header)
                if statistics is not None:
                    weights = TermWeights(header.settings.bm25, statistics, self._collection.term_dimensions)
                    self._weights = weights
                    if warn:
                        self._warn_of_old_terms()
                        if (drift := self.drift()).share > MOST_DRIFT and self.newest().statistics != header.statistics:
                            continue  # a writer had stored its documents and was about to renew them
                        self.warn(drift)
                    return weights
                self.newest()  # renewed by somebody else meanwhile
        raise EngineError(
            f"The statistics of {self._collection.shown} are renewed faster than they can be read.", transient=True
        )

    def drift(self) -> Drift:
        """Return how far the corpus has moved from the statistics; takes two requests."""
        header = self._header
        total, counted = self._collection.size(), self._collection.size(header.stamp)
        return Drift(header.documents, total - counted, abs(header.documents - counted))

    def _warn_of_old_terms(self) -> None:
        analyzer = self._header.settings.bm25.analyzer.name
        if self._header.analyzer != analyzer:
            warnings.warn(
                OutdatedTermsWarning(
                    f"The words in {self._collection.shown} were found by another version ({self._header.analyzer}; "
                    f"this one is {analyzer}), so that BM25 misses what the two split or spell otherwise. optimize() "
                    "(`rader index optimize`) renews them."
                ),
                stacklevel=5,
            )

    def warn(self, drift: Drift) -> None:
        """Say, once for the same statistics, if they are far from the corpus."""
        if drift.share <= MOST_DRIFT or self._warned == self._header.statistics:
            return
        self._warned = self._header.statistics
        warnings.warn(
            DriftWarning(
                f"BM25 in {self._collection.shown} weighs terms by the {drift.documents} documents of "
                f"{self._header.moment}; since then {drift.written} came or changed, and {drift.gone} of those went. "
                "optimize() (`rader index optimize`) renews what it knows."
            ),
            stacklevel=4,
        )
