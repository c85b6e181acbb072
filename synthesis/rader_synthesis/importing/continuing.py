"""Rows that repeat a conversation, or that are a part of one: the same again, a beginning, the next turn."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from rader_synthesis.importing.conversation import Answer, Conversation, Question
from rader_synthesis.importing.report import ImportReport

__all__ = ["Continuations", "Sessions"]

_MOST_WAITING = 64
_MOST_EXCHANGES = 5


class Continuations:
    """Leaves out conversations that one of the next rows continues.

    An application that logs every request of its model writes a conversation again and again, each time with one more
    message. The last is the whole of it.

    Args:
        report: Counts what is left out.
    """

    def __init__(self, report: ImportReport) -> None:
        self._report = report
        self._waiting: OrderedDict[bytes, Conversation] = OrderedDict()

    def without_repeats(self, conversations: Iterable[Conversation]) -> Iterator[Conversation]:
        """Yield the conversations that none of the 64 after them continues, in their order."""
        for conversation in conversations:
            prefixes = list(_prefixes(conversation))
            for prefix in prefixes[:-1]:
                shorter = self._waiting.get(prefix)
                if shorter is not None and shorter.reward is None and shorter.gold_answer is None:
                    del self._waiting[prefix]
                    self._report.skipped["part of a conversation that a later row continues"] += 1
            if not prefixes:
                yield conversation
                continue
            before = self._waiting.get(prefixes[-1])
            if before is not None and (conversation.reward, conversation.gold_answer) in (
                (None, None), (before.reward, before.gold_answer)
            ):  # fmt: skip
                self._report.skipped["the same conversation again"] += 1
                continue
            if before is not None:
                yield self._waiting.pop(prefixes[-1])
            self._waiting[prefixes[-1]] = conversation
            while len(self._waiting) > _MOST_WAITING:
                yield self._waiting.popitem(last=False)[1]
        yield from self._waiting.values()


class Sessions:
    """Gives the turns of a session that lie in rows of their own what went before them.

    Conversations come in their order; which session one belongs to stands in its metadata. Of every session the last
    five exchanges are kept.
    """

    def __init__(self) -> None:
        self._exchanges: dict[str, list[tuple[str, str]]] = {}

    def continued(self, conversation: Conversation) -> Conversation:
        """Return a conversation with the questions and answers of its session, where it does not hold them itself."""
        session = conversation.metadata.get("session")
        if session is None:
            return conversation
        history = self._exchanges.setdefault(session, [])
        questions = [event.text for event in conversation.events if isinstance(event, Question)]
        answer = next((event.text for event in reversed(conversation.events) if isinstance(event, Answer)), "")
        if history and history[-1][0] in questions[-1:]:
            history.pop()  # the same turn again, with more steps or as another try
        if len(questions) == 1:
            conversation.before = tuple(history)
        history += [(question, answer) for question in questions[-1:]]
        del history[:-_MOST_EXCHANGES]
        return conversation


def _prefixes(conversation: Conversation) -> Iterator[bytes]:
    """Yield a digest of what went before with the first event, with the first two, and so on."""
    content = hashlib.blake2b(repr(tuple(conversation.before)).encode("utf-8", "replace"), digest_size=16)
    for event in conversation.events:
        content.update(repr(event).encode("utf-8", "replace"))
        yield content.digest()
