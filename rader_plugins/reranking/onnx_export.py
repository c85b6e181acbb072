"""`export_model`: a model directory that runs without torch, of any encoder or reranker that torch runs."""

from __future__ import annotations

import itertools
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from rader_plugins.encoding.backends import pick_backend
from rader_plugins.encoding.onnx_export import bundled_texts, export_encoder, write_companions
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
from rader_plugins.reranking.models import has_own_modules, reads_last_token
from rader_plugins.reranking.onnx_reranker import PAIR_SCORES, TOKEN_SCORES, OnnxReranker
from rader_plugins.reranking.pointwise import PointwiseReranker

__all__ = ["export_model", "export_reranker"]

# So many queries and documents of the bundled corpus are compared, each query with each document.
_QUERIES, _DOCUMENTS = 12, 24


def export_model(
    recipe: Recipe,
    location: str,
    out: str | os.PathLike[str],
    *,
    precision: Precision = "fp32",
    trust_remote_code: bool = False,
) -> Exported:
    """Write an encoder or a reranker, whichever the recipe is of, in ONNX form.

    Args and errors are those of :func:`~rader_plugins.encoding.onnx_export.export_encoder`.
    """
    pick_backend("torch", location)  # what is exported already is refused
    export = export_reranker if recipe.kind == "reranker" else export_encoder
    return export(recipe, location, out, precision=precision, trust_remote_code=trust_remote_code)


def export_reranker(
    recipe: Recipe,
    location: str,
    out: str | os.PathLike[str],
    *,
    precision: Precision = "fp32",
    trust_remote_code: bool = False,
) -> Exported:
    """Write a reranker as a directory that :class:`~rader_plugins.reranking.onnx_reranker.OnnxReranker` loads.

    Scores of both are compared over pairs of the bundled corpus before anything appears under the name.

    Args and errors are those of :func:`~rader_plugins.encoding.onnx_export.export_encoder`; what must reach 0.999 is
    the correlation of the scores.
    """
    check_precision(precision)
    if has_own_modules(recipe, location):
        raise InputError(f"{location!r} has modules or a chat template that only sentence-transformers can run.")
    reranker = PointwiseReranker(
        recipe,
        location=location,
        device="cpu",
        dtype="float32",
        attn_implementation="eager",
        trust_remote_code=trust_remote_code,
        show_progress=False,
        shared=False,
    )
    decoder = reads_last_token(reranker.model)
    with new_directory(out) as folder:
        file = write_graph(
            _wrapper(reranker.model, decoder=decoder),
            _example(reranker),
            TOKEN_SCORES if decoder else PAIR_SCORES,
            folder,
            precision,
            pooled=not decoder,
        )
        write_companions(folder, reranker.tokenizer, reranker.model.config, recipe)
        agreement, pairs = _compared(reranker, folder)
        check_agreement(agreement, precision, "the correlation of its scores with the original's")
        size = sum(part.stat().st_size for part in file.parent.iterdir())
    return Exported(Path(out), "reranker", precision, agreement, pairs, size, recipe.fingerprint)


def _wrapper(model: Any, *, decoder: bool) -> Any:
    torch = import_extra("torch", "onnx-export")

    class Wrapper(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
            features = {"input_ids": input_ids, "attention_mask": attention_mask}
            if token_type_ids is not None:
                features["token_type_ids"] = token_type_ids
            if not decoder:
                return self.inner(**features).logits
            return self.inner.score(self.inner.base_model(**features).last_hidden_state)

    return Wrapper()


def _example(reranker: PointwiseReranker) -> dict[str, Any]:
    """Return inputs, with token types where the model reads them."""
    example = example_inputs()
    if reranker.recipe.pair_template is None and "token_type_ids" in reranker.tokenizer.model_input_names:
        torch, ids = import_extra("torch", "onnx-export"), example["input_ids"]
        example["token_type_ids"] = torch.cat([ids[:, :4] * 0, ids[:, 4:] * 0 + 1], dim=1)
    return example


def _compared(reranker: PointwiseReranker, folder: Path) -> tuple[float, int]:
    """Return the correlation of the scores of both, and the number of pairs."""
    exported = OnnxReranker(reranker.recipe, location=folder, show_progress=False, shared=False)
    queries, documents = bundled_texts()
    pairs = list(itertools.product(queries[:_QUERIES], documents[:_DOCUMENTS]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        first, second = (each.score_pairs(pairs).astype(np.float64) for each in (reranker, exported))
    if not first.std() or not second.std():  # one number for everything has no correlation
        return float(np.allclose(first, second, atol=1e-3)), len(pairs)
    return float(np.corrcoef(first, second)[0, 1]), len(pairs)
