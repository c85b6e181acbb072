"""The parts that make up one index, and how they are made and found on disk."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rader_plugins.arguments import check_path, expand_path, shown
from rader_plugins.errors import AlreadyExistsError, IndexWriteError, InputError, NoIndexError
from rader_plugins.files import sync_folder
from rader_plugins.index.dense import AnnConfig
from rader_plugins.index.lexical import Bm25Config
from rader_plugins.index.lock import WriteLock
from rader_plugins.index.storage import FileShards, MemoryShards, Shards, Store
from rader_plugins.index.storage.schema import is_placeholder
from rader_plugins.recipes import Recipe

__all__ = [
    "BUILD_RECORD", "FIRST_ANALYZER", "Home", "Settings", "as_folder", "create_home", "is_home", "open_home",
    "outdated_analysis", "renew_terms",
]  # fmt: skip

_DATABASE = "index.db"
_URL = re.compile("[a-zA-Z][a-zA-Z0-9+.-]+://")

BUILD_RECORD = "build.json"
"""File beside the database, with which whoever built the index notes how; a copy takes it along."""

FIRST_ANALYZER = "lucene-english/1"
"""Analysis of indexes that do not say how their words were found."""


@dataclass(frozen=True)
class Settings:
    """What an index is created with and keeps for good.

    Attributes:
        recipe, fingerprint: Whose vectors it holds; None without vectors.
        location: Where the model was found, as a hint; a directory is absolute.
        dimension, dtype: Length (None without vectors) and storage type of the vectors.
        bm25, ann: Settings of lexical search, and of approximate search.
        location_from_index: The way from the index to the directory of the model, for both to be moved together.
        precision: Precision in which its first vectors were computed, where that is known; it goes on in it.
    """

    recipe: Recipe | None
    fingerprint: str | None
    location: str | None
    dimension: int | None
    dtype: str
    bm25: Bm25Config
    ann: AnnConfig | None
    location_from_index: str | None = None
    precision: str | None = None

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Settings:
        """Read what :func:`dataclasses.asdict` made of them, or an older version did.

        An index without vectors may hold a stand-in for the recipe.
        """
        ann, recipe = values.get("ann"), values.get("recipe")
        if is_placeholder(recipe):
            recipe = None
        return cls(
            recipe=None if recipe is None else Recipe.from_dict(recipe),
            fingerprint=None if recipe is None else values["fingerprint"],
            location=values["location"],
            dimension=None if recipe is None else values["dimension"],
            dtype=values["dtype"],
            bm25=Bm25Config(**values["bm25"]),
            ann=None if ann is None else AnnConfig(**ann),
            location_from_index=values.get("location_from_index"),
            precision=values.get("precision"),
        )

    def check(self) -> None:
        """Look at them before a new index is made with them.

        Raises:
            InputError: An option is unusable.
        """
        if not isinstance(self.dtype, str) or self.dtype not in ("float32", "float16"):
            raise InputError(f"dtype is 'float32' or 'float16', not {self.dtype!r}.")
        if not isinstance(self.bm25, Bm25Config):
            raise InputError(f"bm25 is a Bm25Config, not {type(self.bm25).__name__}.")
        if self.ann is not None:
            self.ann.check(self.dimension)

    def check_same(self, requested: Settings, options: Mapping[str, object], where: object) -> None:
        """Refuse to go on with an index that was made otherwise than is asked for now.

        Args:
            requested: What it would be created with now.
            options: Those that were given; one that is None does not matter.
            where: What a message calls the index.

        Raises:
            InputError: An option differs, or it holds vectors and no encoder was named.
        """
        if requested.recipe is None and self.recipe is not None:
            raise InputError(f"{where} holds an index with vectors: name the encoder that it was made with.")
        for name, value in options.items():
            there = getattr(self, name)
            if value is not None and getattr(requested, name) != there:
                raise InputError(f"{where} was made with {name}={there!r}, which does not change afterwards.")


@dataclass(frozen=True)
class Home:
    """The parts of one index.

    Attributes:
        folder: The folder of the index; None in memory.
        store: The database of the index.
        shards: The files of its vectors; None without vectors.
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


def as_folder(path: object) -> Path:
    """Return a path as a user wrote it, absolute: ``~`` and environment variables are replaced.

    Raises:
        InputError: It is no path.
    """
    if isinstance(path, str) and not path:  # for pathlib, the working directory
        raise InputError("The folder of an index must be a path, not ''.")
    if isinstance(path, str) and _URL.match(path):  # as a path it would be a folder of a strange name
        raise InputError("An index behind a URL is opened by open_index() and made by create_index(), not as a folder.")
    return expand_path(check_path(path, "The folder of an index")).absolute()


def is_home(folder: Path) -> bool:
    """Whether a folder holds an index.

    Raises:
        InputError: The system does not let anybody know: a folder that may not be entered, a name that is too long.
    """
    try:
        return (folder / _DATABASE).is_file()
    except OSError as error:
        raise InputError(f"Whether {shown(str(folder))} holds an index cannot be seen: {error.strerror}.") from None


