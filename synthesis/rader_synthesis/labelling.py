"""Labels for retrieved documents that nobody has judged: by citation, by the final answer, by self-reflection.

Every label says who gave it (``labelled_by``). Labels that are there already stay.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from rader_plugins.answers import AnswerChecker
from rader_plugins.errors import InputError, LLMError
from rader_plugins.llm import ChatModel, as_generator
from rader_plugins.llm.base import without_thoughts
from rader_plugins.trajectories import Considered, Step, Trajectory
from rader_synthesis.citations import cites, quotes
from rader_synthesis.config import PromptStyle
from rader_synthesis.packs import PromptPack, load_pack, step_values
from rader_synthesis.reflection import parse_reflection

__all__ = [
    "LabelReport",
    "PackReflector",
    "Reflector",
    "Verdict",
    "judge_answers",
    "label_by_answer",
    "label_by_citation",
    "label_by_reflection",
]


@dataclass(frozen=True)
class Verdict:
    """What self-reflection says of a document.

    Args:
        relevant: Whether it helps; None if the answer could not be read.
        reason: In the words of the judge.
    """

    relevant: bool | None
    reason: str = ""


class Reflector(Protocol):
    """Judges a document. Called from several threads at once."""

    def reflect(self, question: str, steps: Sequence[tuple[str, str]], document: str) -> Verdict:
        """Judge whether a document helps to go on.

        Args:
            question: The question.
            steps: What was thought and kept before the retrieval: pairs of ``thought`` or ``document`` and a text.
            document: Title and text.

        Raises:
            LLMError: The model did not answer.
        """
        ...


class PackReflector:
    """Asks a language model with the reflection prompt of a pack: that of the tree search.

    Args:
        llm: The model; wrapped in :class:`rader_plugins.llm.CachedChat`, a rerun costs nothing.
        pack: A prompt pack, or what :func:`~rader_synthesis.packs.load_pack` takes.
        style: ``chat`` sends the examples as earlier turns, ``completion`` one text, for models that were not trained
            to chat.

    Raises:
        InputError: There is no such pack.
    """

    def __init__(self, llm: ChatModel, pack: PromptPack | str = "generic", *, style: PromptStyle = "chat") -> None:
        self._llm = as_generator(llm)
        self._pack = pack if isinstance(pack, PromptPack) else load_pack(pack)
        self._style = style

    def reflect(self, question: str, steps: Sequence[tuple[str, str]], document: str) -> Verdict:
        """Judge a document; see :class:`Reflector`."""
        prompt = self._pack.prompts["reflect"]
        values = {"question": question, **step_values(steps, self._pack), "document": self._pack.shown(document)}
        options: dict[str, Any] = {"temperature": prompt.temperature or 0.0, "max_tokens": prompt.max_tokens}
        if self._style == "chat":
            (answer,) = self._llm.chat(prompt.messages(values), stop=list(prompt.stop) or None, **options)
        else:
            stop = [*prompt.stop, *([prompt.next_example] if prompt.next_example else [])]
            (answer,) = self._llm.complete(prompt.text(values), stop=stop or None, **options)
        said = "" if answer.refusal else without_thoughts(answer.text) or ""
        # Half a character that a server sent cannot be written to a file.
        said = said.encode("utf-8", "replace").decode("utf-8")
        return Verdict(*parse_reflection(prompt.clean(said, values)))


@dataclass
class LabelReport:
    """What became of the documents.

    Args:
        labelled: Labels given, by ``relevant`` and ``not relevant``.
        faults: Documents that stay unlabelled, by reason.
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
        found = checker.extract(trajectory.answer)
        answer = found if found is not None else trajectory.answer
        if trajectory.gold_answer is None:
            yield replace(trajectory, answer=answer)
        else:
            right = found is not None and checker.equal(found, trajectory.gold_answer, question=trajectory.question)
            yield replace(trajectory, answer=answer, reward=float(right))


def label_by_citation(trajectory: Trajectory, report: LabelReport | None = None) -> Trajectory:
    """Label documents by whether a later step names or quotes them.

    Relevant is a document that a thought or the answer after its retrieval cites or quotes, by the rules of
    :mod:`rader_synthesis.citations` (what the question says too is no quote). Not relevant is one that is not, if
    another document of the same retrieval is: who read them all went on with the other. Where none is, nobody knows.
    """
    counts = report if report is not None else LabelReport()
    steps = list(trajectory.steps)
    for at, step in enumerate(steps):
        if not any(one.relevant is None for one in step.considered):
            continue
        later = "\n".join(one.text for one in steps[at + 1 :] if one.kind in ("thought", "answer"))
        labelled = [_cited(one, later, trajectory.question) for one in step.considered]
        if any(one.relevant for one in labelled):
            reason = "another document of the same search is used, this one is not"
            labelled = [_judged(one, False, reason, "citation") if one.relevant is None else one for one in labelled]
        steps[at] = _counted(step, labelled, counts)
    return replace(trajectory, steps=tuple(steps))


