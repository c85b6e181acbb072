"""Whatever a command of ``rader`` is given, it ends with one of its exit codes and says why, never in a trace.

Every option and argument of every command is replaced, one after the other, by every odd value.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from rader_plugins.cli import build_app
from tests.support.encoders import HashEncoder
from tests.support.llm_server import LLMServer

pytest.importorskip("pyarrow")
pytest.importorskip("ir_measures")

pytest.importorskip("sentence_transformers")

from tests.support.command_bench import Bench, fill  # noqa: E402

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


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    fill(folder)
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


def words(name: str, line: dict[str, list[str]]) -> list[str]:
    """Return the words of a call: command, options, arguments in their order."""
    options = [part for option, given in line.items() if option.startswith("-") for part in (option, *given)]
    order = [part.name for part in COMMANDS[name].params if part.param_type_name == "argument"]
    return [*name.split(), *options, "--", *(part for argument in order for part in line.get(argument, []))]


def values(parameter: Any) -> list[str]:
    if getattr(parameter, "is_flag", False) or parameter.opts[0] in ("--install-completion", "--show-completion"):
        return []
    return NUMBERS if parameter.type_descriptor.annotation in (int, float) else TEXTS


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("every", [16, pytest.param(1, marks=[pytest.mark.long, pytest.mark.timeout(3000)])])
@pytest.mark.slow
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
            shutil.rmtree(bench.folder / "out", ignore_errors=True)
            if wrong := fault(words(name, line)):
                faults.append(f"{key} {value[:60]!r}: {wrong}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.slow
def test_files_and_folders_may_have_names_of_another_encoding(name: str, bench: Bench) -> None:
    faults = []
    for key, given in bench.lines()[name].items():
        if key != "--out" and not (given and given[0].startswith(str(bench.folder))):
            continue
        path = Path(given[0])
        foreign = bench.folder / f"\udcff-{path.name}"
        try:
            if path.exists() and not foreign.exists():
                (shutil.copytree if path.is_dir() else shutil.copy)(path, foreign)
        except OSError:
            pytest.skip("this file system takes UTF-8 alone")
        shutil.rmtree(bench.folder / "out", ignore_errors=True)
        if wrong := fault(words(name, {**bench.lines()[name], key: [str(foreign)]})):
            faults.append(f"{key}: {wrong}")
    assert not faults, "\n".join(faults)
