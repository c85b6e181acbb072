"""A process that reads files, one after the other: what a reader does to it is done to it alone.

It takes a JSON object a line on the standard input and answers each with one on the standard output.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from rader_plugins.ingestion.chunking import Chunking
from rader_plugins.ingestion.file_reading import FileContent, FileReader
from rader_plugins.ingestion.tables import TableColumns

__all__ = ["content_row", "main", "reader_from_row"]

_GRACE = 30  # seconds after which a process whose parent is gone ends by itself


def reader_from_row(row: dict[str, Any]) -> FileReader:
    """Return the reader that :func:`dataclasses.asdict` made a row of."""
    chunking, columns = row["chunking"], row["columns"]
    return FileReader(
        Chunking(**chunking) if chunking else None,
        row["encoding"],
        TableColumns(tuple(columns["text"]), columns["id"]) if columns else None,
    )


def content_row(content: FileContent) -> dict[str, Any]:
    """Return what a file gave as a JSON object."""
    return {
        "documents": [[document.id, document.text, dict(document.metadata)] for document in content.documents],
        "findings": content.findings.to_dict(empty=False),
        "replaced": content.findings.replaced,
        "sha256": content.sha256,
    }


def main() -> None:
    """Read files until the standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what a library prints is no answer
    settings = json.loads(sys.stdin.readline())
    reader = reader_from_row(settings["reader"])
    _limit_memory(settings["memory"])
    for line in sys.stdin:
        request = json.loads(line)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, settings["seconds"] + _GRACE)
        content = reader.read(Path(request["path"]), request["name"])
        answers.write(json.dumps(content_row(content)) + "\n")
        answers.flush()


def _limit_memory(size: int) -> None:
    """Let requests for more memory fail in this process, where the system can do that."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))


if __name__ == "__main__":
    main()
