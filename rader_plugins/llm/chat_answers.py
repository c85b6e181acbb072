"""Reading the answers of chat and completion endpoints, in all the forms that servers give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rader_plugins.llm.base import Completion, Usage
from rader_plugins.llm.thoughts import answer_start, opens_thoughts, without_thoughts

__all__ = [
    "UnreadableError",
    "cut_at_stop",
    "in_order",
    "may_be_cut_in_thoughts",
    "is_empty",
    "read_chat",
    "read_continuation",
    "read_usage",
    "thinks_aloud",
]

_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
_TEXT_BLOCKS = {"text", "output_text"}
_THOUGHT_BLOCKS = {"thinking", "reasoning", "reasoning_content"}
_FILTERED = "content_filter"
# Where a server counts no tokens: so many characters are about one.
_CHARACTERS = 4


class UnreadableError(ValueError):
    """A choice is of no form that is known here; the message says what it lacks."""


def in_order(choices: Sequence[Any]) -> list[Any]:
    """Return choices by the numbers that the server gave them; where it gave none, as they are."""
    numbers = [choice.get("index") if isinstance(choice, dict) else None for choice in choices]
    if sorted(number for number in numbers if isinstance(number, int)) != list(range(len(choices))):
        return list(choices)
    return [choice for _, choice in sorted(zip(numbers, choices, strict=True), key=lambda pair: pair[0] or 0)]


def read_chat(choice: Any) -> Completion:
    """Return the completion in a choice of a chat answer.

    Raises:
        UnreadableError: It holds none.
    """
    message = choice.get("message") if isinstance(choice, dict) else None
    if message is None and isinstance(choice, dict) and choice.get("finish_reason") == _FILTERED:
        message = {}  # nothing was written: the filter says why
    if not isinstance(message, dict):
        raise UnreadableError("holds no message")
    text, thoughts = _content(message.get("content"))
    for name in _THOUGHT_FIELDS:
        if isinstance(field := message.get(name), str) and field:
            thoughts = thoughts or field
    return _completion(choice, text, thoughts, bool(message.get("refusal")))


def read_continuation(choice: Any) -> Completion:
    """Return the completion in a choice of an answer that continues raw text.

    Raises:
        UnreadableError: It holds none.
    """
    if not isinstance(choice, dict) or "text" not in choice:
        raise UnreadableError("holds no text")
    text, thoughts = _content(choice["text"])
    return _completion(choice, text, thoughts, False)


def _content(content: object) -> tuple[str, str]:
    """Return text and thoughts of a content, which is a text, a block, a list of blocks, or nothing."""
    if content is None or isinstance(content, str):
        return content or "", ""
    if isinstance(content, dict) and "type" in content:
        content = [content]
    if not isinstance(content, list):
        raise UnreadableError("has a content that is no text")
    texts: list[str] = []
    thoughts: list[str] = []
    for block in content:
        if isinstance(block, str):
            texts.append(block)
        elif isinstance(block, dict):
            kind = block.get("type", "text")
            if kind in _TEXT_BLOCKS:
                texts.append(_plain(block.get("text")))
            elif kind in _THOUGHT_BLOCKS:
                thoughts.append(_plain(block.get(kind, block.get("text"))))
    return "".join(texts), "".join(thoughts)


def _plain(value: object) -> str:
    """Return the text in a block's value: a text, or blocks again."""
    if isinstance(value, list):
        return "".join(_plain(block.get("text")) if isinstance(block, dict) else _plain(block) for block in value)
    return value if isinstance(value, str) else ""


def _completion(choice: dict[str, Any], text: str, thoughts: str, refused: bool) -> Completion:
    reason = choice.get("finish_reason")
    reason = reason if isinstance(reason, str) else ""
    return Completion(text, reason, refused or reason == _FILTERED, thoughts)


def read_usage(answer: Mapping[str, Any], prompt: object, completions: Sequence[Completion]) -> Usage:
    """Return what an answer cost; where the server does not count, an estimate by characters that says so."""
    counts = answer.get("usage")
    prompt_tokens, completion_tokens = (
        (counts.get("prompt_tokens"), counts.get("completion_tokens")) if isinstance(counts, dict) else (None, None)
    )
    empty = sum(is_empty(completion) for completion in completions)
    cut = sum(completion.finish_reason == "length" for completion in completions)
    if isinstance(prompt_tokens, int) and isinstance(completion_tokens, int):
        return Usage(1, max(prompt_tokens, 0), max(completion_tokens, 0), empty=empty, cut=cut)
    turns = [prompt] if isinstance(prompt, str) else [turn["content"] for turn in prompt]  # type: ignore[attr-defined]
    characters = sum(len(completion.text) + len(completion.thoughts) for completion in completions)
    prompt_tokens = prompt_tokens if isinstance(prompt_tokens, int) else -(-sum(map(len, turns)) // _CHARACTERS)
    completion_tokens = completion_tokens if isinstance(completion_tokens, int) else -(-characters // _CHARACTERS)
    return Usage(1, prompt_tokens, completion_tokens, empty=empty, cut=cut, estimated=1)


def is_empty(completion: Completion) -> bool:
    """Whether a completion holds nothing of use: no text, or thoughts alone. One that was refused says something."""
    return not completion.refusal and not (without_thoughts(completion.text) or "").strip()


def thinks_aloud(completion: Completion) -> bool:
    """Whether a model's thoughts come before its answer, where a stop string may meet them."""
    text = completion.text
    return bool(completion.thoughts) or opens_thoughts(text) or answer_start(text) is not None


def may_be_cut_in_thoughts(completion: Completion) -> bool:
    """Whether a stop string may have ended a completion before the answer, while the model was thinking or just after.

    Of thoughts that a server hands over apart from the answer nothing may be left to see.
    """
    return completion.finish_reason in ("stop", "") and is_empty(completion)


def cut_at_stop(completion: Completion, stop: Sequence[str]) -> Completion:
    """Return a completion that ends before the first stop string behind the thoughts, as if the server had stopped."""
    end = answer_start(completion.text)
    begin = end or 0
    body = completion.text[begin:]
    if end is not None or completion.thoughts:  # the line breaks between thoughts and answer are no part of it
        body = body.lstrip()
    elif opens_thoughts(body):  # it never came to an end of them
        return completion
    positions = [position for string in stop if (position := body.find(string)) >= 0]
    if not positions:
        return completion
    return Completion(completion.text[:begin] + body[: min(positions)], "stop", completion.refusal, completion.thoughts)
