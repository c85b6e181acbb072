"""What an index remembers of how it was built: another chunking or source is noticed, and needs a yes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rader_plugins.documents import Document
from rader_plugins.errors import IndexCorruptError, InputError
from rader_plugins.files import atomic_write, read_text
from rader_plugins.index.home import BUILD_RECORD
from rader_plugins.ingestion.chunking import Chunking, parent_id
from rader_plugins.ingestion.source import Source, open_source
from rader_plugins.ingestion.stores import Location, StorePath
from rader_plugins.ingestion.tables import TableColumns

__all__ = ["BuildRecord", "resolve_chunking"]

_SCHEMA = "rader-build/1"


@dataclass(frozen=True)
class BuildRecord:
    """How an index was built.

    Args:
        chunking: How its texts were split; None if they are whole.
        source: Absolute path of what it was built from, or its URL without what is secret in it; None if it was only
            added to. Of several, each has a line.
        globs, encoding, follow_links: How that was read.
        mounts: Folders below the source, relative, on which other file systems were mounted.
        columns: What the columns of its tables are for; None if tables are texts.
    """

    chunking: Chunking | None = None
    source: str | None = None
    globs: tuple[str, ...] = ()
    encoding: str | None = None
    follow_links: bool = False
    mounts: tuple[str, ...] = ()
    columns: TableColumns | None = None

    @classmethod
    def read(cls, folder: Path) -> BuildRecord | None:
        """Return the record of an index; None if it has none.

        Raises:
            IndexCorruptError: The record is damaged.
        """
        path = folder / BUILD_RECORD
        if not path.is_file():
            return None
        return cls.from_json(read_text(path), str(path))

    @classmethod
    def from_json(cls, text: str, where: str) -> BuildRecord:
        """Read what :meth:`to_json` gave; ``where`` is what a message calls it.

        Raises:
            IndexCorruptError: It is something else.
        """
        try:
            values = json.loads(text)
            if values.pop("schema") != _SCHEMA:
                raise ValueError("another schema")
            chunking = values.pop("chunking")
            values |= {name: tuple(values[name]) for name in ("globs", "mounts")}
            if columns := values.pop("columns", None):
                values["columns"] = TableColumns(tuple(columns["text"]), columns["id"])
            return cls(Chunking(**chunking) if chunking else None, **values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IndexCorruptError(
                f"{where} is damaged ({error}). Remove it, and name --chunk-size (if any) at the next build."
            ) from None

    def write(self, folder: Path) -> None:
        """Store the record in an index's folder, atomically."""
        with atomic_write(folder / BUILD_RECORD) as stream:
            stream.write(self.to_json())

    def to_json(self) -> bytes:
        """Return the record as JSON."""
        row = {"schema": _SCHEMA, **asdict(self)}
        return json.dumps(row, indent=2, ensure_ascii=False).encode("utf-8", "replace") + b"\n"

    def open_source(self, path: Location, opener: Callable[..., Source] = open_source) -> Source:
        """Find out what a path is, to be read in this way."""
        return opener(
            path,
            self.globs,
            self.chunking,
            encoding=self.encoding,
            follow_links=self.follow_links,
            columns=self.columns,
        )

    def lost_mounts(self, source: Location) -> list[str]:
        """Return the folders of the source that were mounted when the index was built, and are no longer."""
        if isinstance(source, StorePath):
            return []
        return [mount for mount in self.mounts if not os.path.ismount(source / mount)]


def resolve_chunking(
    record: BuildRecord | None, stored: Iterable[Document], requested: Chunking | None, *, rechunk: bool
) -> Chunking | None:
    """Return how the texts of an index are to be split.

    Args:
        record: What the index remembers.
        stored: Documents of the index, looked at only where it remembers nothing.
        requested: What the user names, if anything.
        rechunk: Whether another chunking than before is wanted; without ``requested``, whole documents.

    Raises:
        InputError: Another chunking would throw the stored vectors away, and ``rechunk`` does not say yes to that.
    """
    if rechunk:
        return requested
    if record is not None:
        if requested not in (None, record.chunking):
            raise InputError(
                f"The index was built with {_described(record.chunking)}, not {_described(requested)}. Leave "
                "--chunk-size out to go on as before, or say --rechunk: then what is read is split and encoded anew."
            )
        return record.chunking
    split = next((parent_id(document) != document.id for document in stored), None)
    if split is None or split == (requested is not None):
        return requested
    if split:
        raise InputError(
            "The index holds chunks, and does not remember their size: name it with --chunk-size (and "
            "--chunk-overlap), or say --rechunk, which puts whole documents in their place."
        )
    raise InputError(
        "The index was built with whole documents. Leave --chunk-size out to go on as before, or say --rechunk: then "
        "all that is read is split and encoded anew."
    )


def _described(chunking: Chunking | None) -> str:
    if chunking is None:
        return "whole documents"
    return f"chunks of {chunking.size:,} characters" + (f", {chunking.overlap:,} shared" if chunking.overlap else "")
