"""`RaderEmbedding`: an encoder of rader-plugins as a LlamaIndex embedding model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.callbacks import CallbackManager
from typing_extensions import Self

from rader_plugins import Encoder, Recipe, load_encoder
from rader_plugins.encoding.base import Vectors
from rader_plugins.errors import FingerprintMismatchError, InputError
from rader_plugins.http_urls import is_url
from rader_plugins.recipes.resolve import named_recipe, resolve

__all__ = ["RaderEmbedding"]

_BATCH_SIZE = 256
_NOT_STATE = ("callback_manager", "rate_limiter")
_SECRETS = ("key", "token", "secret", "password", "signature")


class RaderEmbedding(BaseEmbedding):
    """Embeds queries and documents, each in its role, with a local model or an embedding server.

    Everything that decides a vector is a public field, because LlamaIndex's ingestion cache tells embedding models
    apart by :meth:`to_dict`. Options of the run (device, batch sizes, cache) are not part of it.

    Args:
        model: What :func:`rader_plugins.load_encoder` takes (a registered name, a directory, a hub id, the URL of an
            embedding server, a :class:`~rader_plugins.Recipe`) or a loaded :class:`~rader_plugins.Encoder`.
        recipe: How the model of a directory, hub id or URL makes vectors, if it does not say so itself.
        query_instruction: Task instruction for queries; None takes the recipe's own.
        served_model: Name under which the server at a URL knows the model.
        dtype: Precision of a local model: ``"float32"``, ``"bfloat16"``, ``"float16"``.
        encoder_options: Further options of :func:`rader_plugins.load_encoder`; they can also be given as keywords:
            ``device``, ``batch_tokens``, ``trust_remote_code``, ``cache`` (file of an on-disk vector cache),
            ``dimension`` (cuts vectors to a length), ...
        embed_batch_size: Texts per call, 1 to 2048.
        num_workers: Number of tasks that run at once, as in
            :class:`~llama_index.core.base.embeddings.base.BaseEmbedding`; a local model works on one batch at a time
            whatever it is.
        callback_manager, rate_limiter: Objects of LlamaIndex, as in the base class.

    Raises:
        InputError: The model cannot be found, an option is unknown, or ``embeddings_cache`` is given.
        FingerprintMismatchError: :meth:`from_dict` finds another model under the recorded name.
        MissingExtraError: A local model needs the extra ``local``.

    Example:
        >>> from llama_index.embeddings.rader import RaderEmbedding
        >>> embed_model = RaderEmbedding(model="mini")
        >>> len(embed_model.get_query_embedding("How many guests until three share a hobby?"))
        384
    """

    model: str = Field(description="Registered name, directory, hub id or URL that the encoder was loaded from.")
    recipe: dict[str, Any] = Field(description="Everything that decides what vector a text gets.")
    fingerprint: str = Field(description="Fingerprint of the recipe and the weights.")
    variant: str = Field(default="", description="Precision or served model; changes the last digits of vectors.")
    query_instruction: str | None = Field(default=None, description="Task instruction for queries.")
    served_model: str | None = Field(default=None, description="Name of the model on an embedding server.")
    dtype: str | None = Field(default=None, description="Precision that a local model was asked to run in.")
    encoder_options: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)

    _encoder: Encoder = PrivateAttr()
    _is_ready: bool = PrivateAttr(default=False)

    def __init__(
        self,
        model: str | os.PathLike[str] | Recipe | Encoder = "mini",
        *,
        recipe: Recipe | Mapping[str, Any] | str | None = None,
        query_instruction: str | None = None,
        served_model: str | None = None,
        dtype: str | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        embed_batch_size: int = _BATCH_SIZE,
        num_workers: int | None = None,
        callback_manager: CallbackManager | None = None,
        rate_limiter: Any = None,
        embeddings_cache: Any = None,
        model_name: str | None = None,
        fingerprint: str | None = None,
        variant: str | None = None,  # noqa: ARG002 - found anew; here because to_dict() holds it
        **more_encoder_options: Any,
    ) -> None:
        _refuse_cache(embeddings_cache)
        options = {**(encoder_options or {}), **more_encoder_options}
        load_options = {name: value for name, value in (("dtype", dtype), ("model", served_model)) if value is not None}
        if isinstance(model, Encoder):
            if recipe is not None or options or load_options:
                _reject_options(model, recipe, {**options, **load_options}, fingerprint)
            encoder = model
        else:
            encoder = _load(model, recipe, {**options, **load_options}, fingerprint)
        if fingerprint is not None and encoder.fingerprint != fingerprint:
            raise FingerprintMismatchError(
                f"{_place(model, encoder)!r} makes vectors of fingerprint {encoder.fingerprint}, but those recorded "
                f"have {fingerprint}: the model is another one, or was changed. Leave `fingerprint` out to use it as "
                "it is now, and embed the documents again."
            )
        encoder.recipe.query_prefix(query_instruction)  # an instruction that the recipe has no place for
        stated = model if isinstance(model, Recipe) else encoder.recipe
        fields: dict[str, Any] = {
            "model": _place(model, encoder),
            "model_name": model_name or encoder.recipe.name,
            "recipe": stated.to_dict(),
            "fingerprint": encoder.fingerprint,
            "variant": encoder.variant,
            "query_instruction": query_instruction,
            "served_model": served_model,
            "dtype": dtype,
            "encoder_options": options,
        }
        super().__init__(
            embed_batch_size=embed_batch_size,
            num_workers=num_workers,
            callback_manager=callback_manager or CallbackManager([]),
            rate_limiter=rate_limiter,
            **fields,
        )
        self._encoder = encoder
        self._is_ready = isinstance(model, Encoder)

    @classmethod
    def class_name(cls) -> str:
        """Return the name that serialised objects carry."""
        return "RaderEmbedding"

    @property
    def encoder(self) -> Encoder:
        """The encoder behind it."""
        return self._encoder

    def _get_query_embedding(self, query: str) -> Embedding:
        return _lists(self._encoder.encode_queries([query], instruction=self.query_instruction))[0]

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return _lists(await self._encoder.aencode_queries([query], instruction=self.query_instruction))[0]

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return _lists(self._encoder.encode_documents(texts))

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return _lists(await self._encoder.aencode_documents(texts))

    # `IngestionPipeline(num_workers=2)` sends its transformations to other processes, where the model is loaded anew.

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name not in _NOT_STATE}
        # An encoder that was given ready says itself how it is loaded: its options are not known here.
        return {"__dict__": {**state, "model": self._encoder} if self._is_ready else state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["__dict__"])  # type: ignore[misc]

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy()  # the weights are shared: an encoder may be used by any number of objects

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "embeddings_cache":
            _refuse_cache(value)
        super().__setattr__(name, value)


def _lists(vectors: Vectors) -> list[Embedding]:
    rows: list[Embedding] = vectors.tolist()
    return rows


def _refuse_cache(cache: Any) -> None:
    # LlamaIndex keys it by the raw text alone: a query equal to a stored document would get the document's vector,
    # and so would every other model that shares the cache.
    if cache is not None:
        raise InputError(
            "RaderEmbedding takes no embeddings_cache: it cannot tell queries from documents, nor one model from "
            "another. Use the cache of rader-plugins: RaderEmbedding(model=..., cache='vectors.db')."
        )


def _reject_options(
    model: Encoder, recipe: Recipe | Mapping[str, Any] | str | None, options: dict[str, Any], recorded: str | None
) -> None:
    # from_dict(data, model=encoder) brings the recorded recipe and precision along; they were true of that encoder.
    if recorded is not None and not set(options) - {"dtype", "model"}:
        return
    names = sorted([*options, *(["recipe"] if recipe is not None else [])])
    raise InputError(
        f"{', '.join(names)}: these have no effect on a loaded {type(model).__name__}. Give them to load_encoder()."
    )


def _load(
    model: str | os.PathLike[str] | Recipe,
    recipe: Recipe | Mapping[str, Any] | str | None,
    options: dict[str, Any],
    recorded: str | None,
) -> Encoder:
    stated = Recipe.from_dict(recipe) if isinstance(recipe, Mapping) else recipe
    if isinstance(stated, Recipe) and stated.cut_to is not None:
        options = {"dimension": stated.cut_to, **options}
    if _is_url(model):
        _check_url(str(model))
        if isinstance(stated, Recipe) and stated.name == "plain":
            options = {"model": stated.model, **options}
            stated = "plain"
    elif "model" in options:
        raise InputError("served_model belongs to an embedding server: pass its URL as the model.")
    elif recorded is not None and isinstance(stated, Recipe) and not isinstance(model, Recipe):
        model, stated = _find_recorded(os.fspath(model), stated, recorded)
    return load_encoder(model, **options, **({} if stated is None else {"recipe": stated}))


def _find_recorded(model: str, recipe: Recipe, recorded: str) -> tuple[str | Recipe, Recipe | None]:
    """Find out how the model that :meth:`RaderEmbedding.to_dict` described had been stated; loads no weights."""
    candidates: tuple[tuple[str | Recipe, Recipe | None], ...] = ((model, None), (model, recipe), (recipe, None))
    for source, stated in candidates:
        try:
            if replace(resolve(source, stated).recipe, cut_to=recipe.cut_to).fingerprint == recorded:
                return source, stated
        except InputError:
            continue  # this way of stating it does not fit; another may
    return model, None


def _is_url(model: object) -> bool:
    return is_url(model)


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    names = [name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if parts.username or parts.password or any(sign in name for name in names for sign in _SECRETS):
        raise InputError(
            "The URL holds a password, key or token, which would end up in logs and stored pipelines. Leave it out: "
            "keys are read from the environment (api_key_env='OPENAI_API_KEY')."
        )


def _place(model: str | os.PathLike[str] | Recipe | Encoder, encoder: Encoder) -> str:
    """Say where the model comes from, in a form that loads again where there is one."""
    if isinstance(model, Recipe):
        return model.model
    if not isinstance(model, Encoder):
        return os.fspath(model)
    recipe = named_recipe(encoder.recipe.name)
    if recipe == encoder.recipe:
        return encoder.recipe.name
    return str(getattr(encoder, "location", encoder.recipe.model))
