"""`EngineIndex`: an index that an engine keeps, with the answers of the embedded one."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from os import PathLike
from typing import Any

from typing_extensions import Self, Unpack

from rader_plugins.arguments import check_count, check_flag
from rader_plugins.background import in_thread
from rader_plugins.documents import Document, Hit
from rader_plugins.encoding.base import Encoder
from rader_plugins.engines.collection import Collection
from rader_plugins.engines.conditions import checked_scope, warn_of_missing_keys
from rader_plugins.engines.header import Header, header_bytes, read_header
from rader_plugins.engines.moments import Moments
from rader_plugins.engines.row_making import check_partition, check_query
from rader_plugins.engines.searching import Searching
from rader_plugins.engines.sparse import Sparse
from rader_plugins.engines.urls import without_password
from rader_plugins.engines.writing import Writing, repeated
from rader_plugins.errors import AlreadyExistsError, InputError, RefusedDocumentsError
from rader_plugins.index.adding import id_list, in_batches, prepare_all, refusal_message, storable
from rader_plugins.index.copying import copy
from rader_plugins.index.encoders import EncoderSlot, RecordedEncoder, as_encoder, settings_for
from rader_plugins.index.filters import Filter, check_deletion
from rader_plugins.index.home import Settings
from rader_plugins.index.lexical import Bm25Config
from rader_plugins.index.opening import CreateOptions, create_index, open_index
from rader_plugins.index.protocol import AddOptions, AddReport
from rader_plugins.index.ranking import check_vectors
from rader_plugins.index.request import SearchRequest, Vector
from rader_plugins.recipes import Recipe

__all__ = ["EngineIndex", "create_engine_index", "open_engine_index"]

_CAPABILITIES = frozenset({"bm25", "filter", "partition", "ranks", "terms"})
_BATCH = 1024  # documents of one write
_PAUSES = (0.2, 1.0)  # seconds before a search is repeated
_BLIP = 2.0  # seconds; a search that failed after more is not
_CREATE = frozenset({"dtype", "ann", "bm25", "exist_ok"})


class EngineIndex:
    """An index in a collection of an engine; it fulfils :class:`rader_plugins.index.Index`.

    Results are those of the embedded index, with BM25's statistics of the moment of the last :meth:`optimize`. Any
    number of processes may search and write; :meth:`stats` says what a search sees of a write.

    Made by :func:`rader_plugins.create_index` and :func:`rader_plugins.open_index`.

    Args:
        collection: Where the documents are.
        header: What it was created with.
        url: How it is opened again, in another process for example.
        encoder: What encodes queries and documents; None loads the recorded one when it is first needed.
        partition: The part that it looks at and writes to; ids are unique within it. ``""`` is the one without a name.
    """

    def __init__(
        self, collection: Collection, header: Header, *, url: str, encoder: Encoder | None = None, partition: str = ""
    ) -> None:
        self._collection = collection
        self._url = url
        self._partition = check_partition(partition, collection)
        self._encoders = EncoderSlot(header.settings, None)
        if encoder is not None:
            self._encoders.use(encoder)
        collection.open(header.settings.dimension, header.settings.dtype, header.settings.ann)
        self._moments = Moments(collection, header)
        self._searching = Searching(collection)
        self._writing = Writing(collection, partition, self._encoders, self._moments)

    @property
    def settings(self) -> Settings:
        """What it was created with."""
        return self._moments.header.settings

    @property
    def path(self) -> None:
        """None: it lies in no folder."""

    @property
    def recipe(self) -> Recipe | None:
        """Whose vectors it holds; None without vectors."""
        return self.settings.recipe

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the vectors; encoders must have the same. None without vectors."""
        return self.settings.fingerprint

    @property
    def dimension(self) -> int | None:
        """Length of the vectors; None without vectors."""
        return self.settings.dimension

    @property
    def bm25(self) -> Bm25Config:
        """How words are found and scored."""
        return self.settings.bm25

    @property
    def encoder(self) -> Encoder | None:
        """The encoder; loaded from the recorded recipe if none was given. None without vectors."""
        return self._encoders.get()

    @property
    def recorded_model(self) -> Recipe | str:
        """What ``load_encoder`` takes to make the same vectors."""
        return self._encoders.recorded_model

    @property
    def recorded_precision(self) -> str | None:
        """In which precision its first vectors were computed (``"bfloat16"``), where that is known."""
        return self._encoders.recorded_precision

    @property
    def capabilities(self) -> frozenset[str]:
        """What a request may ask of it; see :class:`rader_plugins.index.Index`."""
        return _CAPABILITIES if self.recipe is None else _CAPABILITIES | {"dense", "hybrid"}

    # Writing

    def add(self, documents: Iterable[Document], **options: Unpack[AddOptions]) -> AddReport:
        """Store documents; one with the id of a stored document replaces it.

        A list is checked as a whole before anything is encoded. What is reported is stored: a part whose answer was
        lost is sent again. If a later part fails, the earlier ones stay.

        Args:
            documents: Any iterable; a generator is read in parts.
            **options: ``vectors``: theirs, shape (n, dimension), if they are known. ``commit_every``: documents of one
                part (1024). There is no lock to wait for, so ``lock_timeout`` is refused.

        Raises:
            InputError: An id twice in one call, a document that the engine cannot store, unusable vectors or options.
            EncodingError: The encoder failed.
            RefusedDocumentsError: A server refused the texts of some documents; all others are stored.
            EngineError: The engine failed; the message says what was kept.
        """
        if unknown := sorted(set(options) - AddOptions.__annotations__.keys()):
            raise InputError(f"add() takes no {', '.join(unknown)}; it takes {', '.join(AddOptions.__annotations__)}.")
        if options.get("lock_timeout") is not None:
            raise InputError(f"{self._collection.engine} has no lock to wait for: leave lock_timeout out.")
        size = min(check_count(options.get("commit_every", _BATCH), "commit_every", 1), sys.maxsize)
        vectors = options.get("vectors")
        prepared = prepare_all(documents, at_once=vectors is not None)
        array = None if vectors is None else storable(vectors, len(list(prepared)), self.settings)
        refused: dict[str, str] = {}
        first = self._writing.begin()
        starts = itertools.count(step=size)
        report = self._writing.add(
            (
                (batch, None if array is None else array[start : start + len(batch)])
                for batch, start in zip(in_batches(prepared, size), starts, strict=False)
            ),
            first,
            refused,
        )
        self._writing.end(first)
        report = AddReport.total([report, AddReport(skipped=len(refused))])
        if refused:
            raise RefusedDocumentsError(refusal_message(refused, report), refused, report)
        return report

    def delete(self, ids: Iterable[str] | None = None, *, filter: Filter | None = None) -> int:
        """Delete documents by id or by a filter (with both, those of the ids that pass); return how many there were.

        Raises:
            InputError: Neither is given, or an empty filter alone: that would delete everything.
        """
        check_deletion(ids, filter)
        names = None if ids is None else list(dict.fromkeys(id_list(ids)))
        if filter is not None:
            scope = checked_scope(self._collection, self._partition, filter)
            passing = list(self._collection.ids(scope))
            if not passing:
                warn_of_missing_keys(self._collection, scope)
            names = passing if names is None else sorted(set(names).intersection(passing))
        names = names or []
        return sum(
            self._collection.delete(self._partition, names[start : start + _BATCH])
            for start in range(0, len(names), _BATCH)
        )

    def optimize(self) -> None:
        """Renew the statistics of BM25, and do what the engine has for making searches fast and storage small.

        It reads every text and writes the terms of every document, of all partitions, unless nothing has changed.
        """
        self._writing.renew_statistics()
        self._collection.optimize(self.settings.ann)

    def copy_to(self, where: str | PathLike[str]) -> None:
        """Make the index in a folder or behind a URL hold what this one holds (its partition); nothing is encoded.

        Raises:
            FingerprintMismatchError: The index that is there holds vectors of another recipe.
        """
        encoder = None if self.recipe is None else RecordedEncoder(self.settings, self._encoders)
        options: CreateOptions = {"bm25": self.settings.bm25, "exist_ok": True}
        if self.settings.dtype == "float16":
            options["dtype"] = "float16"
        copy(self, create_index(where, encoder, **options))

    # Reading

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents with these ids, in this order; ids that are not stored are left out."""
        names = id_list(ids)
        documents: dict[str, Document] = {}
        distinct = list(dict.fromkeys(names))
        for start in range(0, len(distinct), _BATCH):
            documents |= self._collection.documents(self._partition, distinct[start : start + _BATCH])
        return [documents[id] for id in names if id in documents]

    def ids(self, filter: Filter | None = None) -> Iterator[str]:
        """Yield the ids of all documents, or of those that pass a filter."""
        return self._collection.ids(checked_scope(self._collection, self._partition, filter))

    def vectors(self, ids: Sequence[str]) -> dict[str, Vector]:
        """Return id -> stored vector, shape (dimension,), for those ids that are stored; empty without vectors."""
        names = list(dict.fromkeys(id_list(ids)))
        vectors: dict[str, Vector] = {}
        if self.dimension is not None:
            for start in range(0, len(names), _BATCH):
                vectors |= self._collection.vectors(self._partition, names[start : start + _BATCH])
        return vectors

    def search(self, request: SearchRequest) -> list[list[Hit]]:
        """Search with vectors that are known.

        Args:
            request: What to search for; its ``partition`` names another part than the index's own.

        Raises:
            InputError: The engine cannot do what is asked of it, or vectors are missing or of another shape.
            EngineError: The engine failed.
        """
        request.check(self.capabilities)
        if request.k == 0 or not request.queries:
            return [[] for _ in request.queries]
        vectors = check_vectors(request, self.dimension)
        partition = self._partition if request.partition is None else request.partition
        check_partition(partition, self._collection)
        own = checked_scope(self._collection, partition, request.filter)
        excluded = request.exclude_ids or [()] * len(request.queries)
        scopes = [replace(own, excluded=tuple(dict.fromkeys(ids))) for ids in excluded]
        queries: list[Sparse] = []
        weights = None
        self._moments.look()
        if request.mode != "dense" or "terms" in request.details:
            weights = self._moments.weights(warn=True)
            if request.mode != "dense":
                queries = [check_query(weights.query(query), self._collection) for query in request.queries]
        hits = repeated(
            lambda: self._searching.search(request, vectors, queries, scopes, weights), _PAUSES, longest=_BLIP
        )
        if own.node is not None and request.mode != "bm25" and not any(hits):
            warn_of_missing_keys(self._collection, own)
        return hits

    async def asearch(self, request: SearchRequest) -> list[list[Hit]]:
        """As :meth:`search`, without blocking the event loop."""
        return await in_thread(self.search, request)

    def stats(self) -> dict[str, Any]:
        """Return figures about the index as a JSON object.

        ``statistics`` says what BM25 knows: of how many documents and of which moment, how old that is, how many
        documents came or changed since, how many went, and their share.
        """
        header, settings = self._moments.newest(), self.settings
        drift = self._moments.drift()
        moment = None if header.moment is None else datetime.fromisoformat(header.moment)
        age = None if moment is None else round((datetime.now(timezone.utc) - moment).total_seconds())
        return {
            "path": self._collection.shown,
            "engine": self._collection.engine,
            "partition": self._partition,
            "documents": len(self),
            "dimension": settings.dimension,
            "dtype": settings.dtype,
            "precision": settings.precision,
            "recipe": settings.recipe.name if settings.recipe else None,
            "model": settings.recipe.model if settings.recipe else None,
            "fingerprint": settings.fingerprint,
            "mean_terms": round(header.mean_length, 2),
            "bm25": asdict(settings.bm25),
            "analyzer": header.analyzer,
            "ann": settings.ann.kind if settings.ann else None,
            "bytes": self._collection.bytes(),
            "consistency": self._collection.consistency,
            "statistics": {
                "documents": header.documents,
                "moment": header.moment,
                "age_seconds": age,
                "written_since": drift.written,
                "gone_since": drift.gone,
                "drift": round(drift.share, 4),
                "renewed_by": "optimize()",
            },
        }

    def note(self, name: str) -> bytes | None:
        """Return what an application noted beside the documents under a name; None where it did not."""
        return self._collection.read(f"note-{name}")

    def set_note(self, name: str, value: bytes) -> None:
        """Note something beside the documents, in place of what was there."""
        self._collection.write(f"note-{name}", value)

    def __len__(self) -> int:
        return self._collection.count(self._partition)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and bool(self._collection.stored(self._partition, [id]))

    # Closing

    def close(self) -> None:
        """Give back connections."""
        self._collection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"EngineIndex({self._collection.shown!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle how to open it: its URL, without a password, and the encoder that was given."""
        return open_index, (without_password(self._url), self._encoders.given)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


