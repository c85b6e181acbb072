"""`ChoiceChecker`: multiple-choice answers, stated in the many ways in which models state them."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from rader_plugins.answers.extraction import (
    after_thoughts,
    boxed,
    stated,
    stated_or_last_line,
    trimmed,
    without_remark,
)
from rader_plugins.answers.normalization import normalized
from rader_plugins.errors import InputError

__all__ = ["ChoiceChecker"]

_IN_TEXT = re.compile(r"\\(?:text(?:bf|rm|it)?|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_DENIAL = r"(?i:not|n't|isn't|than|instead of|不是|而非|不选|不能选)"
# A letter in brackets, before a mark, or alone. "A" and "I" alone are words unless something follows that is no noun.
_LETTER = (
    r"(?:\(([A-Za-z])\)|（([A-Za-z])）|\*\*([A-Z])\*\*|(?<![A-Za-z0-9'])([A-Z])(?=[).:](?:\s|$|[^\x00-\x7f]))"
    r"|(?<![A-Za-z0-9'])([B-HJ-Z])(?![A-Za-z0-9'’])"
    r"|(?<![A-Za-z0-9'])([AI])(?=\s*(?:[,;!?*)\]]|$|[^\x00-\x7f])|\s+(?i:because|since|as|is|and|or|not|rather|but)\b))"
)
_NAMED = re.compile(r"\(([A-Z])\)|\b(?i:option|choice)\s+([A-Z])\b|\*\*([A-Z])\*\*|选项?\s*([A-Z])")
_ALONE = re.compile(r"(?<![A-Za-z0-9])([B-HJ-Z]|[AI](?=[.,;:!?]|\s*$))(?![A-Za-z0-9'])", re.MULTILINE)
_FIRST = re.compile(
    rf"(?P<denied>\b{_DENIAL}\s*(?:\b(?i:option|choice)\s*)?|不是\s*)?(?i:option|choice|answer|选项|選項)?\s*{_LETTER}",
)
_LABEL = re.compile(r"[(（]?([A-Za-z])[)）]?[.:：]?")
_LIST = re.compile(r"\(?[A-Z]\)?(?:\s*(?:,|，|、|;|&|\+|and|und|和|与|及|,\s*and)\s*\(?[A-Z]\)?)+")
_NUMBERED = re.compile(r"\(?(\d{1,2})\)?\s*(?:번|番|号|號)")
_RUN = re.compile(r"[A-Z]{2,6}")
# What a choice is announced by; the first letter after the last of these counts.
_CHOSEN = re.compile(
    r"\b(?i:(?:correct|right|best|final|proper|appropriate|true|intended)\s+(?:option|choice|answer|alternative|response"
    r"|letter|statement|one)s?(?:\s+(?:here|among\s+these|of\s+these))?\s*(?:is|are|would\s+be|must\s+be|should\s+be|has\s+to"
    r"\s+be|[:：]))"
    r"|\b(?:I|[Ww]e)(?:'d|\s+would|\s+will|'ll|\s+therefore|\s+thus)?\s+(?i:choose|chose|pick|select|go\s+(?:with|for)"
    r"|take|opt\s+for|settle\s+on)\b"
    r"|\b(?i:choose|pick|select)\b(?=\s*(?:option\s*|choice\s*)?[(*]*[A-Z]\b)"
    r"|(?<![不未])(?:故|所以|因此|应该|应|應|本题|我)?(?<!不)(?<!不能)选择?(?=\s*[(（]?[A-Z])|正确(?:的)?(?:答案|选项)(?:是|为|[:：])"
)
# "B is correct", "(B) is the best answer", "B 正确".
_IS_RIGHT = re.compile(
    r"(?:(?i:option|choice|answer|statement|选项)\s*)?(?:\(([A-Z])\)|(?<![A-Za-z0-9])([A-Z]))(?![A-Za-z0-9'])\s*"
    r"(?:(?i:is|seems|must\s+be|would\s+be)\s+(?i:(?:the\s+|clearly\s+|therefore\s+|thus\s+)*(?:most\s+)?"
    r"(?:correct|right|best|true|answer|appropriate|accurate))\b|是?正确|对)"
)
_IS_WRONG = re.compile(
    r"[\s(*]*[A-Z][)*]*\s*(?:(?i:is|was|cannot|can't)\s+(?i:not|wrong|incorrect|false|ruled|be)|错|不)"
)


class ChoiceChecker:
    """Compares the letters of multiple-choice answers; with ``choices``, their texts count as well.

    The answer is what is boxed, chosen or stated, without the remark after it ("(B), not (C)" is B). Several letters
    ("A and C", "ACD") are one answer, whatever their order.

    Args:
        choices: The choices: letter -> text, or texts for A, B, C, ...

    Example:
        >>> ChoiceChecker(["gravity", "friction"]).equal("(B)", "friction")
        True
    """

    def __init__(self, choices: Mapping[str, str] | Sequence[str] | None = None) -> None:
        if isinstance(choices, str):
            raise InputError("choices is a list of texts or a mapping of letters to texts.")
        listed = (
            choices if isinstance(choices, Mapping) else dict(zip(string.ascii_uppercase, choices or (), strict=False))
        )
        self.choices = {letter.upper(): text for letter, text in listed.items()}

    @property
    def name(self) -> str:
        """``choice``."""
        return "choice"

    def extract(self, text: str) -> str | None:
        """Return the letter, or the choice's text, that is stated; else the last letter that stands alone."""
        text = after_thoughts(text)
        if (content := boxed(text)) is not None:
            return self._letters(content) or content
        for statement in _statements(text):
            if answer := self._letters(statement) or _first_letter(statement):
                return answer
        if (sentence := stated(text)) is not None:
            return self._letters(sentence) or without_remark(sentence)
        if "\n" not in text.strip() and not _IS_WRONG.match(text) and (answer := self._letters(text)):
            return answer
        # "I take (B)" and "option B" say more than a letter that stands alone, which may be the article.
        for pattern in (_NAMED, _ALONE):
            letters = [
                next(group for group in match.groups() if group)
                for match in pattern.finditer(text)
                if not re.search(rf"\b{_DENIAL}\s+$", text[: match.start()])
            ]
            if letters:
                return letters[-1]
        return stated_or_last_line(text)

    def equal(self, answer: str, gold: str, *, question: str = "") -> bool:
        """Whether both name the same choice, or the same choices."""
        answer_letters, gold_letters = self._letters(answer), self._letters(gold)
        if answer_letters is not None and gold_letters is not None:
            return answer_letters == gold_letters
        return bool(normalized(answer)) and normalized(answer) == normalized(gold)

    def _letters(self, text: str) -> str | None:
        """Return the letter that a text is or begins with, or several in their order; None if it is something else."""
        bare = trimmed(_IN_TEXT.sub(r"\1", text)).strip("*").strip()
        head = without_remark(bare)
        if match := _LABEL.fullmatch(bare) or _LABEL.fullmatch(head):
            return match[1].upper()
        # "3번": choices that are numbered, not the third of lettered ones.
        if (numbered := _NUMBERED.fullmatch(unicodedata.normalize("NFKC", head))) and self._is_label(numbered[1]):
            return numbered[1]
        for letter, choice in self.choices.items():
            if normalized(choice) and normalized(choice) in (normalized(bare), normalized(head)):
                return letter
        if _LIST.fullmatch(head) or (_RUN.fullmatch(head) and list(head) == sorted(set(head)) and self._are_all(head)):
            return ", ".join(sorted(set(re.findall(r"[A-Z]", head))))
        if match := re.match(r"(?i:(?:option|choice|answer|选项|選項)\s*)?" + _LETTER, bare):
            return next(group for group in match.groups() if group).upper()
        return None

    def _is_label(self, number: str) -> bool:
        return number in self.choices or not self.choices

    def _are_all(self, letters: str) -> bool:
        """Whether letters written together are choices, and no word such as "BE" or abbreviation such as "AC"."""
        return bool(self.choices) and set(letters) <= set(self.choices)


def _statements(text: str) -> Iterator[str]:
    """Yield what follows each announcement of a choice, and each letter that is called right, the last first."""
    candidates = [(match.end(), _sentence(text[match.end() :])) for match in _CHOSEN.finditer(text)]
    candidates += [(match.start(), match[1] or match[2]) for match in _IS_RIGHT.finditer(text)]
    if (statement := stated(text)) is not None:
        candidates.append((text.rfind(statement), statement))
    for _, statement in sorted(candidates, reverse=True):
        yield statement


def _sentence(rest: str) -> str:
    return re.split(r"\n|(?<=[.!?])\s+(?=[A-Z])|[。！？]", rest.lstrip(" :：*_\n"), maxsplit=1)[0]


def _first_letter(statement: str) -> str | None:
    """Return the first letter that is not denied."""
    for match in _FIRST.finditer(statement):
        if not match["denied"]:
            return next(group for group in match.groups()[1:] if group).upper()
    return None
