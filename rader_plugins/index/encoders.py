"""The encoder of an index: given, or loaded from what the index recorded when it is first needed."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from rader_plugins.encoding.base import Encoder
from rader_plugins.errors import FingerprintMismatchError, InputError
from rader_plugins.index.home import Settings
from rader_plugins.recipes import RECIPE_FILE, Recipe

__all__ = ["EncoderSlot", "as_encoder"]


def as_encoder(encoder: Encoder | Recipe | str) -> Encoder:
    """Return an encoder, loading it if it is given by name or recipe.

    Raises:
        InputError: It is neither, or cannot be loaded.
    """
    if isinstance(encoder, Recipe | str):
        from rader_plugins.encoding import load_encoder

        return load_encoder(encoder)
    if not isinstance(encoder, Encoder):
        raise InputError(f"encoder must be an Encoder, a Recipe or a name, not {type(encoder).__name__}.")
    return encoder


class EncoderSlot:
    """Holds at most one encoder, of the index's own fingerprint.

    Args:
        settings: What the index recorded.
        encoder: The one it was created with, if any.
    """

    def __init__(self, settings: Settings, encoder: Encoder | None = None) -> None:
        self._settings = settings
        self._encoder = encoder
        self._lock = threading.Lock()

    @property
    def recorded_model(self) -> Recipe | str:
        """See :attr:`rader_plugins.RaderIndex.recorded_model`."""
        recipe, location = self._settings.recipe, self._settings.location
        if recipe is None:
            raise InputError("This index holds no vectors, so no model belongs to it.")
        if not (location and recipe.model.startswith("sha256:")):
            return recipe
        carries_recipe = (Path(location) / RECIPE_FILE).is_file()
        return location if carries_recipe else replace(recipe, model=location)

    def use(self, encoder: Encoder) -> Encoder:
        """Take an encoder.

        Raises:
            FingerprintMismatchError: It makes other vectors than the index holds.
        """
        recorded = self._settings
        if recorded.recipe is None:
            raise InputError("This index holds no vectors: open it without an encoder, and search with mode='bm25'.")
        if encoder.fingerprint != recorded.fingerprint:
            raise FingerprintMismatchError(
                f"This index holds vectors of recipe {recorded.recipe.name!r} (fingerprint {recorded.fingerprint}), "
                f"but the encoder makes those of {encoder.recipe.name!r} (fingerprint {encoder.fingerprint}). Open it "
                "with the recipe it was built with, or build a new index."
            )
        self._encoder = encoder
        return encoder

    def get(self) -> Encoder | None:
        """Return the encoder, loading the recorded one if there is none yet; None if the index has no vectors."""
        if self._settings.recipe is None:
            return None
        with self._lock:
            return self._encoder or self.use(self._load())

    def _load(self) -> Encoder:
        try:
            return as_encoder(self.recorded_model)
        except InputError as error:
            raise InputError(
                f"The encoder of this index could not be loaded: {error} Or "
                "name one that gives the same vectors: RaderIndex.open(path, encoder=...), `--model` on the command "
                "line."
            ) from error
