"""Queries that are documents of their own corpus (ArguAna, Quora): BEIR leaves a query's own document out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rader_plugins.evaluation.datasets.dataset import RetrievalDataset

__all__ = ["IdenticalIds", "leave_out_identical"]


@dataclass(frozen=True)
class IdenticalIds:
    """Judged queries whose id a document has, too.

    Attributes:
        left_out: That document was excluded from the query's ranking.
        remaining: It was not, and can be found.
    """

    left_out: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()

    def remark(self) -> str:
        """Say what was done; empty where there are no such queries."""
        parts = []
        if self.left_out:
            parts.append(
                f"{len(self.left_out):,} queries have the id of a document, which is left out of their ranking as BEIR "
                f"does with identical ids (such as {self.left_out[0]!r})"
            )
        if self.remaining:
            parts.append(
                f"{len(self.remaining):,} queries have the id of a document that stays in their ranking (such as "
                f"{self.remaining[0]!r}); BEIR would leave identical ids out (ignore_identical_ids)"
            )
        return "; ".join(parts)


def leave_out_identical(
    dataset: RetrievalDataset, ignore_identical_ids: bool | None
) -> tuple[RetrievalDataset, IdenticalIds]:
    """Exclude the document that has the id of the query.

    BEIR's rule (``ignore_identical_ids``, on by default there) goes by the id alone. That hits the wrong document where
    queries and documents are merely numbered alike, so the default looks at the text, too.

    Args:
        dataset: The data set whose queries get the exclusion.
        ignore_identical_ids: True: BEIR's rule. False: nothing is excluded. None: the document is excluded if it holds
            the text of the query and is not judged relevant to it.
    """
    identical = [query for query in dataset.judged if query in dataset.corpus]
    if not identical:
        return dataset, IdenticalIds()
    left_out = tuple(
        query
        for query in identical
        if (_is_own_document(dataset, query) if ignore_identical_ids is None else ignore_identical_ids)
    )
    remaining = tuple(query for query in identical if query not in set(left_out))
    excluded = {**dataset.excluded, **{query: {*dataset.excluded.get(query, ()), query} for query in left_out}}
    changed = replace(dataset, excluded=excluded) if left_out else dataset
    return changed, IdenticalIds(left_out, remaining)


def _is_own_document(dataset: RetrievalDataset, query: str) -> bool:
    question = _words(dataset.question(query))
    return question in _words(dataset.corpus[query].text) and dataset.qrels[query].get(query, 0) <= 0


def _words(text: str) -> str:
    return " ".join(text.lower().split())
