"""Samples as training wants them: memory-mapped, checked, and drawn into groups."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError, import_extra
from rader_plugins.files import canonical_json
from rader_plugins.sample_files import sample_files
from rader_plugins.samples import Passage, Sample

_READ = {"schema", "query_id", "query", "query_kind", "problem_id", "trajectory_id", "positives", "negatives"}
_READ |= {"positive_passages", "negative_passages"}
_BLOCK = 256

__all__ = ["DataReport", "Group", "Groups", "load_rows", "quiet_datasets"]


@dataclass(frozen=True)
class Group:
    """A query with the passages that it is trained on, as they are encoded.

    Args:
        query: Its text.
        positive: The text of one positive.
        negatives: Texts of hard negatives.
        known: Texts of all its positives: they are no negatives of it, whosever passages they are.
        known_ids: Their ids.
        draw: What it was drawn by: differs from group to group and from epoch to epoch, and is the same again after a
            resume.
    """

    query: str
    positive: str
    negatives: tuple[str, ...]
    known: frozenset[str]
    known_ids: frozenset[str] = frozenset()
    draw: str = ""


@dataclass(frozen=True)
class DataReport:
    """What the samples are.

    Args:
        samples: How many.
        kinds: How many of each kind.
        negatives_dropped: Negatives that were a positive of the same sample.
        short_groups: Samples with fewer hard negatives than a group has places.
        without_negatives: Samples without a hard negative; a reranker is not trained on them.
        digest: Of all that is trained on.
    """

    samples: int
    kinds: Mapping[str, int]
    negatives_dropped: int
    short_groups: int
    without_negatives: int
    digest: str


def load_rows(samples: str | os.PathLike[str], cache: Path, split: str = "train") -> Any:
    """Return the rows of a samples folder, a Parquet or JSONL file, or a data set on the hub, memory-mapped.

    Args:
        samples: What ``rader samples`` wrote, a file of it, a Tevatron JSONL file, or a hub id.
        cache: Where the memory-mapped copy of what is no Arrow file goes.
        split: Which split of a folder or data set.

    Raises:
        InputError: There is nothing, or it is no data set.
    """
    datasets = import_extra("datasets", "training")
    name = os.fspath(samples)
    try:
        with quiet_datasets():
            if not Path(name).exists() and name.count("/") == 1 and not name.startswith((".", "~")):
                return _needed(datasets.load_dataset(name, split=split))
            files = [str(file) for file in sample_files(name, split)]
            kind = "parquet" if files[0].endswith(".parquet") else "json"
            return _needed(datasets.load_dataset(kind, data_files=files, split="train", cache_dir=str(cache)))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name!r} cannot be loaded as training samples: {error}") from error


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


def _needed(rows: Any) -> Any:
    """Leave out columns that are not read: the texts a second time under Tevatron's names, and what others added."""
    unread = {
        tevatron
        for ours, tevatron in (("positives", "positive_passages"), ("negatives", "negative_passages"))
        if ours in rows.column_names and not rows.data.column(ours).null_count
    }
    return rows.select_columns([name for name in rows.column_names if name in _READ - unread])


