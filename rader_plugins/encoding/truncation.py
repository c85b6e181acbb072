"""Which texts an encoder cut because they were longer than its recipe reads."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Sequence

__all__ = ["collect_truncated", "report_truncated"]

_collected: contextvars.ContextVar[set[str] | None] = contextvars.ContextVar("rader_truncated_texts", default=None)


@contextlib.contextmanager
def collect_truncated() -> Iterator[set[str]]:
    """Give a set to which encoders add every text that they cut while the block runs, in whichever thread.

    Example:
        >>> with collect_truncated() as texts:
        ...     report_truncated(["a text that was cut"])
        >>> sorted(texts)
        ['a text that was cut']
    """
    texts: set[str] = set()
    token = _collected.set(texts)
    try:
        yield texts
    finally:
        _collected.reset(token)


def report_truncated(texts: Sequence[str]) -> None:
    """Tell who collects them that these texts, as they were given, were cut."""
    collected = _collected.get()
    if collected is not None:
        collected.update(texts)
