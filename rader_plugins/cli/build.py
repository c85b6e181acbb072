"""``rader index build`` and ``rader index add``: from documents to an index."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rader_plugins.cli.build_options import AS_BEFORE, DEFAULT_FORM, Form, Reading
from rader_plugins.cli.interruption import resumable
from rader_plugins.cli.option_groups import with_option_groups
from rader_plugins.cli.options import (
    OWN_MODEL,
    IndexFolder,
    JsonOutput,
    ModelChoice,
    OutFolder,
    SourcePath,
    SourcePaths,
    Verbose,
    open_index,
)
from rader_plugins.cli.output import count, emit_json, facts, fail, human_bytes, progress
from rader_plugins.cli.ray_build import (
    ONE_PROCESS,
    RayWorkers,
    build_by_workers,
    check_options,
    open_sources,
    repeated_message,
)
from rader_plugins.cli.summary import ingested_facts, ingested_object
from rader_plugins.errors import InputError

if TYPE_CHECKING:
    from rader_plugins.cli.index_place import IndexPlace
    from rader_plugins.index import Index
    from rader_plugins.ingestion import Outcome, Source, Survey
    from rader_plugins.ingestion.build_record import BuildRecord
    from rader_plugins.ingestion.stores import Location

__all__ = ["add", "build"]

# What a build that was killed in its first moments leaves.
_OWN_NAMES = {"vectors", "derived", "write.lock", "build.json"}


@with_option_groups
def build(
    paths: SourcePaths,
    out: OutFolder,
    choice: ModelChoice = OWN_MODEL,
    form: Form = DEFAULT_FORM,
    reading: Reading = AS_BEFORE,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove stored documents that PATH does not hold (any more).")
    ] = False,
    new_source: Annotated[
        bool, typer.Option("--new-source", help="With --prune: PATH takes the place of what the index was built from.")
    ] = False,
    workers: RayWorkers = ONE_PROCESS,
    verbose: Verbose = False,
    json: JsonOutput = False,
) -> None:
    """Build an index from documents, or bring it up to date.

    Run again after an interruption or a change, it encodes only what is new or different. The index remembers how it
    was built (model, chunks, and --glob, --encoding and --follow-links for the same PATH).
    The model is 'mini' unless --model says otherwise.
    """
    from rader_plugins.ingestion.storing import check_pruning, ingest

    if new_source and not prune:
        raise InputError("--new-source says what --prune may remove: give both.")
    check_options(workers, out, reading, paths, prune=prune)
    _check_target(out)
    started = time.monotonic()
    plan, same_source = reading.plan(out, paths)
    if workers.ray is not None:
        _build_by_workers(
            out, plan, paths, lambda: form.open_or_create(out, choice), workers, verbose=verbose, json=json
        )
        return
    [path] = paths
    surveyed = _surveyed(out, plan.open_source(path), reading)
    for mount in plan.lost_mounts(path):
        surveyed.findings.add("unreadable", f"{mount}/", "another file system was mounted here, and is gone")
    with _opened(out, surveyed, lambda: form.open_or_create(out, choice)) as index:
        if prune and not (same_source or new_source):
            check_pruning(index, surveyed)
        # Before the first document, so that an interrupted build goes on in the same way.
        mounts = surveyed.source.mounts
        out.write_record(dataclasses.replace(plan, mounts=tuple(sorted({*plan.mounts, *mounts}))))
        with resumable(lambda: f"{count(len(index), 'document')} committed in {out}"):
            outcome = ingest(index, surveyed, prune=prune, progress=progress)
            _finish(index, outcome)
            _keep_records(out, surveyed)
        if surveyed.findings.incomplete is None and mounts != plan.mounts:
            out.write_record(dataclasses.replace(plan, mounts=mounts))
        _report(index, surveyed, outcome, out, started, verb="Built", verbose=verbose, json=json)


def _build_by_workers(
    out: IndexPlace,
    plan: BuildRecord,
    paths: Sequence[Location],
    open_or_create: Callable[[], Index],
    workers: RayWorkers,
    *,
    verbose: bool,
    json: bool,
) -> None:
    from rader_plugins.ingestion.survey import Survey

    started = time.monotonic()
    sources = open_sources(paths, plan)
    with contextlib.closing(open_or_create()) as index:
        out.write_record(plan)
        with resumable(lambda: f"{count(len(index), 'document')} committed in {out}"):
            building = build_by_workers(index, sources, workers)
            _finish(index, building.outcome)
        title = ", ".join(map(str, paths))
        if not building.read:
            reason = f" ({losses})" if (losses := building.findings.losses()) else ""
            raise InputError(f"{title} holds no texts: nothing was indexed{reason}.")
        surveyed = Survey(sources[0], findings=building.findings, title=title)
        if message := repeated_message(building):
            fail(message)
        _report(index, surveyed, building.outcome, out, started, verb="Built", verbose=verbose, json=json)
        if message:
            raise typer.Exit(1)


@with_option_groups
def add(
    folder: IndexFolder,
    path: SourcePath,
    choice: ModelChoice = OWN_MODEL,
    reading: Reading = AS_BEFORE,
    verbose: Verbose = False,
    json: JsonOutput = False,
) -> None:
    """Add documents to an index; one with a stored id replaces it.

    The index remembers its model and its chunks; --model is needed only if that lies in a directory that has moved or
    behind a URL.
    """
    from rader_plugins.ingestion.build_record import BuildRecord
    from rader_plugins.ingestion.storing import ingest

    started = time.monotonic()
    with contextlib.closing(open_index(folder, choice)) as index:
        plan, _ = reading.plan(folder, [path])
        surveyed = reading.survey(folder, plan.open_source(path), index)
        record = folder.read_record()
        if record is None or record.chunking != plan.chunking:
            folder.write_record(dataclasses.replace(record or BuildRecord(), chunking=plan.chunking))
        with resumable(lambda: f"{count(len(index), 'document')} committed in {folder}"):
            outcome = ingest(index, surveyed, progress=progress)
            _finish(index, outcome)
            _keep_records(folder, surveyed)
        _report(index, surveyed, outcome, folder, started, verb="Updated", verbose=verbose, json=json)


def _surveyed(place: IndexPlace, source: Source, reading: Reading) -> Survey:
    if place.folder is None or not place.exists():
        return reading.survey(place, source, None)
    with contextlib.closing(place.open(verify=False)) as index:
        return reading.survey(place, source, index)


@contextlib.contextmanager
def _opened(place: IndexPlace, surveyed: Survey, open_or_create: Callable[[], Index]) -> Iterator[Index]:
    """Open or make an index; if that is refused, nothing of the survey stays behind."""
    try:
        index = open_or_create()
    except InputError:
        surveyed.discard()
        raise
    with contextlib.closing(index):
        yield index


def _keep_records(place: IndexPlace, surveyed: Survey) -> None:
    """Note what the files were, so that those that stay so are not read again."""
    from rader_plugins.ingestion.file_records import reading_fingerprint, write_records

    source = surveyed.source
    if place.folder is not None and source.kind == "text":
        write_records(place.folder, reading_fingerprint(source.reader), source.path, surveyed.records)
    surveyed.discard()


def _check_target(place: IndexPlace) -> None:
    if (out := place.folder) is None:
        return
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
    return name in _OWN_NAMES or name.startswith((".index.db", ".build.json", ".reading.", ".files.jsonl"))


def _finish(index: Index, outcome: Outcome) -> None:
    """Bring the search structures up to date, if anything changed."""
    stats = index.stats()
    if outcome.changed or stats.get("deleted_rows") or stats.get("statistics", {}).get("drift"):
        index.optimize()


def _report(
    index: Index,
    surveyed: Survey,
    outcome: Outcome,
    folder: IndexPlace,
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
        size = count(stats["documents"], "document") + (f", {human_bytes(stats['bytes'])}" if stats["bytes"] else "")
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
    if losses := surveyed.findings.losses(("unreadable", "faulty")):
        fail(f"{surveyed.title} was not read completely: {losses}.")
        raise typer.Exit(1)
