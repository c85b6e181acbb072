"""mteb's metadata of an encoder or a search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rader_plugins.encoding.base import Encoder
from rader_plugins.errors import InputError, import_extra
from rader_plugins.files import fingerprint
from rader_plugins.recipes import Recipe

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta

__all__ = ["model_meta"]


def model_meta(encoder: Encoder, kind: str, settings: Mapping[str, Any], name: str | None = None) -> ModelMeta:
    """Return mteb's metadata.

    mteb keeps results by name, revision and experiment. The experiment holds a fingerprint of everything that decides
    the results, so that those of other settings, or of the bare checkpoint, are never taken for these.

    Args:
        encoder: What makes the vectors.
        kind: ``dense``, ``sparse`` or ``hybrid``.
        settings: What else decides the results; a JSON object.
        name: ``organisation/name``; None takes the hub id of the checkpoint, or ``rader-plugins/<recipe>``.

    Raises:
        InputError: The name has no ``/``.
    """
    recipe = encoder.recipe
    name = name or _name(recipe)
    if "/" not in name:
        raise InputError(f"mteb wants a name like organisation/name, not {name!r}.")
    meta: ModelMeta = import_extra("mteb.models.model_meta", "mteb").ModelMeta(
        loader=None,
        name=name,
        revision=recipe.revision or encoder.fingerprint[:12],
        release_date=None,
        languages=None,
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=recipe.max_document_length,
        embed_dim=encoder.dimension,
        license=None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=[],
        similarity_fn_name="cosine",
        use_instructions=recipe.takes_instruction,
        training_datasets=None,
        model_type=[kind],
        experiment_kwargs={
            "kind": kind,
            "settings": fingerprint({"encoder": encoder.fingerprint, "settings": dict(settings)})[:16],
        },
    )
    return meta


def _name(recipe: Recipe) -> str:
    is_hub_id = recipe.model.count("/") == 1 and recipe.model[0] not in "./~" and not Path(recipe.model).exists()
    return recipe.model if is_hub_id else f"rader-plugins/{recipe.name}"
