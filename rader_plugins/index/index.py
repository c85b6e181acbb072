"""`RaderIndex`: documents with their vectors and terms, on disk or in memory."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from typing_extensions import Unpack

from rader_plugins.arguments import check_flag
from rader_plugins.documents import Document
from rader_plugins.encoding.base import Encoder
from rader_plugins.errors import AlreadyExistsError, InputError, RefusedDocumentsError
from rader_plugins.index.adding import Adder, id_list, in_batches, prepare, prepare_all, refusal_message, storable
from rader_plugins.index.copying import copy, copy_record, mirror
from rader_plugins.index.dense import AnnConfig
from rader_plugins.index.encoders import EncoderSlot, RecordedEncoder, as_encoder, settings_for
from rader_plugins.index.engine_entries import find_engine
from rader_plugins.index.filters import Filter, check_deletion
from rader_plugins.index.home import Home, as_folder, create_home, is_home, open_home
from rader_plugins.index.lexical import Bm25Config
from rader_plugins.index.lock import LOCK_TIMEOUT, WriteLock, check_timeout
from rader_plugins.index.maintenance import damaged_rows, derived_is_behind, fill_missing, rebuild, store_derived
from rader_plugins.index.protocol import AddOptions, AddReport
from rader_plugins.index.reading import IndexReader
from rader_plugins.recipes import Recipe

__all__ = ["RaderIndex"]


class RaderIndex(IndexReader):
    """Documents, their vectors and their terms: searchable by meaning, by words, or both.

    One process writes at a time, any number read; a reader sees a commit at its next search. Every object may be used
    from several threads. Whenever the process is killed, the index opens again with exactly the committed documents.

    Create one with :meth:`create` or :meth:`open`; search it with :class:`rader_plugins.RaderRetriever`.

    Example:
        >>> from rader_plugins import Document, RaderIndex, load_encoder
        >>> index = RaderIndex.create(None, encoder=load_encoder("mini"))
        >>> index.add([Document(id="a", text="Among any six people, three know each other or three do not.")])
        AddReport(added=1, replaced=0, unchanged=0, encoded=1, skipped=0)
    """

    def __init__(self, home: Home, encoder: Encoder | None = None, lock_timeout: float = LOCK_TIMEOUT) -> None:
        super().__init__(home)
        self._encoders = EncoderSlot(home.settings, home.folder, encoder)
        self._lock_timeout = lock_timeout
        self._write_lock = WriteLock(home.folder)
        self._adder = Adder(home, self._encoders, self._write_lock)

    # Making and opening

    @classmethod
    def create(
        cls,
        path: str | PathLike[str] | None,
        encoder: Encoder | Recipe | str | None,
        *,
        dtype: Literal["float32", "float16"] | None = None,
        ann: str | AnnConfig | Mapping[str, Any] | None = None,
        bm25: Bm25Config | None = None,
        exist_ok: bool = False,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> RaderIndex:
        """Make a new, empty index. Of several processes that do so at once one succeeds; nothing is ever replaced.

        Args:
            path: Folder to make; None keeps the index in memory. ``~`` and environment variables are replaced.
            encoder: What makes the vectors: an encoder, or what :func:`rader_plugins.load_encoder` takes. None makes
                an index without vectors, which is searched by BM25.
            dtype: How vectors are stored; ``float16`` halves their size and rounds scores to about 1e-3. None means
                ``float32``.
            ann: None searches exactly; ``"hnsw"``, ``"ivfpq"`` or their parameters (see :class:`AnnConfig`, also for
                GPUs) build a FAISS structure at :meth:`optimize`. Rows added later are searched exactly until the
                next :meth:`optimize`.
            bm25: Parameters of BM25; None means RaDeR's.
            exist_ok: Open an index that is there already, if it was made with the same encoder and options.
            lock_timeout: Seconds to wait for another writer, here and by default in every call on this object.

        Raises:
            InputError: There is an index already, or an option is unusable.
            FingerprintMismatchError: With ``exist_ok``: the index that is there holds other vectors.
            IndexLockedError: Another process is making the index and takes longer than ``lock_timeout``.
            IndexWriteError: The folder cannot be written.
        """
        lock_timeout = check_timeout(lock_timeout)
        folder = None if path is None else as_folder(path)
        encoder = None if encoder is None else as_encoder(encoder)
        settings = settings_for(encoder, dtype=dtype, ann=ann, bm25=bm25)
        if exist_ok and folder is not None:
            with contextlib.suppress(AlreadyExistsError):
                return cls(create_home(folder, settings, lock_timeout), encoder, lock_timeout)
            index = cls.open(folder, encoder, lock_timeout=lock_timeout)
            try:
                options = {"dtype": dtype, "ann": ann, "bm25": bm25}
                index._home.settings.check_same(settings, options, index.path)
            except InputError:
                index.close()
                raise
            return index
        return cls(create_home(folder, settings, lock_timeout), encoder, lock_timeout)

    @classmethod
    def open(
        cls,
        path: str | PathLike[str],
        encoder: Encoder | Recipe | str | None = None,
        *,
        verify: bool | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> RaderIndex:
        """Open an index.

        Args:
            path: Folder of the index. ``~`` and environment variables are replaced.
            encoder: What encodes queries and new documents; it must have the index's fingerprint. None loads the
                recorded recipe when it is first needed.
            verify: Compare all vectors with their checksums; None does so up to 1 GiB of them.
            lock_timeout: Seconds that a change waits for another writer.

        Raises:
            InputError: There is no index.
            FingerprintMismatchError: The encoder makes other vectors than the index holds.
            IndexCorruptError: A file is damaged or truncated.
            IndexVersionError: A newer version of the library wrote it.
        """
        index = cls(open_home(as_folder(path)), lock_timeout=check_timeout(lock_timeout))
        if encoder is not None:
            index._encoders.use(as_encoder(encoder))
        snapshot = index.snapshot()
        if verify is not None:
            check_flag(verify, "verify")
        if verify or (verify is None and snapshot.rows * (index.dimension or 0) * 4 <= 1 << 30):
            index.verify()
        return index

    @staticmethod
    def exists(path: str | PathLike[str]) -> bool:
        """Whether a folder holds an index."""
        return is_home(as_folder(path))

    @property
    def encoder(self) -> Encoder | None:
        """The encoder; loaded from the recorded recipe if none was given. None without vectors.

        Raises:
            InputError: The recorded model cannot be found.
        """
        return self._encoders.get()

    @property
    def recorded_model(self) -> Recipe | str:
        """What ``load_encoder`` takes to make the same vectors: a recipe, or the directory that the model came from.

        The place of a directory is a hint. A model that was trained further since has another fingerprint.
        """
        return self._encoders.recorded_model

    @property
    def recorded_precision(self) -> str | None:
        """In which precision its first vectors were computed (``"bfloat16"``), where that is known."""
        return self._encoders.recorded_precision

    def copy_to(self, path: str | PathLike[str]) -> None:
        """Make the index in a folder, or behind the URL of an engine, hold what this one holds; nothing is encoded.

        An index that is there already is brought up to date. Between folders the note of how it was built goes along.

        Raises:
            FingerprintMismatchError: The index that is there holds vectors of another recipe.
            InputError: It stores vectors in another type, or has other parameters of BM25.
        """
        if (engine := find_engine(path)) is not None:
            settings = self._home.settings
            encoder = None if settings.recipe is None else RecordedEncoder(settings, self._encoders)
            options = {"dtype": settings.dtype, "bm25": settings.bm25, "exist_ok": True}
            copy(self, engine.create(str(path), encoder, **options))
            return
        folder = as_folder(path)
        with contextlib.suppress(AlreadyExistsError):
            create_home(folder, self._home.settings, self._lock_timeout).store.close()
        with RaderIndex(open_home(folder), lock_timeout=self._lock_timeout) as target, self.frozen():
            if target.fingerprint == self.fingerprint:  # otherwise that is what has to be said
                settings = self._home.settings
                target._home.settings.check_same(settings, {"dtype": settings.dtype, "bm25": settings.bm25}, folder)
            mirror(self, target)
            if folder != self.path:
                copy_record(self.path, folder)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle how to open it: its folder, the encoder that was given, and how long to wait for others."""
        if self.path is None:
            raise InputError(
                "An index in memory cannot be pickled, as another process cannot open it. Copy it to a folder "
                "(copy_to(path)) and pickle what RaderIndex.open(path) gives."
            )
        return _reopened, (self.path, self._encoders.given, self._lock_timeout)

    def __copy__(self) -> RaderIndex:
        return self

    def __deepcopy__(self, memo: object) -> RaderIndex:
        """Return the index itself: every copy would be of the same folder."""
        return self

    # Writing

    def add(self, documents: Iterable[Document], **options: Unpack[AddOptions]) -> AddReport:
        """Add documents; one with the id of a stored document replaces it.

        A list is checked as a whole before anything is encoded. Every ``commit_every`` documents are one commit; if a
        later part fails, or the process is killed, the earlier parts stay.

        Args:
            documents: Any iterable; a generator is read in parts.
            **options: ``vectors``: theirs, shape (n, dimension), if they are known; scaled to length 1. They win over
                stored ones. Otherwise the encoder makes them, of texts that do not stand under their id already.
                ``commit_every``: documents per commit (8192). ``lock_timeout``: seconds to wait for another writer.

        Returns:
            How many documents were added or replaced; it tells more. Identical documents write nothing.

        Raises:
            InputError: An id twice in one call, an unusable document, or vectors of a wrong shape, not finite or zero.
            EncodingError: The encoder failed.
            RefusedDocumentsError: A server refused the texts of some documents; all others are stored.
            IndexLockedError: Another writer was at work for longer than ``lock_timeout``. Nothing is lost: what was
                encoded serves the next call on this object.
            IndexWriteError: The disk is full or the folder read-only.
        """
        if unknown := sorted(set(options) - AddOptions.__annotations__.keys()):
            raise InputError(f"add() takes no {', '.join(unknown)}; it takes {', '.join(AddOptions.__annotations__)}.")
        vectors, commit_every = options.get("vectors"), options.get("commit_every", 8192)
        if not isinstance(commit_every, int) or isinstance(commit_every, bool) or commit_every < 1:
            raise InputError(f"commit_every must be a whole number of at least 1, not {commit_every!r}.")
        timeout = self._timeout(options.get("lock_timeout"))
        prepared = prepare_all(documents, at_once=vectors is not None)
        array = None if vectors is None else storable(vectors, len(list(prepared)), self._home.settings)
        reports: list[AddReport] = []
        refused: dict[str, str] = {}
        position = 0
        for batch in in_batches(prepared, min(commit_every, sys.maxsize)):
            part = None if array is None else array[position : position + len(batch)]
            reports.append(self._adder.add(batch, part, timeout, refused=refused))
            if reports[-1] and derived_is_behind(self._home):
                with self._write_lock.held(timeout):
                    store_derived(self._home, self.snapshot(), None)
            position += len(batch)
        report = AddReport.total([*reports, AddReport(skipped=len(refused))])
        if refused:
            raise RefusedDocumentsError(refusal_message(refused, report), refused, report)
        return report

    def _timeout(self, lock_timeout: float | None) -> float:
        return self._lock_timeout if lock_timeout is None else check_timeout(lock_timeout)

    def delete(
        self, ids: Iterable[str] | None = None, *, filter: Filter | None = None, lock_timeout: float | None = None
    ) -> int:
        """Delete documents by their ids or by a filter.

        Args:
            ids: Ids of the documents; those that are not stored are ignored.
            filter: Those that pass it; with ``ids``, those of the ids that do.
            lock_timeout: Seconds to wait for another writer; None takes the index's own.

        Returns:
            How many were deleted.

        Raises:
            InputError: Neither is given, or an empty filter alone: that would delete everything.
        """
        check_deletion(ids, filter)
        names = None if ids is None else id_list(ids)
        with self._write_lock.held(self._timeout(lock_timeout)):
            if filter is not None:
                passing = self.ids(filter)
                names = list(passing) if names is None else sorted(set(names).intersection(passing))
            if not self._home.store.rows_of(names or []):
                return 0
            with self._home.store.writing() as changes:
                return changes.delete(names or [], changes.next_generation())

    def optimize(self, *, lock_timeout: float | None = None) -> None:
        """Drop deleted rows from disk and rebuild BM25's and FAISS's structures.

        Searches give the same results before and after (apart from the approximate structure's choice). Safe to
        interrupt: until the last step the old state is in force.

        Args:
            lock_timeout: Seconds to wait for another writer; None takes the index's own.
        """
        with self._write_lock.held(self._timeout(lock_timeout)):
            rebuild(self._home, self.snapshot)

    @classmethod
    def repair(cls, path: str | PathLike[str], encoder: Encoder | Recipe | str | None = None) -> int:
        """Encode again the documents whose vectors are damaged, truncated or lost.

        The texts come from the database, so a damaged database cannot be repaired this way.

        Args:
            path: Folder of the index.
            encoder: The encoder, as in :meth:`open`.

        Returns:
            How many documents were encoded again.
        """
        index = cls(open_home(as_folder(path)))
        if encoder is not None:
            index._encoders.use(as_encoder(encoder))
        with index._write_lock.held(index._lock_timeout):
            fill_missing(index._home)
            damaged = set(damaged_rows(index._home))
            batch = [prepare(document) for row, document in index._home.store.scan() if row in damaged]
            refused: dict[str, str] = {}
            reports = [
                index._adder.add(part, None, index._lock_timeout, refused=refused, renew=True)
                for part in in_batches(batch, 8192)
            ]
            if refused:  # their vectors stay known as damaged
                report = AddReport.total(reports)
                raise RefusedDocumentsError(refusal_message(refused, report), refused, report)
            index.optimize()
        index.close()
        return len(batch)


def _reopened(path: Path, encoder: Encoder | None, lock_timeout: float) -> RaderIndex:
    """Open a pickled index; its checksums were compared where it was opened first."""
    return RaderIndex.open(path, encoder, verify=False, lock_timeout=lock_timeout)
