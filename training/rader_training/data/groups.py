"""Samples drawn into groups: a query, one of its positives, some of its hard negatives."""

from __future__ import annotations

import hashlib
import random
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rader_plugins.errors import InputError
from rader_plugins.files import as_utf8, canonical_json
from rader_plugins.samples import Passage, Sample
from rader_training.data.rows import SampleRows

__all__ = ["DataReport", "Group", "Groups", "usable_negatives"]


@dataclass(frozen=True)
class Group:
    """A query with the passages that it is trained on, as they are encoded.

    Args:
        query: Text of the query.
        positive: The text of one positive.
        negatives: Texts of hard negatives.
        positive_texts: Texts of all its positives: they are no negatives of it, whosever passages they are.
        positive_ids: Ids of all its positives.
        draw: What it was drawn by: differs from group to group and from epoch to epoch, and is the same again after a
            resume.
        weight: How much its loss counts; 1 on average over all samples.
    """

    query: str
    positive: str
    negatives: tuple[str, ...]
    positive_texts: frozenset[str]
    positive_ids: frozenset[str] = frozenset()
    draw: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class DataReport:
    """What the samples are.

    Args:
        samples: How many are trained on.
        kinds: How many of each kind.
        negatives_dropped: Negatives that were a positive of the same sample.
        short_groups: Samples with fewer hard negatives than a group has places.
        without_negatives: Samples without a hard negative; a reranker is not trained on them.
        digest: Digest of all that is trained on.
        held_out: Samples left out because their problem is held out.
        weighted: Whether some samples count more than others.
    """

    samples: int
    kinds: Mapping[str, int]
    negatives_dropped: int
    short_groups: int
    without_negatives: int
    digest: str
    held_out: int = 0
    weighted: bool = False


class Groups:
    """Draws groups from samples. A row gives the same group in the same epoch, however training got there.

    It is the data set that the trainer reads.

    Args:
        rows: The samples to draw from.
        size: Passages in a group, the positive included.
        weights: How often samples of a kind are seen in an epoch.
        seed: Seed of what is drawn.
        set_weights: How often the samples of each set are seen in an epoch; empty for once each.
        held_out: Problems that are left out; a sample without a problem is its own, by the id of its query.
        hard_only: Leave samples without a hard negative out: they teach nothing where no others are used.

    Raises:
        InputError: A sample has no positive or an empty text; the message names it.
    """

    def __init__(
        self,
        rows: SampleRows,
        *,
        size: int,
        weights: Mapping[str, float],
        seed: int,
        set_weights: Sequence[float] = (),
        held_out: Collection[str] = (),
        hard_only: bool = False,
    ) -> None:
        self._rows = rows
        self._size = size
        self._seed = seed
        self.epoch = 0
        self.report, kinds, self._mean_weight = self._check(frozenset(held_out), hard_only, set_weights)
        self._order = _seen_rows(kinds, [rows.set_of(row) for row in range(len(kinds))], weights, set_weights, seed)
        if not self._order:
            raise InputError("There are no samples to train on: all kinds or sets that there are have the weight 0.")

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, place: int) -> Group:
        sample = self._rows[self._order[place]]
        draw = f"{self._seed}/{self.epoch}/{place}"
        rng = random.Random(draw)
        positive = rng.choice(sample.positives).full_text
        negatives = [passage.full_text for passage in usable_negatives(sample)]
        count = self._size - 1
        return Group(
            query=sample.query,
            positive=positive,
            negatives=tuple(negatives if len(negatives) <= count else rng.sample(negatives, count)),
            positive_texts=frozenset(passage.full_text for passage in sample.positives),
            positive_ids=frozenset(passage.id for passage in sample.positives),
            draw=draw,
            weight=sample.weight / self._mean_weight,
        )

    def samples(self) -> Iterator[Sample]:
        """Yield every sample that is trained on, once."""
        used = set(self._order)
        yield from (sample for number, sample in enumerate(self._rows) if number in used)

    def _check(
        self, held_out: frozenset[str], hard_only: bool, set_weights: Sequence[float]
    ) -> tuple[DataReport, list[str | None], float]:
        """Return the report, the kind of each row (None for rows that are left out) and the mean weight of a sample."""
        kinds: list[str | None] = []
        dropped = short = without = left_out = 0
        loss_weights: list[float] = []
        digest = hashlib.blake2b(digest_size=16)
        for number, sample in enumerate(self._rows):
            _check_texts(sample, number)
            if (sample.problem_id or sample.query_id) in held_out:
                left_out += 1
                kinds.append(None)
                continue
            negatives = usable_negatives(sample)
            dropped += len(sample.negatives) - len(negatives)
            short += len(negatives) < self._size - 1
            without += not negatives
            trained = bool(negatives) or not hard_only
            kinds.append(sys.intern(sample.query_kind) if trained else None)
            if trained:
                loss_weights.append(sample.weight)
            digest.update(as_utf8(_content(sample)))
        if not kinds:
            raise InputError("There are no samples to train on.")
        used = [kind for kind in kinds if kind is not None]
        if not used and left_out < len(kinds):
            raise InputError(
                f"None of the {len(kinds) - left_out} samples has a hard negative, and there are no others here. "
                "`rader samples` mines some from a corpus."
            )
        if set_weights:
            digest.update(as_utf8(canonical_json(list(set_weights))))
        report = DataReport(
            samples=len(used),
            kinds=dict(sorted(Counter(used).items())),
            negatives_dropped=dropped,
            short_groups=short,
            without_negatives=without,
            digest=digest.hexdigest(),
            held_out=left_out,
            weighted=len(set(loss_weights)) > 1,
        )
        return report, kinds, sum(loss_weights) / max(1, len(loss_weights)) or 1.0