def create_home(folder: Path | None, settings: Settings, lock_timeout: float) -> Home:
    """Make a new, empty index on disk, or in memory if ``folder`` is None.

    Of several processes that do it at once, one succeeds; nothing is ever replaced.

    Raises:
        InputError: There is an index already.
        IndexLockedError: Another process is making one and takes longer than ``lock_timeout`` seconds.
        IndexWriteError: The folder cannot be written.
    """
    if folder is None:
        return _assemble(None, _filled(None, settings))
    _check_free(folder)
    # The name of a database alone may be that of any application.
    homes = (parent for parent in folder.parents if (parent / "vectors").is_dir() and (parent / "derived").is_dir())
    if around := next(filter(is_home, homes), None):
        raise InputError(f"{folder} lies within the index in {around}, whose folder is its own. Name another place.")
    with _translated(folder):
        parents = _make_folders(folder)
        # Complete and on disk before it gets its name: a process killed here leaves no half index behind.
        unfinished = folder / f".{_DATABASE}.{secrets.token_hex(8)}.new"
        try:
            try:
                _filled(unfinished, settings).close()
            except IndexWriteError as error:  # it names a file that nobody has heard of
                raise IndexWriteError(
                    f"The index in {folder} could not be made: {error.__cause__ or error}. Free some space or make the "
                    "folder writable and try again."
                ) from error
            with WriteLock(folder).held(lock_timeout):
                _check_free(folder)
                _publish(unfinished, folder / _DATABASE)
                sync_folder(folder)
            for parent in parents:
                sync_folder(parent)
        finally:
            unfinished.unlink(missing_ok=True)
    return open_home(folder)


def _filled(file: Path | None, settings: Settings) -> Store:
    """Make a database that knows what its index was created with."""
    relative = None
    if file is not None and settings.location is not None and Path(settings.location).is_dir():
        with contextlib.suppress(ValueError):  # another drive of Windows
            relative = Path(os.path.relpath(settings.location, file.parent)).as_posix()
    values: dict[str, Any] = asdict(settings) | {"location_from_index": relative}
    store = Store(file, create=True)
    with store.writing() as changes:
        changes.set_meta({"generation": 0, "epoch": 0, "rows": 0, "analyzer": settings.bm25.analyzer.name, **values})
    return store


def outdated_analysis(home: Home) -> str | None:
    """Return by which analysis the terms of an index were found, if that is another than its queries get now."""
    stored: str = home.store.meta("analyzer", FIRST_ANALYZER)
    return None if stored == home.settings.bm25.analyzer.name else stored


def renew_terms(home: Home) -> bool:
    """Analyse all documents anew if that was done by another version or another way; return whether it was.

    The caller holds the write lock.
    """
    analyzer = home.settings.bm25.analyzer
    if outdated_analysis(home) is None:
        return False
    with home.store.writing() as changes:
        changes.next_generation()
        changes.renew_terms(analyzer.count)
        # Another epoch, so that nobody takes over what he has read before.
        changes.set_meta({"analyzer": analyzer.name, "epoch": home.store.meta("epoch") + 1})
    return True


def _check_free(folder: Path) -> None:
    database = folder / _DATABASE
    holds_index = is_home(folder)  # first: it says what is the matter with a folder that cannot be looked at
    if database.is_symlink() or database.exists() and not database.is_file():
        raise InputError(f"{database} is there, and is no file: an index can neither be made nor opened in {folder}.")
    if holds_index:
        raise AlreadyExistsError(
            f"{folder} already holds an index: RaderIndex.open({str(folder)!r}) opens it, and so does "
            "create(..., exist_ok=True)."
        )


def _make_folders(folder: Path) -> list[Path]:
    """Make the folders of an index; return those in which a new name has to be made durable."""
    parents = [folder, *folder.parents]
    fresh = [parent for parent in parents if not parent.exists()]
    for part in (folder / "vectors", folder / "derived"):
        part.mkdir(parents=True, exist_ok=True)
    return [parent.parent for parent in fresh]


def _publish(unfinished: Path, name: Path) -> None:
    """Give a file its name without replacing another one."""
    try:
        os.link(unfinished, name)
    except FileExistsError:
        raise AlreadyExistsError(
            f"{name.parent} already holds an index, which another process made meanwhile."
        ) from None
    except OSError:  # a file system without links: the lock is what keeps others away
        unfinished.rename(name)


@contextlib.contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except IndexWriteError:
        raise
    except OSError as error:
        raise IndexWriteError(f"The folder {folder} cannot be made or written: {error.strerror or error}.") from error


def open_home(folder: Path) -> Home:
    """Find an index on disk.

    Raises:
        InputError: There is none.
    """
    if not is_home(folder):
        raise NoIndexError(f"{folder} holds no index. RaderIndex.create or `rader index build` makes one.")
    return _assemble(folder, Store(folder / _DATABASE, create=False))


def _assemble(folder: Path | None, store: Store) -> Home:
    later = {"location_from_index": (None,), "precision": (None,)}  # with its default; the others are in every index
    with store.reading():
        values = {field.name: store.meta(field.name, *later.get(field.name, ())) for field in fields(Settings)}
    settings = Settings.from_values(values)
    shards: Shards | None = None
    if settings.dimension is not None:
        kind = settings.dimension, settings.dtype
        shards = FileShards(folder / "vectors", *kind) if folder else MemoryShards(*kind)
    return Home(folder, store, shards, settings)
