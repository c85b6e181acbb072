"""`OnnxReranker`: scores from an ONNX file, with ONNX Runtime and no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from rader_plugins.encoding.batching import CPU_TOKENS, GPU_TOKENS, check_batch_tokens, pad_id, padded
from rader_plugins.encoding.onnx_model import OnnxModel, load_onnx, onnx_folder, pick_onnx_device
from rader_plugins.encoding.tokenizer_file import read_tokenizer
from rader_plugins.errors import EncodingError, InputError
from rader_plugins.recipes import Recipe
from rader_plugins.recipes.cross_encoder import has_plain_modules
from rader_plugins.recipes.st_directory import read_json
from rader_plugins.reranking.pairs import last_token
from rader_plugins.reranking.scoring import Activation, Scores, ScoringReranker, check_scoring

__all__ = ["PAIR_SCORES", "TOKEN_SCORES", "OnnxReranker"]

PAIR_SCORES = "logits"
"""Output of a classifier that knows itself where to look: shape (n, 1)."""

TOKEN_SCORES = "token_logits"
"""Output of a decoder: the score at every token, of which the last one of a pair counts; shape (n, tokens, 1)."""


class OnnxReranker(ScoringReranker):
    """Scores with the ``onnx/model.onnx`` of a model directory; see :class:`ScoringReranker`.

    Args:
        recipe: How pairs become scores, of kind ``reranker``.
        location: Directory or hub id; default ``recipe.model``.
        device: ``"cpu"`` (the default), or ``"cuda"`` where onnxruntime-gpu is installed.
        batch_tokens: Padded tokens in a batch; default 2048 on a CPU, 32768 on a GPU.
        activation: ``"identity"`` gives raw logits, ``"sigmoid"`` maps them to 0..1.
        show_progress: True, False, or None for "if the standard error is a terminal".
        shared: Share the model with rerankers of the same file in this process.

    Raises:
        InputError: The directory holds no such file, or it is no classifier of one label.
        MissingExtraError: The extra ``onnx`` is not installed.

    Example:
        >>> load_reranker("./reranker-onnx").score_pairs([("fewest guests", "Ramsey ...")])  # doctest: +SKIP
        array([2.31], dtype=float32)
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        location: str | os.PathLike[str] | None = None,
        device: str | None = None,
        batch_tokens: int | None = None,
        activation: Activation = "identity",
        show_progress: bool | None = None,
        shared: bool = True,
    ) -> None:
        check_batch_tokens(batch_tokens)
        check_scoring(recipe, activation)
        where = os.fspath(location) if location is not None else recipe.model
        target = pick_onnx_device(device)
        folder = onnx_folder(where, recipe)
        if recipe.pair_template is None and not has_plain_modules(folder):
            raise InputError(f"{where!r} has modules or a chat template that only sentence-transformers can run.")
        config = _configuration(folder)
        loaded = load_onnx(folder, target, shared=shared)
        self._onnx: OnnxModel = loaded.model
        self._output = _output_of(self._onnx, where)
        self._padding: int | None = config.get("pad_token_id")
        super().__init__(
            recipe,
            location=where,
            loaded=loaded,
            tokenizer=read_tokenizer(folder),
            positions=config.get("max_position_embeddings"),
            batch_tokens=batch_tokens or (CPU_TOKENS if target == "cpu" else GPU_TOKENS),
            activation=activation,
            show_progress=show_progress,
        )

    @property
    def precision(self) -> str | None:
        """That of the file's weights, where ``rader export-onnx`` wrote it."""
        return self._onnx.precision

    def _forward(self, batch: list[list[int]], types: list[list[int]] | None) -> Scores:
        ids, mask = padded(batch, pad_id(self.tokenizer))
        kinds = None if types is None else padded(types, self.tokenizer.pad_token_type_id)[0]
        logits = np.asarray(self._onnx.run(ids, mask, self._output, kinds), dtype=np.float32)
        if self._output == TOKEN_SCORES:
            last = [last_token(row, self.recipe, self._padding) for row in batch]
            logits = logits[np.arange(len(batch)), last]
        if logits.shape != (len(batch), 1):
            raise EncodingError(f"The model gave logits of shape {logits.shape} for {len(batch)} pairs, not one each.")
        return logits[:, 0]


def _configuration(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json", dict, optional=True)
    return {**config, **(config.get("text_config") or {})}


def _output_of(model: OnnxModel, location: str) -> str:
    output = next((name for name in (PAIR_SCORES, TOKEN_SCORES) if name in model.outputs), None)
    labels = model.outputs[output][-1] if output is not None else None
    if output is None or (isinstance(labels, int) and labels != 1):
        raise InputError(
            f"The ONNX file of {location!r} gives {', '.join(model.outputs)}"
            + (f" with {labels} labels" if output is not None else "")
            + f"; a reranker gives {PAIR_SCORES!r} of one label."
        )
    return output
