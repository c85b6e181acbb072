"""`PointwiseReranker`: a classifier of one label that scores every query and document by its raw logit."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from rader_plugins.background import Lock
from rader_plugins.documents import Hit, check_text
from rader_plugins.encoding.batching import CPU_TOKENS, GPU_TOKENS, padded, plan_batches, run_batches
from rader_plugins.encoding.lane import LoadedModel, shared_model
from rader_plugins.encoding.models import LoadOptions, pick_device, pick_dtype
from rader_plugins.encoding.texts import progress, wants_progress
from rader_plugins.errors import EncodingError, InputError, TruncationWarning, import_extra
from rader_plugins.recipes import Recipe
from rader_plugins.reranking.base import Reranker, candidates_of, reordered
from rader_plugins.reranking.models import (
    Classifier,
    build_classifier,
    build_cross_encoder,
    has_own_modules,
    last_place,
    last_token_logits,
    reads_last_token,
)
from rader_plugins.reranking.pairs import TokenizedPairs, tokenize_pairs

if TYPE_CHECKING:
    import torch

__all__ = ["Activation", "PointwiseReranker", "Scores"]

Activation = Literal["identity", "sigmoid"]
Scores = npt.NDArray[np.float32]
"""float32 array of shape (n,)."""


@dataclass(frozen=True)
class _Parts:
    """What is loaded: the classifier, and the cross-encoder that it is part of, if that has modules of its own."""

    classifier: Classifier
    cross_encoder: Any = None


class PointwiseReranker(Reranker):
    """Scores (query, document) pairs with a classifier on this machine. Safe to use from several threads and asyncio.

    A recipe with a ``pair_template`` (RaDeR's rerankers: ``query: {query} document: {document}`` and the
    end-of-sequence token) decides what the model reads and where it is cut, see
    :func:`rader_plugins.reranking.pairs.tokenize_pairs`. The score of a decoder is read at the last token of the pair,
    in float32. Without a template it is a cross-encoder as sentence-transformers knows it, with its own way of joining
    a pair.

    All pairs of a call are sorted by length and run in batches of a token budget; equal pairs are scored once; a batch
    that does not fit into memory is halved. The model has one thread, which runs a batch at a time; rerankers of the
    same recipe, place and options share one model in a process.

    Args:
        recipe: How pairs become scores, of kind ``reranker``.
        location: Directory or hub id of the checkpoint, or of a LoRA adapter with its score head; default
            ``recipe.model``.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; default: the best there is.
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"``; default: the recipe's on CUDA, float32 elsewhere.
        attn_implementation: As in transformers: ``"sdpa"``, ``"flash_attention_2"``, ``"eager"``.
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
        dtype: str | torch.dtype | None = None,
        attn_implementation: str | None = None,
        batch_tokens: int | None = None,
        activation: Activation = "identity",
        trust_remote_code: bool = False,
        show_progress: bool | None = None,
        shared: bool = True,
        classifier: Classifier | None = None,
    ) -> None:
        if batch_tokens is not None and (not isinstance(batch_tokens, int) or batch_tokens < 1):
            raise InputError(f"batch_tokens must be a positive integer, not {batch_tokens!r}.")
        if activation not in get_args(Activation):
            raise InputError(f"activation is one of {', '.join(get_args(Activation))}, not {activation!r}.")
        if recipe.kind != "reranker":
            raise InputError(f"Recipe {recipe.name!r} is of a {recipe.kind}. Load it with rader_plugins.load_encoder.")
        self.recipe = recipe
        self.location: str = os.fspath(location) if location is not None else recipe.model
        self.activation = activation
        self.show_progress = show_progress
        self._torch = import_extra("torch", "local")
        if classifier is None:
            target = pick_device(device)
            options = LoadOptions(target, pick_dtype(dtype, recipe, target), attn_implementation, trust_remote_code)
            self._loaded = self._load(options, shared=shared)
        else:
            self._loaded = LoadedModel(_Parts(classifier), str(classifier.model.device.type))
        parts: _Parts = self._loaded.model
        self._model: Any = parts.classifier.model
        self._cross_encoder = parts.cross_encoder
        self.tokenizer: Any = parts.classifier.tokenizer
        self.batch_tokens = batch_tokens or (CPU_TOKENS if self._model.device.type == "cpu" else GPU_TOKENS)
        self._is_decoder = reads_last_token(self._model)
        self._count_lock = Lock()
        self._truncated = 0

    def __reduce__(self) -> tuple[Any, ...]:
        if self._arguments[1].get("classifier") is not None:
            raise InputError(
                "This reranker was made of a model that was loaded already: save it, and load that directory."
            )
        return super().__reduce__()

    def _load(self, options: LoadOptions, *, shared: bool) -> LoadedModel:
        def load() -> LoadedModel:
            if has_own_modules(self.recipe, self.location):
                cross_encoder = build_cross_encoder(self.recipe, self.location, options)
                classifier = Classifier(cross_encoder.transformers_model, cross_encoder.tokenizer)
                return LoadedModel(_Parts(classifier, cross_encoder), str(classifier.model.device.type))
            classifier = build_classifier(self.recipe, self.location, options)
            return LoadedModel(_Parts(classifier), str(classifier.model.device.type))

        if not shared:
            return load()
        # Of a directory the recipe's fingerprint holds the content.
        return shared_model(("reranker", self.recipe.fingerprint, str(Path(self.location).absolute()), options), load)

    @property
    def model(self) -> Any:
        """The model. Whoever takes it may change it, so that it is not shared with rerankers that are loaded later."""
        self._loaded.take_off_the_shelf()
        return self._model

    @property
    def fingerprint(self) -> str:
        """The fingerprint of everything that decides the scores, up to their precision."""
        return self.recipe.fingerprint

    @property
    def truncated(self) -> int:
        """How many pairs were cut so far (equal pairs of one call count once)."""
        return self._truncated

    def rerank_batch(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """Rerank the hits of many queries at once; ``scores`` gains ``rerank``. See :meth:`Reranker.rerank_batch`."""
        hits = candidates_of(queries, hits)
        scores = self.score_pairs(
            [(query, hit.document.text) for query, candidates in zip(queries, hits, strict=True) for hit in candidates]
        )
        results: list[list[Hit]] = []
        start = 0
        for candidates in hits:
            own = scores[start : start + len(candidates)].tolist()
            start += len(candidates)
            results.append(reordered(candidates, own, [{"rerank": score} for score in own]))
        return results

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> Scores:
        """Score (query, document) pairs.

        Returns:
            One score for each pair, in the order given; higher is more relevant. Raw logits, unless ``activation``
            says otherwise.

        Raises:
            InputError: An element is not a pair of valid strings.
            EncodingError: The model failed or gave NaN. No score is made up.
        """
        valid_pairs = _checked(pairs)
        unique: dict[tuple[str, str], int] = {}
        positions = [unique.setdefault(pair, len(unique)) for pair in valid_pairs]
        distinct = list(unique)
        if not distinct:
            return np.zeros(0, dtype=np.float32)
        scores = self._by_modules(distinct) if self._cross_encoder is not None else self._by_tokens(distinct)
        self._check(scores, len(distinct))
        if self.activation == "sigmoid":
            # In float64, exp() of a float32 logit cannot overflow before it is negligible.
            with np.errstate(over="ignore"):
                scores = (1 / (1 + np.exp(-scores.astype(np.float64)))).astype(np.float32)
        return scores if len(distinct) == len(valid_pairs) else scores[positions]

    def _by_modules(self, pairs: list[tuple[str, str]]) -> Scores:
        scores = self._loaded.run(
            lambda: self._cross_encoder.predict(
                pairs,
                activation_fn=self._torch.nn.Identity(),
                show_progress_bar=wants_progress(self.show_progress, len(pairs)),
            )
        )
        return np.asarray(scores, dtype=np.float32)

    def _by_tokens(self, pairs: list[tuple[str, str]]) -> Scores:
        positions = getattr(self._model.config, "max_position_embeddings", None)
        tokens = tokenize_pairs(
            self.tokenizer, self.recipe, pairs, positions if positions is not None and positions > 0 else None
        )
        if tokens.truncated:
            self._report_truncated(tokens)
        lengths = [len(row) for row in tokens.ids]
        remedy = "Shorten max_document_length of the recipe, load with dtype='bfloat16', or free memory."
        scores = np.empty(len(pairs), dtype=np.float32)
        with progress(len(pairs), wants_progress(self.show_progress, len(pairs)), "Reranking") as advance:
            for batch, batch_scores in run_batches(
                plan_batches(lengths, self.batch_tokens),
                lengths,
                lambda batch: self._loaded.run(
                    partial(
                        self._forward,
                        [tokens.ids[index] for index in batch],
                        None if tokens.types is None else [tokens.types[index] for index in batch],
                    )
                ),
                self._model.device,
                remedy=remedy,
            ):
                scores[batch] = batch_scores
                advance(len(batch))
        return scores

    def _forward(self, batch: list[list[int]], types: list[list[int]] | None) -> Scores:
        torch, device = self._torch, self._model.device
        ids, mask = padded(batch, self._pad_id())
        features = {"input_ids": torch.from_numpy(ids).to(device)}
        if mask is not None:
            features["attention_mask"] = torch.from_numpy(mask).to(device)
        if types is not None:
            features["token_type_ids"] = torch.from_numpy(padded(types, self.tokenizer.pad_token_type_id)[0]).to(device)
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

    def _pad_id(self) -> int:
        # Padding is masked, so any token will do where the tokenizer has none of its own.
        pad_id = self.tokenizer.pad_token_id
        return int(pad_id) if pad_id is not None else 0

    def _report_truncated(self, tokens: TokenizedPairs) -> None:
        with self._count_lock:
            first = self._truncated == 0
            self._truncated += tokens.truncated
        if first:
            warnings.warn(
                f"{tokens.truncated} of the pairs were longer than the {tokens.limit} tokens that {self.recipe.name!r} "
                "reads and were cut. Split long documents. (Shown once for this reranker; its `truncated` counts on.)",
                TruncationWarning,
                stacklevel=4,
            )

    def _check(self, scores: Scores, count: int) -> None:
        if scores.shape != (count,):
            raise EncodingError(f"The model gave scores of shape {scores.shape} for {count} pairs.")
        finite = np.isfinite(scores)
        if not finite.all():
            raise EncodingError(
                f"The model gave NaN or infinite scores for {int((~finite).sum())} of {count} pairs. float16 overflows "
                "in many models: use dtype='bfloat16' or 'float32'. Or the weights are damaged."
            )


def _checked(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    if isinstance(pairs, (str, bytes)):
        raise InputError("score_pairs() takes a list of (query, document) pairs.")
    checked = []
    for number, pair in enumerate(pairs):
        if isinstance(pair, str) or len(pair) != 2:
            raise InputError(f"Pair {number} must hold a query and a document: (query, document).")
        query, document = pair
        checked.append((check_text(query, f"the query of pair {number}"), check_text(document, f"document {number}")))
    return checked
