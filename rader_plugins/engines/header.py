"""`Header`: what an engine keeps of an index as a whole, as one JSON object beside the documents."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

from rader_plugins.engines.collection import HEADER, Collection
from rader_plugins.engines.statistics import Statistics
from rader_plugins.errors import IndexCorruptError, IndexVersionError, InputError, NoIndexError
from rader_plugins.index.home import Settings

__all__ = [
    "Header", "fresh_stamp", "header_bytes", "read_header", "read_statistics", "remove_orphans", "write_statistics",
]  # fmt: skip

_STATISTICS = "statistics-"
_ORPHANED = 86_400.0  # seconds after which statistics that are not in force will not be put in force any more
_STAMPS = 1 << 29  # how many there are; twice as much, and one more, fits into 32 bits
_SCHEMA = "rader-engine/"
_VERSION = 1


@dataclass(frozen=True)
class Header:
    """One state of it.

    Attributes:
        settings: What the index was created with.
        analyzer: How the terms of its documents were found.
        stamp: What rows hold that the statistics count; 0 where there are no statistics yet.
        statistics: Name of the blob with the terms; None where there are no statistics yet.
        documents, mean_length: The numbers that belong to it.
        moment: When they were taken, in ISO 8601.
        is_exact: Whether the mean length, with which the terms of documents were weighed, is that of all of them; the
            parts of the first add() are weighed by that of the first part.
    """

    settings: Settings
    analyzer: str
    stamp: int = 0
    statistics: str | None = None
    documents: int = 0
    mean_length: float = 1.0
    moment: str | None = None
    is_exact: bool = True


def header_bytes(header: Header) -> bytes:
    """Return a header as it is stored."""
    values: dict[str, Any] = {"schema": f"{_SCHEMA}{_VERSION}", "library": version("rader-plugins"), **asdict(header)}
    return json.dumps(values).encode()


def read_header(collection: Collection) -> Header:
    """Return the header of a collection.

    Raises:
        InputError: There is none of this name, or it was not made by this library.
        IndexVersionError: A newer version of the library made it.
    """
    data = collection.read(HEADER)
    if data is None and (exists := collection.exists()):
        data = collection.read(HEADER)  # it may have been made in between
    if data is None:
        if exists:
            raise InputError(
                f"{collection.shown} is there, but was not made by rader-plugins: it is left alone. Choose another "
                "name, or delete it."
            )
        raise NoIndexError(f"{collection.shown} holds no index. create_index or `rader index build --out` makes one.")
    try:
        values = json.loads(data)
        schema = str(values["schema"])
        number = int(schema.removeprefix(_SCHEMA)) if schema.startswith(_SCHEMA) else None
    except (ValueError, KeyError, TypeError):
        number = None
    if number is None:
        raise IndexCorruptError(f"What describes the index in {collection.shown} cannot be read.")
    if number > _VERSION:
        raise IndexVersionError(
            f"{collection.shown} has the schema {schema}, made by rader-plugins {values.get('library')}; this version "
            f"({version('rader-plugins')}) reads up to {_SCHEMA}{_VERSION}. Update rader-plugins."
        )
    try:
        stored = {name: values[name] for name in Header.__dataclass_fields__ if name in values}
        return Header(**{**stored, "settings": Settings.from_values(stored["settings"])})
    except (KeyError, TypeError, ValueError) as error:
        raise IndexCorruptError(f"What describes the index in {collection.shown} is damaged: {error!r}.") from None


def fresh_stamp() -> int:
    """Return an even stamp that no row holds; the odd one after it is for rows that are written later.

    It is drawn by chance: to count it up, two that begin at once would have to agree, and engines have no counters.
    """
    return 2 * (1 + secrets.randbelow(_STAMPS))


def write_statistics(
    collection: Collection, header: Header, statistics: Statistics, *, stamp: int, is_exact: bool = True
) -> Header:
    """Store statistics, put them in force and return the header that says so.

    Args:
        collection: The collection that stores them.
        header: The newest header, which the returned one replaces.
        statistics: What replaces those before.
        stamp: What the rows hold that they count.
        is_exact: Whether their mean length is that of the documents.
    """
    name = f"{_STATISTICS}{int(time.time()):x}-{secrets.token_hex(8)}"
    collection.write(name, *statistics.pieces())
    renewed = replace(
        header,
        stamp=stamp,
        statistics=name,
        documents=statistics.documents,
        mean_length=statistics.mean_length,
        moment=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        is_exact=is_exact,
    )
    collection.write(HEADER, header_bytes(renewed))  # from now on they are in force
    if header.statistics is not None:
        collection.remove(header.statistics)
    return renewed


def remove_orphans(collection: Collection, header: Header) -> None:
    """Remove statistics that a process left which ended before it could put them in force, or was overtaken.

    Those of the last day are left alone: somebody may be about to put them in force.
    """
    for name in collection.names(_STATISTICS):
        moment = name.removeprefix(_STATISTICS).partition("-")[0]
        with contextlib.suppress(ValueError):
            if name != header.statistics and "-" in name[len(_STATISTICS) :] and _is_old(int(moment, 16)):
                collection.remove(name)


def _is_old(moment: int) -> bool:
    return time.time() - moment > _ORPHANED


def read_statistics(collection: Collection, header: Header) -> Statistics | None:
    """Return the statistics of a header; None where another header is in force meanwhile.

    Raises:
        IndexCorruptError: They are damaged.
    """
    if header.statistics is None:
        return Statistics.empty()
    data = collection.read(header.statistics)
    if data is None:
        return None
    return Statistics.from_bytes(data, header.documents, header.mean_length)
