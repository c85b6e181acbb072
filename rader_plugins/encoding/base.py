"""`Encoder`: what every source of vectors looks like to the rest of the library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rader_plugins.construction import ByConstruction
from rader_plugins.recipes import Recipe

__all__ = ["Encoder", "Vectors"]

Vectors = npt.NDArray[np.float32]
"""float32 array of shape (n, dimension)."""


class Encoder(ByConstruction, ABC):
    """Turns texts into L2-normalised vectors by a recipe. Safe to use from several threads and from asyncio.

    A pickled encoder holds how it was made, not its weights; see :class:`~rader_plugins.construction.ByConstruction`.
    """

    recipe: Recipe
    location: str | None = None
    """Directory or hub id that it was loaded from, if it was; an index records it to load its encoder again."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of everything that decides the vectors; an index or a cache stores it."""
        return self.recipe.fingerprint

    @property
    def variant(self) -> str:
        """What may change vectors in their last digits and is no part of the recipe (precision, served model).

        An index does not mind; a cache keeps variants apart.
        """
        return ""

    @property
    def precision(self) -> str | None:
        """In which precision the model computes, such as ``"bfloat16"``; None where that is not known (a server).

        An index notes it and goes on in it.
        """
        return None

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Length of the vectors."""

    def warm_up(self) -> None:
        """Do now what the first query would have to wait for: load, connect, start threads."""
        self.encode_queries(["warm up"])

    @abstractmethod
    def encode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """Encode queries.

        Args:
            texts: The queries; an empty list gives an array of shape (0, dimension).
            instruction: Replaces the recipe's instruction for these queries.

        Returns:
            float32 array of shape (len(texts), dimension), rows of length 1.

        Raises:
            InputError: A text is not a valid string, or the recipe takes no instruction.
            EncodingError: The model or the server failed. No row is made up.
        """

    @abstractmethod
    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Encode documents; as :meth:`encode_queries`, without instruction."""

    @abstractmethod
    async def aencode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """As :meth:`encode_queries`, without blocking the event loop."""

    @abstractmethod
    async def aencode_documents(self, texts: Sequence[str]) -> Vectors:
        """As :meth:`encode_documents`, without blocking the event loop."""
