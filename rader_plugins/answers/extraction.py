"""Finding the final answer in what a model wrote."""

from __future__ import annotations

import re

from rader_plugins.answers.numbers import ascii_digits
from rader_plugins.llm.base import without_thoughts

__all__ = [
    "after_thoughts",
    "boxed",
    "boxes",
    "last_interval",
    "last_number",
    "leading_number",
    "stated",
    "stated_or_last_line",
    "trimmed",
    "without_remark",
]

_BOXED = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)  # \{ and \} are printed braces
# What may stand between two boxes that are one answer.
_LISTED = re.compile(
    r"[\s$,;，；、]*(?:\\text\s*\{\s*)?(?:and|or|und|oder|et|ou|y|o|和|或|及|、|,|，)?(?:\s*\})?[\s$]*(?:[A-Za-z](?:_\{?\d\}?)?\s*=\s*)?"
)
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
# The same in other languages, without the need of a verb where a mark stands for it.
_ELSEWHERE = re.compile(
    r"(?:(?:最终|最后|最後|最終|正确|正確)的?)?(?:答案|结果|結果)\s*(?:应该|应当|应|應該|就)?\s*(?:是|为|為|等于|等於|選|选|[:：])\s*[:：]?"
    r"|(?:^|(?<=[\s。，,]))答\s*[:：]|(?:故|所以|因此|应该|应|應|本题|本題|我)选择?(?=\s*[(（]?[A-Z])"
    r"|(?:答え|解答|正解|回答)\s*(?:は|[:：])|(?:정답|답)\s*(?:은|는|[:：])|คำตอบ\s*(?:คือ|[:：])|उत्तर\s*[:：]?"
    r"|(?:الجواب|الإجابة|الاجابة)[^\n:.]{0,20}?(?:\s(?:هو|هي)\s|[:：])"
    r"|\b(?:respuesta|resposta|risposta|réponse|antwort|lösung|ответ)\b[^\n:.?]{0,40}?"
    r"(?:\s(?:es|é|è|est|ist|lautet|будет|равен)\s+|[:：])",
    re.IGNORECASE | re.MULTILINE,
)
# "因此最小值为 5。" at the end, where nothing is called the answer: a number or a formula, and no word after it.
_CONCLUDED = re.compile(
    r"(?:^|[。；;，,\n])\s*(?:因此|所以|故|综上|綜上|于是|從而|从而)[，,]?[^\n。，,；;？?=不非]{0,20}?(?:为|是|等于|為|等於)\s*"
    r"(?P<answer>\$[^$\n]+\$|\\\([^\n]+?\\\)|[-−]?[$€£¥]?\d[\d.,/]*\s?%?)\s*[.。！]?\s*$"
)
_INTERVAL = re.compile(
    r"(?:^|\b(?:is|are|in|interval|range|domain)\s|[:：=∈]|\\in)\s*[*$]*\s*(?:\\left)?\s*"
    r"(?P<answer>(?:\[[^\[\](){}\n,]+,[^\[\](){}\n,]+(?:\\right)?\s*[\])]|\([^\[\](){}\n,]+,[^\[\](){}\n,]+(?:\\right)?\s*\]))"
    r"[\s*$.。]*$"
)
_DOUBTED = re.compile(
    r"\b(?:not|never|cannot|false|wrong|incorrect|neither|nor|unless|if|or)\b|n't\b|[?？]", re.IGNORECASE
)
_COPULA = re.compile(r"\s*(?:です|である|となる|となります|だ|입니다|이다|है|เท่ากับ)\s*$")
_HEADING = re.compile(r"^[ \t#*_]*(?:the\s+)?final\s+answer[ \t*_:]*\n", re.IGNORECASE | re.MULTILINE)
# These mean an answer on the last line only: elsewhere "####" is a heading and "A:" a choice.
_LAST_LINE = re.compile(r"^\s*(?:####|[*_]*A[*_]*:)(?P<rest>.*)$")
_DECORATION = re.compile(r"[\s*_`\"“”:：「」『』]*")
_SENTENCE_END = re.compile(r"(?<!\b[A-Z])(?<!\b[A-Z][a-z])[.!?](?:\s+(?=[A-Z\\$(\"'*])|\s*$)|[。！？।؟｡]")
_MATHS = re.compile(
    r"\$\$(?P<display>.+?)\$\$|\\\((?P<round>.+?)\\\)|\\\[(?P<square>.+?)\\\]"
    r"|(?<![\\$])\$(?![\s$])(?P<inline>[^$]*?[^\s$\\])\$(?![\d$])",
    re.DOTALL,
)
_NUMBER = re.compile(
    r"(?:(?<![\w.)\]])[-−+])?[$€£¥₹]?(?<![a-zA-Z0-9_.])(?:\d{1,3}(?:\.\d{3})+,\d+"
    r"|(?:\d{1,3}(?:[,\u00a0\u202f\u2009]\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?![eE][-+]?\d{5})"
    r"(?:[eE][-+]?\d{1,4}(?!\w))?(?:\s?/\s?\d+(?![\d.,]*\d))?(?:\s?\\?%|\s?percent\b)?"
    r"(?:\s?(?:x|×|\*|\\times|\\cdot)\s?10\s?(?:\^|\*\*)\s?\{?[-−]?\d+\}?)?"
    r"(?:\s(?:hundred|thousand|million|billion|trillion|lakh|crore)s?\b|\s?[百千万萬亿億兆만억])?"
)

