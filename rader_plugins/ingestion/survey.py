"""A source is read through before anything is encoded, so that what is unusable costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rader_plugins.arguments import check_count
from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.ingestion.chunking import parent_id
from rader_plugins.ingestion.file_reading import FileContent
from rader_plugins.ingestion.file_records import FileRecord, FileState, reading_fingerprint
from rader_plugins.ingestion.findings import Findings, Kind, printable
from rader_plugins.ingestion.reader_processes import ReaderProcesses, ReadingLimits
from rader_plugins.ingestion.source import Source
from rader_plugins.ingestion.spool import Spool
from rader_plugins.ingestion.stores import Location, absolute
from rader_plugins.ingestion.tables import TABLE_SUFFIXES

__all__ = ["FileReading", "Progress", "Survey", "no_progress", "survey"]

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], Any]]]
"""Takes a label and a total (None: unknown) and gives a function that advances a bar by so many steps."""


def no_progress(label: str, total: int | None = None) -> AbstractContextManager[Callable[[int], Any]]:
    """Show nothing of how far the work is."""
    return nullcontext(lambda steps: None)


@dataclass(frozen=True)
class FileReading:
    """How the files of a source are gone about.

    Args:
        records: Absolute path -> record of files whose documents are stored already, unchanged.
        folder: Folder of the index, where a reading that is killed leaves what it has; None for a temporary place.
        jobs: How many processes read.
        limits: What reading one file may take.
        check_content: Look at the content of files whose size and times are those of before.
    """

    records: Mapping[str, FileRecord] = field(default_factory=dict)
    folder: Path | None = None
    jobs: int = 1
    limits: ReadingLimits = ReadingLimits()
    check_content: bool = False

    def __post_init__(self) -> None:
        check_count(self.jobs, "jobs", 1)


@dataclass
class Survey:
    """A source that was read through once and is usable.

    Attributes:
        source: The documents that were read through.
        origins: Id of every document -> number for :meth:`Source.origin`.
        findings: What was left out, mended or guessed.
        parents: Ids of the documents that were read, or that what was read are chunks of.
        records: Absolute path -> record of each file, for the next time.
        unchanged: How many documents of unchanged files are not read.
        title: What messages call the source.
    """

    source: Source
    origins: dict[str, int] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    parents: set[str] = field(default_factory=set)
    records: dict[str, FileRecord] = field(default_factory=dict)
    unchanged: int = 0
    title: str = ""
    _spool: Spool | None = None
    _files: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.title = self.title or str(self.source.path)

    def documents(self, findings: Findings | None = None) -> Iterator[Document]:
        """Yield the documents that were read; rows of a JSONL file are read again.

        Args:
            findings: Where what is met at that second reading is noted.
        """
        if self._spool is None:
            yield from (document for _, document in self.source.read(findings or Findings()))
            return
        for file in self._files:
            yield from self._spool.documents(file)

    def warn(self) -> None:
        """Warn of what was left out, if anything was; see :meth:`Source.warn`."""
        self.source.warn(self.findings)

    def discard(self) -> None:
        """Remove what was kept for :meth:`documents`."""
        if self._spool is not None:
            self._spool.discard()


def survey(source: Source, *, reading: FileReading = FileReading(), progress: Progress = no_progress) -> Survey:
    """Read a source through.

    Args:
        source: The documents to read through.
        reading: How its files are gone about.
        progress: Shows how far it is.

    Raises:
        InputError: An id stands in two files (both are named), a document is unusable, or there are none.
    """
    result = Survey(source)
    if source.kind != "text":
        with progress("Reading", None) as advance:
            for number, document in source.read(result.findings):
                _note(result, number, document)  # which the source has checked
                advance(1)
        _check_any(result)
        return result
    walk = _FileSurvey(source, reading)
    try:
        with progress("Reading", len(source.files)) as advance:
            walk.run(advance)
        _check_tables(walk.result)
        _check_any(walk.result)
    except InputError:
        walk.result.discard()
        raise
    return walk.result


class _FileSurvey:
    """Reads the files of a folder, as far as that is needed."""

    def __init__(self, source: Source, reading: FileReading) -> None:
        self._source = source
        self._reading = reading
        self._states: dict[int, FileState] = {}
        self._stored: set[int] = set()
        self._spool = Spool(reading.folder, reading_fingerprint(source.reader))
        self.result = Survey(source, _spool=self._spool)
        self.result.findings.take(source.listed)

    def run(self, advance: Callable[[int], Any]) -> None:
        """Read the files of the source that are not known, and note what each holds."""
        reading = self._reading
        with ReaderProcesses[int](self._source.reader, reading.jobs, reading.limits) as processes:
            for number, content in processes.read(self._tasks()):
                self._take(number, content)
                advance(1)

    def _path(self, number: int) -> str:
        return absolute(self._source.files[number])

    def _tasks(self) -> Iterator[tuple[int, Location | None, str]]:
        for number, file in enumerate(self._source.files):
            name = self._source.name_of(file)
            try:
                state = FileState.of(file)
                is_read = not self._is_known(number, file, name, state)
            except OSError as error:
                self.result.findings.add("unreadable", name, error.strerror or str(error))
                continue
            self._states[number] = state
            yield number, file if is_read else None, name

    def _is_known(self, number: int, file: Location, name: str, state: FileState) -> bool:
        """Whether a file need not be read: the index has its documents, or an earlier reading has left them."""
        path = self._path(number)
        for records in (self._reading.records, self._spool.records):
            record = records.get(path)
            if record is None or record.name != name:
                continue
            if record.is_of(file, state, check_content=self._reading.check_content):
                self.result.records[path] = replace(record, state=state)
                if records is self._reading.records:
                    self._stored.add(number)
                return True
        return False

    def _take(self, number: int, content: FileContent | None) -> None:
        result, path = self.result, self._path(number)
        name = self._source.name_of(self._source.files[number])
        if content is None:
            result.findings.take(result.records[path].as_findings())
            if number in self._stored:
                for id in result.records[path].ids:
                    _note_id(result, number, id)
                result.unchanged += len(result.records[path].ids)
                return
        else:
            result.findings.take(content.findings)
            if not content.sha256:
                return
            result.records[path] = FileRecord.of(name, self._states[number], content)
            self._spool.add(path, result.records[path], content)
        result._files.append(path)
        for document in self._spool.documents(path) if content is None else content.documents:
            _check(result, number, document)
            _note(result, number, document)


def _check(result: Survey, number: int, document: Document) -> None:
    from rader_plugins.index.adding import prepare

    try:
        prepare(document)
    except InputError as error:
        raise InputError(f"{result.source.origin(number)}: {error}") from None


def _note(result: Survey, number: int, document: Document) -> None:
    _note_id(result, number, document.id)
    result.parents.add(parent_id(document))


def _note_id(result: Survey, number: int, id: str) -> None:
    first = result.origins.setdefault(id, number)
    if first != number:
        raise InputError(
            f"The id {id!r} stands twice: {result.source.origin(first)} and {result.source.origin(number)}. "
            "Nothing was encoded; make ids unique."
        )


def _check_tables(result: Survey) -> None:
    """Refuse columns that no table has: they would have no effect."""
    source = result.source
    if source.columns is None:
        return
    kinds: tuple[Kind, ...] = ("unreadable", "faulty", "binary", "empty", "unnamed")
    reasons = {name: detail for kind in kinds for name, detail in result.findings.names.get(kind, {}).items()}
    tables = [file for file in source.files if file.suffix.lower() in TABLE_SUFFIXES]
    if any((record := result.records.get(absolute(file))) and record.ids for file in tables):
        return
    name = printable(source.name_of(tables[0]))
    reason = next((f"{of}: {detail or 'no text'}" for of, detail in reasons.items() if of.startswith(name)), name)
    raise InputError(f"No table has usable rows with the columns of --rows: {reason}.")


def _check_any(result: Survey) -> None:
    if not result.origins:
        raise InputError(f"{result.source.path} holds no documents{_reasons(result.findings)}.")


def _reasons(findings: Findings) -> str:
    parts = []
    texts: dict[Kind, str] = {
        "empty": "without text",
        "binary": "not text",
        "unreadable": "unreadable",
        "faulty": "faulty",
        "unnamed": "without an id",
    }
    for kind, what in texts.items():
        names = findings.names.get(kind, {})
        if names:
            name, detail = next(iter(names.items()))
            parts.append(f"{len(names):,} {what}, such as {name}" + (f": {detail}" if detail else ""))
    return f" ({'; '.join(parts)})" if parts else ""
