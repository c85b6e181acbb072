"""Files as the tools of others write them: encodings, packing, long lines, halves of characters."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.importing import ImportReport, OpenAILogs
from rader_synthesis.importing.rows import read_rows

from rader_plugins.errors import InputError
from rader_plugins.trajectories import read_trajectories, write_trajectories

ROWS: list[dict[str, Any]] = [{"id": n, "text": f"größer 大 {n}"} for n in range(3)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def values(path: Path) -> list[Any]:
    return [row.value() for row in read_rows(path)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", ["lines", "list", "printed", "page"])
def test_every_encoding_packing_and_layout(tmp_path: Path, encoding: str, packed: bool, layout: str) -> None:
    text = {
        "lines": LINES,
        "list": json.dumps(ROWS, ensure_ascii=False),
        "printed": json.dumps(ROWS, ensure_ascii=False, indent=2),
        "page": json.dumps({"data": ROWS, "meta": {}}, ensure_ascii=False),
    }[layout]
    content = text.encode(encoding)
    for suffix in ("jsonl", "json", "log") if layout != "page" else ("json",):
        path = tmp_path / f"rows.{suffix}"  # what it is called says nothing of how it is packed
        path.write_bytes(gzip.compress(content) if packed else content)
        assert values(path) == ROWS


def test_utf_16_without_a_mark(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(LINES.encode("utf-16-le"))
    assert values(tmp_path / "rows.jsonl") == ROWS


def test_tables(tmp_path: Path) -> None:
    table_text = 'id,input,empty\na,"{""question"": ""q""}",\nb,"plain, text",\nc,"""in quotes""",\n'
    (tmp_path / "rows.csv").write_text(table_text)
    assert [row["input"] for row in values(tmp_path / "rows.csv")] == [{"question": "q"}, "plain, text", "in quotes"]
    assert all("empty" not in row for row in values(tmp_path / "rows.csv"))
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"id": ["a"], "inputs": ['{"question": "q"}'], "none": [None]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    assert values(tmp_path / "rows.parquet") == [{"id": "a", "inputs": {"question": "q"}}]


@pytest.mark.parametrize("content", [gzip.compress(b'{"a": 1}\n')[:-6], b"\xff\xfe{"], ids=["gzip", "utf-16"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=r"rows\.jsonl"):
        values(tmp_path / "rows.jsonl")


def conversation(question: str, found: str) -> list[dict[str, Any]]:
    call = {"id": "c", "function": {"name": "search", "arguments": '{"query": "q"}'}}
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": found},
        {"role": "assistant", "content": "So."},
    ]


def test_halves_of_characters_are_mended_and_counted(tmp_path: Path) -> None:
    intact = json.dumps(conversation("whole \U0001f600", "A document."))
    escaped = json.dumps(conversation("half CUT", "A CUT document.")).replace("CUT", "\\ud83d")
    raw = json.dumps(conversation("raw CUT", "A document.")).encode().replace(b"CUT", b"\xed\xa0\xbd")
    (tmp_path / "log.jsonl").write_bytes(f"{intact}\n{escaped}\n".encode() + raw + b"\n")
    report = ImportReport()
    trajectories = list(OpenAILogs().read(tmp_path / "log.jsonl", report))
    assert [trajectory.question for trajectory in trajectories] == ["whole \U0001f600", "half \ufffd", "raw \ufffd"]
    assert sum(report.notes.values()) == 3
    assert write_trajectories(tmp_path / "t.jsonl", trajectories) == 3
    assert list(read_trajectories(tmp_path / "t.jsonl")) == trajectories


@pytest.mark.parametrize("name", ["log.jsonl", "log.json", "log.csv"])
def test_what_json_has_no_number_for_is_null_and_counted(name: str, tmp_path: Path) -> None:
    rewards = (1.0, float("nan"))
    rows = [{"messages": conversation(f"q{n}", "A document."), "reward": reward} for n, reward in enumerate(rewards)]
    contents = {
        "log.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "log.json": json.dumps(rows),
        "log.csv": "messages,note\n" + "".join(
            '"' + json.dumps(row["messages"]).replace('"', '""') + '","[NaN]"\n' for row in rows[1:]
        ),
    }  # fmt: skip
    (tmp_path / name).write_text(contents[name])
    report = ImportReport()
    trajectories = list(OpenAILogs().read(tmp_path / name, report))
    assert [trajectory.reward for trajectory in trajectories] == ([None] if name == "log.csv" else [1.0, None])
    assert report.notes == {"NaN or Infinity, which JSON does not have, taken for null": 1}


@pytest.mark.slow
def test_a_line_of_thirty_megabytes(tmp_path: Path) -> None:
    long = json.dumps(conversation("long", "word " * 6_000_000))
    (tmp_path / "log.jsonl").write_text(f"{long}\n{json.dumps(conversation('short', 'A document.'))}\n")
    assert [len(trajectory.steps[1].considered) for trajectory in OpenAILogs().read(tmp_path / "log.jsonl")] == [1, 1]
