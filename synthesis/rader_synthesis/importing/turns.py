"""From the events of a conversation to trajectories: the same for every format.

A user's message begins a turn; every turn that something answered is a trajectory. Calls of search tools become
queries and retrievals, calls that open a document that was found become ``open`` steps, all other calls thoughts. The
text that ends a turn is its answer. What the interface says that it cites, and numbers (``[2]``) that the results
carried, are exact labels (``citation``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rader_plugins.errors import InputError
from rader_plugins.recording.redaction import question_id
from rader_plugins.recording.results import query_of
from rader_plugins.text_matching import words
from rader_plugins.trajectories import Considered, Step, Trajectory
from rader_synthesis.importing.conversation import (
    Answer,
    Call,
    Citation,
    Conversation,
    Event,
    Found,
    Question,
    Result,
    Search,
    Thought,
)
from rader_synthesis.importing.corpus import Corpus, settle_steps
from rader_synthesis.importing.feedback import Scale
from rader_synthesis.importing.prompts import PromptDocuments
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.tools import (
    as_text,
    is_open_name,
    looks_like_documents,
    opened_target,
    read_found,
    searches_by_name,
)

__all__ = ["FollowUps", "Reading", "reading_weight", "trajectories_of"]

FollowUps = Literal["carry", "leave-out"]
"""What becomes of questions after the first: they carry their conversation, or are left out and counted."""

_THOUGHTS = re.compile(r"<(think|thinking|thought|reasoning)>(.*?)(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_UNOPENED = re.compile(r"\A(.*?)</(?:think|thinking)>", re.DOTALL | re.IGNORECASE)
_NUMBERS = re.compile(r"[\[［【]\^?(\d{1,3}(?:\s*[,，、;]\s*\d{1,3})*)(?:†[^】\]]*)?[\]］】]")
_LONGEST_RESULT = 2000
_LONGEST_CONTEXT = 600
_HALF_WEIGHT_WORDS = 100


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How conversations are read.

    Args:
        tools: Names of the search tools; None recognises them by name and by what they return.
        corpus: Gives retrieved documents their ids and texts.
        scale: Of ratings.
        follow_ups: What becomes of questions after the first.
        prompts: Finds documents that stand in a prompt.
    """

    tools: frozenset[str] | None = None
    corpus: Corpus | None = None
    scale: Scale = field(default_factory=Scale)
    follow_ups: FollowUps = "carry"
    prompts: PromptDocuments = field(default_factory=PromptDocuments)


@dataclass
class _Pending:
    slot: int
    name: str
    arguments: Any
    answered: bool = False


@dataclass
class _Slot:
    """The steps of one event, wherever its result stands."""

    steps: list[Step] = field(default_factory=list)
    said: bool = False
    citations: tuple[Citation, ...] = ()
    open_ended: bool = False


def reading_weight(following: int) -> float:
    """Return how much an opened document counts, by how many words of reasoning followed: from 0.1 to nearly 2.

    It grows with the reasoning and saturates, as LRAT (arXiv 2604.04949) weights its loss; 100 words count 1.

    Example:
        >>> reading_weight(0), reading_weight(100), reading_weight(300)
        (0.1, 1.0, 1.5)
    """
    return max(0.1, round(2 * following / (following + _HALF_WEIGHT_WORDS), 3))


