"""Reading numbers as people write them."""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["is_plain_decimal", "read_number"]

_DECIMAL = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d{1,3})?"
_PLAIN = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+")
_LATEX_FRACTION = re.compile(r"(?P<sign>-?)(?P<whole>\d+)?\s*\\[dt]?frac\s*\{?(?P<over>\d+)\}?\s*\{?(?P<under>\d+)\}?")
_FRACTION = re.compile(rf"(?:(?P<whole>[-+]?\d+)\s+)?(?P<over>{_DECIMAL})\s*/\s*(?P<under>{_DECIMAL})")
_UNIT = re.compile(r"\s*(?:\\text\{[^{}]*\}|\\(?:mathrm|mbox)\{[^{}]*\}|[A-Za-z\u00b0][A-Za-z\u00b0./ ^0-9-]*)$")
_MOST_DIGITS = 400


def is_plain_decimal(text: str) -> bool:
    """Whether a text is a whole or decimal number and nothing else."""
    return _PLAIN.fullmatch(text.strip()) is not None


def read_number(text: str) -> Fraction | None:
    """Return the number that a text is, or None: decimals, thousands separators, fractions, currency, percent, units.

    A percent sign is left out: ``50%`` is read as 50. See :class:`rader_plugins.answers.NumericChecker`.

    Example:
        >>> read_number("$1,450.50"), read_number("1 1/2"), read_number("twelve")
        (Fraction(2901, 2), Fraction(3, 2), None)
    """
    if len(text) > _MOST_DIGITS:
        return None
    text = text.replace("\u2212", "-").replace("\\$", "").replace("$", "").replace("\\%", "%").replace("\\!", "")
    text = re.sub(r"^(?:USD|EUR|US|[\u20ac\u00a3])\s*|\\[,;: ]", "", text.strip())
    text = text.replace("\u00a3", "").replace("\u20ac", "").strip().rstrip("%").strip()
    for candidate in (text, _UNIT.sub("", text)):
        if (number := _read(candidate.rstrip("%").strip())) is not None:
            return number
    return None


def _read(text: str) -> Fraction | None:
    if match := _LATEX_FRACTION.fullmatch(text):
        if int(match["under"]) == 0:
            return None
        value = int(match["whole"] or 0) + Fraction(int(match["over"]), int(match["under"]))
        return -value if match["sign"] else value
    if match := _FRACTION.fullmatch(text):
        over, under = _decimal(match["over"]), _decimal(match["under"])
        if over is None or not under:
            return None
        whole = int(match["whole"] or 0)
        value = abs(whole) + over / under
        return -value if (match["whole"] or "").startswith("-") else value
    return _decimal(text)


def _decimal(text: str) -> Fraction | None:
    text = text.strip().replace(",", "") if re.fullmatch(_DECIMAL, text.strip()) else ""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None
