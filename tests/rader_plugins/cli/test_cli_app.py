from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import json
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from rader_plugins import RaderIndex
from rader_plugins.cli import build_app
from rader_plugins.cli import doctor as doctor_module
from rader_plugins.cli import plugins as plugins_module
from rader_plugins.cli.output import cell_width, clip_middle, note, wrap
from rader_plugins.errors import EncodingError, MissingExtraError, TruncationWarning
from rader_plugins.recipes import RECIPES
from tests.rader_plugins.cli.conftest import Rader, command, environment, write_rows

Process = Callable[..., subprocess.CompletedProcess[str]]


# Plug-ins


plugin_app = typer.Typer()


@plugin_app.command()
def run(times: int = 1) -> None:
    """Run it."""
    typer.echo("ran " * times)


def plain(name: str) -> None:
    """Greet somebody."""
    if name == "bad":
        raise EncodingError("the server\nis down")
    typer.echo(f"hello {name}")


not_a_command = 3


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    entries = {
        "group": f"{__name__}:plugin_app",
        "greet": f"{__name__}:plain",
        "broken": "no_such_module_anywhere:app",
        "wrong": f"{__name__}:not_a_command",
        "models": "no_such_module_anywhere:models",
    }
    # Test modules need not be importable by name.
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this_module())
    plugin_entries = [EntryPoint(name, value, plugins_module.PLUGIN_GROUP) for name, value in entries.items()]
    monkeypatch.setattr(
        plugins_module, "entry_points", lambda group: plugin_entries if group == plugins_module.PLUGIN_GROUP else []
    )
    plugins_module.plugins.cache_clear()
    yield
    plugins_module.plugins.cache_clear()


def _this_module() -> Any:
    module = type(sys)(__name__)
    module.__dict__.update(globals())
    return module


@pytest.mark.usefixtures("plugins")
def test_commands_of_plugins(rader: Rader) -> None:
    assert rader("group", "run", "--times", 2).stdout == "ran ran \n"
    assert rader("greet", "you").stdout == "hello you\n"
    assert rader("greet", "bad", code=1).stderr == "Error: the server is down\n"
    rader("greet", code=2)


@pytest.mark.usefixtures("plugins")
def test_a_broken_plugin_does_not_take_the_others_down(rader: Rader) -> None:
    outcome = rader("--help")
    assert "Greet somebody." in outcome.stdout
    assert "search" in outcome.stdout
    assert "'broken'" in outcome.stderr
    assert "no_such_module_anywhere" in outcome.stderr
    assert "expected a Typer app or a function, found int" in outcome.stderr
    result = rader("broken", "x", code=1)
    assert "'broken' (no_such_module_anywhere:app) cannot be loaded" in result.stderr
    assert "No such command" not in result.stderr
    quiet = rader("models", "--json")
    assert quiet.stderr == ""
    assert len(json.loads(quiet.stdout)) == len(RECIPES)


@pytest.mark.usefixtures("plugins")
def test_doctor_reports_broken_plugins(rader: Rader) -> None:
    report = json.loads(rader("doctor", "--json", code=1).stdout)
    assert report["plugins"]["greet"] == "loads"
    assert "no_such_module_anywhere" in report["plugins"]["broken"]
    assert any("'broken'" in problem for problem in report["problems"])


