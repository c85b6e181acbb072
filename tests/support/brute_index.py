"""An index that has nothing in common with the embedded one: dicts, and every score computed for every document."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from typing_extensions import Unpack

from rader_plugins.documents import Document, Hit
from rader_plugins.encoding.base import Encoder
from rader_plugins.errors import InputError
from rader_plugins.fusion import fuse
from rader_plugins.index import AddOptions, AddReport, Filter, SearchRequest
from rader_plugins.index.analysis import analyze
from rader_plugins.index.request import Vector
from rader_plugins.recipes import Recipe

K1, B = 0.9, 0.4


class BruteIndex:
    """Fulfils :class:`rader_plugins.index.Index` without inheriting from it; filters are functions or equalities."""

    def __init__(self, encoder: Encoder | None) -> None:
        self.encoder = encoder
        self.recipe: Recipe | None = encoder.recipe if encoder else None
        self.fingerprint = encoder.fingerprint if encoder else None
        self.dimension = encoder.dimension if encoder else None
        self.capabilities = frozenset({"bm25", "filter_function"} | ({"dense", "hybrid"} if encoder else set()))
        self.requests: list[SearchRequest] = []
        self._documents: dict[str, Document] = {}
        self._vectors: dict[str, Vector] = {}

    def add(self, documents: Iterable[Document], **options: Unpack[AddOptions]) -> AddReport:
        batch = list(documents)
        own_vectors = options.get("vectors")
        replaced = sum(document.id in self._documents for document in batch)
        self._documents |= {document.id: document for document in batch}
        if self.encoder is not None:
            texts = [document.text for document in batch]
            vectors = (
                self.encoder.encode_documents(texts) if own_vectors is None else np.asarray(own_vectors, np.float32)
            )
            self._vectors |= dict(zip([document.id for document in batch], vectors, strict=True))
        return AddReport(added=len(batch) - replaced, replaced=replaced)

    def delete(self, ids: Iterable[str] | None = None, *, filter: Filter | None = None) -> int:
        if ids is None and filter is None:
            raise InputError("delete() needs ids or a filter.")
        names = set(self.ids(filter)) & set(self._documents if ids is None else ids)
        for name in names:
            del self._documents[name]
        return len(names)

    def get(self, ids: Sequence[str]) -> list[Document]:
        return [self._documents[id] for id in ids if id in self._documents]

    def ids(self, filter: Filter | None = None) -> Iterator[str]:
        if filter is not None and not callable(filter):
            raise InputError("This index filters by functions.")
        return iter([id for id, document in self._documents.items() if filter is None or filter(document)])

    def vectors(self, ids: Sequence[str]) -> dict[str, Vector]:
        return {id: self._vectors[id] for id in ids if id in self._vectors}

    def search(self, request: SearchRequest) -> list[list[Hit]]:
        request.check(self.capabilities)
        self.requests.append(request)
        excluded = request.exclude_ids or [()] * len(request.queries)
        return [
            self._search(request, row, set(excluded[row])) for row in range(len(request.queries) if request.k else 0)
        ]

    async def asearch(self, request: SearchRequest) -> list[list[Hit]]:
        return self.search(request)

    def _search(self, request: SearchRequest, at: int, excluded: set[str]) -> list[Hit]:
        names = [name for name in self.ids(request.filter) if name not in excluded]
        bm25 = self._bm25(request.queries[at])
        scores: dict[str, dict[str, float]] = {name: {"bm25": bm25.get(name, 0.0)} for name in names}
        if request.mode == "bm25":
            names = [name for name in names if scores[name]["bm25"] > 0]
        else:
            assert request.vectors is not None
            for name in names:
                scores[name]["dense"] = float(self._vectors[name].astype(float) @ request.vectors[at].astype(float))
        if request.mode == "dense":
            scores = {name: {"dense": scores[name]["dense"]} for name in names}
        if request.mode == "hybrid":
            depth = max(request.candidates, request.k)
            near = sorted(names, key=lambda name: (-scores[name]["dense"], name))[:depth]
            alike = sorted(
                (name for name in names if scores[name]["bm25"] > 0), key=lambda name: (-scores[name]["bm25"], name)
            )[:depth]
            names = list(dict.fromkeys(near + alike))
            both = [np.array([scores[name][stage] for name in names]) for stage in ("dense", "bm25")]
            for name, fused in zip(names, fuse(*both, request.alpha).tolist(), strict=True):
                scores[name]["fused"] = fused
        stage = {"hybrid": "fused"}.get(request.mode, request.mode)
        best = sorted(names, key=lambda name: (-scores[name][stage], name))[: request.k]
        return [
            Hit(self._documents[name], scores[name][stage], rank, scores[name]) for rank, name in enumerate(best, 1)
        ]

    def _bm25(self, query: str) -> dict[str, float]:
        """BM25 with a weighted query, straight from its formula."""
        counts = {name: Counter(analyze(document.text)) for name, document in self._documents.items()}
        frequency = Counter(term for count in counts.values() for term in count)
        terms = Counter(term for term in analyze(query) if term in frequency)
        mean = sum(count.total() for count in counts.values()) / max(1, len(counts)) or 1.0

        def saturation(number: int, length: int) -> float:
            return number / (number + K1 * (1 - B + B * length / mean))

        idf = {term: math.log1p((len(counts) - frequency[term] + 0.5) / (frequency[term] + 0.5)) for term in terms}
        return {
            name: sum(
                idf[term] ** 2 * saturation(number, terms.total()) * saturation(count[term], count.total())
                for term, number in terms.items()
            )
            for name, count in counts.items()
        }

    def optimize(self) -> None:
        pass

    def stats(self) -> dict[str, Any]:
        return {"documents": len(self._documents)}

    def close(self) -> None:
        pass

    def __len__(self) -> int:
        return len(self._documents)
