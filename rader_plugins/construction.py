"""`ByConstruction`: objects that are pickled as the call that made them, and shared where they are copied."""

from __future__ import annotations

import logging
from typing import Any

from typing_extensions import Self

__all__ = ["ByConstruction", "announce_loading"]

_LOADING = logging.getLogger("rader_plugins.loading")


def announce_loading(name: str) -> None:
    """Log that a model is about to be loaded, before libraries are imported for it; commands show it on a terminal.

    Args:
        name: What the model is called.
    """
    _LOADING.info("Loading %s ...", name)


class ByConstruction:
    """A base for what holds models, connections, threads or locks: a pickle holds how to make it, not what it holds.

    So encoders, rerankers and clients reach spawned workers: there the model is loaded again, or the connection opened.
    Counts begin anew. A copy is the object itself: it is made for many threads, and its weights are large.
    """

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Remember the arguments."""
        instance = super().__new__(cls)
        instance._arguments = (arguments, options)
        return instance

    def __reduce__(self) -> tuple[Any, ...]:
        arguments, options = self._arguments
        return _construct, (type(self), arguments, options)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _construct(cls: type, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return cls(*arguments, **options)
