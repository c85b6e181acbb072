"""From a trained model to a directory that every library loads, with its recipe and its card."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rader_plugins.encoding.local import LocalEncoder
from rader_plugins.files import sync_folder
from rader_plugins.recipes import Recipe
from rader_plugins.recipes.resolve import write_recipe

__all__ = ["export"]


def export(model: Any, recipe: Recipe, folder: Path, *, name: str, facts: Mapping[str, Any]) -> Path:
    """Write a Sentence Transformers directory (see :func:`rader_plugins.encoding.saving.save_encoder`).

    Args:
        model: Trained, adapters merged.
        recipe: How it makes vectors; its name and identity become the new model's.
        folder: To be made; it appears complete or not at all.
        name: Of the new recipe.
        facts: For the card.
    """
    base = recipe.name
    trained = dataclasses.replace(
        recipe,
        name=name,
        model=name,
        revision=None,
        package=None,
        sha256=None,
        base_model=None,
        source=f"trained from {base} with rader-plugins",
    )
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        LocalEncoder(trained, model=model, show_progress=False).save(temporary)
        # Its weights are new: their content is its identity, not what it was trained from.
        write_recipe(temporary, trained, same_vectors=False)
        (temporary / "README.md").write_text(_card(trained, base, facts), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder.parent)
    return folder


def _card(recipe: Recipe, base: str, facts: Mapping[str, Any]) -> str:
    blocks = [
        f"# {recipe.name}\n\nA retriever trained from `{base}` with rader-plugins.",
        "```python\nfrom rader_plugins import load_encoder\n\n"
        f'load_encoder("path/to/{recipe.name}").encode_queries(["..."])\n```',
        f"Query template `{recipe.query_template}`, document template `{recipe.document_template}`, {recipe.pooling} "
        f"pooling, at most {recipe.max_query_length} and {recipe.max_document_length} tokens.",
    ]
    for title, content in facts.items():
        blocks.append(f"## {title}\n\n```json\n{json.dumps(content, indent=2, ensure_ascii=False)}\n```")
    return "\n\n".join(blocks) + "\n"
