"""What importers share: rows with their place, names, counts of what was left out, and the documents of a corpus."""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.recording.results import split_title, without_repeats
from rader_plugins.trajectories import Considered, Step, Trajectory

__all__ = [
    "Corpus",
    "FileImporter",
    "ImportReport",
    "Names",
    "Paths",
    "Row",
    "RowImporter",
    "first_of",
    "first_text",
    "read_rows",
    "reward_of",
    "settle_steps",
    "title_and_text",
]

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass
class ImportReport:
    """What became of the rows.

    Args:
        rows: Rows that were read.
        trajectories: Trajectories that were made.
        skipped: Why rows, or trajectories of rows, were left out, and how many.
        notes: What was mended or is worth knowing, and how often.
        first_faults: The first messages about rows that could not be used, at most ten.
    """

    rows: int = 0
    trajectories: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    first_faults: list[str] = field(default_factory=list)

    def fault(self, error: Exception) -> None:
        """Count a row that could not be used."""
        self.skipped["faulty row"] += 1
        if len(self.first_faults) < 10:
            self.first_faults.append(str(error))


@dataclass(frozen=True)
class Row:
    """A row that has not been parsed yet, and where it stands.

    Args:
        path: Of its file.
        number: Counted from 1: its line, or its place in a JSON list.
        content: Bytes of a line, or a value that is parsed already.
    """

    path: Path
    number: int
    content: Any

    @property
    def where(self) -> str:
        """How to call it in messages."""
        return f"{self.path}, row {self.number}"

    @property
    def name(self) -> str:
        """An id for a row that has none: ``<file>#<number>``."""
        return f"{self.path.stem}#{self.number}"

    def value(self) -> Any:
        """Return the JSON value.

        Raises:
            InputError: It is not JSON.
        """
        return _load(self.content, self.where) if isinstance(self.content, bytes) else self.content


def read_rows(path: str | os.PathLike[str]) -> Iterator[Row]:
    """Yield the rows of a file: lines of JSONL one at a time, or the elements of one JSON value (``.json``).

    Raises:
        InputError: There is no such file, or a ``.json`` file is not JSON.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file} is not a file.")
    if file.suffix.lower() == ".json":
        value = _load(file.read_bytes(), str(file))
        for number, element in enumerate(value if isinstance(value, list) else [value], start=1):
            yield Row(file, number, element)
        return
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield Row(file, number, line)


def _load(content: bytes, where: str) -> Any:
    try:
        return json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


class Names:
    """Makes names unique: the second ``a`` becomes ``a~2``.

    Of every name sixteen bytes are kept, so that millions of rows fit.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}

    def unique(self, name: str) -> str:
        """Return the name, with a number if it was given out before."""
        key = hashlib.blake2b(name.encode("utf-8"), digest_size=16).digest()
        times = self._seen.get(key, 0) + 1
        self._seen[key] = times
        return name if times == 1 else self.unique(f"{name}~{times}")


class FileImporter(ABC):
    """Turns the files of one kind into trajectories, one at a time.

    Args:
        keep_all: Also keep trajectories without a retrieval; no training sample can come from these.
        skip_faulty: Count rows that cannot be used, instead of ending at the first.
    """

    kind: str = ""

    def __init__(self, *, keep_all: bool = False, skip_faulty: bool = False) -> None:
        self.keep_all = keep_all
        self.skip_faulty = skip_faulty

    @property
    def source(self) -> str:
        """What the trajectories call their maker."""
        return f"import:{self.kind}"

    def read(self, paths: Paths, report: ImportReport | None = None) -> Iterator[Trajectory]:
        """Yield the trajectories of some files, in their order; ids are unique over all of them.

        Args:
            paths: A file or several.
            report: Counts what is read and what is left out.

        Raises:
            InputError: A file or row is unusable; the message names it.
        """
        counts = report if report is not None else ImportReport()
        names = Names()
        for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
            for trajectory in self.read_file(Path(path), counts):
                if not self.keep_all and not any(step.considered for step in trajectory.steps):
                    counts.skipped["nothing retrieved"] += 1
                    continue
                id = names.unique(trajectory.id)
                if id != trajectory.id:
                    counts.notes["an id that was there before, numbered"] += 1
                    trajectory = replace(trajectory, id=id)
                counts.trajectories += 1
                yield trajectory

    @abstractmethod
    def read_file(self, path: Path, report: ImportReport) -> Iterator[Trajectory]:
        """Yield the trajectories of one file."""


