"""Reading what a cross-encoder's directory says about itself, without importing torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.recipes.recipe import Recipe
from rader_plugins.recipes.st_directory import read_json, stated_length

__all__ = ["check_classifier", "has_plain_modules", "recipe_from_cross_encoder"]

_SETTINGS = "config_sentence_transformers.json"
_EXAMPLE = (
    "Recipe(name='mine', model={model!r}, kind='reranker', pair_template='query: {{query}} document: {{document}}', "
    "append_eos=True, max_query_length=3900, max_document_length=3900)"
)


def recipe_from_cross_encoder(folder: Path, shown: str) -> Recipe:
    """Return the recipe of a directory that sentence-transformers' ``CrossEncoder`` loads.

    It has no ``pair_template``: the tokenizer's own encoding of a pair is its template.

    Raises:
        InputError: It is another kind of model, or not a classifier of one label.
    """
    kind = read_json(folder / _SETTINGS, dict, optional=True).get("model_type")
    if kind is None and (folder / "modules.json").is_file():
        kind = "SentenceTransformer"  # releases before 5 wrote modules for these alone
    if kind not in (None, "CrossEncoder"):
        raise InputError(
            f"{shown!r} is a {kind}: it makes vectors and scores no pairs. Load it with rader_plugins.load_encoder, "
            "and a reranker here."
        )
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            f"{shown!r} is a LoRA adapter that does not say which template it was trained with, and a wrong guess "
            "silently costs quality. State it: load_reranker(" + _EXAMPLE.format(model=shown) + ")."
        )
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise InputError(f"{shown!r} holds no model: there is no config.json, modules.json or rader_recipe.json.")
    if has_plain_modules(folder):
        check_classifier(folder, shown)
    length = stated_length(folder, {})
    return Recipe(
        name=Path(shown).name or shown,
        model=shown,
        kind="reranker",
        pooling="model",
        normalize=False,
        max_query_length=length,
        max_document_length=length,
        source="its own configuration as a cross-encoder",
    )


def has_plain_modules(folder: Path) -> bool:
    """Whether the directory is one classifier that reads the tokenizer's own encoding of a pair.

    Not plain are further modules (scores read from a language model's logits, Dense heads), default prompts and chat
    templates.
    """
    modules = read_json(folder / "modules.json", list, optional=True)
    if not modules:
        return True
    first = folder / str(modules[0].get("path", ""))
    settings = read_json(first / "sentence_bert_config.json", dict, optional=True)
    special = any(settings.get(key) for key in ("do_lower_case", "processing_kwargs", "query_expansion"))
    return (
        len(modules) == 1
        and first == folder
        and settings.get("transformer_task", "sequence-classification") == "sequence-classification"
        and "message" not in (settings.get("modality_config") or {})
        and not special
        and not read_json(folder / _SETTINGS, dict, optional=True).get("default_prompt_name")
        and not _has_chat_template(folder)
    )


def _has_chat_template(folder: Path) -> bool:
    tokenizer = read_json(folder / "tokenizer_config.json", dict, optional=True)
    return bool(tokenizer.get("chat_template")) or (folder / "chat_template.jinja").is_file()


def check_classifier(folder: Path, shown: str) -> None:
    """Raise :class:`InputError` unless a checkpoint is a sequence classifier of one label."""
    config = read_json(folder / "config.json", dict)
    architectures = [str(name) for name in config.get("architectures") or []]
    if not any(name.endswith("ForSequenceClassification") for name in architectures):
        raise InputError(f"{shown!r} is no reranker: {_what_else(architectures)}")
    labels = _label_count(config)
    if labels != 1:
        raise InputError(
            f"{shown!r} is a classifier of {labels} labels. A reranker has one: its score. (Models that tell "
            "entailment from contradiction, or sort texts into classes, do not rank.)"
        )


def _what_else(architectures: list[str]) -> str:
    description = ", ".join(architectures) or "a checkpoint that states no architecture"
    if any(name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for name in architectures):
        return (
            f"it is {description}, a language model without a score head, and a head of random numbers would rank at "
            "random. Load a sequence classifier, or let the model grade in words "
            "(rader_plugins.reranking.LLMReranker)."
        )
    return (
        f"it is {description}, not a sequence classifier. A model that makes vectors is loaded with "
        "rader_plugins.load_encoder."
    )


def _label_count(config: dict[str, Any]) -> int:
    named = config.get("id2label")
    stated = config.get("num_labels")
    return int(stated) if isinstance(stated, int) else len(named) if isinstance(named, dict) else 2
