"""A disk that fills up under a command: it says so and names the file, leaves nothing half written, and goes on later.

A limit on the size of files stands for the disk: a write beyond it fails as on a full one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.llm_server import LLMServer

pytest.importorskip("pyarrow")
pytest.importorskip("ir_measures")
pytest.importorskip("sentence_transformers")

from tests.support.command_bench import Bench, fill  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and resource limits")]

LLM = "--llm-url {llm} --llm-model m --llm-timeout 30"
COMMANDS = {
    "index build": "index build {bench}/texts --out {out}",
    "index add": "index add {out}/there {bench}/texts",
    "index delete": "index delete {out}/there d1 d2",
    "index optimize": "index optimize {out}/there",
    "evaluate": "evaluate {bench}/beir --out {out} --mode bm25",
    "score": "score {bench}/run.trec {bench}/qrels.tsv --write {out}/run.trec",
    "compare": "compare {bench}/scored --out {out}",
    "import": "import solutions {bench}/solved.jsonl --out {out}/t.jsonl --corpus {bench}/corpus.jsonl --keep-all",
    "import --llm-cache": "import solutions {bench}/solved.jsonl --out {out}/t.jsonl --index {bench}/index --mode bm25 "
    "--label reflection --llm-cache {out}/calls.sqlite --keep-all " + LLM,
    "samples": "samples {bench}/run/trajectories.jsonl --out {out}/s --corpus {bench}/corpus.jsonl --kinds question",
    "samples --kinds llm": "samples {bench}/run/trajectories.jsonl --out {out}/s --corpus {bench}/corpus.jsonl "
    "--kinds llm " + LLM,
    "synthesize": "synthesize {bench}/problems.jsonl --out {out} --index {bench}/index --mode bm25 --rollouts 1 " + LLM,
    "trajectories show": "trajectories show {bench}/run/trajectories.jsonl --out {out}/page.html",
    "trajectories merge": "trajectories merge {bench}/synthesized --out {out}",
}
LIMIT = 100  # bytes of a file
LATER = {"index build": 20_000, "samples --kinds llm": 20_000, "synthesize": 5_000}  # beyond what comes first
_PASSING = {".db-wal", ".db-shm", ".sqlite-wal", ".sqlite-shm"}
# Forks where no thread was started, with everything imported: a command takes a moment then, and not seconds.
RUN = """
import json, os, resource, signal, sys, traceback
from typer.testing import CliRunner
import rader_plugins.encoding as encoding
from rader_plugins.cli import build_app
from tests.support.encoders import HashEncoder
import rader_plugins.evaluation, rader_synthesis.cli.synthesize, rader_synthesis.cli.samples

encoding.load_encoder = lambda source, **options: HashEncoder()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for line in sys.stdin:
    arguments, limit = json.loads(line)
    read, write = os.pipe()
    if not os.fork():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        result = CliRunner().invoke(build_app(), arguments, input="")
        foreign = result.exception is not None and not isinstance(result.exception, SystemExit)
        trace = "".join(traceback.format_exception(result.exception)) if foreign else ""
        os.write(write, json.dumps([result.exit_code, result.stderr[-9000:], trace[-9000:]]).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        print(stream.read().decode(), flush=True)
    os.wait()
"""


class Commands:
    """Runs commands in processes of their own."""

    def __init__(self, process: subprocess.Popen[str], bench: Bench) -> None:
        self._process = process
        self._bench = bench

    def run(self, line: str, out: Path, limit: int | None = None) -> tuple[int, str]:
        """Return exit code and standard error; no file may grow beyond ``limit`` bytes."""
        arguments = line.format(bench=self._bench.folder, out=out, llm=self._bench.llm).split()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([arguments, limit]) + "\n")
        self._process.stdin.flush()
        code, error, trace = json.loads(self._process.stdout.readline())
        assert not trace, trace
        return code, error


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    folder = tmp_path_factory.mktemp("bench")
    fill(folder)
    for number in range(40):
        (folder / "texts" / f"{number}.txt").write_text(f"prime tree {number} " + " ".join(map(str, range(100))))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_HUB_OFFLINE": "1"}
    with (
        LLMServer("The answer is \\boxed{8}.") as server,
        subprocess.Popen(
            [sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as process,
    ):
        ready = Commands(process, Bench(folder, server.url))
        assert ready.run("evaluate {bench}/beir --out {bench}/scored --mode bm25", folder)[0] == 0
        ready.run(COMMANDS["synthesize"].replace("{out}", "{bench}/synthesized"), folder)
        yield ready
        process.kill()


def prepared(folder: Path, name: str, commands: Commands) -> Path:
    folder.mkdir()
    if "there" in COMMANDS[name]:
        assert commands.run("index build {bench}/corpus.jsonl --out {out}/there", folder)[0] == 0
    return folder


def names(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in _PASSING
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_fills_up(name: str, commands: Commands, tmp_path: Path) -> None:
    line = COMMANDS[name]
    undisturbed = prepared(tmp_path / "undisturbed", name, commands)
    code, words = commands.run(line, undisturbed)
    assert code in (0, 1), words
    failures = 0
    for limit in filter(None, (LIMIT, LATER.get(name))):
        out = prepared(tmp_path / str(limit), name, commands)
        ended, error = commands.run(line, out, limit)
        if ended:
            lines = [line for line in error.splitlines() if line.startswith("Error: ")]
            assert (ended, len(lines)) == (1, 1), error
            assert not any(sign in lines[0] for sign in ("Errno", ".tmp", ".new")), error
            if not code:
                failures += 1
                assert any(place in lines[0] for place in (str(out), tempfile.gettempdir(), "scratch file")), error
        assert commands.run(line, out)[0] == code
        assert names(out) == names(undisturbed)
    assert failures or code or name == "score", "no limit was low enough"
