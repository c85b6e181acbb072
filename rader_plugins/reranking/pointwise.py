"""`PointwiseReranker`: a classifier of one label that scores every query and document by its raw logit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rader_plugins.encoding.batching import CPU_TOKENS, GPU_TOKENS, check_batch_tokens, pad_id, padded
from rader_plugins.encoding.lane import LoadedModel, shared_model
from rader_plugins.encoding.models import LoadOptions, local_folder, pick_device, pick_dtype
from rader_plugins.encoding.texts import wants_progress
from rader_plugins.errors import EncodingError, InputError, import_extra
from rader_plugins.recipes import Recipe
from rader_plugins.reranking.bert import PlainClassifier, read_classifier
from rader_plugins.reranking.models import (
    Classifier,
    build_classifier,
    build_cross_encoder,
    has_own_modules,
    keep_head_exact,
    last_place,
    last_token_logits,
    reads_last_token,
)
from rader_plugins.reranking.scoring import Activation, Scores, ScoringReranker, check_scoring

if TYPE_CHECKING:
    import torch

__all__ = ["Activation", "PointwiseReranker", "Scores"]


@dataclass(frozen=True)
class _Parts:
    """What is loaded: the classifier, and the cross-encoder that it is part of, if that has modules of its own."""

    classifier: Classifier
    cross_encoder: Any = None


class PointwiseReranker(ScoringReranker):
    """Scores (query, document) pairs with torch; see :class:`~rader_plugins.reranking.scoring.ScoringReranker`.

    The score of a decoder is read at the last token of the pair, in float32. Rerankers of the same recipe, place and
    options share one model in a process.

    Args:
        recipe: How pairs become scores, of kind ``reranker``.
        location: Directory or hub id of the checkpoint, or of a LoRA adapter with its score head; default
            ``recipe.model``.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; default: the best there is.
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"``, or ``"auto"``, the default: the precision that the
            processor is good at; see :func:`~rader_plugins.encoding.models.pick_dtype`.
        attn_implementation: Attention kernel, named as in transformers: ``"sdpa"``, ``"flash_attention_2"``,
            ``"eager"``.
        batch_tokens: Padded tokens in a batch; default 2048 on a CPU, 32768 on a GPU.
        activation: ``"identity"`` gives raw logits, ``"sigmoid"`` maps them to 0..1 (same order, but large logits
            become equal).
        trust_remote_code: Let the checkpoint's repository run its own code.
        show_progress: True, False, or None for "if the standard error is a terminal".
        shared: Whether a model that is loaded already is used; False loads one of its own.
        classifier: An already loaded model with its tokenizer, instead of ``location``.

    Raises:
        InputError: An option or the checkpoint is unusable.
        MissingExtraError: The extra ``local`` is not installed.

    Example:
        >>> from rader_plugins.reranking import load_reranker
        >>> reranker = load_reranker("rader-reranker-7b")  # doctest: +SKIP
        >>> [hit.document.id for hit in reranker.rerank("How many guests must I invite?", hits, 3)]  # doctest: +SKIP
        ['ramsey-theorem', 'pigeonhole-principle', 'handshake-lemma']
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
        activation: Activation = "identity",
        trust_remote_code: bool = False,
        show_progress: bool | None = None,
        shared: bool = True,
        classifier: Classifier | None = None,
    ) -> None:
        check_batch_tokens(batch_tokens)
        check_scoring(recipe, activation)
        self._torch = import_extra("torch", "local")
        where = os.fspath(location) if location is not None else recipe.model
        if classifier is None:
            target = pick_device(device)
            options = LoadOptions(target, pick_dtype(dtype, recipe, target), attn_implementation, trust_remote_code)
            loaded = _load(recipe, where, options, shared=shared)
        else:
            loaded = LoadedModel(_Parts(classifier), str(classifier.model.device.type))
        parts: _Parts = loaded.model
        model: Any = parts.classifier.model
        self._cross_encoder = parts.cross_encoder
        self._is_decoder = reads_last_token(model)
        super().__init__(
            recipe,
            location=where,
            loaded=loaded,
            tokenizer=parts.classifier.tokenizer,
            positions=getattr(model.config, "max_position_embeddings", None),
            batch_tokens=batch_tokens or (CPU_TOKENS if model.device.type == "cpu" else GPU_TOKENS),
            activation=activation,
            show_progress=show_progress,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        if self._arguments[1].get("classifier") is not None:
            raise InputError(
                "This reranker was made of a model that was loaded already: save it, and load that directory."
            )
        return super().__reduce__()

    @property
    def model(self) -> Any:
        """The model. Whoever takes it may change it, so that it is not shared with rerankers that are loaded later."""
        self._loaded.take_off_the_shelf()
        return self._whole().model

    @property
    def tokenizer(self) -> Any:
        """The checkpoint's tokenizer, as transformers has it."""
        return self._whole().tokenizer

    @property
    def _model(self) -> Any:
        return self._loaded.model.classifier.model

    def _whole(self) -> Classifier:
        """Return the classifier as transformers has it, which is loaded now where it was not needed until now."""
        if isinstance(self._model, PlainClassifier):
            self._loaded.run(self._load_whole)
        parts: _Parts = self._loaded.model
        return parts.classifier

    def _load_whole(self) -> None:
        plain = self._model
        if isinstance(plain, PlainClassifier):
            classifier = build_classifier(self.recipe, self.location, plain.options)
            # Those that scores were made with, whatever the directory holds by now.
            names = {name.removeprefix("bert."): name for name in classifier.model.state_dict()}
            weights = {names[name]: tensor for name, tensor in plain.weights.items()}
            classifier.model.load_state_dict(weights, strict=False)
            keep_head_exact(classifier.model)
            self._loaded.model = _Parts(classifier)

    @property
    def precision(self) -> str:
        """The precision of the weights, such as ``"float32"``."""
        return str(self._model.dtype).removeprefix("torch.")

    def _scored(self, pairs: list[tuple[str, str]]) -> Scores:
        return self._by_tokens(pairs) if self._cross_encoder is None else self._by_modules(pairs)

    def _by_modules(self, pairs: list[tuple[str, str]]) -> Scores:
        scores = self._loaded.run(
            lambda: self._cross_encoder.predict(
                pairs,
                activation_fn=self._torch.nn.Identity(),
                show_progress_bar=wants_progress(self.show_progress, len(pairs)),
            )
        )
        return np.asarray(scores, dtype=np.float32)

    def _forward(self, batch: list[list[int]], types: list[list[int]] | None) -> Scores:
        torch, device = self._torch, self._model.device
        ids, mask = padded(batch, pad_id(self._reader))
        features = {"input_ids": torch.from_numpy(ids).to(device)}
        if mask is not None:
            features["attention_mask"] = torch.from_numpy(mask).to(device)
        if types is not None:
            features["token_type_ids"] = torch.from_numpy(padded(types, self._reader.pad_token_type_id)[0]).to(device)
        with torch.inference_mode():
            logits = self._logits(features, batch)
            if tuple(logits.shape) != (len(batch), 1):
                raise EncodingError(
                    f"The model gave logits of shape {tuple(logits.shape)} for {len(batch)} pairs, not one each."
                )
            return np.asarray(logits[:, 0].float().cpu().numpy(), dtype=np.float32)

    def _logits(self, features: dict[str, torch.Tensor], batch: list[list[int]]) -> torch.Tensor:
        if not self._is_decoder:
            return self._model(**features).logits  # type: ignore[no-any-return]
        last = [last_place(row, self.recipe, self._model) for row in batch]
        return last_token_logits(self._model, features, self._torch.tensor(last, device=self._model.device))


def _load(recipe: Recipe, location: str, options: LoadOptions, *, shared: bool) -> LoadedModel:
    def load() -> LoadedModel:
        if has_own_modules(recipe, location):
            cross_encoder = build_cross_encoder(recipe, location, options)
            classifier = Classifier(cross_encoder.transformers_model, cross_encoder.tokenizer)
            return LoadedModel(_Parts(classifier, cross_encoder), str(classifier.model.device.type))
        if (plain := _plain(recipe, location, options)) is not None:
            return LoadedModel(_Parts(Classifier(plain, plain.tokenizer)), plain.device.type)  # type: ignore[arg-type]
        classifier = build_classifier(recipe, location, options)
        keep_head_exact(classifier.model)
        return LoadedModel(_Parts(classifier), str(classifier.model.device.type))

    if not shared:
        return load()
    # Of a directory the recipe's fingerprint holds the content.
    return shared_model(("reranker", recipe.fingerprint, str(Path(location).absolute()), options), load)


def _plain(recipe: Recipe, location: str, options: LoadOptions) -> PlainClassifier | None:
    if recipe.needs_remote_code and not options.trust_remote_code:
        return None
    return read_classifier(local_folder(location, recipe.revision, remote_code=options.trust_remote_code), options)
