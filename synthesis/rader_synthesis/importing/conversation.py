"""`Conversation`: what every format of messages or spans is read into, before turns and trajectories are made of it.

A format only says what happened, in order, as the events of this module. What is a search, which document was opened,
where a turn ends and which document an answer cites is decided in one place for all formats:
:mod:`rader_synthesis.importing.turns`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rader_plugins.trajectories import Considered

__all__ = [
    "Answer",
    "Call",
    "Citation",
    "Conversation",
    "Event",
    "Feedback",
    "SearchResult",
    "Question",
    "Result",
    "Search",
    "Thought",
]


@dataclass(frozen=True)
class Citation:
    """A document that an interface says an answer cites.

    Args:
        names: Ids, addresses or titles by which it may be called, the surest first.
        text: What is cited of it, if the interface tells.
        address: Address of the page, if it is one of the web.
        title: Title of the document.
    """

    names: tuple[str, ...]
    text: str = ""
    address: str = ""
    title: str = ""


@dataclass(frozen=True)
class SearchResult:
    """A document that a search returned.

    Args:
        document: The document, with its score and labels.
        names: What later calls and citations may call it beside its id: address, file, title, ``[3]`` for its number.
    """

    document: Considered
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """The user said something."""

    text: str


@dataclass(frozen=True)
class Answer:
    """The model said something to the user; what ends a turn is its answer, all else is a thought.

    Args:
        text: What it said; what stands in ``<think>`` tags is taken for a thought.
        citations: What the interface says it cites.
    """

    text: str
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True)
class Thought:
    """The model reasoned, or a step of the application said something that is neither search nor answer."""

    text: str


@dataclass(frozen=True)
class Feedback:
    """What was answered last was rated.

    Args:
        fields: Fields of the rating, as :func:`~rader_synthesis.importing.feedback.read_reward` reads them.
    """

    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """A tool was called.

    Args:
        id: Tells the call of a result.
        name: Name of the tool.
        arguments: JSON value, or text.
    """

    id: str
    name: str
    arguments: Any = None


@dataclass(frozen=True)
class Result:
    """What a tool returned.

    Args:
        call: Id of the call; empty where the format has none: see :class:`.pending.PendingCalls`.
        content: JSON value, or text.
        searched: Whether the format says that this is what a search found, whatever the tool is called.
        tool: Name of the tool, if the format has it in place of an id.
        failed: Whether the format says that the call failed: what it returned is a message, and no document.
    """

    call: str
    content: Any
    searched: bool = False
    tool: str = ""
    failed: bool = False


@dataclass(frozen=True)
class Search:
    """A search that the format itself says is one.

    Args:
        query: What was searched for; None where the format does not tell.
        found: What came back, best first.
        reranked: Whether this puts the documents of the search before it in another order.
        open_ended: Whether its documents may become known only by their citations, as those of a web search.
    """

    query: str | None
    results: tuple[SearchResult, ...] = ()
    reranked: bool = False
    open_ended: bool = False


Event = Question | Answer | Thought | Call | Result | Search | Feedback


@dataclass
class Conversation:
    """One conversation, or one run of an application.

    Args:
        id: A name; it becomes that of the trajectories.
        events: What happened, in order.
        where: How to call it in messages.
        reward: What users or judges said of it, between 0 and 1.
        gold_answer: The right answer to its last question that was searched for.
        metadata: A JSON object, which the trajectories get.
        instructions: The system's message, which may hold documents.
        before: Questions and answers of the same session that went before, where other rows hold them.
    """

    id: str
    events: Sequence[Event]
    where: str = ""
    reward: float | None = None
    gold_answer: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    instructions: str = ""
    before: Sequence[tuple[str, str]] = ()
