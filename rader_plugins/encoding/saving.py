"""Writing an encoder as a Sentence Transformers directory that needs nothing of this library."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rader_plugins.encoding.models import quiet
from rader_plugins.encoding.tokens import eos_id, tokenize
from rader_plugins.errors import InputError, import_extra
from rader_plugins.files import sync_folder
from rader_plugins.recipes import Recipe
from rader_plugins.recipes.resolve import write_recipe

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerBase

__all__ = ["new_directory", "prompts_of", "save_encoder", "self_ending"]


class Savable(Protocol):
    """What is written: a :class:`~rader_plugins.encoding.local.LocalEncoder`."""

    recipe: Recipe

    @property
    def model(self) -> SentenceTransformer:
        """The Sentence Transformers model that is saved."""
        ...

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that is saved with the model."""
        ...


def save_encoder(encoder: Savable, path: str | os.PathLike[str]) -> None:
    """Write an encoder's model so that sentence-transformers, LangChain, LlamaIndex, TEI and vLLM load it unchanged.

    The directory holds modules, pooling, the prompts ``query`` and ``document``, a tokenizer that appends the
    end-of-sequence token itself, and the recipe. ``SentenceTransformer(path).encode(texts, prompt_name="query")``
    gives the vectors of ``encode_queries(texts)``, and ``"document"`` those of ``encode_documents``. Where queries
    and documents have different maximum lengths, plain ``encode`` cuts at the larger one; ``encode_query`` and
    ``encode_document`` at their own. (One text differs: one that itself ends in the end-of-sequence token gets it
    twice there.)

    The directory appears complete or not at all.

    Args:
        encoder: An encoder that holds its model on this machine.
        path: A directory that does not exist yet or is empty.

    Raises:
        InputError: The path is taken, or the recipe cannot be expressed as prompts and a tokenizer.
    """
    prompts = prompts_of(encoder.recipe)
    with new_directory(path) as folder:
        with quiet():
            _write(encoder, folder, prompts)
        write_recipe(folder, encoder.recipe, same_vectors=True)


