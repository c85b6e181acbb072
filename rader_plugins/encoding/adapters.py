"""LoRA adapters: merged into their base model, insisting that every tensor finds its place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rader_plugins.errors import EncodingError, InputError, import_extra
from rader_plugins.recipes import Recipe

__all__ = ["Adapter", "merge_adapter", "read_adapter"]


_EMBEDDINGS = ("embed_tokens", "lm_head")
"""What peft calls layers of embeddings."""


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter repository.

    Args:
        folder: The local folder that holds the repository's files.
        base: Hub id or directory of the model that it is merged into.
        state: The tensors of the adapter, by name.
    """

    folder: Path
    base: str
    state: dict[str, Any]

    @property
    def has_tokenizer(self) -> bool:
        """Whether it brings a tokenizer of its own."""
        return (self.folder / "tokenizer_config.json").is_file()


def read_adapter(recipe: Recipe, folder: Path) -> Adapter:
    """Read an adapter's tensors and the name of its base model.

    Raises:
        InputError: It has no safetensors file, or neither it nor the recipe names the base model.
    """
    torch_file = import_extra("safetensors.torch", "local")
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise InputError(f"The adapter in {str(folder)!r} has no adapter_model.safetensors.")
    stated = json.loads((folder / "adapter_config.json").read_bytes()).get("base_model_name_or_path")
    base = recipe.base_model or stated
    if not base:
        raise InputError(
            f"The adapter of recipe {recipe.name!r} does not name its base model. State it: "
            "dataclasses.replace(recipe, base_model='owner/model')."
        )
    return Adapter(folder, base, torch_file.load_file(str(weights)))


def merge_adapter(model: Any, adapter: Adapter, *, whole_modules: tuple[str, ...] = ()) -> Any:
    """Merge an adapter into its base model, which is changed, and return it.

    Args:
        model: The base model, in torch; its weights are changed in place.
        adapter: The adapter to merge, as it was read from its folder.
        whole_modules: Modules of the base model that the adapter holds as they are, in place of the base's own (the
            head of a classifier).

    Raises:
        InputError: The adapter's tensors are not those of this model.
    """
    peft = import_extra("peft", "local")
    config = peft.PeftConfig.from_pretrained(str(adapter.folder))
    config.modules_to_save = sorted({*(config.modules_to_save or ()), *whole_modules}) or None
    adapted = peft.PeftModel(model, config)
    # Left to itself, peft asks the hub whether the embeddings were changed too; the adapter's own tensors tell.
    layers = [name for name in _EMBEDDINGS if name not in (config.modules_to_save or ())]
    embeddings = any(name in key and "lora_" not in key for key in adapter.state for name in layers)
    expected = peft.get_peft_model_state_dict(adapted, save_embedding_layers=embeddings)
    state = _match_prefix(adapter.state, set(expected))
    outcome = peft.set_peft_model_state_dict(adapted, state)
    if outcome.unexpected_keys:
        raise EncodingError(
            f"The adapter did not fit its base model {adapter.base!r}: {outcome.unexpected_keys[:3]} ..."
        )
    return adapted.merge_and_unload()


def _match_prefix(state: dict[str, Any], expected: set[str]) -> dict[str, Any]:
    """Rename the tensors of an adapter that was trained on the model with its language-model head.

    There the encoder is ``base_model.model.model``, here it is ``base_model.model``; peft would take neither for an
    error and leave the adapter at its initial values, which do nothing.
    """
    root = "base_model.model."
    for inner in ("", "model.", "transformer.", "backbone."):
        renamed = {
            root + key[len(root + inner) :] if inner and key.startswith(root + inner) else key: tensor
            for key, tensor in state.items()
        }
        if set(renamed) == expected:
            return renamed
        if not inner:
            continue
    missing, unexpected = sorted(expected - set(state)), sorted(set(state) - expected)
    raise InputError(
        f"The adapter's tensors are not those of its base model: {len(missing)} missing ({', '.join(missing[:2])}), "
        f"{len(unexpected)} unknown ({', '.join(unexpected[:2])}). Is it the right base_model?"
    )
