"""What ``--help`` and errors of usage say, in plain words and whole at every width.

Typer writes the types of Python beside arguments (``<list[Path]>``), ranges as inequalities, words broken in their
middle where columns are few, and the first half of a sentence about each command.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["PlainCommand", "PlainGroup", "help_row", "plain_error", "with_plain_help"]

_TYPE = re.compile(r" <.*>$")
_REMARKS = re.compile(r"\[[^][]*\]$")
_AMOUNT = r"(-?[\d.]+)"
_ROOM_FOR_NAMES = {78: 30, 0: 14}
"""Least columns of a terminal -> what names of options may take of them; longer ones have a line of their own."""
_ERRORS = (
    (r"^Value error, ", ""),
    (r", unable to parse string as (a|an) \w+$", ""),
    (r"^Input should be a valid integer.*", "it takes a whole number."),
    (r"^Input should be a valid number.*", "it takes a number."),
    (r"^Input should be (greater than or equal to|at least) (.+)$", r"it must be at least \2."),
    (r"^Input should be (less than or equal to|at most) (.+)$", r"it must be at most \2."),
    (r"^Input should be", "it must be"),
)


class PlainCommand(TyperCommand):
    """A command whose help is in plain words."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line."""
        return _plain_usage(super().collect_usage_pieces(ctx))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options."""
        _write_parameters(self, ctx, formatter)


class PlainGroup(TyperGroup):
    """A group of commands whose help is in plain words."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write options and commands."""
        _write_parameters(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the first sentence of each command, whole."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(1000)) for name, command in commands if command is not None]
        if rows:
            with formatter.section("Commands"):
                _write_rows(formatter, rows)


def with_plain_help(app: typer.Typer) -> typer.Typer:
    """Return an application after giving it, and all commands below it, help in plain words."""
    if not (isinstance(app.info.cls, type) and issubclass(app.info.cls, PlainGroup)):
        app.info.cls = PlainGroup
    for command in app.registered_commands:
        if command.cls is None or command.cls is TyperCommand:
            command.cls = PlainCommand
    for group in app.registered_groups:
        if group.typer_instance is not None:
            with_plain_help(group.typer_instance)
    return app


def help_row(parameter: Any, ctx: Any) -> tuple[str, str] | None:
    """Return the names of a parameter and what help says of it; None if it is hidden."""
    record = parameter.get_help_record(ctx)
    if record is None:
        return None
    names, text = record
    if parameter.param_type_name == "argument":
        names = _TYPE.sub("", names)
    return names, _REMARKS.sub(lambda match: _plain_remarks(match[0]), text)


def plain_error(message: str) -> str:
    """Return what was wrong with a value, without the words of the library that checks it."""
    for pattern, words in _ERRORS:
        message = re.sub(pattern, words, message)
    return message


def _plain_remarks(text: str) -> str:
    """Return ``[default: 10; x>=0]`` as ``[default: 10; at least 0]``."""
    text = re.sub(r"(\d)\.0\b", r"\1", text)
    text = re.sub(rf"{_AMOUNT}<=x<={_AMOUNT}", r"\1 to \2", text)
    text = re.sub(rf"\bx>={_AMOUNT}", r"at least \1", text)
    return re.sub(rf"\bx<={_AMOUNT}", r"at most \1", text)


def _plain_usage(pieces: Sequence[str]) -> list[str]:
    return [re.sub(r"(\.\.\.)+", "...", re.sub(r"^\{(.*?)\}", r"\1", piece)) for piece in pieces]


def _write_parameters(command: Any, ctx: Any, formatter: Any) -> None:
    rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
    for parameter in command.get_params(ctx):
        row = help_row(parameter, ctx)
        if row is not None:
            rows[parameter.param_type_name].append(row)
    for kind, title in (("argument", "Arguments"), ("option", "Options")):
        if rows[kind]:
            with formatter.section(title):
                _write_rows(formatter, rows[kind])


def _write_rows(formatter: Any, rows: Sequence[tuple[str, str]]) -> None:
    """Write names and texts in two columns; no word is broken, as it may be an address or a value to copy."""
    room = next(room for least, room in _ROOM_FOR_NAMES.items() if formatter.width >= least)
    column = min(max(len(name) for name, _ in rows), room) + 2
    margin = " " * formatter.current_indent
    for name, text in rows:
        lines = textwrap.wrap(
            text,
            max(formatter.width - len(margin) - column, 20),
            break_long_words=False,
            break_on_hyphens=False,
        )
        if len(name) > column - 2:
            formatter.write(f"{margin}{name}\n")
            name = ""
        for number, line in enumerate(lines or [""]):
            formatter.write(f"{margin}{name if not number else '':<{column}}{line}".rstrip() + "\n")
