"""Chains that answer questions: what one has to offer, and the one that puts documents into a prompt."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from rader_plugins.documents import Hit
from rader_plugins.errors import InputError
from rader_plugins.evaluation.adapters import adapted

__all__ = ["RAG_ADAPTER_GROUP", "AnyChain", "RagAnswer", "RagChain", "as_chain"]

RAG_ADAPTER_GROUP = "rader.rag_adapters"
"""Entry-point group: top-level module of a framework -> function that makes a :class:`RagChain` of its chains."""


@dataclass(frozen=True)
class RagAnswer:
    """What a chain answered and what it had retrieved for that.

    Args:
        answer: What the model wrote.
        contexts: Texts of the retrieved documents, best first.
        ids: Ids of the retrieved documents; empty where the chain does not know them.
        scores: Scores of the retrieved documents; empty where the chain does not know them.
    """

    answer: str
    contexts: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()

    @classmethod
    def from_hits(cls, answer: str, hits: Sequence[Hit]) -> RagAnswer:
        """Return an answer with the documents of a search of ours."""
        return cls(
            answer,
            tuple(hit.document.text for hit in hits),
            tuple(hit.document.id for hit in hits),
            tuple(float(hit.score) for hit in hits),
        )


@runtime_checkable
class RagChain(Protocol):
    """A chain that is asked without blocking the event loop. Many questions may be under way at once.

    A method ``describe`` is optional: the JSON object that it returns goes into the manifest, and a run is only
    resumed where it is the same.
    """

    async def aanswer(self, question: str) -> RagAnswer:
        """Return the answer to one question."""
        ...


AnyChain = RagChain | Callable[[str], "str | RagAnswer | Awaitable[str | RagAnswer]"]
"""A chain, or a function, plain or async, from a question to its answer."""


@dataclass(frozen=True)
class ReadyChain:
    """A chain made ready for evaluation.

    Attributes:
        ask: Function from a question to what the chain returned, not checked yet.
        blocking: ``ask`` must be called in a thread.
        about: What it is, for the manifest; a JSON object.
    """

    ask: Callable[[str], Any]
    blocking: bool
    about: Mapping[str, Any]


def as_chain(chain: Any) -> ReadyChain:
    """Make a chain ready.

    Raises:
        InputError: It is neither a chain nor callable, and no installed package adapts it.
    """
    ready = chain if isinstance(chain, RagChain) else adapted(chain, RAG_ADAPTER_GROUP)
    if isinstance(ready, RagChain):
        return ReadyChain(ready.aanswer, False, _about(ready, "chain"))
    if not callable(chain):
        raise InputError(
            f"{type(chain).__name__} cannot be evaluated as it is. evaluate_rag() takes a function from a question to "
            "an answer (a text or a RagAnswer), plain or async; wrap the chain in one. LangChain's runnables and "
            "LlamaIndex's query engines are wrapped by langchain_rader.RagRunnable and "
            "llama_index.retrievers.rader.RagQueryEngine."
        )
    is_async = inspect.iscoroutinefunction(chain) or inspect.iscoroutinefunction(getattr(chain, "__call__", None))  # noqa: B004
    return ReadyChain(chain, not is_async, _about(chain, "function"))


def checked_answer(returned: Any, question: str) -> RagAnswer:
    """Return what a chain returned as a :class:`RagAnswer`.

    Raises:
        InputError: It is something else, or texts, ids and scores are not as many.
    """
    if isinstance(returned, str):
        return RagAnswer(returned)
    if not isinstance(returned, RagAnswer) or not isinstance(returned.answer, str):
        raise InputError(
            f"A chain must return a text or a RagAnswer; for {question[:60]!r} it gave {type(returned).__name__}."
        )
    count = max(len(returned.contexts), len(returned.ids))
    if any(values and len(values) != count for values in (returned.contexts, returned.ids, returned.scores)):
        raise InputError(
            f"For {question[:60]!r} the chain gave {len(returned.contexts)} contexts, {len(returned.ids)} ids and "
            f"{len(returned.scores)} scores. Give as many of each, or none."
        )
    return returned


def _about(chain: Any, kind: str) -> dict[str, Any]:
    home = chain if hasattr(chain, "__qualname__") else type(chain)
    about: dict[str, Any] = {"kind": kind, "name": f"{home.__module__}.{home.__qualname__}"}
    describe = getattr(chain, "describe", None)
    if callable(describe):
        about["description"] = describe()
    return about
