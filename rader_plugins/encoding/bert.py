"""BERT in plain torch: for the many small encoders of that architecture, `mini` among them.

Importing transformers and sentence-transformers takes several times as long as importing torch, reading such a model
and answering a query. What BERT computes is short, and here it is computed by the same operations in the same order,
so that the vectors are those of sentence-transformers to the last bit. A checkpoint that differs in anything (its
tokenizer included) is left to the libraries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rader_plugins.encoding.models import LoadOptions, loading_errors
from rader_plugins.encoding.tokenizer_file import FileTokenizer, agrees, holds_bert_tokenizer, read_tokenizer
from rader_plugins.errors import import_extra
from rader_plugins.recipes import Recipe
from rader_plugins.recipes.st_directory import read_json

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BertStates", "PlainBert", "read_bert", "read_checkpoint"]

_WEIGHTS = "model.safetensors"
# Modules of a layer, and the rows and columns of their weights: w is the width of a state, i that of the inner layer.
_LAYER = {
    "attention.self.query": "ww",
    "attention.self.key": "ww",
    "attention.self.value": "ww",
    "attention.output.dense": "ww",
    "attention.output.LayerNorm": "w",
    "intermediate.dense": "iw",
    "output.dense": "wi",
    "output.LayerNorm": "w",
}
# What a checkpoint may hold beside the encoder: nothing of it takes part in the states of tokens.
_UNREAD = ("pooler.", "cls.", "embeddings.position_ids")

# Settings under which the architecture is the one below; a setting that is absent has the first value.
_SETTINGS: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute",),
    "_attn_implementation": (None, "sdpa"),
    "attn_implementation": (None, "sdpa"),
    "auto_map": (None,),
    "quantization_config": (None,),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "chunk_size_feed_forward": (0,),
}


class BertStates:
    """A BERT encoder: from token ids to the states of tokens.

    Args:
        config: The checkpoint's ``config.json``.
        weights: Its tensors by name, without a prefix, all on one device and in one precision.
        tokenizer: What reads texts, without transformers.
        options: Device and precision of the weights.
    """

    def __init__(
        self, config: Mapping[str, Any], weights: Mapping[str, Tensor], tokenizer: FileTokenizer, options: LoadOptions
    ) -> None:
        self._torch = import_extra("torch", "local")
        self.weights = weights
        self.tokenizer = tokenizer
        self.options = options
        self._heads = int(config["num_attention_heads"])
        self._epsilon = float(config["layer_norm_eps"])
        self._layers = [
            [
                tuple(weights[f"encoder.layer.{layer}.{module}.{part}"] for part in ("weight", "bias"))
                for module in _LAYER
            ]
            for layer in range(config["num_hidden_layers"])
        ]

    @property
    def device(self) -> Any:
        """Where the weights are, as torch names it."""
        return self._words.device

    @property
    def dtype(self) -> Any:
        """Precision of the weights, as torch names it."""
        return self._words.dtype

    @property
    def _words(self) -> Tensor:
        return self.weights["embeddings.word_embeddings.weight"]

    def _states(self, ids: Tensor, mask: Tensor | None, types: Tensor | None = None) -> Tensor:
        """Return the states of tokens, shape (n, tokens, dimension); without token types all are 0."""
        functions = self._torch.nn.functional
        count, length = ids.shape
        kinds = self.weights["embeddings.token_type_embeddings.weight"]
        states = functions.embedding(ids, self._words) + (kinds[0] if types is None else kinds[types])
        states = states + self.weights["embeddings.position_embeddings.weight"][:length]
        states = self._scaled(states, *(self.weights[f"embeddings.LayerNorm.{part}"] for part in ("weight", "bias")))
        allowed = None if mask is None else mask.bool()[:, None, None, :].expand(count, 1, length, length)
        width = states.shape[-1] // self._heads
        for query, key, value, joined, first, inner, outer, second in self._layers:
            parts = [
                functions.linear(states, *weights).view(count, length, self._heads, width).transpose(1, 2)
                for weights in (query, key, value)
            ]
            read = functions.scaled_dot_product_attention(*parts, attn_mask=allowed, scale=width**-0.5)
            read = read.transpose(1, 2).reshape(count, length, -1)
            states = self._scaled(functions.linear(read, *joined) + states, *first)
            wide = functions.gelu(functions.linear(states, *inner))
            states = self._scaled(functions.linear(wide, *outer) + states, *second)
        return states

    def _scaled(self, states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        normalised: Tensor = self._torch.nn.functional.layer_norm(
            states, (states.shape[-1],), weight, bias, self._epsilon
        )
        return normalised


class PlainBert(BertStates):
    """A BERT encoder with its pooling, called as a SentenceTransformer is.

    Args:
        recipe: States pooling and normalisation.
        parts: What :func:`read_checkpoint` returned.
    """

    def __init__(self, recipe: Recipe, *parts: Any) -> None:
        super().__init__(*parts)
        self._recipe = recipe

    def get_embedding_dimension(self) -> int:
        """Return the length of the vectors."""
        return int(self._words.shape[1])

    def __call__(self, features: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return ``sentence_embedding``, shape (n, dimension).

        Args:
            features: ``input_ids`` of shape (n, tokens), padded on the right; ``attention_mask`` of that shape, absent
                where nothing is padded; ``prompt_length``, the number of first tokens that are not pooled, if any.
        """
        ids, mask = features["input_ids"], features.get("attention_mask")
        vectors = self._pooled(self._states(ids, mask), mask, features.get("prompt_length", 0))
        if self._recipe.normalize:
            vectors = self._torch.nn.functional.normalize(vectors, p=2, dim=1)
        return {"sentence_embedding": vectors}

    def _pooled(self, states: Tensor, mask: Tensor | None, prompt: int) -> Tensor:
        """Pool the states of tokens as sentence-transformers does, in a float32 sum where the precision is less."""
        torch = self._torch
        if self._recipe.pooling == "cls":
            return states[:, prompt]
        if self._recipe.pooling == "lasttoken":
            if mask is None:
                return states[:, -1]
            return states[torch.arange(len(states), device=states.device), mask.sum(dim=1) - 1]
        mask = torch.ones(states.shape[:-1], dtype=torch.int64, device=states.device) if mask is None else mask.clone()
        mask[:, :prompt] = 0
        weights = mask.unsqueeze(-1).to(states.dtype)
        exact = torch.float32 if states.dtype in (torch.float16, torch.bfloat16) else states.dtype
        total = (states * weights).sum(dim=1, dtype=exact)
        mean: Tensor = total / torch.clamp(weights.sum(dim=1, dtype=exact), min=1e-9)
        return mean.to(states.dtype)


