"""InfoNCE over hard and in-batch negatives, with false negatives masked and gradients cached on request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from torch import Tensor, nn

from rader_plugins.errors import RaderError
from rader_training.data.batches import MASKED, POSITIVE
from rader_training.loss.attention import fast_attention
from rader_training.loss.divergence import check_loss

__all__ = ["InfoNCE"]

_LEAST, _SHORTER = 8, 0.8  # texts of a block; how much shorter its last may be than its first


class InfoNCE(CachedLossMixin, nn.Module):
    """Cross-entropy of a query's positive among all passages of its batch (van den Oord et al., 2018).

    Takes what :class:`rader_training.data.batches.Collator` makes. Beside sentence-transformers'
    ``CachedMultipleNegativesRankingLoss`` it masks passages that are a positive of the query, whichever query they came
    with, and lets groups differ in their number of negatives.

    Args:
        model: Sentence Transformer whose embeddings have length 1, or are scaled to it here.
        temperature: The number that cosines are divided by.
        anchor_weight: Weight of the mean cosine distance of further texts from given vectors, where the batch has any.
        lengths: The loss is the mean over vectors cut to each of these lengths and whole ones (Kusupati et al., 2022).
        mini_batch_size: Texts at once; None runs a whole batch at once, without caching.
    """

    def __init__(
        self,
        model: Any,
        *,
        temperature: float,
        mini_batch_size: int | None,
        anchor_weight: float = 0.0,
        lengths: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.anchor_weight = anchor_weight
        self.lengths: list[int | None] = [*lengths, None]
        self.uses_gradient_cache = mini_batch_size is not None
        self.mini_batch_size = mini_batch_size or 1
        self.mini_batch_num_tokens = None
        self.show_progress_bar = False
        self._weights: Tensor | None = None  # of the batch at hand, as is the following
        self._targets: Tensor | None = None

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Return the mean loss of a batch, weighted where the features of the queries hold a ``weight``."""
        features, orders = zip(*map(_by_length, sentence_features), strict=True)
        labels = labels[orders[0]][:, orders[1]]
        self._weights = features[0].pop("weight", None)
        self._targets = features[2].pop("target") if len(features) > 2 else None
        with fast_attention(features[0]["input_ids"].device.type):
            if self.uses_gradient_cache:
                loss: Tensor = self.forward_cached(list(features), labels)
            else:
                loss = self._loss([self._embed(column) for column in features], labels)
        check_loss(loss)
        return loss

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """Return the loss of embeddings, for the gradient cache."""
        if labels is None:
            raise RaderError("The batch has no labels; use rader_training.data.batches.Collator.")
        loss = self._loss([torch.cat(column) for column in reps], labels)
        if with_backward:
            loss.backward()  # type: ignore[no-untyped-call]
            loss = loss.detach()
        return loss

    def _embed(self, column: dict[str, Tensor]) -> Tensor:
        lengths = column["attention_mask"].sum(dim=1).tolist()
        blocks = [
            {
                name: rows[start:end, : int(max(lengths[start:end]))] if rows.ndim > 1 else rows[start:end]
                for name, rows in column.items()
            }
            for start, end in _blocks(lengths)
        ]
        return torch.cat([self.model(block)["sentence_embedding"] for block in blocks])

    def _loss(self, columns: list[Tensor], labels: Tensor) -> Tensor:
        queries, passages, *anchors = (column.float() for column in columns)
        losses = [self._contrast(queries[:, :length], passages[:, :length], labels) for length in self.lengths]
        loss = torch.stack(losses).mean()
        if self._targets is not None:
            anchor = nn.functional.normalize(anchors[0], dim=-1)
            loss = loss + self.anchor_weight * (1 - (anchor * self._targets).sum(dim=-1)).mean()
        return loss

    def _contrast(self, queries: Tensor, passages: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of the positives among all passages."""
        queries, passages = (nn.functional.normalize(rows, dim=-1) for rows in (queries, passages))
        logits = (queries @ passages.T / self.temperature).masked_fill(labels == MASKED, -torch.inf)
        losses = nn.functional.cross_entropy(logits, (labels == POSITIVE).int().argmax(dim=1), reduction="none")
        return (losses if self._weights is None else losses * self._weights).mean()


def _by_length(column: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """Return the texts of a column from the longest to the shortest, and their places: less padding is computed."""
    order = column["attention_mask"].sum(dim=1).argsort(descending=True, stable=True)
    return {name: rows[order] for name, rows in column.items()}, order


def _blocks(lengths: list[float]) -> list[tuple[int, int]]:
    """Cut texts that are sorted by length into blocks of which each is padded by little."""
    blocks, start = [], 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or (end - start >= _LEAST and lengths[end] < _SHORTER * lengths[start]):
            blocks.append((start, end))
            start = end
    return blocks
