"""``rader index``: build, add, delete, info, optimize, repair."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rader_plugins.cli.options import (
    AnnKind,
    ChunkOverlap,
    ChunkSize,
    Device,
    Globs,
    IndexFolder,
    JsonOutput,
    Model,
    ModelChoice,
    RecipeName,
    ServedModel,
    SourcePath,
    StorageType,
    TrustRemoteCode,
    open_index,
)
from rader_plugins.cli.output import count, emit_json, facts, fail, human_bytes, note
from rader_plugins.cli.summary import index_facts, ingested_facts, ingested_object
from rader_plugins.errors import IndexCorruptError, InputError

if TYPE_CHECKING:
    from rader_plugins.cli.ingest import Survey
    from rader_plugins.encoding import Encoder
    from rader_plugins.index import RaderIndex
    from rader_plugins.sources import Chunking

__all__ = ["app"]

app = typer.Typer(help="Build an index and look after it.", no_args_is_help=True, rich_markup_mode=None)

_DEFAULT_MODEL = "mini"
_OWN_NAMES = {"vectors", "derived", "write.lock"}


@app.command()
def build(
    path: SourcePath,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the index.", show_default=False)],
    model: Model = None,
    recipe: RecipeName = None,
    served_model: ServedModel = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    dtype: Annotated[
        StorageType | None,
        typer.Option("--dtype", help="How vectors are stored. Default: float32; float16 halves their size."),
    ] = None,
    ann: Annotated[
        AnnKind | None, typer.Option("--ann", help="Approximate search with FAISS. Default: exact search.")
    ] = None,
    glob: Globs = None,
    chunk_size: ChunkSize = None,
    chunk_overlap: ChunkOverlap = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove stored documents that PATH does not hold (any more).")
    ] = False,
    json: JsonOutput = False,
) -> None:
    """Build an index from documents, or bring it up to date.

    Run again after an interruption or a change, it encodes only what is new or different.
    The model is 'mini' unless --model says otherwise.
    """
    from rader_plugins.cli.ingest import survey
    from rader_plugins.sources import open_source

    _check_target(out)
    started = time.monotonic()
    found = survey(open_source(path, glob or (), _chunking(chunk_size, chunk_overlap)))
    choice = ModelChoice(model or _DEFAULT_MODEL, recipe, served_model, device, trust_remote_code)
    with _open_or_create(out, choice.load(), dtype, ann) as index:
        _fill(index, found, out, started, prune=prune, json=json, verb="Built")


@app.command()
def add(
    folder: IndexFolder,
    path: SourcePath,
    model: Model = None,
    recipe: RecipeName = None,
    served_model: ServedModel = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    glob: Globs = None,
    chunk_size: ChunkSize = None,
    chunk_overlap: ChunkOverlap = None,
    json: JsonOutput = False,
) -> None:
    """Add documents to an index; one with a stored id replaces it.

    The index remembers its model; --model is needed only if that lies in a directory or behind a URL.
    Use the --chunk-size that the index was built with, if any.
    """
    from rader_plugins.cli.ingest import survey
    from rader_plugins.sources import open_source

    started = time.monotonic()
    with open_index(folder, ModelChoice(model, recipe, served_model, device, trust_remote_code)) as index:
        found = survey(open_source(path, glob or (), _chunking(chunk_size, chunk_overlap)))
        _fill(index, found, folder, started, prune=False, json=json, verb="Updated")


@app.command()
def delete(
    folder: IndexFolder,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Documents to delete.")] = None,
    ids_file: Annotated[
        typer.FileText | None,
        typer.Option(
            "--ids-file",
            metavar="FILE",
            encoding="utf-8",
            errors="replace",
            help="File with one id per line; - reads stdin.",
        ),
    ] = None,
    chunks: Annotated[
        bool, typer.Option("--chunks", help="Also delete every chunk of a document with one of these ids.")
    ] = False,
    json: JsonOutput = False,
) -> None:
    """Delete documents by id. Ids that are not stored are reported, and are no error."""
    listed = [line.rstrip("\r\n") for line in ids_file] if ids_file is not None else []
    names = list(dict.fromkeys(name for name in [*(ids or ()), *listed] if name))
    if not names:
        raise InputError("Name the documents to delete: as arguments, or with --ids-file.")
    with open_index(folder) as index:
        wanted = set(names)
        if chunks:
            names += [document.id for document in index.documents() if document.metadata.get("parent_id") in wanted]
        stored = {document.id: document for document in index.get(names)}
        parents = {document.metadata.get("parent_id") for document in stored.values()} if chunks else set()
        missing = [name for name in names if name not in stored and name not in parents]
        deleted = index.delete(names)
        left = len(index)
    if json:
        emit_json({"deleted": deleted, "missing": missing, "documents": left})
        return
    typer.echo(f"Deleted {count(deleted, 'document')}; {left:,} left.")
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        note(f"Not stored: {shown} ({count(len(missing), 'id')}).")


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
    with RaderIndex.open(folder, verify=False) as index:
        stats: dict[str, Any] = index.stats()
        if verify:
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
    with open_index(folder) as index:
        before = index.stats()["bytes"]
        index.optimize()
        stats = index.stats()
    if json:
        emit_json({"documents": stats["documents"], "bytes_before": before, "bytes": stats["bytes"]})
    else:
        size = f"{human_bytes(before)} before, {human_bytes(stats['bytes'])} now"
        typer.echo(f"Optimized {folder}: {count(stats['documents'], 'document')}, {size}.")


@app.command()
def repair(
    folder: IndexFolder,
    model: Model = None,
    recipe: RecipeName = None,
    served_model: ServedModel = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    json: JsonOutput = False,
) -> None:
    """Encode again the documents whose vectors are damaged or lost."""
    from rader_plugins.index import RaderIndex

    choice = ModelChoice(model, recipe, served_model, device, trust_remote_code)
    if choice.given and choice.model is None:
        raise InputError("`rader index repair` takes --model together with its other options.")
    encoded = RaderIndex.repair(folder, choice.load() if choice.given else None)
    if json:
        emit_json({"encoded_again": encoded})
    else:
        typer.echo(f"Repaired {folder}: {count(encoded, 'document')} encoded again.")


def _chunking(size: int | None, overlap: int | None) -> Chunking | None:
    from rader_plugins.sources import Chunking

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
    # A build that was killed in its first moments leaves these.
    return name in _OWN_NAMES or name.startswith(".index.db")


def _open_or_create(out: Path, encoder: Encoder, dtype: StorageType | None, ann: AnnKind | None) -> RaderIndex:
    from rader_plugins.index import RaderIndex

    if not RaderIndex.exists(out):
        storage: Literal["float32", "float16"] = "float16" if dtype is StorageType.float16 else "float32"
        return RaderIndex.create(out, encoder, dtype=storage, ann=ann.value if ann else None)
    index = RaderIndex.open(out, encoder)
    stats = index.stats()
    for option, asked, there in (("--dtype", dtype, stats["dtype"]), ("--ann", ann, stats["ann"])):
        if asked is not None and asked.value != there:
            index.close()
            raise InputError(
                f"{out} was built with {option} {there or '(none: exact search)'}, not {asked.value}. Leave the "
                "option out, or build a new index in another folder."
            )
    return index


def _fill(
    index: RaderIndex, found: Survey, folder: Path, started: float, *, prune: bool, json: bool, verb: str
) -> None:
    from rader_plugins.cli.ingest import committed, ingest

    with committed(index, folder):
        outcome = ingest(index, found, prune=prune)
        index.optimize()
    seconds = time.monotonic() - started
    stats = index.stats()
    if json:
        emit_json({"index": str(folder), **ingested_object(stats, outcome, found), "seconds": round(seconds, 2)})
        return
    size = f"{count(stats['documents'], 'document')}, {human_bytes(stats['bytes'])}"
    typer.echo(f"{verb} {folder}: {size}, in {seconds:.1f} s.")
    typer.echo("\n".join(facts(ingested_facts(stats, outcome, found, index.recipe.max_document_length), indent="  ")))
