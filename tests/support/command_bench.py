"""A folder in which every command of ``rader`` has what it needs, and the arguments with which it works cheaply."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from rader_plugins import Document, RaderIndex
from rader_plugins.sample_files import SampleWriter
from rader_plugins.samples import Passage, Sample
from tests.support.encoders import HashEncoder
from tests.support.tiny_models import tiny_qwen2
from tests.synthesis.sampling_support import several, write


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where the commands work.

    Attributes:
        folder: With an index, texts, rows, a data set, runs and trajectories.
        llm: Address of a language model.
    """

    folder: Path
    llm: str

    def lines(self) -> dict[str, dict[str, list[str]]]:
        """Return command -> what each of its options and arguments gets in a call that works, cheaply."""
        at = {name: [str(self.folder / name)] for name in ("index", "texts", "corpus.jsonl", "beir", "problems.jsonl")}
        out = {"--out": [str(self.folder / "out")]}
        documents = {"--corpus": at["corpus.jsonl"]}
        llm = {"--llm-url": [self.llm], "--llm-model": ["m"], "--llm-timeout": ["5"]}
        trajectories = [str(self.folder / "run" / "trajectories.jsonl")]
        training = {
            "samples": [str(self.folder / "samples")],
            "--base": [str(self.folder / "tiny")],
            **out,
            "--plan": [],
        }
        bm25 = {"--index": at["index"], "--mode": ["bm25"]}
        return {
            "index build": {"path": at["texts"], **out},
            "index add": {"folder": at["index"], "path": at["texts"]},
            "index delete": {"folder": at["index"], "ids": ["d1"]},
            "index info": {"folder": at["index"]},
            "index optimize": {"folder": at["index"]},
            "index repair": {"folder": at["index"]},
            "search": {"folder": at["index"], "query": ["prime tree"], "--mode": ["bm25"]},
            "evaluate": {"dataset": at["beir"], **out, "--mode": ["bm25"], "--index": at["index"]},
            "score": {"run": [str(self.folder / "run.trec")], "qrels": [str(self.folder / "qrels.tsv")]},
            "compare": {"folders": [str(self.folder / "scored")], **out},
            "export-onnx": {"model": [str(self.folder / "tiny")], **out},  # which states no recipe
            "models": {},
            "doctor": {},
            "import": {"kind": ["solutions"], "files": [str(self.folder / "solved.jsonl")], **out},
            "samples": {"trajectories": trajectories, **out, **documents, "--kinds": ["question"]},
            "synthesize": {"problems": at["problems.jsonl"], **out, **bm25, **llm, "--rollouts": ["1"]},
            "train retriever": training,
            "train reranker": training,
            "trajectories show": {"source": trajectories, **out},
            "trajectories merge": {"runs": [str(self.folder / "run")], **out},
            "trajectories info": {"source": trajectories},
        }


def fill(folder: Path) -> None:
    """Make what the commands work on."""
    documents = [Document(f"d{n}", f"prime tree number {n}", {"year": n}) for n in range(8)]
    with RaderIndex.create(folder / "index", HashEncoder()) as index:
        index.add(documents)
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("prime tree")
    rows = [{"_id": document.id, "text": document.text, "year": 1} for document in documents]
    (folder / "beir" / "qrels").mkdir(parents=True)
    for path, content in (
        ("corpus.jsonl", rows),
        ("beir/corpus.jsonl", rows),
        ("beir/queries.jsonl", [{"_id": "q1", "text": "prime number 3"}, {"_id": "q2", "text": "tree"}]),
        ("problems.jsonl", [{"id": "p", "question": "q", "answer": "8"}]),
        ("solved.jsonl", [{"question": "what is six of seven?", "solution": "step one. answer 42", "answer": "42"}]),
    ):
        (folder / path).write_text("".join(json.dumps(row) + "\n" for row in content))
    qrels = "query-id\tcorpus-id\tscore\nq1\td3\t1\nq2\td1\t1\n"
    (folder / "beir" / "qrels" / "test.tsv").write_text(qrels)
    (folder / "qrels.tsv").write_text(qrels)
    (folder / "run.trec").write_text("q1 Q0 d3 1 2.0 x\nq1 Q0 d1 2 1.0 x\nq2 Q0 d2 1 1.0 x\n")
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "empty").write_bytes(b"")
    (folder / "rows.jsonl").write_text('{"a": 1}\n[]\n"text"\n')
    write(folder / "run", several(3))
    with SampleWriter(folder / "samples") as writer:
        for number in range(8):
            passages = [Passage(f"d{n}", f"text of {n}", "", "") for n in (number % 4, number % 4 + 1)]
            writer.add("train", Sample(f"q{number}", f"what of {number}", "cot", (passages[0],), (passages[1],), "p"))
    tiny_qwen2(folder / "tiny")
