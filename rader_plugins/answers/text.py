"""Checkers that need no library: exact text, numbers, choices, regular expressions and one's own function."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from rader_plugins.answers.extraction import after_thoughts, boxed, last_number, stated, stated_or_last_line, trimmed
from rader_plugins.answers.numbers import Number, read_number, same_number
from rader_plugins.errors import InputError

__all__ = ["CallableChecker", "ChoiceChecker", "ExactChecker", "NumericChecker", "RegexChecker", "normalized"]

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NAMED = re.compile(r"\(([A-Z])\)|\b(?i:option|choice)\s+([A-Z])\b|\*\*([A-Z])\*\*")
_LETTER = re.compile(r"(?<![A-Za-z0-9])([B-HJ-Z]|[AI](?=[.,;:!?]|\s*$))(?![A-Za-z0-9'])", re.MULTILINE)
_IN_TEXT = re.compile(r"\\(?:text(?:bf|rm|it)?|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")


def normalized(text: str) -> str:
    """Return a text as SQuAD compares it: lower case, without punctuation, articles and superfluous white space.

    Example:
        >>> normalized("The  Earth's axis.")
        'earths axis'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


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
        one, other = normalized(answer), normalized(gold)
        return one == other if one or other else answer.strip() == gold.strip()


class NumericChecker:
    """Compares numbers. Thousands separators, currency, units and percent signs are read over.

    The answer is the number that is boxed or stated, else the last number of the text.

    Args:
        tolerance: Largest difference as a share of the right answer.

    Example:
        >>> NumericChecker().equal("$3,600 per year", "3600")
        True
    """

    def __init__(self, *, tolerance: float = 1e-6) -> None:
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
        for found in (boxed(text), stated(text)):
            if found is not None and (number := found if read_number(found) is not None else last_number(found)):
                return number
        return last_number(text)

    def equal(self, answer: str, gold: str, *, question: str = "") -> bool:
        """Whether both are numbers that differ by no more than the tolerance."""
        one, other = _number(answer), _number(gold)
        if one is None or other is None:
            return False
        if same_number(one, other):
            return True
        share = Fraction(self.tolerance)
        scale = {False: (1,), True: (1, Fraction(1, 100) if one.percent else 100)}[one.percent != other.percent]
        return any(abs(one.value * by - other.value) <= share * abs(other.value) for by in scale)


def _number(text: str) -> Number | None:
    """Return the number of an answer: all of it, or else the last one of it."""
    number = read_number(text)
    if number is None and (found := last_number(boxed(text) or stated(text) or text)) is not None:
        number = read_number(found)
    return number


class ChoiceChecker:
    """Compares the letters of multiple-choice answers; with ``choices``, their texts count as well.

    Args:
        choices: The choices: letter -> text, or texts for A, B, C, ...

    Example:
        >>> ChoiceChecker(["gravity", "friction"]).equal("(B)", "friction")
        True
    """

    def __init__(self, choices: Mapping[str, str] | Sequence[str] | None = None) -> None:
        if isinstance(choices, str):
            raise InputError("choices is a list of texts or a mapping of letters to texts.")
        listed = (
            choices if isinstance(choices, Mapping) else dict(zip(string.ascii_uppercase, choices or (), strict=False))
        )
        self.choices = {letter.upper(): text for letter, text in listed.items()}

    @property
    def name(self) -> str:
        """``choice``."""
        return "choice"

    def extract(self, text: str) -> str | None:
        """Return the letter, or the choice's text, that is stated; else the last letter that stands alone."""
        text = after_thoughts(text)
        for found in (boxed(text), stated(text)):
            if found is not None:
                return self._letter(found) or found
        if letter := self._letter(text.strip()):
            return letter
        # "I take (B)" and "option B" say more than a letter that stands alone, which may be the article.
        for pattern in (_NAMED, _LETTER):
            if letters := ["".join(match) if isinstance(match, tuple) else match for match in pattern.findall(text)]:
                return letters[-1]
        return stated_or_last_line(text)

    def equal(self, answer: str, gold: str, *, question: str = "") -> bool:
        """Whether both name the same choice."""
        one, other = self._letter(answer), self._letter(gold)
        if one is not None and other is not None:
            return one == other
        return bool(normalized(answer)) and normalized(answer) == normalized(gold)

    def _letter(self, text: str) -> str | None:
        bare = trimmed(_IN_TEXT.sub(r"\1", text))
        if match := re.fullmatch(r"\(?([A-Za-z])\)?[.:]?", bare):
            return match[1].upper()
        for letter, choice in self.choices.items():
            if normalized(bare) == normalized(choice):
                return letter
        if match := re.match(r"\(?([A-Z])[).:]\s", bare + " "):
            return match[1]
        return None


class RegexChecker:
    """Takes the answer from a regular expression; the last match counts.

    Args:
        pattern: Its first group is the answer, or all of it where there is no group.
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
        found = [match[1] if self._pattern.groups else match[0] for match in matches]
        return next((value.strip() for value in reversed(found) if value is not None), None)

    def equal(self, answer: str, gold: str, *, question: str = "") -> bool:
        """Whether the texts are the same, white space aside; a gold answer that matches the pattern is extracted."""
        right = " ".join((self.extract(gold) or gold).split())
        given = " ".join(answer.split())
        return given.lower() == right.lower() if self.ignore_case else given == right


class CallableChecker:
    """Compares with one's own function.

    Args:
        function: ``(answer, gold) -> bool``.
        extract: Finds the answer in a text; by default what is boxed or stated, else the last line.
        name: For manifests; by default the function's qualified name.
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
