"""An on-disk cache of vectors: a text is encoded once per recipe, role and instruction."""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rader_plugins.background import Lock, in_thread
from rader_plugins.cache_file import CacheFile
from rader_plugins.encoding.base import Encoder, Vectors
from rader_plugins.encoding.texts import checked_texts
from rader_plugins.errors import RefusedTextsError
from rader_plugins.files import canonical_json
from rader_plugins.recipes import Role

__all__ = ["CachedEncoder", "VectorCache"]

_VARIABLES = 500  # parameters in one SQL statement; old SQLite versions allow 999


class VectorCache(CacheFile):
    """A SQLite file of vectors. Safe to use from several threads and processes at once.

    Args:
        path: The file; made if it is not there, with its folder.

    Raises:
        InputError: The file is damaged or is something else.
    """

    what = "vector cache"
    remedy = "its vectors are computed again"
    application = 0x52614443  # "RaDC"
    table = "vectors"
    columns = "key BLOB PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER NOT NULL"

    def get_many(self, keys: Sequence[bytes], dimension: int) -> dict[bytes, Vectors]:
        """Return the vectors that are there, each of shape (dimension,).

        Raises:
            InputError: The file is damaged, or a vector has another dimension.
        """
        vectors: dict[bytes, Vectors] = {}
        with self._open() as connection:
            for start in range(0, len(keys), _VARIABLES):
                batch = keys[start : start + _VARIABLES]
                marks = ",".join("?" * len(batch))
                query = f"SELECT key, vector, checksum FROM vectors WHERE key IN ({marks})"
                for key, blob, checksum in connection.execute(query, batch):
                    if not isinstance(blob, bytes) or zlib.crc32(blob) != checksum:
                        raise self._damaged("a vector does not match its checksum")
                    if len(blob) != 4 * dimension:
                        raise self._damaged(f"a vector of dimension {len(blob) // 4} was found, {dimension} expected")
                    vectors[key] = np.frombuffer(blob, dtype="<f4").astype(np.float32)
        return vectors

    def put_many(self, vectors: Mapping[bytes, Vectors]) -> None:
        """Store vectors in one transaction."""
        blobs = [(key, np.asarray(vector, dtype="<f4").tobytes()) for key, vector in vectors.items()]
        with self._open() as connection, connection:
            connection.executemany(
                "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)",
                [(key, blob, zlib.crc32(blob)) for key, blob in blobs],
            )


class CachedEncoder(Encoder):
    """An encoder that asks a :class:`VectorCache` first and encodes only what is not there.

    A query and a document of the same text, or the same query under two instructions, are different entries.

    Args:
        encoder: The encoder that makes the vectors that are not in the cache.
        cache: The cache that keeps the vectors.
    """

    def __init__(self, encoder: Encoder, cache: VectorCache) -> None:
        self.encoder = encoder
        self.cache = cache
        self.recipe = encoder.recipe
        self.location = encoder.location
        self._count_lock = Lock()
        self.hits = 0
        self.misses = 0

    @property
    def fingerprint(self) -> str:
        """That of the encoder."""
        return self.encoder.fingerprint

    @property
    def variant(self) -> str:
        """That of the encoder."""
        return self.encoder.variant

    @property
    def precision(self) -> str | None:
        """That of the encoder."""
        return self.encoder.precision

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self.encoder.dimension

    def encode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """Encode queries; see :meth:`Encoder.encode_queries`."""
        keys, hits, missing = self._look_up("query", texts, instruction)
        with self._kept_where_some_are_refused(keys, hits, missing):
            new = self.encoder.encode_queries(list(missing.values()), instruction=instruction) if missing else None
        return self._finish(keys, hits, missing, new)

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Encode documents; see :meth:`Encoder.encode_documents`."""
        keys, hits, missing = self._look_up("document", texts, None)
        with self._kept_where_some_are_refused(keys, hits, missing):
            new = self.encoder.encode_documents(list(missing.values())) if missing else None
        return self._finish(keys, hits, missing, new)

    async def aencode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """As :meth:`encode_queries`, without blocking the event loop."""
        keys, hits, missing = await in_thread(self._look_up, "query", texts, instruction)
        new = None
        if missing:
            with self._kept_where_some_are_refused(keys, hits, missing):
                new = await self.encoder.aencode_queries(list(missing.values()), instruction=instruction)
        return await in_thread(self._finish, keys, hits, missing, new)

    async def aencode_documents(self, texts: Sequence[str]) -> Vectors:
        """As :meth:`encode_documents`, without blocking the event loop."""
        keys, hits, missing = await in_thread(self._look_up, "document", texts, None)
        new = None
        if missing:
            with self._kept_where_some_are_refused(keys, hits, missing):
                new = await self.encoder.aencode_documents(list(missing.values()))
        return await in_thread(self._finish, keys, hits, missing, new)

    def _look_up(
        self, role: Role, texts: Sequence[str], instruction: str | None
    ) -> tuple[list[bytes], dict[bytes, Vectors], dict[bytes, str]]:
        valid_texts = checked_texts(texts, role)
        prefix = self.recipe.query_prefix(instruction) if role == "query" else ""
        keys = [self._key(role, prefix, text) for text in valid_texts]
        hits = self.cache.get_many(list(dict.fromkeys(keys)), self.dimension)
        missing = {key: text for key, text in zip(keys, valid_texts, strict=True) if key not in hits}
        with self._count_lock:
            self.hits += sum(key in hits for key in keys)
            self.misses += len(missing)
        return keys, hits, missing

    @contextlib.contextmanager
    def _kept_where_some_are_refused(
        self, keys: list[bytes], cached: dict[bytes, Vectors], missing: dict[bytes, str]
    ) -> Iterator[None]:
        """Keep the vectors that came with a refusal, and tell the refusal by the caller's positions."""
        try:
            yield
        except RefusedTextsError as error:
            order = list(missing)
            entries = {order[position]: vector for position, vector in zip(error.positions, error.vectors, strict=True)}
            self.cache.put_many(entries)
            vectors = {**cached, **entries}
            why = {order[position]: reason for position, reason in error.refused.items()}
            positions = [position for position, key in enumerate(keys) if key in vectors]
            raise RefusedTextsError(
                str(error),
                {position: why[key] for position, key in enumerate(keys) if key in why},
                positions,
                np.stack([vectors[keys[position]] for position in positions]) if positions else error.vectors,
            ) from error

    def _finish(
        self, keys: list[bytes], cached: dict[bytes, Vectors], missing: dict[bytes, str], new: Vectors | None
    ) -> Vectors:
        if new is not None:
            entries = dict(zip(missing, new, strict=True))
            self.cache.put_many(entries)
            cached = {**cached, **entries}
        rows = np.empty((len(keys), self.dimension), dtype=np.float32)
        for position, key in enumerate(keys):
            rows[position] = cached[key]
        return rows

    def _key(self, role: Role, prefix: str, text: str) -> bytes:
        entry = canonical_json([self.fingerprint, self.variant, role, prefix, text])
        return hashlib.sha256(entry.encode("utf-8")).digest()
