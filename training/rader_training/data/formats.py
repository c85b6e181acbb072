"""The columns that training data comes in: ours, Tevatron's, FlagEmbedding's, those of sentence-transformers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.samples import Sample

__all__ = ["Format", "find_format"]

_OURS = ("schema", "query_id", "query", "query_kind", "problem_id", "trajectory_id", "weight")
_PASSAGES = ("positives", "positive_passages", "negatives", "negative_passages")
_ANCHORS = ("anchor", "query", "question")
_POSITIVES = ("positive", "pos", "answer", "response", "passage", "document")
_NEGATIVE = re.compile(r"(hard_)?neg(ative)?s?_?\d*")
_LABELS = ("label", "labels", "score", "similarity", "relevance")
"""Columns that say whether, or how much, a passage is a positive at all."""
_IDS = ("query_id", "id", "_id")
_WANTED = (
    "query, positive_passages, negative_passages (`rader samples`, Tevatron, sets on the hub: lists of docid, title, "
    "text); query, pos, neg (FlagEmbedding: lists of texts); anchor, positive, negative (sentence-transformers: texts; "
    "without negative, pairs)"
)


@dataclass(frozen=True)
class Format:
    """How the rows of a set become samples.

    Args:
        name: Whose format it is.
        columns: What is read; other columns are left out.
        read: Makes a sample of a row and its number, from 0.
        unread: Names of the columns that are left out.
    """

    name: str
    columns: tuple[str, ...]
    read: Callable[[Mapping[str, Any], int], Sample]
    unread: tuple[str, ...] = ()


def find_format(columns: Sequence[str], where: str) -> Format:
    """Return the format of a set by the names of its columns.

    Args:
        columns: Names of the set's columns.
        where: How to call it in the message.

    Raises:
        InputError: It is none that is known; the message lists the columns that there are and those that are wanted. Or
            a column of labels says which pairs are positives: they would all be taken for some.

    Example:
        >>> find_format(["anchor", "positive"], "pairs.jsonl").name
        'sentence-transformers'
    """
    names = set(columns)
    if "query" in names and names & {"positives", "positive_passages"}:
        read_columns = tuple(name for name in columns if name in (*_OURS, *_PASSAGES))
        return Format("Tevatron", read_columns, _read_passages, _others(columns, (*read_columns, "provenance")))
    anchor = next((name for name in _ANCHORS if name in names), None)
    positive = next((name for name in _POSITIVES if name in names), None)
    if anchor is None or positive is None:
        raise InputError(
            f"{where} has the columns {', '.join(columns) or '(none)'}; training reads {_WANTED}. Rename its columns."
        )
    negatives = tuple(name for name in columns if _NEGATIVE.fullmatch(name))
    label = next((name for name in _LABELS if name in names), None)
    if label is not None and not negatives:
        raise InputError(
            f"{where} has the column {label!r}: its pairs are labelled, and training takes every {positive!r} for a "
            f"positive. Keep the rows of positives and leave {label!r} out; other passages of a query go into a column "
            "'negative'."
        )
    identity = next((name for name in _IDS if name in names), None)
    names_of_more = (identity, "query_kind", "problem_id", "weight")
    more = tuple(name for name in names_of_more if name is not None and name in names)

    def read(row: Mapping[str, Any], number: int) -> Sample:
        texts = [text for name in negatives for text in _texts(row.get(name), name, number)]
        return _sample(
            {
                "query_id": _identity(row, identity, number),
                "query": row.get(anchor),
                **{name: row.get(name) for name in more if name != identity},
                "positives": [_passage(text) for text in _texts(row.get(positive), positive, number)],
                "negatives": [_passage(text) for text in texts],
            },
            number,
        )

    name = "FlagEmbedding" if positive == "pos" else "sentence-transformers"
    read_columns = (anchor, positive, *negatives, *more)
    return Format(name, read_columns, read, _others(columns, read_columns))


def _others(columns: Sequence[str], read_columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in columns if name not in read_columns)


def _read_passages(row: Mapping[str, Any], number: int) -> Sample:
    fields = dict(row)
    fields["query_id"] = _identity(row, "query_id", number)
    for name in _PASSAGES:
        if isinstance(fields.get(name), str):  # the sets published with the paper hold lists as JSON texts
            try:
                fields[name] = json.loads(fields[name])
            except ValueError as error:
                raise InputError(f"Row {number + 1}: {name!r} is not JSON: {error}.") from None
        if isinstance(fields.get(name), list):
            fields[name] = [_passage(item) if isinstance(item, str) else _with_id(item) for item in fields[name]]
    if fields.get("negatives") is None and fields.get("negative_passages") is None:
        fields["negatives"] = []  # pairs
    return _sample(fields, number)


def _sample(fields: Mapping[str, Any], number: int) -> Sample:
    return Sample.from_row(fields, f"sample {number + 1}")


def _identity(row: Mapping[str, Any], name: str | None, number: int) -> str:
    value = None if name is None else row.get(name)
    return f"row-{number + 1}" if value is None else str(value)


def _texts(value: Any, name: str, number: int) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Sequence) or not all(isinstance(text, str) for text in value):
        raise InputError(f"Row {number + 1}: {name!r} must be a text or a list of texts.")
    return list(value)


def _passage(text: str) -> dict[str, str]:
    # The same text is the same document wherever it stands.
    return {"id": hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest(), "text": text}


def _with_id(passage: Any) -> Any:
    if not isinstance(passage, Mapping) or any(passage.get(key) is not None for key in ("id", "docid", "doc_id")):
        return passage
    text = passage.get("text")
    return {**passage, **_passage(text)} if isinstance(text, str) else passage