def create_engine_index(
    collection: Collection,
    encoder: Encoder | Recipe | str | None,
    *,
    url: str,
    partition: str = "",
    **options: Unpack[CreateOptions],
) -> EngineIndex:
    """Make a new, empty index in an engine; what the entry points of engines call.

    Args:
        collection: Where; nothing may be there yet.
        encoder: What makes the vectors, or what :func:`rader_plugins.load_encoder` takes; None makes an index without.
        url: How it is opened again.
        partition: The part that it looks at.
        **options: Settings of the index; see :meth:`rader_plugins.RaderIndex.create`.

    Raises:
        AlreadyExistsError: There is an index, or something that is not ours.
        InputError: An option is unusable, or the engine does not have it.
        FingerprintMismatchError: With ``exist_ok``: the index that is there holds other vectors.
        EngineError: The engine failed.
    """
    if unknown := sorted(set(options) - _CREATE):
        raise InputError(f"{collection.engine} takes no {', '.join(unknown)}; it takes {', '.join(sorted(_CREATE))}.")
    encoder = None if encoder is None else as_encoder(encoder)
    choices = {name: options.get(name) for name in ("dtype", "ann", "bm25")}
    settings = settings_for(encoder, **choices)  # type: ignore[arg-type]  # checked there
    longest = collection.limits.dimension
    if settings.dimension is not None and longest is not None and settings.dimension > longest:
        raise InputError(
            f"The vectors have {settings.dimension:,} dimensions, and {collection.engine} stores {longest:,} at most."
        )
    check_flag(options.get("exist_ok", False), "exist_ok")
    check_partition(partition, collection)  # before anything is made
    header = Header(settings, analyzer=settings.bm25.analyzer.name)
    try:
        collection.make(settings.dimension, settings.dtype, settings.ann, header_bytes(header))
    except AlreadyExistsError:
        if not options.get("exist_ok"):
            raise
        index = open_engine_index(collection, encoder, url=url, partition=partition)
        try:
            index.settings.check_same(settings, choices, collection.shown)
        except InputError:
            index.close()
            raise
        return index
    return EngineIndex(collection, header, url=url, encoder=encoder, partition=partition)


def open_engine_index(
    collection: Collection, encoder: Encoder | Recipe | str | None, *, url: str, partition: str = ""
) -> EngineIndex:
    """Open an index in an engine; what the entry points of engines call.

    Raises:
        InputError: There is none, or what is there is not ours.
        FingerprintMismatchError: The encoder makes other vectors than the index holds.
        IndexVersionError: A newer version of the library made it.
        EngineError: The engine failed.
    """
    header = read_header(collection)
    loaded = None if encoder is None else as_encoder(encoder)
    return EngineIndex(collection, header, url=url, encoder=loaded, partition=partition)
