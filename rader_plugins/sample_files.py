"""Files of training samples: the Parquet folder that ``datasets`` reads, and Tevatron's JSONL.

A folder holds ``data/<split>-*.parquet`` with the columns of :meth:`rader_plugins.samples.Sample.row`, and
``tevatron/<split>.jsonl`` with Tevatron's columns alone. Both are written and read a few rows at a time, so that memory
does not grow with their number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from rader_plugins.errors import InputError, import_extra
from rader_plugins.files import read_jsonl, sync_folder
from rader_plugins.samples import Sample

__all__ = ["SampleWriter", "read_samples", "sample_files", "sample_splits"]

_PASSAGE = ("id", "title", "text", "origin")
_TEVATRON_PASSAGE = ("docid", "title", "text")
_TEXTS = ("schema", "query_id", "query", "query_kind", "problem_id", "trajectory_id", "provenance")
_ROWS_AT_ONCE = 1024
_CHARACTERS_AT_ONCE = 4 << 20


class SampleWriter:
    """Writes samples into a folder, as they come. The same samples give the same bytes.

    What was added is there for good once the block has ended; a block that fails leaves files that are not complete.
    Whoever needs all or nothing writes into a folder of another name and renames it.

    Args:
        folder: An empty folder, or one to make.
        rows_per_shard: Samples in a Parquet file.

    Raises:
        InputError: The folder holds samples already.
        MissingExtraError: The extra ``hub`` is not installed.

    Example:
        >>> with SampleWriter("samples") as writer:  # doctest: +SKIP
        ...     writer.add("train", sample)
        >>> next(read_samples("samples", "train")).query  # doctest: +SKIP
        'What is the fewest guests so that three share a hobby?'
    """

    def __init__(self, folder: str | os.PathLike[str], *, rows_per_shard: int = 20_000) -> None:
        if rows_per_shard < 1:
            raise InputError(f"rows_per_shard must be at least 1, not {rows_per_shard}.")
        import_extra("pyarrow.parquet", "hub")
        self.folder = Path(folder)
        self._rows_per_shard = rows_per_shard
        self._splits: dict[str, _Split] = {}
        if any(self.folder.glob("data/*.parquet")) or any(self.folder.glob("tevatron/*.jsonl")):
            raise InputError(f"{self.folder} holds samples already. Choose another folder, or delete it first.")
        for name in ("data", "tevatron"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def counts(self) -> dict[str, int]:
        """How many samples each split has."""
        return {name: split.rows for name, split in self._splits.items()}

    def add(self, split: str, sample: Sample) -> None:
        """Append a sample to a split, ``train`` or ``validation``.

        Raises:
            InputError: The name of the split is no plain word, or the provenance is not JSON.
            OSError: The disk is full, or worse.
        """
        if split not in self._splits:
            if not split.isidentifier():
                raise InputError(f"The name of a split is a plain word such as 'train', not {split!r}.")
            self._splits[split] = _Split(self.folder, split, self._rows_per_shard)
        self._splits[split].add(sample)

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for split in self._splits.values():
            split.close(complete=error is None)


class _Split:
    """The open files of one split."""

    def __init__(self, folder: Path, name: str, rows_per_shard: int) -> None:
        self.rows = 0
        self._folder, self._name, self._rows_per_shard = folder / "data", name, rows_per_shard
        self._waiting: list[dict[str, Any]] = []
        self._characters = 0
        self._shards: list[Path] = []
        self._parquet: Any = None
        self._in_shard = 0
        self._jsonl: IO[bytes] = (folder / "tevatron" / f"{name}.jsonl").open("wb")

    def add(self, sample: Sample) -> None:
        row = sample.row()
        line = json.dumps(sample.tevatron_row(), ensure_ascii=False).encode("utf-8")
        self._jsonl.write(line + b"\n")
        self._waiting.append(row)
        self._characters += len(line)
        self.rows += 1
        full = self._in_shard + len(self._waiting) >= self._rows_per_shard
        if full or len(self._waiting) >= _ROWS_AT_ONCE or self._characters >= _CHARACTERS_AT_ONCE:
            self._flush()
        if full:
            self._end_shard()

    def _flush(self) -> None:
        if not self._waiting:
            return
        pyarrow, parquet = import_extra("pyarrow", "hub"), import_extra("pyarrow.parquet", "hub")
        schema = _schema()
        if self._parquet is None:
            path = self._folder / f"{self._name}-{len(self._shards):05d}.parquet"
            self._shards.append(path)
            self._parquet = parquet.ParquetWriter(path, schema, compression="zstd")
        self._parquet.write_table(pyarrow.Table.from_pylist(self._waiting, schema=schema))
        self._in_shard += len(self._waiting)
        self._waiting, self._characters = [], 0

    def _end_shard(self) -> None:
        if self._parquet is not None:
            self._parquet.close()
        self._parquet, self._in_shard = None, 0

    def close(self, *, complete: bool) -> None:
        try:
            if complete:
                self._flush()
        finally:
            self._end_shard()
            self._jsonl.close()
        if not complete:
            return
        for number, path in enumerate(self._shards):
            of = f"{self._name}-{number:05d}-of-{len(self._shards):05d}.parquet"
            path.rename(path.with_name(of))
        for file in (*self._folder.iterdir(), Path(self._jsonl.name)):
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        sync_folder(self._folder)


def _schema() -> Any:
    """One schema for all rows: without it a shard whose negatives are all missing would get another one."""
    pyarrow = import_extra("pyarrow", "hub")

    def passages(names: tuple[str, ...]) -> Any:
        return pyarrow.list_(pyarrow.struct([(name, pyarrow.string()) for name in names]))

    columns: dict[str, Any] = {name: pyarrow.string() for name in _TEXTS[:-1]}
    columns["weight"] = pyarrow.float64()
    columns |= {"positives": passages(_PASSAGE), "negatives": passages(_PASSAGE), "provenance": pyarrow.string()}
    columns |= {name: passages(_TEVATRON_PASSAGE) for name in ("positive_passages", "negative_passages")}
    return pyarrow.schema(list(columns.items()))


def sample_files(path: str | os.PathLike[str], split: str = "train") -> list[Path]:
    """Return the files that hold a split, in their order.

    Args:
        path: A folder of samples, or a Parquet or JSONL file, which is a split of its own.
        split: Which part of a folder.

    Raises:
        InputError: There is no such file or split; the message names the splits that there are.
    """
    source = Path(path)
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InputError(f"There is no file or folder {source}. Samples are what `rader samples` writes.")
    split_files = _split_files(source)
    if not split_files:
        raise InputError(f"{source} holds no samples: no data/*.parquet, *.parquet or *.jsonl.")
    if split not in split_files:
        raise InputError(f"{source} has no split {split!r}; it has {', '.join(sorted(split_files))}.")
    return split_files[split]


def sample_splits(folder: str | os.PathLike[str]) -> list[str]:
    """Return the names of the splits in a folder; none if it holds no samples."""
    return sorted(_split_files(Path(folder)))


def _split_files(folder: Path) -> dict[str, list[Path]]:
    """Return the files of every split, in their order."""
    for home, pattern in (
        (folder / "data", "parquet"),
        (folder, "parquet"),
        (folder, "jsonl"),
        (folder / "tevatron", "jsonl"),
    ):
        splits: dict[str, list[Path]] = {}
        for file in sorted(home.glob(f"*.{pattern}")):
            splits.setdefault(_split_of(file), []).append(file)
        if splits:
            return splits
    return {}


def _split_of(file: Path) -> str:
    return file.name.split(".", 1)[0].split("-", 1)[0]


def read_samples(path: str | os.PathLike[str], split: str = "train") -> Iterator[Sample]:
    """Yield the samples of a split, a few rows in memory at a time.

    Args:
        path: A folder that :class:`SampleWriter` wrote, or a Parquet or JSONL file with our columns or Tevatron's.
        split: Which part of a folder: ``train`` or ``validation``.

    Raises:
        InputError: There is no such split, a file is damaged, or a row is unusable; the message names file and row.
        MissingExtraError: It is Parquet, and the extra ``hub`` is not installed.

    Example:
        >>> len(list(read_samples("samples", "validation")))  # doctest: +SKIP
        12
    """
    for file in sample_files(path, split):
        for number, row in enumerate(_rows(file), start=1):
            yield Sample.from_row(row, f"{file}, row {number}")


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    if file.suffix.lower() in (".jsonl", ".json", ".ndjson"):
        yield from read_jsonl(file)
        return
    if file.suffix.lower() != ".parquet":
        raise InputError(f"{file} is neither .parquet nor .jsonl.")
    pyarrow, parquet = import_extra("pyarrow", "hub"), import_extra("pyarrow.parquet", "hub")
    try:
        with parquet.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=256):
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise InputError(f"{file} is damaged or no Parquet file: {error}.") from error
