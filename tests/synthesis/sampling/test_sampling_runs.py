"""Runs as a whole: the same bytes again, kills, full disks, hostile files, memory, and what others read."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from rader_synthesis.sampling import SamplingConfig, make_samples

from rader_plugins.errors import InputError
from rader_plugins.sample_files import read_samples
from rader_plugins.trajectories import Step, write_trajectories
from tests.support.kill import KillAtRequest, start
from tests.support.llm_server import LLMServer
from tests.synthesis.sampling_support import (
    all_samples,
    contents,
    corpus,
    doc,
    ids,
    rader,
    retrieval,
    several,
    thought,
    told,
    trajectory,
    write,
)


def test_the_same_inputs_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    file, documents = write(tmp_path, several(20)), corpus(tmp_path)
    for name in ("a", "b", "c"):
        seed = int(name == "c")
        done = rader(
            "samples", file, "--corpus", documents, "--out", tmp_path / name, "--dev-share", 0.3, "--seed", seed
        )
        assert done.exit_code == 0, done.output
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")
    assert sorted(contents(tmp_path / "a")) == [
        "README.md",
        "card.json",
        "data/train-00000-of-00001.parquet",
        "data/validation-00000-of-00001.parquet",
        "tevatron/train.jsonl",
        "tevatron/validation.jsonl",
    ]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_datasets_loads_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    make_samples([write(tmp_path, several(30))], tmp_path / "out", config=SamplingConfig(dev_share=0.3))
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == {
        name: sum(kind["samples"] for kind in kinds.values())
        for name, kinds in told(tmp_path / "out")["samples"].items()
    }
    row, sample = loaded["train"][0], next(read_samples(tmp_path / "out"))
    assert row["query"] == sample.query
    assert row["positive_passages"] == [
        {"docid": positive.id, "title": "", "text": positive.text} for positive in sample.positives
    ]
    # Without a validation split the head names none.
    make_samples([write(tmp_path, several(2))], tmp_path / "one", config=SamplingConfig(dev_share=0))
    assert list(datasets.load_dataset(str(tmp_path / "one"), cache_dir=str(tmp_path / "cache"))) == ["train"]


def test_the_card_adds_up(tmp_path: Path) -> None:
    make_samples([write(tmp_path, several(10))], tmp_path / "out", config=SamplingConfig(dev_share=0.2))
    card = told(tmp_path / "out")
    written_samples = all_samples(tmp_path / "out")
    by_kind = {kind: [item for item in written_samples if item.query_kind == kind] for kind in ("question", "cot")}
    for kind, samples in by_kind.items():
        assert sum(kinds[kind]["samples"] for kinds in card["samples"].values() if kind in kinds) == len(samples)
    train = [item for item in read_samples(tmp_path / "out") if item.query_kind == "question"]
    assert card["samples"]["train"]["question"]["positives_per_sample"] == round(
        sum(len(item.positives) for item in train) / len(train), 4
    )
    assert card["answers"] == {"right": 20, "right_share": 1.0}
    rejected = sum(
        item.relevant is False for path in several(10) for step in path.retrievals for item in step.considered
    )
    assert card["labels"]["not relevant"] == rejected
    assert card["labels"]["rejection_rate"] == round(rejected / 60, 4)
    assert card["inputs"][0]["file"] == "trajectories.jsonl"


def test_an_output_that_is_there_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    file, other = write(tmp_path, several(5)), write(tmp_path, several(3), "other.jsonl")
    out = tmp_path / "out"
    make_samples([file], out)
    before = contents(out)
    with pytest.raises(InputError, match="--overwrite"):
        make_samples([other], out)
    assert contents(out) == before
    make_samples([other], out, overwrite=True)
    assert contents(out) != before
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    with pytest.raises(InputError, match="no sample set"):
        make_samples([file], precious, overwrite=True)
    assert (precious / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    make_samples([file], tmp_path / "empty")


def test_a_failed_run_leaves_the_old_output(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_samples([write(tmp_path, several(5))], out)
    before = contents(out)
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes((tmp_path / "trajectories.jsonl").read_bytes() + b'{"schema": "rader-traj')
    with pytest.raises(InputError, match=r"torn.jsonl, line 11"):
        make_samples([torn], out, overwrite=True)
    assert contents(out) == before
    assert not list(tmp_path.glob(".*"))


WORKER = """
import sys
from rader_plugins.llm import CachedChat, OpenAIChat
from rader_synthesis.sampling import QueryWriter, SamplingConfig, make_samples
file, out, url, calls = sys.argv[1:]
llm = CachedChat(OpenAIChat(url, "m", concurrency=2), calls, keep_empty=True)
print("ready")
make_samples([file], out, overwrite=True, config=SamplingConfig(kinds=("question", "cot", "llm"), dev_share=0.2),
             writer=QueryWriter(llm, concurrency=2))
