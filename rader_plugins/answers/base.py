"""`AnswerChecker`: what a checker of final answers has to offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rader_plugins.answers.extraction import after_thoughts, boxes

__all__ = ["AnswerChecker", "Verdict", "check_answer"]


@runtime_checkable
class AnswerChecker(Protocol):
    """Finds the final answer in a text and compares it with the right one. Safe to use from several threads."""

    @property
    def name(self) -> str:
        """Short name, with whatever decides its verdicts; it goes into manifests."""
        ...

    def extract(self, text: str) -> str | None:
        """Return the final answer in what a model wrote, trimmed, or None if there is none."""
        ...

    def equal(self, answer: str, gold: str, *, question: str = "") -> bool:
        """Whether an extracted answer means the same as the right one.

        Args:
            answer: What :meth:`extract` found.
            gold: The right answer; a text that states it in a sentence or a box is understood too.
            question: The question, for checkers that look at it.
        """
        ...


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and what it was taken to be (None: the text holds no final answer)."""

    correct: bool
    answer: str | None


def check_answer(checker: AnswerChecker, text: str, gold: str, *, question: str = "") -> Verdict:
    """Extract the final answer of a text and compare it with the right one; a text without one is wrong.

    Example:
        >>> from rader_plugins.answers import load_checker
        >>> check_answer(load_checker("numeric"), "She has 3 + 4 = 7 left. The answer is 7.", "7")
        Verdict(correct=True, answer='7')
    """
    answer = checker.extract(text)
    if answer is None:
        return Verdict(False, None)
    if checker.equal(answer, gold, question=question):
        return Verdict(True, answer)
    listed = boxes(after_thoughts(text))
    # Sets such as MATH give the last of several boxes as the right answer.
    return Verdict(len(listed) > 1 and checker.equal(listed[-1], gold, question=question), answer)
