"""A classifier that gives the loss of a batch of groups: what trains a reranker."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rader_plugins.reranking.models import last_token_logits, reads_last_token
from rader_training.data.pairs import ABSENT
from rader_training.loss.divergence import check_loss

__all__ = ["GroupScorer"]


class GroupScorer(nn.Module):
    """A classifier that gives the loss of a batch of groups: what the trainer trains.

    The loss is the cross-entropy of the positive among the passages of its own group, without those of other queries
    (RaDeR, section 3.4).

    Args:
        classifier: A classifier of one label; an adapter may be on it.
    """

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.classifier = classifier
        self.is_decoder = reads_last_token(classifier)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        last: Tensor,
        places: Tensor,
        token_type_ids: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the mean loss of a batch, and the scores, shape (pairs,).

        The arguments are what :class:`~rader_training.data.pairs.PairCollator` makes.
        """
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            features["token_type_ids"] = token_type_ids
        if self.is_decoder:
            scores = last_token_logits(self.classifier, features, last)[:, 0]
        else:
            scores = self.classifier(**features).logits[:, 0].float()
        logits = scores[places].masked_fill(places == ABSENT, -torch.inf)
        first = torch.zeros(len(places), dtype=torch.int64, device=logits.device)
        losses = nn.functional.cross_entropy(logits, first, reduction="none")
        loss = (losses if weight is None else losses * weight).mean()
        check_loss(loss)
        return {"loss": loss, "scores": scores.detach()}

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Recompute activations in the backward pass."""
        self.classifier.activation_checkpointing_enable(**options)

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """Do so in earlier releases of transformers."""
        self.classifier.gradient_checkpointing_enable(**options)
