"""Listening to streams: the application reads through these, so they pass on everything, errors included."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, TypeAlias

__all__ = ["Ended", "alisten", "listen"]

Ended: TypeAlias = "Callable[[list[str], BaseException | None], Any]"
"""Gets what was read of a stream, and what ended it: None at its end, ``GeneratorExit`` where it is not read on."""


def listen(stream: Generator[str, None, None], ended: Ended) -> Generator[str, None, None]:
    """Yield what a stream yields, and tell once it has ended."""
    tokens: list[str] = []
    error: BaseException | None = None
    try:
        for token in stream:
            tokens.append(token)
            yield token
    except BaseException as caught:
        error = caught
        raise
    finally:
        ended(tokens, error)


async def alisten(stream: AsyncGenerator[str, None], ended: Ended) -> AsyncGenerator[str, None]:
    """As :func:`listen`, for a stream that is read by ``async for``."""
    tokens: list[str] = []
    error: BaseException | None = None
    try:
        async for token in stream:
            tokens.append(token)
            yield token
    except BaseException as caught:
        error = caught
        raise
    finally:
        ended(tokens, error)
