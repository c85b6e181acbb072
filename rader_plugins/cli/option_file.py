"""Options of a command in a TOML file: what is given on the command line comes first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from rader_plugins.errors import InputError
from rader_plugins.files import read_toml

__all__ = ["options_from_table"]

_NOT_IN_FILES = frozenset(("--config", "--help", "--list"))


def options_from_table(name: str) -> Callable[[typer.Context, Path | None], Path | None]:
    """Return the callback of an eager ``--config``: the table of a file gives the command's options their defaults.

    Keys are the options' long names without the dashes (``follow-ups`` or ``follow_ups``); those that may be repeated
    take a list.

    Args:
        name: Name of the table in the TOML file.

    Raises:
        InputError: From the callback: the file is unusable, or has an option that the command does not have.
    """

    def take(context: typer.Context, file: Path | None) -> Path | None:
        if file is None:
            return None
        tables = read_toml(file)
        if unknown := sorted(set(tables) - {name}):
            raise InputError(f"{file} has the unknown {', '.join(map(repr, unknown))}; known: the table [{name}].")
        table = tables.get(name, {})
        if not isinstance(table, dict):
            raise InputError(f"{file}: {name!r} must be a table: [{name}].")
        parameters = _parameters(context)
        values = {}
        for key, value in table.items():
            parameter = parameters.get(f"--{key.replace('_', '-')}") or parameters.get(f"-{key}")
            if parameter is None:
                options = ", ".join(sorted(option.lstrip("-") for option in parameters))
                raise InputError(f"{file}, [{name}] has the unknown {key!r}; known: {options}.")
            if parameter.multiple != isinstance(value, list) or isinstance(value, dict):
                kind = "a list" if parameter.multiple else "one value"
                raise InputError(f"{file}, [{name}]: {key!r} must be {kind}, not {value!r}.")
            values[parameter.name] = value
        context.default_map = {**(context.default_map or {}), **values}
        return file

    return take


def _parameters(context: typer.Context) -> dict[str, Any]:
    """Return the options of a command by all their names."""
    return {
        option: parameter
        for parameter in context.command.params
        if parameter.param_type_name == "option" and not _NOT_IN_FILES & set(parameter.opts)
        for option in parameter.opts
    }
