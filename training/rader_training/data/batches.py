"""From groups to token ids: the recipe's formatter, the one that inference uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rader_plugins.encoding.batching import padded
from rader_plugins.encoding.tokens import tokenize
from rader_plugins.errors import import_extra
from rader_plugins.recipes import Recipe, Role
from rader_plugins.text_matching import word_overlap
from rader_training.data.anchors import Anchors
from rader_training.data.corpus import Corpus
from rader_training.data.groups import Group

__all__ = ["MASKED", "NEGATIVE", "POSITIVE", "Collator", "weights"]

NEGATIVE, POSITIVE, MASKED = 0, 1, 2


@dataclass
class Collator:
    """Turns groups into a batch of the trainer: the queries, all passages, and what each passage is to each query.

    The passages are those of the groups, in their order, then those drawn from the corpus. ``label`` has the shape
    (queries, passages): :data:`POSITIVE` for a query's own positive, :data:`MASKED` for other passages with the text of
    one of its positives and for what is to be no negative of it, :data:`NEGATIVE` for the rest. Groups of one query are
    one in this: pairs come as a row for each positive of a query.

    Args:
        tokenizer: Tokenizer of the checkpoint.
        recipe: Templates, lengths and end-of-sequence handling.
        in_batch: Whether passages of other queries are negatives.
        corpus: Where further negatives, the same for all queries, are drawn from.
        drawn: How many of them.
        reasoning_weight: See :class:`rader_training.config.RetrieverConfig`; above 0 there is a ``query_weight`` for
            the loss.
        weighted: Whether the loss of a query counts by the weight of its group.
        anchors: Texts to be held where the base has them; then there are columns ``anchor_``, with the vectors of the
            base, (texts, dimension), as ``anchor_target``.
        anchored: How many of them.
    """

    tokenizer: Any
    recipe: Recipe
    in_batch: bool = True
    corpus: Corpus | None = None
    drawn: int = 0
    reasoning_weight: float = 0.0
    weighted: bool = False
    anchors: Anchors | None = None
    anchored: int = 0
    truncated: dict[str, int] = field(default_factory=lambda: {"query": 0, "document": 0})
    seen: dict[str, int] = field(default_factory=lambda: {"query": 0, "document": 0})
    # What sentence-transformers' trainer looks for.
    valid_label_columns: list[str] = field(default_factory=lambda: ["label"])

    def __call__(self, groups: Sequence[Group]) -> dict[str, Any]:
        """Return a batch."""
        torch = import_extra("torch", "training")
        texts: list[str] = []
        own: list[int] = []  # where the passages of each group begin
        for group in groups:
            own.append(len(texts))
            texts += [group.positive, *group.negatives]
        own.append(len(texts))
        if self.corpus is not None:
            texts += self.corpus.draw(groups, self.drawn)
        positives: dict[str, set[str]] = {}
        for group in groups:
            positives.setdefault(group.query, set()).update(group.positive_texts)
        label = torch.zeros((len(groups), len(texts)), dtype=torch.int64)
        for row, group in enumerate(groups):
            for column, text in enumerate(texts):
                of_other_query = column < own[-1] and not own[row] <= column < own[row + 1]
                if text in positives[group.query] or (of_other_query and not self.in_batch):
                    label[row, column] = MASKED
            label[row, own[row]] = POSITIVE
        queries = self._features("query", [group.query for group in groups])
        if self.reasoning_weight or self.weighted:
            factors = torch.tensor(weights(groups, self.reasoning_weight))
            queries["weight"] = factors * torch.tensor([group.weight for group in groups])
        passages = self._features("document", texts)
        anchors: dict[str, Any] = {}
        if self.anchors is not None:
            texts, vectors = self.anchors.draw(groups, self.anchored)
            anchors = {**self._features("document", texts), "target": torch.from_numpy(vectors)}
        return {
            **{f"query_{name}": value for name, value in queries.items()},
            **{f"passage_{name}": value for name, value in passages.items()},
            **{f"anchor_{name}": value for name, value in anchors.items()},
            "label": label,
        }

    def _features(self, role: Role, texts: list[str]) -> dict[str, Any]:
        torch = import_extra("torch", "training")
        tokens = tokenize(self.tokenizer, self.recipe, role, texts)
        self.truncated[role] += len(tokens.truncated)
        self.seen[role] += len(texts)
        pad = self.tokenizer.pad_token_id
        ids, mask = padded(tokens.ids, 0 if pad is None else int(pad))
        features = {"input_ids": torch.from_numpy(ids)}
        # Always there: a cached loss cuts batches apart by it.
        features["attention_mask"] = torch.ones_like(features["input_ids"]) if mask is None else torch.from_numpy(mask)
        return features


def weights(groups: Sequence[Group], strength: float) -> list[float]:
    """Return what the loss of each query counts: less where its positive has its words, 1 on average."""
    distances = [1 - strength * word_overlap(group.query, group.positive) for group in groups]
    mean = sum(distances) / len(distances)
    return [distance / mean for distance in distances] if mean > 0 else [1.0] * len(distances)
