"""`Kind`: how queries of one kind are proposed, and what is a fault in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

from rader_plugins.query_kinds import QueryKind
from rader_plugins.retrieval import RaderRetriever
from rader_plugins.trajectories import Trajectory
from rader_synthesis.packs import PromptPack
from rader_synthesis.sampling.config import SamplingConfig
from rader_synthesis.sampling.drafts import Draft, QueryRequest
from rader_synthesis.sampling.searches import Search

__all__ = ["Checks", "Kind", "WrittenKind"]


@dataclass(frozen=True)
class Checks:
    """What queries are checked with.

    Args:
        config: Parameters that hold the limits.
        retriever: Searches the corpus by BM25; None without a corpus.
    """

    config: SamplingConfig
    retriever: RaderRetriever | None = None


class Kind(ABC):
    """A kind of query, as an object without state.

    Another package adds one by an entry point of the group ``rader.query_kinds`` that names an instance:

        [project.entry-points."rader.query_kinds"]
        titles = "my_package:TITLES"
    """

    kind: ClassVar[QueryKind]
    """Its name and rules."""

    @abstractmethod
    def propose(
        self, trajectory: Trajectory, searches: Sequence[Search], dropped: Counter[str]
    ) -> Iterator[Draft | QueryRequest]:
        """Yield what a trajectory gives.

        Args:
            trajectory: One whose answer is right.
            searches: Retrievals of the trajectory that have a positive; at least one.
            dropped: Counts, by reason, what gives nothing.
        """


class WrittenKind(Kind):
    """A kind whose queries a language model writes: :meth:`propose` yields requests."""

    places: ClassVar[tuple[str, ...]]
    """What the prompt must have places for."""

    @property
    def prompt(self) -> Path:
        """The prompt file, unless the user brings one of the same name."""
        folder = Path(str(files("rader_synthesis").joinpath("prompts/queries")))
        return folder / f"{self.kind.name}.toml"

    @abstractmethod
    def values(self, request: QueryRequest, document: str, pack: PromptPack) -> Mapping[str, str]:
        """Return what stands in the places of the prompt.

        Args:
            request: What is asked for.
            document: The document as the model sees it.
            pack: How steps are written down.
        """

    @abstractmethod
    def fault(self, query: str, request: QueryRequest, document: str, checks: Checks) -> str | None:
        """Return why a query that was written does not pass; None if it does.

        Args:
            query: What the model wrote, of at least three words.
            request: What was asked for.
            document: Title and text of the document that it is for.
            checks: Limits, and a search by BM25.
        """
