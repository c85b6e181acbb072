"""`MathChecker`: mathematical answers, LaTeX included, compared by math-verify in a process of its own."""

from __future__ import annotations

import functools
import importlib.util
import re
import threading

from rader_plugins.answers.extraction import boxed, last_number, stated, trimmed
from rader_plugins.answers.math_worker import MathWorker
from rader_plugins.answers.numbers import is_plain_decimal, read_number
from rader_plugins.errors import InputError, MissingExtraError

__all__ = ["MathChecker"]

_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mbox)\s*\{([^{}]*)\}")
_SPACING = re.compile(r"\\[,;:! ]|\\q?quad|\\left|\\right|~|\s+")
_KEPT = 10_000
_LONGEST = 2_000


class MathChecker:
    r"""Compares mathematical answers: numbers, fractions, expressions, equations, intervals, sets, matrices, words.

    The answer of a text is its last ``\boxed{...}``; without one, what is stated ("the answer is ...", "####", "A:").
    Equality is math-verify's, tried in both directions, after a look at the plain text. It runs in a process of its
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
        self._worker = MathWorker()
        self._lock = threading.Lock()
        self._compare = functools.lru_cache(_KEPT)(self._compared)

    @property
    def name(self) -> str:
        """``math``, and whether the last number counts as an answer."""
        return "math(last number)" if self.last_number else "math"

    def extract(self, text: str) -> str | None:
        """Return the boxed or stated answer."""
        found = boxed(text) or stated(text)
        return last_number(text) if found is None and self.last_number else found

    def equal(self, answer: str, gold: str, *, question: str = "") -> bool:
        """Whether both answers are mathematically the same."""
        right = boxed(gold) or trimmed(gold)
        given = trimmed(answer)
        if not given or not right or max(len(given), len(right)) > _LONGEST:
            return False
        if _plain(given) == _plain(right):
            return True
        if is_plain_decimal(given) and is_plain_decimal(right):
            return read_number(given) == read_number(right)
        return self._compare(given, right)

    def _compared(self, given: str, right: str) -> bool:
        with self._lock:
            return self._worker.equal(given, right, self.timeout)

    def close(self) -> None:
        """End the process; it starts again when it is needed."""
        with self._lock:
            self._worker.stop()


def _plain(text: str) -> str:
    """Return an answer without what only concerns how it looks."""
    return _SPACING.sub("", _TEXT.sub(r"\1", text)).replace("dfrac", "frac").replace("tfrac", "frac").lower()
