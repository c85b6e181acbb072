"""What ``rader index build`` and ``add`` take: how a source is read, and what form an index has."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rader_plugins.cli.options import ModelChoice, open_index
from rader_plugins.cli.output import progress
from rader_plugins.errors import AlreadyExistsError, InputError

if TYPE_CHECKING:
    from rader_plugins.cli.index_place import IndexPlace
    from rader_plugins.index import Index
    from rader_plugins.ingestion import Chunking, Source, Survey
    from rader_plugins.ingestion.build_record import BuildRecord
    from rader_plugins.ingestion.stores import Location
    from rader_plugins.ingestion.tables import TableColumns

__all__ = ["AS_BEFORE", "DEFAULT_FORM", "Form", "Reading"]

_DEFAULT_MODEL = "mini"


class StorageType(str, Enum):
    """How vectors are stored."""

    float32 = "float32"
    float16 = "float16"


class AnnKind(str, Enum):
    """Approximate structures of FAISS."""

    hnsw = "hnsw"
    ivfpq = "ivfpq"


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a user wants a source to be read; what is left out stays as the index remembers it."""

    glob: Annotated[
        list[str] | None,
        typer.Option(
            "--glob",
            metavar="PATTERN",
            help="Files of the folder to read instead, such as '*.tex' or 'notes/**/*.md'; repeatable.",
        ),
    ] = None
    encoding: Annotated[
        str | None,
        typer.Option(
            "--encoding",
            metavar="NAME",
            help="Encoding of files that are not UTF-8 and bear no byte order mark, such as cp1252. Default: a guess.",
        ),
    ] = None
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Read linked folders too, each once.")] = False
    chunk_size: Annotated[
        int | None,
        typer.Option("--chunk-size", min=1, metavar="N", help="Split texts into chunks of at most N characters."),
    ] = None
    chunk_overlap: Annotated[
        int | None,
        typer.Option("--chunk-overlap", min=0, metavar="N", help="Characters that neighbouring chunks may share."),
    ] = None
    rows: Annotated[
        str | None,
        typer.Option(
            "--rows",
            metavar="COLUMNS",
            help="Make each row of CSV and TSV files a document: the columns of its text, such as title,body; the "
            "others become metadata.",
        ),
    ] = None
    row_id: Annotated[
        str | None,
        typer.Option("--row-id", metavar="COLUMN", help="With --rows: the column that names the documents."),
    ] = None
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, metavar="N", help="Processes that read files. Default: 1.")
    ] = None
    file_timeout: Annotated[
        float | None,
        typer.Option(
            "--file-timeout",
            min=0.001,
            max=86_400,
            metavar="SECONDS",
            help="Give a PDF, Office file or the like up when reading it takes longer. Default: 300.",
        ),
    ] = None
    check_content: Annotated[
        bool,
        typer.Option("--check-content", help="Look into files whose size and times are those of the last build, too."),
    ] = False
    rechunk: Annotated[
        bool,
        typer.Option(
            "--rechunk",
            help="Split otherwise than the index was built with (without --chunk-size: not at all); encodes all anew.",
        ),
    ] = False

    def plan(self, place: IndexPlace, paths: Sequence[Location]) -> tuple[BuildRecord, bool]:
        """Join it with what the index in a folder remembers; also return whether ``paths`` are its source as before,

        and read as before: other patterns, linked folders or columns make another source of a folder.

        Raises:
            InputError: Another chunking than before needs ``--rechunk``.
        """
        from rader_plugins.index import read_documents
        from rader_plugins.ingestion.build_record import BuildRecord, resolve_chunking
        from rader_plugins.ingestion.stores import absolute

        record = place.read_record()
        requested = self._chunking()
        if record is None and place.exists():
            with contextlib.closing(place.open(verify=False)) as index:
                chunking = resolve_chunking(None, read_documents(index), requested, rechunk=self.rechunk)
        elif record is None:
            chunking = requested
        else:
            chunking = resolve_chunking(record, (), requested, rechunk=self.rechunk)
        source = "\n".join(map(absolute, paths))
        same = record is not None and record.source == source
        before = record if record is not None and same else BuildRecord()
        plan = BuildRecord(
            chunking=chunking,
            source=source,
            globs=tuple(self.glob or ()) or before.globs,
            encoding=self.encoding or before.encoding,
            follow_links=self.follow_links or before.follow_links,
            mounts=before.mounts,
            columns=self._columns() or before.columns,
        )
        names = ("globs", "follow_links", "columns")
        return plan, same and all(getattr(plan, name) == getattr(before, name) for name in names)

    def survey(self, place: IndexPlace, source: Source, index: Index | None) -> Survey:
        """Read a source through; files that an index in a folder has unchanged are not read again.

        Args:
            place: Where the index is.
            source: The documents to read.
            index: The index; None if there is none yet.

        Raises:
            InputError: An option would have no effect.
        """
        from rader_plugins.ingestion import FileReading, survey
        from rader_plugins.ingestion.file_records import intact_records, read_records, reading_fingerprint
        from rader_plugins.ingestion.reader_processes import ReadingLimits

        if source.kind != "text":
            for option, is_given in (
                ("--jobs", self.jobs),
                ("--file-timeout", self.file_timeout),
                ("--check-content", self.check_content),
            ):
                if is_given:
                    raise InputError(f"{option} is about a folder of files; {source.path} holds rows, all of one file.")
            return survey(source, progress=progress)
        if self.check_content and place.folder is None:
            raise InputError(f"--check-content: nothing is noted of files in {place}, so all are read anyway.")
        records = {}
        if place.folder is not None and index is not None:
            records = intact_records(index, read_records(place.folder, reading_fingerprint(source.reader)))
        limits = ReadingLimits() if self.file_timeout is None else ReadingLimits(self.file_timeout)
        reading = FileReading(records, place.folder, self.jobs or 1, limits, self.check_content)
        return survey(source, reading=reading, progress=progress)

    def _columns(self) -> TableColumns | None:
        from rader_plugins.ingestion.tables import TableColumns

        if self.rows is None:
            if self.row_id is not None:
                raise InputError("--row-id goes with --rows.")
            return None
        return TableColumns(tuple(name.strip() for name in self.rows.split(",")), self.row_id)

    def _chunking(self) -> Chunking | None:
        from rader_plugins.ingestion import Chunking

        if self.chunk_size is None:
            if self.chunk_overlap is not None:
                raise InputError("--chunk-overlap needs --chunk-size.")
            return None
        return Chunking(self.chunk_size, self.chunk_overlap or 0)


