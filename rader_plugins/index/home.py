"""The parts that make up one index, and how they are made and found on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from rader_plugins.encoding.base import Encoder
from rader_plugins.errors import IndexWriteError, InputError
from rader_plugins.index.dense import AnnConfig
from rader_plugins.index.lexical import Bm25Config
from rader_plugins.index.store import Store, set_meta
from rader_plugins.index.vectors import FileShards, MemoryShards, Shards
from rader_plugins.recipes import Recipe

__all__ = ["Home", "ann_config", "create_home", "open_home"]

_DATABASE = "index.db"


@dataclass(frozen=True)
class Home:
    """The parts of one index.

    Attributes:
        folder: Where it lies; None in memory.
        store: Its database.
        shards: Its vectors.
        recipe, fingerprint: Whose vectors it holds.
        dimension, dtype: Their length and storage type.
        bm25, ann: How it searches.
    """

    folder: Path | None
    store: Store
    shards: Shards
    recipe: Recipe
    fingerprint: str
    dimension: int
    dtype: str
    bm25: Bm25Config
    ann: AnnConfig | None

    @property
    def derived(self) -> Path | None:
        """Folder of what can be rebuilt."""
        return self.folder / "derived" if self.folder else None


def create_home(folder: Path | None, encoder: Encoder, dtype: str, ann: AnnConfig | None, bm25: Bm25Config) -> Home:
    """Make a new, empty index on disk, or in memory if ``folder`` is None."""
    if dtype not in ("float32", "float16"):
        raise InputError(f"dtype is 'float32' or 'float16', not {dtype!r}.")
    settings = {
        "generation": 0,
        "epoch": 0,
        "rows": 0,
        "dimension": encoder.dimension,
        "dtype": dtype,
        "recipe": encoder.recipe.to_dict(),
        "fingerprint": encoder.fingerprint,
        "location": encoder.location,
        "bm25": asdict(bm25),
        "ann": asdict(ann) if ann else None,
    }
    if folder is None:
        store = Store(None, create=True)
        with store.writing() as database:
            set_meta(database, settings)
        return _assemble(None, store)
    if (folder / _DATABASE).exists():
        raise InputError(f"{folder} already holds an index: RaderIndex.open({str(folder)!r}) opens it.")
    unfinished = folder / f".{_DATABASE}.new"
    try:
        for part in (folder / "vectors", folder / "derived"):
            part.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise IndexWriteError(f"The folder {folder} cannot be made or written: {error}") from error
    # The database gets its name when it is complete, so a process killed here leaves no half index behind.
    store = Store(unfinished, create=True)
    with store.writing() as database:
        set_meta(database, settings)
    store.close()
    unfinished.replace(folder / _DATABASE)
    return open_home(folder)


def open_home(path: str | PathLike[str]) -> Home:
    """Find an index on disk.

    Raises:
        InputError: There is none.
    """
    folder = Path(path)
    if not (folder / _DATABASE).is_file():
        raise InputError(f"{folder} holds no index. RaderIndex.create or `rader index build` makes one.")
    return _assemble(folder, Store(folder / _DATABASE, create=False))


def _assemble(folder: Path | None, store: Store) -> Home:
    dimension, dtype, ann = store.meta("dimension"), store.meta("dtype"), store.meta("ann")
    return Home(
        folder=folder,
        store=store,
        shards=FileShards(folder / "vectors", dimension, dtype) if folder else MemoryShards(dimension, dtype),
        recipe=Recipe.from_dict(store.meta("recipe")),
        fingerprint=store.meta("fingerprint"),
        dimension=dimension,
        dtype=dtype,
        bm25=Bm25Config(**store.meta("bm25")),
        ann=AnnConfig(**ann) if ann is not None else None,
    )


def ann_config(ann: str | AnnConfig | Mapping[str, Any] | None) -> AnnConfig | None:
    """Return what a user wrote for an approximate structure as an :class:`AnnConfig`."""
    if ann is None or isinstance(ann, AnnConfig):
        return ann
    try:
        return AnnConfig(**ann) if isinstance(ann, Mapping) else AnnConfig(kind=ann)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(f"Unknown option for ann: {error}") from None
