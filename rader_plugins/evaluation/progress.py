"""Finished calls of an evaluation, on disk where it has a folder, so that one that was killed goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rader_plugins.run_folders import Journal, RunFolder

__all__ = ["Progress"]

_FILE = "progress.jsonl"
_SYNC_EVERY = 10.0
# An upgrade of a library does not strand a run: the manifest of what comes out says with what it was finished.
_UNCOMPARED = ("versions", "fingerprint")
# How every index of version 0.1 read words; its manifests do not say so.
_WORDS_BEFORE = {"language": "english", "identifiers": False, "compatibility": False}


class Progress:
    """Keeps one row per finished call.

    Args:
        folder: The folder that the rows are written to; None keeps them in memory alone.
        manifest: What makes the results; a folder with another manifest is refused.

    Attributes:
        rows: Those of this call and of calls before that were killed, oldest first.
    """

    def __init__(self, folder: Path | None, manifest: Mapping[str, Any]) -> None:
        self._folder = folder
        self._manifest = manifest
        self._journal: Journal | None = None
        self.rows: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def opened(self) -> Iterator[Progress]:
        """Read what is there, then take :meth:`add` calls until the block ends.

        Raises:
            InputError: The folder belongs to another evaluation, or another process is writing to it.
        """
        if self._folder is None:
            yield self
            return
        home = RunFolder(
            self._folder,
            self._manifest,
            noun="evaluation",
            settings_file=_FILE,
            settings_key="manifest",
            uncompared=_UNCOMPARED,
            absent=_absent_before(self._manifest),
        )
        with home.opened(), home.journal(_FILE, sync_every=_SYNC_EVERY).opened() as journal:
            self.rows = [row for _, row in journal.rows()]
            self._journal = journal
            try:
                yield self
            finally:
                self._journal = None

    def add(self, row: dict[str, Any]) -> None:
        """Keep one finished call. It survives a kill of this process."""
        if self._journal is not None:
            self._journal.append(row)
        self.rows.append(row)


def _absent_before(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a manifest says of how indexes read words, wherever it does, as version 0.1 would have."""
    absent: dict[str, Any] = {}
    for key, value in manifest.items():
        if not isinstance(value, Mapping):
            continue
        if inner := _WORDS_BEFORE if key == "bm25" and "query_weighted" in value else _absent_before(value):
            absent[key] = inner
    return absent
