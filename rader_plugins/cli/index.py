"""``rader index``: build, add, delete, info, optimize, repair."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rader_plugins.cli.build import add, build
from rader_plugins.cli.option_groups import with_option_groups
from rader_plugins.cli.options import (
    OWN_MODEL,
    IndexFolder,
    JsonOutput,
    ModelChoice,
    open_index,
    parse_filter,
)
from rader_plugins.cli.output import count, emit_json, facts, fail, human_bytes, note
from rader_plugins.cli.summary import index_facts
from rader_plugins.errors import IndexCorruptError, InputError
from rader_plugins.files import read_lines

__all__ = ["app"]

app = typer.Typer(help="Build an index and look after it.", no_args_is_help=True, rich_markup_mode=None)

app.command()(build)
app.command()(add)


@app.command()
def delete(
    folder: IndexFolder,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Documents to delete.")] = None,
    ids_file: Annotated[
        Path | None,
        typer.Option("--ids-file", metavar="FILE", help="File with one id per line; - reads stdin."),
    ] = None,
    chunks: Annotated[
        bool, typer.Option("--chunks", help="Also delete every chunk of a document with one of these ids.")
    ] = False,
    condition: Annotated[
        str | None,
        typer.Option(
            "--filter", metavar="JSON", help="Delete what passes a filter; with ids, only those of them that do."
        ),
    ] = None,
    json: JsonOutput = False,
) -> None:
    """Delete documents by id or by a filter. Ids that are not stored are reported, and are no error."""
    names = list(ids or ())
    if ids_file is not None:
        names += [line for _, line in read_lines(sys.stdin.buffer if ids_file == Path("-") else ids_file)]
    names = list(dict.fromkeys(filter(None, names)))
    has_ids = bool(ids) or ids_file is not None
    if not names and (has_ids or condition is None):
        raise InputError("Name the documents to delete: as arguments, with --ids-file, or by a --filter.")
    from rader_plugins.index import read_documents

    passing = parse_filter(condition)
    with contextlib.closing(open_index(folder)) as index:
        if chunks:
            parents_named = set(names)
            names += [doc.id for doc in read_documents(index) if doc.metadata.get("parent_id") in parents_named]
        documents = {document.id: document for document in index.get(names)}
        parents = {document.metadata.get("parent_id") for document in documents.values()} if chunks else set()
        missing = [name for name in names if name not in documents and name not in parents]
        deleted = index.delete(names if has_ids else None, filter=passing)
        document_count = len(index)
    if json:
        emit_json({"deleted": deleted, "missing": missing, "documents": document_count})
        return
    typer.echo(f"Deleted {count(deleted, 'document')}; {document_count:,} left.")
    if missing:
        examples = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        note(f"Not stored: {examples} ({count(len(missing), 'id')}).")


@app.command()
def info(
    folder: IndexFolder,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare all vectors with their checksums; exit code 1 if damaged.")
    ] = False,
    json: JsonOutput = False,
) -> None:
    """Show what an index holds and how it was made."""
    from rader_plugins.index import RaderIndex

    damage: IndexCorruptError | None = None
    with contextlib.closing(folder.open(verify=False)) as index:
        stats: dict[str, Any] = index.stats()
        if verify:
            if not isinstance(index, RaderIndex):
                raise InputError(f"--verify is for an index in a folder; {folder} is looked after by its engine.")
            try:
                index.verify()
            except IndexCorruptError as error:
                damage = error
            stats["verified"] = damage is None
    if json:
        emit_json(stats)
    else:
        typer.echo("\n".join(facts(index_facts(stats))))
    if damage is not None:
        fail(str(damage))
        raise typer.Exit(1)


@app.command()
def optimize(folder: IndexFolder, json: JsonOutput = False) -> None:
    """Drop deleted documents from disk and rebuild the search structures."""
    with contextlib.closing(open_index(folder)) as index:
        before = index.stats()["bytes"]
        index.optimize()
        stats = index.stats()
    if json:
        emit_json({"documents": stats["documents"], "bytes_before": before, "bytes": stats["bytes"]})
    else:
        size = (
            f", {human_bytes(before)} before, {human_bytes(stats['bytes'])} now" if stats["bytes"] is not None else ""
        )
        typer.echo(f"Optimized {folder}: {count(stats['documents'], 'document')}{size}.")


@app.command()
@with_option_groups
def repair(
    folder: IndexFolder,
    choice: ModelChoice = OWN_MODEL,
    json: JsonOutput = False,
) -> None:
    """Encode again the documents whose vectors are damaged or lost."""
    from rader_plugins.index import RaderIndex
    from rader_plugins.index.home import open_home

    encoder = None
    if choice.is_given:
        # RaderIndex.open refuses some of what is to be repaired.
        with RaderIndex(open_home(folder.needed_folder)) as index:
            encoder = choice.load(index)
    encoded = RaderIndex.repair(folder.needed_folder, encoder)
    if json:
        emit_json({"encoded_again": encoded})
    else:
        typer.echo(f"Repaired {folder}: {count(encoded, 'document')} encoded again.")
