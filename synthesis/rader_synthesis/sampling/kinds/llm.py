"""``llm``: written from question, steps and document, in other words than the document's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rader_plugins.query_kinds import KINDS
from rader_plugins.text_matching import digest, shared_words
from rader_plugins.trajectories import Trajectory
from rader_synthesis.packs import PromptPack, step_values
from rader_synthesis.sampling.drafts import QueryRequest
from rader_synthesis.sampling.kinds.base import Checks, WrittenKind
from rader_synthesis.sampling.searches import Search

__all__ = ["LLMKind"]


class LLMKind(WrittenKind):
    """A query that shares few words with its document, so that only reasoning leads from one to the other."""

    kind = KINDS["llm"]
    places = ("question", "steps", "document")

    def propose(
        self, trajectory: Trajectory, searches: Sequence[Search], dropped: Counter[str]
    ) -> Iterator[QueryRequest]:
        """Yield a request for every positive of every search."""
        for search in searches:
            for number, (document, by) in enumerate(search.positives.items()):
                yield QueryRequest(
                    "llm",
                    f"llm:{trajectory.id}:{search.step}:{number}",
                    document,
                    by,
                    search.weights.get(document, 1.0),
                    trajectory.question.strip(),
                    search.before,
                    search.rejected,
                    trajectory.id,
                    trajectory.source,
                    search.step,
                )

    def values(self, request: QueryRequest, document: str, pack: PromptPack) -> Mapping[str, str]:
        """Return question, steps and document."""
        return {"document": document, "question": request.question, **step_values(request.before, pack)}

    def fault(self, query: str, request: QueryRequest, document: str, checks: Checks) -> str | None:
        """Refuse the question itself, and what the document says in the same words."""
        if digest(query) == digest(request.question):
            return "the question itself"
        shared = shared_words(query, document)
        return "too many words of the document" if shared > checks.config.max_overlap else None
