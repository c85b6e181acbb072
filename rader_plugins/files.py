"""Files: atomic writes, JSONL and fingerprints.

Everything that the library writes beside SQLite databases goes through :func:`atomic_write`, so that a reader sees
either the old file or the new one, whenever the writer is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from rader_plugins.arguments import check_path, iterate
from rader_plugins.errors import InputError, import_extra
from rader_plugins.text_files import read_lines, read_text

__all__ = [
    "as_utf8",
    "atomic_write",
    "canonical_json",
    "differences",
    "fingerprint",
    "naming",
    "read_jsonl",
    "read_lines",
    "read_text",
    "read_toml",
    "sampled_digest",
    "sha256_file",
    "sync_folder",
    "write_json",
    "write_jsonl",
]

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put the name of a file into what the system says of a full disk, which is no more than that it is full."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path`` for writing bytes; on success fsync it and rename it over ``path``.

    On any exception the temporary file is removed and ``path`` is untouched.

    Raises:
        InputError: ``path`` is a folder or a device, which a rename must not replace.
    """
    target = check_path(path, "path")
    if target.exists() and not target.is_file():
        what = "a folder" if target.is_dir() else "a device or a pipe"
        raise InputError(f"{target} is {what}, no file that could be replaced. Name a file.")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    except OSError as error:
        error.filename = str(target)  # nobody has heard of the temporary file
        raise
    temporary = Path(name)
    try:
        with naming(target), os.fdopen(handle, "wb") as stream:
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
        InputError: A line is not a JSON object, or neither UTF-8 nor what a byte order mark says; the message names
            file and line.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number} holds {type(row).__name__}, not a JSON object.")
        yield row


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        InputError: It cannot be read, is not TOML, or is encoded otherwise; the message names the file.
        MissingExtraError: Python is older than 3.11 and ``tomli`` is not installed.
    """
    if sys.version_info >= (3, 11):
        import tomllib as toml
    else:
        toml = import_extra("tomli", "synthesis", "training")
    try:
        tables: dict[str, Any] = toml.loads(read_text(path).replace("\r\n", "\n"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except InputError:  # of the encoding
        raise
    except (ValueError, RecursionError) as error:  # of the parser
        raise InputError(f"{path} is not TOML: {error}.") from None
    return tables


def as_utf8(text: str) -> bytes:
    r"""Encode a text; halves of characters, such as file names of another encoding have, are escaped: ``\\udcff``.

    JSON reads them back as they were.
    """
    return text.encode("utf-8", "backslashreplace")


def write_json(path: str | os.PathLike[str], content: object) -> None:
    """Write a value as JSON that people can read, atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as stream:
        stream.write(as_utf8(text) + b"\n")


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSONL, atomically; return how many."""
    count = 0
    with atomic_write(path) as stream:
        for row in iterate(rows, "rows"):
            try:
                stream.write(as_utf8(json.dumps(row, ensure_ascii=False, allow_nan=False)) + b"\n")
            except (TypeError, ValueError, RecursionError) as error:
                raise InputError(f"Row {count + 1} cannot be written as JSON: {error}.") from None
            count += 1
    return count


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces: equal values give equal strings."""
    return _ENCODER.encode(value)


def fingerprint(value: object) -> str:
    """Return 32 hexadecimal digits of the SHA-256 of the canonical JSON of ``value``."""
    return hashlib.sha256(as_utf8(canonical_json(value))).hexdigest()[:32]


def differences(before: Any, now: Any, where: str = "") -> list[str]:
    """Say where two JSON values differ: ``key.of.the.value (before, now after)``, none if they are equal.

    Example:
        >>> differences({"seed": 1, "model": "a"}, {"seed": 2, "model": "a"})
        ['seed (1, now 2)']
    """
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            difference
            for key in sorted(before.keys() | now.keys())
            for difference in differences(before.get(key), now.get(key), f"{where}.{key}" if where else key)
        ]
    return [] if canonical_json(before) == canonical_json(now) else [f"{where} ({_short(before)}, now {_short(now)})"]


def _short(value: Any) -> str:
    text = canonical_json(value)
    return text if len(text) <= 40 else text[:37] + "..."


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
