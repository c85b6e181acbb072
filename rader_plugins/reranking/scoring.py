"""`ScoringReranker`: what rerankers share that score every (query, document) pair by one number in this process."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from rader_plugins.background import Lock
from rader_plugins.documents import Hit, check_text
from rader_plugins.encoding.batching import plan_batches, run_batches
from rader_plugins.encoding.lane import LoadedModel
from rader_plugins.encoding.texts import progress, wants_progress
from rader_plugins.errors import EncodingError, InputError, TruncationWarning
from rader_plugins.recipes import Recipe
from rader_plugins.reranking.base import Reranker, candidates_of, reordered
from rader_plugins.reranking.pairs import TokenizedPairs, tokenize_pairs

__all__ = ["Activation", "Scores", "ScoringReranker", "check_scoring"]

Activation = Literal["identity", "sigmoid"]
Scores = npt.NDArray[np.float32]
"""float32 array of shape (n,)."""


class ScoringReranker(Reranker):
    """Scores (query, document) pairs with a classifier of one label. Safe to use from several threads and asyncio.

    A recipe with a ``pair_template`` (RaDeR's rerankers: ``query: {query} document: {document}`` and the
    end-of-sequence token) decides what the model reads and where it is cut, see
    :func:`rader_plugins.reranking.pairs.tokenize_pairs`. Without a template it is a cross-encoder as
    sentence-transformers knows it, with its own way of joining a pair.

    All pairs of a call are sorted by length and run in batches of a token budget; equal pairs are scored once; a batch
    that does not fit into memory is halved. The model has one thread, which runs a batch at a time.

    Args:
        recipe: How pairs become scores, of kind ``reranker``.
        location: Directory or hub id of the checkpoint.
        loaded: The model and the thread that runs it.
        tokenizer: What reads pairs: it gives the ids of the checkpoint's tokenizer.
        positions: How many tokens the model has positions for, if it is limited.
        batch_tokens: Padded tokens in a batch.
        activation: ``"identity"`` gives raw logits, ``"sigmoid"`` maps them to 0..1 (same order, but large logits
            become equal).
        show_progress: True, False, or None for "if the standard error is a terminal".

    Raises:
        InputError: An option or the recipe is unusable.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        location: str,
        loaded: LoadedModel,
        tokenizer: Any,
        positions: int | None,
        batch_tokens: int,
        activation: Activation,
        show_progress: bool | None,
    ) -> None:
        self.recipe = recipe
        self.location: str = location
        self.activation = activation
        self.show_progress = show_progress
        self._reader: Any = tokenizer
        self.batch_tokens = batch_tokens
        self._loaded = loaded
        self._positions = positions if positions is not None and positions > 0 else None
        self._count_lock = Lock()
        self._truncated = 0

    @property
    def tokenizer(self) -> Any:
        """The checkpoint's tokenizer."""
        return self._reader

    @abstractmethod
    def _forward(self, batch: list[list[int]], types: list[list[int]] | None) -> Scores:
        """Score the token ids of pairs, in the model's thread."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of everything that decides the scores, up to their precision."""
        return self.recipe.fingerprint

    @property
    def precision(self) -> str | None:
        """In which precision the model computes, such as ``"bfloat16"``; None where that is not known."""
        return None

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
        scores = self._scored(distinct)
        self._check(scores, len(distinct))
        if self.activation == "sigmoid":
            # In float64, exp() of a float32 logit cannot overflow before it is negligible.
            with np.errstate(over="ignore"):
                scores = (1 / (1 + np.exp(-scores.astype(np.float64)))).astype(np.float32)
        return scores if len(distinct) == len(valid_pairs) else scores[positions]

    def _scored(self, pairs: list[tuple[str, str]]) -> Scores:
        return self._by_tokens(pairs)

    def _by_tokens(self, pairs: list[tuple[str, str]]) -> Scores:
        tokens = tokenize_pairs(self._reader, self.recipe, pairs, self._positions)
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
                self._loaded.device,
                remedy=remedy,
            ):
                scores[batch] = batch_scores
                advance(len(batch))
        return scores

    def _report_truncated(self, tokens: TokenizedPairs) -> None:
        with self._count_lock:
            first = self._truncated == 0
            self._truncated += tokens.truncated
        if first:
            warnings.warn(
                f"{tokens.truncated} of the pairs were longer than the {tokens.limit} tokens that {self.recipe.name!r} "
                "reads and were cut. Split long documents. (Shown once for this reranker; its `truncated` counts on.)",
                TruncationWarning,
                stacklevel=5,
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


def check_scoring(recipe: Recipe, activation: object) -> None:
    """Raise :class:`InputError` unless a recipe scores pairs and an activation is known."""
    if activation not in get_args(Activation):
        raise InputError(f"activation is one of {', '.join(get_args(Activation))}, not {activation!r}.")
    if recipe.kind != "reranker":
        raise InputError(f"Recipe {recipe.name!r} is of a {recipe.kind}. Load it with rader_plugins.load_encoder.")


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
