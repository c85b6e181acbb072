"""From the events of a conversation to trajectories: the same for every format.

A user's message begins a turn; every turn that something answered is a trajectory. Calls of search tools become
queries and retrievals, calls that open a document that was found become ``open`` steps, all other calls thoughts. The
text that ends a turn is its answer. What the interface says that it cites, and numbers (``[2]``) that the results
carried, are exact labels (``citation``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rader_plugins.recording.redaction import question_id
from rader_plugins.trajectories import Trajectory
from rader_synthesis.importing.conversation import Call, Conversation, Question, Search
from rader_synthesis.importing.corpus import settle_steps
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.turn import Reading, Turn

__all__ = ["trajectories_of"]

_LONGEST_CONTEXT = 600
_MOST_EXCHANGES = 5


def trajectories_of(
    conversation: Conversation, reading: Reading, report: ImportReport, source: str
) -> Iterator[Trajectory]:
    """Yield the trajectories of the turns of a conversation, whose reward goes to the last turn that searched.

    A turn whose answer was rated by itself has that rating.

    Raises:
        InputError: The conversation contradicts itself; the message names it.
    """
    turns = _turns(conversation, reading, report)
    if not turns:
        report.skipped["no user message"] += 1
        return
    if unanswered := turns[-1].unanswered:
        report.notes["call of a search tool without a result"] += unanswered
    searched = [number for number, turn in enumerate(turns) if turn.searched]
    rated = searched[-1] if searched else len(turns) - 1
    if conversation.reward is not None and searched and rated != len(turns) - 1:
        report.notes["reward given to the last turn that searched, which is not the last turn"] += 1
    before = list(conversation.before)
    for number, turn in enumerate(turns):
        steps, answer = turn.finished(report)
        follow_up = bool(before)
        question = _with_context(before, turn.question) if follow_up else turn.question
        metadata = dict(conversation.metadata)
        if len(turns) > 1:
            metadata |= {"turn": number + 1, "turns": len(turns)}
        if follow_up:
            metadata |= {"follow_up": True, "message": turn.question}
        before.append((turn.question, answer or ""))
        if follow_up and turn.searched and reading.follow_ups == "leave-out":
            report.skipped["follow-up, which only its conversation explains"] += 1
            continue
        if follow_up and turn.searched:
            report.notes["follow-up that carries its conversation in the question"] += 1
        yield Trajectory(
            id=conversation.id if len(turns) == 1 else f"{conversation.id}/{number + 1}",
            problem_id=question_id(question),
            question=question,
            steps=settle_steps(steps, reading.corpus, report),
            answer=answer,
            gold_answer=conversation.gold_answer if number == rated else None,
            reward=turn.reward if turn.reward is not None or number != rated else conversation.reward,
            source=source,
            metadata=metadata,
        )


def _with_context(before: Sequence[tuple[str, str]], question: str) -> str:
    """Return a question with the last five exchanges that it follows, long answers cut."""
    lines = []
    for earlier, answer in before[-_MOST_EXCHANGES:]:
        lines.append(f"User: {earlier}")
        if answer:
            cut = answer if len(answer) <= _LONGEST_CONTEXT else answer[:_LONGEST_CONTEXT].rstrip() + " ..."
            lines.append(f"Assistant: {cut}")
    return "\n".join([*lines, f"User: {question}"])


def _turns(conversation: Conversation, reading: Reading, report: ImportReport) -> list[Turn]:
    turns: list[Turn] = []
    for event in conversation.events:
        if isinstance(event, Question):
            text = event.text.strip()
            if turns and not turns[-1].slots:
                turns[-1].question = f"{turns[-1].question}\n{text}".strip()
            elif text:
                turns.append(Turn(text, reading, report, conversation.where, turns[-1] if turns else None))
        elif turns:
            turns[-1].add(event)
        elif isinstance(event, Search | Call):
            report.skipped["search before the first question"] += 1
    for turn in turns:
        turn.read_prompt(conversation.instructions)
    return turns