def trajectories_of(
    conversation: Conversation, reading: Reading, report: ImportReport, source: str
) -> Iterator[Trajectory]:
    """Yield the trajectories of the turns of a conversation, whose reward goes to the last turn that searched.

    Raises:
        InputError: The conversation contradicts itself; the message names it.
    """
    turns = _turns(conversation, reading, report)
    if not turns:
        report.skipped["no user message"] += 1
        return
    searched = [number for number, turn in enumerate(turns) if turn.searched]
    rated = searched[-1] if searched else len(turns) - 1
    if conversation.reward is not None and searched and rated != len(turns) - 1:
        report.notes["reward given to the last turn that searched, which is not the last turn"] += 1
    before = list(conversation.before)
    for number, turn in enumerate(turns):
        steps, answer = turn.finished(report)
        follow_up = bool(before)
        question = _with_context(before, turn.question) if follow_up else turn.question
        metadata = dict(conversation.metadata)
        if len(turns) > 1:
            metadata |= {"turn": number + 1, "turns": len(turns)}
        if follow_up:
            metadata |= {"follow_up": True, "message": turn.question}
        before.append((turn.question, answer or ""))
        if follow_up and turn.searched and reading.follow_ups == "leave-out":
            report.skipped["follow-up, which only its conversation explains"] += 1
            continue
        if follow_up and turn.searched:
            report.notes["follow-up that carries its conversation in the question"] += 1
        yield Trajectory(
            id=conversation.id if len(turns) == 1 else f"{conversation.id}/{number + 1}",
            problem_id=question_id(question),
            question=question,
            steps=settle_steps(steps, reading.corpus, report),
            answer=answer,
            gold_answer=conversation.gold_answer if number == rated else None,
            reward=conversation.reward if number == rated else None,
            source=source,
            metadata=metadata,
        )


def _with_context(before: Sequence[tuple[str, str]], question: str) -> str:
    """Return a question with the conversation that it follows, long answers cut."""
    lines = []
    for asked, answered in before:
        lines.append(f"User: {asked}")
        if answered:
            cut = answered if len(answered) <= _LONGEST_CONTEXT else answered[:_LONGEST_CONTEXT].rstrip() + " ..."
            lines.append(f"Assistant: {cut}")
    return "\n".join([*lines, f"User: {question}"])


def _turns(conversation: Conversation, reading: Reading, report: ImportReport) -> list[_Turn]:
    turns: list[_Turn] = []
    for event in conversation.events:
        if isinstance(event, Question):
            text = event.text.strip()
            if turns and not turns[-1].slots:
                turns[-1].question = f"{turns[-1].question}\n{text}".strip()
            elif text:
                turns.append(_Turn(text, reading, report, conversation.where, turns[-1] if turns else None))
        elif turns:
            turns[-1].add(event)
        elif isinstance(event, Search | Call):
            report.skipped["search before the first question"] += 1
    for turn in turns:
        turn.read_prompt(conversation.instructions)
    return turns


