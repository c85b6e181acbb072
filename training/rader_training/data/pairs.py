"""From groups to the token ids of pairs, by the formatter that inference uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rader_plugins.encoding.batching import padded
from rader_plugins.recipes import Recipe
from rader_plugins.reranking.models import Classifier, last_place
from rader_plugins.reranking.pairs import tokenize_pairs
from rader_training.data.groups import Group

__all__ = ["ABSENT", "PairCollator"]

ABSENT = -1


@dataclass
class PairCollator:
    """Turns groups into a batch: every query with its positive and its hard negatives.

    The batch holds ``input_ids`` and ``attention_mask`` of all pairs, shape (pairs, tokens), ``token_type_ids`` where
    the tokenizer makes them, ``last`` (the place of each pair's last token), and ``places`` of shape (groups,
    passages): which pairs form a group, the positive first; a shorter group is filled up with -1.

    Args:
        classifier: Whose tokenizer and positions count.
        recipe: Template, lengths and end-of-sequence handling.
        weighted: Whether the loss of a group counts by its weight: then there is a ``weight``, shape (groups,).
    """

    classifier: Classifier
    recipe: Recipe
    weighted: bool = False
    truncated: dict[str, int] = field(default_factory=lambda: {"pair": 0})
    seen: dict[str, int] = field(default_factory=lambda: {"pair": 0})

    def __call__(self, groups: Sequence[Group]) -> dict[str, Tensor]:
        """Return a batch."""
        pairs: list[tuple[str, str]] = []
        places: list[list[int]] = []
        for group in groups:
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
        batch["places"] = torch.tensor([row + [ABSENT] * (widest - len(row)) for row in places])
        if self.weighted:
            batch["weight"] = torch.tensor([group.weight for group in groups])
        return batch
