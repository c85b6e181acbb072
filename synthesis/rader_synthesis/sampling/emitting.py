"""The last pass: drafts become samples, with texts, checks and mined negatives, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rader_plugins.evaluation.overlap import EvaluationSet
from rader_plugins.query_kinds import query_kind
from rader_plugins.sample_files import SampleWriter
from rader_plugins.samples import Passage, Sample
from rader_synthesis.sampling.config import SamplingConfig
from rader_synthesis.sampling.mining import Miner, Wish
from rader_synthesis.sampling.near import NearIndex, shingles
from rader_synthesis.sampling.spool import Spool, Stored
from rader_synthesis.sampling.statistics import Statistics

__all__ = ["Emitter"]

_BATCH = 256


class Emitter:
    """Writes the samples of a spool.

    Args:
        spool: With families and splits.
        samples: Gets the samples, in the order of the drafts.
        statistics: Counts.
        config: Parameters.
        miner: Searches negatives; None leaves it at those that were rejected.
        evaluation_sets: No query of these is written.
    """

    def __init__(
        self,
        spool: Spool,
        samples: SampleWriter,
        statistics: Statistics,
        config: SamplingConfig,
        miner: Miner | None,
        evaluation_sets: Sequence[EvaluationSet],
    ) -> None:
        self._spool = spool
        self._samples = samples
        self._statistics = statistics
        self._dropped = statistics.dropped
        self._config = config
        self._miner = miner
        self._sets = evaluation_sets
        threshold = config.near_duplicates
        self._near = (
            {kind: NearIndex(spool.connection, f"near_{kind}", threshold) for kind in config.kinds}
            if threshold is not None
            else {}
        )
        self._forbidden: dict[int, tuple[set[str], set[bytes]]] = {}

    def run(self, on_written: Callable[[int], Any]) -> None:
        """Write everything; ``on_written`` is called with the number of drafts of each batch."""
        for batch in self._spool.drafts(_BATCH):
            self._forbidden.clear()
            ready = [
                (stored, positives, self._rejected(stored, positives))
                for stored in batch
                if (positives := self._positives(stored)) and self._is_new(stored, positives)
            ]
            mined = self._mined(ready)
            for stored, positives, rejected in ready:
                self._write(stored, positives, [*rejected, *mined.get(stored.n, [])])
            on_written(len(batch))

    def documents(self) -> dict[str, Any]:
        """Return how many distinct positives the samples have, and how many an evaluation corpus holds."""
        return self._spool.positive_overlap({one.name: one.holds for one in self._sets if one.documents})

    def _positives(self, stored: Stored) -> list[Passage]:
        found, texts = [], set()
        for id, by in stored.draft.positives.items():
            known = self._spool.document(id)
            if known is None or not known[0].full_text.strip():
                self._dropped["positive without a text, unknown to the corpus"] += 1
            elif known[1] in texts:
                self._dropped["positive with the text of another"] += 1
            else:
                texts.add(known[1])
                found.append(_with_origin(known[0], by))
        if not found:
            self._dropped[f"{stored.draft.kind}: no positive with a text"] += 1
        return found

    def _is_new(self, stored: Stored, positives: Sequence[Passage]) -> bool:
        """Whether a query is neither one of an evaluation set nor nearly an earlier one for the same documents."""
        draft = stored.draft
        for one in self._sets:
            if (overlap := one.overlap(draft.query)) is not None:
                self._statistics.overlap(overlap, query_id=draft.query_id)
                self._dropped[f"{draft.kind}: query stands in an evaluation set"] += 1
                return False
        index = self._near.get(draft.kind)
        if index is None:
            return True
        text, ids = shingles(draft.query), {passage.id for passage in positives}
        # The steps of one solution share most of their words: what is new then is the document.
        if any(ids <= self._spool.positives_of(item) for item in index.near(text)):
            self._dropped[f"{draft.kind}: near-duplicate of an earlier query for the same documents"] += 1
            return False
        index.add(stored.n, text)
        return True

    def _forbidden_for(self, stored: Stored) -> tuple[set[str], set[bytes]]:
        if stored.family not in self._forbidden:
            self._forbidden[stored.family] = self._spool.family_positives(stored.family)
        return self._forbidden[stored.family]

    def _rejected(self, stored: Stored, positives: Sequence[Passage]) -> list[Passage]:
        """Return what was rejected for the query, unless it is relevant to the problem elsewhere."""
        ids, texts = self._forbidden_for(stored)
        found = []
        for id, by in stored.draft.negatives.items():
            known = self._spool.document(id)
            if id in ids:
                self._dropped["rejected: positive of the same problem"] += 1
            elif known is None or not known[0].full_text.strip():
                self._dropped["rejected: without a text, unknown to the corpus"] += 1
            elif known[1] in texts:
                self._dropped["rejected: same text as a positive"] += 1
            else:
                found.append(_with_origin(known[0], by))
        return found

    def _mined(self, ready: Iterable[tuple[Stored, list[Passage], list[Passage]]]) -> dict[int, list[Passage]]:
        """Return the negatives that were searched, by number of draft."""
        if self._miner is None:
            return {}
        wishes: dict[int, Wish] = {}
        for stored, positives, rejected in ready:
            draft = stored.draft
            kind = query_kind(draft.kind)
            fill = self._config.mine == "auto" and kind.judged
            wanted = self._config.enough - len(rejected) if fill else None
            if wanted is None or wanted > 0:
                ids, texts = self._forbidden_for(stored)
                wishes[stored.n] = Wish(
                    draft.query_id,
                    draft.query,
                    self._spool.question_of(stored.n) if kind.opens_with_question else draft.query,
                    positives,
                    ids,
                    texts,
                    {passage.id for passage in rejected},
                    wanted,
                )
        return dict(zip(wishes, self._miner.mine(list(wishes.values()), self._dropped), strict=True))

    def _write(self, stored: Stored, positives: list[Passage], negatives: list[Passage]) -> None:
        draft = stored.draft
        provenance = {
            "source": draft.source,
            "step": draft.step,
            "trajectories": stored.trajectories,
            "labelled_by": sorted({passage.origin for passage in positives}),
        }
        sample = Sample(
            query_id=draft.query_id,
            query=draft.query,
            query_kind=draft.kind,
            positives=tuple(positives),
            negatives=tuple({passage.full_text: passage for passage in reversed(negatives)}.values())[::-1],
            problem_id=stored.problem_id,
            trajectory_id=draft.trajectory_id,
            provenance={name: value for name, value in provenance.items() if value not in ("", None)},
        )
        self._samples.add(stored.split, sample)
        self._statistics.sample(stored.split, sample)
        self._spool.mark_positives(passage.id for passage in positives)


def _with_origin(passage: Passage, origin: str) -> Passage:
    return Passage(passage.id, passage.text, passage.title, origin)
