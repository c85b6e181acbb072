"""Importer of the trace files that RaDeR's published code writes."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.trajectories import Considered, Step, Trajectory
from rader_synthesis.importing.base import Corpus, FileImporter, ImportReport, read_rows, title_and_text

__all__ = ["RaderTraces"]

_FINAL = re.compile(r"^Question (\d+) - Final Solutions\.json$")
_RIGHT = 1.0
_CANDIDATES = 20
_Scores = dict[str, float]


@dataclass(frozen=True)
class _Judgement:
    relevant: bool
    reason: str


class RaderTraces(FileImporter):
    """Reads ``Question NNNN - Final Solutions.json`` files, with the ``hard_negatives`` folder of their run.

    A path is such a file, or a folder, of which every such file below is read. The labels of self-reflection are
    looked for in ``hard_negatives/<question>.json`` beside the file or beside its folder, the right answer in
    ``Question <number> - Answer.json``.

    What the published code got wrong is handled so:

    - It names documents by their row, so a corpus is needed: that of the run, *in its order*. A row that it does not
      have is an error.
    - Its reflection loop forgot to go on after a rejection, so that one rejection was written up to five times: a row
      of ``hard_negatives`` that was there before is counted (``repeated rejection``) and left out. Documents that it
      skipped thereby are in neither list and stay unlabelled.
    - It did not write down for which query a document was rejected: a rejected document is put to the retrievals that
      scored it among their first 20; one that no retrieval scored, to the first retrieval. A document that was judged
      both ways within one question is no negative.
    - It writes every terminal node, right or wrong, and the reward of one completion with the text of another: rewards
      below 1 (it gives 0.2 to a wrong answer) become 0, and where the right answer is known an answer checker should
      judge again (``rader import rader ... --checker math``).

    Args:
        corpus: The documents of the run, in its order.
        keep_all: Also keep solutions without a retrieval.
        skip_faulty: Count traces that cannot be used, instead of ending at the first.

    Raises:
        InputError: No corpus is given.
    """

    kind = "rader"
    summary = "traces that RaDeR's published code wrote, files or folders"

    def __init__(self, *, corpus: Corpus | None, keep_all: bool = False, skip_faulty: bool = False) -> None:
        super().__init__(keep_all=keep_all, skip_faulty=skip_faulty)
        if corpus is None or not len(corpus):
            raise InputError(
                "RaDeR's traces name a document by its row in the corpus of the run: pass that corpus (--corpus), in "
                "the order that it had."
            )
        self.corpus = corpus

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a row is a trace."""
        return 0.9 if isinstance(value, Mapping) and "trace" in value and "rollout_id" in value else 0.0

    def read_file(self, path: Path, report: ImportReport) -> Iterator[Trajectory]:
        """Yield the solutions of a file, or of all files below a folder, by name."""
        if path.is_dir():
            files = sorted(file for file in path.rglob("Question * - Final Solutions.json") if _FINAL.match(file.name))
            if not files:
                raise InputError(f"{path} holds no 'Question NNNN - Final Solutions.json'.")
        else:
            files = [path]
        for file in files:
            yield from self._solutions(file, report)

    def _solutions(self, file: Path, report: ImportReport) -> Iterator[Trajectory]:
        match = _FINAL.match(file.name)
        question = str(int(match[1])) if match else file.stem
        # The run's folder tells questions of several runs apart: each counts its own from 0.
        folder = file.resolve().parent
        run = folder.parent.name if folder.name == "answer_sheets" else folder.name
        problem = f"{run}/{question}"
        judgements = self._judgements(file, question, report)
        gold = _gold(file, question)
        for row in read_rows(file):
            report.rows += 1
            try:
                yield self._solution(row.value(), row.where, f"{problem}#{row.number}", problem, judgements, gold)
            except InputError as error:
                if not self.skip_faulty:
                    raise
                report.fault(error)

    def _solution(
        self,
        value: object,
        where: str,
        id: str,
        problem: str,
        judgements: Mapping[str, _Judgement | None],
        gold: str | None,
    ) -> Trajectory:
        trace = value.get("trace") if isinstance(value, Mapping) else None
        root = trace.get("0") if isinstance(trace, Mapping) else None
        if not isinstance(value, Mapping) or not isinstance(root, Mapping):
            raise InputError(f"{where} has no trace['0'] with the question.")
        question = root.get("user_question")
        content_by_name = root.get("ost_step") or {}
        if not isinstance(question, str) or not isinstance(content_by_name, Mapping):
            raise InputError(f"{where}: 'user_question' must be a text and 'ost_step' an object.")
        steps: list[Step] = []
        scores: list[_Scores] = []
        reward: float | None = None
        for name, content in content_by_name.items():
            place_name = f"{where}, step {name!r}"
            if name.endswith("_querygeneration"):
                steps.append(Step("query", _text_in(content, place_name)))
            elif name.endswith("_retrieval"):
                step, scores_found = self._retrieval(content, judgements, place_name)
                steps.append(step)
                scores.append(scores_found)
            else:
                steps.append(Step("thought", _text_in(content, place_name)))
                if isinstance(content, list) and len(content) > 1 and isinstance(content[1], int | float):
                    reward = float(content[1])
        direct = root.get("direct_answer")
        answer: str | None = None
        if isinstance(direct, Mapping):
            answer = _text_in(direct.get("text"), f"{where}, 'direct_answer'")
            value_of = direct.get("value")
            reward = float(value_of) if isinstance(value_of, int | float) else None
            steps.append(Step("answer", answer))
        elif steps and steps[-1].kind == "thought":
            answer = steps[-1].text
            steps[-1] = Step("answer", answer)
        metadata: dict[str, Any] = {"rollout": value.get("rollout_id")}
        if reward is not None:
            metadata["recorded_reward"] = reward
        return Trajectory(
            id=id,
            problem_id=problem,
            question=question,
            steps=tuple(self._with_rejected(steps, scores, judgements)),
            answer=answer,
            gold_answer=gold,
            reward=None if reward is None else float(reward >= _RIGHT),
            source=self.source,
            metadata=metadata,
        )

    def _retrieval(
        self, content: object, judgements: Mapping[str, _Judgement | None], where: str
    ) -> tuple[Step, _Scores]:
        if not isinstance(content, list) or len(content) < 4 or not isinstance(content[0], str):
            raise InputError(f"{where} must be a list of text, scores, retriever and document.")
        scores = {
            str(name): float(score)
            for name, score in (content[1] if isinstance(content[1], Mapping) else {}).items()
            if isinstance(score, int | float)
        }
        row = str(content[3])
        judgement = judgements.get(row)
        reason = judgement.reason if judgement is not None and judgement.relevant else "kept by self-reflection"
        document = self._document(row, where, scores.get(row), True, reason)
        return Step("retrieval", content[0], document.id, (document,)), scores

    def _document(self, row: str, where: str, score: float | None, relevant: bool, reason: str) -> Considered:
        if not row.isdigit():
            raise InputError(f"{where}: a document is named by its row, not {row!r}.")
        if int(row) >= len(self.corpus):
            raise InputError(
                f"{where}: row {row} is beyond the corpus, which has {len(self.corpus)} documents. Is it the corpus "
                "of this run, in its order?"
            )
        document = self.corpus.documents[int(row)]
        title, text = title_and_text(document)
        return Considered(document.id, text, score, relevant, reason, "reflection", title)

    def _with_rejected(
        self, steps: Sequence[Step], scores: Sequence[_Scores], judgements: Mapping[str, _Judgement | None]
    ) -> Iterator[Step]:
        relevant_ids = {judgement.id for step in steps for judgement in step.considered}
        rejected = {
            row: judgement for row, judgement in judgements.items() if judgement is not None and not judgement.relevant
        }
        best = [
            frozenset(heapq.nlargest(_CANDIDATES, scores_found, key=scores_found.__getitem__))
            for scores_found in scores
        ]
        somewhere = frozenset().union(*best)
        position = -1
        for step in steps:
            if step.kind == "retrieval":
                position += 1
                negatives = [
                    self._document(row, "hard_negatives", scores[position].get(row), False, judgement.reason)
                    for row, judgement in rejected.items()
                    if row in best[position] or (position == 0 and row not in somewhere)
                ]
                considered = (
                    *step.considered,
                    *(judgement for judgement in negatives if judgement.id not in relevant_ids),
                )
                step = replace(step, considered=considered)
            yield step

    def _judgements(self, file: Path, question: str, report: ImportReport) -> dict[str, _Judgement | None]:
        """Return the labels by row of the corpus; None for a document that was judged both ways."""
        path = next(
            (
                folder / "hard_negatives" / f"{question}.json"
                for folder in (file.parent, file.parent.parent)
                if (folder / "hard_negatives" / f"{question}.json").is_file()
            ),
            None,
        )
        judgements: dict[str, _Judgement | None] = {}
        if path is None:
            report.notes["question without hard_negatives"] += 1
            return judgements
        seen: set[tuple[str, bool, str]] = set()
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            if not line.strip():
                continue
            where = f"{path}, row {number}"
            try:
                row = json.loads(line)
                name, label = str(row["theorem_id"]), int(row["LLM_relevance_label"])
                reason = str(row.get("LLM_explanation") or "")
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise InputError(f"{where} is not a label of self-reflection ({error!r}).") from None
            key = (name, bool(label), reason)
            if key in seen:
                report.notes["repeated rejection" if not label else "repeated label"] += 1
                continue
            seen.add(key)
            self._document(name, where, None, bool(label), reason)
            before = judgements.get(name, _Judgement(bool(label), reason))
            if before is None or before.relevant != bool(label):
                judgements[name] = None
            else:
                judgements[name] = before
        if both := sum(judgement is None for judgement in judgements.values()):
            report.notes["document judged both ways, no negative"] += both
        return judgements


def _text_in(content: object, where: str) -> str:
    """Return a text, or the text that a list begins with."""
    text = content[0] if isinstance(content, list) and content else content
    if not isinstance(text, str):
        raise InputError(f"{where} must be a text or a list that begins with one.")
    return text.strip()


def _gold(file: Path, question: str) -> str | None:
    padded = question.zfill(4)
    for name in (f"Question {padded} - Answer.json", f"Question {question} - Answer.json"):
        path = file.parent / name
        if path.is_file():
            scores_found = next(read_rows(path)).value()
            gold = scores_found.get("gold_answer") if isinstance(scores_found, Mapping) else None
            return None if gold is None else str(gold)
    return None
