"""`Index`: what a retriever, an evaluation or a synthesis needs of whatever holds documents and finds them again.

:class:`rader_plugins.RaderIndex` is the embedded one. Anything that fulfils the protocol stands in for it everywhere;
it need not inherit from it. docs/architecture.md says how an engine is added.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypedDict

import numpy.typing as npt
from typing_extensions import Self, Unpack

from rader_plugins.documents import Document, Hit
from rader_plugins.encoding.base import Encoder
from rader_plugins.errors import InputError
from rader_plugins.index.filters import Filter
from rader_plugins.index.request import SearchRequest, Vector
from rader_plugins.recipes import Recipe

__all__ = ["AddOptions", "AddReport", "Index", "check_index", "encoder_of", "is_index", "read_documents"]

_READ = 1024


class AddOptions(TypedDict, total=False):
    """What :meth:`Index.add` takes besides the documents.

    Attributes:
        vectors: Vectors of the documents, shape (n, dimension), if they are known; scaled to length 1. They win over
            stored ones.
        commit_every: How many documents each commit holds.
        lock_timeout: Seconds to wait for another writer; None takes the index's own.
    """

    vectors: npt.ArrayLike | None
    commit_every: int
    lock_timeout: float | None


class AddReport(int):
    """What became of the documents of one call: an int, how many were added or replaced, that tells more.

    Attributes:
        added: Were not stored yet.
        replaced: Were stored with another text, other metadata or another vector.
        unchanged: Were stored as they are; nothing was written for them.
        encoded: Texts that the encoder was given. A text that stands under its id already keeps its vector.
        skipped: Were left out by the index.

    Example:
        >>> report = AddReport(added=2, replaced=1, unchanged=4, encoded=3)
        >>> report == 3, report.unchanged
        (True, 4)
    """

    added: int
    replaced: int
    unchanged: int
    encoded: int
    skipped: int

    def __new__(cls, added: int = 0, replaced: int = 0, unchanged: int = 0, encoded: int = 0, skipped: int = 0) -> Self:
        """Make a report of these counts."""
        report = super().__new__(cls, added + replaced)
        report.added, report.replaced, report.unchanged = added, replaced, unchanged
        report.encoded, report.skipped = encoded, skipped
        return report

    @classmethod
    def total(cls, reports: Iterable[AddReport]) -> AddReport:
        """Return the sums over several calls."""
        columns = list(zip(*(report.counts for report in reports), strict=True))
        return cls(*map(sum, columns))

    @property
    def counts(self) -> tuple[int, int, int, int, int]:
        """All five counts, in the order of the arguments."""
        return self.added, self.replaced, self.unchanged, self.encoded, self.skipped

    def __getnewargs__(self) -> tuple[int, ...]:  # type: ignore[override]  # an int alone has one
        """Return what a copy is made of."""
        return self.counts

    def __repr__(self) -> str:
        names = ("added", "replaced", "unchanged", "encoded", "skipped")
        return f"AddReport({', '.join(f'{name}={count}' for name, count in zip(names, self.counts, strict=True))})"


class Index(Protocol):
    """Documents that can be searched. Every object may be used from several threads and from asyncio at once.

    :func:`is_index` tells whether an object is one (``isinstance`` would have to look at ``encoder``, which may load a
    model).
    """

    @property
    def recipe(self) -> Recipe | None:
        """Whose vectors it holds; None without vectors."""

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the vectors; encoders must have the same. None without vectors."""

    @property
    def dimension(self) -> int | None:
        """Length of the vectors; None without vectors."""

    @property
    def encoder(self) -> Encoder | None:
        """What makes the vectors, loaded when it is first asked for; None without vectors."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What a request may ask of it (:attr:`SearchRequest.needs`); the rest is refused before anything runs.

        The modes ``dense``, ``bm25`` and ``hybrid``; ``filter`` (a dict) and ``filter_function``; ``partition``; the
        details ``ranks`` and ``terms``.
        """

    def add(self, documents: Iterable[Document], **options: Unpack[AddOptions]) -> AddReport:
        """Store documents; one with the id of a stored document replaces it.

        Only what changed costs anything: a text that stands under its id already keeps its vector, and identical
        documents write nothing.
        """

    def delete(self, ids: Iterable[str] | None = None, *, filter: Filter | None = None) -> int:
        """Delete documents by id or by a filter (with both, those of the ids that pass); return how many there were.

        Raises:
            InputError: Neither is given, or an empty filter alone.
        """

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents with these ids, in this order; ids that are not stored are left out."""

    def ids(self, filter: Filter | None = None) -> Iterator[str]:
        """Yield the ids of all documents, or of those that pass a filter."""

    def vectors(self, ids: Sequence[str]) -> dict[str, Vector]:
        """Return id -> stored vector, shape (dimension,), for those ids that are stored; empty without vectors."""

    def search(self, request: SearchRequest) -> list[list[Hit]]:
        """Return hits for every query of a request, best first; equal scores by ascending id.

        Raises:
            InputError: The request needs what the index is not capable of, or its vectors have another length.
        """

    async def asearch(self, request: SearchRequest) -> list[list[Hit]]:
        """As :meth:`search`, without blocking the event loop."""

    def optimize(self) -> None:
        """Make searches fast and storage small again; results stay."""

    def stats(self) -> dict[str, Any]:
        """Return figures about the index as a JSON object; ``documents`` is among them."""

    def close(self) -> None:
        """Give back what it holds open."""

    def __len__(self) -> int:
        """Return the number of documents."""


_MEMBERS = (
    "recipe", "fingerprint", "dimension", "encoder", "capabilities", "add", "delete", "get", "ids", "vectors", "search",
    "asearch", "optimize", "stats", "close", "__len__",
)  # fmt: skip
_MISSING = object()


def _lacking(value: object) -> list[str]:
    # Statically: asking for `encoder` may load a model.
    return [name for name in _MEMBERS if inspect.getattr_static(value, name, _MISSING) is _MISSING]


def is_index(value: object) -> bool:
    """Whether an object fulfils :class:`Index`, as far as the names of its members tell."""
    return not isinstance(value, type) and not _lacking(value)


def check_index(value: object) -> Index:
    """Return a value if it is an index.

    Raises:
        InputError: It is none; the message names what it lacks.
    """
    if is_index(value):
        return value  # type: ignore[return-value]  # looked at above
    lacking = _lacking(value)
    part = (
        f" It lacks {', '.join(lacking)}." if not isinstance(value, type) and len(lacking) < len(_MEMBERS) / 2 else ""
    )
    name = value.__name__ if isinstance(value, type) else type(value).__name__
    raise InputError(f"index must be a RaderIndex or another Index, not {name}: rader_plugins.open_index(path).{part}")


def encoder_of(index: Index) -> Encoder:
    """Return the encoder of an index.

    Raises:
        InputError: It has no vectors, hence no encoder; or its model cannot be loaded.
    """
    encoder = index.encoder
    if encoder is None:
        raise InputError("This index holds no vectors: it is searched with mode='bm25' only.")
    return encoder


def read_documents(index: Index, filter: Filter | None = None) -> Iterator[Document]:
    """Yield all documents of an index, or those that pass a filter, without holding all of them at once."""
    names = index.ids(filter)
    while part := list(itertools.islice(names, _READ)):
        yield from index.get(part)
