"""The two types that every part of the library passes around: :class:`Document` and :class:`Hit`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rader_plugins.errors import InputError

__all__ = ["Document", "Hit", "check_text", "corpus_digest", "metadata_json"]


@dataclass(frozen=True)
class Document:
    """A text that can be retrieved.

    Args:
        id: Unique name of the document within an index; a non-empty string.
        text: What is encoded and searched. Any length; recipes cut at their maximum and warn.
        metadata: A JSON object (string keys; strings, finite numbers, booleans, None, lists, objects).

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
    """

    document: Document
    score: float
    rank: int
    scores: Mapping[str, float] = field(default_factory=dict)


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


def corpus_digest(documents: Iterable[Document]) -> str:
    """Return a digest of ids and texts, whatever their order."""
    lines = sorted(hashlib.sha256(f"{document.id}\0{document.text}".encode()).digest() for document in documents)
    return hashlib.sha256(b"".join(lines)).hexdigest()[:32]


def metadata_json(metadata: object, what: str) -> str:
    """Serialise metadata, insisting that reading it back gives the same object.

    ``json.dumps`` alone would quietly turn tuples into lists and integer keys into strings.

    Raises:
        InputError: It is not a JSON object; the message names the first offending key.
    """
    if not isinstance(metadata, Mapping):
        raise InputError(f"The metadata of {what} must be a JSON object (a dict), not {type(metadata).__name__}.")
    plain = dict(metadata)
    try:
        encoded = json.dumps(plain, ensure_ascii=False, allow_nan=False)
        encoded.encode("utf-8")
        if json.loads(encoded) == plain:
            return encoded
    except (TypeError, ValueError, RecursionError):
        pass
    raise InputError(f"The metadata of {what} is not JSON: {_first_fault(plain)}. Convert it before adding.")


def _first_fault(metadata: Mapping[Any, Any]) -> str:
    for key, value in metadata.items():
        if not isinstance(key, str):
            return f"key {key!r} is {type(key).__name__}, not a string"
        try:
            if json.loads(json.dumps(value, allow_nan=False)) != value:
                return f"the value of {key!r} ({type(value).__name__}) does not survive JSON"
            f"{key}{json.dumps(value, ensure_ascii=False)}".encode()
        except (TypeError, ValueError, RecursionError) as error:
            return f"the value of {key!r} ({type(value).__name__}): {error}"
    return "it does not survive a round trip"
