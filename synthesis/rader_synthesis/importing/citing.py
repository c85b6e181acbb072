"""What interfaces say that an answer cites, and the numbers that it cites itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from rader_plugins.text_matching import shared_words
from rader_synthesis.citations import Citations
from rader_synthesis.importing.conversation import Citation

__all__ = ["citation_of", "files_cited", "likeliest_part", "numbers_cited", "page_key"]

_NO_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\\\(.*?\\\)|\\\[.*?\\\]", re.DOTALL)
_RANGE = r"\d{1,3}(?:\s*[-–—]\s*\d{1,3})?"
_DOCUMENT = r"(?:doc(?:ument[eo]?)?|dokument|source|quelle|fuente|passage|result|ref|chunk|文档|文献|资料)\.?\s*"
_NUMBERS = re.compile(
    rf"[\[［【]\s*\^?((?:{_DOCUMENT})?{_RANGE}(?:\s*[,，、;；]\s*(?:{_DOCUMENT})?{_RANGE})*)\s*(?:†[^】\]]*)?[\]］】]",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"^[ \t>*+-]*[\[［【]\^?\d{1,3}(?:†[^】\]]*)?[\]］】][:：]?[ \t]*\S.*$", re.MULTILINE)
_TRACKING = re.compile(r"utm_\w+|gclid|fbclid|msclkid|ref_src|mc_[ce]id", re.IGNORECASE)

_FILE = re.compile(r"[^\s:?*]+\.[A-Za-z]\w{0,4}")

_NAMES = ("url", "source", "file_id", "document_id", "id", "title", "filename", "document_title")
_NO_DOCUMENTS = frozenset(("file_path", "container_file_citation"))


def citation_of(entry: Mapping[str, Any]) -> Citation | None:
    """Return what one entry of ``citations`` or ``annotations`` cites; None if that is no document.

    Read are ``url_citation`` and ``file_citation`` of OpenAI, ``search_result_location``,
    ``web_search_result_location`` and the locations in documents of Anthropic, and lists of ``document_ids``.
    """
    kind = entry.get("type")
    if kind in _NO_DOCUMENTS:
        return None
    if isinstance(kind, str) and isinstance(entry.get(kind), Mapping):  # as chat completions nest it
        entry = entry[kind]
    names = [str(entry[key]) for key in _NAMES if isinstance(entry.get(key), str | int) and entry[key] != ""]
    names += [str(id) for id in entry.get("document_ids") or () if isinstance(id, str | int)]
    if isinstance(entry.get("document_index"), int):
        names.append(f"document:{entry['document_index']}")
    text = next((entry[key] for key in ("cited_text", "quote") if isinstance(entry.get(key), str)), "")
    if not names and not text:
        return None
    address = entry.get("url")
    title = next((entry[key] for key in ("title", "filename") if isinstance(entry.get(key), str)), "")
    return Citation(tuple(dict.fromkeys(names)), text, address if isinstance(address, str) else "", title)


def likeliest_part(parts: Mapping[str, str], answer: str) -> list[str]:
    """Return the id of the part of a cited file that shares most words with the answer, the first of several.

    Args:
        parts: Id -> text, in the order in which they were found.
        answer: What cites the file.

    Returns:
        One id; none where no part shares a word with the answer.

    Example:
        >>> likeliest_part({"a": "Guests are free.", "b": "A seat costs 8 euros."}, "It costs 8 euros.")
        ['b']
    """
    shares = {id: shared_words(answer, text) for id, text in parts.items()}
    best = max(shares, key=lambda id: shares[id])
    return [best] if shares[best] else []


def numbers_cited(answer: str) -> Iterator[list[str]]:
    """Yield, for every bracket of an answer that has the form of a citation, the numbers in it.

    These are ``[1]``, ``[2, 3]``, ``[4-6]``, ``[doc7]``, ``【8†source】``; none in code and formulas. Lines that begin
    with a number list what there is to cite: they count only where the text itself cites nothing.

    Example:
        >>> list(numbers_cited("Thirty days [1], then none [2-3]. See `rows[4]`."))
        [['1'], ['2', '3']]
    """
    prose = _NO_PROSE.sub(" ", answer)
    text = _REFERENCE.sub(" ", prose)
    for match in list(_NUMBERS.finditer(text)) or _NUMBERS.finditer(prose):
        numbers: list[str] = []
        for part in re.split(r"[,，、;；]", match[1]):
            first, *last = re.findall(r"\d+", part)
            numbers += map(str, range(int(first), int(last[0]) + 1)) if last else [first]
        if numbers:
            yield numbers


def files_cited(answer: str, files: Iterable[str]) -> list[str]:
    """Return which files an answer names, by their path or by their name alone if no other has it.

    Example:
        >>> files_cited("Eight euros (see seats.md).", ["docs/seats.md", "docs/refunds.md", "Seat limits"])
        ['docs/seats.md']
    """
    names: dict[str, list[str]] = {}
    for file in files:
        if _FILE.fullmatch(file):
            for name in {file, re.split(r"[/\\]", file)[-1]}:
                names.setdefault(name, []).append(file)
    distinct = {name: files[0] for name, files in names.items() if len(files) == 1}
    cited = Citations((name, "") for name in distinct).find(_NO_PROSE.sub(" ", answer))
    return sorted({distinct[name] for name in cited})


def page_key(address: str) -> str | None:
    """Return what addresses of one page have in common: no anchor and no marks of who links to it; None for no address.

    Example:
        >>> page_key("https://Example.org/a/?utm_source=openai&q=1#top")
        'https://example.org/a?q=1'
    """
    if not address.startswith(("http://", "https://")):
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    query = [(name, value) for name, value in parse_qsl(parts.query, True) if not _TRACKING.fullmatch(name)]
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc.lower()}{path}" + (f"?{urlencode(query)}" if query else "")
