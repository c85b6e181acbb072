"""What importers share: the class that all are derived from, names, and rows that belong together."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import Self

from rader_plugins.errors import InputError
from rader_plugins.recording.redaction import Redact, question_id, redacted
from rader_plugins.trajectories import Trajectory
from rader_synthesis.importing.corpus import Corpus, settle_steps, title_and_text
from rader_synthesis.importing.feedback import Scale, ScaleError
from rader_synthesis.importing.fields import first_of, first_text, reward_of
from rader_synthesis.importing.grouping import RowGroups
from rader_synthesis.importing.options import ImportOptions
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Paths, Row, read_rows

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
    "grouped_rows",
    "read_rows",
    "reward_of",
    "settle_steps",
    "title_and_text",
]


class Names:
    """Makes names unique: the second ``a`` becomes ``a~2``.

    Of every name sixteen bytes are kept, so that millions of rows fit.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}

    def unique(self, name: str) -> str:
        """Return the name, with a number if it was given out before."""
        key = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=16).digest()
        times = self._seen.get(key, 0) + 1
        self._seen[key] = times
        return name if times == 1 else self.unique(f"{name}~{times}")


class FileImporter(ABC):
    """Turns the files of one kind into trajectories, one at a time.

    A package adds a kind by an entry point of the group ``rader.importers``, whose name is the kind and whose value is
    a class such as this.

    Args:
        keep_all: Also keep trajectories without a retrieval; no training sample can come from these.
        skip_faulty: Count rows that cannot be used, instead of ending at the first.
    """

    kind: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    """What files it reads, in one line."""
    takes: ClassVar[frozenset[str]] = frozenset(("corpus", "keep_all", "skip_faulty", "redact"))
    """The fields of :class:`ImportOptions` that it has a use for; others are refused where a user asks for them."""

    redact: Redact | None = None

    def __init__(self, *, keep_all: bool = False, skip_faulty: bool = False) -> None:
        self.keep_all = keep_all
        self.skip_faulty = skip_faulty

    @classmethod
    def from_options(cls, options: ImportOptions) -> Self:
        """Make an importer of what a user asked for."""
        named = {
            option.name: getattr(options, option.name)
            for option in fields(options)
            if option.name in cls.takes - {"redact"}
        }
        importer = cls(**named)
        importer.redact = options.redact
        return importer

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Return how sure it is, 0 to 1, that the JSON value of a row is of this kind, for ``rader import auto``."""
        return 0.0

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
        for trajectory in self.read_files([Path(path) for path in _listed(paths)], counts):
            if not self.keep_all and not any(step.considered for step in trajectory.steps):
                counts.skipped["nothing retrieved"] += 1
                continue
            if self.redact is not None:
                trajectory = _redacted(trajectory, self.redact)
            id = names.unique(trajectory.id)
            if id != trajectory.id:
                counts.notes["an id that was there before, numbered"] += 1
                trajectory = replace(trajectory, id=id)
            _check_reward(trajectory)
            counts.trajectories += 1
            yield trajectory

    def read_files(self, paths: Sequence[Path], report: ImportReport) -> Iterator[Trajectory]:
        """Yield the trajectories of files, one after the other."""
        for path in paths:
            yield from self.read_file(path, report)

    @abstractmethod
    def read_file(self, path: Path, report: ImportReport) -> Iterator[Trajectory]:
        """Yield the trajectories of one file."""

    def values(self, path: Path, report: ImportReport) -> Iterator[tuple[Row, Any]]:
        """Yield the rows of a file with their JSON values, counting them; those that are no JSON as the user asked."""
        for row in read_rows(path):
            report.rows += 1
            try:
                value = row.value(report)
            except InputError as error:
                self.fault(error, report)
                continue
            yield row, value

    def fault(self, error: InputError, report: ImportReport) -> None:
        """Count what cannot be used, or raise, as the user asked."""
        if not self.skip_faulty or isinstance(error, ScaleError):
            raise error
        report.fault(error)


def grouped_rows(importer: FileImporter, paths: Sequence[Path], field: str, report: ImportReport) -> Iterator[Row]:
    """Yield one row for all rows that have the same value of a field, whose content is the list of their values.

    Rows without the field are faulty.
    """
    with RowGroups.opened() as groups:
        for path in paths:
            for row, value in importer.values(path, report):
                key = value.get(field) if isinstance(value, Mapping) else None
                if key is None:
                    importer.fault(InputError(f"{row.where} has no {field!r}, by which rows are put together."), report)
                else:
                    groups.add(str(key), row, value)
        for key in groups.keys():  # noqa: SIM118 - no mapping
            rows = groups.rows(key)
            yield replace(rows[0], content=[row.content for row in rows])


class RowImporter(FileImporter):
    """An importer that looks at one row at a time."""

    def read_file(self, path: Path, report: ImportReport) -> Iterator[Trajectory]:
        """Yield the trajectories of one file."""
        for row, value in self.values(path, report):
            try:
                results = list(self.convert(replace(row, content=value), report))
            except InputError as error:
                self.fault(error, report)
                continue
            yield from results

    @abstractmethod
    def convert(self, row: Row, report: ImportReport) -> Iterable[Trajectory]:
        """Return the trajectories of a row.

        Raises:
            InputError: The row is unusable; the message names it.
        """


def _check_reward(trajectory: Trajectory) -> None:
    if trajectory.reward is not None:
        Scale().reward(trajectory.reward, f"The trajectory {trajectory.id!r}")


def _redacted(trajectory: Trajectory, redact: Redact) -> Trajectory:
    try:
        clean = redacted(trajectory, redact)
    except Exception as error:  # a function of the user's may raise anything
        raise InputError(f"The redaction of {trajectory.id!r} failed: {error!r}.") from error
    own = trajectory.problem_id == question_id(trajectory.question)
    return replace(clean, problem_id=question_id(clean.question)) if own else clean


def _listed(paths: Paths) -> Sequence[str | os.PathLike[str]]:
    return [paths] if isinstance(paths, str | os.PathLike) else paths