print("done")
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_output_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    """What the language model said before a kill is asked for once."""

    def answer(body: dict[str, Any]) -> str:
        number = body["messages"][-1]["content"].partition("number ")[2].partition(" ")[0]
        return f"which trio{number} gathers{number} alike{number}?"

    file, out = write(tmp_path, several(15)), tmp_path / "out"
    make_samples([write(tmp_path, several(2), "old.jsonl")], out)
    old = contents(out)
    kills = 0
    killing = KillAtRequest(answer)
    with LLMServer(killing) as served:
        for attempt in range(3):
            worker = start(WORKER, str(file), str(out), served.url, str(tmp_path / "calls"))
            lines = killing.run(worker, 4 + 4 * attempt)
            if "done" in lines:
                break
            kills += 1
            assert contents(out) == old or told(out)["trajectories"]["read"] == 30
        lines = (
            start(WORKER, str(file), str(out), served.url, str(tmp_path / "calls")).communicate(timeout=600)[0].split()
        )
        assert lines == ["ready", "done"]
        assert kills
        # 30 pairs of a partial solution and a document; those under way at a kill are asked for twice.
        assert 30 <= len(served.requests) <= 30 + 2 * kills
    assert len([sample for sample in all_samples(out) if sample.query_kind == "llm"]) == 15
    assert not list(tmp_path.glob(".*"))


FULL_DISK = """
import resource, signal, sys
from rader_synthesis.sampling import make_samples
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    make_samples([sys.argv[1]], sys.argv[2], overwrite=True)
except Exception as error:
    print(isinstance(error, OSError), error)
"""


@pytest.mark.skipif(os.name != "posix", reason="uses the resource limits of POSIX systems")
@pytest.mark.parametrize("limit", [200_000, 30_000])
@pytest.mark.slow
def test_a_full_disk_leaves_the_old_output(tmp_path: Path, limit: int) -> None:
    out = tmp_path / "out"
    make_samples([write(tmp_path, several(2), "old.jsonl")], out)
    before = contents(out)
    many = [
        trajectory(f"p{n}", retrieval(doc(f"d{n}", True, text=os.urandom(400).hex())), question=os.urandom(50).hex())
        for n in range(600)
    ]
    output = start(FULL_DISK, str(write(tmp_path, many)), str(out), str(limit)).communicate(timeout=600)[0]
    assert output.startswith("True"), output
    assert contents(out) == before
    assert not list(tmp_path.glob(".*"))


def test_two_runs_with_one_output_do_not_meet(tmp_path: Path) -> None:
    from rader_synthesis.sampling.workspace import workspace

    with workspace(tmp_path / "out"), pytest.raises(InputError, match="Another process is making"):  # noqa: SIM117
        with workspace(tmp_path / "out"):
            pass


def test_what_the_system_refuses_is_said_of_the_output(tmp_path: Path) -> None:
    out = tmp_path / ("x" * 250)  # a name that a file system takes; one for the work beside it does not fit
    with pytest.raises(OSError, match="too long") as refused:
        make_samples([write(tmp_path, several(2))], out)
    assert refused.value.filename == str(out)


