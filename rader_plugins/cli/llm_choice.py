"""The command line's options of a language model's server: one home for every command that asks one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from rader_plugins.cli.option_groups import with_option_groups
from rader_plugins.errors import InputError

if TYPE_CHECKING:
    from rader_plugins.llm import OpenAIChat

__all__ = ["NO_LLM", "LLMChoice", "parse_fields", "parse_headers", "with_llm_options"]

R = TypeVar("R")

DEFAULT_TIMEOUT = 300.0


@dataclass(frozen=True)
class LLMChoice:
    """The language model that a user asked for; see :func:`with_llm_options` for the options.

    Args:
        llm_url: None where no model is asked.
        llm_model: None for the only one that the server lists.
        llm_extra: Fields of every request, as ``NAME=VALUE``.
        llm_header: Headers of every request, as ``NAME: VALUE``.
        llm_key_env: Environment variable with the key.
        llm_thinking: Whether the model shall think; None leaves it to the server.
        llm_timeout: Seconds until a request counts as failed.
    """

    llm_url: Annotated[
        str | None,
        typer.Option(
            "--llm-url",
            metavar="URL",
            help="OpenAI-compatible server of the language model; what its documentation calls the base URL.",
        ),
    ] = None
    llm_model: Annotated[
        str | None,
        typer.Option("--llm-model", metavar="NAME", help="Default: the only model that the server lists."),
    ] = None
    llm_extra: Annotated[
        list[str] | None,
        typer.Option(
            "--llm-extra",
            metavar="NAME=VALUE",
            help='A field of every request, such as reasoning_effort=low or \'chat_template_kwargs={"enable_thinking": '
            "false}'; NAME=null leaves out what would be sent; repeatable.",
        ),
    ] = None
    llm_header: Annotated[
        list[str] | None,
        typer.Option(
            "--llm-header",
            metavar="NAME:VALUE",
            help="A header of every request; $VARIABLE in it is read from the environment: 'api-key: $AZURE_KEY'; "
            "repeatable.",
        ),
    ] = None
    llm_key_env: Annotated[
        str | None,
        typer.Option(
            "--llm-key-env", metavar="NAME", help="Environment variable with the key. Default: OPENAI_API_KEY."
        ),
    ] = None
    llm_thinking: Annotated[
        bool | None,
        typer.Option(
            "--llm-thinking/--no-llm-thinking",
            help="Ask the server to let its model think before it answers, or not to; as far as it has a switch.",
            show_default=False,
        ),
    ] = None
    llm_timeout: Annotated[
        float,
        typer.Option("--llm-timeout", "--timeout", metavar="S", help="Seconds until a request counts as failed."),
    ] = DEFAULT_TIMEOUT

    @property
    def is_given(self) -> bool:
        """Whether a server was named.

        Raises:
            InputError: Options of a server were given without one.
        """
        if self.llm_url is None and self != NO_LLM:
            names = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
            options = ", ".join(f"--{name.replace('_', '-')}" for name in names)
            raise InputError(f"{options}: name the server of the language model, --llm-url URL.")
        return self.llm_url is not None

    def connect(self, *, concurrency: int, max_retries: int = 3) -> OpenAIChat:
        """Return the client.

        Raises:
            InputError: No server was named, or an option is unusable.
        """
        from rader_plugins.llm import OpenAIChat

        if not self.is_given:
            raise InputError("Name the server of the language model: --llm-url URL.")
        return OpenAIChat(
            self.llm_url or "",
            self.llm_model,
            api_key_env=self.llm_key_env or "OPENAI_API_KEY",
            concurrency=concurrency,
            timeout=self.llm_timeout,
            max_retries=max_retries,
            extra=parse_fields(self.llm_extra or (), "--llm-extra"),
            headers=parse_headers(self.llm_header or (), "--llm-header"),
            thinking=self.llm_thinking,
        )


NO_LLM = LLMChoice()
"""The default of a command's parameter."""


with_llm_options = with_option_groups
"""Gives a command the options of :class:`LLMChoice` in the place of its parameter ``llm: LLMChoice = NO_LLM``."""


def parse_fields(texts: Sequence[str], option: str, *, nested: bool = False) -> dict[str, Any]:
    """Return fields given as ``NAME=VALUE``; a value that is JSON counts as that, any other as text.

    With ``nested``, ``NAME.KEY=VALUE`` is a field of the object ``NAME``.

    Raises:
        InputError: One is not of this form, or a name stands twice.
    """
    parsed: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InputError(f"{option} takes NAME=VALUE, not {text!r}.")
        if name.strip() in parsed:
            raise InputError(f"{option} {name.strip()} stands twice.")
        try:
            parsed[name.strip()] = json.loads(value)
        except ValueError:
            parsed[name.strip()] = value
    if not nested:
        return parsed
    fields: dict[str, Any] = {}
    for name, value in parsed.items():
        outer, dot, inner = name.partition(".")
        if not dot:
            fields[name] = value
        elif isinstance(fields.setdefault(outer, {}), dict):
            fields[outer][inner] = value
        else:
            raise InputError(f"{option} {outer} is given as a whole and in parts.")
    return fields


def parse_headers(texts: Sequence[str], option: str) -> dict[str, str]:
    """Return headers given as ``NAME: VALUE``.

    Raises:
        InputError: One is not of this form. The message does not repeat it: it may hold a key.
    """
    parsed: dict[str, str] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip() or not value.strip():
            raise InputError(f"{option} takes NAME:VALUE, such as 'api-key: $AZURE_KEY'.")
        parsed[name.strip()] = value.strip()
    return parsed
