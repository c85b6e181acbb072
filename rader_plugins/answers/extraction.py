"""Finding the final answer in what a model wrote."""

from __future__ import annotations

import re

__all__ = ["boxed", "last_number", "stated", "stated_or_last_line", "trimmed"]

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BARE_BOX = re.compile(r"\\boxed\s+([^\s{}$]+)")
# The last of these wins. GSM8K ends in "#### 7"; recorded solutions in "A: 7".
_STATED = re.compile(
    r"(?:\banswer|^\s*A)\s*(?:\([^()\n]*\)\s*)?(?:is|are|=|:)+\s*:?[ \t]*|^\s*\#{4}[ \t]*", re.IGNORECASE | re.MULTILINE
)
# A full stop that ends a sentence, not one inside a number or an abbreviation of a unit.
_SENTENCE_END = re.compile(r"(?<=[^\s.])[.!?;](?=\s+[A-Z\\]|\s*$)")
_NUMBER = re.compile(
    r"[-+\u2212]?\$?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:\s*/\s*\d+)?(?:[eE][-+]?\d+)?%?|[-+]?\.\d+"
)


def boxed(text: str) -> str | None:
    r"""Return the content of the last complete ``\boxed{...}``, braces balanced, or None.

    Example:
        >>> boxed(r"so $x = \boxed{\frac{1}{2}}$.")
        '\\frac{1}{2}'
    """
    for match in reversed(list(_BOX.finditer(text))):
        depth = 1
        for at in range(match.end(), len(text)):
            if text[at] == "\\":
                continue
            if text[at] in "{}" and text[at - 1] != "\\":
                depth += 1 if text[at] == "{" else -1
                if depth == 0:
                    return text[match.end() : at].strip() or None
    bare = _BARE_BOX.findall(text)
    return trimmed(bare[-1]) if bare else None


def stated(text: str) -> str | None:
    """Return what follows the last "the answer is", "Answer:", "A:" or "####", or None.

    Example:
        >>> stated("The answer is 7 apples. I hope that helps.")
        '7 apples'
    """
    for match in reversed(list(_STATED.finditer(text))):
        line = text[match.end() :].partition("\n")[0]
        if value := trimmed(_SENTENCE_END.split(line, maxsplit=1)[0]):
            return value
    return None


def stated_or_last_line(text: str) -> str | None:
    """Return :func:`boxed` or :func:`stated`, else the last line that is not blank, or None."""
    found = boxed(text) or stated(text)
    if found is None and (lines := [line for line in text.splitlines() if line.strip()]):
        found = trimmed(lines[-1])
    return found or None


def last_number(text: str) -> str | None:
    """Return the last number of a text as it stands there, or None.

    Example:
        >>> last_number("from 12 to $1,450.50 in all")
        '1,450.50'
    """
    found = _NUMBER.findall(text)
    return found[-1].replace("$", "").strip() if found else None


def trimmed(text: str) -> str:
    """Return a text without the marks around it: white space, dollar signs, emphasis, quotes, a closing full stop."""
    while True:
        before = text
        text = text.strip().removesuffix(".").strip()
        for mark in ("**", "__", "$$", "$", '"', "`"):
            if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(mark):
                text = text[len(mark) : -len(mark)]
        for opening, closing in ((r"\(", r"\)"), (r"\[", r"\]")):
            if text.startswith(opening) and text.endswith(closing):
                text = text[2:-2]
        text = text.strip("*").strip()
        if text == before:
            return text
