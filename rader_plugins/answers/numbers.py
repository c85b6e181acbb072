"""Numbers as people write them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from rader_plugins.answers.chinese import chinese_number
from rader_plugins.answers.units import converted

__all__ = ["Number", "ascii_digits", "read_number", "same_number"]

# Longer ones are not worth their time: ten to the power of a billion would fill the memory.
_MOST_DIGITS = 4_000
_SCALES = {
    "hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12, "lakh": 5, "crore": 7,
    "百": 2, "千": 3, "万": 4, "萬": 4, "亿": 8, "億": 8, "兆": 12, "만": 4, "억": 8,
}  # fmt: skip
_BLANK = "[ \u00a0\u2009\u202f'’_]"
_DECIMAL = (
    rf"(?:\d{{1,3}}(?:,\d{{3}})+|\d{{1,2}}(?:,\d\d)+,\d{{3}}|\d{{1,3}}(?:{_BLANK}\d{{3}})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
)
_PLAIN = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:(?P<mixed>\d+)\s+(?=\d+\s*/\s*\d))?(?P<top>{_DECIMAL})\.?"
    rf"(?:[eE](?P<e>[-+]?\d+)|\s*(?:\\times|\\cdot|[*x×·⋅])\s*10\s*(?:\^|\*\*)\s*[{{(]?\s*(?P<power>[-+]?\d+)\s*[}})]?)?"
    rf"(?:\s*/\s*(?P<bottom>{_DECIMAL}))?"
    rf"(?:\s*(?P<scale>{'|'.join(_SCALES)})s?)?"
    r"\s*(?P<percent>%|percent(?:age\s+points?)?|per\s+cent)?(?P<unit>\s*[^\W\d_](?:[\w²³^/. -]*[\w²³])?)?",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")
# 1.234.567 and 1.234,56: a comma that is no thousands separator shows that the points are.
_CONTINENTAL = re.compile(
    r"(?<![\d.,])(\d{1,3}(?:\.\d{3})+),(\d+)(?![\d.,])|(?<![\d.,])(\d{1,3}(?:\.\d{3}){2,})(?![\d.,])"
)
# Two letters, or one of a script of words or syllables; a Greek letter is a quantity.
_UNIT = re.compile(r"(?!.*[\u0370-\u03ff])(?:[^\W\d_²³¹][^\W\d_]|[\u0530-\U0003ffff])")
_SHORT_UNIT = re.compile(r"[mgshlL](?:\^?[23²³])?")
_NO_UNIT = re.compile(r"(?:and|or|to|mod|times|plus|minus|over|divided|und|oder|et|ou|is)\b|.*[\s/.-]\d", re.IGNORECASE)
_SIGNIFICANT, _PLACES = 3, 4
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_VULGAR = {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "⅕": "1/5", "⅛": "1/8"}
_RAISED = re.compile(r"(?<=10)[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")


@dataclass(frozen=True)
class Number:
    """A rational number and how it was written.

    Args:
        value: The number; of a percentage what stands before the sign.
        percent: Written with a percent sign.
        places: Digits after the point of a decimal, 0 of a whole number, None of a fraction.
        digits: Significant digits of a decimal.
        unit: What follows the number (``km``, ``apples``).
    """

    value: Fraction
    percent: bool = False
    places: int | None = 0
    digits: int = 0
    unit: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether it is a whole number or a fraction, which abbreviates nothing."""
        return self.places is None or self.places == 0


def ascii_digits(text: str) -> str:
    """Return a text with the digits and signs of any script as ASCII.

    Example:
        >>> ascii_digits("４２％, ٤٢, ४२")
        '42%, 42, 42'
    """
    if text.isascii():
        return text
    text = re.sub("[½¼¾⅓⅔⅕⅛]", lambda match: f" {_VULGAR[match[0]]}", text).replace("μ", "µ")
    text = _RAISED.sub(lambda match: "^" + match[0].translate(_SUPERSCRIPTS), text)
    text = "".join(str(unicodedata.decimal(letter)) if letter.isdecimal() else letter for letter in text)
    return text.translate(str.maketrans("％＋－−＝（），．：／٪٫٬", "%+--=(),.:/%.,"))


