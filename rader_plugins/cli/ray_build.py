"""``rader index build --ray``: the same build, by many workers into the index of an engine."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rader_plugins.arguments import shown
from rader_plugins.cli.build_options import Reading
from rader_plugins.cli.output import progress
from rader_plugins.errors import InputError

if TYPE_CHECKING:
    from rader_plugins.cli.index_place import IndexPlace
    from rader_plugins.distributed import Building
    from rader_plugins.index import Index
    from rader_plugins.ingestion import Source
    from rader_plugins.ingestion.build_record import BuildRecord
    from rader_plugins.ingestion.stores import Location

__all__ = ["ONE_PROCESS", "RayWorkers", "build_by_workers", "check_options", "open_sources", "repeated_message"]

_WORKERS = 2


@dataclasses.dataclass(frozen=True)
class RayWorkers:
    """Who reads, encodes and writes."""

    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Build with workers of this Ray cluster; 'local' starts Ray on this machine. --out must be the URL of "
            "an engine.",
        ),
    ] = None
    ray_workers: Annotated[
        int | None, typer.Option("--ray-workers", min=1, metavar="N", help="With --ray: workers. Default: 2.")
    ] = None
    ray_gpus: Annotated[
        float | None,
        typer.Option(
            "--ray-gpus", min=0, metavar="N", help="With --ray: GPUs of each worker, such as 0.5. Default: 0."
        ),
    ] = None


ONE_PROCESS = RayWorkers()


def check_options(
    workers: RayWorkers, out: IndexPlace, reading: Reading, paths: Sequence[Location], *, prune: bool
) -> None:
    """Refuse what has no effect, or cannot be done.

    Raises:
        InputError: An option is given that has none; ``--out`` is a folder; or there are several sources without Ray.
    """
    if workers.ray is None:
        if len(paths) > 1:
            raise InputError(
                f"Without --ray one PATH is built at a time: build {paths[0]}, then add the others with `rader index "
                f"add {out} {paths[1]}`."
            )
        if workers.ray_workers is not None or workers.ray_gpus is not None:
            raise InputError("--ray-workers and --ray-gpus have no effect without --ray.")
        return
    if out.folder is not None:
        raise InputError(
            f"--ray needs the URL of an engine as --out, and {out} is a folder: that has one writer at a time. Build "
            "in an engine, then move the index here: open_index(URL).copy_to(FOLDER)."
        )
    without_effect = {
        "--prune": prune,
        "--rechunk": reading.rechunk,
        "--jobs": reading.jobs is not None,
        "--file-timeout": reading.file_timeout is not None,
        "--check-content": reading.check_content,
    }
    if names := [name for name, value in without_effect.items() if value]:
        raise InputError(f"With --ray there is no {', '.join(names)}: leave {'it' if len(names) == 1 else 'them'} out.")


def open_sources(paths: Sequence[Location], plan: BuildRecord) -> list[Source]:
    """Open what is to be built from.

    Raises:
        InputError: It is nothing that workers can read, ``--encoding`` has no effect, or files of two have the same id.
    """
    from rader_plugins.distributed import check_names, open_shared_source

    sources = [plan.open_source(path, open_shared_source) for path in paths]
    if plan.encoding is not None and any(source.kind != "text" for source in sources):
        raise InputError("--encoding has no effect on rows that --ray reads: they must be UTF-8.")
    check_names(sources)
    return sources


def build_by_workers(index: Index, sources: Sequence[Source], workers: RayWorkers) -> Building:
    """Read, encode and write; what lies beside what is read is among the findings too."""
    from rader_plugins.distributed import build, origin_of, shares_of_all

    with contextlib.redirect_stdout(sys.stderr):  # Ray tells there that a worker died and is replaced
        building = build(
            index,
            shares_of_all(sources, workers.ray_workers or _WORKERS),
            address=workers.ray or "local",
            workers=workers.ray_workers or _WORKERS,
            gpus=workers.ray_gpus or 0,
            progress=progress,
        )
    for source in sources:
        building.findings.take(source.listed.under(origin_of(source) if len(sources) > 1 else ""))
    return building


def repeated_message(building: Building) -> str | None:
    """Say that ids stand more than once; None where none does."""
    if not building.repeated:
        return None
    return (
        f"{building.repeated:,} of {building.read:,} documents share their id with another, such as "
        f"{', '.join(map(shown, building.repeated_ids))}: the text of one of them is stored, and which is chance. Give "
        "each an id of its own."
    )