_OPERATOR = re.compile(
    r"[^\d.;,]*?(?:\b(?:times|plus|minus|divided\s+by|multiplied\s+by|over)\b|[x×*+·÷])[^\d.;,]*", re.I
)
_DENIED = re.compile(r"\b(?:not|than|instead\s+of|n't)\s+(?:be\s+|just\s+|only\s+)?[$€£]?$|不是\s*$", re.IGNORECASE)
_FUNCTIONS = frozenset(
    ["sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt", "max", "min", "gcd", "lcm", "arcsin"]
)
_REMARK = re.compile(
    # In brackets: at least a word, so that f(x), (1, 2) and (x + 1) stay.
    r"\s*[(（\[](?!\s*(?:mod|base)\b)(?=[^()（）]*(?:[^\W\d_]{3}|不是|因为))[^()（）]*[)）\]].*$"
    r"|[,;，；]\s*(?:(?:which|that|because|since|so|as|where|not|rather|but|given|hence|thus|therefore|meaning|while|"
    r"although|if|when|after|and\s+not|i\.?e\.?|e\.?g\.?|in\s+other\s+words|for\s+(?:example|the|that)|weil|denn)\b.*$"
    r"|(?:因为|由于|而不是|不是|而非|其中|理由).*$)"
    r"|\s+(?:because|since|which|rather\s+than|instead\s+of|but\s+not|and\s+not|not|given\s+that|so\s+that|where|"
    r"as\s+(?:the|we|it|they|shown|required|stated|desired|can|there)|i\.e\.|e\.g\.|for\s+the\s+reason)(?!\w).*$"
    r"|\s*(?:因为|由于|而不是|而非).*$"
    r"|\s+(?:[—–]|-{1,2})\s+(?=[^\W\d_]{2}).*$",
    re.IGNORECASE | re.DOTALL,
)


def after_thoughts(text: str) -> str:
    """Return what follows the ``<think>`` block, which is no answer; nothing if that was cut off."""
    return without_thoughts(text) or ""


def boxed(text: str) -> str | None:
    r"""Return the content of the last ``\boxed{}`` whose braces are balanced and which is not empty.

    Boxes that are listed ("x = \boxed{1} or x = \boxed{2}") are one answer, of all their contents.

    Example:
        >>> boxed(r"first \boxed{1}, then \boxed{\frac{1}{2}}")
        '\\frac{1}{2}'
        >>> boxed(r"\boxed{1} and \boxed{2}")
        '1, 2'
    """
    return ", ".join(boxes(text)) or None


