"""Files: atomic writes, JSONL and fingerprints.

Everything that the library writes beside SQLite databases goes through :func:`atomic_write`, so that a reader sees
either the old file or the new one, whenever the writer is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from rader_plugins.errors import InputError

__all__ = [
    "atomic_write",
    "canonical_json",
    "fingerprint",
    "read_jsonl",
    "sampled_digest",
    "sha256_file",
    "sync_folder",
    "write_jsonl",
]


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path`` for writing bytes; on success fsync it and rename it over ``path``.

    On any exception the temporary file is removed and ``path`` is untouched.
    """
    target = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files that only the owner may read; an index or a run is meant to be shared like any file.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make a rename or a new name in ``folder`` durable, where the system can (POSIX)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSONL file; blank lines are skipped.

    Raises:
        InputError: A line is not a JSON object or not UTF-8; the message names file and line.
    """
    with Path(path).open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}, line {number} is not JSON: {error}") from None
            if not isinstance(row, dict):
                raise InputError(f"{path}, line {number} holds {type(row).__name__}, not a JSON object.")
            yield row


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSONL, atomically; return how many."""
    count = 0
    with atomic_write(path) as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n")
            count += 1
    return count


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces: equal values give equal strings."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: object) -> str:
    """Return 32 hexadecimal digits of the SHA-256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()[:32]


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sampled_digest(path: str | os.PathLike[str], samples: int = 64, size: int = 4096) -> str:
    """Return a digest of a file's length and of evenly spread blocks of it.

    It tells retrained weights from the old ones without reading gigabytes; it is no protection against forgery.
    """
    file = Path(path)
    length = file.stat().st_size
    digest = hashlib.sha256(str(length).encode())
    with file.open("rb") as stream:
        for sample in range(samples):
            stream.seek(max(0, length - size) * sample // max(1, samples - 1))
            digest.update(stream.read(size))
    return digest.hexdigest()
