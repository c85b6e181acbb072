"""Options of a command as dataclasses: a group is stated once, and any command takes it as one argument."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, TypeVar, get_origin, get_type_hints

__all__ = ["with_option_groups"]

R = TypeVar("R")


def with_option_groups(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options of its parameters that are groups of options, in their places.

    A group is a dataclass whose fields are ``Annotated`` with Typer's options and have defaults.

    Example:
        >>> @dataclass(frozen=True)  # doctest: +SKIP
        ... class Paging:
        ...     most: Annotated[int, typer.Option("--most")] = 10
        >>> @with_option_groups  # doctest: +SKIP
        ... def show(name: str, paging: Paging = Paging()) -> None: ...
    """
    hints = get_type_hints(command, include_extras=True)
    signature = inspect.signature(command)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        kind = hints.get(parameter.name, parameter.annotation)
        if _is_group(kind):
            groups[parameter.name] = kind
            parameters += _options(kind)
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=kind))

    @functools.wraps(command)
    def expanded(**arguments: Any) -> R:
        group_values = {
            name: kind(**{field.name: arguments.pop(field.name, field.default) for field in fields(kind)})
            for name, kind in groups.items()
        }
        return command(**arguments, **group_values)

    expanded.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return expanded


def _is_group(kind: Any) -> bool:
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return False
    return all(get_origin(hint) is Annotated for hint in get_type_hints(kind, include_extras=True).values())


def _options(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(
            field.name,
            keyword,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
