"""Units of measurement, as far as two answers with units can contradict each other."""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["converted"]

_QUANTITIES: dict[str, dict[str, str]] = {
    "length": {
        "nm": "1e-9", "µm": "1e-6", "um": "1e-6", "mm": "1e-3", "cm": "1e-2", "dm": "1e-1", "m": "1", "km": "1e3",
        "in": "0.0254", "inch": "0.0254", "foot": "0.3048", "ft": "0.3048", "yard": "0.9144", "yd": "0.9144",
        "mile": "1609.344", "mi": "1609.344", "metre": "1", "meter": "1", "kilometre": "1e3", "kilometer": "1e3",
        "centimetre": "1e-2", "centimeter": "1e-2", "millimetre": "1e-3", "millimeter": "1e-3",
        "毫米": "1e-3", "厘米": "1e-2", "米": "1", "公里": "1e3", "千米": "1e3",
    },
    "mass": {
        "mg": "1e-6", "g": "1e-3", "kg": "1", "gram": "1e-3", "kilogram": "1", "milligram": "1e-6", "tonne": "1e3",
        "lb": "0.45359237", "lbs": "0.45359237", "pound": "0.45359237", "oz": "0.028349523125", "ounce":
        "0.028349523125", "克": "1e-3", "千克": "1", "公斤": "1", "吨": "1e3",
    },
    "time": {
        "ms": "1e-3", "s": "1", "sec": "1", "second": "1", "min": "60", "minute": "60", "h": "3600", "hr": "3600",
        "hrs": "3600", "hour": "3600", "day": "86400", "week": "604800", "秒": "1", "分钟": "60", "小时": "3600",
        "天": "86400",
    },
    "volume": {
        "ml": "1e-3", "cl": "1e-2", "dl": "1e-1", "l": "1", "liter": "1", "litre": "1", "milliliter": "1e-3",
        "millilitre": "1e-3", "毫升": "1e-3", "升": "1",
    },
    "area": {
        "mm^2": "1e-6", "cm^2": "1e-4", "m^2": "1", "km^2": "1e6", "ha": "1e4", "hectare": "1e4",
    },
    "money": {
        "cent": "1/100", "dollar": "1", "元": "1", "角": "1/10",
    },
}  # fmt: skip
_UNITS = {
    unit: (quantity, Fraction(factor)) for quantity, units in _QUANTITIES.items() for unit, factor in units.items()
}


def converted(first: str, second: str) -> tuple[Fraction | int, Fraction | int] | None:
    """Return by what each of two numbers has to be multiplied to compare them; None where their units exclude it.

    A unit counts only where both are known: what people write after a number is mostly what was counted.

    Example:
        >>> converted("km", "metres"), converted("apples", "pears"), converted("km", "hours")
        ((Fraction(1000, 1), Fraction(1, 1)), (1, 1), None)
    """
    first_unit, second_unit = _known(first), _known(second)
    if first_unit is None or second_unit is None or first_unit == second_unit:
        return 1, 1
    return (first_unit[1], second_unit[1]) if first_unit[0] == second_unit[0] else None


def _known(unit: str) -> tuple[str, Fraction] | None:
    plain = re.sub(r"\s+", " ", unit.strip().rstrip(".").replace("²", "^2").replace("³", "^3"))
    for spelling in (plain, plain.lower(), plain.lower().removesuffix("es"), plain.lower().removesuffix("s")):
        if spelling in _UNITS:
            return _UNITS[spelling]
    return {"feet": _UNITS["foot"], "inches": _UNITS["inch"]}.get(plain.lower())
