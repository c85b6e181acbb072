"""``rader index build`` and ``rader index add``: from documents to an index."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rader_plugins.cli.interruption import resumable
from rader_plugins.cli.options import (
    AnnKind,
    ChunkOverlap,
    ChunkSize,
    Device,
    FileEncoding,
    FollowLinks,
    Globs,
    IndexFolder,
    JsonOutput,
    Model,
    ModelChoice,
    ModelOptions,
    OutFolder,
    Rechunk,
    RecipeName,
    ServedModel,
    SourcePath,
    StorageType,
    TrustRemoteCode,
    Verbose,
    open_index,
)
from rader_plugins.cli.output import count, emit_json, facts, fail, human_bytes, progress
from rader_plugins.cli.summary import ingested_facts, ingested_object
from rader_plugins.errors import InputError

if TYPE_CHECKING:
    from rader_plugins.index import RaderIndex
    from rader_plugins.ingestion import Chunking, Outcome, Survey
    from rader_plugins.ingestion.build_record import BuildRecord

__all__ = ["add", "build"]

_DEFAULT_MODEL = "mini"
# What a build that was killed in its first moments leaves.
_OWN_NAMES = {"vectors", "derived", "write.lock", "build.json"}


@dataclasses.dataclass(frozen=True)
class _Reading:
    """How a user wants a source to be read.

    Args:
        globs, encoding, follow_links: See :func:`rader_plugins.ingestion.open_source`.
        chunk_size, chunk_overlap: Of the chunks; None where the user names none.
        rechunk: Whether another chunking than before is wanted.
    """

    globs: Sequence[str]
    encoding: str | None
    follow_links: bool
    chunk_size: int | None
    chunk_overlap: int | None
    rechunk: bool

    def plan(self, folder: Path, path: Path) -> tuple[BuildRecord, bool]:
        """Join it with what the index in a folder remembers; also return whether ``path`` is its source as before,

        and read as before: other patterns, or other linked folders, make another source of a folder.

        Raises:
            InputError: Another chunking than before needs ``--rechunk``.
        """
        from rader_plugins.index import RaderIndex
        from rader_plugins.ingestion.build_record import BuildRecord, resolve_chunking

        record = BuildRecord.read(folder)
        requested = _chunking(self.chunk_size, self.chunk_overlap)
        if record is None and RaderIndex.exists(folder):
            with RaderIndex.open(folder, verify=False) as index:
                chunking = resolve_chunking(None, index.documents(), requested, rechunk=self.rechunk)
        elif record is None:
            chunking = requested
        else:
            chunking = resolve_chunking(record, (), requested, rechunk=self.rechunk)
        source = os.path.abspath(path)  # noqa: PTH100 - a link that is pointed elsewhere stays the same source
        same = record is not None and record.source == source
        before = record if record is not None and same else BuildRecord()
        plan = BuildRecord(
            chunking=chunking,
            source=source,
            globs=tuple(self.globs) or before.globs,
            encoding=self.encoding or before.encoding,
            follow_links=self.follow_links or before.follow_links,
            mounts=before.mounts,
        )
        return plan, same and (plan.globs, plan.follow_links) == (before.globs, before.follow_links)


@dataclasses.dataclass(frozen=True)
class _Form:
    """What an index keeps for good; None where the user says nothing."""

    dtype: StorageType | None
    ann: AnnKind | None
    language: str | None
    identifiers: bool | None

    def open_or_create(self, out: Path, choice: ModelChoice) -> RaderIndex:
        """Open the index in a folder, or make one.

        Raises:
            InputError: It has another form.
        """
        from rader_plugins.index import Bm25Config, RaderIndex

        if not RaderIndex.exists(out):
            bm25 = Bm25Config(language=self.language or "english", identifiers=bool(self.identifiers))
            encoder = dataclasses.replace(choice, model=choice.model or _DEFAULT_MODEL).load()
            storage: Literal["float32", "float16"] = "float16" if self.dtype is StorageType.float16 else "float32"
            return RaderIndex.create(out, encoder, dtype=storage, ann=self.ann.value if self.ann else None, bm25=bm25)
        index = open_index(out, choice)
        stats = index.stats()
        for option, requested, value in (
            ("--dtype", self.dtype and self.dtype.value, stats["dtype"]),
            ("--ann", self.ann and self.ann.value, stats["ann"] or "(none: exact search)"),
            ("--language", self.language, stats["bm25"]["language"]),
            ("--identifiers", self.identifiers, stats["bm25"]["identifiers"]),
        ):
            if requested not in (None, value):
                index.close()
                raise InputError(
                    f"{out} was built with {option} {value}, not {requested}. Leave the option out, or build a new "
                    "index in another folder."
                )
        return index


def build(
    path: SourcePath,
    out: OutFolder,
    model: Model = None,
    recipe: RecipeName = None,
    served_model: ServedModel = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    model_option: ModelOptions = None,
    dtype: Annotated[
        StorageType | None,
        typer.Option("--dtype", help="How vectors are stored. Default: float32; float16 halves their size."),
    ] = None,
    ann: Annotated[
        AnnKind | None, typer.Option("--ann", help="Approximate search with FAISS. Default: exact search.")
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            "--language",
            metavar="NAME",
            help="Language of the texts, for BM25's stems and stop words: german, french, ...; 'none' for neither. "
            "Default: english.",
        ),
    ] = None,
    identifiers: Annotated[
        bool, typer.Option("--identifiers", help="BM25 also finds parts of get_user_name, foo.bar and getUserName.")
    ] = False,
    glob: Globs = None,
    encoding: FileEncoding = None,
    follow_links: FollowLinks = False,
    chunk_size: ChunkSize = None,
    chunk_overlap: ChunkOverlap = None,
    rechunk: Rechunk = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove stored documents that PATH does not hold (any more).")
    ] = False,
    new_source: Annotated[
        bool, typer.Option("--new-source", help="With --prune: PATH takes the place of what the index was built from.")
    ] = False,
    verbose: Verbose = False,
    json: JsonOutput = False,
) -> None:
    """Build an index from documents, or bring it up to date.

    Run again after an interruption or a change, it encodes only what is new or different. The index remembers how it
    was built (model, chunks, and --glob, --encoding and --follow-links for the same PATH).
    The model is 'mini' unless --model says otherwise.
    """
    from rader_plugins.ingestion import ingest, open_source, survey
    from rader_plugins.ingestion.storing import check_pruning

    if new_source and not prune:
        raise InputError("--new-source says what --prune may remove: give both.")
    _check_target(out)
    started = time.monotonic()
    reading = _Reading(glob or (), encoding, follow_links, chunk_size, chunk_overlap, rechunk)
    plan, same_source = reading.plan(out, path)
    source = open_source(path, plan.globs, plan.chunking, encoding=plan.encoding, follow_links=plan.follow_links)
    surveyed = survey(source, progress=progress)
    for mount in plan.lost_mounts(path):
        surveyed.findings.add("unreadable", f"{mount}/", "another file system was mounted here, and is gone")
    choice = ModelChoice(model, recipe, served_model, device, trust_remote_code, model_option)
    form = _Form(dtype, ann, language, identifiers or None)
    with form.open_or_create(out, choice) as index:
        if prune and not (same_source or new_source):
            check_pruning(index, surveyed)
        # Before the first document, so that an interrupted build goes on in the same way.
        dataclasses.replace(plan, mounts=tuple(sorted({*plan.mounts, *source.mounts}))).write(out)
        with resumable(lambda: f"{count(len(index), 'document')} committed in {out}"):
            outcome = ingest(index, surveyed, prune=prune, progress=progress)
            _finish(index, outcome)
        if surveyed.findings.incomplete is None and source.mounts != plan.mounts:
            dataclasses.replace(plan, mounts=source.mounts).write(out)
        _report(index, surveyed, outcome, out, started, verb="Built", verbose=verbose, json=json)


def add(
    folder: IndexFolder,
    path: SourcePath,
    model: Model = None,
    recipe: RecipeName = None,
    served_model: ServedModel = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    model_option: ModelOptions = None,
    glob: Globs = None,
    encoding: FileEncoding = None,
    follow_links: FollowLinks = False,
    chunk_size: ChunkSize = None,
    chunk_overlap: ChunkOverlap = None,
    rechunk: Rechunk = False,
    verbose: Verbose = False,
    json: JsonOutput = False,
) -> None:
    """Add documents to an index; one with a stored id replaces it.

    The index remembers its model and its chunks; --model is needed only if that lies in a directory that has moved or
    behind a URL.
    """
    from rader_plugins.ingestion import ingest, open_source, survey
    from rader_plugins.ingestion.build_record import BuildRecord

    started = time.monotonic()
    with open_index(folder, ModelChoice(model, recipe, served_model, device, trust_remote_code, model_option)) as index:
        reading = _Reading(glob or (), encoding, follow_links, chunk_size, chunk_overlap, rechunk)
        plan, _ = reading.plan(folder, path)
        source = open_source(path, plan.globs, plan.chunking, encoding=plan.encoding, follow_links=plan.follow_links)
        surveyed = survey(source, progress=progress)
        record = BuildRecord.read(folder) or BuildRecord()
        if record.chunking != plan.chunking or not (folder / "build.json").is_file():
            dataclasses.replace(record, chunking=plan.chunking).write(folder)
        with resumable(lambda: f"{count(len(index), 'document')} committed in {folder}"):
            outcome = ingest(index, surveyed, progress=progress)
            _finish(index, outcome)
        _report(index, surveyed, outcome, folder, started, verb="Updated", verbose=verbose, json=json)


def _chunking(size: int | None, overlap: int | None) -> Chunking | None:
    from rader_plugins.ingestion import Chunking

    if size is None:
        if overlap is not None:
            raise InputError("--chunk-overlap needs --chunk-size.")
        return None
    return Chunking(size, overlap or 0)


def _check_target(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; --out names the folder of the index.")
    from rader_plugins.index import RaderIndex

    if out.is_dir() and not RaderIndex.exists(out):
        strangers = sorted(file.name for file in out.iterdir() if not _is_own(file.name))
        if strangers:
            raise InputError(
                f"{out} is no index and holds other files ({', '.join(strangers[:3])}): choose a new folder."
            )


def _is_own(name: str) -> bool:
    return name in _OWN_NAMES or name.startswith((".index.db", ".build.json"))


def _finish(index: RaderIndex, outcome: Outcome) -> None:
    """Bring the search structures up to date, if anything changed."""
    if outcome.changed or index.stats()["deleted_rows"]:
        index.optimize()


def _report(
    index: RaderIndex,
    surveyed: Survey,
    outcome: Outcome,
    folder: Path,
    started: float,
    *,
    verb: str,
    verbose: bool,
    json: bool,
) -> None:
    """Say what was done; exit code 1 if a part of the source could not be read or stored."""
    seconds = time.monotonic() - started
    stats = index.stats()
    if json:
        emit_json({"index": str(folder), **ingested_object(stats, outcome, surveyed), "seconds": round(seconds, 2)})
    else:
        size = f"{count(stats['documents'], 'document')}, {human_bytes(stats['bytes'])}"
        state = verb if outcome.changed else "Nothing to encode in"
        typer.echo(f"{state} {folder}: {size}, in {seconds:.1f} s.")
        maximum = index.recipe.max_document_length if index.recipe else 0
        lines = ingested_facts(stats, outcome, surveyed, maximum, verbose=verbose)
        typer.echo("\n".join(facts(lines, indent="  ")))
    if outcome.not_pruned:
        fail(f"Nothing was removed, as a part of the source could not be seen ({outcome.not_pruned}).")
        raise typer.Exit(1)
    if outcome.refused:
        fail(f"The server refuses the texts of {len(outcome.refused):,} documents, which were not stored.")
        raise typer.Exit(1)
    if unreadable := surveyed.findings.count("unreadable"):
        fail(f"{surveyed.source.path} was not read completely: {unreadable:,} files or folders could not be.")
        raise typer.Exit(1)
