"""The errors that rader-plugins raises, and the one way to import an optional library."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

__all__ = [
    "AlreadyExistsError",
    "CacheWriteError",
    "DriftWarning",
    "EncodingError",
    "EngineError",
    "FilterWarning",
    "FingerprintMismatchError",
    "IncompleteSourceWarning",
    "IndexCorruptError",
    "IndexLockedError",
    "IndexVersionError",
    "IndexWriteError",
    "InputError",
    "LLMError",
    "MissingExtraError",
    "NoIndexError",
    "OutdatedTermsWarning",
    "RaderError",
    "RaderWarning",
    "RefusedDocumentsError",
    "RefusedTextsError",
    "SourceError",
    "TruncationWarning",
    "import_extra",
]


class RaderError(Exception):
    """Base of every error that this library raises on purpose."""


class InputError(RaderError, ValueError):
    """The caller passed something unusable; the message says what and how to mend it."""


class MissingExtraError(RaderError, ImportError):
    """An optional library is not installed; the message holds the ``pip install`` line that mends it."""


class EncodingError(RaderError):
    """A model or an embedding server did not return usable vectors. No vector was made up in their place."""


class RefusedTextsError(EncodingError):
    """An embedding server took some of the texts of a call and refused others; what was encoded is not lost.

    Args:
        message: Text of the error: which texts were refused, and why.
        refused: Position of each refused text in the call -> why.
        positions: Positions of the texts that were encoded, ascending.
        vectors: Vectors of the texts that were taken, float32 array of shape (len(positions), dimension).
    """

    def __init__(self, message: str, refused: Mapping[int, str], positions: Sequence[int], vectors: Any) -> None:
        super().__init__(message)
        self.refused = dict(refused)
        self.positions = list(positions)
        self.vectors = vectors


class RefusedDocumentsError(EncodingError):
    """An embedding server refused the texts of some documents; all others of the call are stored.

    Args:
        message: Text of the error: which documents were refused, and why.
        refused: Id of each document that is not stored as it was given -> why.
        report: What became of the others.
    """

    def __init__(self, message: str, refused: Mapping[str, str], report: Any) -> None:
        super().__init__(message)
        self.refused = dict(refused)
        self.report = report


class LLMError(RaderError):
    """A language model did not answer: its server failed, refused the request or sent nothing usable.

    ``permanent`` says that every other call would fail in the same way, so that asking on is of no use.
    """

    permanent = False


class AlreadyExistsError(InputError):
    """There is something already where a new index was to be made; nothing of it was touched."""


class SourceError(RaderError):
    """A store that documents are read from does not answer (any more); what was stored until then stays."""


class NoIndexError(InputError):
    """There is no index where one was to be opened."""


class FingerprintMismatchError(InputError):
    """Vectors of two different recipes would have been mixed."""


class IndexCorruptError(RaderError):
    """A file of an index is damaged, missing or truncated."""


class IndexVersionError(RaderError):
    """The index was written by a newer version of the library."""


class IndexLockedError(RaderError):
    """Another process or object is writing to the same index."""


class IndexWriteError(RaderError, OSError):
    """The index could not be written (full disk, read-only folder); what was committed before is intact."""


class CacheWriteError(RaderError, OSError):
    """A cache could not be written (full disk, read-only folder, locked too long); what it held before is intact."""


class EngineError(RaderError):
    """A server that keeps an index cannot be reached, refused what it was asked for or gave up.

    What was reported as stored before is stored. ``transient`` says that the same call may succeed when it is repeated.
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class RaderWarning(UserWarning):
    """Base of the warnings of this library."""


class DriftWarning(RaderWarning):
    """BM25 weighs terms by statistics of a moment since which the corpus has moved far."""


class FilterWarning(RaderWarning):
    """A metadata filter admits no document, or all, for a reason that its author may not have had in mind."""


class IncompleteSourceWarning(RaderWarning):
    """A part of what documents are read from was left out."""


class OutdatedTermsWarning(RaderWarning):
    """The words of an index were found by another version of the library than searches it."""


class TruncationWarning(RaderWarning):
    """Texts were longer than the recipe's maximum and were cut."""


def import_extra(module: str, *extras: str) -> ModuleType:
    """Import an optional library or say which ``pip install`` line brings it.

    Args:
        module: Dotted name of the module to import.
        extras: Extras of this distribution that contain it; the first is proposed, others as alternatives.

    Raises:
        MissingExtraError: The library, or something that it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        lines = " or ".join(f"pip install 'rader-plugins[{extra}]'" for extra in extras)
        raise MissingExtraError(
            f"This needs {module!r}, which cannot be imported ({error}). To mend it: {lines}"
        ) from error
