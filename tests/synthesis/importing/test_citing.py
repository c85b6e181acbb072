"""What an answer cites by numbers and addresses, and what looks like it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.importing import importer_class
from rader_synthesis.importing.citing import page_key

from rader_plugins.trajectories import Trajectory

NUMBERED = "[1] Refunds come within thirty days.\n[2] Seats are limited by plan.\n[3] Logs stay for ninety days."


def read(kind: str, tmp_path: Path, *rows: Any) -> list[Trajectory]:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(importer_class(kind)().read(path))


def relevant(answer: str, tmp_path: Path) -> list[int]:
    """The numbers of the results that become relevant by an answer."""
    function = {"name": "search_kb", "arguments": json.dumps({"query": "refunds"})}
    messages = [
        {"role": "user", "content": "How long?"},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "c", "content": NUMBERED},
        {"role": "assistant", "content": answer},
    ]
    [trajectory] = read("openai", tmp_path, {"messages": messages})
    [step] = trajectory.retrievals
    return [number for number, document in enumerate(step.considered, start=1) if document.relevant]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Thirty days [1].", [1]),
        ("Thirty days[1][3].", [1, 3]),
        ("Ninety days [1, 3].", [1, 3]),
        ("All of it [1-3].", [1, 2, 3]),
        ("All of it [1–2]; logs too [3].", [1, 2, 3]),
        ("laut [Dokument 2]", [2]),
        ("As said [doc3] and [Source 1].", [1, 3]),
        ("三十天【1】。", [1]),
        ("Thirty days [^1].\n\n[^1]: refunds\n[^2]: seats", [1]),
        ("Thirty days [1].\n\nSources:\n[1] refunds\n[2] seats\n[3] logs", [1]),
        ("Thirty days.\n\nSources:\n- [1] refunds", [1]),
        ("Use `rows[1]`.", []),
        ("```\nrows[2]\n```", []),
        ("It is continuous on $[1, 2]$ and on [0, 1].", []),
        ("See [7].", []),
    ],
)
def test_numbers_of_results(answer: str, expected: list[int], tmp_path: Path) -> None:
    assert relevant(answer, tmp_path) == expected


def test_an_address_with_the_marks_of_a_link_is_the_page_that_was_found(tmp_path: Path) -> None:
    sources = [{"type": "url", "url": f"https://example.org/{name}"} for name in "ab"]
    search = {"type": "web_search_call", "id": "w", "action": {"type": "search", "query": "sun", "sources": sources}}
    citation = {"type": "url_citation", "url": "https://example.org/b?utm_source=openai#top", "title": "B"}
    text = {"type": "output_text", "text": "A star.", "annotations": [citation]}
    row = {"input": "Sun?", "output": [search, {"type": "message", "role": "assistant", "content": [text]}]}
    [trajectory] = read("openai", tmp_path, row)
    [step] = trajectory.retrievals
    assert [(document.id[-1], document.relevant) for document in step.considered] == [("a", None), ("b", True)]


def test_pages_that_their_query_tells_apart_stay_apart() -> None:
    assert page_key("https://e.org/?id=1") != page_key("https://e.org/?id=2")
    assert page_key("kb-1") is None
    assert page_key("http://[broken") is None


def test_a_cited_page_without_a_text_has_what_was_cited_of_it(tmp_path: Path) -> None:
    pages = [
        {"type": "web_search_result", "url": f"https://e.org/{n}", "title": n, "encrypted_content": "x"} for n in "ab"
    ]
    cited = {
        "type": "web_search_result_location",
        "url": "https://e.org/b",
        "title": "b",
        "cited_text": "The sun is a star.",
    }
    content = [
        {"type": "server_tool_use", "id": "w", "name": "web_search", "input": {"query": "sun"}},
        {"type": "web_search_tool_result", "tool_use_id": "w", "content": pages},
        {"type": "text", "text": "A star.", "citations": [cited]},
    ]
    messages = [{"role": "user", "content": "Sun?"}, {"role": "assistant", "content": content}]
    [trajectory] = read("anthropic", tmp_path, {"messages": messages})
    [step] = trajectory.retrievals
    assert [(document.text, document.relevant) for document in step.considered] == [
        ("", None),
        ("The sun is a star.", True),
    ]


@pytest.mark.parametrize(
    ("answer", "relevant"),
    [
        ("Eight euros (seats.md).", [None, True]),
        ("Eight euros. Source: docs/seats.md", [None, True]),
        ("八欧元【seats.md】。", [None, True]),
        ("Eight euros, as `seats.md` in code says.", [None, None]),
        ("Eight euros.", [None, None]),
        ("Thirty days [docs/refunds.md], eight euros [docs/seats.md].", [True, True]),
    ],
)
def test_an_answer_that_names_the_file_of_a_document(answer: str, relevant: list[bool | None], tmp_path: Path) -> None:
    documents = [
        {"id": "1f3a", "page_content": "Refunds take thirty days.", "metadata": {"source": "docs/refunds.md"}},
        {"id": "77b0", "page_content": "A seat costs eight euros.", "metadata": {"source": "docs/seats.md"}},
    ]
    call = {"id": "c", "type": "function", "function": {"name": "search_docs", "arguments": '{"query": "seat"}'}}
    messages = [
        {"role": "user", "content": "What does a seat cost?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": json.dumps(documents)},
        {"role": "assistant", "content": answer},
    ]
    path = tmp_path / "log.json"
    path.write_text(json.dumps({"messages": messages}))
    [trajectory] = importer_class("openai")().read(path)
    assert [document.relevant for document in trajectory.retrievals[0].considered] == relevant
