"""A source is read through before anything is encoded, so that what is unusable costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.ingestion.findings import Findings, Kind
from rader_plugins.ingestion.source import Source

__all__ = ["Progress", "Survey", "no_progress", "survey"]

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], Any]]]
"""Takes a label and a total (None: unknown) and gives a function that advances a bar by so many steps."""


def no_progress(label: str, total: int | None = None) -> AbstractContextManager[Callable[[int], Any]]:
    """Show nothing."""
    return nullcontext(lambda steps: None)


@dataclass(frozen=True)
class Survey:
    """A source that was read through once and is usable.

    Attributes:
        source: The source.
        origins: Id of every document -> number for :meth:`Source.origin`.
        findings: What was left out, mended or guessed.
    """

    source: Source
    origins: dict[str, int] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)


def survey(source: Source, *, progress: Progress = no_progress) -> Survey:
    """Read a source through.

    Raises:
        InputError: An id stands twice (both origins are named), a document is unusable, or there are none.
    """
    from rader_plugins.index.adding import prepare

    result = Survey(source)
    with progress("Reading", None) as advance:
        for number, document in source.read(result.findings):
            try:
                prepare(document)
            except InputError as error:
                raise InputError(f"{source.origin(number)}: {error}") from None
            first = result.origins.setdefault(document.id, number)
            if first != number:
                raise InputError(
                    f"The id {document.id!r} stands twice: {source.origin(first)} and {source.origin(number)}. "
                    "Nothing was encoded; make ids unique."
                )
            advance(1)
    if not result.origins:
        raise InputError(f"{source.path} holds no documents{_reasons(result.findings)}.")
    return result


def _reasons(findings: Findings) -> str:
    parts = []
    texts: dict[Kind, str] = {"empty": "without text", "binary": "not text", "unreadable": "unreadable"}
    for kind, what in texts.items():
        names = findings.names.get(kind, {})
        if names:
            name, detail = next(iter(names.items()))
            parts.append(f"{len(names):,} {what}, such as {name}" + (f": {detail}" if detail else ""))
    return f" ({'; '.join(parts)})" if parts else ""