def _check_texts(sample: Sample, number: int) -> None:
    where = f"Sample {sample.query_id!r} (row {number + 1})"
    if not sample.positives:
        raise InputError(f"{where} has no positive. Leave it out.")
    if not sample.query.strip() or not all(passage.full_text.strip() for passage in sample.positives):
        raise InputError(f"{where} has an empty query or positive. Leave it out.")


def _content(sample: Sample) -> str:
    passages = [
        [[passage.id, passage.full_text] for passage in passages] for passages in (sample.positives, sample.negatives)
    ]
    # Samples of before there were weights keep their digest.
    weight = [] if sample.weight == 1 else [sample.weight]
    return canonical_json([sample.query_id, sample.query, sample.query_kind, *passages, *weight])


def usable_negatives(sample: Sample) -> list[Passage]:
    """Return the negatives without empty ones and without those that are positives, by id or by text."""
    ids = {passage.id for passage in sample.positives}
    texts = {passage.full_text for passage in sample.positives}
    return [
        passage
        for passage in sample.negatives
        if passage.id not in ids and passage.full_text not in texts and passage.full_text.strip()
    ]


def _seen_rows(
    kinds: Sequence[str | None],
    sets: Sequence[int],
    weights: Mapping[str, float],
    set_weights: Sequence[float],
    seed: int,
) -> list[int]:
    """Return row numbers so that each kind and set is seen as often as its weight says; a fraction takes some rows."""
    rng = random.Random(f"{seed}/weights")
    rows: list[int] = []
    parts = [(kind, place if set_weights else 0) for kind, place in zip(kinds, sets, strict=True) if kind is not None]
    for kind, place in dict.fromkeys(parts):
        numbers = [
            number for number, name in enumerate(kinds) if name == kind and (not set_weights or sets[number] == place)
        ]
        weight = weights.get(kind, 1.0) * (set_weights[place] if set_weights else 1.0)
        times, fraction = int(weight), weight - int(weight)
        rows += numbers * times
        rows += sorted(rng.sample(numbers, round(fraction * len(numbers))))
    return sorted(rows)
