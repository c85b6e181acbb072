"""From groups to the token ids of pairs, by the formatter that inference uses, and to the loss of a reranker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rader_plugins.encoding.batching import padded
from rader_plugins.recipes import Recipe
from rader_plugins.reranking.models import Classifier, last_place, last_token_logits, reads_last_token
from rader_plugins.reranking.pairs import tokenize_pairs
from rader_training.data import Group
from rader_training.divergence import check_loss

__all__ = ["GroupScorer", "PairCollator"]

_ABSENT = -1


@dataclass
class PairCollator:
    """Turns groups into a batch: every query with its positive and its hard negatives.

    The batch holds ``input_ids`` and ``attention_mask`` of all pairs, shape (pairs, tokens), ``token_type_ids`` where
    the tokenizer makes them, ``last`` (the place of each pair's last token), and ``places`` of shape (groups,
    passages): which pairs form a group, the positive first; a shorter group is filled up with -1.

    Args:
        classifier: Whose tokenizer and positions count.
        recipe: Template, lengths and end-of-sequence handling.
    """

    classifier: Classifier
    recipe: Recipe
    truncated: dict[str, int] = field(default_factory=lambda: {"pair": 0})
    seen: dict[str, int] = field(default_factory=lambda: {"pair": 0})

    def __call__(self, groups: Sequence[Group | dict[str, Group]]) -> dict[str, Tensor]:
        """Return a batch."""
        given = [group["group"] if isinstance(group, dict) else group for group in groups]
        pairs: list[tuple[str, str]] = []
        places: list[list[int]] = []
        for group in given:
            texts = [group.positive, *group.negatives]
            places.append(list(range(len(pairs), len(pairs) + len(texts))))
            pairs += [(group.query, text) for text in texts]
        widest = max(map(len, places))
        tokenizer: Any = self.classifier.tokenizer
        model: Any = self.classifier.model
        positions = getattr(model.config, "max_position_embeddings", None)
        tokens = tokenize_pairs(tokenizer, self.recipe, pairs, positions if positions and positions > 0 else None)
        self.truncated["pair"] += tokens.truncated
        self.seen["pair"] += len(pairs)
        pad = tokenizer.pad_token_id
        ids, mask = padded(tokens.ids, 0 if pad is None else int(pad))
        batch = {"input_ids": torch.from_numpy(ids)}
        batch["attention_mask"] = torch.ones_like(batch["input_ids"]) if mask is None else torch.from_numpy(mask)
        if tokens.types is not None:
            batch["token_type_ids"] = torch.from_numpy(padded(tokens.types, tokenizer.pad_token_type_id)[0])
        batch["last"] = torch.tensor([last_place(row, self.recipe, model) for row in tokens.ids])
        batch["places"] = torch.tensor([row + [_ABSENT] * (widest - len(row)) for row in places])
        return batch


class GroupScorer(nn.Module):
    """A classifier that gives the loss of a batch of groups: what the trainer trains.

    The loss is the cross-entropy of the positive among the passages of its own group, without those of other queries
    (RaDeR, section 3.4).

    Args:
        classifier: Of one label; an adapter may be on it.
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
    ) -> dict[str, Tensor]:
        """Return the mean loss of a batch of :class:`PairCollator`, and the scores, shape (pairs,)."""
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            features["token_type_ids"] = token_type_ids
        if self.is_decoder:
            scores = last_token_logits(self.classifier, features, last)[:, 0]
        else:
            scores = self.classifier(**features).logits[:, 0].float()
        logits = scores[places].masked_fill(places == _ABSENT, -torch.inf)
        loss = nn.functional.cross_entropy(logits, torch.zeros(len(places), dtype=torch.int64, device=logits.device))
        check_loss(loss)
        return {"loss": loss, "scores": scores.detach()}

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Recompute activations in the backward pass."""
        self.classifier.activation_checkpointing_enable(**options)

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """Do so in earlier releases of transformers."""
        self.classifier.gradient_checkpointing_enable(**options)
