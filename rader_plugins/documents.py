"""The two types that every part of the library passes around: :class:`Document` and :class:`Hit`."""

from __future__ import annotations

import datetime
import decimal
import enum
import hashlib
import json
import math
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.explanation import Explanation, HitDetails
from rader_plugins.files import canonical_json

__all__ = [
    "Document", "Hit", "check_text", "corpus_digest", "document_digest", "json_form", "metadata_json", "same_metadata",
    "text_list",
]  # fmt: skip

_PLAIN = frozenset({str, int, bool})  # the most frequent types of metadata are their own form
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True)
class Document:
    """A text that can be retrieved.

    Args:
        id: Unique name of the document within an index; a non-empty string.
        text: What is encoded and searched. Any length; recipes cut at their maximum and warn.
        metadata: A JSON object: string keys; strings, finite numbers, booleans, None, lists, objects. Dates, UUIDs and
            some more types of Python are stored in their :func:`json_form`.

    Example:
        >>> Document(id="ramsey", text="Among any six people ...", metadata={"field": "combinatorics"}).id
        'ramsey'
    """

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Hit:
    """One retrieved document and how it came to its place.

    Args:
        document: The document as it is stored.
        score: The score that decided the order; higher is better.
        rank: 1 for the best hit.
        scores: Every stage score that made it: ``dense`` (cosine), ``bm25``, ``fused`` (hybrid), later ``rerank``.
        details: What the index knows beside; None unless the search was asked for it (``explain=True``).
    """

    document: Document
    score: float
    rank: int
    scores: Mapping[str, float] = field(default_factory=dict)
    details: HitDetails | None = field(default=None, compare=False, repr=False)

    def explain(self) -> Explanation:
        """Return why it ranks where it does: terms that match, rank and z-score in each list, what a reranker changed.

        Raises:
            InputError: The search was not asked to keep what that takes.

        Example:
            >>> hits = retriever.search("How many guests must I invite?", explain=True)  # doctest: +SKIP
            >>> print(hits[0].explain())  # doctest: +SKIP
        """
        if self.details is None:
            raise InputError("This hit has nothing to explain itself with. Search with explain=True.")
        words = self.details.words(self.document.text)
        return Explanation(self.document.id, self.rank, self.score, self.scores, self.details, words)


def check_text(text: object, what: str) -> str:
    """Return ``text`` if it is a string that can be stored and tokenised, else raise :class:`InputError`.

    Args:
        text: The value to check.
        what: How to call it in the message, for example ``"query 3"`` or ``"document 'a'"``.
    """
    if not isinstance(text, str):
        raise InputError(f"The text of {what} must be a string, not {type(text).__name__}.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"The text of {what} holds a lone surrogate ({text[error.start]!r} at character {error.start}), which "
            "is not valid Unicode. Clean it first: text.encode('utf-8', 'replace').decode('utf-8')."
        ) from None
    return text


def text_list(values: object, what: str) -> list[str]:
    """Return strings as a list, whatever holds them: a list, an array, a series, a generator.

    Args:
        values: Any iterable of strings, but not a string itself.
        what: How to call one of them in a message, for example ``"query"``.

    Raises:
        InputError: They are one string, no iterable, or hold something else than valid strings.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InputError(f"A list of texts is needed ({what} 0, {what} 1, ...), not {type(values).__name__}.")
    return [check_text(value, f"{what} {number}") for number, value in enumerate(values)]


def corpus_digest(documents: Iterable[Document]) -> str:
    """Return a digest of ids and texts, whatever their order."""
    lines = sorted(hashlib.sha256(f"{document.id}\0{document.text}".encode()).digest() for document in documents)
    return hashlib.sha256(b"".join(lines)).hexdigest()[:32]


def document_digest(document: Document) -> bytes:
    """Return 32 bytes that tell a document from one with another id, text or metadata.

    Raises:
        ValueError: Its metadata are not JSON.
    """
    row = "\0".join((document.id, document.text, canonical_json(dict(document.metadata))))
    return hashlib.sha256(row.encode("utf-8", "surrogatepass")).digest()


def json_form(value: object) -> Any:
    """Return the form in which a value of metadata is stored: JSON as it is, and of Python's own types

    - ``datetime``, ``date``, ``time``: their ISO 8601 string, with the zone that they have;
    - ``UUID``: its string; ``Path``: its string;
    - ``Decimal``: a whole number or a float; numpy's scalars: the number, boolean or string that they hold;
    - ``Enum``: the form of its value.

    Lists and objects are converted all the way down.

    Raises:
        ValueError: It has no form that JSON would give back: a tuple, a set, bytes, NaN, a key that is no string ...
    """
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, enum.Enum):
        return json_form(value.value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number of JSON")
        return float(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID | PurePath):
        return str(value)
    if isinstance(value, decimal.Decimal):
        is_whole = value.is_finite() and value == value.to_integral_value()
        return json_form(int(value) if is_whole else float(value))
    if isinstance(value, list):
        return [json_form(element) for element in value]
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise ValueError(f"key {wrong[0]!r} is {type(wrong[0]).__name__}, not a string")
        return {json_form(key): json_form(element) for key, element in value.items()}
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        plain = value.item()  # type: ignore[attr-defined]
        if type(plain).__module__ != "numpy":
            return json_form(plain)
    raise ValueError(f"JSON has no {type(value).__name__}")


def metadata_json(metadata: object, what: str) -> str:
    """Serialise metadata, each value in its :func:`json_form`.

    Raises:
        InputError: It is no JSON object and cannot become one; the message names the first offending key.
    """
    if not isinstance(metadata, Mapping):
        raise InputError(f"The metadata of {what} must be a JSON object (a dict), not {type(metadata).__name__}.")
    if not metadata:
        return "{}"
    try:
        encoded = _ENCODER.encode(json_form(metadata))
        encoded.encode("utf-8")
    except (TypeError, ValueError, RecursionError, OverflowError):
        fault = _first_fault(metadata)
        raise InputError(f"The metadata of {what} cannot be stored: {fault}. Convert it before adding.") from None
    return encoded


def same_metadata(one: str, other: str) -> bool:
    """Whether two JSON texts of metadata hold the same, exactly: 1, 1.0 and true differ, the order of keys does not."""
    return one == other or canonical_json(json.loads(one)) == canonical_json(json.loads(other))


def _first_fault(metadata: Mapping[Any, Any]) -> str:
    for key, value in metadata.items():
        if not isinstance(key, str):
            return f"key {key!r} is {type(key).__name__}, not a string"
        try:
            plain = json.dumps(json_form(value), ensure_ascii=False, allow_nan=False)
            f"{key}{plain}".encode()
        except RecursionError:
            return f"the value of {key!r} ({type(value).__name__}) is nested too deeply"
        except (TypeError, ValueError, OverflowError) as error:
            return f"the value of {key!r} ({type(value).__name__}): {error}"
    return "it does not survive a round trip"
