"""The requests of one call to an embedding server: how texts are divided, and what becomes of those it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from rader_plugins import background
from rader_plugins.encoding.base import Vectors
from rader_plugins.encoding.client import InputFailedError, InputRefusedError
from rader_plugins.errors import RefusedTextsError
from rader_plugins.recipes import Role

__all__ = ["BatchLimits", "Embed", "RemoteCall"]

# Fewer characters a token than in any language with an alphabet: an estimate that errs on the safe side.
_CHARACTERS = 3
# Where so many texts were refused one by one and none was taken, it is not the texts.
_HOPELESS = 8
_NAMED = 10


class Embed(Protocol):
    """Sends texts and returns their vectors."""

    def __call__(self, batch: list[str], /, *, once: bool = False) -> Vectors:
        """Return vectors of shape (len(batch), dimension); with ``once``, what fails is not tried again."""
        ...


class BatchLimits:
    """How many texts, and how many tokens, a server takes in a request. Safe to use from several threads.

    Args:
        size: Most texts; falls where the server refuses so many.
        tokens: Most tokens, estimated; None: any number.
    """

    def __init__(self, size: int, tokens: int | None) -> None:
        self.size = size
        self.tokens = tokens
        self._lock = background.Lock()

    def cut(self, texts: Sequence[str]) -> list[range]:
        """Return batches as ranges of positions."""
        batches: list[range] = []
        start = tokens = 0
        for position, text in enumerate(texts):
            count = len(text) // _CHARACTERS + 1
            over = self.tokens is not None and tokens + count > self.tokens
            if position > start and (over or position - start >= self.size):
                batches.append(range(start, position))
                start, tokens = position, 0
            tokens += count
        batches.append(range(start, len(texts)))
        return batches

    def lower(self, size: int) -> None:
        """Remember that no more texts are taken."""
        with self._lock:
            self.size = min(self.size, size)


class RemoteCall:
    """The texts of one call, and the vectors that have come for them. Batches may end in any order, in any thread.

    Args:
        role: Whether the texts are queries or documents, for messages.
        texts: What is sent, each different.
        rows: Position in ``texts`` of every text of the caller, who may have repeated some.
    """

    def __init__(self, role: Role, texts: Sequence[str], rows: Sequence[int]) -> None:
        self.role = role
        self.texts = list(texts)
        self.rows = list(rows)
        self._vectors: dict[int, Vectors] = {}
        self._refused: dict[int, str] = {}

    def encode(self, batch: range, embed: Embed, limits: BatchLimits) -> int:
        """Encode a batch, in halves where the server does not take it whole; return how many texts it had.

        A server that has an error of its own over a batch, each time that it is sent, is asked about the halves, too:
        some have one over a single text. That text counts as refused, if the server takes others all the while.

        Raises:
            EncodingError: The server failed, or refuses whatever it is sent.
        """
        # A limit that was learned meanwhile is kept to.
        pending = [batch[start : start + limits.size] for start in range(0, len(batch), limits.size)][::-1]
        while pending:
            part = pending.pop()
            try:
                vectors = embed([self.texts[position] for position in part])
            except InputRefusedError as error:
                if len(part) == 1:
                    self._refused[part[0]] = str(error)
                    if len(self._refused) >= _HOPELESS and not self._vectors:
                        raise
                    continue
                pending += _halves(part)
                continue
            except InputFailedError as error:
                self._encode_apart(part, embed, limits, error)
                continue
            self._vectors.update(zip(part, vectors, strict=True))
            if len(part) < len(batch) and not pending and not any(position in self._refused for position in batch):
                limits.lower(max(len(part), 1))  # nothing is wrong with any of them: they were too many
        return len(batch)

    def _encode_apart(self, part: range, embed: Embed, limits: BatchLimits, failure: InputFailedError) -> None:
        """Encode the texts of a batch over which the server failed, but those over which it fails by themselves.

        Raises:
            InputFailedError: It fails over all of them, or over one that it has taken before.
        """
        vectors: dict[int, Vectors] = {}
        faulty: list[int] = []
        largest = 1
        pending = _halves(part)
        while pending:
            piece = pending.pop()
            try:
                rows = embed([self.texts[position] for position in piece], once=True)
            except (InputFailedError, InputRefusedError):
                pending += _halves(piece)
                if len(piece) == 1:
                    faulty.append(piece[0])
                if len(faulty) >= _HOPELESS and not vectors:
                    break
                continue
            largest = max(largest, len(piece))
            vectors.update(zip(piece, rows, strict=True))
        if not vectors:
            raise failure
        if not faulty:
            limits.lower(largest)
        some = next(iter(vectors))
        for position in faulty:
            try:
                vectors[position] = embed([self.texts[position]])[0]  # tried again: it may have been chance
            except (InputFailedError, InputRefusedError) as error:
                self._refused[position] = str(error)
        if any(position in self._refused for position in faulty):
            embed([self.texts[some]])  # or it has failed for good meanwhile, whatever it is sent
        self._vectors.update(vectors)

    def take_from(self, joined: RemoteCall, first: int) -> None:
        """Take what has come for the texts of this call, sent with those of others, from position ``first`` on."""
        for position in range(len(self.texts)):
            if (refusal := joined._refused.get(first + position)) is not None:
                self._refused[position] = refusal
            else:
                self._vectors[position] = joined._vectors[first + position]

    def result(self) -> Vectors:
        """Return the vectors, shape (len(rows), dimension).

        Raises:
            RefusedTextsError: Some texts were refused, or all of them.
        """
        if not self._refused:
            return np.stack([self._vectors[row] for row in self.rows])
        refused = {position: self._refused[row] for position, row in enumerate(self.rows) if row in self._refused}
        first = next(iter(refused))
        names = [
            f"{self.role} {position} ({len(self.texts[self.rows[position]]):,} characters)"
            for position in list(refused)[:_NAMED]
        ]
        remainder = f" and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
        message = f"The server refuses {', '.join(names)}{remainder}: {refused[first]}"
        encoded = [position for position, row in enumerate(self.rows) if row in self._vectors]
        if not encoded:
            raise RefusedTextsError(message, refused, [], np.zeros((0, 0), dtype=np.float32))
        vectors = np.stack([self._vectors[self.rows[position]] for position in encoded])
        raise RefusedTextsError(
            f"{message} The vectors of the other {len(encoded)} are in this error.", refused, encoded, vectors
        )


def _halves(batch: range) -> list[range]:
    """Return the second and the first half of a batch; none of a single text."""
    middle = len(batch) // 2
    return [batch[middle:], batch[:middle]] if middle else []
