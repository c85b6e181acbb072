"""``lexical``: written from the document alone, and found by BM25."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rader_plugins.query_kinds import KINDS
from rader_plugins.text_matching import digest
from rader_plugins.trajectories import Trajectory
from rader_synthesis.packs import PromptPack
from rader_synthesis.sampling.drafts import QueryRequest
from rader_synthesis.sampling.kinds.base import Checks, WrittenKind
from rader_synthesis.sampling.searches import Search

__all__ = ["LexicalKind"]


class LexicalKind(WrittenKind):
    """A query in the document's own words, so that the retriever does not unlearn them."""

    kind = KINDS["lexical"]
    places = ("document",)

    def propose(
        self, trajectory: Trajectory, searches: Sequence[Search], dropped: Counter[str]
    ) -> Iterator[QueryRequest]:
        """Yield a request for every positive; a document that several problems share is asked for once."""
        for search in searches:
            for document, by in search.positives.items():
                yield QueryRequest("lexical", f"lexical:{document}", document, by)

    def values(self, request: QueryRequest, document: str, pack: PromptPack) -> Mapping[str, str]:
        """Return the document."""
        return {"document": document}

    def fault(self, query: str, request: QueryRequest, document: str, checks: Checks) -> str | None:
        """Refuse the document itself, and a query for which BM25 does not find it (the round trip)."""
        if digest(query) == digest(document):
            return "the document itself"
        depth = checks.config.round_trip
        hits = checks.retriever.search(query, depth, mode="bm25") if checks.retriever is not None else []
        if all(hit.document.id != request.document for hit in hits):
            return f"not found by BM25 among {depth}"
        return None
