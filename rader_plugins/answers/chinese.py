"""Numbers in Chinese characters: 四十二, 三千零五, 一亿二千万, 三分之二, 二〇二四."""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["chinese_number"]

_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}
_SCALES = {"十": 10, "百": 100, "千": 1000}
_D = "[一二两兩三四五六七八九]"
_TENS = f"{_D}?十{_D}?"
_HUNDREDS = f"{_D}百(?:零{_D}|{_D}十{_D}?)?"
# A place that is left out is said (三千零五): "一千五" is 1500 to some and 1005 to others.
_THOUSANDS = f"{_D}千(?:零(?:{_D}十{_D}?|{_D})|{_HUNDREDS})?"
_SECTION = f"(?:{_THOUSANDS}|{_HUNDREDS}|{_TENS}|{_D})"
_REST = f"(?:零(?:{_HUNDREDS}|{_D}十{_D}?|{_D})|{_THOUSANDS})"
_INTEGER = re.compile(
    f"零|(?:(?P<a>{_SECTION})[亿億])?(?:零?(?P<b>{_SECTION})[万萬])?(?P<c>(?(a){_REST}|(?(b){_REST}|{_SECTION})))?"
)
_IN_A_ROW = re.compile("[一二三四五六七八九][零〇一二三四五六七八九]{2,}")
_FRACTION = re.compile("(.+)分之(.+)")
_COUNTED = re.compile("(?<=.)(?:个|個|元|人|岁|歲|天|本|只|隻|次|种|種)$")


def chinese_number(text: str) -> Fraction | None:
    """Return the number that a text in Chinese characters is, with or without a measure word; None if it is none.

    Example:
        >>> [str(chinese_number(text)) for text in ("四十二", "三千零五个", "三分之二", "二〇二四", "万一", "一千五")]
        ['42', '3005', '2/3', '2024', 'None', 'None']
    """
    text = _COUNTED.sub("", text.strip())
    negative = text.startswith(("负", "負"))
    value = _unsigned(text[1:] if negative else text)
    return -value if negative and value is not None else value


def _unsigned(text: str) -> Fraction | None:
    if fraction := _FRACTION.fullmatch(text):
        bottom, top = _integer(fraction[1]), _integer(fraction[2])
        return Fraction(top, bottom) if bottom and top is not None else None
    integer = _integer(text)
    return None if integer is None else Fraction(integer)


def _integer(text: str) -> int | None:
    if len(text) > 40 or not text:
        return None
    if _IN_A_ROW.fullmatch(text):
        return int("".join(str(_DIGITS[digit]) for digit in text))
    match = _INTEGER.fullmatch(text)
    if match is None:
        return None
    return _section(match["a"]) * 10**8 + _section(match["b"]) * 10**4 + _section(match["c"])


def _section(text: str | None) -> int:
    """Return the value of up to four places."""
    total, digit = 0, 0
    for character in text or "":
        if character in _SCALES:
            total += (digit or 1) * _SCALES[character]
            digit = 0
        else:
            digit = _DIGITS[character]
    return total + digit
