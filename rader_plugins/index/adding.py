"""Adding documents: only what changed is encoded and written. A text that stands under its id keeps its vector."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.documents import Document, check_text, metadata_json, same_metadata
from rader_plugins.encoding.base import Encoder
from rader_plugins.errors import IndexLockedError, InputError, RefusedTextsError
from rader_plugins.index.dense import gather
from rader_plugins.index.encoders import EncoderSlot
from rader_plugins.index.home import Home, Settings, renew_terms
from rader_plugins.index.lock import WriteLock
from rader_plugins.index.protocol import AddReport
from rader_plugins.index.storage import StoredText, checksum

__all__ = [
    "Adder", "Prepared", "encode_texts", "id_list", "in_batches", "prepare", "prepare_all", "refusal_message",
    "storable",
]  # fmt: skip

Array = npt.NDArray[Any]
_NAMED = 10  # refused documents in a message


@dataclass(frozen=True)
class Prepared:
    """A checked document with its metadata as JSON."""

    document: Document
    metadata: str


@dataclass(frozen=True)
class _Difference:
    """How a batch differs from what is stored.

    Attributes:
        rewritten: Places in the batch whose text, or given vector, is new: they get a new row.
        relabelled: Row -> metadata of those of which only that differs.
        added: How many of the rewritten are not stored yet.
        unchanged: How many are stored as they are.
    """

    rewritten: list[int]
    relabelled: dict[int, str]
    added: int
    unchanged: int

    @property
    def replaced(self) -> int:
        return len(self.rewritten) - self.added + len(self.relabelled)


class Adder:
    """Adds documents to one index, in commits.

    Args:
        home: The parts of the index that is written to.
        encoders: Holds what makes its vectors.
        lock: The right to write to it.
    """

    def __init__(self, home: Home, encoders: EncoderSlot, lock: WriteLock) -> None:
        self._home = home
        self._encoders = encoders
        self._lock = lock
        # Text -> vector of what was encoded for an `add` that was then refused the lock; the next one need not pay.
        self._spare: dict[str, Array] = {}

    def add(
        self,
        batch: Sequence[Prepared],
        vectors: Array | None,
        timeout: float,
        *,
        refused: dict[str, str],
        renew: bool = False,
    ) -> AddReport:
        """Store what differs, as one commit.

        Args:
            batch: Documents of different ids.
            vectors: Theirs in the storage type, shape (n, dimension), if they are known: these win over stored ones.
            timeout: Seconds to wait for another writer: once before anything is encoded, once to write.
            refused: Takes id -> why of documents whose texts a server refuses; the others are stored.
            renew: Write every document anew, whatever is stored.

        Raises:
            IndexLockedError: Another writer was at work for longer. What was encoded is kept for the next call.
        """
        encoded = dict(self._spare)
        count = 0
        while True:
            difference = self._difference(batch, vectors, renew=renew)
            if not difference.rewritten and not difference.relabelled:
                return AddReport(unchanged=difference.unchanged, encoded=count)
            if vectors is None and (encoder := self._encoder_for(difference)) is not None:
                items = [batch[position] for position in difference.rewritten]
                new_vectors, reasons = self._encode(encoder, items, encoded, timeout)
                encoded |= new_vectors
                count += len(new_vectors)
                if reasons:
                    refused |= reasons
                    batch = [item for item in batch if item.document.id not in refused]
                    continue
            try:
                with self._lock.held(timeout):
                    # Another writer may have come first, and changed what has to be done.
                    now = self._difference(batch, vectors, renew=renew)
                    rows = self._vectors(batch, now, vectors, encoded)
                    if rows is None and self._home.shards is not None and now.rewritten:
                        continue
                    self._commit(batch, now, rows)
            except IndexLockedError as error:
                self._spare = encoded
                if count:
                    raise IndexLockedError(
                        f"{error} The {count} vectors that were made are kept for the next add()."
                    ) from None
                raise
            self._spare = {}
            return AddReport(now.added, now.replaced, now.unchanged, count)

    def _encode(
        self, encoder: Encoder, items: Sequence[Prepared], encoded: Mapping[str, Array], timeout: float
    ) -> tuple[dict[str, Array], dict[str, str]]:
        """Return text -> vector of those that are not encoded yet, and id -> why of what a server refuses."""
        missing = [text for text in dict.fromkeys(item.document.text for item in items) if text not in encoded]
        if not missing:
            return {}, {}
        with self._lock.held(timeout):
            pass  # refused before anything is paid
        vectors, reasons = encode_texts(encoder, missing, self._home.settings)
        return vectors, {
            item.document.id: reasons[item.document.text] for item in items if item.document.text in reasons
        }

    def _encoder_for(self, difference: _Difference) -> Encoder | None:
        return self._encoders.get() if difference.rewritten else None

    def _difference(self, batch: Sequence[Prepared], vectors: Array | None, *, renew: bool) -> _Difference:
        with self._home.store.reading():
            stored_texts = self._home.store.texts([item.document.id for item in batch])
            same_positions = self._same_text(batch, stored_texts, vectors) if not renew else set()
        relabelled = {
            stored_texts[item.document.id].row: item.metadata
            for position, item in enumerate(batch)
            if position in same_positions and not same_metadata(stored_texts[item.document.id].metadata, item.metadata)
        }
        rewritten = [position for position in range(len(batch)) if position not in same_positions]
        added = sum(batch[position].document.id not in stored_texts for position in rewritten)
        return _Difference(rewritten, relabelled, added, len(same_positions) - len(relabelled))

    def _same_text(self, batch: Sequence[Prepared], stored: dict[str, StoredText], vectors: Array | None) -> set[int]:
        """Return the positions in the batch whose text is stored, with the given vector if there is one."""
        same = [
            position
            for position, item in enumerate(batch)
            if (there := stored.get(item.document.id)) is not None and there.text == item.document.text
        ]
        shards = self._home.shards
        if vectors is None or shards is None or not same:
            return set(same)
        committed = self._home.store.shards()
        rows = np.array([stored[batch[position].document.id].row for position in same])
        stored_vectors = gather(shards.arrays(committed), [shard.start for shard in committed], rows)
        equal = (stored_vectors == vectors[same]).all(axis=1)
        return {position for position, alike in zip(same, equal.tolist(), strict=True) if alike}

    def _vectors(
        self, batch: Sequence[Prepared], difference: _Difference, vectors: Array | None, encoded: dict[str, Array]
    ) -> Array | None:
        """Return the vectors of what is rewritten, shape (n, dimension); None without, or where one is missing."""
        if not difference.rewritten or self._home.shards is None:
            return None
        if vectors is not None:
            return vectors[difference.rewritten]
        texts = [batch[position].document.text for position in difference.rewritten]
        return np.stack([encoded[text] for text in texts]) if all(text in encoded for text in texts) else None

    def _commit(self, batch: Sequence[Prepared], difference: _Difference, vectors: Array | None) -> None:
        if not difference.rewritten and not difference.relabelled:
            return
        home = self._home
        items = [batch[position] for position in difference.rewritten]
        renew_terms(home)  # terms of another analysis must not stand beside those of this one
        terms = home.settings.bm25.analyzer.count([item.document.text for item in items])
        first: int = home.store.meta("rows")
        shards = home.store.shards()
        if home.shards is not None and vectors is not None:
            # Vectors are on disk before the commit that counts them; until then their bytes mean nothing.
            shards = home.shards.append(shards, vectors, home.store.meta("epoch"))
        with home.store.writing() as changes:
            generation = changes.next_generation()
            changes.relabel(difference.relabelled, generation)
            if items:
                changes.delete([item.document.id for item in items], generation)
                documents = [(item.document.id, item.document.text, item.metadata) for item in items]
                changes.insert(first, documents, terms)
            if vectors is not None:
                changes.set_shards(shards)
                changes.add_blocks([(first, len(items), checksum(vectors))])


def prepare(document: object, seen: set[str] | None = None) -> Prepared:
    """Check one document; with ``seen``, also that its id is not among those, and add it to them.

    Raises:
        InputError: It is no :class:`Document`; its id, text or metadata cannot be stored; its id was seen before.
    """
    if not isinstance(document, Document):
        raise InputError(f"add() takes Document objects, not {type(document).__name__}: Document(id=..., text=...).")
    if not isinstance(document.id, str) or not document.id:
        raise InputError(f"A document's id must be a non-empty string, not {document.id!r}.")
    check_text(document.id, f"the id {document.id!r}")
    if "\x00" in document.id:
        raise InputError(f"The id {document.id!r} holds a NUL character.")
    if seen is not None:
        if document.id in seen:
            raise InputError(
                f"The id {document.id!r} stands twice in one call of add(), so it is unclear which text should win."
            )
        seen.add(document.id)
    check_text(document.text, f"document {document.id!r}")
    return Prepared(document, metadata_json(document.metadata, f"document {document.id!r}"))


def prepare_all(documents: Iterable[Document], *, at_once: bool) -> Iterable[Prepared]:
    """Check documents: a list, or with ``at_once`` anything, as a whole; a generator while it is read.

    Raises:
        InputError: One of them is unusable, or an id stands twice.
    """
    if isinstance(documents, Document | str | bytes) or not isinstance(documents, Iterable):
        raise InputError(f"add() takes a list of documents, not {type(documents).__name__}: add([document]).")
    seen: set[str] = set()
    prepared = (prepare(document, seen) for document in documents)
    return list(prepared) if at_once or isinstance(documents, Sequence) else prepared


def in_batches(prepared: Iterable[Prepared], size: int) -> Iterator[list[Prepared]]:
    """Cut into lists of at most ``size``."""
    iterator = iter(prepared)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def storable(vectors: npt.ArrayLike, count: int, settings: Settings) -> Array:
    """Check vectors, scale them to length 1 and convert them to the storage type of an index.

    Args:
        vectors: Shape (count, dimension).
        count: How many there must be.
        settings: What the index was created with.

    Raises:
        InputError: No numbers, another shape, NaN, infinity or a zero vector; or the index holds no vectors.
    """
    dimension, dtype = settings.dimension, settings.dtype
    if dimension is None:
        raise InputError("This index holds no vectors: leave vectors= out.")
    try:
        array = np.asarray(vectors)
        if array.size == 0 and count == 0:
            return np.zeros((0, dimension), dtype=dtype)
        if array.shape != (count, dimension):
            raise InputError(f"Vectors must have the shape ({count}, {dimension}), not {array.shape}.")
        if np.iscomplexobj(array):
            raise TypeError("complex numbers have no cosine")
        with np.errstate(all="ignore"):
            array = array.astype(np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"Vectors must be numbers of the shape ({count}, {dimension}): {error}.") from None
    lengths = np.sqrt(np.einsum("ij,ij->i", array, array, dtype=np.float64))
    if len(wrong := np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))):
        raise InputError(f"Vector {wrong[0]} is zero or holds NaN or infinity; no document of this part was stored.")
    if np.abs(lengths - 1).max(initial=0) > 1e-4:
        array = (array / lengths[:, None]).astype(np.float32)
    return array.astype(dtype)


def encode_texts(encoder: Encoder, texts: Sequence[str], settings: Settings) -> tuple[dict[str, Array], dict[str, str]]:
    """Return text -> vector in the storage type, and text -> why it has none, of different texts.

    Raises:
        EncodingError: The model or the server failed.
    """
    refused: Mapping[int, str] = {}
    positions = list(range(len(texts)))
    try:
        vectors = encoder.encode_documents(texts)
    except RefusedTextsError as error:
        vectors, positions, refused = error.vectors, error.positions, error.refused
    rows = storable(vectors, len(positions), settings)
    encoded = {texts[position]: row for position, row in zip(positions, rows, strict=True)}
    return encoded, {texts[position]: reason for position, reason in refused.items()}


def refusal_message(refused: Mapping[str, str], report: AddReport) -> str:
    """Say which documents a server refused and why: the first ten by their ids."""
    reasons = "\n".join(f"  {id}: {reason}" for id, reason in itertools.islice(refused.items(), _NAMED))
    remainder = f"\n  and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
    others = report.added + report.replaced + report.unchanged
    return (
        f"The server refuses the text of {len(refused)} of {len(refused) + others} documents; the other {others} are "
        f"stored. Shorten or split these, and add them again:\n{reasons}{remainder}"
    )


def id_list(ids: Iterable[str]) -> list[str]:
    """Return ids as a list; one string, or anything else than strings, raises :class:`InputError`."""
    if isinstance(ids, str | bytes):
        raise InputError(f"ids must be a list of strings: [{ids!r}].")
    if not isinstance(ids, Iterable):
        raise InputError(f"ids must be a list of strings, not {type(ids).__name__}.")
    names = list(ids)
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise InputError(f"ids must be strings, not {type(wrong[0]).__name__}.")
    return names