@contextlib.contextmanager
def new_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a folder to write into, which gets the name when the block ends without an error, and goes otherwise.

    Raises:
        InputError: There is something under the name already.
    """
    target = Path(path).absolute()  # "." cannot be renamed to
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{os.fspath(path)!r} exists and is not an empty directory. Choose another path or remove it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        if target.exists():
            target.rmdir()
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(target.parent)


def prompts_of(recipe: Recipe) -> dict[str, str]:
    """Return what a Sentence Transformers directory puts before queries and documents.

    Raises:
        InputError: A template goes on behind the text.
    """
    for template in (recipe.query_template, recipe.document_template):
        if template.partition("{text}")[2]:
            raise InputError(
                f"The template {template!r} of recipe {recipe.name!r} goes on behind {{text}}; a Sentence Transformers "
                "directory can only put prompts in front. It cannot be saved as one."
            )
    return {"query": recipe.query_prefix(), "document": recipe.document_template.partition("{text}")[0]}


def _write(encoder: Savable, folder: Path, prompts: dict[str, str]) -> None:
    st = import_extra("sentence_transformers", "local")
    recipe = encoder.recipe
    modules = list(encoder.model.children())
    by_tokens = type(modules[0]).__name__ == "Transformer" and encoder.tokenizer is not None
    if by_tokens:
        modules[0] = _with_tokenizer(modules[0], recipe)
    copied = st.SentenceTransformer(
        modules=modules,
        device=str(encoder.model.device),
        prompts=prompts,
        similarity_fn_name=encoder.model.similarity_fn_name,
    )
    copied.save(str(folder), create_model_card=False)
    if by_tokens and recipe.append_eos:
        _check_tokenizer(encoder, folder, prompts)


def _with_tokenizer(transformer: Any, recipe: Recipe) -> Any:
    """Return the module with a tokenizer of its own that cuts and appends as the recipe says."""
    # Shares the weights; the encoder that is being saved keeps its own tokenizer.
    copied = copy.copy(transformer)
    copied.processor = self_ending(transformer.processor, recipe)
    if copied.processor.pad_token is None:
        # Others cannot batch without one. Padding is masked, so that any token will do.
        copied.processor.pad_token = copied.processor.eos_token
    copied.max_seq_length = max(recipe.max_query_length, recipe.max_document_length)
    if recipe.max_query_length != recipe.max_document_length:
        copied.query_length = recipe.max_query_length
        copied.document_length = recipe.max_document_length
    return copied


def self_ending(tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> PreTrainedTokenizerBase:
    """Return a copy of a tokenizer that appends the recipe's end-of-sequence token, if it has one, by itself.

    Raises:
        InputError: The tokenizer cannot be made to, or the token does not exist.
    """
    copied = copy.deepcopy(tokenizer)
    if recipe.append_eos:
        _append_eos_by_itself(copied, eos_id(copied, recipe))
    return copied


def _append_eos_by_itself(tokenizer: PreTrainedTokenizerBase, end: int) -> None:
    ids = tokenizer("a", verbose=False)["input_ids"]
    if ids and ids[-1] == end:
        return
    if not tokenizer.is_fast:
        raise InputError("Only a fast tokenizer can be saved so that it appends the end-of-sequence token itself.")
    token = str(tokenizer.convert_ids_to_tokens(end))
    backend = tokenizer.backend_tokenizer
    state = json.loads(backend.to_str())
    state["post_processor"] = _with_suffix(state["post_processor"], token, end)
    # The post-processor alone is exchanged: its class has no constructor from JSON, a tokenizer has.
    backend.post_processor = type(backend).from_str(json.dumps(state)).post_processor


def _with_suffix(processor: dict[str, Any] | None, token: str, end: int) -> dict[str, Any]:
    """Return a post-processor (as JSON) that does the same and then appends a token.

    Two templates in a row are not implemented in the tokenizers library, so an existing one is extended.
    """
    kind = processor["type"] if processor else None
    if processor is not None and kind == "Sequence":
        inner = processor["processors"]
        for index, part in enumerate(inner):
            if part["type"] == "TemplateProcessing":
                return {
                    **processor,
                    "processors": [*inner[:index], _with_suffix(part, token, end), *inner[index + 1 :]],
                }
        return {**processor, "processors": [*inner, _template([], token, end)]}
    if processor is not None and kind == "TemplateProcessing":
        special_tokens = {**processor["special_tokens"], token: {"id": token, "ids": [end], "tokens": [token]}}
        return {
            **processor,
            "single": [*processor["single"], {"SpecialToken": {"id": token, "type_id": 0}}],
            "pair": [*processor["pair"], {"SpecialToken": {"id": token, "type_id": 1}}],
            "special_tokens": special_tokens,
        }
    if processor is None:
        return _template([], token, end)
    if kind == "ByteLevel":
        return {"type": "Sequence", "processors": [processor, _template([], token, end)]}
    raise InputError(f"A tokenizer with a {kind} post-processor cannot be made to append {token!r} itself.")


def _template(before: list[dict[str, Any]], token: str, end: int) -> dict[str, Any]:
    special = {"SpecialToken": {"id": token, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [*before, {"Sequence": {"id": "A", "type_id": 0}}, special],
        "pair": [*before, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}, special],
        "special_tokens": {token: {"id": token, "ids": [end], "tokens": [token]}},
    }


def _check_tokenizer(encoder: Savable, folder: Path, prompts: dict[str, str]) -> None:
    """Raise unless the tokenizer, read back as others will, gives the token ids of the recipe."""
    auto = import_extra("transformers", "local").AutoTokenizer
    saved = auto.from_pretrained(str(folder))
    recipe = encoder.recipe
    for role, limit in (("query", recipe.max_query_length), ("document", recipe.max_document_length)):
        probes = ["a", "two words", "long " * (2 * limit)]
        ours = tokenize(encoder.tokenizer, recipe, "query" if role == "query" else "document", probes).ids
        texts = [prompts[role] + probe for probe in probes]
        theirs = saved(texts, truncation=True, max_length=limit, verbose=False)["input_ids"]
        if ours != [list(row) for row in theirs]:
            raise InputError(
                f"The tokenizer of {recipe.model!r} cannot be saved so that it follows recipe {recipe.name!r} by "
                "itself (it puts other special tokens behind the text)."
            )


def _sync(file: Path) -> None:
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
