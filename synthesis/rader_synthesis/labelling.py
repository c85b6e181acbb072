"""Labels for retrieved documents that nobody has judged: by citation, by what was opened, by the answer, by reflection.

Every label says who gave it (``labelled_by``). Labels that are there already stay.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from rader_plugins.answers import AnswerChecker
from rader_plugins.llm.asking import Asked, GiveUp, ask_all
from rader_plugins.trajectories import Considered, Step, Trajectory, is_right
from rader_synthesis.citations import cites, quotes
from rader_synthesis.reflectors import PackReflector, Reflector, Verdict

__all__ = [
    "LabelReport",
    "PackReflector",
    "Reflector",
    "Verdict",
    "judge_answers",
    "label_by_answer",
    "label_by_citation",
    "label_by_opened",
    "label_by_reflection",
    "without_held_negatives",
]


@dataclass
class LabelReport:
    """What became of the documents.

    Args:
        labelled: Labels given, by ``relevant`` and ``not relevant``.
        faults: Documents that stay unlabelled, or lost a label, by reason.
        first_faults: The first messages, at most ten.
    """

    labelled: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    first_faults: list[str] = field(default_factory=list)

    def fault(self, reason: str, message: str) -> None:
        """Count a document that could not be judged."""
        self.faults[reason] += 1
        if len(self.first_faults) < 10:
            self.first_faults.append(message)

    def count(self, relevant: bool | None) -> None:
        """Count a label."""
        if relevant is not None:
            self.labelled["relevant" if relevant else "not relevant"] += 1


def judge_answers(trajectories: Iterable[Trajectory], checker: AnswerChecker) -> Iterator[Trajectory]:
    """Yield trajectories with their final answer extracted and, where the right one is known, rewarded.

    The reward becomes 1.0 or 0.0, whatever it was; a trajectory whose answer cannot be extracted is wrong. Where the
    right answer is not known the reward stays.
    """
    for trajectory in trajectories:
        if trajectory.answer is None:
            yield trajectory
            continue
        extracted = checker.extract(trajectory.answer)
        answer = extracted if extracted is not None else trajectory.answer
        if trajectory.gold_answer is None:
            yield replace(trajectory, answer=answer)
        else:
            question, gold = trajectory.question, trajectory.gold_answer
            right = extracted is not None and checker.equal(extracted, gold, question=question)
            yield replace(trajectory, answer=answer, reward=float(right))


def label_by_citation(trajectory: Trajectory, report: LabelReport | None = None) -> Trajectory:
    """Label documents by whether the answer names or quotes them.

    Relevant is a document that the answer after its retrieval cites or quotes, by the rules of
    :mod:`rader_synthesis.citations` (what the question says too is no quote). A thought is no citation: it may name a
    document to dismiss it. Not relevant is a document that is not cited, if another of the same retrieval is: who read
    them all answered with the other. Where none is, nobody knows, nor of a document whose ``reason`` says why it was
    left without a label.
    """
    counts = report if report is not None else LabelReport()
    steps = list(trajectory.steps)
    for number, step in enumerate(steps):
        if not any(document.relevant is None for document in step.considered):
            continue
        later = "\n".join(after.text for after in steps[number + 1 :] if after.kind == "answer")
        labelled = [_cited(document, later, trajectory.question) for document in step.considered]
        if any(document.relevant for document in labelled):
            reason = "another document of the same search is used, this one is not"
            labelled = [
                _judged(document, False, reason, "citation")
                if document.relevant is None and not document.reason
                else document
                for document in labelled
            ]
        steps[number] = _counted(step, labelled, counts)
    return without_held_negatives(replace(trajectory, steps=tuple(steps)), counts)


def _cited(document: Considered, later: str, question: str) -> Considered:
    if document.relevant is not None:
        return document
    if cites(later, document.id, document.title):
        return _judged(document, True, "the answer names it", "citation")
    if quotes(later, document.text, question):
        return _judged(document, True, "the answer quotes it", "citation")
    return document


def label_by_opened(trajectory: Trajectory, report: LabelReport | None = None) -> Trajectory:
    """Label documents by what was opened after a search and what was passed over (LRAT, arXiv 2604.04949).

    Relevant is what was opened; how much it counts (``weight``) the import has set by the reasoning that followed. Not
    relevant is what stood above an opened document and was not opened itself: it was seen and passed over. What stood
    below the last opened document stays unlabelled, since nobody may have looked so far down, and so does what could
    not be opened (``opened`` is None); a search of which nothing was opened labels nothing. That is how the bias by
    position is met: rank alone makes no document negative.
    """
    counts = report if report is not None else LabelReport()
    steps = []
    for step in trajectory.steps:
        opened = [rank for rank, document in enumerate(step.considered) if document.opened]
        labelled = [
            document
            if document.relevant is not None or document.opened is None or not opened or rank > opened[-1]
            else _judged(document, True, "it was opened", "opened")
            if document.opened
            else _judged(document, False, "one below it was opened, this one was passed over", "opened")
            for rank, document in enumerate(step.considered)
        ]
        steps.append(_counted(step, labelled, counts))
    return without_held_negatives(replace(trajectory, steps=tuple(steps)), counts)


def label_by_answer(
    trajectory: Trajectory, report: LabelReport | None = None, *, top: int = 1, min_reward: float = 1.0
) -> Trajectory:
    """Label the documents that a right answer went on with as relevant.

    These are the kept one of each retrieval (``document_id``), or its first ``top`` where none is named. A wrong
    answer says nothing about a document, nor does a right one about those that were not kept: both stay unlabelled.

    Args:
        trajectory: What is labelled if its answer is right.
        report: The report that counts the labels.
        top: How many documents of a retrieval count as used where none is named.
        min_reward: The least reward of a right answer.
    """
    if not is_right(trajectory.reward, min_reward):
        return trajectory
    counts = report if report is not None else LabelReport()
    steps = []
    for step in trajectory.steps:
        used = {step.document_id} if step.document_id else {document.id for document in step.considered[:top]}
        labelled = [
            _judged(document, True, "used on the way to the right answer", "answer")
            if document.relevant is None and document.id in used
            else document
            for document in step.considered
        ]
        steps.append(_counted(step, labelled, counts))
    return without_held_negatives(replace(trajectory, steps=tuple(steps)), counts)


def label_by_reflection(
    trajectories: Iterable[Trajectory],
    reflector: Reflector,
    *,
    concurrency: int = 8,
    report: LabelReport | None = None,
    on_judged: Callable[[int], object] = lambda count: None,
) -> Iterator[Trajectory]:
    """Label documents by asking a language model, as the tree search does; trajectories come out in their order.

    The model sees the question, the thoughts and kept documents before the retrieval, and the document. A document
    that it gives no readable answer for, or for which its server fails, stays unlabelled and is counted.

    Args:
        trajectories: Read a little ahead of what is yielded, so that the model is kept busy.
        reflector: The judge that asks the language model.
        concurrency: How many questions are under way at once.
        report: Counts labels and faults.
        on_judged: Called with the number of documents judged since the last call.

    Raises:
        InputError: ``concurrency`` is below 1.
        LLMError: Nothing was answered, ten times in a row: the server is not there, or refuses everything.
    """
    counts = report if report is not None else LabelReport()
    pending: deque[_Waiting] = deque()

    def questions() -> Iterator[_Question]:
        for trajectory in trajectories:
            items = [_Question(trajectory.question, *parts) for parts in _unlabelled(trajectory)]
            pending.append(_Waiting(trajectory, len(items)))
            yield from items

    def ask(question: _Question) -> Verdict:
        return reflector.reflect(question.text, question.before, question.document)

    for outcome in ask_all(questions(), ask, concurrency=concurrency, give_up=GiveUp()):
        while not pending[0].open:
            yield pending.popleft().labelled(counts)
        pending[0].take(outcome, counts)
        on_judged(1)
    for trajectory in pending:
        yield trajectory.labelled(counts)


@dataclass(frozen=True)
class _Question:
    """A document that is to be judged: of which question, at which step and rank, after which steps."""

    text: str
    position: tuple[int, int]
    before: Sequence[tuple[str, str]]
    document: str


@dataclass
class _Waiting:
    """A trajectory some of whose documents are being judged."""

    trajectory: Trajectory
    open: int
    verdicts: dict[tuple[int, int], Verdict] = field(default_factory=dict)

    def take(self, outcome: Asked[_Question, Verdict], counts: LabelReport) -> None:
        """Note what became of a question."""
        self.open -= 1
        if outcome.result is not None:
            self.verdicts[outcome.item.position] = outcome.result
        else:
            counts.fault("the model did not answer", f"{self.trajectory.id}: {outcome.error}")

    def labelled(self, counts: LabelReport) -> Trajectory:
        """Return the trajectory with the labels of its verdicts."""
        steps = []
        for number, step in enumerate(self.trajectory.steps):
            documents = list(step.considered)
            for rank, document in enumerate(documents):
                verdict = self.verdicts.get((number, rank))
                if verdict is not None and verdict.relevant is None:
                    where = f"{self.trajectory.id}, {document.id}"
                    counts.fault("the model's answer cannot be read", f"{where}: {verdict.reason}")
                elif verdict is not None and verdict.relevant is not None:
                    documents[rank] = _judged(document, verdict.relevant, verdict.reason, "reflection")
            steps.append(_counted(step, documents, counts))
        return replace(self.trajectory, steps=tuple(steps))


def _unlabelled(trajectory: Trajectory) -> Iterator[tuple[tuple[int, int], list[tuple[str, str]], str]]:
    before: list[tuple[str, str]] = []
    for number, step in enumerate(trajectory.steps):
        for rank, document in enumerate(step.considered):
            if document.relevant is None:
                yield (number, rank), list(before), f"{document.title} {document.text}".strip()
        if step.kind == "thought":
            before.append(("thought", step.text))
        elif step.kind == "retrieval" and step.text:
            before.append(("document", step.text))


def without_held_negatives(trajectory: Trajectory, report: LabelReport | None = None) -> Trajectory:
    """Return a trajectory in which no document is rejected that a relevant one is a part of, or that is a part of one.

    Of an article and its paragraph one is not wrong where the other is right. Such a document loses its label and is
    counted.
    """
    counts = report if report is not None else LabelReport()
    relevant = [_bare(document) for step in trajectory.steps for document in step.considered if document.relevant]
    relevant = [text for text in relevant if text]
    if not relevant:
        return trajectory

    def cleared(document: Considered) -> Considered:
        text = _bare(document)
        if document.relevant is not False or not text or not any(text in other or other in text for other in relevant):
            return document
        counts.faults["rejected, but a part of a relevant document or holding one"] += 1
        counts.labelled["not relevant"] -= 1
        return replace(document, relevant=None, reason="", labelled_by="")

    steps = (replace(step, considered=tuple(map(cleared, step.considered))) for step in trajectory.steps)
    return replace(trajectory, steps=tuple(steps))


def _bare(document: Considered) -> str:
    return " ".join(document.text.split())


def _judged(document: Considered, relevant: bool, reason: str, by: str) -> Considered:
    return replace(document, relevant=relevant, reason=reason, labelled_by=by)


def _counted(step: Step, labelled: Sequence[Considered], counts: LabelReport) -> Step:
    for before, after in zip(step.considered, labelled, strict=True):
        if before.relevant is None:
            counts.count(after.relevant)
    return replace(step, considered=tuple(labelled)) if step.considered else step
