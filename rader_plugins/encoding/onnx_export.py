"""`export_encoder`: a model directory that runs without torch, of any encoder that torch runs."""

from __future__ import annotations

import importlib.resources
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from rader_plugins.encoding.local import LocalEncoder
from rader_plugins.encoding.models import quiet
from rader_plugins.encoding.onnx_encoder import OnnxEncoder
from rader_plugins.encoding.onnx_graph import (
    Exported,
    Precision,
    check_agreement,
    check_precision,
    example_inputs,
    write_graph,
)
from rader_plugins.encoding.saving import new_directory
from rader_plugins.errors import InputError, TruncationWarning, import_extra
from rader_plugins.recipes import Recipe
from rader_plugins.recipes.resolve import write_recipe

__all__ = ["COMPARED", "bundled_texts", "export_encoder", "write_companions"]

COMPARED = 100


def export_encoder(
    recipe: Recipe,
    location: str,
    out: str | os.PathLike[str],
    *,
    precision: Precision = "fp32",
    trust_remote_code: bool = False,
) -> Exported:
    """Write an encoder as a directory that :class:`~rader_plugins.encoding.onnx_encoder.OnnxEncoder` loads.

    It makes the original's vectors and has its fingerprint, so that an index that was built with the one is searched
    with the other. Vectors of both are compared on texts of the bundled corpus before anything appears under the name.

    Args:
        recipe: How the model makes vectors.
        location: Directory or hub id of the model.
        out: A directory that does not exist yet or is empty.
        precision: ``fp32``; ``fp16`` halves the file; ``int8`` keeps the weights of products in 8 bits, each block of
            32 with a scale of its own.
        trust_remote_code: Let the checkpoint's repository run its own code.

    Raises:
        InputError: The path is taken, or the model is none of tokens.
        EncodingError: torch cannot export it, or vectors differ: a cosine is below 0.999. Nothing is written.
        MissingExtraError: The extra ``onnx-export`` is not installed.
    """
    check_precision(precision)
    encoder = LocalEncoder(
        recipe,
        location=location,
        device="cpu",
        dtype="float32",
        attn_implementation="eager",
        trust_remote_code=trust_remote_code,
        show_progress=False,
        shared=False,
    )
    if not encoder.reads_tokens:
        raise InputError(
            f"{location!r} is no transformer that reads tokens of plain text: it cannot be exported, and needs torch."
        )
    with new_directory(out) as folder:
        whole = recipe.pooling == "model"
        file = write_graph(
            _wrapper(encoder.model, whole=whole),
            example_inputs(),
            "sentence_embedding" if whole else "last_hidden_state",
            folder,
            precision,
            pooled=whole,
        )
        transformer: Any = encoder.model[0]
        write_companions(folder, encoder.tokenizer, transformer.model.config, recipe)
        agreement, texts = _compared(encoder, folder)
        check_agreement(agreement, precision, "the smallest cosine between a text's two vectors")
        size = sum(part.stat().st_size for part in file.parent.iterdir())
    return Exported(Path(out), "retriever", precision, agreement, texts, size, recipe.fingerprint)


def write_companions(folder: Path, tokenizer: Any, config: Any, recipe: Recipe) -> None:
    """Write what stands beside the ONNX file: tokenizer, configuration and, last, the recipe."""
    with quiet():
        tokenizer.save_pretrained(str(folder))
        config.save_pretrained(str(folder))
    if not (folder / "tokenizer.json").is_file():
        raise InputError(
            f"The tokenizer of {recipe.model!r} exists in Python alone and cannot be run without transformers."
        )
    write_recipe(folder, recipe, same_vectors=True)


def bundled_texts() -> tuple[list[str], list[str]]:
    """Return queries and documents of the bundled corpus, at most :data:`COMPARED` of each, from all parts of it."""
    folder = importlib.resources.files("rader_plugins") / "data" / "principles"
    queries, documents = (
        [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
        for name in ("queries.jsonl", "corpus.jsonl")
    )
    texts = [row["text"] for row in queries], [f"{row['title']} {row['text']}".strip() for row in documents]
    first, second = (every[:: max(1, len(every) // COMPARED)][:COMPARED] for every in texts)
    return first, second


def _wrapper(model: Any, *, whole: bool) -> Any:
    """Return a module from token ids and mask to what the file gives."""
    torch = import_extra("torch", "onnx-export")

    class Wrapper(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = model if whole else model[0].model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            if whole:
                return self.inner({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]
            return self.inner(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    if not whole:
        model[0].model.config.use_cache = False
    return Wrapper()


def _compared(encoder: LocalEncoder, folder: Path) -> tuple[float, int]:
    """Return the smallest cosine between the vectors of a text, and the number of texts."""
    exported = OnnxEncoder(encoder.recipe, location=folder, show_progress=False, shared=False)
    queries, documents = bundled_texts()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        first, second = (
            np.concatenate([each.encode_queries(queries), each.encode_documents(documents)]).astype(np.float64)
            for each in (encoder, exported)
        )
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines = np.einsum("ij,ij->i", first, second) / np.maximum(lengths, 1e-300)
    return float(cosines.min()), len(cosines)