def _cited(one: Considered, later: str, question: str) -> Considered:
    if one.relevant is not None:
        return one
    if cites(later, one.id, one.title):
        return _judged(one, True, "a later step names it", "citation")
    if quotes(later, one.text, question):
        return _judged(one, True, "a later step quotes it", "citation")
    return one


def label_by_answer(trajectory: Trajectory, report: LabelReport | None = None, *, top: int = 1) -> Trajectory:
    """Label the documents that a right answer went on with as relevant.

    These are the kept one of each retrieval (``document_id``), or its first ``top`` where none is named. A wrong
    answer says nothing about a document, nor does a right one about those that were not kept: both stay unlabelled.

    Args:
        trajectory: What is labelled if its reward is 1.
        report: Counts labels.
        top: How many documents of a retrieval count as used where none is named.
    """
    if trajectory.reward != 1.0:
        return trajectory
    counts = report if report is not None else LabelReport()
    steps = []
    for step in trajectory.steps:
        used = {step.document_id} if step.document_id else {one.id for one in step.considered[:top]}
        labelled = [
            _judged(one, True, "used on the way to the right answer", "answer")
            if one.relevant is None and one.id in used
            else one
            for one in step.considered
        ]
        steps.append(_counted(step, labelled, counts))
    return replace(trajectory, steps=tuple(steps))


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
        reflector: Asks the model.
        concurrency: Questions at once.
        report: Counts labels and faults.
        on_judged: Called with the number of documents judged since the last call.

    Raises:
        InputError: ``concurrency`` is below 1.
        LLMError: Nothing was answered, ten times in a row from the start: the server is not there.
    """
    if concurrency < 1:
        raise InputError(f"concurrency must be at least 1, not {concurrency}.")
    counts = report if report is not None else LabelReport()
    waiting: deque[tuple[Trajectory, dict[tuple[int, int], Future[Verdict]]]] = deque()
    asked = 0
    with ThreadPoolExecutor(concurrency, thread_name_prefix="rader-reflect") as pool:
        try:
            for trajectory in trajectories:
                futures = {
                    place: pool.submit(reflector.reflect, trajectory.question, before, document)
                    for place, before, document in _unlabelled(trajectory)
                }
                waiting.append((trajectory, futures))
                asked += len(futures)
                while waiting and (max(asked, len(waiting)) > 4 * concurrency or not waiting[0][1]):
                    trajectory, futures = waiting.popleft()
                    asked -= len(futures)
                    yield _reflected(trajectory, futures, counts, on_judged)
            while waiting:
                yield _reflected(*waiting.popleft(), counts, on_judged)
        except BaseException:
            for _, futures in waiting:
                for future in futures.values():
                    future.cancel()
            raise


def _unlabelled(trajectory: Trajectory) -> Iterator[tuple[tuple[int, int], list[tuple[str, str]], str]]:
    before: list[tuple[str, str]] = []
    for at, step in enumerate(trajectory.steps):
        for number, one in enumerate(step.considered):
            if one.relevant is None:
                yield (at, number), list(before), f"{one.title} {one.text}".strip()
        if step.kind == "thought":
            before.append(("thought", step.text))
        elif step.kind == "retrieval" and step.text:
            before.append(("document", step.text))


def _reflected(
    trajectory: Trajectory,
    futures: dict[tuple[int, int], Future[Verdict]],
    counts: LabelReport,
    on_judged: Callable[[int], object],
) -> Trajectory:
    verdicts: dict[tuple[int, int], Verdict] = {}
    for place, future in futures.items():
        try:
            verdicts[place] = future.result()
        except LLMError as error:
            counts.fault("the model did not answer", f"{trajectory.id}: {error}")
            if counts.faults["the model did not answer"] >= 10 and not counts.labelled:
                raise
    on_judged(len(futures))
    steps = []
    for at, step in enumerate(trajectory.steps):
        labelled = list(step.considered)
        for number, one in enumerate(labelled):
            verdict = verdicts.get((at, number))
            if verdict is not None and verdict.relevant is None:
                counts.fault("the model's answer cannot be read", f"{trajectory.id}, {one.id}: {verdict.reason}")
            elif verdict is not None and verdict.relevant is not None:
                labelled[number] = _judged(one, verdict.relevant, verdict.reason, "reflection")
        steps.append(_counted(step, labelled, counts))
    return replace(trajectory, steps=tuple(steps))


def _judged(one: Considered, relevant: bool, reason: str, by: str) -> Considered:
    return replace(one, relevant=relevant, reason=reason, labelled_by=by)


def _counted(step: Step, labelled: Sequence[Considered], counts: LabelReport) -> Step:
    for before, after in zip(step.considered, labelled, strict=True):
        if before.relevant is None:
            counts.count(after.relevant)
    return replace(step, considered=tuple(labelled)) if step.considered else step
