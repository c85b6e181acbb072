"""Training samples: a query, documents that answer it and documents that only look as if they did.

What passes from synthesis to training (DESIGN, section 3). A row carries the columns that Tevatron reads
(``query_id``, ``query``, ``positive_passages``, ``negative_passages``) beside our own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rader_plugins.documents import check_text, metadata_json
from rader_plugins.errors import InputError
from rader_plugins.query_kinds import QueryKind, is_query_kind, query_kinds

__all__ = ["SAMPLE_SCHEMA", "Passage", "QueryKind", "Sample"]

SAMPLE_SCHEMA = "rader-sample/1"


@dataclass(frozen=True)
class Passage:
    """A document of a sample.

    Args:
        id: Id of the document in its corpus.
        text: Text of the document, without the title.
        title: Title of the document, or empty. What is encoded is :attr:`full_text`.
        origin: Where a negative came from: ``reflection``, ``bm25``, ``dense``; or who found a positive.
    """

    id: str
    text: str
    title: str = ""
    origin: str = ""

    @property
    def full_text(self) -> str:
        """Title and text, as a BEIR corpus is indexed."""
        return f"{self.title} {self.text}" if self.title else self.text


@dataclass(frozen=True)
class Sample:
    """A query with its positives and negatives.

    Args:
        query_id: Unique name in its data set.
        query: The text, without template or instruction.
        query_kind: Name of a :class:`~rader_plugins.query_kinds.QueryKind`: ``question``, ``cot``, ``llm``,
            ``lexical``, or one that an installed package adds.
        positives: The relevant documents, at least one.
        negatives: Hard negatives; may be none.
        problem_id: Id of the problem that it came from. Train and dev sets share none.
        trajectory_id: Id of the trajectory that it came from; empty for queries that were written from a document
            alone.
        provenance: A JSON object: who labelled, how it was mined, ...
        weight: How much the loss of this sample counts: above 0, and 1 where nothing says otherwise.
    """

    query_id: str
    query: str
    query_kind: str
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...] = ()
    problem_id: str = ""
    trajectory_id: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0

    def row(self) -> dict[str, Any]:
        """Return the row of the file format: a JSON object with the same columns whatever the sample."""
        return {
            "schema": SAMPLE_SCHEMA,
            "query_id": self.query_id,
            "query": self.query,
            "query_kind": self.query_kind,
            "problem_id": self.problem_id,
            "trajectory_id": self.trajectory_id,
            "weight": self.weight,
            "positives": [_passage_row(passage) for passage in self.positives],
            "negatives": [_passage_row(passage) for passage in self.negatives],
            # A JSON text: Parquet wants one type for all rows.
            "provenance": metadata_json(dict(self.provenance), f"sample {self.query_id!r}"),
            **self.tevatron_row(),
        }

    def tevatron_row(self) -> dict[str, Any]:
        """Return the columns that Tevatron trains on."""
        return {
            "query_id": self.query_id,
            "query": self.query,
            "positive_passages": [_tevatron_passage(passage) for passage in self.positives],
            "negative_passages": [_tevatron_passage(passage) for passage in self.negatives],
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any], where: str = "the sample") -> Sample:
        """Read a row of ours, or one that has Tevatron's columns alone. A row without ``weight`` has weight 1.

        Args:
            row: The row, a JSON object.
            where: How to call it in messages.

        Raises:
            InputError: A field is missing or of the wrong type.
        """
        schema = row.get("schema")
        if schema is not None and schema != SAMPLE_SCHEMA:
            raise InputError(f"{where} has the schema {schema!r}, not {SAMPLE_SCHEMA!r}.")
        kind = row.get("query_kind") or "question"
        if not is_query_kind(kind):
            raise InputError(f"{where}: 'query_kind' is one of {', '.join(query_kinds())}, not {kind!r}.")
        return cls(
            query_id=_text(row, "query_id", where),
            query=_text(row, "query", where),
            query_kind=kind,
            positives=_passages(row, "positives", "positive_passages", where),
            negatives=_passages(row, "negatives", "negative_passages", where),
            problem_id=str(row.get("problem_id") or ""),
            trajectory_id=str(row.get("trajectory_id") or ""),
            provenance=_provenance(row.get("provenance"), where),
            weight=_weight(row.get("weight"), where),
        )


def _passage_row(passage: Passage) -> dict[str, str]:
    return {"id": passage.id, "title": passage.title, "text": passage.text, "origin": passage.origin}


def _tevatron_passage(passage: Passage) -> dict[str, str]:
    return {"docid": passage.id, "title": passage.title, "text": passage.text}


def _passages(row: Mapping[str, Any], ours: str, tevatron: str, where: str) -> tuple[Passage, ...]:
    rows = row.get(ours) if row.get(ours) is not None else row.get(tevatron)
    if rows is None:
        raise InputError(f"{where} has neither {ours!r} nor {tevatron!r}.")
    if isinstance(rows, str) or not all(isinstance(passage, Mapping) for passage in rows):
        raise InputError(f"{where}: {ours!r} must be a list of objects with id, title and text.")
    passages = []
    for number, passage in enumerate(rows):
        # RaDeR's published sets spell it doc_id.
        id = next((passage[key] for key in ("id", "docid", "doc_id") if passage.get(key) is not None), None)
        what = f"passage {number} of {ours!r} in {where}"
        if id is None:
            raise InputError(f"The {what} has no 'id' (or 'docid').")
        passages.append(
            Passage(
                id=check_text(str(id), f"the id of {what}"),
                text=check_text(passage.get("text"), what),
                title=check_text(passage.get("title") or "", f"the title of {what}"),
                origin=str(passage.get("origin") or ""),
            )
        )
    return tuple(passages)


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    return check_text(str(value) if isinstance(value, int) else value, f"{key!r} in {where}")


def _weight(value: object, where: str) -> float:
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"{where}: 'weight' must be a number above 0, not {value!r}.")
    return float(value)


def _provenance(value: object, where: str) -> dict[str, Any]:
    if value is None or value == "":
        return {}
    try:
        read = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise InputError(f"{where}: 'provenance' is not JSON: {error}.") from None
    if not isinstance(read, Mapping):
        raise InputError(f"{where}: 'provenance' must be an object.")
    return dict(read)
