"""Sample sets as they lie on disk, memory-mapped: one or several, each in its own format."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError, RaderError, import_extra
from rader_plugins.sample_files import sample_files
from rader_plugins.samples import Sample
from rader_training.data.formats import Format, find_format

__all__ = ["SampleRows", "load_samples", "quiet_datasets"]

_BLOCK = 256
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class SampleRows:
    """The samples of some sets, one set after the other.

    Args:
        tables: Memory-mapped rows and format of each set.
    """

    def __init__(self, tables: Sequence[tuple[Any, Format]]) -> None:
        self._tables = list(tables)
        self._starts = list(itertools.accumulate((len(table) for table, _ in tables), initial=0))

    @property
    def formats(self) -> list[str]:
        """Name of the format of each set."""
        return [form.name for _, form in self._tables]

    @property
    def unread(self) -> list[str]:
        """The columns of any set that training does not read."""
        return list(dict.fromkeys(name for _, form in self._tables for name in form.unread))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> Sample:
        number_of_set = self.set_of(number)
        table, form = self._tables[number_of_set]
        row = number - self._starts[number_of_set]
        return form.read(table[row], row)

    def __iter__(self) -> Iterator[Sample]:
        for table, form in self._tables:
            number = 0
            for block in table.iter(batch_size=_BLOCK):  # many times faster than row by row
                for values in zip(*block.values(), strict=True):
                    yield form.read(dict(zip(block, values, strict=True)), number)
                    number += 1

    def set_of(self, number: int) -> int:
        """Return which set a row is of, counted from 0."""
        return next(index for index, start in enumerate(self._starts[1:]) if number < start)


def load_samples(
    samples: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], cache: Path, split: str = "train"
) -> SampleRows:
    """Open sample sets: folders, Parquet or JSONL files, data sets on the hub.

    Args:
        samples: What ``rader samples`` wrote, a file of it, a JSONL file of Tevatron, FlagEmbedding or
            sentence-transformers, or a hub id; or several of these.
        cache: Where the memory-mapped copy of what is no Arrow file goes.
        split: Which split of a folder or data set.

    Raises:
        InputError: There is nothing, it is no data set, or has none of the columns that are read.
    """
    paths = [samples] if isinstance(samples, str | os.PathLike) else list(samples)
    if not paths:
        raise InputError("Name at least one set of samples.")
    return SampleRows([_load(os.fspath(path), cache, split) for path in paths])


def _load(name: str, cache: Path, split: str) -> tuple[Any, Format]:
    datasets = import_extra("datasets", "training")
    try:
        with quiet_datasets():
            if not Path(name).exists() and name.count("/") == 1 and not name.startswith((".", "~")):
                rows = datasets.load_dataset(name, split=split)
            else:
                files = [str(file) for file in sample_files(name, split)]
                kind = "parquet" if files[0].endswith(".parquet") else "json"
                rows = datasets.load_dataset(kind, data_files=files, split="train", cache_dir=str(cache))
                if kind == "json":
                    rows.data.validate(full=True)  # texts that are no UTF-8 pass its reader
    except InputError:
        raise
    except Exception as error:  # of datasets and of what it reads with; the reason is the first of them
        reason: BaseException = error
        while reason.__cause__ is not None:
            reason = reason.__cause__
        if isinstance(reason, OSError) and reason.errno in _NO_ROOM:
            raise RaderError(
                f"The samples cannot be prepared in {cache}: {reason.strerror}. Make room, or name another --out."
            ) from error
        if isinstance(reason, StopIteration) or not str(reason):
            raise InputError(f"{name!r} holds no samples: there are no rows to train on.") from error
        raise InputError(
            f"{name!r} cannot be loaded as training samples: {reason}. Samples are JSONL in UTF-8, or Parquet."
        ) from error
    if not len(rows):
        raise InputError(f"{name!r} holds no samples: there are no rows to train on.")
    form = find_format(rows.column_names, repr(name))
    # The texts are not read a second time under Tevatron's names.
    twice = {
        tevatron
        for ours, tevatron in (("positives", "positive_passages"), ("negatives", "negative_passages"))
        if ours in rows.column_names and not rows.data.column(ours).null_count
    }
    return rows.select_columns([column for column in form.columns if column not in twice]), form


@contextlib.contextmanager
def quiet_datasets() -> Iterator[None]:
    """Switch the progress bars of datasets off where no one watches."""
    datasets = import_extra("datasets", "training")
    switch = datasets.is_progress_bar_enabled() and not (sys.stderr is not None and sys.stderr.isatty())
    if switch:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if switch:
            datasets.enable_progress_bars()