class _Turn:
    """One question and what followed it."""

    def __init__(self, question: str, reading: Reading, report: ImportReport, where: str, before: _Turn | None) -> None:
        self.question = question
        self.slots: list[_Slot] = []
        self._reading = reading
        self._report = report
        self._where = where
        self._calls: dict[str, _Pending] = {} if before is None else before._calls
        self._owner: dict[str, _Turn] = {} if before is None else before._owner
        self._names: dict[str, list[str]] = {}
        self._before = before

    @property
    def searched(self) -> bool:
        """Whether something was retrieved."""
        return any(step.considered for slot in self.slots for step in slot.steps)

    def add(self, event: Event) -> None:
        """Take what happened next."""
        if isinstance(event, Thought):
            self._think(event.text)
        elif isinstance(event, Answer):
            self._say(event)
        elif isinstance(event, Call):
            self._call(event)
        elif isinstance(event, Result):
            self._result(event)
        elif isinstance(event, Search):
            self._search(event)

    def read_prompt(self, instructions: str) -> None:
        """Find the documents in the message or in the instructions, where nothing was searched for."""
        if self.searched:
            return
        parts = self._reading.prompts.split(self.question, self._reading.corpus)
        if parts is None and instructions.strip():
            prompt = f"{instructions.strip()}\n\nQuestion: {self.question}"
            parts = self._reading.prompts.split(prompt, self._reading.corpus)
        if parts is not None:
            self.question = parts.question
            self.slots.insert(0, _Slot([self._retrieval(parts.found)]))
            self._report.notes["documents found in the prompt"] += len(parts.found)

    def finished(self, report: ImportReport) -> tuple[list[Step], str | None]:
        """Return the steps, labelled by what the interface cites and by numbers, and the answer."""
        answer = None
        last = next((slot for slot in reversed(self.slots) if slot.steps), None)
        if last is not None and last.said and last.steps[-1].kind == "thought":
            answer = last.steps[-1].text
            last.steps[-1] = Step("answer", answer)
        cited: dict[str, str] = {}
        for slot in self.slots:
            for citation in slot.citations:
                self._cite(citation, cited, report)
        if answer is not None:
            for number in dict.fromkeys(n for m in _NUMBERS.finditer(answer) for n in re.findall(r"\d+", m[1])):
                ids = self._names.get(f"[{number}]", [])
                if len(ids) == 1:
                    cited.setdefault(ids[0], f"the answer cites number {number}")
                elif ids:
                    report.notes["number cited that several searches gave to different documents"] += 1
        steps = [step for slot in self.slots for step in slot.steps]
        return [_labelled(step, cited) for step in _weighted(steps)], answer

    def _think(self, text: str, said: bool = False, citations: tuple[Citation, ...] = ()) -> None:
        if text.strip():
            self.slots.append(_Slot([Step("thought", text.strip())], said, citations))

    def _say(self, event: Answer) -> None:
        text = event.text
        unopened = _UNOPENED.match(text)
        if unopened is not None and not re.search(r"<think(?:ing)?>", unopened[1], re.IGNORECASE):
            self._think(unopened[1])  # a template had written the opening tag into the prompt
            text = text[unopened.end() :]
        for match in _THOUGHTS.finditer(text):
            self._think(match[2])
        self._think(_THOUGHTS.sub("", text), True, event.citations)

    def _call(self, event: Call) -> None:
        pending = _Pending(len(self.slots), event.name, event.arguments)
        self._calls[event.id] = pending
        self._owner[event.id] = self
        searches = searches_by_name(event.name, self._reading.tools)
        query = query_of(event.arguments) if searches else None
        self.slots.append(_Slot([Step("query", query) if query else Step("thought", self._called(pending))]))

    def _result(self, event: Result) -> None:
        key = event.call
        if not key:
            key = next((id for id, pending in reversed(self._calls.items()) if not pending.answered), "")
        pending = self._calls.get(key)
        if pending is None and not event.call:  # a format without ids, an observation that nothing was asked for
            self._think(as_text(event.content))
            return
        if pending is None:
            raise InputError(f"{self._where} has a result of the call {event.call!r}, which no message before it made.")
        pending.answered = True
        self._owner[key]._answer_call(pending, event)

    def _answer_call(self, pending: _Pending, event: Result) -> None:
        use, content = self._report.tool(pending.name), event.content
        searches = event.searched or searches_by_name(pending.name, self._reading.tools)
        if is_open_name(pending.name) and not (searches and self._reading.tools is not None):
            opened = self._opened(pending, content)
            if opened is not None:
                use.opened += 1
                self.slots[pending.slot] = _Slot([opened])
                return
        found = read_found(content, plain=searches) if searches or self._reading.tools is None else None
        if searches and found is None:
            found = []
        if found is None or not (searches or looks_like_documents(found)):
            use.others += 1
            text = f"{self._called(pending)} -> {as_text(content, _LONGEST_RESULT)}"
            self.slots[pending.slot] = _Slot([Step("thought", text)])
            return
        use.searches += 1
        query = query_of(pending.arguments)
        self.slots[pending.slot] = _Slot([*([Step("query", query)] if query else []), self._retrieval(found)])

    def _opened(self, pending: _Pending, content: Any) -> Step | None:
        """Return the step of a call that opened a document, if an earlier search found it or the call names it."""
        targets = opened_target(pending.arguments)
        id = next((id for target in targets if (id := self._resolve(target)) is not None), None)
        pages = [target for target in targets if target.startswith(("http://", "https://"))]
        if id is None and not pages:
            return None
        found = read_found(content, plain=False) or []
        text = found[0].document.text if len(found) == 1 and found[0].document.text else as_text(content)
        return Step("open", text, id or pages[0])

    def _resolve(self, target: str) -> str | None:
        for name in (target, f"[{target}]"):
            ids = self._names.get(name, [])
            if len(set(ids)) == 1:
                return ids[0]
        return None if self._before is None else self._before._resolve(target)

    def _search(self, event: Search) -> None:
        previous = next((slot for slot in reversed(self.slots) if any(step.considered for step in slot.steps)), None)
        if event.reranked and previous is not None and previous.steps[-1].kind == "retrieval":
            previous.steps[-1] = self._reordered(previous.steps[-1], event.found)
            self._report.notes["search put in the order of its reranker"] += 1
            return
        query = [Step("query", event.query.strip())] if event.query and event.query.strip() else []
        slot = _Slot([*query, self._retrieval(event.found)], open_ended=event.open_ended)
        self.slots.append(slot)

    def _retrieval(self, found: Sequence[Found]) -> Step:
        for each in found:
            for name in (each.document.id, *each.names):
                ids = self._names.setdefault(name, [])
                if each.document.id not in ids:
                    ids.append(each.document.id)
        return Step("retrieval", considered=tuple(each.document for each in found))

    def _reordered(self, step: Step, found: Sequence[Found]) -> Step:
        best = self._retrieval(found).considered
        by_id = {document.id: document for document in step.considered}
        by_text = {document.text: document for document in step.considered if document.text}
        first = [
            replace(before, score=document.score)
            if (before := by_id.get(document.id) or by_text.get(document.text)) is not None
            else document
            for document in best
        ]
        ids = {document.id for document in first}
        return replace(step, considered=(*first, *(one for one in step.considered if one.id not in ids)))

    def _cite(self, citation: Citation, cited: dict[str, str], report: ImportReport) -> None:
        reason = "the interface says that the answer cites it"
        ids = next((ids for name in citation.names if (ids := self._names.get(name))), [])
        if len(ids) > 1 and citation.text:
            ids = [id for id in ids if self._holds(id, citation.text)] or ids
        if not ids and citation.text:
            ids = [id for id in self._documents() if self._holds(id, citation.text)]
        open_ended = next((slot for slot in reversed(self.slots) if slot.open_ended), None)
        if not ids and open_ended is not None and (citation.address or citation.names):
            document = Considered(citation.address or citation.names[0], citation.text, title=citation.title)
            step = open_ended.steps[-1]
            self._retrieval([Found(document, (citation.title,) if citation.title else ())])
            open_ended.steps[-1] = replace(step, considered=(*step.considered, document))
            ids = [document.id]
        if not ids:
            report.notes["citation of a document that no search of its turn returned"] += 1
        for id in ids:
            cited[id] = reason

    def _documents(self) -> dict[str, Considered]:
        return {document.id: document for slot in self.slots for step in slot.steps for document in step.considered}

    def _holds(self, id: str, text: str) -> bool:
        document = self._documents().get(id)
        return document is not None and " ".join(text.split()) in " ".join(document.text.split())

    def _called(self, pending: _Pending) -> str:
        asked = pending.arguments
        return f"{pending.name}({asked if isinstance(asked, str) else as_text(asked)})"