def _commands(group: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = click.Context(group)
    names = [] if not hasattr(group, "list_commands") else group.list_commands(context)
    return [path, *(inner for name in names for inner in _commands(group.get_command(context, name), (*path, name)))]


@pytest.mark.parametrize("columns", [60, 160])
def test_help_of_every_command_is_in_plain_words(columns: int) -> None:
    app: Any = typer.main.get_command(build_app())
    paths = _commands(app)
    assert {("search",), ("index", "build"), ("train", "retriever"), ("trajectories", "merge")} <= set(paths)
    for names in paths:
        command, context = app, click.Context(app, info_name="rader", terminal_width=columns)
        for name in names:
            command = command.get_command(context, name)
            context = click.Context(command, info_name=name, parent=context, terminal_width=columns)
        help_text = command.get_help(context)
        assert "--" in help_text
        for jargon in ("INTEGER", "FLOAT", "[default: None]", "<=x", "x>=", "x<=", "{INDEX}", "......"):
            assert jargon not in help_text, (names, jargon)
        kinds = set(re.findall(r"<([^>]*)>", help_text))
        assert all("|" in kind for kind in kinds), (names, kinds)  # choices, and no types of Python
        assert not re.search(r"\w\.\.\.$", help_text.partition("Commands:")[2], re.MULTILINE), "a sentence is whole"
        assert not [line for line in help_text.splitlines() if len(line) > columns and len(line.split()) > 1]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("-k", "many"), "'-k': it takes a whole number."),
        (("-k", "-1"), "'-k': it must be at least 0."),
        (("--alpha", "half"), "'--alpha': it takes a number."),
        (("--alpha", "2"), "'--alpha': it must be at most 1."),
        (("--mode", "best"), "'--mode': 'best' is not one of 'hybrid', 'dense', 'bm25'."),
    ],
)
def test_what_is_wrong_with_a_value_is_told_in_plain_words(rader: Rader, option: tuple[str, str], words: str) -> None:
    assert f"Error: Invalid value for {words}" in rader("search", "index", "question", *option, code=2).stderr