class Groups:
    """Draws groups from rows. A row gives the same group in the same epoch, however training got there.

    Args:
        rows: Of :func:`load_rows`.
        size: Passages in a group, the positive included.
        weights: How often samples of a kind are seen in an epoch.
        seed: Of what is drawn.
        hard_only: Leave samples without a hard negative out: they teach nothing where no others are used.

    Raises:
        InputError: A sample has no positive or an empty text; the message names it.
    """

    def __init__(
        self, rows: Any, *, size: int, weights: Mapping[str, float], seed: int, hard_only: bool = False
    ) -> None:
        self._rows = rows
        self._size = size
        self._seed = seed
        self.epoch = 0
        self.report, kinds = self._check(hard_only)
        self._order = _weighted(kinds, weights, seed)
        if not self._order:
            raise InputError("There are no samples to train on: all kinds that there are have the weight 0.")

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, place: int) -> Group:
        row = self._order[place]
        sample = _sample(self._rows[row], row)
        draw = f"{self._seed}/{self.epoch}/{place}"
        rng = random.Random(draw)
        positive = rng.choice(sample.positives).full_text
        known = frozenset(passage.full_text for passage in sample.positives)
        usable = [passage.full_text for passage in _negatives(sample)]
        wanted = self._size - 1
        drawn = usable if len(usable) <= wanted else rng.sample(usable, wanted)
        ids = frozenset(passage.id for passage in sample.positives)
        return Group(sample.query, positive, tuple(drawn), known, ids, draw)

    def samples(self) -> Iterator[Sample]:
        """Yield every sample that is trained on, once."""
        used = set(self._order)
        yield from (sample for number, sample in self._read() if number in used)

    def _read(self) -> Iterator[tuple[int, Sample]]:
        number = 0
        for block in self._rows.iter(batch_size=_BLOCK):  # many times faster than row by row
            for values in zip(*block.values(), strict=True):
                yield number, _sample(dict(zip(block, values, strict=True)), number)
                number += 1

    def _check(self, hard_only: bool) -> tuple[DataReport, list[str | None]]:
        """Return the report and the kind of each row; None for rows that are left out."""
        kinds: list[str | None] = []
        dropped = short = without = 0
        digest = hashlib.blake2b(digest_size=16)
        for number, sample in self._read():
            where = f"Sample {sample.query_id!r} (row {number + 1})"
            if not sample.positives:
                raise InputError(f"{where} has no positive. Leave it out.")
            if not sample.query.strip() or not all(one.full_text.strip() for one in sample.positives):
                raise InputError(f"{where} has an empty query or positive. Leave it out.")
            left = _negatives(sample)
            dropped += len(sample.negatives) - len(left)
            short += len(left) < self._size - 1
            without += not left
            kinds.append(sys.intern(sample.query_kind) if left or not hard_only else None)
            passages = [[[one.id, one.full_text] for one in some] for some in (sample.positives, sample.negatives)]
            digest.update(canonical_json([sample.query_id, sample.query, sample.query_kind, *passages]).encode())
        if not kinds:
            raise InputError("There are no samples to train on.")
        used = [kind for kind in kinds if kind is not None]
        if not used:
            raise InputError(
                f"None of the {len(kinds)} samples has a hard negative, and there are no others here. `rader samples` "
                "mines some from a corpus."
            )
        counts = dict(sorted(Counter(used).items()))
        return DataReport(len(used), counts, dropped, short, without, digest.hexdigest()), kinds


def _negatives(sample: Sample) -> list[Passage]:
    """Return the negatives without empty ones and without those that are positives, by id or by text."""
    ids = {passage.id for passage in sample.positives}
    texts = {passage.full_text for passage in sample.positives}
    return [
        one for one in sample.negatives if one.id not in ids and one.full_text not in texts and one.full_text.strip()
    ]


def _sample(row: Mapping[str, Any], number: int) -> Sample:
    fields = dict(row)
    for name in ("positive_passages", "negative_passages"):
        if isinstance(fields.get(name), str):  # the sets published with the paper hold lists as JSON texts
            try:
                fields[name] = json.loads(fields[name])
            except ValueError as error:
                raise InputError(f"Row {number + 1}: {name!r} is not JSON: {error}.") from None
    return Sample.from_row(fields, f"sample {number + 1}")


def _weighted(kinds: Sequence[str | None], weights: Mapping[str, float], seed: int) -> list[int]:
    """Return row numbers so that each kind is seen as often as its weight says; a fraction takes a part of the rows."""
    rng = random.Random(f"{seed}/weights")
    rows: list[int] = []
    for kind in dict.fromkeys(kind for kind in kinds if kind is not None):
        of_kind = [number for number, one in enumerate(kinds) if one == kind]
        weight = weights.get(kind, 1.0)
        whole, rest = int(weight), weight - int(weight)
        rows += of_kind * whole
        rows += sorted(rng.sample(of_kind, round(rest * len(of_kind))))
    return sorted(rows)
