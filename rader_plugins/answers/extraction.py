"""Finding the final answer in what a model wrote."""

from __future__ import annotations

import re

from rader_plugins.llm.base import without_thoughts

__all__ = ["after_thoughts", "boxed", "last_number", "stated", "stated_or_last_line", "trimmed"]

_BOXED = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)  # \{ and \} are printed braces
_UNBRACED = re.compile(r"\s*([^\s{}$\\]+)")

# "the answer is", "the answer to this question would be", "Answer:", "**Final answer**\n"; the last one counts.
_MARKER = re.compile(
    r"\banswers?\b[*_\"']*(?:\s*\([^()\n]*\))?"
    r"(?:\s+(?:to|of|for|in|here|then|thus|hence|therefore|now|simply|just|the|this|that|our|your|question|problem|part"
    r"|[a-z]\)|\([a-z]\))){0,6}"
    r"\s*(?:(?:\b(?:is|are|was)|\b(?:would|must|should|will|has\s+to|to)\s+be|\bequals|\bcomes\s+(?:out\s+)?to)\b"
    r"(?:\s+(?:then|thus|hence|therefore|simply|just|indeed))?[*_]*\s*[:：]?|(?P<line>[:：=]))",
    re.IGNORECASE,
)
_HEADING = re.compile(r"^[ \t#*_]*(?:the\s+)?final\s+answer[ \t*_:]*\n", re.IGNORECASE | re.MULTILINE)
# These mean an answer on the last line only: elsewhere "####" is a heading and "A:" a choice.
_LAST_LINE = re.compile(r"^\s*(?:####|[*_]*A[*_]*:)(?P<rest>.*)$")
_DECORATION = re.compile(r"[\s*_`\"“”:：]*")
_SENTENCE_END = re.compile(r"(?<!\b[A-Z])(?<!\b[A-Z][a-z])[.!?](?:\s+(?=[A-Z\\$(\"'*])|\s*$)")
_MATHS = re.compile(
    r"\$\$(?P<display>.+?)\$\$|\\\((?P<round>.+?)\\\)|\\\[(?P<square>.+?)\\\]"
    r"|(?<![\\$])\$(?![\s$])(?P<inline>[^$]*?[^\s$\\])\$(?![\d$])",
    re.DOTALL,
)
_NUMBER = re.compile(
    r"(?:(?<![\w.)\]])[-−+])?[$€£]?(?<![\w.])(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?![eE][-+]?\d{4})"
    r"(?:[eE][-+]?\d{1,3}(?!\w))?(?:\s?/\s?\d+(?![\d.,]*\d))?(?:\s?\\?%)?"
)


def after_thoughts(text: str) -> str:
    """Return what follows the ``<think>`` block, which is no answer; nothing if that was cut off."""
    return without_thoughts(text) or ""


def boxed(text: str) -> str | None:
    r"""Return the content of the last ``\boxed{}`` whose braces are balanced and which is not empty.

    Example:
        >>> boxed(r"first \boxed{1}, then \boxed{\frac{1}{2}}")
        '\\frac{1}{2}'
    """
    boxes = list(_BOXED.finditer(text))
    pairs = _pairs(text) if boxes else {}
    for match in reversed(boxes):
        start = match.end()
        while start < len(text) and text[start].isspace():
            start += 1
        if text[start : start + 1] == "{":
            content = text[start + 1 : pairs[start]].strip() if start in pairs else ""
        else:
            token = _UNBRACED.match(text, start)
            content = token[1].rstrip(".,;:") if token else ""
        if content:
            return content
    return None


def _pairs(text: str) -> dict[int, int]:
    """Return where each opening brace that is closed is closed."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for brace in _BRACES.finditer(text):
        if brace[0] == "{":
            opened.append(brace.start())
        elif brace[0] == "}" and opened:
            pairs[opened.pop()] = brace.start()
    return pairs


def stated(text: str) -> str | None:
    """Return what follows the last "the answer is" or "Answer:", or "####" or "A:" on the last line, or None.

    Example:
        >>> stated("The answer is 7 apples. I hope that helps.")
        '7 apples'
    """
    lines = text.rstrip().rsplit("\n", 1)
    final = _LAST_LINE.match(lines[-1])
    if final and (answer := _tidied(final["rest"], sentence=False)):
        return answer
    markers = [(match.end(), match.groupdict().get("line") is None) for match in _MARKER.finditer(text)]
    markers += [(match.end(), False) for match in _HEADING.finditer(text)]
    for end, sentence in sorted(markers, reverse=True):
        if answer := _tidied(text[end:], sentence=sentence):
            return answer
    return None


def _tidied(rest: str, *, sentence: bool) -> str:
    """Return the answer at the beginning of ``rest``: a formula, a sentence's remainder, or a line."""
    decoration = _DECORATION.match(rest)
    rest = rest[decoration.end() if decoration else 0 :]
    formula = _MATHS.match(rest)
    if formula:
        return _content(formula)
    line = rest.split("\n", 1)[0]
    if sentence and (end := _SENTENCE_END.search(line)):
        line = line[: end.start()]
        if formula := _MATHS.search(line):  # "is that the area equals $3\pi$"
            return _content(formula)
    line = line.strip().strip('*_`"“”').strip()
    return line.rstrip(".,;").rstrip("*_ ") if not re.search(r"\b[A-Z]\.$", line) else line


def _content(formula: re.Match[str]) -> str:
    return next(content for content in formula.groups() if content is not None).strip().rstrip(".,;").strip()


def stated_or_last_line(text: str) -> str | None:
    """Return :func:`boxed` or :func:`stated`, else the last line that is not blank, or None."""
    text = after_thoughts(text)
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
