"""`MathChecker`: mathematical answers, LaTeX included, compared by math-verify in a process of its own."""

from __future__ import annotations

import functools
import importlib.util
import queue
import re

from rader_plugins.answers.exact import exact_number
from rader_plugins.answers.extraction import (
    after_thoughts,
    boxed,
    last_interval,
    last_number,
    stated,
    trimmed,
    without_remark,
)
from rader_plugins.answers.latex import as_text, tidy_formula
from rader_plugins.answers.math_worker import MathWorker
from rader_plugins.answers.numbers import same_number
from rader_plugins.errors import InputError, MissingExtraError
from rader_plugins.processor import cores

__all__ = ["MathChecker"]

_ASSIGNED = re.compile(r"^([A-Za-z])\s*=\s*(?=[^=]+$)")
_MOST_WORKERS = 4
_KEPT = 10_000
_LONGEST = 2_000


class MathChecker:
    r"""Compares mathematical answers: numbers, fractions, expressions, equations, intervals, sets, matrices, words.

    The answer of a text is its last ``\boxed{...}``; without one, what is stated ("the answer is ...", "####", "A:").
    Numbers, and what can be computed of rational numbers, are compared exactly, percent with and without its sign (see
    :func:`~rader_plugins.answers.numbers.same_number`), words without regard to case; everything else by math-verify,
    in both directions. It runs in a process of its
    own: its time-outs need a main thread, and an expression such as ``9^{9^{9^9}}`` would otherwise hold up the
    application. What is not decided within ``timeout`` is not equal. Safe to use from several threads.

    Args:
        last_number: Where nothing is boxed or stated, take the last number of the text.
        timeout: Seconds for one comparison.

    Raises:
        MissingExtraError: math-verify is not installed.

    Example:
        >>> MathChecker().equal(r"\frac{1}{2}", "0.5")
        True
    """

    def __init__(self, *, last_number: bool = False, timeout: float = 10.0) -> None:
        if not timeout > 0:
            raise InputError(f"timeout must be a positive number of seconds, not {timeout!r}.")
        if importlib.util.find_spec("math_verify") is None:
            raise MissingExtraError(
                "The math checker needs math-verify. To mend it: pip install 'rader-plugins[answers]'"
            )
        self.last_number = last_number
        self.timeout = timeout
        # Several, so that one expression that takes its time does not hold up all others; the last used first.
        self._workers: queue.LifoQueue[MathWorker] = queue.LifoQueue()
        for _ in range(min(_MOST_WORKERS, cores())):
            self._workers.put(MathWorker())
        self._compare = functools.lru_cache(_KEPT)(self._compared)

    @property
    def name(self) -> str:
        """``math``, and whether the last number counts as an answer."""
        return "math(last number)" if self.last_number else "math"

    def extract(self, text: str) -> str | None:
        """Return the boxed or stated answer."""
        text = after_thoughts(text)
        answer = boxed(text)
        if answer is None and (statement := stated(text)) is not None:
            answer = without_remark(statement)
        if answer is None:
            answer = last_interval(text)
        return last_number(text) if answer is None and self.last_number else answer

    def equal(self, answer: str, gold: str, *, question: str = "") -> bool:
        """Whether both answers are mathematically the same."""
        reference = boxed(gold) or trimmed(gold)
        answer_formula, gold_formula = tidy_formula(answer), tidy_formula(reference)
        if not answer_formula or not gold_formula or max(len(answer_formula), len(gold_formula)) > _LONGEST:
            return False
        if answer_formula == gold_formula:
            return True
        if (same := _same_numbers(answer_formula, gold_formula)) is not None:
            return same
        answer_text, gold_text = as_text(answer), as_text(reference)
        if answer_text is not None or gold_text is not None:
            return (answer_text or answer_formula.lower()) == (gold_text or gold_formula.lower())
        return self._compare(*sorted((answer_formula, gold_formula)))

    def _compared(self, given: str, right: str) -> bool:
        worker = self._workers.get()
        try:
            return worker.equal(given, right, self.timeout)
        finally:
            self._workers.put(worker)

    def close(self) -> None:
        """End the processes; they start again when they are needed."""
        workers = [self._workers.get() for _ in range(self._workers.qsize())]
        for worker in workers:
            worker.stop()
            self._workers.put(worker)


def _same_numbers(given: str, right: str) -> bool | None:
    """Compare two numbers, perhaps after "x ="; None if one is something else or they are of different letters."""
    given_text, right_text = _ASSIGNED.sub("", given), _ASSIGNED.sub("", right)
    first, second = exact_number(given_text), exact_number(right_text)
    if first is None or second is None:  # "3200 g" is a formula, unless it is compared with "3.2 kg"
        pair = exact_number(given_text, short_units=True), exact_number(right_text, short_units=True)
        if pair[0] and pair[1] and pair[0].unit and pair[1].unit:
            first, second = pair
    letters = {match[1] for text in (given, right) if (match := _ASSIGNED.match(text))}
    return None if first is None or second is None or len(letters) > 1 else same_number(first, second)
