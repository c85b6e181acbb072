"""Any LlamaIndex embedding model as an encoder, so that an index can hold its vectors."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.embeddings.rader.base import RaderEmbedding

from rader_plugins.encoding import Encoder, Vectors
from rader_plugins.errors import EncodingError, InputError
from rader_plugins.files import canonical_json, fingerprint
from rader_plugins.recipes import Recipe

__all__ = ["EmbeddingEncoder", "Model", "encoder_for"]

Model: TypeAlias = str | os.PathLike[str] | Recipe | Encoder | BaseEmbedding
"""What makes vectors: what :func:`rader_plugins.load_encoder` takes, an encoder, or an embedding model."""

# Parts of field names that say where, how fast or by whom vectors are made, not which vectors.
_RUNTIME = (
    *("api_key", "secret", "password", "token", "auth", "header", "url", "endpoint", "api_base", "client", "timeout"),
    *("retry", "retries", "rate_limit", "batch", "num_workers", "progress", "device", "cache", "callback"),
)


def encoder_for(model: Model) -> Encoder | Recipe | str:
    """Return what an index takes for a model: the encoder of an embedding model, else what it is loaded from.

    Raises:
        InputError: It is nothing that makes vectors.
    """
    if isinstance(model, RaderEmbedding):
        return model.encoder
    if isinstance(model, BaseEmbedding):
        return EmbeddingEncoder(model)
    if isinstance(model, Encoder | Recipe):
        return model
    if isinstance(model, str | os.PathLike):
        return os.fspath(model)
    raise InputError(
        f"A {type(model).__name__} makes no vectors. Pass the name, directory, hub id or URL of a model, a Recipe, an "
        "Encoder or a LlamaIndex embedding model."
    )


class EmbeddingEncoder(Encoder):
    """An embedding model of LlamaIndex as an encoder.

    Its recipe's fingerprint stands for class, model name and the settings that may change vectors; only a digest of
    them is stored.

    Args:
        embed_model: The embedding model of LlamaIndex.
    """

    def __init__(self, embed_model: BaseEmbedding) -> None:
        self.embed_model = embed_model
        name = type(embed_model).__name__
        settings = {
            key: value
            for key, value in embed_model.to_dict().items()
            if not any(part in key.lower() for part in _RUNTIME) and _is_json(value)
        }
        self.recipe = Recipe(name=name, model=f"llama-index:{name}:{fingerprint(settings)}", pooling="model")
        self._dimension: int | None = None

    @property
    def dimension(self) -> int:
        """Length of the vectors; embeds a word to find it where nothing was embedded yet."""
        return self._dimension or self.encode_documents(["dimension"]).shape[1]

    def encode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """Return the vectors of queries, float32 array of shape (n, dimension)."""
        self.recipe.query_prefix(instruction)
        return self._rows([self.embed_model.get_query_embedding(text) for text in texts], len(texts))

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of documents, float32 array of shape (n, dimension)."""
        return self._rows(self.embed_model.get_text_embedding_batch(list(texts)) if texts else [], len(texts))

    async def aencode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """As :meth:`encode_queries`, through the embedding model's async side."""
        self.recipe.query_prefix(instruction)
        calls = (self.embed_model.aget_query_embedding(text) for text in texts)
        return self._rows(await asyncio.gather(*calls), len(texts))

    async def aencode_documents(self, texts: Sequence[str]) -> Vectors:
        """As :meth:`encode_documents`, through the embedding model's async side."""
        return self._rows(await self.embed_model.aget_text_embedding_batch(list(texts)) if texts else [], len(texts))

    def _rows(self, vectors: Sequence[Sequence[float]], count: int) -> Vectors:
        if not count:
            return np.zeros((0, self.dimension), dtype=np.float32)
        name = type(self.embed_model).__name__
        rows = np.asarray(vectors, dtype=np.float32)
        if rows.ndim != 2 or len(rows) != count or (self._dimension or rows.shape[1]) != rows.shape[1]:
            raise EncodingError(f"{name} gave vectors of shape {rows.shape} for {count} texts.")
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.all(np.isfinite(lengths) & (lengths > 0)):
            raise EncodingError(f"{name} gave a vector that is zero or holds NaN or infinity.")
        self._dimension = rows.shape[1]
        return np.asarray(rows / lengths, dtype=np.float32)


def _is_json(value: Any) -> bool:
    try:
        canonical_json(value)
    except (TypeError, ValueError):
        return False
    return True
