"""What the recorder keeps of chains under way: what a step was given, and what a graph's nodes wrote.

A graph with a checkpointer returns the state of the whole conversation. What of it belongs to the run that ended is
known only from what its nodes wrote.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from langchain_core.documents import Document

from langchain_rader._reading import document_keys, every_document, is_command, question_of, unwrap
from rader_plugins.files import fingerprint
from rader_plugins.recording import fields_of

__all__ = ["ChainNode", "ChainNodes", "is_interrupt", "is_passed_on"]

_MOST = 20_000
_GRAPH_STEP = "graph:step:"


def is_interrupt(error: BaseException) -> bool:
    """Whether an exception is how LangGraph pauses a graph, to be resumed later; known by name."""
    return any(base.__name__ in ("GraphInterrupt", "GraphDrained") for base in type(error).__mro__)


def is_passed_on(error: BaseException) -> bool:
    """Whether an exception is how LangGraph leaves a node: paused, or handed over to a node of the graph above."""
    return any(base.__name__ == "GraphBubbleUp" for base in type(error).__mro__)


@dataclass
class Root:
    """What concerns the whole of a run.

    Args:
        thread: Digest of the thread, which is the same for an interrupted run and the one that resumes it.
        graph: What the run is called: the graph's name, if the application did not choose another for this run.
        resumed: Whether the run was begun to go on with an earlier one.
        interrupted: Whether it was paused.
    """

    thread: str | None = None
    graph: str | None = None
    resumed: bool = False
    interrupted: bool = False


@dataclass
class ChainNode:
    """A chain under way.

    Args:
        parent: The chain above it.
        root: Root of its run.
        query: What it was asked, as its input tells.
        seen: Keys of the documents that it was given.
        documents: The documents that it was given.
        is_step: Whether it is a node of a graph.
        has_steps: Whether it is a graph.
        is_graph: Whether nodes of a graph run below it, however deep.
        has_tools: Whether tools run below it.
        before: State of a graph as the first of its nodes found it.
        old: Keys of the documents that the first node of a graph found in the state.
        written: Fields that the nodes of a graph wrote.
        given: State of the graph as this node found it.
    """

    parent: ChainNode | None
    root: Root
    query: str | None = None
    seen: frozenset[tuple[str, str]] = frozenset()
    documents: tuple[Document, ...] = ()
    is_step: bool = False
    has_steps: bool = False
    is_graph: bool = False
    has_tools: bool = False
    before: Mapping[str, Any] | None = None
    old: frozenset[tuple[str, str]] = frozenset()
    written: set[str] = field(default_factory=set)
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_top(self) -> bool:
        """Whether nothing that is recorded runs above it."""
        return self.parent is None

    def stale_fields(self, outputs: Any) -> frozenset[str]:
        """Return the fields of a graph's state that an earlier run left there, and none of this run's nodes wrote."""
        if not self.has_steps:
            return frozenset()
        before = (fields_of(outputs) or {}) if self.before is None else self.before  # None: no node ran
        return frozenset(key for key, value in before.items() if value is not None and key not in self.written)

    def fresh(self, documents: Sequence[tuple[Document, object]], inputs: Any) -> list[tuple[Document, object]]:
        """Return the documents that the chain was not given itself.

        One that it found beside others counts although it was given the same before: a search made again finds some
        documents again, as objects of their own.
        """
        more = () if inputs is None else tuple(every_document(inputs))
        seen = self.seen | document_keys(more)
        new = [pair for pair in documents if not document_keys([pair[0]]) & seen]
        passed_on = {id(document) for document in (*self.documents, *more)}
        return [pair for pair in documents if id(pair[0]) not in passed_on or pair in new] if new else []


class ChainNodes:
    """The chains under way, by run id. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nodes: dict[UUID, ChainNode] = {}

    def enter(
        self,
        id: UUID,
        parent: UUID | None,
        inputs: Any,
        tags: Sequence[str],
        metadata: Mapping[str, Any],
        name: str,
    ) -> None:
        """A chain begins.

        Args:
            id: Id of the chain's run.
            parent: Id of the run above.
            inputs: What it was given.
            tags: Tags of the run; a graph's node is known by them.
            metadata: Metadata of the run; has the thread of a graph with a checkpointer.
            name: Name of the run.
        """
        query = question_of(inputs)
        documents = tuple(every_document(inputs))
        seen = document_keys(documents)
        with self._lock:
            parent_node = self._nodes.get(parent) if parent is not None else None
            node = ChainNode(parent_node, Root() if parent_node is None else parent_node.root, query, seen, documents)
            if parent_node is None and (thread := metadata.get("thread_id")) is not None:
                node.root.thread, node.root.graph = fingerprint({"thread": str(thread)})[:16], name
                node.root.resumed = inputs is None or (is_command(inputs) and inputs.resume is not None)
            if parent_node is not None and any(tag.startswith(_GRAPH_STEP) for tag in tags):
                parent_node.has_steps = True
                _mark_above(parent_node, "is_graph")
                if metadata.get("langgraph_node") != "__start__":  # that one is given the input, not the state
                    node.is_step = True
                    node.given = fields_of(inputs) or {}
                    if parent_node.before is None:
                        parent_node.before, parent_node.old = node.given, seen - parent_node.seen
            # Documents of an earlier run of the conversation may be found again: only this run's were passed on.
            node.seen -= _old_documents(parent_node)
            self._keep(id, node)

    def enter_tool(self, id: UUID, parent: UUID | None) -> None:
        """A tool begins: what chains above it return of its results is its own to tell."""
        with self._lock:
            parent_node = self._nodes.get(parent) if parent is not None else None
            if parent_node is not None:
                _mark_above(parent_node, "has_tools")
            self._keep(id, ChainNode(parent_node, Root() if parent_node is None else parent_node.root))

    def leave(self, id: UUID, outputs: Any) -> ChainNode | None:
        """A chain or tool ended; returns what was kept of it."""
        with self._lock:
            node = self._nodes.pop(id, None)
        if node is None or not node.is_step or node.parent is None:
            return node
        for update in unwrap(outputs):
            fields = fields_of(update) or {}
            if node.has_steps:  # a graph as a node returns its whole state
                wrote = {key for key in fields if key in node.written}
            elif isinstance(update, Mapping):
                wrote = set(fields)
            else:  # a state object has all its fields, also those that were only passed on
                wrote = {key for key in fields if key not in node.given or fields[key] is not node.given[key]}
            with self._lock:
                node.parent.written |= wrote
                node.parent.old -= document_keys(every_document(update))
        return node

    def _keep(self, id: UUID, node: ChainNode) -> None:
        self._nodes[id] = node
        while len(self._nodes) > _MOST:  # runs that never ended
            self._nodes.pop(next(iter(self._nodes)))


def _old_documents(node: ChainNode | None) -> frozenset[tuple[str, str]]:
    while node is not None and node.before is None:
        node = node.parent
    return frozenset() if node is None else node.old


def _mark_above(node: ChainNode | None, name: str) -> None:
    while node is not None and not getattr(node, name):
        setattr(node, name, True)
        node = node.parent
