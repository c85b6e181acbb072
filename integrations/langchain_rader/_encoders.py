"""Encoders from what a LangChain user has: a model name, `RaderEmbeddings`, or any other embedding model."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from langchain_core.embeddings import Embeddings
from pydantic import BaseModel

from langchain_rader.embeddings import RaderEmbeddings
from rader_plugins.encoding import Encoder, Vectors, load_encoder
from rader_plugins.errors import EncodingError, InputError
from rader_plugins.files import canonical_json, fingerprint
from rader_plugins.recipes import Recipe

__all__ = ["EmbeddingsEncoder", "Model", "as_encoder", "default_instruction"]

Model: TypeAlias = str | os.PathLike[str] | Recipe | Encoder | Embeddings
"""What stands for an encoder: what :func:`rader_plugins.load_encoder` takes, an encoder, or LangChain embeddings."""

# Parts of field names that say where, how fast or by whom vectors are made, not which vectors.
_RUNTIME = (
    *("api_key", "apikey", "secret", "password", "credential", "access_token", "auth", "header", "organization"),
    *("url", "endpoint", "proxy", "api_base", "client", "session", "timeout", "retry", "retries", "rate_limit"),
    *("batch", "chunk_size", "progress", "verbose", "device", "cache", "process", "worker", "n_jobs", "concurren"),
    *("callback", "tags", "metadata"),
)


def as_encoder(model: Model, options: Mapping[str, Any] | None = None) -> Encoder:
    """Return the encoder that ``model`` stands for.

    Args:
        model: A loaded model or its name; see :data:`Model`.
        options: Keyword arguments of :func:`rader_plugins.load_encoder`; only where ``model`` has still to be loaded.
    """
    arguments = dict(options or {})
    if not isinstance(model, Encoder | Embeddings):
        return load_encoder(model, **arguments)
    if arguments:
        raise InputError(
            f"{type(model).__name__} is loaded already and takes no encoder_options ({', '.join(sorted(arguments))})."
        )
    if isinstance(model, Encoder):
        return model
    return model.encoder if isinstance(model, RaderEmbeddings) else EmbeddingsEncoder(model)


def default_instruction(model: object) -> str | None:
    """Return the query instruction that comes with `RaderEmbeddings`, or None."""
    return model.instruction if isinstance(model, RaderEmbeddings) else None


class EmbeddingsEncoder(Encoder):
    """Any LangChain embedding model as an encoder, so that an index can hold its vectors.

    Its recipe's fingerprint stands for the class and the public settings that may change vectors. Of the settings,
    only a digest is stored. The vectors' dimension is found at the first use.

    Args:
        embedding: The LangChain embedding model.
        identity: A name to use in place of class and settings, for a model that does not show all that matters.

    Example:
        >>> from langchain_core.embeddings import DeterministicFakeEmbedding
        >>> EmbeddingsEncoder(DeterministicFakeEmbedding(size=6)).encode_queries(["a"]).shape
        (1, 6)
    """

    def __init__(self, embedding: Embeddings, *, identity: str | None = None) -> None:
        self.embedding = embedding
        digest = fingerprint(identity if identity is not None else _settings(embedding))
        name = type(embedding).__name__
        # Pooling "model": the recipe says nothing about how it works inside.
        self.recipe = Recipe(name=name, model=f"langchain:{name}:{digest}", pooling="model")
        self._dimension: int | None = None

    @property
    def known_dimension(self) -> int | None:
        """Length of the vectors, or None before the first one was made."""
        return self._dimension

    @property
    def dimension(self) -> int:
        """Length of the vectors; embeds a word to find it where nothing was embedded yet."""
        return self._dimension or self.encode_documents(["dimension"]).shape[1]

    async def afind_dimension(self) -> int:
        """As :attr:`dimension`, through the embedding model's async side."""
        return self._dimension or (await self.aencode_documents(["dimension"])).shape[1]

    def encode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """Embed queries one by one (LangChain has no batch for them)."""
        self.recipe.query_prefix(instruction)
        return self._rows([self.embedding.embed_query(text) for text in texts], len(texts))

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of documents, float32 array of shape (n, dimension)."""
        return self._rows(self.embedding.embed_documents(list(texts)) if texts else [], len(texts))

    async def aencode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """As :meth:`encode_queries`, through the embedding model's async side."""
        self.recipe.query_prefix(instruction)
        return self._rows(await asyncio.gather(*(self.embedding.aembed_query(text) for text in texts)), len(texts))

    async def aencode_documents(self, texts: Sequence[str]) -> Vectors:
        """As :meth:`encode_documents`, through the embedding model's async side."""
        return self._rows(await self.embedding.aembed_documents(list(texts)) if texts else [], len(texts))

    def _rows(self, vectors: Sequence[Sequence[float]], count: int) -> Vectors:
        name = type(self.embedding).__name__
        if not count:
            return np.zeros((0, self.dimension), dtype=np.float32)
        try:
            rows = np.asarray(vectors, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise EncodingError(f"{name} gave something else than vectors of one length: {error}") from error
        width = self._dimension or (rows.shape[1] if rows.ndim == 2 else 0)
        if not width or rows.shape != (count, width):
            raise EncodingError(f"{name} gave vectors of shape {rows.shape} for {count} texts, not ({count}, {width}).")
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if len(wrong := np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))):
            raise EncodingError(f"{name} gave a vector that is zero or holds NaN or infinity, for text {wrong[0]}.")
        self._dimension = width
        return np.asarray(rows / lengths, dtype=np.float32)


def _settings(embedding: Embeddings) -> dict[str, Any]:
    """Return class and settings of an embedding model, as far as they may change its vectors."""
    if isinstance(embedding, RaderEmbeddings):
        return {"fingerprint": embedding.encoder.fingerprint}
    values: dict[str, Any] = {}
    if isinstance(embedding, BaseModel):
        for name, field in type(embedding).model_fields.items():
            value = getattr(embedding, name, None)
            # What stands at its default is left out, so that an update that adds a setting keeps the fingerprint.
            if field.exclude or (value == field.default and "model" not in name):
                continue
            values[name] = value
    else:
        values = {name: value for name, value in vars(embedding).items() if not name.startswith("_")}
    return {"class": type(embedding).__qualname__, "fields": _plain(values)}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in values.items():
        if not isinstance(name, str) or name == "token" or any(part in name.lower() for part in _RUNTIME):
            continue
        if isinstance(value, Embeddings):
            settings[name] = _settings(value)
        elif isinstance(value, Mapping):
            # An empty mapping says as much as none, which is what one of runtime settings alone comes to.
            if inner := _plain(value):
                settings[name] = inner
        elif _is_json(value):
            settings[name] = value
    return settings


def _is_json(value: object) -> bool:
    try:
        canonical_json(value)
    except (TypeError, ValueError):
        return False
    return True
