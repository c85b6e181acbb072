"""Checkers that need no library: exact text, numbers, choices, regular expressions and one's own function."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from rader_plugins.answers.choices import ChoiceChecker
from rader_plugins.answers.exact import exact_number
from rader_plugins.answers.extraction import (
    after_thoughts,
    boxed,
    last_number,
    leading_number,
    stated,
    stated_or_last_line,
    without_remark,
)
from rader_plugins.answers.normalization import normalized
from rader_plugins.answers.numbers import Number, same_number
from rader_plugins.answers.units import converted
from rader_plugins.errors import InputError

__all__ = ["CallableChecker", "ChoiceChecker", "ExactChecker", "NumericChecker", "RegexChecker", "normalized"]

_ROUNDING = 1e-6
_BEGINS = re.compile(
    r"[\s*$€£¥₹(~≈-]*(?:(?:about|around|approximately|roughly|exactly|almost|约|大约)\s*)?[$€£¥₹-]?[\d.]", re.I
)


class ExactChecker:
    """Compares normalised texts (Rajpurkar et al., EMNLP 2016). Symbols alone ("+") are compared as they are.

    The answer is what stands in a box or is stated ("the answer is ..."), else the last line.

    Example:
        >>> ExactChecker().equal("the Earth", "Earth.")
        True
    """

    name = "exact"

    def extract(self, text: str) -> str | None:
        """Return the stated answer or the last line."""
        return stated_or_last_line(text)

    def equal(self, answer: str, gold: str, *, question: str = "") -> bool:
        """Whether the normalised texts are the same."""
        answer_text, gold_text = normalized(answer), normalized(gold)
        return answer_text == gold_text if answer_text or gold_text else answer.strip() == gold.strip()


class NumericChecker:
    """Compares numbers. Thousands separators, currency, units and percent signs are read over.

    The answer is the number that is boxed or stated, else the last number of the text.

    Args:
        tolerance: Largest difference as a share of the right answer. Up to the default it is for rounded decimals:
            whole numbers and fractions are compared exactly.

    Example:
        >>> NumericChecker().equal("$3,600 per year", "3600")
        True
    """

    def __init__(self, *, tolerance: float = _ROUNDING) -> None:
        if not 0 <= tolerance < 1:
            raise InputError(f"tolerance is a share of the right answer from 0 to below 1, not {tolerance!r}.")
        self.tolerance = tolerance

    @property
    def name(self) -> str:
        """``numeric``, with the tolerance."""
        return f"numeric({self.tolerance:g})"

    def extract(self, text: str) -> str | None:
        """Return the number stated, else the last one."""
        text = after_thoughts(text)
        if exact_number(text, short_units=True) is not None:
            return text.strip()
        for statement in (boxed(text), stated(text)):
            if statement is not None and (number := _stated_number(statement)):
                return number
        return last_number(text)

    def equal(self, answer: str, gold: str, *, question: str = "") -> bool:
        """Whether both are numbers that differ by no more than the tolerance."""
        number, right = _number(answer), _number(gold)
        if number is None or right is None:
            # Out of all bounds: the same digits are the same number.
            return number is right and bool(answer.strip()) and last_number(answer) is not None and answer == gold
        if same_number(number, right):
            return True
        if converted(number.unit, right.unit) != (1, 1):
            return False  # compared already, or of another quantity
        if number.is_exact and right.is_exact and self.tolerance <= _ROUNDING:
            return False  # a million and one is not a million
        share = Fraction(self.tolerance)
        scale = {False: (1,), True: (1, Fraction(1, 100) if number.percent else 100)}[number.percent != right.percent]
        return any(abs(number.value * by - right.value) <= share * abs(right.value) for by in scale)


def _number(text: str) -> Number | None:
    """Return the number of an answer: all of it, or the one that it states or begins with, or else the last one."""
    number = exact_number(text, short_units=True)
    if number is not None:
        return number
    statement = boxed(text) or stated(text)
    if statement is None and _BEGINS.match(text):
        statement = text
    number_text = _stated_number(statement) if statement is not None else last_number(text)
    return None if number_text is None else exact_number(number_text, short_units=True)


def _stated_number(statement: str) -> str | None:
    """Return the number of a statement, with its unit where nothing but a remark follows it."""
    for answer in (statement, without_remark(statement)):
        if exact_number(answer, short_units=True) is not None:
            return answer
    return leading_number(statement)


class RegexChecker:
    """Takes the answer from a regular expression; the last match counts.

    Args:
        pattern: Regular expression whose first group is the answer; without a group, all that it matches is.
        ignore_case: Whether upper and lower case are the same in the comparison.

    Example:
        >>> RegexChecker(r"result: (\\d+)").extract("result: 3, no: result: 4")
        '4'
    """

    def __init__(self, pattern: str, *, ignore_case: bool = True) -> None:
        try:
            self._pattern = re.compile(pattern)
        except (re.error, TypeError) as error:
            raise InputError(f"{pattern!r} is no regular expression: {error}.") from None
        self.ignore_case = ignore_case

    @property
    def name(self) -> str:
        """``regex`` with the pattern."""
        return f"regex({self._pattern.pattern})"

    def extract(self, text: str) -> str | None:
        """Return the last match."""
        matches = self._pattern.finditer(after_thoughts(text))
        values = [match[1] if self._pattern.groups else match[0] for match in matches]
        return next((value.strip() for value in reversed(values) if value is not None), None)

    def equal(self, answer: str, gold: str, *, question: str = "") -> bool:
        """Whether the texts are the same, white space aside; a gold answer that matches the pattern is extracted."""
        gold_text = " ".join((self.extract(gold) or gold).split())
        answer_text = " ".join(answer.split())
        return answer_text.lower() == gold_text.lower() if self.ignore_case else answer_text == gold_text


class CallableChecker:
    """Compares with one's own function.

    Args:
        function: ``(answer, gold) -> bool``.
        extract: Finds the answer in a text; by default what is boxed or stated, else the last line.
        name: Name of the checker in manifests; by default the function's qualified name.
    """

    def __init__(
        self,
        function: Callable[[str, str], bool],
        *,
        extract: Callable[[str], str | None] = stated_or_last_line,
        name: str | None = None,
    ) -> None:
        if not callable(function):
            raise InputError(f"The checker must be a function (answer, gold) -> bool, not {type(function).__name__}.")
        self._function = function
        self._extract = extract
        kind = getattr(function, "__qualname__", type(function).__qualname__)
        self.name = name or f"{getattr(function, '__module__', '')}.{kind}"

    def extract(self, text: str) -> str | None:
        """Return the answer in a text."""
        return self._extract(text)

    def equal(self, answer: str, gold: str, *, question: str = "") -> bool:
        """What the function says."""
        return bool(self._function(answer, gold))
