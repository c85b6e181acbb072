"""Rows of Parquet files as documents, by the keys that rows of JSONL have."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from rader_plugins.documents import Document
from rader_plugins.errors import import_extra
from rader_plugins.ingestion.findings import Findings
from rader_plugins.ingestion.rows import parse_row, row_fault
from rader_plugins.ingestion.stores import Location, StorePath

__all__ = ["PARQUET_SUFFIX", "group_count", "noting_faults", "read_parquet"]

PARQUET_SUFFIX = ".parquet"


@contextlib.contextmanager
def noting_faults(file: Location, name: str, findings: Findings) -> Iterator[None]:
    """Note that a file of rows cannot be read (any further).

    Raises:
        SourceError: The store that it is in is not reached.
    """
    try:
        with file.store.faults() if isinstance(file, StorePath) else contextlib.nullcontext():
            yield
    except OSError as error:
        findings.add("unreadable", name, error.strerror or str(error))


def read_parquet(
    file: Location, name: str, id_keys: Sequence[str], findings: Findings, groups: range | None = None
) -> Iterator[tuple[str, Document]]:
    """Yield where each usable row stands and its document.

    A row without an id, or with another fault, is noted and left out, and so is a file that is damaged.

    Args:
        file: The Parquet file to read.
        name: What it is called in findings.
        id_keys: Keys that may name the document, the first of them that is there.
        findings: Where faults are noted.
        groups: Row groups to read; None for all. What it has beyond the file is ignored.

    Raises:
        MissingExtraError: pyarrow is not installed.
        SourceError: The store that it is in is not reached.
    """
    library = import_extra("pyarrow.parquet", "ray", "hub")
    with noting_faults(file, name, findings), _damage(), _stream(file) as stream:
        parquet = library.ParquetFile(stream)
        for group in range(parquet.num_row_groups)[slice(groups.start, groups.stop) if groups else slice(None)]:
            for number, row in enumerate(parquet.read_row_group(group).to_pylist(), start=1):
                label = f"row {number:,} of group {group:,}"
                values = {key: value for key, value in row.items() if value is not None}
                yield from ((label, document) for document in _row(values, id_keys, f"{name}, {label}", findings))


def group_count(file: Location) -> int | None:
    """Return how many row groups a Parquet file has; None if it cannot be read, which its reader will say.

    Raises:
        MissingExtraError: pyarrow is not installed.
        SourceError: The store that it is in is not reached.
    """
    library = import_extra("pyarrow.parquet", "ray", "hub")
    findings = Findings()
    with noting_faults(file, "", findings), _damage(), _stream(file) as stream:
        return int(library.ParquetFile(stream).metadata.num_row_groups)
    return None


def _row(values: dict[str, Any], id_keys: Sequence[str], label: str, findings: Findings) -> Iterator[Document]:
    of_row = Findings()
    try:
        document = parse_row(json.dumps(values, allow_nan=False), id_keys, None, of_row)
    except (ValueError, TypeError, RecursionError) as error:
        findings.add("faulty", label, row_fault(error))
        return
    findings.take(of_row)
    yield document


def _stream(file: Location) -> Any:
    return file.open("rb")


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """Make errors of the system of those by which pyarrow says that a file is damaged."""
    library = import_extra("pyarrow", "ray", "hub")
    try:
        yield
    except library.ArrowException as error:
        raise OSError(f"damaged, or no Parquet ({str(error).splitlines()[0][:160]})") from None