class RowImporter(FileImporter):
    """An importer that looks at one row at a time."""

    def read_file(self, path: Path, report: ImportReport) -> Iterator[Trajectory]:
        """Yield the trajectories of one file."""
        for row in read_rows(path):
            report.rows += 1
            try:
                made = list(self.convert(row, report))
            except InputError as error:
                if not self.skip_faulty:
                    raise
                report.fault(error)
                continue
            yield from made

    @abstractmethod
    def convert(self, row: Row, report: ImportReport) -> Iterable[Trajectory]:
        """Return the trajectories of a row.

        Raises:
            InputError: The row is unusable; the message names it.
        """


class Corpus:
    """The documents that trajectories refer to: by id, by text and by their order.

    Args:
        documents: All of them; they are kept in memory.
    """

    def __init__(self, documents: Iterable[Document]) -> None:
        self.documents = list(documents)
        self._by_id = {document.id: document for document in self.documents}
        self._by_text = {_digest(document.text): document for document in reversed(self.documents)}

    def __len__(self) -> int:
        return len(self.documents)

    def get(self, id: str) -> Document | None:
        """Return the document of an id, or None."""
        return self._by_id.get(id)

    def find_text(self, text: str) -> Document | None:
        """Return the document with exactly this text (white space aside), or None."""
        return self._by_text.get(_digest(text))

    def settle(self, one: Considered, report: ImportReport) -> Considered:
        """Return a retrieved document under its id and with its text in the corpus, where it can be found there."""
        known = self.get(one.id) or (self.find_text(one.text) if one.text else None)
        if known is None and one.title and one.text:
            known = self.find_text(f"{one.title} {one.text}")
        if known is None:
            report.notes["retrieved document that is not in the corpus"] += 1
            return one
        title, text = title_and_text(known)
        return replace(one, id=known.id, text=text, title=title)


def title_and_text(document: Document) -> tuple[str, str]:
    """Return the title that a document's text begins with, as in a BEIR corpus, and the rest; no title otherwise."""
    return split_title(document.text, document.metadata.get("title"))


def settle_steps(steps: Iterable[Step], corpus: Corpus | None, report: ImportReport) -> tuple[Step, ...]:
    """Return the steps with their documents as the corpus has them, none twice in one retrieval."""
    settled = []
    for step in steps:
        if step.considered:
            found = (corpus.settle(one, report) if corpus is not None else one for one in step.considered)
            step = replace(step, considered=without_repeats(found))
        settled.append(step)
    return tuple(settled)


def first_of(row: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """Return the first value that is there, else None."""
    return next((row[key] for key in keys if row.get(key) is not None), None)


def first_text(row: Mapping[str, Any], keys: Sequence[str], where: str) -> str | None:
    """Return the first value that is there as a text; numbers are written out. None if there is none.

    Raises:
        InputError: It is neither text nor number.
    """
    value = first_of(row, keys)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        key = next(key for key in keys if row.get(key) is not None)
        raise InputError(f"{where}: {key!r} must be a text, not {type(value).__name__}.")
    return str(value)


def reward_of(row: Mapping[str, Any], where: str) -> float | None:
    """Return ``reward`` (a number) or ``correct`` (true or false) of a row; None if it has neither.

    Raises:
        InputError: It has, of another type.
    """
    reward = row.get("reward")
    if reward is not None:
        if isinstance(reward, bool) or not isinstance(reward, int | float):
            raise InputError(f"{where}: 'reward' must be a number, not {reward!r}.")
        return float(reward)
    correct = first_of(row, ("correct", "is_correct"))
    if correct is None:
        return None
    if not isinstance(correct, bool):
        raise InputError(f"{where}: 'correct' must be true or false, not {correct!r}.")
    return float(correct)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(" ".join(text.split()).encode("utf-8", "replace"), digest_size=16).digest()
