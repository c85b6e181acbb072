"""Follow-up questions as questions that stand alone, rewritten by a language model."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from rader_plugins.llm import ChatModel, as_generator
from rader_plugins.llm.asking import GiveUp, ask_all
from rader_plugins.llm.base import without_thoughts
from rader_plugins.recording.redaction import question_id
from rader_plugins.trajectories import Step, Trajectory

__all__ = ["standalone_questions"]

_PROMPT = (
    "Below is a conversation that ends with a message of the user. Rewrite that last message as one question that can "
    "be understood without the conversation: put in what it refers to, add nothing else, keep its language. If it is "
    "understood without the conversation, repeat it. Answer with the question alone.\n\n{conversation}\n\nStandalone "
    "question:"
)
_MOST_TOKENS = 256


def standalone_questions(
    trajectories: Iterable[Trajectory], llm: ChatModel, *, concurrency: int = 8, notes: Counter[str] | None = None
) -> Iterator[Trajectory]:
    """Yield trajectories in their order, each follow-up with a question that stands alone.

    A follow-up is what an importer marked so (``follow_up`` in the metadata). Its problem id becomes that of the new
    question; the question with its conversation stays in the metadata, and a ``rewrite`` step says what was made of it.
    Where the model gives nothing, the question keeps its conversation.

    Args:
        trajectories: Read a little ahead of what is yielded.
        llm: The language model that rewrites questions.
        concurrency: How many questions are under way at once.
        notes: Counts what was rewritten and what not.

    Raises:
        LLMError: Nothing was answered, ten times in a row.
    """
    counts = notes if notes is not None else Counter()
    generator = as_generator(llm)
    pending: deque[Trajectory] = deque()

    def follow_ups() -> Iterator[Trajectory]:
        for trajectory in trajectories:
            pending.append(trajectory)
            if trajectory.metadata.get("follow_up"):
                yield trajectory

    def ask(trajectory: Trajectory) -> str:
        prompt = _PROMPT.format(conversation=trajectory.question)
        (answer,) = generator.chat([{"role": "user", "content": prompt}], temperature=0.0, max_tokens=_MOST_TOKENS)
        text = "" if answer.refusal else without_thoughts(answer.text) or ""
        return text.encode("utf-8", "replace").decode("utf-8").strip()

    for outcome in ask_all(follow_ups(), ask, concurrency=concurrency, give_up=GiveUp()):
        while pending[0] is not outcome.item:
            yield pending.popleft()
        pending.popleft()
        if outcome.result:
            counts["follow-up rewritten into a question that stands alone"] += 1
            yield _rewritten(outcome.item, outcome.result)
        else:
            counts["follow-up that the model did not rewrite; it carries its conversation"] += 1
            yield outcome.item
    yield from pending


def _rewritten(trajectory: Trajectory, question: str) -> Trajectory:
    return replace(
        trajectory,
        question=question,
        problem_id=question_id(question),
        steps=(Step("rewrite", question), *trajectory.steps),
        metadata={**trajectory.metadata, "conversation": trajectory.question},
    )
