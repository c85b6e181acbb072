"""Commands that other packages add to ``rader``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

import typer

from rader_plugins.cli.help_texts import with_plain_help

__all__ = ["PLUGIN_GROUP", "load_plugin", "plugins"]

PLUGIN_GROUP = "rader.commands"
"""Entry-point group: each entry is a Typer app (becomes a group of commands) or a function (becomes a command)."""


@cache  # a command asks several times, and each time the metadata of every installed package would be read
def plugins() -> Mapping[str, EntryPoint]:
    """Return the entry points of plug-in commands by name, without importing them."""
    return MappingProxyType({entry.name: entry for entry in entry_points(group=PLUGIN_GROUP)})


def load_plugin(entry: EntryPoint) -> tuple[Any, str | None]:
    """Import a plug-in; return its command and None, or None and what is wrong with it."""
    try:
        return _as_command(entry.load(), entry.name), None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - one plug-in must not take the others down
        return None, f"{type(error).__name__}: {error}"


def _as_command(plugin: Any, name: str) -> Any:
    if isinstance(plugin, typer.Typer):
        command = typer.main.get_group(with_plain_help(plugin))
        command.name = name
        return command
    if not callable(plugin):
        raise TypeError(f"expected a Typer app or a function, found {type(plugin).__name__}")
    single = typer.Typer(rich_markup_mode=None, add_completion=False)
    single.command(name)(plugin)
    return typer.main.get_command(with_plain_help(single))
