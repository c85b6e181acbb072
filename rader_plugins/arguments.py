"""Checks of what a caller passes: whatever it is, what comes of it is a result or an :class:`InputError`."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError

__all__ = [
    "check_choice",
    "check_count",
    "check_flag",
    "check_number",
    "check_path",
    "check_string",
    "expand_path",
    "iterate",
    "shown",
]

_LONGEST = 80
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")


def shown(value: object) -> str:
    """Return a value as a message shows it: short, and whatever its ``repr`` does."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a stranger's object may raise anything; a message needs some name for it
        return f"an object of type {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({type(value).__name__})"


def check_count(value: Any, name: str, least: int = 0) -> int:
    """Return a whole number of at least ``least``.

    Raises:
        InputError: It is none.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise InputError(f"{name} must be a whole number of at least {least}, not {shown(value)}.")


def check_number(value: Any, name: str, least: float, most: float = float("inf")) -> float:
    """Return a finite number from ``least`` to ``most``.

    Raises:
        InputError: It is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
        try:
            if abs(float(value)) != float("inf"):
                return value
        except OverflowError:
            pass
    limit = f"at least {least}" if most == float("inf") else f"from {least} to {most}"
    raise InputError(f"{name} must be a finite number, {limit}, not {shown(value)}.")


def check_flag(value: Any, name: str) -> bool:
    """Return True or False.

    Raises:
        InputError: It is neither.
    """
    if isinstance(value, bool):
        return value
    raise InputError(f"{name} must be True or False, not {shown(value)}.")


def check_string(value: Any, name: str) -> str:
    """Return a string.

    Raises:
        InputError: It is none.
    """
    if isinstance(value, str):
        return value
    raise InputError(f"{name} must be a string, not {shown(value)}.")


def check_choice(value: Any, name: str, choices: Sequence[str]) -> str:
    """Return one of the strings that are allowed.

    Raises:
        InputError: It is none of them.
    """
    if isinstance(value, str) and value in choices:
        return value
    raise InputError(f"{name} is one of {', '.join(choices)}, not {shown(value)}.")


def check_path(value: Any, name: str) -> Path:
    """Return a path of the file system.

    Raises:
        InputError: It is none: no string or path object, or with characters that none has.
    """
    if isinstance(value, str | os.PathLike):
        path = os.fspath(value)
        if isinstance(path, str) and "\x00" not in path and _is_encodable(path):
            return Path(path)
    raise InputError(f"{name} must be a path, not {shown(value)}.")


def _is_encodable(path: str) -> bool:
    try:
        os.fsencode(path)
    except UnicodeError:
        return False
    return True


def expand_path(path: Path) -> Path:
    """Return a path as a user wrote it: ``~`` and environment variables are replaced, unless it exists as it stands.

    Raises:
        InputError: It begins with a variable that is not set.
    """
    with contextlib.suppress(OSError, RuntimeError):  # no home directory: then ~ is a name like any other
        if not path.exists():
            expanded = Path(os.path.expandvars(path)).expanduser()
            first = Path(*expanded.parts[:1])
            if _VARIABLE.fullmatch(str(first)) and not first.exists():
                raise InputError(f"{first} is no environment variable that is set, nor a folder here ({path}).")
            return expanded
    return path


def iterate(values: Any, name: str) -> Iterable[Any]:
    """Return something that can be gone through; a single string is not taken for its letters.

    Raises:
        InputError: It cannot.
    """
    if not isinstance(values, str | bytes):
        try:
            iter(values)
        except Exception:  # noqa: BLE001 - a stranger's object may raise anything
            pass
        else:
            return values  # type: ignore[no-any-return]
    raise InputError(f"{name} must be a list, not {shown(values)}.")
