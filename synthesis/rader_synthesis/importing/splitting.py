"""Splitting a written solution into its steps, formulas left whole."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["split_steps"]

_LONG_LINE = 240
_MATH = re.compile(
    # Lengths are limited, or a text full of openings that nothing closes would take quadratic time.
    r"\$\$.{1,3000}?\$\$|\\\[.{1,3000}?\\\]|\\\(.{1,1000}?\\\)"
    r"|\\begin\{(?P<name>[a-zA-Z]{1,20}\*?)\}.{1,3000}?\\end\{(?P=name)\}|\[asy\].{1,9000}?\[/asy\]"
    r"|(?<!\\)\$(?!\d[\d,.]*(?:\s|$))(?:\\.|[^$\\\n]){1,1000}?(?<!\\)\$|```.{1,9000}?```",
    re.DOTALL,
)
_DISPLAY = ("$$", "\\[", "\\begin", "[asy]")
_ANNOTATION = re.compile(r"<<[^<>]*>>")
_ENDS = re.compile(r"[.!?][\"')\]”]*(?=\s+[A-Z\\$(\[“\"]|\s+\x00)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|etc|resp|eq|eqs|fig|sec|thm|no|mr|mrs|ms|dr|prof|st|approx|w\.l\.o\.g)|\b[A-Z])\.$",
    re.IGNORECASE,
)
_PLACE = re.compile("\x00(\\d+)\x00")


def split_steps(text: str) -> list[str]:
    """Return the steps of a solution.

    A line is a step, with the displayed formulas that follow on lines of their own. One of more than 240 characters,
    or a solution of one line, is split into its sentences. Formulas (``$...$``, ``$$...$$``,
    ``\\[...\\]``, ``\\(...\\)``, environments, ``[asy]``) and code blocks are never split; a displayed formula that
    ends in a full stop ends its sentence. Calculator annotations of GSM8K (``<<16-3=13>>``) are taken out.

    Example:
        >>> split_steps("She has 16 - 3 = <<16-3=13>>13 eggs.\\n#### 13")
        ['She has 16 - 3 = 13 eggs.', '#### 13']
        >>> split_steps("Square both: $$x^2 = 4. $$ Thus $x = 2. $ Done.")
        ['Square both: $$x^2 = 4. $$', 'Thus $x = 2. $ Done.']
    """
    formulas: list[str] = []

    def keep(match: re.Match[str]) -> str:
        formulas.append(match[0])
        return f"\x00{len(formulas) - 1}\x00"

    # A formula is one sign while sentences are looked for, so that nothing in it can end one.
    masked = _MATH.sub(keep, _ANNOTATION.sub("", text.replace("\x00", "")))
    lines: list[str] = []
    for line in filter(None, map(str.strip, masked.splitlines())):
        mask = _PLACE.match(line)
        if lines and mask is not None and formulas[int(mask[1])].startswith(_DISPLAY):
            lines[-1] += f"\n{line}"  # the formula that the line before announced
        else:
            lines.append(line)
    steps: list[str] = []
    for line in lines:
        restored = _restored(line, formulas)
        if len(lines) > 1 and len(restored) <= _LONG_LINE:
            steps.append(restored)
        else:
            steps += [_restored(sentence, formulas) for sentence in _sentences(line, formulas)]
    return steps


def _restored(text: str, formulas: list[str]) -> str:
    return _PLACE.sub(lambda match: formulas[int(match[1])], text).strip()


def _sentences(line: str, formulas: list[str]) -> Iterator[str]:
    breaks = [match.end() for match in _ENDS.finditer(line) if not _ABBREVIATION.search(line[: match.start() + 1])]
    for match in _PLACE.finditer(line):
        formula = formulas[int(match[1])]
        if formula.startswith(_DISPLAY) and re.search(r"\.\s*(?:\$\$|\\\]|\\end\{[^}]*\})$", formula):
            breaks.append(match.end())
    start = 0
    for end in sorted(breaks):
        if line[start:end].strip():
            yield line[start:end]
        start = end
    if line[start:].strip():
        yield line[start:]
