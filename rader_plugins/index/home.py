"""The parts that make up one index, and how they are made and found on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from rader_plugins.errors import IndexWriteError, InputError
from rader_plugins.index.dense import AnnConfig
from rader_plugins.index.lexical import Bm25Config
from rader_plugins.index.store import Store, set_meta
from rader_plugins.index.vectors import FileShards, MemoryShards, Shards
from rader_plugins.recipes import Recipe

__all__ = ["Home", "Settings", "ann_config", "create_home", "is_home", "open_home"]

_DATABASE = "index.db"
_PLACEHOLDER = "no-vectors"  # the recipe that version 0.1 gave to an index without vectors


@dataclass(frozen=True)
class Settings:
    """What an index is created with and keeps for good.

    Attributes:
        recipe, fingerprint: Whose vectors it holds; None without vectors.
        location: Where the model was found, as a hint.
        dimension, dtype: Length (None without vectors) and storage type of the vectors.
        bm25, ann: How it searches.
    """

    recipe: Recipe | None
    fingerprint: str | None
    location: str | None
    dimension: int | None
    dtype: str
    bm25: Bm25Config
    ann: AnnConfig | None

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "float16"):
            raise InputError(f"dtype is 'float32' or 'float16', not {self.dtype!r}.")


@dataclass(frozen=True)
class Home:
    """The parts of one index.

    Attributes:
        folder: Where it lies; None in memory.
        store: Its database.
        shards: Its vectors; None without.
        settings: What it was created with.
    """

    folder: Path | None
    store: Store
    shards: Shards | None
    settings: Settings

    @property
    def derived(self) -> Path | None:
        """Folder of what can be rebuilt."""
        return self.folder / "derived" if self.folder else None


def is_home(folder: Path) -> bool:
    """Whether a folder holds an index."""
    return (folder / _DATABASE).is_file()


def create_home(folder: Path | None, settings: Settings) -> Home:
    """Make a new, empty index on disk, or in memory if ``folder`` is None."""
    values = {"generation": 0, "epoch": 0, "rows": 0, **asdict(settings)}
    if folder is None:
        store = Store(None, create=True)
        with store.writing() as database:
            set_meta(database, values)
        return _assemble(None, store)
    if is_home(folder):
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
        set_meta(database, values)
    store.close()
    unfinished.replace(folder / _DATABASE)
    return open_home(folder)


def open_home(path: str | PathLike[str]) -> Home:
    """Find an index on disk.

    Raises:
        InputError: There is none.
    """
    folder = Path(path)
    if not is_home(folder):
        raise InputError(f"{folder} holds no index. RaderIndex.create or `rader index build` makes one.")
    return _assemble(folder, Store(folder / _DATABASE, create=False))


def _assemble(folder: Path | None, store: Store) -> Home:
    ann, recipe = store.meta("ann"), store.meta("recipe")
    if recipe is not None and recipe["name"] == _PLACEHOLDER:
        recipe = None
    settings = Settings(
        recipe=None if recipe is None else Recipe.from_dict(recipe),
        fingerprint=None if recipe is None else store.meta("fingerprint"),
        location=store.meta("location"),
        dimension=None if recipe is None else store.meta("dimension"),
        dtype=store.meta("dtype"),
        bm25=Bm25Config(**store.meta("bm25")),
        ann=AnnConfig(**ann) if ann is not None else None,
    )
    shards: Shards | None = None
    if settings.dimension is not None:
        kind = settings.dimension, settings.dtype
        shards = FileShards(folder / "vectors", *kind) if folder else MemoryShards(*kind)
    return Home(folder, store, shards, settings)


def ann_config(ann: str | AnnConfig | Mapping[str, Any] | None) -> AnnConfig | None:
    """Return what a user wrote for an approximate structure as an :class:`AnnConfig`."""
    if ann is None or isinstance(ann, AnnConfig):
        return ann
    try:
        return AnnConfig(**ann) if isinstance(ann, Mapping) else AnnConfig(kind=ann)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(f"Unknown option for ann: {error}") from None
