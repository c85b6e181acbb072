"""Numbers as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Number", "read_number", "same_number"]

# Longer ones are not worth their time: ten to the power of a billion would fill the memory.
_MOST_DIGITS = 400
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_PLAIN = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:(?P<mixed>\d+)\s+(?=\d+\s*/\s*\d))?(?P<top>{_DECIMAL})\.?"
    rf"(?:[eE](?P<e>[-+]?\d+)|\s*(?:\\times|\\cdot|\*|x)\s*10\s*(?:\^|\*\*)\s*\{{?\s*(?P<power>[-+]?\d+)\s*\}}?)?"
    rf"(?:\s*/\s*(?P<bottom>{_DECIMAL}))?"
    rf"(?:\s*(?P<scale>{'|'.join(_SCALES)})s?)?"
    r"\s*(?P<percent>%|percent|per\s+cent)?(?P<unit>\s*[A-Za-zµ][A-Za-zµ²³^0-9/.\s-]*)?",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")
_WORDS = re.compile(r"[A-Za-z]{2,}")
_SIGNIFICANT, _PLACES = 3, 4


@dataclass(frozen=True)
class Number:
    """A rational number and how it was written.

    Args:
        value: The number; of a percentage what stands before the sign.
        percent: Written with a percent sign.
        places: Digits after the point of a decimal, 0 of a whole number, None of a fraction.
        digits: Significant digits of a decimal.
        unit: What follows the number (``km``, ``apples``), in lower case.
    """

    value: Fraction
    percent: bool = False
    places: int | None = 0
    digits: int = 0
    unit: str = ""


def read_number(text: str, *, units: bool = True) -> Number | None:
    """Return the number that a text is, or None if it is something else.

    Reads signs, thousands separators, decimals, fractions (also LaTeX), mixed numbers, powers of ten, percent,
    currency signs, "million" and, with ``units``, a unit of at least two letters after the number.

    Example:
        >>> [str(read_number(text).value) for text in ("3,600", "1 1/2", "$5", "2.5 million", "7 eggs")]
        ['3600', '3/2', '5', '2500000', '7']
    """
    cleaned = re.sub(r"\\?[$€£]|\\[!,;: ]", "", text.replace("−", "-").replace("\\%", "%")).strip()
    cleaned = re.sub(r"^[(\[]([^()\[\],;]*)[)\]]$", r"\1", cleaned)
    cleaned = _FRACTION.sub(lambda m: f" {m[1] or m[2]}/{m[3] or m[4]}", cleaned.replace("{,}", ",")).strip()
    match = _PLAIN.fullmatch(cleaned.rstrip(" .,;"))
    if match is None:
        return None
    unit = (match["unit"] or "").strip().lower()
    if unit and not (units and _WORDS.match(unit)):
        return None
    power = int((match["e"] or match["power"] or "0")[:6]) + _SCALES.get((match["scale"] or "").lower(), 0)
    written = match["top"].replace(",", "")
    if abs(power) > _MOST_DIGITS or len(cleaned) > _MOST_DIGITS:
        return None
    value = Fraction(written) * Fraction(10) ** power
    places: int | None = max(0, len(written.partition(".")[2]) - power)
    if match["bottom"] is not None:
        bottom = Fraction(match["bottom"].replace(",", ""))
        if not bottom:
            return None
        value, places = value / bottom + int(match["mixed"] or 0), None
    return Number(
        -value if match["sign"] == "-" else value,
        match["percent"] is not None,
        places,
        len(written.replace(".", "").lstrip("0")),
        unit,
    )


def same_number(first: Number, second: Number) -> bool:
    """Say whether two numbers mean the same.

    Percent: 50% is 50 and is 0.5. A decimal with at least four places and three significant digits is a fraction that
    it abbreviates (0.3333 is 1/3); decimals among themselves must be equal. Units are not looked at.
    """
    if first.percent == second.percent:
        return _close(first, second, 1)
    percent, plain = (first, second) if first.percent else (second, first)
    return percent.value == plain.value or _close(percent, plain, 100)


def _close(first: Number, second: Number, factor: int) -> bool:
    """Compare ``first`` with ``factor`` times ``second``."""
    one, other = first.value, second.value * factor
    if one == other:
        return True
    if (first.places is None) == (second.places is None):
        return False
    decimal, written, exact, step = (first, one, other, 1) if second.places is None else (second, other, one, factor)
    if decimal.places is None or decimal.places < _PLACES or decimal.digits < _SIGNIFICANT:
        return False
    unit, difference = Fraction(step, 10**decimal.places), abs(one - other)
    # Rounded to its last place, or cut off there.
    return 2 * difference <= unit or (abs(written) < abs(exact) and difference < unit)
