"""`CutEncoder`: the first places of another encoder's vectors, for models that were trained to be cut."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from rader_plugins.encoding.base import Encoder, Vectors
from rader_plugins.errors import EncodingError, InputError

__all__ = ["CutEncoder", "cut"]


class CutEncoder(Encoder):
    """Cuts vectors and scales them to length 1 again (Matryoshka representations: Kusupati et al., 2022).

    The recipe says so (``cut_to``), and with it the fingerprint: an index of cut vectors refuses those of another
    length.

    Args:
        encoder: The encoder whose vectors are cut.
        dimension: How many of their places stay, at least 1 and fewer than there are.

    Raises:
        InputError: The dimension is another number, or the encoder cuts already.

    Example:
        >>> CutEncoder(load_encoder("mini"), 192).dimension  # doctest: +SKIP
        192
    """

    def __init__(self, encoder: Encoder, dimension: int) -> None:
        if isinstance(dimension, bool) or not isinstance(dimension, int) or not 1 <= dimension < encoder.dimension:
            raise InputError(
                f"dimension is how many places of a vector stay: a whole number from 1 to {encoder.dimension} for "
                f"{encoder.recipe.name!r}, not {dimension!r}."
            )
        if encoder.recipe.cut_to is not None:
            raise InputError(f"{encoder.recipe.name!r} cuts its vectors to {encoder.recipe.cut_to} already.")
        self._encoder = encoder
        self._dimension = dimension
        self.recipe = dataclasses.replace(encoder.recipe, cut_to=dimension, dimension=dimension)
        self.location = encoder.location

    @property
    def variant(self) -> str:
        """That of the encoder."""
        return self._encoder.variant

    @property
    def precision(self) -> str | None:
        """That of the encoder."""
        return self._encoder.precision

    @property
    def dimension(self) -> int:
        """Length of the cut vectors."""
        return self._dimension

    def warm_up(self) -> None:
        """Warm the encoder up."""
        self._encoder.warm_up()

    def encode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """Encode and cut queries."""
        return self._cut(self._encoder.encode_queries(texts, instruction=instruction))

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Encode and cut documents."""
        return self._cut(self._encoder.encode_documents(texts))

    async def aencode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """As :meth:`encode_queries`, without blocking the event loop."""
        return self._cut(await self._encoder.aencode_queries(texts, instruction=instruction))

    async def aencode_documents(self, texts: Sequence[str]) -> Vectors:
        """As :meth:`encode_documents`, without blocking the event loop."""
        return self._cut(await self._encoder.aencode_documents(texts))

    def _cut(self, vectors: Vectors) -> Vectors:
        shortened = np.array(vectors[:, : self.dimension])
        lengths = np.linalg.norm(shortened, axis=1, keepdims=True)
        if not lengths.all():
            raise EncodingError(
                f"A vector of {self.recipe.name!r} is 0 in its first {self.dimension} places: nothing of it is left "
                "when it is cut. Use a larger dimension."
            )
        shortened /= lengths
        return shortened


def cut(encoder: Encoder, dimension: int | None) -> Encoder:
    """Return an encoder with vectors of a length: itself, where they are as long already or None is stated."""
    return encoder if dimension is None or dimension == encoder.dimension else CutEncoder(encoder, dimension)
