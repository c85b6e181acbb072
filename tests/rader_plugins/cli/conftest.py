from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import rader_plugins
from rader_plugins import load_encoder
from rader_plugins.cli import build_app

ROOT = Path(rader_plugins.__file__).parent.parent
CORPUS = Path(rader_plugins.__file__).parent / "data" / "principles" / "corpus.jsonl"

Rader = Callable[..., Any]


@pytest.fixture(scope="session")
def mini_encoder() -> Any:
    return load_encoder("mini", show_progress=False)


@pytest.fixture
def rader(monkeypatch: pytest.MonkeyPatch, mini_encoder: Any) -> Rader:
    """Run a command in this process. The mini model is loaded once for all tests."""
    import rader_plugins.encoding as encoding

    real = encoding.load_encoder

    def load_once(source: Any, **options: Any) -> Any:
        name = source if isinstance(source, str) else getattr(source, "name", "")
        return mini_encoder if name == "mini" and not options.get("device") else real(source, **options)

    monkeypatch.setattr(encoding, "load_encoder", load_once)

    def run(*arguments: object, code: int = 0, input: str | bytes | None = None) -> Any:
        result = CliRunner().invoke(build_app(), [str(argument) for argument in arguments], input=input)
        assert result.exit_code == code, (result.exit_code, result.output, result.exception)
        return result

    return run


@pytest.fixture
def process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command in a process of its own, as a shell pipe would."""

    def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), capture_output=True, text=True, env=environment(), timeout=600, **options
        )

    return run


def command(*arguments: object) -> list[str]:
    start = "from rader_plugins.cli import main; main()"
    return [sys.executable, "-c", start, *map(str, arguments)]


def environment() -> dict[str, str]:
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "NO_COLOR": ""}


@pytest.fixture(scope="session")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 40 documents of the bundled corpus as a BEIR folder."""
    folder = tmp_path_factory.mktemp("beir")
    with CORPUS.open("rb") as stream:
        (folder / "corpus.jsonl").write_bytes(b"".join(itertools.islice(stream, 40)))
    return folder


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, beir: Path, mini_encoder: Any) -> Path:
    """An index over :func:`beir` that no test changes."""
    from rader_plugins.index import RaderIndex
    from rader_plugins.ingestion import ingest, open_source, survey

    out = tmp_path_factory.mktemp("built") / "index"
    with RaderIndex.create(out, mini_encoder) as index:
        ingest(index, survey(open_source(beir)))
        index.optimize()
    return out


def write_rows(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
