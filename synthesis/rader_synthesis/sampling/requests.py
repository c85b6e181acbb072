"""What a language model is asked for: a query for a document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["QueryRequest"]


@dataclass(frozen=True)
class QueryRequest:
    """A query to be written.

    Args:
        kind: ``llm`` or ``lexical``.
        query_id: Name of the sample.
        document: Id of the document that the query is for.
        labelled_by: Who says that it is relevant.
        question, before: For ``llm``: the question, and the thoughts before the search.
        rejected: For ``llm``: the documents that were rejected in that search, and who did so.
        trajectory_id, source, step: For ``llm``: where it comes from.
    """

    kind: str
    query_id: str
    document: str
    labelled_by: str
    question: str = ""
    before: tuple[str, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    trajectory_id: str = ""
    source: str = ""
    step: int | None = None

    def row(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {**asdict(self), "before": list(self.before), "rejected": dict(self.rejected)}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> QueryRequest:
        """Read what :meth:`row` returned."""
        return cls(**{**row, "before": tuple(row["before"])})