def _labelled(step: Step, cited: dict[str, str]) -> Step:
    if not step.considered or not cited:
        return step
    return replace(
        step,
        considered=tuple(
            replace(document, relevant=True, reason=cited[document.id], labelled_by="citation")
            if document.id in cited and document.relevant is None
            else document
            for document in step.considered
        ),
    )


def _weighted(steps: list[Step]) -> list[Step]:
    """Return the steps, documents marked with whether they were opened and how much reasoning followed."""
    opened: dict[int, dict[str, int]] = {}
    texts: dict[str, str] = {}
    reasoned = False
    for number, step in enumerate(steps):
        if step.kind != "open" or step.document_id is None:
            continue
        search = next(
            (n for n in range(number - 1, -1, -1) if any(one.id == step.document_id for one in steps[n].considered)),
            None,
        )
        if search is None:
            continue
        following = 0
        for after in steps[number + 1 :]:
            if after.kind not in ("thought", "answer"):
                break
            following += len(words(after.text)) if after.kind == "thought" else 0
        reasoned = reasoned or following > 0
        counts = opened.setdefault(search, {})
        counts[step.document_id] = counts.get(step.document_id, 0) + following
        texts[step.document_id] = step.text
    marked = list(steps)
    for search, counts in opened.items():
        marked[search] = replace(
            steps[search],
            considered=tuple(
                replace(
                    document,
                    opened=document.id in counts,
                    weight=reading_weight(counts[document.id]) if reasoned and document.id in counts else 1.0,
                    text=document.text or texts.get(document.id, ""),
                )
                for document in steps[search].considered
            ),
        )
    return marked
