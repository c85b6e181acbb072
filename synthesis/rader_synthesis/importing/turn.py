"""`Turn`: one question of a conversation and what followed it, as the steps of a trajectory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rader_plugins.errors import InputError
from rader_plugins.recording.results import query_of
from rader_plugins.trajectories import Considered, Step
from rader_synthesis.importing.citing import files_cited, likeliest_part, numbers_cited, page_key
from rader_synthesis.importing.conversation import (
    Answer,
    Call,
    Citation,
    Event,
    Feedback,
    Result,
    Search,
    SearchResult,
    Thought,
)
from rader_synthesis.importing.corpus import Corpus
from rader_synthesis.importing.feedback import Scale, read_reward
from rader_synthesis.importing.opened import with_opened
from rader_synthesis.importing.pending import Pending, PendingCalls
from rader_synthesis.importing.prompts import PromptDocuments
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.tools import (
    as_text,
    is_failure,
    is_open_name,
    looks_like_documents,
    opened_target,
    read_results,
    searches_by_name,
)

__all__ = ["FollowUps", "Reading", "Turn"]

FollowUps = Literal["carry", "leave-out"]
"""What becomes of questions after the first: they carry their conversation, or are left out and counted."""

_THOUGHTS = re.compile(r"<(think|thinking|thought|reasoning)>(.*?)(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_UNOPENED = re.compile(r"\A(.*?)</(?:think|thinking)>", re.DOTALL | re.IGNORECASE)
_LONGEST_RESULT = 2000


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How conversations are read.

    Args:
        tools: Names of the search tools; None recognises them by name and by what they return.
        corpus: Gives retrieved documents their ids and texts.
        scale: Scale of the ratings.
        follow_ups: What becomes of questions after the first.
        prompts: Finds documents that stand in a prompt.
    """

    tools: frozenset[str] | None = None
    corpus: Corpus | None = None
    scale: Scale = field(default_factory=Scale)
    follow_ups: FollowUps = "carry"
    prompts: PromptDocuments = field(default_factory=PromptDocuments)


@dataclass
class _Slot:
    """The steps of one event, wherever its result stands."""

    steps: list[Step] = field(default_factory=list)
    is_said: bool = False
    citations: tuple[Citation, ...] = ()
    open_ended: bool = False


