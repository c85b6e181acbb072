"""What Python printed is read back or left out; it never becomes a document."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rader_plugins import Document, Hit
from rader_plugins.recording import fields_of, json_text, read_documents


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Passage:
    id: str
    text: str
    metadata: dict[Any, Any]


class Named(NamedTuple):
    id: str
    text: str


class Opaque:
    pass


@given(text=st.text(min_size=1).filter(str.strip), id=st.text(min_size=1), score=st.floats(-9, 9))
def test_what_was_printed_is_read_back(text: str, id: str, score: float) -> None:
    metadata = {Color.RED: 1, "when": datetime.datetime(2026, 1, 2), "title": "A title", "nan": float("nan")}
    passage = Passage(id, text, metadata)
    for value in (passage, [passage], [(passage, score)], {"results": [passage]}, Hit(Document(id, text), score, 1)):
        for form in (value, str(value)):
            documents = read_documents(form)
            assert documents is not None
            assert [(document.id, document.text) for document in documents] == [(id, text.strip())]
    [scored] = read_documents(str([(passage, score)])) or []
    assert (scored.score, scored.title) == (score, "A title")


@pytest.mark.parametrize(
    "text",
    [
        str(Opaque()),
        str([Opaque(), Opaque()]),
        "Command(update={'messages': [<__main__.Thing object at 0x7f0c84ab2190>]})",
        "[Passage(id='one', text='cut of",
        "Node ID: one\nText: a text that LlamaIndex cuts ...",
        f"[{Opaque}]",
        "Thing(name='one')",
    ],
    ids=["object", "objects", "command", "cut", "node", "class", "unknown"],  # addresses differ between processes
)
def test_what_cannot_be_read_back_is_no_document(text: str) -> None:
    assert read_documents(text) is None
    assert read_documents([text]) is None


@pytest.mark.parametrize(
    "text", ["f(x) is continuous", "(a) first", "[1] first", "sum(1, 2) equals 3", "{not json}", "Ramsey(3, 3) = 6 <"]
)
def test_prose_that_looks_a_little_like_code_stays_a_document(text: str) -> None:
    assert len(read_documents(text) or []) == 1


@pytest.mark.parametrize("text", ["No results found.", "no relevant documents", "0 results", "Nothing found", "[]", ""])
def test_that_nothing_was_found_is_no_document(text: str) -> None:
    assert not read_documents(text)


def test_state_objects_have_fields_and_become_json_but_are_never_printed() -> None:
    assert fields_of(Named("a", "b")) == {"id": "a", "text": "b"}
    assert fields_of(Passage("a", "b", {})) == {"id": "a", "text": "b", "metadata": {}}
    assert [fields_of(value) for value in ("text", 1, None, ("a", "b"), Passage, Opaque())] == [None] * 6
    assert json_text(Passage("a", "ü", {})) == '{"id": "a", "text": "ü", "metadata": {}}'
    assert json_text("as it is") == "as it is"
    assert [json_text(value) for value in (Opaque(), {"a": Opaque()}, float("nan"), {Opaque(): 1})] == [None] * 4
