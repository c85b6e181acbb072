"""Reading a recipe out of a Sentence Transformers directory, without importing torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.recipes.recipe import Pooling, Recipe

__all__ = ["read_json", "recipe_from_modules", "stated_length"]

_MODES: dict[str, Pooling] = {"cls": "cls", "mean": "mean", "lasttoken": "lasttoken"}
_LEGACY_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def recipe_from_modules(folder: Path, shown: str) -> Recipe:
    """Return the recipe that a directory's ``modules.json`` and its companions describe.

    Transformer, one plain pooling and an optional Normalize become the recipe's own fields. Anything else (Dense
    layers, several poolings, static embeddings, a chat template that is part of the input) gets the pooling
    ``"model"``: the directory's modules then decide, and are all kept.

    Vectors are normalised unless the directory asks for another similarity than the cosine.

    Raises:
        InputError: A file is missing or is not what it should be.
    """
    modules = read_json(folder / "modules.json", list)
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    settings = read_json(folder / "config_sentence_transformers.json", dict, optional=True)
    transformer = _transformer_settings(folder, modules)
    pooling: Pooling = "model"
    pool_prompt = True
    if kinds[:2] == ["Transformer", "Pooling"] and kinds[2:] in ([], ["Normalize"]) and _is_plain(transformer):
        config = read_json(folder / str(modules[1].get("path", "")) / "config.json", dict)
        pooling = _MODES.get(_mode(config), "model")
        pool_prompt = bool(config.get("include_prompt", True))
    length = stated_length(folder, transformer)
    query, document = _prompts(settings)
    return Recipe(
        name=Path(shown).name or shown,
        model=shown,
        query_template=query + "{text}",
        document_template=document + "{text}",
        pooling=pooling,
        pool_prompt=pool_prompt,
        normalize="Normalize" in kinds or settings.get("similarity_fn_name") in (None, "cosine"),
        max_query_length=transformer.get("query_length") or length,
        max_document_length=transformer.get("document_length") or length,
        source="its Sentence Transformers configuration",
    )


def _mode(config: dict[str, Any]) -> str:
    mode = config.get("pooling_mode")
    if isinstance(mode, list):
        return str(mode[0]) if len(mode) == 1 else "several"
    if mode is not None:
        return str(mode)
    active = [name for key, name in _LEGACY_MODES.items() if config.get(key)]
    return active[0] if len(active) == 1 else ("several" if active else "mean")


def _is_plain(transformer: dict[str, Any]) -> bool:
    """Whether the Transformer module only runs the model on tokens, so that a recipe can express it."""
    task = transformer.get("transformer_task", "feature-extraction")
    modalities = transformer.get("modality_config")
    special = any(transformer.get(key) for key in ("do_lower_case", "processing_kwargs", "query_expansion"))
    plain = modalities is None or modalities.get("text") == {
        "method": "forward",
        "method_output_name": "last_hidden_state",
    }
    return task == "feature-extraction" and plain and "message" not in (modalities or {}) and not special


def _transformer_settings(folder: Path, modules: list[Any]) -> dict[str, Any]:
    # Some old directories name the file after their architecture.
    names = ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_xlm-roberta_config.json")
    first = folder / str(modules[0].get("path", "")) if modules else folder
    for name in names:
        if (first / name).is_file():
            return read_json(first / name, dict)  # type: ignore[no-any-return]
    return {}


def stated_length(folder: Path, transformer: dict[str, Any]) -> int:
    """Return the maximum number of tokens: the stated one, else what tokenizer and model both allow."""
    stated = transformer.get("max_seq_length")
    if isinstance(stated, int) and stated > 1:
        return stated
    tokenizer = read_json(folder / "tokenizer_config.json", dict, optional=True)
    model = read_json(folder / "config.json", dict, optional=True)
    # Tokenizers without a limit store a number beyond any model.
    limits = [tokenizer.get("model_max_length"), model.get("max_position_embeddings")]
    usable = [int(limit) for limit in limits if isinstance(limit, int | float) and 1 < limit < 10**7]
    return min(usable) if usable else 512


def _prompts(settings: dict[str, Any]) -> tuple[str, str]:
    """Return the prefixes of queries and documents, found as sentence-transformers finds them."""
    prompts = settings.get("prompts") or {}
    default = prompts.get(settings.get("default_prompt_name") or "") or ""
    query = prompts.get("query")
    document = next(
        (prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name) is not None), None
    )
    return (default if query is None else query), (default if document is None else document)


def read_json(path: Path, kind: type, *, optional: bool = False) -> Any:
    """Return the content of a configuration file, insisting on its type; an empty one where it is optional."""
    if optional and not path.is_file():
        return kind()
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
    entries = content if isinstance(content, list) else []
    if not isinstance(content, kind) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path} is not a Sentence Transformers configuration.")
    return content
