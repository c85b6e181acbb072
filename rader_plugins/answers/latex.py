"""Formulas and short texts in one form, so that equal ones look equal."""

from __future__ import annotations

import re

from rader_plugins.answers.numbers import ascii_digits

__all__ = ["as_text", "tidy_formula"]

_CHARACTERS = {
    "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "π": r"\pi ", "∞": r"\infty ",
    "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ", "√": r"\sqrt",
    "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}",
    "°": "", "±": r"\pm ", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "θ": r"\theta ", "′": "'", "’": "'",
    **{sup: f"^{{{at}}}" for at, sup in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}  # fmt: skip
_TRANSLATION = str.maketrans(_CHARACTERS)
_TEXT = r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|mathrm|mathbf|mathit|mbox|hbox|operatorname)\s*\{([^{}]*)\}"
_REMOVED = re.compile(
    r"\\(?:left|right|displaystyle|textstyle|limits|quad|qquad|bigl|bigr|Bigl|Bigr|big|Big)(?![A-Za-z])\.?"
    r"|(?<!\\)\\[()\[\]!,;:]|\\?\$|[€£]|\^\s*\{?\s*\\circ\s*\}?|\\degree(?![A-Za-z])|~"
)
_LISTING = re.compile(r"\s*(?:(?:,\s*)?\b(?:and|or)\b|或者?|和|及|以及)\s*")
_MEMBERSHIP = re.compile(r"^\s*\$?\s*[A-Za-z]\s*(?:\\in(?![A-Za-z])|∈)\s*")
# Intervals as they are written in France: ]0, 1[.
_FRENCH = re.compile(r"(?<!\S)([\[\]])\s*([^\[\](){}]+[,;][^\[\](){}]+?)\s*([\[\]])(?!\S)")
_OPEN, _CLOSE = {"[": "[", "]": "("}, {"[": ")", "]": "]"}
_DEGREES = re.compile(r"\s*\b(?:degrees?)\s*$", re.IGNORECASE)
_TEXT_ONLY = re.compile(r"[A-Za-z][A-Za-z'. -]*")
# Words of scripts that mathematics takes no letters from.
_OTHER_SCRIPT = re.compile(r"[\u0400-\U0003ffff\s]*[\u0400-\u1fff\u2e80-\U0003ffff][\u0400-\U0003ffff\s]*")
_FUNCTIONS = frozenset(
    ["sqrt", "sin", "cos", "tan", "cot", "sec", "csc", "log", "exp", "infinity", "infty", "pi", "max", "min", "mod"]
)


def tidy_formula(text: str) -> str:
    r"""Return LaTeX of a formula without what does not change its meaning: layout, delimiters, currency, degrees.

    Plain notation becomes LaTeX: ``sqrt(2)``, ``2^(1/2)``, ``2**10``, ``3 1/2``, ``pi``, ``≤``.

    Example:
        >>> tidy_formula(r"$\left(\dfrac{1}{2},\, 3\right]$.")
        '(\\frac{1}{2}, 3]'
    """
    tidy = ascii_digits(text).strip().translate(_TRANSLATION)
    tidy = _LISTING.sub(", ", _MEMBERSHIP.sub("", tidy))
    tidy = _FRENCH.sub(lambda match: f"{_OPEN[match[1]]}{match[2]}{_CLOSE[match[3]]}", tidy)
    if "\\" not in tidy:
        tidy = _from_plain(tidy)
    tidy = _REMOVED.sub("", tidy)
    tidy = re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", tidy)
    tidy = re.sub(r"(?<!\\)\\ ", " ", tidy).replace("\\%", "%").replace("{,}", ",").replace(r"\leq", r"\le")
    tidy = tidy.replace(r"\geq", r"\ge").replace(r"\neq", r"\ne")
    tidy = _DEGREES.sub("", _without_unit(tidy))
    return re.sub(r"\s+", " ", tidy).strip(" .,;")


def _from_plain(text: str) -> str:
    plain = text.replace("**", "^")
    plain = re.sub(r"\bsqrt\s*\(([^()]*)\)|\bsqrt\s*(\d+)", lambda m: rf"\sqrt{{{m[1] or m[2]}}}", plain)
    plain = re.sub(r"\^\(([^()]*)\)|\^(-?\d{2,})", lambda m: f"^{{{m[1] or m[2]}}}", plain)
    plain = re.sub(r"(?<![\w.])(\d+)\s+(\d+)/(\d+)(?![\w.])", r"\1\\frac{\2}{\3}", plain)
    plain = re.sub(r"(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi ", plain)
    plain = re.sub(r"(?<![A-Za-z\\])(?:infinity|inf|oo)(?![A-Za-z])", r"\\infty ", plain)
    plain = re.sub(r"\s*<=\s*", r" \\le ", plain)
    plain = re.sub(r"\s*>=\s*", r" \\ge ", plain)
    plain = re.sub(r"\{", r"\\{", plain) if re.match(r"\s*\{.*\}\s*$", plain) and "^{" not in plain else plain
    return re.sub(r"\}\s*$", r"\\}", plain) if plain.lstrip().startswith(r"\{") else plain


def _without_unit(text: str) -> str:
    """Drop a last ``\\text{...}`` that stands after something else, and what is raised to a power of it."""
    unit = re.search(rf"{_TEXT}\s*(?:\^\s*\{{?\d\}}?)?\s*\.?$", text)
    return text[: unit.start()] if unit and text[: unit.start()].strip() else text


def as_text(text: str) -> str | None:
    r"""Return an answer in words, in lower case, or None if it is a formula.

    Words are what stands in ``\text{}`` as a whole, and letters alone with at least three of them in a row.

    Example:
        >>> [as_text(text) for text in (r"\text{East}", "south-west", "xy", "2x", r"\textbf{(B)}")]
        ['east', 'south-west', None, None, 'b']
    """
    stripped = text.strip().strip("$").strip().rstrip(".")
    inner = re.fullmatch(_TEXT, stripped)
    words = re.sub(r"\s+", " ", (inner[1] if inner else re.sub(_TEXT, r"\1", stripped)).replace("\\ ", " ")).strip(" .")
    label = re.fullmatch(r"\(([A-Za-z])\)", words)
    if label:
        return label[1].lower()
    if inner and re.search(r"[^\W\d_]", words):
        return words.lower()
    if _OTHER_SCRIPT.fullmatch(words) and re.search(r"[^\W\d_]", ascii_digits(words)):
        return words.casefold()
    lower = words.lower()
    if _TEXT_ONLY.fullmatch(words) and (lower == "no" or re.search(r"[a-z]{3}", lower)):
        return None if _FUNCTIONS & set(lower.split()) else lower
    return None
