"""Why a document ranks where it does: what :meth:`rader_plugins.Hit.explain` returns, and what indexes fill it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rader_plugins.analysis import Analyzer

__all__ = ["Explanation", "HitDetails", "ListPlace", "TermScore"]


@dataclass(frozen=True)
class TermScore:
    """What one term of the query adds to the BM25 score of a document.

    Args:
        term: The term as the analysis of words has it: a stem in lower case, such as ``theori``.
        frequency: How often the document holds it.
        documents: How many documents of the index hold it.
        score: The term's part of the BM25 score; the parts of all terms add up to it.
    """

    term: str
    frequency: int
    documents: int
    score: float


@dataclass(frozen=True)
class ListPlace:
    """What one list of a search, ``dense`` or ``bm25``, says of a document.

    Args:
        score: The document's score in this list.
        rank: Place in the list, 1 for the best; None where the document is not among the candidates that the list
            contributed.
        z: The z-score of the score over all candidates of both lists; None without fusion.
        weight: What fusion multiplies that with; None without fusion.
    """

    score: float
    rank: int | None
    z: float | None = None
    weight: float | None = None

    @property
    def share(self) -> float | None:
        """Its part of the fused score; None without fusion."""
        return None if self.z is None or self.weight is None else self.z * self.weight


@dataclass(frozen=True)
class HitDetails:
    """What an index knows of a hit beside its scores (:attr:`rader_plugins.index.SearchRequest.details`).

    Args:
        query: The text that was searched for; reasoning may have written it.
        rank: Place in the answer of the index, before a reranker.
        lists: What each list says; empty unless ``ranks`` were asked for.
        terms: Terms of the query that the document holds, the largest part first; empty unless ``terms`` were asked
            for.
        missing: The other terms of the query, in its order.
        analyzer: The analysis that found the terms, by which their words are found; None where it is not known.
    """

    query: str
    rank: int
    lists: Mapping[str, ListPlace] = field(default_factory=dict)
    terms: tuple[TermScore, ...] = ()
    missing: tuple[str, ...] = ()
    analyzer: Analyzer | None = field(default=None, repr=False)

    def words(self, text: str) -> dict[str, str]:
        """Return the words that terms stand for: as the document writes them or, where it lacks them, the query.

        Args:
            text: Text of the document.
        """
        if self.analyzer is None:
            return {}
        matches = {term.term for term in self.terms}
        return self.analyzer.words(self.query, set(self.missing)) | self.analyzer.words(text, matches)


@dataclass(frozen=True)
class Explanation:
    """How one document came to its place; ``print`` shows it in a few lines.

    Args:
        id: Id of the document.
        rank: Place among the hits, 1 for the best.
        score: The score that decided it.
        scores: The score of every stage.
        details: What the index knows.
        words: The word that each term stands for: as the document writes it or, where it lacks it, the query. Without
            one, as with a part of a name in code, the term itself is shown.
    """

    id: str
    rank: int
    score: float
    scores: Mapping[str, float]
    details: HitDetails
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_reranked(self) -> bool:
        """Whether a reranker decided the order."""
        return "rerank" in self.scores

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object; of a term, ``term`` is the stem and ``word`` the word that it stands for."""
        details = {
            "query": self.details.query,
            "first_stage_rank": self.details.rank,
            "lists": {name: {**asdict(place), "share": place.share} for name, place in self.details.lists.items()},
            "terms": [{**asdict(term), "word": self._word(term.term)} for term in self.details.terms],
            "missing": list(self.details.missing),
            "missing_words": [self._word(term) for term in self.details.missing],
        }
        return {"rank": self.rank, "score": self.score, "scores": dict(self.scores), **details}

    def lines(self) -> list[tuple[str, str]]:
        """Return it as pairs of a heading and a text."""
        pairs = [(name, _of_list(place)) for name, place in self.details.lists.items()]
        if any(place.share is not None for place in self.details.lists.values()) and "fused" in self.scores:
            pairs.append(("fused", f"{self.scores['fused']:+.3f}, rank {self.details.rank}"))
        if self.is_reranked:
            pairs.append(("rerank", f"{self.scores['rerank']:.3f}, {_moved(self.details.rank, self.rank)}"))
        if self.details.terms:
            pairs.append(("terms", ", ".join(_of_term(term, self._word(term.term)) for term in self.details.terms)))
        if self.details.missing:
            pairs.append(("not in it", ", ".join(map(self._word, self.details.missing))))
        return pairs

    def _word(self, term: str) -> str:
        return self.words.get(term, term)

    def __str__(self) -> str:
        lines = [f"{self.rank}. {self.id}  {self.score:.3f}"]
        return "\n".join([*lines, *(f"   {name:<9} {text}" for name, text in self.lines())])


def _of_list(place: ListPlace) -> str:
    rank = "not among its candidates" if place.rank is None else f"rank {place.rank}"
    text = f"{place.score:.3f}, {rank}"
    if place.z is None or place.weight is None:
        return text
    return f"{text}, z {place.z:+.2f} x {place.weight:.2g} = {place.z * place.weight:+.3f}"


def _of_term(term: TermScore, name: str) -> str:
    times = "" if term.frequency == 1 else f" ({term.frequency} times)"
    return f"{name} {term.score:.3f}{times}"


def _moved(before: int, after: int) -> str:
    if before == after:
        return f"stays at rank {after}"
    return f"{'up' if after < before else 'down'} from rank {before} to {after}"
