"""From a trained model to a directory that every library loads, with its recipe and its card; and its adapter alone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rader_plugins.encoding.models import quiet
from rader_plugins.errors import InputError, RaderError, import_extra
from rader_plugins.files import as_utf8, sync_folder
from rader_plugins.recipes import Recipe
from rader_plugins.recipes.resolve import named_recipe, write_recipe

__all__ = ["adapter_base", "export", "export_adapter", "trained_recipe"]


def trained_recipe(recipe: Recipe, name: str) -> Recipe:
    """Return the recipe of a model that was trained by another one's: same texts, an identity of its own."""
    return dataclasses.replace(
        recipe,
        name=name,
        model=name,
        revision=None,
        package=None,
        sha256=None,
        base_model=None,
        source=f"trained from {recipe.name} with rader-plugins",
    )


def export(recipe: Recipe, folder: Path, *, base: str, facts: Mapping[str, Any], write: Callable[[Path], None]) -> Path:
    """Write a model directory with its recipe and its card.

    Args:
        recipe: The recipe that :func:`trained_recipe` returned.
        folder: The folder to make; it appears complete or not at all, in the place of an earlier one.
        base: What it was trained from, for the card.
        facts: Figures and settings for the card.
        write: Writes model and tokenizer into a folder that is not there yet.

    Raises:
        RaderError: It cannot be written; what was there is intact.
    """
    with _complete(folder) as temporary:
        with quiet():
            write(temporary)
        # Its weights are new: their content is its identity, not what it was trained from.
        write_recipe(temporary, recipe, same_vectors=False)
        (temporary / "README.md").write_bytes(as_utf8(_card(recipe, base, facts)))
    return folder


def adapter_base(base: str | Recipe) -> str:
    """Return what an adapter's files call the model that it is put on: a hub id, or the full path of a directory.

    Raises:
        InputError: The base is an adapter itself.
    """
    named = named_recipe(base) if isinstance(base, str) and not Path(base).is_dir() else base
    name = str(base) if named is None else named.model if isinstance(named, Recipe) else named
    if (isinstance(named, Recipe) and named.base_model) or (Path(name) / "adapter_config.json").is_file():
        raise InputError(
            f"{name!r} is an adapter itself, and an adapter of an adapter is no model that others could load. Leave "
            "keep_adapter out, or save the base with its adapter merged first."
        )
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def export_adapter(adapted: Any, recipe: Recipe, folder: Path, *, base: str, scale: float = 1.0) -> Path:
    """Write an adapter alone, as peft does, with the recipe that says how its model reads texts.

    Args:
        adapted: The model of peft that holds it.
        recipe: The recipe that :func:`trained_recipe` returned.
        folder: The folder to make, as for :func:`export`.
        base: The base that :func:`adapter_base` returned.
        scale: Multiplies what it adds to the base.
    """
    settings = adapted.peft_config["default"]
    settings.base_model_name_or_path = base
    if scale != 1:
        settings.lora_alpha = settings.lora_alpha * scale
    with _complete(folder) as temporary:
        temporary.mkdir()
        # Embeddings are never trained here; peft would ask the hub whether they might be.
        adapted.save_pretrained(str(temporary), save_embedding_layers=False)
        write_recipe(temporary, dataclasses.replace(recipe, base_model=base), same_vectors=False)
        (temporary / "README.md").write_text(
            f"# {recipe.name}, the adapter alone\n\nA LoRA adapter of `{base}`, in the format of peft.\n",
            encoding="utf-8",
        )
    return folder


@contextlib.contextmanager
def _complete(folder: Path) -> Iterator[Path]:
    temporary, old = (folder.with_name(f".{folder.name}.{what}") for what in ("tmp", "old"))
    if old.exists() and not folder.exists():  # killed between the two renames below
        old.rename(folder)
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb+") as stream:
                    os.fsync(stream.fileno())
        if folder.exists():
            folder.rename(old)
        try:
            temporary.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    except (OSError, import_extra("safetensors", "training").SafetensorError) as error:
        raise RaderError(
            f"{folder} cannot be written: {error}. The checkpoints are intact: make room and go on with --resume."
        ) from error
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)
    sync_folder(folder.parent)


_USES = {
    "retriever": "from rader_plugins import load_encoder\n\nload_encoder({path!r}).encode_queries([{example!r}])",
    "reranker": "from rader_plugins.reranking import load_reranker\n\n"
    "load_reranker({path!r}).score_pairs([({example!r}, 'a document')])",
}


def _card(recipe: Recipe, base: str, facts: Mapping[str, Any]) -> str:
    use = _USES[recipe.kind].format(path=f"path/to/{recipe.name}", example="a question")
    if recipe.kind == "retriever":
        reads = (
            f"Query template `{recipe.query_template}`, document template `{recipe.document_template}`, "
            f"{recipe.pooling} pooling, at most {recipe.max_query_length} and {recipe.max_document_length} tokens."
        )
    elif recipe.pair_template is None:
        reads = "Pairs are joined by the tokenizer. The score is the raw logit."
    else:
        end = " and the end-of-sequence token" if recipe.append_eos else ""
        reads = (
            f"A pair is read as `{recipe.pair_template}`{end}, at most {recipe.max_document_length} tokens. The score "
            "is the raw logit."
        )
    blocks = [
        f"# {recipe.name}\n\nA {recipe.kind} trained from `{base}` with rader-plugins.",
        f"```python\n{use}\n```",
        reads,
    ]
    for title, content in facts.items():
        blocks.append(f"## {title}\n\n```json\n{json.dumps(content, indent=2, ensure_ascii=False)}\n```")
    return "\n\n".join(blocks) + "\n"
