"""The encoder of an index: given, or loaded from what the index recorded when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rader_plugins.background import after_fork, in_thread
from rader_plugins.encoding.backends import recorded_dtype
from rader_plugins.encoding.base import Encoder, Vectors
from rader_plugins.encoding.cut import cut
from rader_plugins.errors import FingerprintMismatchError, InputError
from rader_plugins.index.dense import AnnConfig, ann_config
from rader_plugins.index.home import Settings
from rader_plugins.index.lexical import Bm25Config
from rader_plugins.recipes import RECIPE_FILE, Recipe

__all__ = ["EncoderSlot", "RecordedEncoder", "as_encoder", "settings_for"]


def as_encoder(encoder: Encoder | Recipe | str, precision: str | None = None) -> Encoder:
    """Return an encoder, loading it if it is given by name or recipe.

    Args:
        encoder: The encoder, or what it is loaded from.
        precision: Precision in which torch is to compute, where it is known.

    Raises:
        InputError: It is neither, or cannot be loaded.
    """
    if isinstance(encoder, Recipe | str):
        from rader_plugins.encoding import load_encoder

        return load_encoder(encoder, **recorded_dtype(encoder, precision))
    if not isinstance(encoder, Encoder):
        raise InputError(f"encoder must be an Encoder, a Recipe or a name, not {type(encoder).__name__}.")
    return encoder


def settings_for(
    encoder: Encoder | None,
    *,
    dtype: Literal["float32", "float16"] | None = None,
    ann: str | AnnConfig | Mapping[str, Any] | None = None,
    bm25: Bm25Config | None = None,
) -> Settings:
    """Return what a new index is created with; see :meth:`rader_plugins.RaderIndex.create`.

    Raises:
        InputError: An option is unusable.
    """
    if encoder is None and ann is not None:
        raise InputError("ann speeds up the search by vectors, and without an encoder there are none.")
    settings = Settings(
        recipe=encoder.recipe if encoder else None,
        fingerprint=encoder.fingerprint if encoder else None,
        location=_absolute_location(encoder),
        dimension=encoder.dimension if encoder else None,
        dtype="float32" if dtype is None else dtype,
        bm25=Bm25Config() if bm25 is None else bm25,
        ann=ann_config(ann),
        precision=encoder.precision if encoder else None,
    )
    settings.check()
    return settings


def _absolute_location(encoder: Encoder | None) -> str | None:
    """Return where an encoder was loaded from; a directory of this machine as it is called from everywhere."""
    if encoder is None or encoder.location is None:
        return None
    directory = Path(encoder.location).expanduser()
    return str(directory.absolute()) if encoder.recipe.model.startswith("sha256:") else encoder.location


class EncoderSlot:
    """Holds at most one encoder, of the index's own fingerprint.

    Args:
        settings: What the index recorded; it says how its encoder is loaded.
        folder: Where the index lies, if it does in a folder.
        encoder: The one it was created with, if any.
    """

    def __init__(self, settings: Settings, folder: Path | None, encoder: Encoder | None = None) -> None:
        self._settings = settings
        self._folder = folder
        self.given = encoder
        """The encoder that the user gave, if any; it is not recorded as such."""
        self._loaded: Encoder | None = None
        self._start_anew()
        after_fork(self._start_anew)

    def _start_anew(self) -> None:
        self._lock = threading.Lock()

    @property
    def recorded_model(self) -> Recipe | str:
        """See :attr:`rader_plugins.RaderIndex.recorded_model`."""
        return next(self._candidates())

    def _candidates(self) -> Iterator[Recipe | str]:
        """Yield what may load the encoder: for a model of a directory, wherever that may be now."""
        recipe, location = self._settings.recipe, self._settings.location
        if recipe is None:
            raise InputError("This index holds no vectors, so no model belongs to it.")
        if not (location and recipe.model.startswith("sha256:")):
            yield recipe
            return
        locations = [Path(location)]
        if self._folder is not None and (relative := self._settings.location_from_index) is not None:
            locations.append((self._folder / relative).resolve())
        directories = [path for path in dict.fromkeys(locations) if path.is_dir()]
        if not directories:
            raise InputError(
                f"The model of this index lay in the directory {location}, which is not there"
                + (f" (nor is {locations[1]})." if len(locations) > 1 and locations[1] != locations[0] else ".")
                + " A directory that was moved is named by whoever opens the index."
            )
        for directory in directories:
            carries_recipe = (directory / RECIPE_FILE).is_file()
            yield str(directory) if carries_recipe else replace(recipe, model=str(directory))

    @property
    def recorded_precision(self) -> str | None:
        """In which precision the vectors of the index were computed, where that is known."""
        return self._settings.precision

    @property
    def _cut_to(self) -> int | None:
        return self._settings.recipe.cut_to if self._settings.recipe is not None else None

    def use(self, encoder: Encoder) -> None:
        """Take an encoder.

        Raises:
            FingerprintMismatchError: It makes other vectors than the index holds.
            InputError: The index holds no vectors.
        """
        if self._settings.recipe is None:
            raise InputError("This index holds no vectors: open it without an encoder, and search with mode='bm25'.")
        self.given = self._checked(encoder)

    def get(self) -> Encoder | None:
        """Return the encoder, loading the recorded one if there is none yet; None if the index has no vectors."""
        if self._settings.recipe is None:
            return None
        with self._lock:
            if self.given is None and self._loaded is None:
                self._loaded = self._load()
            return self.given or self._loaded

    def _checked(self, encoder: Encoder) -> Encoder:
        recorded = self._settings
        if recorded.recipe is not None and encoder.fingerprint != recorded.fingerprint:
            if recorded.recipe.cut_to is not None and encoder.dimension != recorded.recipe.cut_to:
                raise FingerprintMismatchError(
                    f"This index holds vectors that are cut to {recorded.recipe.cut_to} places, and the encoder's have "
                    f"{encoder.dimension}. Load it with load_encoder(..., dimension={recorded.recipe.cut_to})."
                )
            raise FingerprintMismatchError(
                f"This index holds vectors of recipe {recorded.recipe.name!r} (fingerprint {recorded.fingerprint}), "
                f"but the encoder makes those of {encoder.recipe.name!r} (fingerprint {encoder.fingerprint}). Open it "
                "with the recipe it was built with, or build a new index."
            )
        return encoder

    def _load(self) -> Encoder:
        failure: InputError | None = None
        try:
            for candidate in self._candidates():
                try:
                    return self._checked(cut(as_encoder(candidate, self._settings.precision), self._cut_to))
                except InputError as error:  # another model of the same place: the next candidate may be the right one
                    failure = failure or error
        except InputError as error:
            failure = error
        if isinstance(failure, FingerprintMismatchError):
            raise failure
        raise InputError(
            f"The encoder of this index could not be loaded: {failure} Or name one that gives the same vectors: "
            "open_index(where, encoder=...), `--model` on the command line."
        ) from failure


class RecordedEncoder(Encoder):
    """Stands for the encoder of an index, which is loaded when something is to be encoded, and only then.

    A copy of the index is made with it: that copies vectors and encodes nothing.

    Args:
        settings: What the index was created with.
        slot: What loads its encoder.
    """

    def __init__(self, settings: Settings, slot: EncoderSlot) -> None:
        if settings.recipe is None or settings.dimension is None:
            raise InputError("This index holds no vectors, so it has no encoder.")
        self.recipe = settings.recipe
        self.location = settings.location
        self._dimension = settings.dimension
        self._precision = settings.precision
        self._slot = slot

    @property
    def precision(self) -> str | None:
        """That in which the vectors of the index were computed."""
        return self._precision

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self._dimension

    def _encoder(self) -> Encoder:
        encoder = self._slot.get()
        if encoder is None:
            raise InputError("This index holds no vectors, so it has no encoder.")
        return encoder

    def encode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """Encode queries with the loaded encoder."""
        return self._encoder().encode_queries(texts, instruction=instruction)

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Encode documents with the loaded encoder."""
        return self._encoder().encode_documents(texts)

    async def aencode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """As :meth:`encode_queries`, without blocking the event loop."""
        return await (await in_thread(self._encoder)).aencode_queries(texts, instruction=instruction)

    async def aencode_documents(self, texts: Sequence[str]) -> Vectors:
        """As :meth:`encode_documents`, without blocking the event loop."""
        return await (await in_thread(self._encoder)).aencode_documents(texts)
