"""`Pipeline`: the way of a trajectory into samples, from top to bottom.

``read`` -> ``exclude_evaluated`` -> ``write_queries`` -> ``split`` -> ``emit``. Each stage goes through what the one
before it left in the spool, a few rows at a time, and counts what it leaves out.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rader_plugins.evaluation.overlap import EvaluationSet
from rader_plugins.files import as_utf8, canonical_json
from rader_plugins.index import Index
from rader_plugins.query_kinds import query_kind
from rader_plugins.retrieval import RaderRetriever
from rader_plugins.sample_files import SampleWriter
from rader_plugins.samples import Passage, Sample
from rader_plugins.text_matching import digest
from rader_plugins.trajectories import Trajectory, read_trajectories
from rader_synthesis.importing.base import title_and_text
from rader_synthesis.sampling.config import SamplingConfig
from rader_synthesis.sampling.drafts import Draft, QueryRequest
from rader_synthesis.sampling.families import assign_splits, find_families
from rader_synthesis.sampling.human_labels import HumanLabels
from rader_synthesis.sampling.kinds import Checks, load_kinds
from rader_synthesis.sampling.mining import Miner, MiningRequest
from rader_synthesis.sampling.near import NearIndex, shingles
from rader_synthesis.sampling.query_writing import QueryWriter
from rader_synthesis.sampling.searches import refusal, relevant_ids, searches
from rader_synthesis.sampling.spool import Relevant, Spool, StoredDraft
from rader_synthesis.sampling.statistics import Statistics
from rader_synthesis.search import derived_seed

__all__ = ["Pipeline"]

_BATCH = 256
_EXAMPLES = 5


@dataclass
class Pipeline:
    """The stages of making samples.

    Args:
        spool: Scratch database, empty at the beginning.
        statistics: The object that counts what happens.
        config: Parameters of the making.
        index: The documents; gives those of trajectories the texts that they have there.
        evaluation_sets: What must not be trained on.
        labels: Labels of a person, which win over those of the trajectories.
        examples: Samples that are kept for people to read, drawn at random.
    """

    spool: Spool
    statistics: Statistics
    config: SamplingConfig
    index: Index | None = None
    evaluation_sets: Sequence[EvaluationSet] = ()
    labels: HumanLabels = field(default_factory=HumanLabels)
    examples: list[Sample] = field(default_factory=list)
    _relevant: dict[int, Relevant] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._kinds = load_kinds(self.config.kinds)
        self._draw = random.Random(derived_seed(self.config.seed, "examples"))

    # 1. Trajectories are read once: documents, drafts and requests for queries go to the spool.

    def read(self, files: Sequence[Path], on_read: Callable[[int], Any] = lambda count: None) -> None:
        """Read trajectories, and draft samples of them.

        Args:
            files: Trajectory files, in JSONL.
            on_read: Called with 1 for each trajectory.

        Raises:
            InputError: A row is unusable; the message names file and row.
        """
        for trajectory in map(self.labels.apply, read_trajectories(files)):
            self.statistics.read(trajectory)
            on_read(1)
            content = hashlib.blake2b(as_utf8(canonical_json(trajectory.row())), digest_size=16).digest()
            is_new = self.spool.is_new(trajectory.id, content)
            if is_new is False:
                self.statistics.trajectories["repeated"] += 1
                continue
            if is_new is None:
                self.statistics.trajectories["with the id of another, used all the same"] += 1
            problem = self.spool.problem(trajectory.problem_id, trajectory.question)
            self._store_documents(trajectory)
            self.spool.add_relevant(problem, sorted(relevant_ids(trajectory)))
            self._propose(problem, trajectory)
        self.statistics.dropped.update(self.labels.unused())

    def _propose(self, problem: int, trajectory: Trajectory) -> None:
        """Store what the kinds of queries make of a trajectory."""
        counts, dropped = self.statistics.trajectories, self.statistics.dropped
        if (reason := refusal(trajectory, self.config)) is not None:
            counts[reason] += 1
            self.labels.note_use(trajectory, reason)
            return
        useful = list(searches(trajectory, self.config))
        if not useful:
            counts["no positive"] += 1
            return
        counts["used"] += 1
        self.labels.note_use(trajectory)
        self.statistics.sources[trajectory.source or "unknown"] += 1
        for search in useful:
            # Positives that a problem has from elsewhere are known when all was read.
            self.spool.add_relevant(problem, search.positives)
        for kind in self._kinds:
            for proposal in kind.propose(trajectory, useful, dropped):
                if isinstance(proposal, QueryRequest):
                    self.spool.add_request(problem, proposal)
                else:
                    self._add_draft(problem, proposal)

    def _add_draft(self, problem: int, draft: Draft) -> None:
        if not self.spool.add_draft(problem, draft):
            self.statistics.dropped[f"{draft.kind}: merged with an equal query of the same problem"] += 1

    def _store_documents(self, trajectory: Trajectory) -> None:
        considered = {document.id: document for step in trajectory.retrievals for document in reversed(step.considered)}
        used = {step.document_id for step in trajectory.retrievals if step.document_id is not None}
        missing = self.spool.unknown_documents(dict.fromkeys([*considered, *sorted(used)]))
        documents = {document.id: document for document in self.index.get(missing)} if self.index and missing else {}
        for id in missing:
            logged = considered.get(id)
            if (document := documents.get(id)) is not None:
                title, text = title_and_text(document)
                self.spool.add_document(id, title, text)
                if logged and logged.text.strip() and digest(f"{logged.title} {logged.text}") != digest(document.text):
                    self.statistics.dropped[
                        "text of a trajectory: the corpus has another for the same id, which is used"
                    ] += 1
            elif logged is not None and logged.text.strip():
                self.spool.add_document(id, logged.title, logged.text)

    # 2. Problems that an evaluation set asks are left out with all their drafts and requests.

    def exclude_evaluated(self) -> None:
        """Leave out the problems whose question an evaluation set has."""
        if not self.evaluation_sets:
            return
        for _, problem, text in self.spool.questions():
            for evaluation_set in self.evaluation_sets:
                if (overlap := evaluation_set.overlap(text)) is not None:
                    self.statistics.overlap(overlap, problem_id=self.spool.problem_name(problem))
                    lost = self.spool.remove_problem(problem, evaluation_set.name)
                    self.statistics.dropped["question stands in an evaluation set"] += lost
                    break

    # 3. A language model writes the queries that were requested, and what passes becomes a draft.

    def write_queries(self, writer: QueryWriter, on_asked: Callable[[int], Any] = lambda count: None) -> None:
        """Have requests answered, in their order.

        Args:
            writer: The writer that asks the model.
            on_asked: Called with 1 for each request.

        Raises:
            LLMError: The server left ten requests in a row unanswered, or refuses all.
            BudgetExceededError: The budget is used up.
        """
        checks = Checks(self.config, RaderRetriever(self.index, mode="bm25") if self.index is not None else None)
        dropped = self.statistics.dropped
        for problem, request, outcome in writer.write(self._requests(), checks):
            for fault in outcome.faults if outcome.query else outcome.faults[:-1]:
                dropped[f"{request.kind} query asked again: {fault}"] += 1
            if outcome.query:
                self._add_draft(problem, request.draft(outcome.query))
                self.statistics.written(request, outcome.query, self.spool.text_of(request.document))
            else:
                dropped[f"{request.kind} query given up: {outcome.faults[-1]}"] += 1
            on_asked(1)

    def _requests(self) -> Iterator[tuple[int, QueryRequest, str]]:
        """Yield problem and request, with title and text of the document."""
        for problem, row in self.spool.requests():
            request = QueryRequest.from_row(row)
            if text := self.spool.text_of(request.document):
                yield problem, request, text
            else:
                self.statistics.dropped[f"{request.kind}: document without a text"] += 1

    # 4. Problems with nearly the same question form families, which go to one split.

    def split(self) -> dict[str, int]:
        """Find families and send each to a split; return how many families each split has."""
        find_families(self.spool, self.config.near_duplicates)
        return assign_splits(self.spool, self.config.dev_share, self.config.seed)

    # 5. Drafts become samples: texts, checks, rejected and mined negatives.

    def emit(
        self, samples: SampleWriter, miner: Miner | None, on_written: Callable[[int], Any] = lambda count: None
    ) -> None:
        """Write the samples.

        Args:
            samples: Gets them in the order of the drafts.
            miner: Searches negatives; None leaves it at those that were rejected.
            on_written: Called with the number of drafts of each batch.
        """
        threshold = self.config.near_duplicates
        near = (
            {kind: NearIndex(self.spool.connection, f"near_{kind}", threshold) for kind in self.config.kinds}
            if threshold is not None
            else {}
        )
        for batch in self.spool.drafts(_BATCH):
            self._relevant.clear()
            ready = [
                (stored_draft, positives, self._rejected(stored_draft))
                for stored_draft in batch
                if (positives := self._positives(stored_draft.draft)) and self._is_new(stored_draft, positives, near)
            ]
            mined = self._mined(ready, miner) if miner is not None else {}
            for stored_draft, positives, rejected in ready:
                sample = _sample(stored_draft, positives, [*rejected, *mined.get(stored_draft.number, [])])
                samples.add(stored_draft.split, sample)
                self.statistics.sample(stored_draft.split, sample)
                self._maybe_keep(sample)
                self.spool.mark_positives(passage.id for passage in positives)
            on_written(len(batch))

    def _maybe_keep(self, sample: Sample) -> None:
        """Keep each sample with the same probability (reservoir sampling)."""
        total = sum(map(self.statistics.count, self.statistics.samples))
        if len(self.examples) < _EXAMPLES:
            self.examples.append(sample)
        elif (slot := self._draw.randrange(total)) < _EXAMPLES:
            self.examples[slot] = sample

    def _positives(self, draft: Draft) -> list[Passage]:
        dropped = self.statistics.dropped
        positives, contents = [], set()
        for id, by in draft.positives.items():
            document = self.spool.document(id)
            if document is None or not document[0].full_text.strip():
                dropped["positive without a text, unknown to the corpus"] += 1
            elif document[1] in contents:
                dropped["positive with the text of another"] += 1
            else:
                contents.add(document[1])
                positives.append(_with_origin(document[0], by))
        if not positives:
            dropped[f"{draft.kind}: no positive with a text"] += 1
        return positives

    def _is_new(self, stored: StoredDraft, positives: Sequence[Passage], near: dict[str, NearIndex]) -> bool:
        """Whether a query is neither one of an evaluation set nor nearly an earlier one for the same documents."""
        draft, dropped = stored.draft, self.statistics.dropped
        for evaluation_set in self.evaluation_sets:
            if (overlap := evaluation_set.overlap(draft.query)) is not None:
                self.statistics.overlap(overlap, query_id=draft.query_id)
                dropped[f"{draft.kind}: query stands in an evaluation set"] += 1
                return False
        index = near.get(draft.kind)
        if index is None:
            return True
        text, ids = shingles(draft.query), {passage.id for passage in positives}
        # The steps of one solution share most of their words: what is new then is the document.
        if any(ids <= self.spool.positives_of(number) for number in index.near(text)):
            dropped[f"{draft.kind}: near-duplicate of an earlier query for the same documents"] += 1
            return False
        index.add(stored.number, text)
        return True

    def _rejected(self, stored: StoredDraft) -> list[Passage]:
        """Return what was rejected for the query, unless it is relevant to the problem elsewhere."""
        relevant, dropped = self._relevant_to(stored), self.statistics.dropped
        rejected = []
        for id, by in stored.draft.negatives.items():
            document = self.spool.document(id)
            if id in relevant.ids:
                dropped["rejected: positive of the same problem"] += 1
            elif document is None or not document[0].full_text.strip():
                dropped["rejected: without a text, unknown to the corpus"] += 1
            elif document[1] in relevant.contents:
                dropped["rejected: same text as a positive"] += 1
            elif relevant.shares_text(document[0]):
                dropped["rejected: a part of a positive, or a text that holds one"] += 1
            else:
                rejected.append(_with_origin(document[0], by))
        return rejected

    def _relevant_to(self, stored: StoredDraft) -> Relevant:
        if stored.family not in self._relevant:
            self._relevant[stored.family] = self.spool.family_relevant(stored.family)
        return self._relevant[stored.family]

    def _mined(
        self, ready: Sequence[tuple[StoredDraft, list[Passage], list[Passage]]], miner: Miner
    ) -> dict[int, list[Passage]]:
        """Return the negatives that were searched, by number of draft."""
        requests: dict[int, MiningRequest] = {}
        for stored_draft, positives, rejected in ready:
            draft, kind = stored_draft.draft, query_kind(stored_draft.draft.kind)
            fill = self.config.mine == "auto" and kind.judged
            limit = self.config.enough - len(rejected) if fill else None
            if limit is None or limit > 0:
                requests[stored_draft.number] = MiningRequest(
                    draft.query_id,
                    draft.query,
                    self.spool.question_of(stored_draft.number) if kind.opens_with_question else draft.query,
                    positives,
                    self._relevant_to(stored_draft),
                    {passage.id for passage in rejected},
                    limit,
                )
        return dict(zip(requests, miner.mine(list(requests.values()), self.statistics.dropped), strict=True))

    def documents(self) -> dict[str, Any]:
        """Return how many distinct positives the samples have, and how many an evaluation corpus holds."""
        sets = [evaluation_set for evaluation_set in self.evaluation_sets if evaluation_set.documents]
        return self.spool.positive_overlap({evaluation_set.name: evaluation_set.holds for evaluation_set in sets})


def _sample(stored: StoredDraft, positives: Sequence[Passage], negatives: Sequence[Passage]) -> Sample:
    draft = stored.draft
    provenance = {
        "source": draft.source,
        "step": draft.step,
        "trajectories": stored.trajectories,
        "labelled_by": sorted({passage.origin for passage in positives}),
    }
    return Sample(
        query_id=draft.query_id,
        query=draft.query,
        query_kind=draft.kind,
        positives=tuple(positives),
        negatives=tuple({passage.full_text: passage for passage in reversed(negatives)}.values())[::-1],
        problem_id=stored.problem_id,
        trajectory_id=draft.trajectory_id,
        weight=draft.weight,
        provenance={name: value for name, value in provenance.items() if value not in ("", None)},
    )


def _with_origin(passage: Passage, origin: str) -> Passage:
    return Passage(passage.id, passage.text, passage.title, origin)