@pytest.mark.slow
def test_names_of_models_are_completed() -> None:
    for arguments in ("index build x --model", "search --rerank", "train retriever --base"):
        words = f"rader {arguments} rader-"
        variables = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1), "_RADER_COMPLETE": "complete_bash"}
        result = subprocess.run(command(), capture_output=True, text=True, env=environment() | variables, timeout=600)
        assert "rader-7b" in result.stdout.split(), result.stderr


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_tables_are_no_wider_than_the_terminal(rader: Rader, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = rader("models").stdout.splitlines()
    assert all(recipe.model in "".join(lines) and recipe.name in "".join(lines) for recipe in RECIPES.values())
    # A hub id is not broken: it is to be copied.
    assert max(len(line) for line in lines if "/" not in line.replace(" / ", "")) <= columns


@pytest.mark.parametrize("text", ["a" * 70, "日本語" * 20, "short", "e\u0301" * 50])
def test_names_are_cut_in_their_middle(text: str) -> None:
    cut = clip_middle(text, 31)
    assert cell_width(cut) <= 31
    assert (cut == text) == (cell_width(text) <= 31)
    assert cut[0] == text[0]


@pytest.mark.parametrize("text", ["钥匙在二楼的值班室。" * 30, "鍵は受付にあり " * 30, "words of " * 60, "x" * 300])
def test_texts_of_all_scripts_are_wrapped(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    marked = text.replace("二", "\x1b[1m二\x1b[0m")
    for shown in (text, marked):
        lines = wrap(shown, first="1. ", rest="   ")
        assert "".join("".join(lines).removeprefix("1. ").split()) == "".join(shown.split())
        plain = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in lines]
        assert all(cell_width(line) <= 60 for line in plain) or text == "x" * 300, (
            "only a word that is too long is wider"
        )


def test_json_shows_no_control_characters(rader: Rader, tmp_path: Path) -> None:
    text = "Red \x1b[31m lamp \x9b31m, \x7f and \u2028 blink."
    path = write_rows(tmp_path / "rows.jsonl", {"id": "a", "text": text})
    rader("index", "build", path, "--out", tmp_path / "index")
    for form in ("--json", "--jsonl"):
        output = rader("search", tmp_path / "index", "lamp", "--mode", "bm25", form).stdout
        assert all(character.isprintable() or character == "\n" for character in output)
        hit = json.loads(output)
        assert (hit[0] if form == "--json" else hit)["text"] == text


@pytest.mark.parametrize("address", ["127.0.0.1:9001/v1", "localhost:8000", "//host:80/x", "[::1]:8080/v1"])
def test_an_address_without_its_scheme_is_told_with_it(rader: Rader, tmp_path: Path, address: str) -> None:
    (tmp_path / "a.md").write_text("text")
    out = tmp_path / "index"
    whole = f"Write http://{address.removeprefix('//')} "
    assert whole in rader("index", "build", tmp_path / "a.md", "--out", out, "--model", address, code=2).stderr
    rader("index", "build", tmp_path / "a.md", "--out", out)
    result = rader("search", out, "q", "--reasoning", "--llm-url", address, "--llm-model", "m", code=2)
    assert whole in result.stderr


def test_a_url_with_too_few_slashes_is_no_folder(rader: Rader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.md").write_text("text")
    assert "begins with milvus://" in rader("index", "build", "a.md", "--out", "milvus:/x", code=2).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.md"]


LOADS = """
import sys
sys.stderr.isatty = lambda: True
from rader_plugins.cli import main
main()
"""


@pytest.mark.slow
def test_a_model_is_loaded_in_one_line(built: Path) -> None:
    arguments = [sys.executable, "-c", LOADS, "search", str(built), "pigeons", "--ids", "-k", "1"]
    result = subprocess.run(arguments, capture_output=True, text=True, env=environment(), timeout=600, check=True)
    assert result.stderr == "Loading mini ...\n"


def test_what_is_noted_on_a_terminal_fits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "60")
    terminal, pipe = Terminal(), io.StringIO()
    message = "Error: " + "nothing came out that could be trained on " * 5
    for stream in (terminal, pipe):
        monkeypatch.setattr("sys.stderr", stream)
        note(message)
    assert pipe.getvalue() == message.strip() + "\n"
    assert all(len(line) <= 60 for line in terminal.getvalue().splitlines())
    assert terminal.getvalue().split() == message.split()


# Errors, warnings, exit codes


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MissingExtraError("pip install it"), "pip install it"),
        (PermissionError(13, "denied", "x"), "'x': denied."),
        (OSError(18, "other device", "x", None, "y"), "'x' -> 'y': other device."),
        (OSError("no more"), "no more"),
    ],
)
def test_failures_are_one_line_and_exit_1(
    rader: Rader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(RaderIndex, "open", fail)
    result = rader("search", tmp_path, "q", code=1)
    assert result.stderr == f"Error: {message}\n"


def test_warnings_of_the_library_are_shown_and_those_of_others_are_not(
    rader: Rader, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RaderIndex.stats

    def warn(self: RaderIndex) -> dict[str, Any]:
        warnings.warn("2 texts were cut", TruncationWarning, stacklevel=2)
        warnings.warn("library noise", FutureWarning, stacklevel=2)
        return real(self)

    monkeypatch.setattr(RaderIndex, "stats", warn)
    assert rader("index", "info", built, "--json").stderr == "Warning: 2 texts were cut\n"


def test_usage_errors_exit_2(rader: Rader) -> None:
    assert "No such command 'serch'. Did you mean 'search'?" in rader("serch", code=2).stderr
    rader("index", "build", code=2)
    assert rader("--version").stdout.startswith("rader-plugins ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("index", "build", "", "--out", "ix"),  # the working folder
        ("index", "build", "texts", "--out", "ix", "--model", ""),  # another model than the one that was meant
        ("index", "build", "texts", "--out", "ix", "--language="),
        ("search", "", "query"),
        ("search", "ix", "query", "--filter", ""),
        ("samples", "", "--out", "samples"),
    ],
)
def test_an_empty_argument_is_a_variable_that_is_not_set(
    rader: Rader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("text")
    result = rader(*arguments, code=2)
    assert "empty" in result.stderr
    assert "variable of the shell" in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["texts"]


def test_a_model_may_be_asked_without_an_instruction(rader: Rader, built: Path) -> None:
    assert rader("search", built, "q", "--instruction", "").exit_code == 0


# Models and doctor


def test_models(rader: Rader) -> None:
    lines = rader("models").stdout.splitlines()
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    for recipe in RECIPES.values():
        assert f"\n{recipe.name} " in text
        assert f"\n    {recipe.model}\n" in text
    listed = {row["name"]: row for row in json.loads(rader("models", "--json").stdout)}
    assert listed.keys() == RECIPES.keys()
    assert listed["rader-7b"]["dimension"] == 3584
    assert listed["mini"]["fingerprint"] == RECIPES["mini"].fingerprint


METADATA = """Metadata-Version: 2.4
Name: rader-plugins
Version: 9
Provides-Extra: local
Provides-Extra: old
Provides-Extra: faiss
Provides-Extra: faiss-gpu
Provides-Extra: cpu
Provides-Extra: elsewhere
Provides-Extra: both
Provides-Extra: all
Requires-Dist: numpy>=1.26
Requires-Dist: torch>=2.4; extra == 'local'
Requires-Dist: no-such-thing-at-all>=1; extra == 'local'
Requires-Dist: pytest<1; extra == 'old'
Requires-Dist: numpy; extra == 'faiss'
Requires-Dist: no-such-gpu-thing[with,parts]>=1.8; extra == 'faiss-gpu'
Requires-Dist: rader-plugins[faiss]; extra == 'cpu'
Requires-Dist: pytest; extra == 'elsewhere'
Requires-Dist: no-such-backport>=2; (python_version < "3" or sys_platform == "nowhere") and extra == 'elsewhere'
Requires-Dist: rader-plugins[elsewhere,old]; extra == 'both'
Requires-Dist: typer; extra == 'both'
Requires-Dist: rader-plugins[local]; extra == 'all'
"""


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Let the installed package declare other requirements."""

    def declare(text: str) -> None:
        (tmp_path / "METADATA").write_text(text)
        distribution = importlib.metadata.PathDistribution(tmp_path)
        monkeypatch.setattr(importlib.metadata, "distribution", lambda name: distribution)
        monkeypatch.setattr(importlib.metadata, "version", lambda name: versions.get(name) or missing(name))

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    versions = {name: importlib.metadata.version(name) for name in ("numpy", "torch", "pytest", "typer")}
    return declare


def test_doctor_names_missing_extras_and_how_to_mend_them(
    rader: Rader, monkeypatch: pytest.MonkeyPatch, declared: Callable[[str], None]
) -> None:
    declared(METADATA)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    report = json.loads(rader("doctor", "--json").stdout)
    extras = report["extras"]
    assert set(extras) == {"local", "old", "faiss", "faiss-gpu", "elsewhere", "both"}
    assert extras["local"]["missing"] == ["no-such-thing-at-all is missing"]
    assert extras["local"]["install"] == "pip install 'rader-plugins[local]'"
    wrong_version = f"pytest {report['libraries']['pytest']} is not <1"
    assert extras["old"]["missing"] == extras["both"]["missing"] == [wrong_version]
    assert extras["faiss"] == {"installed": True, "missing": [], "not_needed": False, "install": None}
    assert extras["faiss-gpu"]["not_needed"]
    assert extras["elsewhere"]["installed"], "its marker excludes this machine"
    assert "no-such-backport" not in report["libraries"]
    assert report["network"] == {"hub": "off", "switched_off_by": ["HF_HUB_OFFLINE"], "endpoint": None}
    assert report["temporary_folder"]["writable"]
    assert report["mini"]["sha256_right"]
    assert report["problems"] == []
    text = rader("doctor").stdout
    assert "no-such-thing-at-all is missing. To mend it: pip install 'rader-plugins[local]'" in text
    assert "off (HF_HUB_OFFLINE is set)" in text
    assert text.endswith("Nothing that is installed is broken (3 extras not installed: see above).\n")


def test_what_the_base_lacks_is_a_problem(rader: Rader, declared: Callable[[str], None]) -> None:
    declared("Metadata-Version: 2.4\nName: rader-plugins\nVersion: 9\nRequires-Dist: no-such-base-thing>=1\n")
    report = json.loads(rader("doctor", "--json", code=1).stdout)
    assert report["problems"] == ["no-such-base-thing is missing, which rader-plugins needs"]


def test_doctor_exits_1_for_a_wrong_model(rader: Rader, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from rader_plugins.recipes import resolve as resolve_module

    wrong = dataclasses.replace(RECIPES["mini"], sha256="0" * 64)
    monkeypatch.setitem(resolve_module.RECIPES, "mini", wrong)
    report = json.loads(rader("doctor", "--json", code=1).stdout)
    assert report["mini"]["sha256_right"] is False
    assert "sha256" in report["problems"][0]
    assert "WRONG" in rader("doctor", code=1).stdout


def test_doctor_survives_a_broken_library_and_a_missing_one(rader: Rader, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "faiss" else real(name, *rest))
    imported = doctor_module.importlib.import_module

    def broken(name: str) -> Any:
        if name == "torch":
            raise OSError("libcudart.so: cannot open")
        return imported(name)

    monkeypatch.setattr(doctor_module.importlib, "import_module", broken)
    report = json.loads(rader("doctor", "--json", code=1).stdout)
    assert report["devices"]["torch"] is None
    assert report["devices"]["faiss_gpus"] is None
    assert "libcudart" in report["problems"][0]


# Whole processes


def test_help_imports_nothing_heavy(process: Process) -> None:
    code = (
        "import sys; from rader_plugins.cli import build_app; build_app()(['--help'], standalone_mode=False); "
        "sys.exit(' '.join({'torch', 'numpy', 'transformers', 'rich', 'faiss'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=600
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "index" in result.stdout


@pytest.mark.slow
def test_a_pipe_gets_results_and_nothing_else(process: Process, tmp_path: Path) -> None:
    out = tmp_path / "index"
    path = write_rows(tmp_path / "rows.jsonl", {"id": "a", "text": "stars and bars"}, {"text": "graphs"})
    result = process("index", "build", path, "--out", out, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["documents"] == 2
    result = process("search", out, "stars", "--json", "--mode", "bm25")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)[0]["id"] == "a"


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_error(built: Path) -> None:
    arguments = command("search", built, "graph", "-k", 40, "--mode", "bm25", "--json")
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait(600) == 0


@pytest.mark.slow
def test_text_that_the_stream_cannot_show(built: Path) -> None:
    arguments = command("models")
    env = {**environment(), "PYTHONIOENCODING": "latin-1"}
    assert subprocess.run(arguments, capture_output=True, env=env, timeout=600, check=True).stderr == b""
    arguments = command("search", built, "graph", "--mode", "bm25", "-k", 1)
    process = subprocess.run(arguments, capture_output=True, env={**env, "COLUMNS": "60"}, timeout=600, check=True)
    assert b"\\u2026" in process.stdout


class _Server(BaseHTTPRequestHandler):
    """An embedding server that calls ``on_request`` with the number of every request before it answers."""

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        self.server.on_request()  # type: ignore[attr-defined]
        data = [{"index": index, "embedding": [1.0, len(text), 1.0]} for index, text in enumerate(texts)]
        self._answer({"data": data, "model": "served"})

    def do_GET(self) -> None:
        self._answer({"data": [{"id": "served"}]})

    def _answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as running:
        running.on_request = lambda: None  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


HANGS = """
import threading, sys
from importlib.metadata import EntryPoint
from rader_plugins.cli import main, plugins

def hang():
    threading.Thread(target=threading.Event().wait).start()
    print("ready", flush=True)
    try:
        threading.Event().wait()
    finally:
        {last}

sys.modules["hanging"] = sys.modules["__main__"]
plugins.entry_points = lambda group: [EntryPoint("hang", "hanging:hang", group)]
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("last", ["pass", "threading.Event().wait()"], ids=["thread", "cleaning_up"])
def test_control_c_ends_a_command_that_does_not_end_by_itself(last: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HANGS.format(last=last), "hang"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130
    assert stderr == "Interrupted. What was stored before is intact; run the same command again.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.slow
def test_control_c_says_what_is_committed_and_the_same_command_goes_on(
    server: ThreadingHTTPServer, tmp_path: Path, process: Process
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", *({"id": str(n), "text": f"text {n}"} for n in range(200)))
    out = tmp_path / "index"
    url = f"http://127.0.0.1:{server.server_address[1]}"
    arguments = ("index", "build", path, "--out", out, "--model", url, "--recipe", "plain")
    child = subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    once, interrupted = threading.Lock(), threading.Event()

    def interrupt() -> None:
        with once:
            if interrupted.is_set() or not (out / "index.db").exists():
                return
            with RaderIndex.open(out) as index:
                if len(index):
                    child.send_signal(signal.SIGINT)
                    interrupted.set()

    server.on_request = interrupt  # type: ignore[attr-defined]
    stdout, stderr = child.communicate(timeout=600)
    assert interrupted.is_set()
    assert (child.returncode, stdout) == (130, "")
    with RaderIndex.open(out) as index:
        committed = len(index)
    # Signals come between two steps of the program, so a commit that was under way may be in.
    assert 0 < committed < 200
    assert stderr == f"Interrupted: {committed} documents committed in {out}. The same command goes on from there.\n"
    assert "Traceback" not in stderr
    result = process(*arguments, "--json")
    assert json.loads(result.stdout)["unchanged"] == committed
    assert json.loads(result.stdout)["documents"] == 200
    assert "--model URL" in process("search", out, "text").stderr
    hits = json.loads(process("search", out, "text", "--model", url, "-k", 2, "--json").stdout)
    assert len(hits) == 2
