"""`JudgeChecker`: a language model says whether two answers mean the same."""

from __future__ import annotations

import logging
import re
import threading

from rader_plugins.answers.extraction import stated_or_last_line
from rader_plugins.answers.text import normalized
from rader_plugins.errors import InputError, LLMError
from rader_plugins.llm.base import ChatModel, Message, without_thoughts
from rader_plugins.llm.templates import check_template, fill_template

__all__ = ["JUDGE_PROMPT", "JudgeChecker"]

_LOG = logging.getLogger(__name__)
_VERDICT = re.compile(r"\b(same|different)\b", re.IGNORECASE)

JUDGE_PROMPT = """Do the two answers to the question mean the same? Look at their meaning, not at their wording; \
whether they are true does not matter. Reply with one word, "same" or "different".

Question:
{question}

Reference answer:
{gold}

Given answer:
{answer}"""

_EXAMPLES: tuple[tuple[str, str, str, str], ...] = (
    ("How long is the side of a square of area 2?", r"\sqrt{2}", "the square root of two", "same"),
    ("What makes the moon shine?", "It reflects sunlight.", "Its own glowing core.", "different"),
    ("How many days are there in a leap year?", "366", "365", "different"),
    ("Which gas do plants take in?", "carbon dioxide", "CO2 from the air", "same"),
)


class JudgeChecker:
    """Asks a language model. Texts that are the same after normalisation are not sent to it.

    A verdict that cannot be read, or a model that does not answer, counts as "not the same"; ``undecided`` counts
    these and a warning is logged for each.

    Args:
        llm: The model; wrap it in a :class:`~rader_plugins.llm.CachedChat` so that a rerun asks nothing again.
        prompt: Template that holds ``{question}``, ``{gold}`` and ``{answer}``; the reply must hold "same" or
            "different".

    Raises:
        InputError: ``llm`` is no chat model, or the prompt lacks a place.
    """

    def __init__(self, llm: ChatModel, *, prompt: str = JUDGE_PROMPT) -> None:
        if not isinstance(llm, ChatModel):
            raise InputError(f"A judge needs llm=, a ChatModel such as OpenAIChat(url), not {type(llm).__name__}.")
        self.llm = llm
        self.prompt = check_template(prompt, ("question", "gold", "answer"))
        self.undecided = 0
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """``judge``, with the fingerprint of the model."""
        return f"judge({self.llm.fingerprint})"

    def extract(self, text: str) -> str | None:
        """Return the stated answer or the last line."""
        return stated_or_last_line(text)

    def equal(self, answer: str, gold: str, *, question: str = "") -> bool:
        """Whether the model says that both answers mean the same."""
        if normalized(answer) and normalized(answer) == normalized(gold):
            return True
        messages: list[Message] = []
        for example in _EXAMPLES:
            messages += [self._asked(*example[:3]), {"role": "assistant", "content": example[3]}]
        try:
            reply = self.llm.chat([*messages, self._asked(question, gold, answer)], max_tokens=512)[0]
            text = without_thoughts(reply.text) or ""
        except LLMError as error:
            return self._undecided(str(error))
        verdicts = {verdict.lower() for verdict in _VERDICT.findall(text)}
        if len(verdicts) != 1:
            return self._undecided(f"it said {text[:200]!r}")
        return verdicts == {"same"}

    def _asked(self, question: str, gold: str, answer: str) -> Message:
        values = {"question": question or "(not given)", "gold": gold, "answer": answer}
        return {"role": "user", "content": fill_template(self.prompt, values)}

    def _undecided(self, why: str) -> bool:
        with self._lock:
            self.undecided += 1
        _LOG.warning("The judge came to no verdict, which counts as a wrong answer: %s", why)
        return False
