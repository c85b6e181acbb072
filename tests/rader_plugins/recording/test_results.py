"""What tools were asked and what they returned."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rader_plugins.recording import digest_id, is_retrieval_name, query_of, read_documents


def test_names_and_arguments_of_tools() -> None:
    assert [is_retrieval_name(name) for name in ("file_search", "vectorSearch", "research", "calculator")] == [
        True, True, False, False
    ]  # fmt: skip
    assert query_of('{"k": 3, "topic": "graphs"}') == "graphs"
    assert query_of('{"a": "x", "b": "y"}') is None
    assert query_of("plain words") == "plain words"
    assert query_of({"queries": ["a", " b "]}) == "a\nb"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<document id="a" title="T">one</document>\n<document id="b">two</document>', [("a", "one"), ("b", "two")]),
        ("[1] one\n\nmore\n[2] two", [(None, "one\n\nmore"), (None, "two")]),
        ("Document 1: one\nDocument 2: two", [(None, "one"), (None, "two")]),
        ("id: a\none\n\nlines\n---\nid: b\ntwo", [("a", "one\n\nlines"), ("b", "two")]),
        ("one\n\ntwo", [(None, "one"), (None, "two")]),
        (json.dumps([{"document": {"id": 3, "text": "x"}, "score": 1}]), [("3", "x")]),
        (json.dumps([{"page_content": "x", "metadata": {"doc_id": "m"}}]), [("m", "x")]),
        (json.dumps([{"file_id": "f", "content": [{"type": "text", "text": "x"}]}]), [("f", "x")]),
    ],
)
def test_documents_are_found_in_what_tools_return(text: str, expected: list[tuple[str | None, str]]) -> None:
    documents = read_documents(text)
    assert documents is not None
    assert [document.text for document in documents] == [text for _, text in expected]
    for document, (id, _) in zip(documents, expected, strict=True):
        assert document.id == id if id is not None else document.id.startswith("text:")


def test_what_holds_no_documents_is_none() -> None:
    assert read_documents("  ") is None
    assert read_documents("some text", plain=False) is None
    assert read_documents(json.dumps({"temperature": 21})) is None
    assert read_documents("[]") == []
    assert read_documents([{"id": "a", "text": "t", "score": float("nan")}])[0].score is None


@pytest.mark.parametrize(
    ("row", "id"),
    [
        ({"pageContent": "Thirty days.", "metadata": {"id": "a"}}, "a"),
        ({"lc": 1, "id": ["langchain_core", "Document"], "kwargs": {"page_content": "Thirty days."}}, None),
        ({"_id": "7", "_score": 2.0, "_source": {"text": "Thirty days."}}, "7"),
        ({"id": 3, "score": 0.1, "payload": {"page_content": "Thirty days.", "metadata": {}}}, "3"),
        ({"id": "m", "distance": 0.1, "entity": {"text": "Thirty days."}}, "m"),
        ({"id": "p", "score": 0.4, "metadata": {"text": "Thirty days."}}, "p"),
        ({"score": 1, "node": {"class_name": "TextNode", "__data__": {"id_": "n", "text": "Thirty days."}}}, "n"),
        ({"id": "own", "text": "Thirty days.", "payload": {"text": "Something else."}}, "own"),
    ],
)
def test_what_stores_return_has_its_text(row: dict[str, Any], id: str | None) -> None:
    for form in ([row], json.dumps([row])):
        [document] = read_documents(form) or []
        assert (document.id, document.text) == (id or digest_id("Thirty days."), "Thirty days.")


def test_columns_of_documents() -> None:
    columns = {"ids": [["a", "b"]], "documents": [["Thirty days.", "Seats."]], "metadatas": [[None, None]]}
    assert [(document.id, document.text) for document in read_documents(columns) or []] == [
        ("a", "Thirty days."),
        ("b", "Seats."),
    ]
