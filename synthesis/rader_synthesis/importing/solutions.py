"""Importer of recorded solutions in plain text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rader_plugins.documents import Hit
from rader_plugins.errors import InputError
from rader_plugins.recording.redaction import question_id
from rader_plugins.trajectories import Considered, Step, Trajectory
from rader_synthesis.citations import Citations
from rader_synthesis.importing.base import (
    Corpus,
    FileImporter,
    ImportReport,
    Row,
    first_of,
    first_text,
    reward_of,
    title_and_text,
)
from rader_synthesis.importing.feedback import Scale
from rader_synthesis.importing.splitting import split_steps

if TYPE_CHECKING:
    from rader_plugins.retrieval import Searcher  # loads numpy, which `rader --help` can do without

__all__ = ["Solutions"]

QUESTION_KEYS = ("question", "problem", "query", "prompt", "input")
SOLUTION_KEYS = ("solution", "response", "completion", "generation", "output", "reasoning")
GOLD_KEYS = ("gold_answer", "answer", "gold", "target", "expected_answer")
_ID_KEYS = ("id", "_id", "uid")
_ROWS_AT_ONCE = 128
_FEWEST_WORDS = 4
_FINAL = (re.compile(r"\\boxed|\\fbox|####"), re.compile(r"\banswer\s*(?:is|:)", re.IGNORECASE))
_LETTERS = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True)
class _Parsed:
    row: Row
    record: Mapping[str, Any]
    question: str
    steps: list[str]


class Solutions(FileImporter):
    """Reads solutions without any search in them, and finds for each step the documents that it may rest on.

    A row has a question (``question``, ``problem``, ``query``, ``prompt`` or ``input``), a solution (``solution``,
    ``response``, ``completion``, ``generation``, ``output`` or ``reasoning``) and where known the right answer
    (``gold_answer``, ``answer``, ``gold``, ``target`` or ``expected_answer``) and ``reward`` or ``correct``. The
    solution is split into steps (:func:`~rader_synthesis.importing.splitting.split_steps`), the last of which is the
    answer; where an earlier one has the box, ``####`` or "answer is", the final answer is in that.

    A step becomes a query (its text), a retrieval and a thought. The retrieval considers the documents that the step
    cites (:mod:`rader_synthesis.citations`; relevant, labelled by ``citation``) and, with a searcher, the best matches
    of its text, which nobody has judged. A step that cites nothing and has no matches, or fewer than four words to
    search for, has no retrieval.

    Args:
        corpus: The documents, which are looked for by id and title.
        searcher: Finds the best matches; without it only citations count.
        k: How many matches of a step.
        question_keys, solution_keys, gold_keys: Names of the fields, the first that is there counts.
        scale: Scale of the ratings.
        keep_all: Also keep solutions without a retrieval.
        skip_faulty: Count rows that cannot be used, instead of ending at the first.

    Raises:
        InputError: There is neither a corpus nor a searcher.
    """

    kind = "solutions"
    summary = "solutions in plain text, whose documents --corpus or --index finds"
    takes = FileImporter.takes | {"searcher", "k", "scale"}

    def __init__(
        self,
        *,
        corpus: Corpus | None = None,
        searcher: Searcher | None = None,
        k: int = 5,
        question_keys: Sequence[str] = QUESTION_KEYS,
        solution_keys: Sequence[str] = SOLUTION_KEYS,
        gold_keys: Sequence[str] = GOLD_KEYS,
        scale: Scale | None = None,
        keep_all: bool = False,
        skip_faulty: bool = False,
    ) -> None:
        super().__init__(keep_all=keep_all, skip_faulty=skip_faulty)
        if corpus is None and searcher is None:
            raise InputError(
                "Solutions hold no documents: pass a corpus (--corpus) or an index (--index) to find them."
            )
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}.")
        self.corpus = corpus
        self.searcher = searcher
        self.k = k
        self.question_keys = question_keys
        self.solution_keys = solution_keys
        self.gold_keys = gold_keys
        self.scale = scale or Scale()
        self._citations = (
            Citations((item.id, str(item.metadata.get("title") or "")) for item in corpus.documents) if corpus else None
        )

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a row has a question and a solution."""
        if not isinstance(value, Mapping):
            return 0.0
        texts = {key for key, text in value.items() if isinstance(text, str)}
        return (
            0.5 if texts & set(QUESTION_KEYS) and texts & {"solution", "completion", "generation", "reasoning"} else 0.0
        )

    def read_file(self, path: Path, report: ImportReport) -> Iterator[Trajectory]:
        """Yield the trajectories of one file; the steps of many rows are searched for at once."""
        parsed = self._rows(path, report)
        while batch := list(itertools.islice(parsed, _ROWS_AT_ONCE)):
            hits_by_text = self._search(batch)
            for item in batch:
                try:
                    yield self._trajectory(item, hits_by_text)
                except InputError as error:
                    self.fault(error, report)

    def _rows(self, path: Path, report: ImportReport) -> Iterator[_Parsed]:
        for row, record in self.values(path, report):
            try:
                if not isinstance(record, Mapping):
                    raise InputError(f"{row.where} must be an object, not {type(record).__name__}.")
                question = first_text(record, self.question_keys, row.where)
                solution = first_text(record, self.solution_keys, row.where)
                if question is None or solution is None:
                    keys = self.question_keys if question is None else self.solution_keys
                    raise InputError(f"{row.where} has none of the fields {', '.join(keys)}.")
            except InputError as error:
                self.fault(error, report)
                continue
            steps = split_steps(solution)
            if not question.strip() or not steps:
                report.skipped["empty question or solution"] += 1
                continue
            yield _Parsed(row, record, question, steps)

    def _search(self, batch: Sequence[_Parsed]) -> dict[str, list[Hit]]:
        if self.searcher is None:
            return {}
        texts = list(dict.fromkeys(step for item in batch for step in item.steps if _worth_searching(step)))
        return dict(zip(texts, self.searcher.search_batch(texts, self.k), strict=True)) if texts else {}

    def _trajectory(self, parsed: _Parsed, hits_by_text: Mapping[str, Sequence[Hit]]) -> Trajectory:
        where, record = parsed.row.where, parsed.record
        steps: list[Step] = []
        for number, text in enumerate(parsed.steps):
            if considered := self._considered(text, hits_by_text.get(text, ())):
                steps += [Step("query", text), Step("retrieval", considered=considered)]
            steps.append(Step("answer" if number == len(parsed.steps) - 1 else "thought", text))
        name = first_text(record, _ID_KEYS, where) or parsed.row.name
        problem = first_of(record, ("problem_id", "question_id"))
        metadata = {key: value for key in ("model", "level", "type") if isinstance(value := record.get(key), str)}
        return Trajectory(
            id=name,
            # Solutions of one question, by several models say, are trajectories of one problem.
            problem_id=str(problem) if problem is not None else question_id(parsed.question),
            question=parsed.question,
            steps=tuple(steps),
            answer=_final(parsed.steps),
            gold_answer=first_text(record, self.gold_keys, where),
            reward=reward_of(record, where, self.scale),
            source=self.source,
            metadata=metadata,
        )

    def _considered(self, text: str, hits: Sequence[Hit]) -> tuple[Considered, ...]:
        scores = {hit.document.id: hit.score for hit in hits}
        considered: dict[str, Considered] = {}
        for id in self._citations.find(text) if self._citations is not None else ():
            document = self.corpus.get(id) if self.corpus is not None else None
            if document is not None:
                title, body = title_and_text(document)
                considered[id] = Considered(id, body, scores.get(id), True, "the step cites it", "citation", title)
        for hit in hits:
            title, body = title_and_text(hit.document)
            considered.setdefault(hit.document.id, Considered(hit.document.id, body, hit.score, title=title))
        return tuple(considered.values())


def _worth_searching(step: str) -> bool:
    return len(_LETTERS.findall(step)) >= _FEWEST_WORDS


def _final(steps: Sequence[str]) -> str:
    """Return the step that states the final answer: the last with a box or ``####``, with "answer is", or the last."""
    marked = (step for mark in _FINAL for step in reversed(steps) if mark.search(step))
    return next(marked, steps[-1])
