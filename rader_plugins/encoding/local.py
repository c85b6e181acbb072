"""`LocalEncoder`: vectors from a checkpoint on this machine, by sentence-transformers or, for BERT, torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rader_plugins.encoding.base import Vectors
from rader_plugins.encoding.batching import CPU_TOKENS, GPU_TOKENS, check_batch_tokens, pad_id, padded
from rader_plugins.encoding.bert import PlainBert, read_bert
from rader_plugins.encoding.lane import LoadedModel, shared_model
from rader_plugins.encoding.model_encoder import ModelEncoder
from rader_plugins.encoding.models import LoadOptions, build_model, local_folder, pick_device, pick_dtype
from rader_plugins.encoding.texts import wants_progress
from rader_plugins.encoding.tokens import format_texts
from rader_plugins.errors import InputError, import_extra
from rader_plugins.recipes import Recipe, Role

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

__all__ = ["LocalEncoder"]


class LocalEncoder(ModelEncoder):
    """Encodes with a checkpoint on this machine; see :class:`~rader_plugins.encoding.model_encoder.ModelEncoder`.

    Encoders of the same recipe and options share one model in a process.

    Args:
        recipe: How texts become vectors.
        location: Directory or hub id of the checkpoint; default ``recipe.model``.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; default: the best there is.
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"``, or ``"auto"``, the default: the precision that the
            processor is good at; see :func:`~rader_plugins.encoding.models.pick_dtype`.
        attn_implementation: Attention kernel, named as in transformers: ``"sdpa"``, ``"flash_attention_2"``,
            ``"eager"``.
        batch_tokens: Padded tokens in a batch; default 2048 on a CPU, 32768 on a GPU.
        trust_remote_code: Let the checkpoint's repository run its own code.
        show_progress: True, False, or None for "if the standard error is a terminal".
        shared: Share the model with encoders of the same recipe and options in this process; False for a model that is
            going to be changed, as training does.
        model: An already loaded model with the modules that the recipe states, instead of ``location``.

    Raises:
        InputError: An option or the checkpoint is unusable.
        MissingExtraError: The extra ``local`` is not installed.

    Example:
        >>> from rader_plugins import load_encoder
        >>> load_encoder("mini").encode_queries(["fewest guests so that three share a hobby"]).shape
        (1, 384)
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        location: str | os.PathLike[str] | None = None,
        device: str | None = None,
        dtype: str | torch.dtype | None = "auto",
        attn_implementation: str | None = None,
        batch_tokens: int | None = None,
        trust_remote_code: bool = False,
        show_progress: bool | None = None,
        shared: bool = True,
        model: SentenceTransformer | None = None,
    ) -> None:
        check_batch_tokens(batch_tokens)
        self._torch = import_extra("torch", "local")
        where = os.fspath(location) if location is not None else recipe.model
        if model is None:
            target = pick_device(device)
            options = LoadOptions(target, pick_dtype(dtype, recipe, target), attn_implementation, trust_remote_code)
            loaded = _load(recipe, where, options, shared=shared)
        else:
            loaded = LoadedModel(model, model.device.type)
        # Whether the weights may be others than those of the location.
        self._changed = model is not None
        super().__init__(
            recipe,
            location=where,
            loaded=loaded,
            dimension=_dimension_of(loaded.model, where),
            batch_tokens=batch_tokens or (CPU_TOKENS if loaded.model.device.type == "cpu" else GPU_TOKENS),
            show_progress=show_progress,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        if self._arguments[1].get("model") is not None:
            raise InputError(
                "This encoder was made of a model that was loaded already, so that no other process can load it: save "
                "it, and load that directory."
            )
        return super().__reduce__()

    @property
    def model(self) -> SentenceTransformer:
        """The model. Whoever takes it may change it, so that it is not shared with encoders that are loaded later."""
        self._loaded.take_off_the_shelf()
        self._changed = True
        return self._whole()

    @property
    def _model(self) -> Any:
        return self._loaded.model

    def _whole(self) -> SentenceTransformer:
        """Return the model as sentence-transformers has it, which is loaded now where it was not needed until now."""
        if isinstance(self._model, PlainBert):
            self._loaded.run(self._load_whole)
        return self._model  # type: ignore[no-any-return]

    def _load_whole(self) -> None:
        plain = self._model
        if isinstance(plain, PlainBert):
            model: Any = build_model(self.recipe, self.location, plain.options)
            # Those that vectors were made with, whatever the directory holds by now.
            model[0].model.load_state_dict(plain.weights, strict=False)
            self._loaded.model = model

    @property
    def variant(self) -> str:
        """The precision of the weights."""
        return str(self._model.dtype)

    @property
    def precision(self) -> str:
        """The precision of the weights, such as ``"float32"``."""
        return self.variant.removeprefix("torch.")

    @property
    def tokenizer(self) -> Any:
        """The checkpoint's tokenizer, as transformers has it."""
        return self._whole().tokenizer

    @property
    def _reader(self) -> Any:
        return self._model.tokenizer

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a Sentence Transformers directory; see :func:`rader_plugins.encoding.saving.save_encoder`.

        Weights that were rounded for a CPU of their own accord are written as they were before.
        """
        from rader_plugins.encoding.saving import save_encoder

        arguments = self._arguments[1]
        rounded = arguments.get("dtype") in (None, "auto") and self._loaded.device == "cpu"
        if not rounded or self._changed or self.precision == "float32":
            save_encoder(self, path)
            return
        options = {**arguments, "dtype": "float32", "shared": False}
        save_encoder(LocalEncoder(self.recipe, **options), path)

    def _encode_distinct(self, role: Role, texts: list[str], instruction: str | None) -> Vectors:
        if self.reads_tokens:
            return self._encode_tokens(role, texts, instruction)
        return self._encode_strings(role, texts, instruction)

    @property
    def reads_tokens(self) -> bool:
        """Whether the model takes token ids of plain text; static embeddings, routers and chat inputs do not."""
        if isinstance(self._model, PlainBert):
            return True
        first: Any = self._model[0]
        return (
            type(first).__name__ == "Transformer"
            and getattr(self._model.tokenizer, "is_fast", False)
            and "message" not in first.modality_config
        )

    def _forward(self, batch: Sequence[list[int]], prompt: int) -> Vectors:
        """Run the model, in its thread."""
        torch = self._torch
        ids, mask = padded(batch, pad_id(self._reader))
        features: dict[str, Any] = {"input_ids": torch.from_numpy(ids).to(self._model.device)}
        if mask is not None:
            features["attention_mask"] = torch.from_numpy(mask).to(self._model.device)
        if prompt:
            features["prompt_length"] = prompt
        with torch.inference_mode():
            pooled = self._model(features)["sentence_embedding"].float()
            if self.recipe.normalize:
                # Once more in float32: a bfloat16 vector that was normalised in bfloat16 is off by up to 1%.
                pooled = torch.nn.functional.normalize(pooled, p=2, dim=-1)
            return np.asarray(pooled.cpu().numpy(), dtype=np.float32)

    def _encode_strings(self, role: Role, texts: list[str], instruction: str | None) -> Vectors:
        formatted = format_texts(self.recipe, role, texts, instruction)
        rows = self._loaded.run(
            lambda: self._model.encode(
                formatted,
                prompt="",
                normalize_embeddings=self.recipe.normalize,
                show_progress_bar=wants_progress(self.show_progress, len(texts)),
                convert_to_numpy=True,
            )
        )
        return np.asarray(rows, dtype=np.float32)


def _load(recipe: Recipe, location: str, options: LoadOptions, *, shared: bool) -> LoadedModel:
    def load() -> LoadedModel:
        model = _plain(recipe, location, options) or build_model(recipe, location, options)
        return LoadedModel(model, model.device.type)

    if not shared:
        return load()
    # Of a directory the recipe's fingerprint holds the content.
    return shared_model(("encoder", recipe.fingerprint, str(Path(location).absolute()), options), load)


def _plain(recipe: Recipe, location: str, options: LoadOptions) -> PlainBert | None:
    if recipe.needs_remote_code and not options.trust_remote_code:
        return None
    folder = local_folder(location, recipe.revision, remote_code=options.trust_remote_code)
    return read_bert(recipe, folder, options)


def _dimension_of(model: Any, location: str) -> int:
    dimension = model.get_embedding_dimension()
    if not isinstance(dimension, int):
        raise InputError(f"The model in {location!r} does not say how long its vectors are.")
    return dimension