def boxes(text: str) -> list[str]:
    """Return the contents of the last box and of those that are listed with it, in their order; none twice."""
    contents: list[str] = []
    begin = 0
    matches = list(_BOXED.finditer(text))
    pairs = _pairs(text) if matches else {}
    for match in reversed(matches):
        content, end = _box(text, match.end(), pairs)
        if not content:
            continue
        if contents and not _LISTED.fullmatch(text, end, begin):
            break
        begin = match.start()
        if content not in contents:
            contents.append(content)
    return contents[::-1]


def _box(text: str, start: int, pairs: dict[int, int]) -> tuple[str, int]:
    """Return the content of a box and where it ends."""
    while start < len(text) and text[start].isspace():
        start += 1
    if text[start : start + 1] == "{":
        return (text[start + 1 : pairs[start]].strip(), pairs[start] + 1) if start in pairs else ("", start)
    token = _UNBRACED.match(text, start)
    return (token[1].rstrip(".,;:"), token.end()) if token else ("", start)


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
    markers += [(match.end(), True) for match in _ELSEWHERE.finditer(text)]
    markers += [(match.end(), False) for match in _HEADING.finditer(text)]
    for end, sentence in sorted(markers, reverse=True):
        if answer := _tidied(text[end:], sentence=sentence):
            return answer
    concluded = None if markers else _CONCLUDED.search(lines[-1])
    return _tidied(concluded["answer"], sentence=False) if concluded else None


def last_interval(text: str) -> str | None:
    """Return the interval that the last line is or ends in ("so the range is [1, 5)."), or None.

    One of its brackets is square: a pair in round ones may be a point.
    """
    line = text.rstrip().rsplit("\n", 1)[-1].strip()
    match = None if _DOUBTED.search(line) else _INTERVAL.search(line)
    return match["answer"] if match else None


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
    line = _COPULA.sub("", line.strip().strip('*_`"“”').strip())
    return line.rstrip(".,;").rstrip("*_ ") if not re.search(r"\b[A-Z]\.$", line) else line


def _content(formula: re.Match[str]) -> str:
    return next(content for content in formula.groups() if content is not None).strip().rstrip(".,;").strip()


def stated_or_last_line(text: str) -> str | None:
    """Return :func:`boxed` or :func:`stated`, else the last line that is not blank, or None."""
    text = after_thoughts(text)
    answer = boxed(text) or stated(text)
    if answer is None and (lines := [line for line in text.splitlines() if line.strip()]):
        answer = trimmed(lines[-1])
    return answer or None


def without_remark(statement: str) -> str:
    """Return a stated answer without the explanation after it.

    Example:
        >>> without_remark("18 (9 eggs at 2 dollars each)"), without_remark("B, not C"), without_remark("(1, 2]")
        ('18', 'B', '(1, 2]')
    """
    for match in _REMARK.finditer(statement):
        head = statement[: match.start()].strip().rstrip(",;:").strip()
        function = re.search(r"([A-Za-z]+)$", head)
        if not head or (function and function[1].lower() in _FUNCTIONS):
            continue
        return head
    return statement


def leading_number(statement: str) -> str | None:
    """Return the number that a stated answer gives, as it stands there, or None.

    It is the first one that is not denied; after "=", or where a calculation stands first, its result.

    Example:
        >>> [leading_number(text) for text in ("40, which is 8 times 5", "not 18 but 7", "8 x 5 = 40", "8 times 5: 40")]
        ['40', '7', '40', '40']
    """
    statement = ascii_digits(statement)
    head = without_remark(statement)
    if re.search(r"[=≈]", head):
        head = re.split(r"[=≈]", head)[-1]
    numbers = [match for match in _NUMBER.finditer(head) if not _DENIED.search(head, 0, match.start())]
    if not numbers:
        return last_number(statement)
    first, *following = numbers
    if following and _OPERATOR.fullmatch(head, first.end(), following[0].start()):
        return last_number(statement)
    return _number_text(first[0])


def last_number(text: str) -> str | None:
    """Return the last number of a text as it stands there, or None.

    Example:
        >>> last_number("from 12 to $1,450.50 in all")
        '1,450.50'
    """
    numbers = _NUMBER.findall(ascii_digits(text))
    return _number_text(numbers[-1]) if numbers else None


def _number_text(number: str) -> str:
    return number.replace("$", "").strip()


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
