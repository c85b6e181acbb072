"""The command line's options of a language model's server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from rader_plugins.cli.app import build_app
from rader_plugins.cli.llm_choice import NO_LLM, LLMChoice, parse_fields, parse_headers, with_llm_options
from rader_plugins.errors import InputError
from tests.support.http_server import AnsweringServer, HTTPRequest, Reply
from tests.support.llm_server import LLMServer


def ask_by_command(*arguments: str) -> str:
    app = typer.Typer()

    @app.command()
    @with_llm_options
    def ask(
        question: Annotated[str, typer.Argument()],
        llm: LLMChoice = NO_LLM,
        loud: Annotated[bool, typer.Option()] = False,
    ) -> None:
        with llm.connect(concurrency=1, max_retries=0) as model:
            typer.echo(model.chat([{"role": "user", "content": question + "!" * loud}])[0].text)

    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_every_option_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "first-key")
    monkeypatch.setenv("OTHER_KEY", "second-key")
    with LLMServer("five") as server:
        arguments = ["2 + 3", "--loud", "--llm-url", server.url, "--llm-model", "m", "--llm-key-env", "MY_KEY"]
        arguments += ["--llm-extra", "reasoning_effort=low", "--llm-extra", 'chat={"think": false}']
        arguments += [
            "--llm-extra",
            "temperature=null",
            "--llm-header",
            "X-Team: search",
            "--llm-header",
            "X-2:$OTHER_KEY",
        ]
        assert ask_by_command(*arguments) == "five\n"
        (request,), (headers,) = server.requests, server.headers
    assert request["model"] == "m"
    assert request["messages"][0]["content"] == "2 + 3!"
    assert request["reasoning_effort"] == "low"
    assert request["chat"] == {"think": False}
    assert "temperature" not in request
    assert headers["Authorization"] == "Bearer first-key"
    assert headers["X-Team"] == "search"
    assert headers["X-2"] == "second-key"


def test_options_without_a_server_are_refused() -> None:
    assert not NO_LLM.is_given
    with pytest.raises(InputError, match="--llm-model, --llm-extra: name the server"):
        _ = LLMChoice(llm_model="m", llm_extra=["a=1"]).is_given
    with pytest.raises(InputError, match="--llm-url"):
        NO_LLM.connect(concurrency=1)


def test_fields_and_headers() -> None:
    assert parse_fields(["a=1", "b=x=y", 'c={"d": [1]}', "e=null", "f="], "--x") == {
        "a": 1, "b": "x=y", "c": {"d": [1]}, "e": None, "f": ""
    }  # fmt: skip
    assert parse_headers(["api-key: k:k"], "--x") == {"api-key": "k:k"}
    for wrong in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(InputError, match="--x"):
            parse_fields(wrong, "--x")
    with pytest.raises(InputError) as caught:
        parse_headers(["sk-my-secret"], "--x")
    assert "secret" not in str(caught.value)


def test_options_of_an_encoder_arrive_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "a-key")
    (tmp_path / "texts").mkdir()
    for number in range(7):
        (tmp_path / "texts" / f"{number}.txt").write_text(f"text number {number}")

    def answer(request: HTTPRequest) -> Reply:
        texts = request.body["input"]
        return Reply({"data": [{"index": index, "embedding": [1.0, len(text)]} for index, text in enumerate(texts)]})

    with AnsweringServer(answer) as server:
        arguments = ["index", "build", str(tmp_path / "texts"), "--out", str(tmp_path / "index"), "--model", server.url]
        arguments += ["--recipe", "plain", "--served-model", "m", "--model-option", "batch_size=3"]
        arguments += ["--model-option", "headers.api-key=$SOME_KEY", "--model-option", "extra.dimensions=2"]
        result = CliRunner().invoke(build_app(), arguments)
        assert result.exit_code == 0, result.output
        assert all(request.headers["api-key"] == "a-key" for request in server.requests)
        assert all(request.body["dimensions"] == 2 for request in server.requests)
        assert max(len(request.body["input"]) for request in server.requests) == 3
        result = CliRunner().invoke(build_app(), [*arguments, "--model-option", "recipe=mini"])
        assert result.exit_code == 2
