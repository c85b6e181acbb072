"""What a kind of query proposes: a draft of a sample, or the request for a query that a language model has to write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rader_plugins.files import canonical_json
from rader_plugins.text_matching import digest

__all__ = ["Draft", "QueryRequest", "partial_solution"]


@dataclass
class Draft:
    """A sample of which only the ids of its documents are known yet.

    Args:
        kind: Name of the kind of query.
        query_id: A name; unique unless trajectories share theirs.
        query: Text of the query.
        positives, negatives: Document id -> who says so.
        trajectory_id: Id of the trajectory, if it comes from one.
        source: Who made the trajectory.
        step: Place of the retrieval among the steps; None where it is about the whole trajectory.
        weight: How much the sample counts.
    """

    kind: str
    query_id: str
    query: str
    positives: dict[str, str]
    negatives: dict[str, str]
    trajectory_id: str = ""
    source: str = ""
    step: int | None = None
    weight: float = 1.0

    def identity(self, problem: int) -> bytes:
        """Return what drafts of a problem that become one sample have in common: kind and query.

        A document with a weight of its own makes a sample of its own.
        """
        alone = sorted(self.positives) if self.weight != 1 else []
        return digest(canonical_json([self.kind, problem, digest(self.query).hex(), *alone]))


@dataclass(frozen=True)
class QueryRequest:
    """A query to be written for a document.

    Args:
        kind: Name of the kind of query.
        query_id: Name of the sample.
        document: Id of the document that the query is for.
        labelled_by: Who says that it is relevant.
        weight: How much the sample counts.
        question, before: The question, and the thoughts before the search, for a kind that is written for a search.
        rejected: The documents that were rejected in that search, and who did so.
        trajectory_id, source, step: The search that it comes from.
    """

    kind: str
    query_id: str
    document: str
    labelled_by: str
    weight: float = 1.0
    question: str = ""
    before: tuple[str, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    trajectory_id: str = ""
    source: str = ""
    step: int | None = None

    def identity(self, problem: int) -> bytes:
        """Return what requests have in common that one query answers.

        Without a question the query is written from the document alone, whichever problem needs it.
        """
        context = [problem, digest(partial_solution(self.question, self.before)).hex()] if self.question else []
        return digest(canonical_json([self.kind, *context, self.document]))

    def draft(self, query: str) -> Draft:
        """Return the draft that an answer makes of it."""
        return Draft(
            self.kind,
            self.query_id,
            query,
            {self.document: self.labelled_by},
            dict(self.rejected),
            self.trajectory_id,
            self.source,
            self.step,
            self.weight,
        )

    def row(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {**asdict(self), "before": list(self.before), "rejected": dict(self.rejected)}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> QueryRequest:
        """Read what :meth:`row` returned."""
        return cls(**{**row, "before": tuple(row["before"])})


def partial_solution(question: str, before: tuple[str, ...]) -> str:
    """Return a question and the steps after it, one a line."""
    return "\n".join([question.strip(), *before])
