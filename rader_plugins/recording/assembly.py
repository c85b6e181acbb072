"""`RunAssembly`: puts the events of one run together into a trajectory. Recorders and importers share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rader_plugins.recording.entries import Entry, Node, RunKind
from rader_plugins.recording.limits import RecordingLimits
from rader_plugins.recording.results import without_repeats
from rader_plugins.trajectories import Considered, Step, Trajectory

__all__ = ["RecordingLimits", "RunAssembly", "RunKind"]


class RunAssembly:
    """One run, whose events come as they happen or are replayed from a log, as a trajectory.

    A run is a tree of nodes: a chain with retrievers, tools and models below it. Steps stand in the order in which
    their nodes began, a retrieval after its query, however concurrent they were. Of nested searches the outermost
    retriever counts, and of a tool or chain around a retriever the retriever. Below a retriever nothing is kept. A
    search that failed and was tried again is one query. Not safe to use from several threads: :class:`RunTracker` is.

    Args:
        id: Name of the trajectory.
        question: What was asked; None where it becomes known later, or the first query has to stand for it.
        source: What the trajectory calls its maker.
        limits: Bounds of steps, documents and characters; None cuts nothing.
        metadata: Goes into the trajectory.

    Example:
        >>> run = RunAssembly("run-1", "How many guests?", source="import:spans")
        >>> run.start("agent")
        >>> run.start("search", "agent", "retriever", "friends or strangers")
        >>> run.retrieved("search", [Considered("ramsey", "Among six people ...")])
        >>> run.finish("search")
        >>> run.finish("agent", answer="six")
        >>> [step.kind for step in run.trajectory().steps]
        ['query', 'retrieval', 'answer']
    """

    def __init__(
        self,
        id: str,
        question: str | None = None,
        *,
        source: str,
        limits: RecordingLimits | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.id = id
        self.question = question
        self.source = source
        self.answer: str | None = None
        self.error: str | None = None
        self.metadata = dict(metadata or {})
        self.unread = 0
        """Results and arguments that could not be read and were left out."""
        self._limits = limits
        self._nodes: dict[str, Node] = {}
        self._entries: dict[int, Entry] = {}
        self._begun = 0
        self._started = 0
        self._truncated = False

    @property
    def is_part(self) -> bool:
        """Whether it may be a part of a run that goes on, or began, elsewhere: in a thread, paused or resumed."""
        facts = self.metadata
        return bool("thread" in facts and (facts.get("interrupted") or facts.get("resumed") or self.answer == ""))

    @property
    def nodes(self) -> frozenset[str]:
        """Ids of the nodes that are under way."""
        return frozenset(self._nodes)

    def has_open(self, id: str) -> bool:
        """Whether a node that this one started is under way."""
        return any(node.parent == id for node in self._nodes.values())

    @property
    def full(self) -> bool:
        """Whether so many nodes are under way that no more are taken in."""
        return self._limits is not None and len(self._nodes) > 20 * self._limits.steps

    def start(
        self, id: str, parent: str | None = None, kind: RunKind = "chain", text: str | None = None, hidden: bool = False
    ) -> None:
        """A node begins.

        Args:
            id: Id of the node.
            parent: Id of the node that started it; None, or one that is not under way, makes it a root.
            kind: Kind of the node.
            text: The query of a retriever.
            hidden: Whether nothing of it and of what runs below is a step: its work belongs to another's.
        """
        parent_node = self._nodes.get(parent) if parent is not None else None
        hidden = hidden or (parent_node is not None and (parent_node.hidden or parent_node.kind == "retriever"))
        node = Node(parent if parent_node is not None else None, kind, hidden, self._begun)
        self._begun += 1
        self._nodes[id] = node
        if hidden or kind == "chain":
            return
        if not self._has_room():
            node.hidden = True
            return
        if kind == "retriever":
            self._mark_searched(node.parent)
            if text and text.strip():
                self._entries[node.order] = self._entry(id, Step("query", self._cut(text.strip())))

    def retrieved(self, id: str, documents: Sequence[Considered], query: str | None = None) -> None:
        """A node found documents, best first.

        Args:
            id: Id of the retriever; or of a tool or chain that searched by itself, which counts if no retriever ran
                below it.
            documents: The documents that it returned.
            query: What a tool or chain searched for.
        """
        node = self._visible(id)
        if node is None or (node.kind != "retriever" and node.searched):
            return
        if node.kind == "chain" and not self._has_room():
            return
        if node.kind != "retriever":
            node.searched = True
            self._mark_searched(node.parent)
        entry = self._entries.setdefault(node.order, self._entry(id))
        if query and query.strip() and not entry.steps:
            entry.steps.append(Step("query", self._cut(query.strip())))
        entry.steps.append(self._retrieval(documents))

    def thought(self, id: str, text: str, *, answers: bool = True) -> None:
        """A language model wrote something.

        Args:
            id: Id of the model's node.
            text: What the model wrote.
            answers: Whether it may be the answer, if nothing says what is and it comes last; False for a remark that
                comes with calls of tools.
        """
        node = self._visible(id)
        if node is None or not text.strip():
            return
        step = Step("thought", self._cut(text.strip()))
        earlier = [order for order, entry in self._entries.items() if order < node.order and entry.steps]
        # Models that are built on one another tell of one text twice.
        if not earlier or step != self._entries[max(earlier)].steps[-1]:
            self._entries[node.order] = self._entry(id, step, answers=answers)

    def write(self, id: str, part: str, *, answers: bool = True) -> None:
        """A language model that streams wrote a part of its text; counts if the model does not come to its end.

        Args:
            id: Id of the model's node.
            part: The next part of the text.
            answers: Whether it may be the answer, as in :meth:`thought`.
        """
        node = self._visible(id)
        if node is None:
            return
        node.remark = node.remark or not answers
        if self._limits is None or len(node.parts) <= self._limits.characters:
            node.parts.append(part)

    def tool_result(self, id: str, call: str, result: str | None, unread: int = 0) -> None:
        """A tool that is no search returned; ignored if a retriever ran below it.

        Args:
            id: Id of the tool's node.
            call: Name and arguments, as text.
            result: What it returned, as text; None if that is no text that could be kept.
            unread: How many arguments and results were left out, because they are objects that no text stands for.
        """
        node = self._visible(id)
        if node is None or node.searched:
            return
        self.unread += unread
        text = call if result is None else f"{call} -> {result}"
        self._entries[node.order] = self._entry(id, Step("thought", self._cut(text)))

    def leave_out(self, count: int = 1) -> None:
        """Count what could not be read and is left out."""
        self.unread += count

    def finish(self, id: str, *, answer: str | None = None, error: str | None = None) -> None:
        """A node ended.

        Args:
            id: Id of the node.
            answer: Answer of the node; of several the root's counts, else the last. ``""`` says that there is none.
            error: What it failed with.
        """
        node = self._nodes.pop(id, None)
        if node is None:
            return
        if answer is not None:
            self.answer = answer
        if error is None and node.parts and node.order not in self._entries:
            self._nodes[id] = node
            self.thought(id, "".join(node.parts), answers=not node.remark)
            del self._nodes[id]
        if node.parent is None:
            self.error = error
            for writer_id, writer in list(self._nodes.items()):
                self.thought(writer_id, "".join(writer.parts), answers=not writer.remark)
        entry = self._entries.get(node.order)
        if entry is not None and error is not None and node.kind == "retriever":
            entry.failed = True
        if error is not None and node.parent is not None:
            for below in self._entries.values():
                below.abandoned |= id in below.above

    def trajectory(self, metadata: Mapping[str, Any] | None = None) -> Trajectory | None:
        """Return the run as it is now; None if there is neither a question nor a query, and it is no part of a run.

        Where no node told an answer, what a model wrote last is it. ``question_from``, ``error``, ``truncated``,
        ``failed_searches`` and ``unread`` (how many results were left out) are in the metadata where they apply.

        Args:
            metadata: Further metadata of the trajectory.
        """
        entries = self._settled()
        steps = [step for entry in entries for step in entry.steps]
        facts: dict[str, Any] = {**self.metadata, **(metadata or {})}
        question = self.question
        if not question or not question.strip():
            question = next((step.text for step in steps if step.kind == "query"), None)
            if question:
                facts["question_from"] = "query"
        if not question and not self.is_part:
            return None
        if failed := sum(entry.failed for entry in self._entries.values()):
            facts["failed_searches"] = failed
        if self.unread:
            facts["unread"] = self.unread
        answer = None
        if self.error is not None:
            facts["error"] = self.error
        elif answer := self._said(entries, bool(facts.get("closed_early"))) or None:
            if steps and steps[-1].kind == "thought" and steps[-1].text.strip() == answer.strip():
                steps.pop()
            steps.append(Step("answer", answer))
        question = self._cut(question or "")
        if self._truncated:
            facts["truncated"] = True
        return Trajectory(self.id, "", question, tuple(steps), answer, None, None, self.source, facts)

    def _said(self, entries: Sequence[Entry], closed_early: bool) -> str | None:
        """Return the answer; what a model wrote last where nothing tells it, or tells less than it wrote."""
        answer = self.answer
        if entries and entries[-1].answers:
            last = entries[-1].steps[-1].text
            if answer is None or (closed_early and answer and last.startswith(answer.strip())):
                answer = last
        if not answer or self._limits is None or len(answer) <= self._limits.characters:
            return answer
        self._truncated = True
        end = self._limits.characters // 2  # what is asked for stands at the end, most often
        return f"{answer[: self._limits.characters - end]}{answer[-end:] if end else ''}"

    def _settled(self) -> list[Entry]:
        """Return the entries in order, without searches that failed, or whose attempt did, and were made again."""
        entries = [self._entries[order] for order in sorted(self._entries) if self._entries[order].steps]
        lasting = [entry for entry in entries if not (entry.failed or entry.abandoned)]
        queries = {entry.steps[0].text for entry in lasting if entry.steps[0].kind == "query"}
        searches = {entry.search for entry in lasting}
        return [
            entry
            for entry in entries
            if not (entry.failed and entry.steps[0].text in queries)
            and not (entry.abandoned and entry.search is not None and entry.search in searches)
        ]

    def _entry(self, id: str, *steps: Step, answers: bool = False) -> Entry:
        above: set[str] = set()
        parent = self._nodes[id].parent
        while parent is not None and parent not in above:
            above.add(parent)
            parent = node.parent if (node := self._nodes.get(parent)) is not None else None
        return Entry(id, list(steps), answers=answers, above=frozenset(above))

    def _has_room(self) -> bool:
        self._started += 1
        if self._limits is not None and self._started > self._limits.steps:
            self._truncated = True
            return False
        return True

    def _visible(self, id: str) -> Node | None:
        node = self._nodes.get(id)
        return None if node is None or node.hidden else node

    def _mark_searched(self, id: str | None) -> None:
        while id is not None and (node := self._nodes.get(id)) is not None:
            node.searched = True
            id = node.parent

    def _cut(self, text: str) -> str:
        if self._limits is None or len(text) <= self._limits.characters:
            return text
        self._truncated = True
        return text[: self._limits.characters]

    def _retrieval(self, documents: Sequence[Considered]) -> Step:
        if self._limits is not None and len(documents) > self._limits.documents:
            self._truncated = True
            documents = documents[: self._limits.documents]
        distinct = without_repeats(documents)
        return Step(
            "retrieval", considered=tuple(replace(document, text=self._cut(document.text)) for document in distinct)
        )
