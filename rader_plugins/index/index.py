"""`RaderIndex`: documents with their vectors and terms, on disk or in memory."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import filelock
import numpy as np
import numpy.typing as npt

from rader_plugins.documents import Document
from rader_plugins.encoding.base import Encoder
from rader_plugins.errors import (
    FingerprintMismatchError,
    IndexCorruptError,
    IndexLockedError,
    IndexWriteError,
    InputError,
)
from rader_plugins.index.dense import AnnConfig, Approximate
from rader_plugins.index.filters import Filter, filter_mask
from rader_plugins.index.lexical import Bm25Config
from rader_plugins.index.loader import Home, load_snapshot, read_shards, write_lexical
from rader_plugins.index.snapshot import Snapshot
from rader_plugins.index.store import FORMAT_VERSION, Store, set_meta
from rader_plugins.index.vectors import FileShards, MemoryShards
from rader_plugins.index.writer import Prepared, commit_documents, compact, delete_documents, prepare
from rader_plugins.recipes import Recipe

__all__ = ["RaderIndex"]

_LOG = logging.getLogger(__name__)
_DATABASE = "index.db"
_LEXICAL_TAIL = 5000  # rows that may stand behind the stored postings before they are stored anew


class RaderIndex:
    """Documents, their vectors and their terms: searchable by meaning, by words, or both.

    One process writes at a time, any number read; a reader sees a commit at its next search. Every object may be used
    from several threads. Whenever the process is killed, the index opens again with exactly the committed documents.

    Create one with :meth:`create` or :meth:`open`; search it with :class:`rader_plugins.RaderRetriever`.

    Example:
        >>> from rader_plugins import Document, RaderIndex, load_encoder
        >>> index = RaderIndex.create(None, encoder=load_encoder("mini"))
        >>> index.add([Document(id="a", text="Among any six people, three know each other or three do not.")])
        1
    """

    def __init__(self, home: Home, recipe: Recipe, fingerprint: str, dimension: int, dtype: str) -> None:
        self._home = home
        self.recipe = recipe
        self.fingerprint = fingerprint
        self.dimension = dimension
        self.dtype = dtype
        self._encoder: Encoder | None = None
        self._encoder_lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._snapshot_lock = threading.Lock()
        self._write_lock = threading.RLock()
        self._file_lock = (
            filelock.FileLock(home.folder / "write.lock", timeout=0, thread_local=False) if home.folder else None
        )

    # Making and opening

    @classmethod
    def create(
        cls,
        path: str | PathLike[str] | None,
        encoder: Encoder | Recipe | str,
        *,
        dtype: Literal["float32", "float16"] = "float32",
        ann: str | AnnConfig | Mapping[str, Any] | None = None,
        bm25: Bm25Config | None = None,
    ) -> RaderIndex:
        """Make a new, empty index.

        Args:
            path: Folder to make; None keeps the index in memory.
            encoder: What makes the vectors: an encoder, or what :func:`rader_plugins.load_encoder` takes.
            dtype: How vectors are stored; ``float16`` halves their size and rounds scores to about 1e-3.
            ann: None searches exactly; ``"hnsw"``, ``"ivfpq"`` or their parameters build a FAISS structure at
                :meth:`optimize`. Rows added later are searched exactly until the next :meth:`optimize`.
            bm25: Parameters of BM25.

        Raises:
            InputError: There is an index already, or an option is unknown.
            IndexWriteError: The folder cannot be written.
        """
        if dtype not in ("float32", "float16"):
            raise InputError(f"dtype is 'float32' or 'float16', not {dtype!r}.")
        config = _ann_config(ann)
        encoder = _as_encoder(encoder)
        folder = Path(path) if path is not None else None
        if folder is not None:
            if (folder / _DATABASE).exists():
                raise InputError(f"{folder} already holds an index: RaderIndex.open({str(folder)!r}) opens it.")
            try:
                for part in (folder / "vectors", folder / "derived"):
                    part.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise IndexWriteError(f"Could not make the folder {folder}: {error}") from error
        # The database gets its name when it is complete, so a process killed here leaves no half index behind.
        unfinished = folder / f".{_DATABASE}.new" if folder else None
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)
        store = Store(unfinished, create=True)
        with store.writing() as database:
            set_meta(
                database,
                {
                    "generation": 0,
                    "epoch": 0,
                    "rows": 0,
                    "dimension": encoder.dimension,
                    "dtype": dtype,
                    "recipe": encoder.recipe.to_dict(),
                    "fingerprint": encoder.fingerprint,
                    "bm25": asdict(bm25 or Bm25Config()),
                    "ann": asdict(config) if config else None,
                },
            )
        if folder is not None and unfinished is not None:
            store.close()
            unfinished.replace(folder / _DATABASE)
            store = Store(folder / _DATABASE, create=False)
        return cls._assemble(folder, store, encoder)

    @classmethod
    def open(
        cls, path: str | PathLike[str], encoder: Encoder | Recipe | str | None = None, *, verify: bool | None = None
    ) -> RaderIndex:
        """Open an index.

        Args:
            path: Its folder.
            encoder: What encodes queries and new documents; it must have the index's fingerprint. None loads the
                recorded recipe when it is first needed.
            verify: Compare all vectors with their checksums; None does so up to 1 GiB of them.

        Raises:
            InputError: There is no index.
            FingerprintMismatchError: The encoder makes other vectors than the index holds.
            IndexCorruptError: A file is damaged or truncated.
            IndexVersionError: A newer version of the library wrote it.
        """
        folder = Path(path)
        if not (folder / _DATABASE).is_file():
            raise InputError(f"{folder} holds no index. RaderIndex.create or `rader index build` makes one.")
        index = cls._assemble(folder, Store(folder / _DATABASE, create=False), None)
        if encoder is not None:
            index._use(_as_encoder(encoder))
        snapshot = index.snapshot()
        if verify or (verify is None and snapshot.rows * index.dimension * 4 <= 1 << 30):
            index.verify()
        return index

    @classmethod
    def _assemble(cls, folder: Path | None, store: Store, encoder: Encoder | None) -> RaderIndex:
        dimension, dtype, ann = store.meta("dimension"), store.meta("dtype"), store.meta("ann")
        shards = FileShards(folder / "vectors", dimension, dtype) if folder else MemoryShards(dimension, dtype)
        home = Home(
            folder, store, shards, Bm25Config(**store.meta("bm25")), AnnConfig(**ann) if ann is not None else None
        )
        recipe = Recipe.from_dict(store.meta("recipe"))
        index = cls(home, recipe, store.meta("fingerprint"), dimension, dtype)
        index._encoder = encoder
        return index

    def _use(self, encoder: Encoder) -> None:
        if encoder.fingerprint != self.fingerprint:
            raise FingerprintMismatchError(
                f"This index holds vectors of recipe {self.recipe.name!r} (fingerprint {self.fingerprint}), but the "
                f"encoder makes those of {encoder.recipe.name!r} (fingerprint {encoder.fingerprint}). Open it with "
                f"the recipe it was built with, or build a new index."
            )
        self._encoder = encoder

    @property
    def encoder(self) -> Encoder:
        """The encoder; loaded from the recorded recipe if none was given."""
        with self._encoder_lock:
            if self._encoder is None:
                self._use(_as_encoder(self.recipe))
            encoder = self._encoder
        if encoder is None:  # pragma: no cover - `_use` sets it or raises
            raise InputError("This index has no encoder.")
        return encoder

    def close(self) -> None:
        """Close the database. An index in memory is gone afterwards."""
        with self._snapshot_lock:
            self._snapshot = None
            self._home.store.close()

    def __enter__(self) -> RaderIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Reading

    def snapshot(self) -> Snapshot:
        """Return the newest committed state; cheap when nothing was committed since the last call."""
        with self._snapshot_lock:
            self._snapshot = load_snapshot(self._home, self._snapshot)
            return self._snapshot

    def mask(self, snapshot: Snapshot, condition: Filter | None) -> npt.NDArray[np.bool_] | None:
        """Return which rows of a snapshot a filter admits, shape (rows,); None where there is no filter."""
        if condition is None:
            return None
        if not callable(condition):
            return filter_mask(condition, self._home.store, snapshot.alive)
        mask = np.zeros_like(snapshot.alive)
        for row, document in self._home.store.scan():
            if row < len(mask) and condition(document):
                mask[row] = True
        return mask & snapshot.alive

    def fetch(self, ids: Sequence[str], snapshot: Snapshot) -> dict[str, Document] | None:
        """Return the documents of a snapshot by id, or None if something was committed since it was taken."""
        with self._home.store.reading():
            if self._home.store.meta("generation") != snapshot.generation:
                return None
            return self._home.store.documents(ids)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[Snapshot]:
        """Give the newest snapshot and keep every writer waiting until the block ends."""
        with self._home.store.reading():
            yield self.snapshot()

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents with these ids, in this order; ids that are not stored are left out."""
        found = self._home.store.documents(_id_list(ids))
        return [found[id] for id in ids if id in found]

    def documents(self) -> Iterator[Document]:
        """Yield every document in the order of insertion."""
        for _, document in self._home.store.scan():
            yield document

    def __len__(self) -> int:
        return len(self.snapshot())

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and bool(self._home.store.rows_of([id]))

    def stats(self) -> dict[str, Any]:
        """Return figures about the index as a JSON object."""
        snapshot = self.snapshot()
        folder = self._home.folder
        return {
            "path": str(folder) if folder else None,
            "documents": len(snapshot),
            "deleted_rows": snapshot.rows - len(snapshot),
            "dimension": self.dimension,
            "dtype": self.dtype,
            "recipe": self.recipe.name,
            "model": self.recipe.model,
            "fingerprint": self.fingerprint,
            "mean_terms": round(snapshot.lexical.mean_length, 2),
            "bm25": asdict(self._home.bm25),
            "ann": self._home.ann.kind if self._home.ann else None,
            "ann_rows": snapshot.approximate.rows if snapshot.approximate else 0,
            "generation": snapshot.generation,
            "shards": len(snapshot.shards),
            "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder else None,
            "format_version": FORMAT_VERSION,
        }

    def verify(self) -> None:
        """Compare every committed vector with its checksum.

        Raises:
            IndexCorruptError: Vectors were changed since they were written; the message says how many documents.
        """
        if self._home.folder is None:
            return
        if damaged := self._damaged_rows():
            raise IndexCorruptError(
                f"The vectors of {len(damaged)} rows in {self._home.folder} differ from what was written. The "
                "documents are intact in the database; `rader index repair` encodes the damaged vectors again."
            )

    def _damaged_rows(self) -> list[int]:
        with self._home.store.reading() as database:
            blocks = database.execute("SELECT start, rows, crc FROM blocks ORDER BY start").fetchall()
            arrays = self._home.shards.arrays(shards := read_shards(self._home.store))
        ends = [shard.start + shard.rows for shard in shards]
        damaged: list[int] = []
        for start, rows, expected in blocks:
            check = 0
            for shard, array, end in zip(shards, arrays, ends, strict=True):
                low, high = max(start, shard.start), min(start + rows, end)
                if low < high:
                    check = zlib.crc32(np.ascontiguousarray(array[low - shard.start : high - shard.start]).data, check)
            if check != expected:
                damaged += range(start, start + rows)
        return damaged

    # Writing

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self._write_lock:
            if self._file_lock is None:
                yield
                return
            try:
                self._file_lock.acquire()
            except filelock.Timeout:
                raise IndexLockedError(
                    f"Another process or object is writing to {self._home.folder}. Nothing was changed; try again "
                    "when it has finished."
                ) from None
            except OSError as error:
                raise IndexWriteError(f"{self._home.folder} cannot be written: {error}. Nothing was changed.") from error
            try:
                yield
            finally:
                self._file_lock.release()

    def add(
        self,
        documents: Iterable[Document],
        *,
        vectors: npt.ArrayLike | None = None,
        commit_every: int = 8192,
    ) -> int:
        """Add documents; one with the id of a stored document replaces it.

        A list is checked as a whole before anything is encoded. Every ``commit_every`` documents are one commit; if a
        later part fails, or the process is killed, the earlier parts stay.

        Args:
            documents: Any iterable; a generator is read in parts.
            vectors: Their vectors, shape (n, dimension), if they are known; scaled to length 1. Otherwise the
                encoder makes them.
            commit_every: Documents per commit.

        Returns:
            How many documents were added or replaced.

        Raises:
            InputError: An id twice in one call, an unusable document, or vectors of a wrong shape, not finite or zero.
            EncodingError: The encoder failed.
            IndexLockedError: Another writer is at work.
            IndexWriteError: The disk is full or the folder read-only.
        """
        if isinstance(documents, Document):
            raise InputError("add() takes a list of documents: add([document]).")
        if commit_every < 1:
            raise InputError(f"commit_every must be at least 1, not {commit_every}.")
        seen: set[str] = set()
        prepared: Iterable[Prepared] = (_once(prepare(document), seen) for document in documents)
        if isinstance(documents, Sequence) or vectors is not None:
            prepared = list(prepared)
        given = None if vectors is None else self._checked(vectors, len(list(prepared)))
        added = 0
        iterator = iter(prepared)
        while batch := list(itertools.islice(iterator, commit_every)):
            if given is None:
                texts = [item.document.text for item in batch]
                part = self._checked(self.encoder.encode_documents(texts), len(batch))
            else:
                part = given[added : added + len(batch)]
            with self._writing():
                commit_documents(self._home, batch, part)
                self._store_lexical()
            added += len(batch)
        return added

    def _checked(self, vectors: npt.ArrayLike, count: int) -> npt.NDArray[Any]:
        array = np.asarray(vectors)
        if array.ndim == 1 and count == 0:
            array = array.reshape(0, self.dimension)
        if array.shape != (count, self.dimension):
            raise InputError(f"Vectors must have the shape ({count}, {self.dimension}), not {array.shape}.")
        with np.errstate(all="ignore"):
            array = array.astype(np.float32)
            lengths = np.linalg.norm(array.astype(np.float64), axis=1)
        if len(wrong := np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))):
            raise InputError(f"Vector {wrong[0]} is zero or holds NaN or infinity; nothing of it was stored.")
        if np.abs(lengths - 1).max(initial=0) > 1e-4:
            array = (array / lengths[:, None]).astype(np.float32)
        return array.astype(np.dtype(self.dtype))

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents by id; ids that are not stored are ignored. Returns how many were deleted."""
        names = _id_list(ids)
        with self._writing():
            return delete_documents(self._home, names)

    def optimize(self) -> None:
        """Drop deleted rows from disk and rebuild BM25's and FAISS's structures.

        Searches give the same results before and after (apart from the approximate structure's choice). Safe to
        interrupt: until the last step the old state is in force.
        """
        with self._writing():
            snapshot = self.snapshot()
            if len(snapshot) < snapshot.rows:
                compact(self._home, snapshot)
                snapshot = self.snapshot()
                self._home.store.vacuum()
            records: dict[str, tuple[str, int, int]] = {}
            approximate = None
            if self._home.ann is not None and snapshot.rows:
                approximate = Approximate.build(snapshot.shards, self._home.ann)
            if self._home.derived is not None:
                records["lexical"] = write_lexical(self._home.derived, snapshot)
                if approximate is not None:
                    records["ann"] = _write_approximate(self._home.derived, approximate, snapshot)
            snapshot.approximate = approximate
            self._record(records)
            self._home.shards.remove_unused(read_shards(self._home.store))

    def _store_lexical(self) -> None:
        """Keep opening fast: store the postings again once enough rows stand behind the stored ones."""
        if self._home.derived is None:
            return
        with self._home.store.reading() as database:
            found = database.execute("SELECT rows FROM derived WHERE kind = 'lexical'").fetchone()
            rows = self._home.store.meta("rows")
        covered = found[0] if found else 0
        if rows - covered >= max(_LEXICAL_TAIL, covered // 2):
            self._record({"lexical": write_lexical(self._home.derived, self.snapshot())})

    def _record(self, records: Mapping[str, tuple[str, int, int]]) -> None:
        with self._home.store.writing() as database:
            for kind, record in records.items():
                database.execute("INSERT OR REPLACE INTO derived VALUES (?, ?, ?, ?)", (kind, *record))
            used = {file for (file,) in database.execute("SELECT file FROM derived")}
        if self._home.derived is not None:
            for file in self._home.derived.glob("*-*-*.*"):
                if file.name not in used:
                    file.unlink(missing_ok=True)


def _write_approximate(folder: Path, approximate: Approximate, snapshot: Snapshot) -> tuple[str, int, int]:
    name = f"{approximate.config.kind}-{snapshot.epoch:06d}-{snapshot.generation:010d}.faiss"
    temporary = folder / f".{name}.tmp"
    approximate.write(temporary)
    temporary.replace(folder / name)
    return name, approximate.rows, (folder / name).stat().st_size


def _ann_config(ann: str | AnnConfig | Mapping[str, Any] | None) -> AnnConfig | None:
    if ann is None or isinstance(ann, AnnConfig):
        return ann
    try:
        return AnnConfig(**ann) if isinstance(ann, Mapping) else AnnConfig(kind=ann)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(f"Unknown option for ann: {error}") from None


def _as_encoder(encoder: Encoder | Recipe | str) -> Encoder:
    if isinstance(encoder, Recipe | str):
        from rader_plugins.encoding import load_encoder

        return load_encoder(encoder)
    if not isinstance(encoder, Encoder):
        raise InputError(f"encoder must be an Encoder, a Recipe or a name, not {type(encoder).__name__}.")
    return encoder


def _id_list(ids: Iterable[str]) -> list[str]:
    if isinstance(ids, str):
        raise InputError(f"ids must be a list of strings: [{ids!r}].")
    names = list(ids)
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise InputError(f"ids must be strings, not {type(wrong[0]).__name__}.")
    return names


def _once(item: Prepared, seen: set[str]) -> Prepared:
    if item.document.id in seen:
        raise InputError(
            f"The id {item.document.id!r} stands twice in one call of add(), so it is unclear which text should win."
        )
    seen.add(item.document.id)
    return item
