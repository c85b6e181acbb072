"""Telling what a model thinks aloud from its answer, by the marks that models put around their thoughts."""

from __future__ import annotations

import re

__all__ = ["answer_start", "opens_thoughts", "without_thoughts"]

# <think>, <thinking>, <seed:think>; [THINK] of Mistral's models; Kimi's.
_MARK = r"<{0}(?:seed:)?think(?:ing)?>|\[{0}THINK\]|◁{0}think▷"
_BEGIN = re.compile(_MARK.format(""), re.IGNORECASE)
_END = re.compile(_MARK.format("/"), re.IGNORECASE)


def without_thoughts(text: str) -> str | None:
    """Return what follows the ``<think>`` block of a reasoning model, or None if it never came to an end of thinking.

    Example:
        >>> without_thoughts("<think>2 or 3?</think>Grade: 3")
        'Grade: 3'
    """
    answer = text[max((match.end() for match in _END.finditer(text)), default=0) :]
    return None if _BEGIN.search(answer) else answer


def answer_start(text: str) -> int | None:
    """Return where the first thoughts end and an answer may begin, None where no thoughts end.

    They may end without a beginning: the chat template of some models opens them in the prompt.
    """
    end = _END.search(text)
    return None if end is None else end.end()


def opens_thoughts(text: str) -> bool:
    """Whether a text begins with thoughts."""
    return _BEGIN.match(text.lstrip()) is not None
