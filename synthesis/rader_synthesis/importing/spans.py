"""Importers of traces: rows of spans, put together by the id of their trace and, where they have one, their session."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_synthesis.importing.continuing import Sessions
from rader_synthesis.importing.conversation import Conversation
from rader_synthesis.importing.conversations import EventImporter
from rader_synthesis.importing.feedback import read_scores, score_name
from rader_synthesis.importing.grouping import RowGroups
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Row
from rader_synthesis.importing.tracing import Span, SpanKind, TraceReader

__all__ = ["Span", "SpanKind", "TraceImporter"]


class TraceImporter(EventImporter):
    """An importer of spans, which lie in rows of any order: those of a trace are put together by its id.

    A subclass has :meth:`spans_of`. Rows wait in a file beside the trace's id, so that memory does not grow with them.
    """

    def conversations(self, paths: Sequence[Path], report: ImportReport) -> Iterator[Conversation]:
        """Yield one conversation for each trace, in the order in which the traces began."""
        with RowGroups.opened() as traces:
            for path in paths:
                for row, value in self.values(path, report):
                    try:
                        for part in self.parts(value):
                            traces.add(self.trace_of(part, row), row, part)
                    except InputError as error:
                        self.fault(error, report)
            sessions = Sessions()
            for trace in self._in_order_of_sessions(traces):
                try:
                    conversation = self._conversation(trace, self._spans(traces.rows(trace), report), report)
                except InputError as error:
                    self.fault(error, report)
                    continue
                if conversation is not None:
                    yield sessions.continued(conversation)

    def parts(self, value: Any) -> Iterable[Any]:
        """Return what a row holds, one part a span or trace; a format that packs many into a row takes them apart."""
        return [value]

    @abstractmethod
    def trace_of(self, value: Any, row: Row) -> str:
        """Return the id of the trace that a part belongs to.

        Raises:
            InputError: The part is no span or trace of this format.
        """

    @abstractmethod
    def spans_of(self, value: Any, row: Row, report: ImportReport) -> Iterable[Span]:
        """Return the spans of a part; a part that only rates a trace gives a span without input and output."""

    def _spans(self, rows: Sequence[Row], report: ImportReport) -> list[Span]:
        """Return the spans of rows, each once however often it was exported, in the order in which they began."""
        distinct: dict[str, Span] = {}
        for row in rows:
            for span in self.spans_of(row.content, row, report):
                if span.id in distinct:
                    report.notes["span that is there twice"] += 1
                distinct[span.id] = span
        return _in_order(list(distinct.values()))

    def _in_order_of_sessions(self, traces: RowGroups) -> list[str]:
        """Return the traces in their order, those of one session by when they began (exports begin with the last)."""
        starts: dict[str, list[tuple[Any, int]]] = {}
        keys = traces.keys()
        for number, trace in enumerate(keys):
            try:
                spans = self._spans(traces.rows(trace), ImportReport())
            except InputError:
                continue
            session = next((span.session for span in spans if span.session), "")
            start = next((span.start for span in spans if span.start), None)
            if session and start is not None:
                starts.setdefault(session, []).append((start, number))
        order = list(range(len(keys)))
        for entries in starts.values():
            if len({type(start) for start, _ in entries}) == 1:
                for position, (_, number) in zip(sorted(n for _, n in entries), sorted(entries), strict=True):
                    order[position] = number
        return [keys[number] for number in order]

    def _conversation(self, trace: str, spans: Sequence[Span], report: ImportReport) -> Conversation | None:
        steps = [
            span
            for span in spans
            if span.input is not None or span.output is not None or span.messages or span.completion
        ]
        scores = self._scores(spans, report)
        if not steps:
            is_rating = any(span.scores for span in spans)
            report.skipped[
                "feedback for a trace that is not there" if is_rating else "trace without inputs and outputs"
            ] += 1
            return None
        where = steps[0].where
        steps_of_trace = [span for span in spans if not _only_scores(span)]
        events, instructions = TraceReader(steps_of_trace, self.reading, report, where).events()
        gold = next((span.gold for span in spans if span.gold is not None), None)
        session = next((span.session for span in spans if span.session), "")
        return Conversation(
            id=trace,
            events=events,
            where=where,
            reward=read_scores(scores, where, self.reading.scale, report.ignored) if scores else None,
            gold_answer=gold,
            metadata={"session": session} if session else {},
            instructions=instructions,
        )

    def _scores(self, spans: Sequence[Span], report: ImportReport) -> list[Any]:
        """Return the feedback on the answer: none of a search, which may be good where the answer is wrong."""
        searches = {span.id for span in spans if span.kind in ("retriever", "reranker")}
        scores = []
        for span in spans:
            if (span.id in searches or span.parent in searches and _only_scores(span)) and not self.reading.scale.names:
                for score in span.scores:
                    report.ignored[f"score {score_name(score)} of a search".replace("  ", " ")] += 1
            else:
                scores += span.scores
        return scores


def _only_scores(span: Span) -> bool:
    """Whether a span is a row of feedback, and no step."""
    return bool(span.scores) and not span.start and span.input is None and span.output is None and not span.completion


def _in_order(spans: Sequence[Span]) -> list[Span]:
    """Return spans by when they began, where all say so in one way; else in their order."""
    starts = [span.start for span in spans if span.start is not None]
    one_way = len({type(start) for start in starts}) == 1
    if len(starts) < len(spans) - sum(span.input is None and span.output is None for span in spans) or not one_way:
        return list(spans)
    last = max(starts)
    return sorted(spans, key=lambda span: last if span.start is None else span.start)