def read_number(text: str, *, units: bool = True, short_units: bool = False) -> Number | None:
    """Return the number that a text is, or None if it is something else.

    Reads signs, thousands separators (commas, blanks, apostrophes, Indian groups, points where a decimal comma
    follows), decimals, fractions (also LaTeX), mixed numbers, powers of ten, percent, currency signs, "million", "万",
    digits of any script and, with ``units``, a unit of at least two letters after the number; with ``short_units`` also
    "m", "g", "s", "h" or "l", which a formula would read as letters.

    Example:
        >>> [str(read_number(text).value) for text in ("3,600", "1 1/2", "$5", "2.5 million", "7 eggs", "1.234,5")]
        ['3600', '3/2', '5', '2500000', '7', '2469/2']
    """
    cleaned = re.sub(r"\\?[$€£¥₹]|\\[!,;: ]", "", ascii_digits(text).replace("\\%", "%")).strip()
    cleaned = re.sub(r"^[(\[]([^()\[\],;]*)[)\]]$", r"\1", cleaned)
    cleaned = _FRACTION.sub(lambda m: f" {m[1] or m[2]}/{m[3] or m[4]}", cleaned.replace("{,}", ",")).strip()
    cleaned = _CONTINENTAL.sub(_without_points, cleaned)
    if (words := chinese_number(cleaned.rstrip(" .,;。"))) is not None:
        return Number(words, places=0 if words.denominator == 1 else None)
    match = _PLAIN.fullmatch(cleaned.rstrip(" .,;。"))
    if match is None or len(cleaned) > _MOST_DIGITS:
        return None
    unit = (match["unit"] or "").strip()
    is_short = short_units and _SHORT_UNIT.fullmatch(unit) is not None
    if unit and not is_short and not (units and _UNIT.match(unit) and not _NO_UNIT.match(unit)):
        return None
    exponent = match["e"] or match["power"] or "0"
    power = int(exponent[:8]) + _SCALES.get((match["scale"] or "").lower(), 0)
    digits = re.sub(rf",|{_BLANK}", "", match["top"])
    if abs(power) > _MOST_DIGITS or len(exponent) > 8:
        return None
    value = Fraction(digits) * Fraction(10) ** power
    decimals: int | None = max(0, len(digits.partition(".")[2]) - power)
    if match["bottom"] is not None:
        bottom = Fraction(re.sub(rf",|{_BLANK}", "", match["bottom"]))
        if not bottom:
            return None
        value, decimals = value / bottom + int(match["mixed"] or 0), None
    return Number(
        -value if match["sign"] == "-" else value,
        match["percent"] is not None,
        decimals,
        len(digits.replace(".", "").lstrip("0")),
        unit,
    )


def _without_points(match: re.Match[str]) -> str:
    integer = (match[1] or match[3]).replace(".", "")
    return f"{integer}.{match[2]}" if match[1] else integer


def same_number(first: Number, second: Number) -> bool:
    """Say whether two numbers mean the same.

    Percent: 50% is 50 and is 0.5. A decimal with at least four places and three significant digits is a fraction that
    it abbreviates (0.3333 is 1/3); decimals among themselves must be equal. Where both have a unit of one quantity they
    are converted (5 km is 5000 m and is not 5 m); other units are not looked at.
    """
    factors = converted(first.unit, second.unit)
    if factors is None:
        return False
    if factors != (1, 1):
        return first.value * factors[0] == second.value * factors[1]
    if first.percent == second.percent:
        return _close(first, second, 1)
    percent, plain = (first, second) if first.percent else (second, first)
    return percent.value == plain.value or _close(percent, plain, 100)


def _close(first: Number, second: Number, factor: int) -> bool:
    """Compare ``first`` with ``factor`` times ``second``."""
    first_value, second_value = first.value, second.value * factor
    if first_value == second_value:
        return True
    if (first.places is None) == (second.places is None):
        return False
    decimal, decimal_value, exact_value, step = (
        (first, first_value, second_value, 1) if second.places is None else (second, second_value, first_value, factor)
    )
    if decimal.places is None or decimal.places < _PLACES or decimal.digits < _SIGNIFICANT:
        return False
    unit, difference = Fraction(step, 10**decimal.places), abs(first_value - second_value)
    # Rounded to its last place, or cut off there.
    return 2 * difference <= unit or (abs(decimal_value) < abs(exact_value) and difference < unit)
