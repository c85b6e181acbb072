"""Arithmetic on rational numbers, exactly: floating point finds 10^-15 and 10^-16 equal."""

from __future__ import annotations

import re
from fractions import Fraction

from rader_plugins.answers.numbers import Number, read_number

__all__ = ["exact_number", "exact_value"]

_TOKEN = re.compile(
    r"\s*(?:(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)|(\\frac|\\times|\\cdot|\\div|\*\*|[-+*/^(){}])|(\S))"
)
_PRODUCTS = {"*", r"\times", r"\cdot", "/", r"\div"}
_MOST_BITS = 40_000
_LONGEST = 2_000


def exact_value(text: str) -> Fraction | None:
    r"""Return the value of an expression of numbers, ``+ - * / ^``, brackets and ``\frac``; None if it is another.

    Example:
        >>> exact_value(r"\frac{1}{3} + 2^{-1}"), exact_value("2 x"), exact_value("1/0")
        (Fraction(5, 6), None, None)
    """
    tokens = _tokens(text)
    if not tokens:
        return None
    reader = _Reader(tokens)
    try:
        value = reader.sum()
    except (_UnreadableError, ZeroDivisionError, OverflowError, RecursionError):
        return None
    return value if not reader.rest else None


def exact_number(text: str, *, short_units: bool = False) -> Number | None:
    """Return the number that a text is, or that an expression of numbers comes to exactly; None if it is neither.

    Args:
        text: A number with or without its unit, or an expression.
        short_units: Whether short units count, as in :func:`~rader_plugins.answers.numbers.read_number`.
    """
    number = read_number(text, short_units=short_units)
    if number is None and (value := exact_value(text)) is not None:
        number = Number(value, places=0 if value.denominator == 1 else None)
    return number


class _UnreadableError(Exception):
    """The text is no such expression."""


def _tokens(text: str) -> list[str]:
    if len(text) > _LONGEST:
        return []
    matches = list(_TOKEN.finditer(text.strip()))
    return [] if any(match[3] for match in matches) else [match[1] or match[2] for match in matches]


class _Reader:
    """Recursive descent over tokens."""

    def __init__(self, tokens: list[str]) -> None:
        self.rest = tokens[::-1]

    def sum(self) -> Fraction:
        value = self._product()
        while self._next in ("+", "-"):
            sign = 1 if self.rest.pop() == "+" else -1
            value = _bounded(value + sign * self._product())
        return value

    @property
    def _next(self) -> str:
        return self.rest[-1] if self.rest else ""

    def _product(self) -> Fraction:
        value = self._signed()
        while self._next in _PRODUCTS:
            operator = self.rest.pop()
            factor = self._signed()
            value = _bounded(value / factor if operator in ("/", r"\div") else value * factor)
        return value

    def _signed(self) -> Fraction:
        if self._next in ("-", "+"):
            return -self._signed() if self.rest.pop() == "-" else self._signed()
        return self._power()

    def _power(self) -> Fraction:
        base = self._atom()
        if self._next not in ("^", "**"):
            return base
        self.rest.pop()
        exponent = self._signed()
        if exponent.denominator != 1:
            raise _UnreadableError
        size = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(exponent) * size > _MOST_BITS:
            raise _UnreadableError
        return base ** int(exponent)

    def _atom(self) -> Fraction:
        if not self.rest:
            raise _UnreadableError
        token = self.rest.pop()
        if token == r"\frac":
            top, bottom = self._argument(), self._argument()
            return top / bottom
        if token in ("(", "{"):
            value = self.sum()
            if not self.rest or self.rest.pop() != {"(": ")", "{": "}"}[token]:
                raise _UnreadableError
            return value
        if token[0] in "0123456789.":
            return Fraction(token.replace(",", ""))
        raise _UnreadableError

    def _argument(self) -> Fraction:
        if self._next == "{":
            return self._atom()
        digits = self.rest.pop() if self.rest else ""
        if not digits.isdigit():
            raise _UnreadableError
        if len(digits) > 1:  # \frac12
            self.rest.append(digits[1:])
        return Fraction(digits[0])


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
        raise _UnreadableError
    return value
