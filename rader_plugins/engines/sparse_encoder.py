"""`SparseBm25`: BM25 with a weighted query as sparse vectors, for a store that an application has already."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import islice
from os import PathLike
from pathlib import Path

from rader_plugins.documents import check_text, text_list
from rader_plugins.engines.sparse import Sparse, TermWeights, count_terms
from rader_plugins.engines.statistics import Statistics, StatisticsBuilder
from rader_plugins.errors import IndexCorruptError, InputError
from rader_plugins.files import atomic_write
from rader_plugins.index.lexical import Bm25Config

__all__ = ["SparseBm25"]

_SCHEMA = "rader-bm25/1"
_DIMENSIONS = 2**32 - 4
_NO_TERMS, _NO_TERMS_ASKED = 2**32 - 3, 2**32 - 2  # dimensions that no term has, two that never meet
_BLOCK = 1024


class SparseBm25:
    """Turns documents and queries into sparse vectors whose inner product is RaDeR's BM25.

    A document holds sat(tf, \\|d\\|) for each of its terms, a query idf(t)^2 * sat(tf, \\|q\\|): any store that
    multiplies sparse vectors of floats ranks as :class:`rader_plugins.RaderIndex` does, if it holds the texts that
    :meth:`fit` saw. N, df and avgdl stay those of that moment; fit again, and store the vectors anew, when the corpus
    has changed much. The analysis is that of the index.

    Args:
        statistics: N, df and avgdl.
        bm25: k1, b, language and weighting; None means RaDeR's.

    Example:
        >>> bm25 = SparseBm25.fit(["Among any six people, three know each other.", "Prime numbers have no divisors."])
        >>> document, query = bm25.documents(["six people"])[0], bm25.query("six guests")
        >>> [(a, b) for a in document for b in query if a == b] != []
        True
    """

    def __init__(self, statistics: Statistics, bm25: Bm25Config | None = None) -> None:
        self.statistics = statistics
        self.config = Bm25Config() if bm25 is None else bm25
        self._weights = TermWeights(self.config, statistics, _DIMENSIONS)

    @classmethod
    def fit(cls, texts: Iterable[str], bm25: Bm25Config | None = None) -> SparseBm25:
        """Take the statistics of a corpus, in memory that grows with its vocabulary alone.

        Args:
            texts: All of its texts, as they are stored (chunks, not the documents that they were cut from).
            bm25: k1, b, language and weighting; None means RaDeR's.

        Raises:
            InputError: They are no texts, or there are none.
        """
        if isinstance(texts, str | bytes):
            raise InputError("fit() takes a list of texts, not one text.")
        config = Bm25Config() if bm25 is None else bm25
        builder = StatisticsBuilder()
        checked = (check_text(text, f"text {number}") for number, text in enumerate(texts))
        while part := list(islice(checked, _BLOCK)):
            builder.add(count_terms(part, config.analyzer, _DIMENSIONS))
        if not builder.documents:
            raise InputError("fit() takes the texts of the corpus, and there are none.")
        return cls(builder.statistics(), config)

    def documents(self, texts: Sequence[str]) -> list[dict[int, float]]:
        """Return dimension -> weight of each text; never empty, since some stores take no empty vector."""
        return [_as_dict(vector, _NO_TERMS) for vector in self._weights.documents(text_list(texts, "text"))]

    def query(self, text: str) -> dict[int, float]:
        """Return dimension -> weight of a query; where it has no terms, one that no document has."""
        return _as_dict(self._weights.query(check_text(text, "the query")), _NO_TERMS_ASKED)

    def save(self, path: str | PathLike[str]) -> None:
        """Write it to a file: 8 bytes for each term."""
        statistics = self.statistics
        head = {
            "schema": _SCHEMA,
            "bm25": asdict(self.config),
            "analyzer": self.config.analyzer.name,
            "documents": statistics.documents,
            "mean_length": statistics.mean_length,
        }
        with atomic_write(Path(path)) as stream:
            stream.write(json.dumps(head).encode() + b"\n")
            stream.writelines(statistics.pieces())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> SparseBm25:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: There is no such file, or the words of its corpus were found in another way.
            IndexCorruptError: It is something else, or damaged.
        """
        try:
            line, _, terms = Path(path).read_bytes().partition(b"\n")
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error}") from None
        try:
            head = json.loads(line)
            if head["schema"] != _SCHEMA:
                raise KeyError(head["schema"])
            config = Bm25Config(**head["bm25"])
            documents, mean_length, analyzer = int(head["documents"]), float(head["mean_length"]), str(head["analyzer"])
        except (ValueError, KeyError, TypeError) as error:
            raise IndexCorruptError(f"{path} holds no statistics of BM25 that this version reads: {error!r}.") from None
        if analyzer != config.analyzer.name:
            raise InputError(
                f"The words of {path} were found by {analyzer}, and this version finds them by {config.analyzer.name}: "
                "fit again, and store the vectors anew."
            )
        return cls(Statistics.from_bytes(terms, documents, mean_length), config)


def _as_dict(vector: Sparse, stand_in: int) -> dict[int, float]:
    return dict(zip(vector.dimensions.tolist(), vector.values.tolist(), strict=True)) or {stand_in: 1.0}
