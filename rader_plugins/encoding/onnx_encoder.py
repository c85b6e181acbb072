"""`OnnxEncoder`: vectors from an ONNX file, with ONNX Runtime and no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from rader_plugins.encoding.base import Vectors
from rader_plugins.encoding.batching import CPU_TOKENS, GPU_TOKENS, check_batch_tokens, pad_id, padded
from rader_plugins.encoding.model_encoder import ModelEncoder
from rader_plugins.encoding.onnx_model import OnnxModel, load_onnx, onnx_folder, pick_onnx_device
from rader_plugins.encoding.tokenizer_file import FileTokenizer, read_tokenizer
from rader_plugins.errors import InputError
from rader_plugins.recipes import Recipe

__all__ = ["OnnxEncoder", "pooled"]

_POOLED = "sentence_embedding"
_TOKENS = ("last_hidden_state", "token_embeddings")


class OnnxEncoder(ModelEncoder):
    """Encodes with the ``onnx/model.onnx`` of a model directory; see :class:`ModelEncoder`.

    Templates, truncation, pooling and normalisation are the recipe's, as with torch, and the vectors are the same up
    to the precision of the file: both open one index. Encoders of the same file and device share one model in a
    process.

    Args:
        recipe: How texts become vectors.
        location: Directory or hub id; default ``recipe.model``.
        device: ``"cpu"`` (the default), or ``"cuda"`` where onnxruntime-gpu is installed.
        batch_tokens: Padded tokens in a batch; default 2048 on a CPU, 32768 on a GPU.
        show_progress: True, False, or None for "if the standard error is a terminal".
        shared: Share the model with encoders of the same file in this process.

    Raises:
        InputError: The directory holds no such file, or it does not give what the recipe needs.
        MissingExtraError: The extra ``onnx`` is not installed.

    Example:
        >>> load_encoder("./mini-onnx").encode_queries(["fewest guests"]).shape  # doctest: +SKIP
        (1, 384)
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        location: str | os.PathLike[str] | None = None,
        device: str | None = None,
        batch_tokens: int | None = None,
        show_progress: bool | None = None,
        shared: bool = True,
    ) -> None:
        check_batch_tokens(batch_tokens)
        where = os.fspath(location) if location is not None else recipe.model
        target = pick_onnx_device(device)
        folder = onnx_folder(where, recipe)
        self._tokenizer = read_tokenizer(folder)
        loaded = load_onnx(folder, target, shared=shared)
        self._onnx: OnnxModel = loaded.model
        self._output = _output_for(recipe, self._onnx, where)
        super().__init__(
            recipe,
            location=where,
            loaded=loaded,
            dimension=self._find_dimension(),
            batch_tokens=batch_tokens or (CPU_TOKENS if target == "cpu" else GPU_TOKENS),
            show_progress=show_progress,
        )

    @property
    def variant(self) -> str:
        """Which file it is."""
        return f"onnx-{self._onnx.digest}"

    @property
    def precision(self) -> str | None:
        """That of the file's weights, where ``rader export-onnx`` wrote it."""
        return self._onnx.precision

    @property
    def tokenizer(self) -> FileTokenizer:
        """The checkpoint's tokenizer."""
        return self._tokenizer

    def _find_dimension(self) -> int:
        dimension = self._onnx.outputs[self._output][-1]
        if isinstance(dimension, int):
            return dimension
        return int(self._onnx.run(np.zeros((1, 1), dtype=np.int64), None, self._output).shape[-1])

    def _forward(self, batch: Sequence[list[int]], prompt: int) -> Vectors:
        ids, mask = padded(batch, pad_id(self.tokenizer))
        states = self._onnx.run(ids, mask, self._output)
        vectors = states if self._output == _POOLED else pooled(states, mask, self.recipe, prompt)
        vectors = np.asarray(vectors, dtype=np.float32)
        if self.recipe.normalize:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors


def pooled(states: Any, mask: Any, recipe: Recipe, prompt: int) -> Vectors:
    """Pool the states of tokens as sentence-transformers does.

    Args:
        states: Shape (n, tokens, dimension).
        mask: Shape (n, tokens); None where nothing is padded. Padding stands on the right.
        recipe: The recipe that states the pooling.
        prompt: So many first tokens do not take part.

    Returns:
        float32 array of shape (n, dimension), not normalised.
    """
    if recipe.pooling == "cls":
        return np.asarray(states[:, prompt], dtype=np.float32)
    if recipe.pooling == "lasttoken":
        last = np.full(len(states), states.shape[1] - 1) if mask is None else mask.sum(axis=1) - 1
        return np.asarray(states[np.arange(len(states)), last], dtype=np.float32)
    tokens = states[:, prompt:].astype(np.float32, copy=False)
    if mask is None:
        return np.asarray(tokens.mean(axis=1), dtype=np.float32)
    weights = mask[:, prompt:].astype(np.float32)
    # One product for each text: (1, tokens) by (tokens, dimension).
    return np.asarray((weights[:, None, :] @ tokens)[:, 0] / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _output_for(recipe: Recipe, model: OnnxModel, location: str) -> str:
    """Return the output from which the recipe's vectors are made."""
    if recipe.pooling == "model":
        if _POOLED in model.outputs:
            return _POOLED
        raise InputError(
            f"The modules of {location!r} decide its vectors, and its ONNX file gives no {_POOLED!r}: "
            "`rader export-onnx` writes one that does."
        )
    named = [name for name in _TOKENS if name in model.outputs]
    by_shape = [name for name, shape in model.outputs.items() if len(shape) == 3]
    if not (candidates := named or by_shape):
        raise InputError(
            f"The ONNX file of {location!r} gives {', '.join(model.outputs)} and no states of tokens "
            f"({' or '.join(_TOKENS)}), of which recipe {recipe.name!r} makes vectors: `rader export-onnx` writes one."
        )
    return candidates[0]
