"""Whatever a command of ``rader`` is given, it ends with one of its exit codes and says why, never in a trace.

Every option and argument of every command is replaced, one after the other, by every odd value.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from rader_plugins import Document, RaderIndex
from rader_plugins.cli import build_app
from tests.support.encoders import HashEncoder
from tests.support.llm_server import LLMServer

pytest.importorskip("pyarrow")
pytest.importorskip("ir_measures")

pytest.importorskip("sentence_transformers")

from rader_plugins.sample_files import SampleWriter  # noqa: E402
from rader_plugins.samples import Passage, Sample  # noqa: E402
from tests.support.tiny_models import tiny_qwen2  # noqa: E402
from tests.synthesis.sampling_support import several, write  # noqa: E402

CODES = {0, 1, 2, 3}
NUMBERS = ["-1", "0", "1e400", "nan", "inf", "9" * 40, "one"]
TEXTS = [
    "", " ", "-", "\udcff", "a\nb", "ü" * 300, "=", "a=b", "a.b.c=[1", "{}", '{"$and": 3}', '{"a": {"$gt": [1]}}',
    "[" * 20_000, "http://", "http://[", "ftp://x", "~nobody/x", "$HOME/none", "/dev/null", "{folder}", "{binary}",
    "{empty}", "{missing}", "{rows}", "-1", "nan", "9" * 40, "%s", "a,b,,a",
]  # fmt: skip


def commands() -> dict[str, Any]:
    """Return name -> command of everything that ``rader`` can be asked."""

    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "list_commands"):
            yield " ".join(path), command
            return
        context = typer.Context(command)
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), (*path, name))

    return dict(walk(typer.main.get_command(build_app()), ()))


COMMANDS = commands()


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


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
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
    with LLMServer("The answer is \\boxed{8}.") as server:
        yield Bench(folder, server.url)


@pytest.fixture(autouse=True)
def no_models(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    import rader_plugins.encoding as encoding

    real = encoding.load_encoder

    def load(source: Any, **options: Any) -> Any:
        name = source if isinstance(source, str) else getattr(source, "name", "")
        return HashEncoder() if name in ("mini", "hash") else real(source, **options)

    monkeypatch.setattr(encoding, "load_encoder", load)
    monkeypatch.chdir(bench.folder)


def fault(arguments: list[str]) -> str | None:
    """Run a command; return what is wrong with its end, if anything is."""
    result = CliRunner().invoke(build_app(), arguments, input="")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"{type(result.exception).__name__}: {result.exception}"
    if result.exit_code not in CODES:
        return f"exit code {result.exit_code}"
    if "Traceback" in result.output:
        return "a trace"
    if result.exit_code and not result.stderr.strip():
        return f"exit code {result.exit_code} without a word"
    return None


def values(parameter: Any) -> list[str]:
    if getattr(parameter, "is_flag", False) or parameter.opts[0] in ("--install-completion", "--show-completion"):
        return []
    return NUMBERS if parameter.type_descriptor.annotation in (int, float) else TEXTS


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("every", [16, pytest.param(1, marks=[pytest.mark.long, pytest.mark.timeout(3000)])])
def test_every_option_may_be_anything(name: str, every: int, bench: Bench) -> None:
    faults = []
    turn = 0
    for parameter in COMMANDS[name].params:
        key = parameter.opts[0] if parameter.param_type_name == "option" else parameter.name
        for value in values(parameter):
            turn += 1
            if turn % every:
                continue
            for kind, file in (("folder", "texts"), ("binary", "binary"), ("empty", "empty"), ("rows", "rows.jsonl")):
                value = value.replace(f"{{{kind}}}", str(bench.folder / file))
            line = {**bench.lines()[name], key: [value]}
            options = [part for option, given in line.items() if option.startswith("-") for part in (option, *given)]
            order = [part.name for part in COMMANDS[name].params if part.param_type_name == "argument"]
            positional = [part for argument in order for part in line.get(argument, [])]
            shutil.rmtree(bench.folder / "out", ignore_errors=True)
            if wrong := fault([*name.split(), *options, "--", *positional]):
                faults.append(f"{key} {value[:60]!r}: {wrong}")
    assert not faults, "\n".join(faults)