class Turn:
    """One question and what followed it."""

    def __init__(self, question: str, reading: Reading, report: ImportReport, where: str, before: Turn | None) -> None:
        self.question = question
        self.slots: list[_Slot] = []
        self.reward: float | None = None
        self._reading = reading
        self._report = report
        self._where = where
        self._calls: PendingCalls[Turn] = PendingCalls() if before is None else before._calls
        self._unread: set[str] = set()
        self._excerpts: dict[str, list[str]] = {}
        self._undecided: set[str] = set()
        self._names: dict[str, list[str]] = {}
        self._before = before

    @property
    def searched(self) -> bool:
        """Whether something was retrieved."""
        return any(step.considered for slot in self.slots for step in slot.steps)

    @property
    def unanswered(self) -> int:
        """How many calls of search tools, of this and earlier turns, have no result."""
        return sum(searches_by_name(call.name, self._reading.tools) for call in self._calls.unanswered())

    def add(self, event: Event) -> None:
        """Take what happened next."""
        if not isinstance(event, Call):
            self._calls.end_batch()
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
        elif isinstance(event, Feedback):
            scale, ignored = self._reading.scale, self._report.ignored
            self.reward = read_reward(event.fields, self._where, scale, ignored=ignored)

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
            self.slots.insert(0, _Slot([self._retrieval(parts.results)]))
            self._report.notes["documents found in the prompt"] += len(parts.results)

    def finished(self, report: ImportReport) -> tuple[list[Step], str | None]:
        """Return the steps, labelled by what the interface cites and by numbers, and the answer."""
        answer = None
        last = next((slot for slot in reversed(self.slots) if slot.steps), None)
        if last is not None and last.is_said and last.steps[-1].kind == "thought":
            answer = last.steps[-1].text
            last.steps[-1] = Step("answer", answer)
        cited: dict[str, str] = {}
        for slot in self.slots:
            for citation in slot.citations:
                self._cite(citation, cited, answer or "", report)
        if answer is not None:
            for file in files_cited(answer, (name for name, ids in self._names.items() if name not in ids)):
                self._cite(Citation((file,)), cited, answer, report, "the answer names its file")
            for number in self._numbers(answer):
                ids = self._names[f"[{number}]"]
                if len(ids) == 1:
                    cited.setdefault(ids[0], f"the answer cites number {number}")
                else:
                    report.notes["number cited that several searches gave to different documents"] += 1
        steps = [step for slot in self.slots for step in slot.steps]
        marked = with_opened(steps, self._unread)
        return [_labelled(step, cited, self._undecided, self._excerpts) for step in marked], answer

    def _numbers(self, answer: str) -> Iterable[str]:
        """Return the numbers of results that an answer cites; brackets with other numbers are no citations."""
        brackets = (numbers for numbers in numbers_cited(answer) if all(f"[{n}]" in self._names for n in numbers))
        return dict.fromkeys(number for numbers in brackets for number in numbers)

    def _think(self, text: str, is_said: bool = False, citations: tuple[Citation, ...] = ()) -> None:
        if text.strip():
            self.slots.append(_Slot([Step("thought", text.strip())], is_said, citations))

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
        pending = self._calls.add(self, len(self.slots), event)
        searches = searches_by_name(event.name, self._reading.tools)
        query = query_of(event.arguments) if searches else None
        self.slots.append(_Slot([Step("query", query) if query else Step("thought", self._called(pending))]))

    def _result(self, event: Result) -> None:
        pending = self._calls.answered_by(event)
        if pending is not None:
            pending.turn._answer_call(pending, event)
        elif event.call:
            raise InputError(f"{self._where} has a result of the call {event.call!r}, which no message before it made.")
        else:  # a format without ids, an observation that nothing was asked for
            self._think(as_text(event.content))

    def _answer_call(self, pending: Pending[Turn], event: Result) -> None:
        use, content = self._report.tool(pending.name), event.content
        searches = event.searched or searches_by_name(pending.name, self._reading.tools)
        failed = event.failed or is_failure(content)
        if is_open_name(pending.name) and not (searches and self._reading.tools is not None):
            opened = self._opened(pending, content)
            if opened is not None and failed and opened.document_id is not None:
                self._report.notes["document that could not be opened"] += 1
                self._unread.add(opened.document_id)
            elif opened is not None:
                use.opened += 1
                self.slots[pending.slot] = _Slot([opened])
                return
        results = read_results(content, plain=searches) if searches or self._reading.tools is None else None
        if searches and (results is None or failed):
            self._report.notes["search that failed"] += failed
            results = []
        if results is None or (failed and not searches) or not (searches or looks_like_documents(results)):
            use.unsearched += 1
            text = f"{self._called(pending)} -> {as_text(content, _LONGEST_RESULT)}"
            self.slots[pending.slot] = _Slot([Step("thought", text)])
            return
        use.searches += 1
        query = query_of(pending.arguments)
        self.slots[pending.slot] = _Slot([*([Step("query", query)] if query else []), self._retrieval(results)])

    def _opened(self, pending: Pending[Turn], content: Any) -> Step | None:
        """Return the step of a call that opened a document, if an earlier search found it or the call names it."""
        targets = opened_target(pending.arguments)
        id = next((id for target in targets if (id := self._resolve(target)) is not None), None)
        pages = [target for target in targets if target.startswith(("http://", "https://"))]
        if id is None and not pages:
            return None
        results = read_results(content, plain=False) or []
        text = results[0].document.text if len(results) == 1 and results[0].document.text else as_text(content)
        return Step("open", text, id or pages[0])

    def _resolve(self, target: str) -> str | None:
        for name in (target, f"[{target}]", page_key(target)):
            ids = [] if name is None else self._names.get(name, [])
            if len(ids) == 1:
                return ids[0]
        return None if self._before is None else self._before._resolve(target)

    def _search(self, event: Search) -> None:
        previous = next((slot for slot in reversed(self.slots) if any(step.considered for step in slot.steps)), None)
        if event.reranked and previous is not None and previous.steps[-1].kind == "retrieval":
            previous.steps[-1] = self._reordered(previous.steps[-1], event.results)
            self._report.notes["search put in the order of its reranker"] += 1
            return
        query = [Step("query", event.query.strip())] if event.query and event.query.strip() else []
        slot = _Slot([*query, self._retrieval(event.results)], open_ended=event.open_ended)
        self.slots.append(slot)

    def _retrieval(self, results: Sequence[SearchResult]) -> Step:
        for result in results:
            names = (result.document.id, *result.names)
            pages = (key for name in names if (key := page_key(name)) is not None)
            for name in dict.fromkeys((*names, *pages)):
                ids = self._names.setdefault(name, [])
                if result.document.id not in ids:
                    ids.append(result.document.id)
        return Step("retrieval", considered=tuple(result.document for result in results))

    def _reordered(self, step: Step, results: Sequence[SearchResult]) -> Step:
        best = self._retrieval(results).considered
        by_id = {document.id: document for document in step.considered}
        by_text = {document.text: document for document in step.considered if document.text}
        first = [
            replace(before, score=document.score)
            if (before := by_id.get(document.id) or by_text.get(document.text)) is not None
            else document
            for document in best
        ]
        ids = {document.id for document in first}
        return replace(step, considered=(*first, *(document for document in step.considered if document.id not in ids)))

    def _cite(
        self,
        citation: Citation,
        cited: dict[str, str],
        answer: str,
        report: ImportReport,
        reason: str = "the interface says that the answer cites it",
    ) -> None:
        names = [*citation.names, *(key for name in citation.names if (key := page_key(name)) is not None)]
        ids = next((ids for name in names if (ids := self._names.get(name))), [])
        if len(ids) > 1 and citation.text:
            ids = [id for id in ids if self._holds(id, citation.text)] or ids
        if not ids and citation.text:
            ids = [id for id in self._documents() if self._holds(id, citation.text)]
        open_ended = next((slot for slot in reversed(self.slots) if slot.open_ended), None)
        if not ids and open_ended is not None and (citation.address or citation.names):
            document = Considered(citation.address or citation.names[0], citation.text, title=citation.title)
            step = open_ended.steps[-1]
            self._retrieval([SearchResult(document, (citation.title,) if citation.title else ())])
            open_ended.steps[-1] = replace(step, considered=(*step.considered, document))
            ids = [document.id]
        if not ids:
            report.notes["citation of a document that no search of its turn returned"] += 1
        if len(ids) > 1:
            report.notes["citation of a file of which several parts were found, the likeliest taken for cited"] += 1
            self._undecided.update(ids)
            documents = self._documents()
            ids = likeliest_part({id: documents[id].text for id in ids}, answer)
        for id in ids:
            cited[id] = reason
            excerpts = self._excerpts.setdefault(id, [])
            if citation.text and citation.text not in excerpts:
                excerpts.append(citation.text)

    def _documents(self) -> dict[str, Considered]:
        return {document.id: document for slot in self.slots for step in slot.steps for document in step.considered}

    def _holds(self, id: str, text: str) -> bool:
        document = self._documents().get(id)
        return document is not None and " ".join(text.split()) in " ".join(document.text.split())

    def _called(self, pending: Pending[Turn]) -> str:
        arguments = pending.arguments
        return f"{pending.name}({arguments if isinstance(arguments, str) else as_text(arguments)})"


def _labelled(step: Step, cited: dict[str, str], undecided: set[str], excerpts: dict[str, list[str]]) -> Step:
    """Return a step whose cited documents are labelled; one without a text gets what was cited of it."""

    def labelled(document: Considered) -> Considered:
        if document.relevant is not None:
            return document
        if document.id in cited:
            text = document.text or "\n".join(excerpts.get(document.id, ()))
            return replace(document, text=text, relevant=True, reason=cited[document.id], labelled_by="citation")
        if document.id in undecided:
            return replace(document, reason="the answer cites its file, and does not say which part")
        return document

    return replace(step, considered=tuple(map(labelled, step.considered)))
