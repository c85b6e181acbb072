"""Every format gives the same trajectory of the same conversation, field by field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.importing import ImportReport, importer_class, importer_kinds, recognize
from rader_synthesis.labelling import label_by_citation
from rader_synthesis.sampling import SamplingConfig, make_samples

from rader_plugins.sample_files import read_samples
from rader_plugins.trajectories import Trajectory, write_trajectories
from tests.synthesis.importing import one_conversation as one

ALL = [(name, name, rows) for name, rows in one.FORMATS.items()]
ALL += [(name, kind, rows) for name, (kind, rows) in one.DIALECTS.items()]
each_format = pytest.mark.parametrize(("name", "kind", "rows"), ALL, ids=[name for name, _, _ in ALL])


def write(folder: Path, rows: one.Rows, name: str = "log.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(kind: str, path: Path, report: ImportReport | None = None) -> list[Trajectory]:
    return list(importer_class(kind)().read(path, report))


@each_format
def test_the_conversation_is_read_field_by_field(
    tmp_path: Path, name: str, kind: str, rows: Callable[[], one.Rows]
) -> None:
    report = ImportReport()
    [trajectory] = read(kind, write(tmp_path, rows()), report)
    assert (trajectory.id, trajectory.question, trajectory.answer) == ("t1", one.QUESTION, one.ANSWER)
    assert trajectory.source == f"import:{kind}"
    assert trajectory.reward == (1.0 if kind in one.RATED else None)
    assert [(step.kind, step.text) for step in trajectory.steps] == [
        ("thought", one.THOUGHT), ("query", one.QUERY), ("retrieval", ""), ("answer", one.ANSWER)
    ]  # fmt: skip
    assert [(hit.id, hit.title, hit.text, hit.relevant) for hit in trajectory.steps[2].considered] == [
        (document["id"], document["title"], document["text"], None) for document in one.DOCUMENTS
    ]
    assert report.trajectories == 1
    assert not report.unknown
    assert not report.skipped
    assert not report.ignored
    assert report.hints() == []


@each_format
def test_the_kind_is_recognised(tmp_path: Path, name: str, kind: str, rows: Callable[[], one.Rows]) -> None:
    assert recognize([write(tmp_path, rows())]) == kind


@each_format
def test_the_file_may_be_a_list_a_page_of_an_interface_or_packed(
    tmp_path: Path, name: str, kind: str, rows: Callable[[], one.Rows]
) -> None:
    import gzip

    [expected] = read(kind, write(tmp_path, rows()))
    content = json.dumps(rows(), indent=1)
    files = {
        "list.json": content.encode(),
        "list.log": content.encode("utf-16"),
        "packed.json.gz": gzip.compress(content.encode("utf-8-sig")),
        "packed.jsonl.gz": gzip.compress((tmp_path / "log.jsonl").read_bytes()),
    }
    if kind not in ("sharegpt", "atif"):
        files["page.json"] = json.dumps({"data": rows(), "meta": {"page": 1}}).encode()
    for file, raw in files.items():
        (tmp_path / file).write_bytes(raw)
        assert read(kind, tmp_path / file) == [expected], file


def test_all_formats_give_the_same_samples(tmp_path: Path) -> None:
    trajectories = {
        name: label_by_citation(read(kind, write(tmp_path, rows(), f"{name}.jsonl"))[0]) for name, kind, rows in ALL
    }
    assert [document.relevant for document in trajectories["openai"].steps[2].considered] == [True, False]
    first = trajectories["openai"]
    for name, other in trajectories.items():
        assert (other.problem_id, other.question, other.steps, other.answer) == (
            first.problem_id, first.question, first.steps, first.answer
        ), name  # fmt: skip


@each_format
def test_every_format_gives_the_samples_of_the_first(
    tmp_path: Path, name: str, kind: str, rows: Callable[[], one.Rows]
) -> None:
    def samples(kind: str, rows: one.Rows, folder: Path) -> list[dict[str, Any]]:
        folder.mkdir()
        write_trajectories(folder / "t.jsonl", map(label_by_citation, read(kind, write(folder, rows))))
        config = SamplingConfig(kinds=("question", "cot"), dev_share=0.0, without_reward=True)
        make_samples([folder / "t.jsonl"], folder / "samples", config=config)
        return [_without_source(sample.row()) for sample in read_samples(folder / "samples", "train")]

    expected = samples("openai", one.openai(), tmp_path / "first")
    assert [sample["query_kind"] for sample in expected] == ["question", "cot"]
    for sample in expected:
        assert [document["id"] for document in sample["positives"]] == ["kb-101"]
        assert [document["id"] for document in sample["negatives"]] == ["kb-102"]
    assert samples(kind, rows(), tmp_path / "other") == expected


def _without_source(row: dict[str, Any]) -> dict[str, Any]:
    """A sample without the name of the kind of log that it comes from."""
    provenance = row["provenance"] if isinstance(row["provenance"], dict) else json.loads(row["provenance"])
    assert str(provenance.pop("source")).startswith("import:")
    return {**row, "provenance": provenance}


def test_every_kind_of_log_is_tested_here() -> None:
    ours = {kind for kind, point in importer_kinds().items() if point.value.startswith("rader_synthesis.")}
    assert ours - set(one.FORMATS) == {"recorded", "solutions", "proofs", "rader", "function"}


@pytest.mark.parametrize("kind", ["langsmith", "langfuse", "openinference", "otel"])
def test_rows_of_interleaved_traces_are_put_together(tmp_path: Path, kind: str) -> None:
    def renamed(trace: str) -> one.Rows:
        content = (
            json.dumps(one.FORMATS[kind]()).replace('"t1"', json.dumps(trace)).replace("six weeks", f"{trace} weeks")
        )
        rows: one.Rows = json.loads(content)
        return rows

    rows = [row for pair in zip(*(renamed(f"trace-{n}") for n in range(5)), strict=True) for row in reversed(pair)]
    trajectories = read(kind, write(tmp_path, rows))
    assert {trajectory.id for trajectory in trajectories} == {f"trace-{n}" for n in range(5)}
    for trajectory in trajectories:
        assert trajectory.question == one.QUESTION.replace("six weeks", f"{trajectory.id} weeks")
        assert [step.kind for step in trajectory.steps] == ["thought", "query", "retrieval", "answer"]