def read_bert(recipe: Recipe, folder: Path, options: LoadOptions) -> PlainBert | None:
    """Read the model of a recipe from a directory; None where it is not exactly what :class:`PlainBert` computes."""
    if recipe.pooling == "model":
        return None
    parts = read_checkpoint(folder, options)
    return None if parts is None else PlainBert(recipe, *parts)


def read_checkpoint(
    folder: Path, options: LoadOptions, head: Mapping[str, Sequence[str | int]] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor], FileTokenizer, LoadOptions] | None:
    """Return what :class:`BertStates` is made of, or None where a directory holds anything else.

    Args:
        folder: The directory of the checkpoint.
        options: Device and precision; an attention kernel that is named is the libraries'.
        head: Name of a tensor behind the encoder -> its shape, in which "w" stands for the width of a state. With a
            head, all of its tensors must be there.
    """
    if options.attn_implementation not in (None, "sdpa") or (folder / "adapter_config.json").is_file():
        return None
    if not all((folder / name).is_file() for name in ("config.json", "tokenizer.json", _WEIGHTS)):
        return None
    try:
        config = read_json(folder / "config.json", dict)
        if config.get("model_type") != "bert" or not agrees(config, _SETTINGS) or not holds_bert_tokenizer(folder):
            return None
        width = config["hidden_size"]
        further = {name: [width if size == "w" else size for size in shape] for name, shape in (head or {}).items()}
        weights = _read_weights(folder / _WEIGHTS, {**_shapes(config), **further}, options)
        return None if weights is None else (config, weights, read_tokenizer(folder), options)
    except loading_errors():  # the libraries say what is wrong with a damaged directory
        return None


def _shapes(config: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the shape of every tensor of an encoder, by name."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": [config["vocab_size"], width],
        "embeddings.position_embeddings.weight": [config["max_position_embeddings"], width],
        "embeddings.token_type_embeddings.weight": [config["type_vocab_size"], width],
        "embeddings.LayerNorm.weight": [width],
        "embeddings.LayerNorm.bias": [width],
    }
    for layer in range(config["num_hidden_layers"]):
        for module, sizes in _LAYER.items():
            shape = [{"w": width, "i": inner}[size] for size in sizes]
            shapes[f"encoder.layer.{layer}.{module}.weight"] = shape
            shapes[f"encoder.layer.{layer}.{module}.bias"] = shape[:1]
    return shapes


def _read_weights(file: Path, shapes: Mapping[str, list[Any]], options: LoadOptions) -> dict[str, Tensor] | None:
    """Return the tensors of an encoder, or None where there are others than its architecture has."""
    with import_extra("safetensors", "local").safe_open(str(file), framework="pt") as tensors:
        names = {name.removeprefix("bert."): name for name in tensors.keys()}  # noqa: SIM118 - it is no mapping
        if any(name not in shapes and not name.startswith(_UNREAD) for name in names):
            return None
        if any(name not in names or tensors.get_slice(names[name]).get_shape() != shapes[name] for name in shapes):
            return None
        return {name: tensors.get_tensor(names[name]).to(options.device, options.dtype) for name in shapes}