@dataclasses.dataclass(frozen=True)
class Form:
    """What an index keeps for good; None or False where the user says nothing."""

    dtype: Annotated[
        StorageType | None,
        typer.Option("--dtype", help="How vectors are stored. Default: float32; float16 halves their size."),
    ] = None
    ann: Annotated[
        AnnKind | None, typer.Option("--ann", help="Approximate search with FAISS. Default: exact search.")
    ] = None
    language: Annotated[
        str | None,
        typer.Option(
            "--language",
            metavar="NAME",
            help="Language of the texts, for BM25's stems and stop words: german, french, ...; 'none' for neither. "
            "Default: english.",
        ),
    ] = None
    identifiers: Annotated[
        bool, typer.Option("--identifiers", help="BM25 also finds parts of get_user_name, foo.bar and getUserName.")
    ] = False

    def open_or_create(self, out: IndexPlace, choice: ModelChoice) -> Index:
        """Open the index in a folder, or make one.

        Raises:
            InputError: It has another form.
        """
        from rader_plugins.index import Bm25Config

        if not out.exists():
            bm25 = Bm25Config(language=self.language or "english", identifiers=self.identifiers)
            encoder = dataclasses.replace(choice, model=choice.model or _DEFAULT_MODEL).load()
            storage: Literal["float32", "float16"] = "float16" if self.dtype is StorageType.float16 else "float32"
            with contextlib.suppress(AlreadyExistsError):  # another process has made one meanwhile: it is added to
                return out.create(encoder, storage, self.ann.value if self.ann else None, bm25)
        index = open_index(out, choice)
        stats = index.stats()
        for option, requested, value in (
            ("--dtype", self.dtype and self.dtype.value, stats["dtype"]),
            ("--ann", self.ann and self.ann.value, stats["ann"] or "(none: exact search)"),
            ("--language", self.language, stats["bm25"]["language"]),
            ("--identifiers", self.identifiers or None, stats["bm25"]["identifiers"]),
        ):
            if requested not in (None, value):
                index.close()
                raise InputError(
                    f"{out} was built with {option} {value}, not {requested}. Leave the option out, or build a new "
                    "index elsewhere."
                )
        return index


AS_BEFORE = Reading()
DEFAULT_FORM = Form()
"""Defaults of a command's parameters."""
