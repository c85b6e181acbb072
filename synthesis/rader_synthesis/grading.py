"""Answers of one problem: which completion wins, and whether an answer is right."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rader_plugins.answers import AnswerChecker

__all__ = ["Grading"]


class Grading:
    """Compares answers to a question by a checker. Comparisons run in threads, and each is made once.

    Args:
        checker: Finds answers in texts and compares them.
        question: Text of the question.
        gold_answer: The right answer, by which others are judged.
    """

    def __init__(self, checker: AnswerChecker, question: str, gold_answer: str) -> None:
        self._checker = checker
        self._question = question
        self._gold = gold_answer
        self._known: dict[tuple[str, str], bool] = {}

    def extract(self, text: str) -> str | None:
        """Return the final answer that a text holds, if any."""
        return self._checker.extract(text) or None

    async def reward(self, answer: str | None) -> float:
        """Return 1.0 for the right answer and 0.0 for a wrong one or none."""
        return float(answer is not None and await self._same(answer, self._gold))

    async def most_frequent(self, answers: Sequence[str | None]) -> int:
        """Return the place of the answer that wins.

        Answers that the checker takes for equal vote together; completions without one do not vote. Of several that
        are equally frequent the first wins, and without any answer the first completion does.
        """
        groups: list[list[int]] = []
        for position, answer in enumerate(answers):
            if answer is None:
                continue
            for group in groups:
                first = answers[group[0]] or ""
                if answer == first or await self._same(answer, first):
                    group.append(position)
                    break
            else:
                groups.append([position])
        return max(groups, key=len)[0] if groups else 0

    async def _same(self, answer: str, other: str) -> bool:
        pair = (answer, other)
        if pair not in self._known:
            self._known[pair] = await asyncio.to_thread(self._checker.equal, answer, other, question=self._question)
        return self._known[pair]
