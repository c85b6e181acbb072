"""Finding a checker by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rader_plugins.answers.base import AnswerChecker
from rader_plugins.answers.judge import JudgeChecker
from rader_plugins.answers.mathematics import MathChecker
from rader_plugins.answers.text import CallableChecker, ChoiceChecker, ExactChecker, NumericChecker, RegexChecker
from rader_plugins.errors import InputError

__all__ = ["CHECKERS", "load_checker"]

CHECKERS: dict[str, Callable[..., AnswerChecker]] = {
    "math": MathChecker,
    "numeric": NumericChecker,
    "choice": ChoiceChecker,
    "exact": ExactChecker,
    "regex": RegexChecker,
    "judge": JudgeChecker,
}
"""Name -> class of the checkers that come with the library."""


def load_checker(checker: str | AnswerChecker | Callable[[str, str], bool], **options: Any) -> AnswerChecker:
    """Return a checker.

    Args:
        checker: ``math``, ``numeric``, ``choice``, ``exact``, ``regex`` (option ``pattern``), ``judge`` (option
            ``llm``), a ready checker, or a function ``(answer, gold) -> bool``.
        **options: Keyword arguments of the checker's class.

    Raises:
        InputError: There is no such checker, or it takes no such option.
        MissingExtraError: ``math`` needs the extra ``answers``.

    Example:
        >>> load_checker("numeric", tolerance=0.01).equal("3.15", "3.14")
        True
    """
    if isinstance(checker, str):
        if checker not in CHECKERS:
            raise InputError(f"There is no answer checker {checker!r}; there are {', '.join(CHECKERS)}.")
        try:
            return CHECKERS[checker](**options)
        except TypeError as error:
            raise InputError(
                f"The answer checker {checker!r} cannot be made with {sorted(options)}: {error}."
            ) from None
    if options:
        raise InputError(f"Only a checker that is named takes options ({', '.join(sorted(options))}).")
    if isinstance(checker, AnswerChecker):
        return checker
    return CallableChecker(checker)