def test_a_kill_between_the_two_renames_is_mended(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_samples([write(tmp_path, several(2))], out)
    before = contents(out)
    out.rename(tmp_path / ".out.replaced")
    with pytest.raises(InputError, match="--overwrite"):
        make_samples([tmp_path / "trajectories.jsonl"], out)
    assert contents(out) == before


# Hostile files


def test_odd_trajectories_are_taken_for_what_they_are(tmp_path: Path) -> None:
    long = "word " * 20_000
    trajectories = [
        trajectory("empty-text", retrieval(doc("nothing", True, text=""), doc("blank", True, text=" \n"))),
        trajectory("long", thought(long), retrieval(doc("l", True, text=long), doc("m", False)), question=long),
        trajectory("unknown", Step("retrieval", "", "not-considered", ())),
        trajectory("newlines", thought("a\nb\u2028c\x00d"), retrieval(doc("n", True)), question="q\r\n\u2029"),
        trajectory("wörter/../x", thought("\u202e\U0001f600"), retrieval(doc("\U0001f600", True)), question="¿"),
        trajectory("contradiction", retrieval(doc("c", True), doc("c", False))),
    ]
    make_samples([write(tmp_path, trajectories)], tmp_path / "out", config=SamplingConfig(dev_share=0))
    samples = {sample.query_id: sample for sample in all_samples(tmp_path / "out")}
    assert sorted(samples) == [
        "cot:long:1", "cot:newlines:1", "cot:wörter/../x:1", "question:contradiction", "question:long",
        "question:newlines", "question:wörter/../x",
    ]  # fmt: skip
    assert samples["cot:newlines:1"].query == "q\na\nb\u2028c\x00d"
    assert len(samples["cot:long:1"].query) > 190_000
    assert ids(samples["question:contradiction"]) == (["c"], [])
    dropped = told(tmp_path / "out")["dropped"]
    assert dropped["positive without a text, unknown to the corpus"] == 3


def test_repeated_ids(tmp_path: Path) -> None:
    file = write(tmp_path, several(3))
    first = several(1)[0]
    other = trajectory(
        first.id, thought("Another step"), retrieval(doc("o", True)), question="Another question of the id"
    )
    second = write(tmp_path, [other, other], "second.jsonl")
    make_samples([file, file, second], tmp_path / "out", config=SamplingConfig(dev_share=0))
    card = told(tmp_path / "out")["trajectories"]
    assert card["repeated"] == 7
    assert card["with the id of another, used all the same"] == 1
    query_ids = [sample.query_id for sample in all_samples(tmp_path / "out")]
    assert len(set(query_ids)) == len(query_ids)
    assert "question:p0~2" in query_ids
    assert "cot:p0#0:1" in query_ids


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"schema": "rader-trajectory/1", "id": "\xff"}\n', "line 1 is not"),
        (b'{"schema": "rader-trajectory/9"}\n', "row 1 has the schema"),
        (
            b'{"schema": "rader-trajectory/1", "id": "a", "problem_id": "p", "question": "\\ud800", "steps": []}\n',
            "surrogate",
        ),
        (b"[1]\n", "not a JSON object"),
        (b"", "No sample came out"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.jsonl").write_bytes(content)
    done = rader("samples", tmp_path / "bad.jsonl", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / "out").exists()


# Memory


def peak(folder: Path, count: int) -> int:
    def rows() -> Any:
        for number in range(count):
            yield several(1, number)[number % 2]

    folder.mkdir()
    write_trajectories(folder / "trajectories.jsonl", rows())
    tracemalloc.start()
    make_samples([folder / "trajectories.jsonl"], folder / "out")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak_bytes


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_trajectories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Smaller buffers, so that both numbers are many.
    monkeypatch.setattr("rader_plugins.sample_files._ROWS_AT_ONCE", 16)
    monkeypatch.setattr("rader_synthesis.sampling.pipeline._BATCH", 16)
    peak(tmp_path / "warm", 20)
    few, many = peak(tmp_path / "few", 40), peak(tmp_path / "many", 200)
    assert many < 1.3 * few, (few, many)
