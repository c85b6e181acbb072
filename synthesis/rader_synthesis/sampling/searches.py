"""From one trajectory to its searches: what was thought before each, what it found, and what was rejected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rader_plugins.text_matching import words
from rader_plugins.trajectories import Step, Trajectory, is_right
from rader_synthesis.sampling.config import SamplingConfig
from rader_synthesis.sampling.human_labels import HUMAN

__all__ = ["Search", "by_weight", "refusal", "relevant_ids", "searches"]

TRUSTED = frozenset({"proof", "citation", "opened", HUMAN})
"""Who may label documents of a trajectory without reward."""
_LABEL = 3
"""Most words before a query that a language model wrote into a line of its own: ``2. Search query: ...``."""


@dataclass(frozen=True)
class Search:
    """A retrieval that gives samples.

    Args:
        step: Number of the step in the trajectory.
        before: The thoughts before its query: neither queries nor what was retrieved.
        positives: Document id -> who says that it is relevant.
        rejected: Document id -> who says that it is not.
        weights: Weights of those positives that have one other than 1.
    """

    step: int
    before: tuple[str, ...]
    positives: Mapping[str, str]
    rejected: Mapping[str, str]
    weights: Mapping[str, float] = field(default_factory=dict)


def refusal(trajectory: Trajectory, config: SamplingConfig) -> str | None:
    """Return why no sample may come from a trajectory; None if it is right and retrieved something."""
    if not trajectory.question.strip():
        return "no question"
    if not trajectory.retrievals:
        return "nothing retrieved"
    if trajectory.reward is not None and not 0.0 <= trajectory.reward <= 1.0:
        return "reward outside 0 to 1: import it with its scale (rader import recorded --scale 1-5)"
    if trajectory.reward is None:
        return None if config.without_reward else "answer not judged"
    return None if is_right(trajectory.reward, config.min_reward) else "wrong answer"


def searches(trajectory: Trajectory, config: SamplingConfig) -> Iterator[Search]:
    """Yield the retrievals of a trajectory that have a positive, each with what was thought before its query."""
    before: list[str] = []
    thoughts_at_query = 0  # what is thought between a query and its retrieval comes from the query
    query_open = False
    thoughts = _thoughts(trajectory.steps)
    for number, step in enumerate(trajectory.steps):
        if step.kind == "thought" and thoughts[number]:
            before.append(thoughts[number])
        elif step.kind == "query":
            thoughts_at_query, query_open = len(before), True
        elif step.kind == "retrieval":
            until = thoughts_at_query if query_open else len(before)
            query_open = False
            positives = _positives(step, config, judged=trajectory.reward is not None)
            if positives:
                rejected = {
                    document.id: document.labelled_by or "label"
                    for document in step.considered
                    if document.relevant is False and document.id not in positives
                }
                weights = {
                    document.id: document.weight
                    for document in step.considered
                    if document.weight != 1 and document.id in positives
                }
                yield Search(number, tuple(before[:until]), positives, rejected, weights)


def by_weight(positives: Mapping[str, str], weights: Mapping[str, float]) -> Iterator[tuple[dict[str, str], float]]:
    """Yield the positives of weight 1 together, then each of the others alone, with its weight."""
    plain = {id: by for id, by in positives.items() if id not in weights}
    if plain:
        yield plain, 1.0
    for id, weight in weights.items():
        yield {id: positives[id]}, weight


def _thoughts(steps: Sequence[Step]) -> dict[int, str]:
    """Return the thoughts by place, without the queries that were written in them.

    An application asks its language model what to search for: what it says is recorded as a thought, and then as the
    query. A ``cot`` query holds no generated query.
    """
    thoughts: dict[int, str] = {}
    latest = None
    for number, step in enumerate(steps):
        if step.kind == "thought":
            thoughts[number], latest = step.text.strip(), number
        elif step.kind == "query" and latest is not None and (query := words(step.text)):
            lines = [line for line in thoughts[latest].splitlines() if not _is_query(words(line), query)]
            thoughts[latest] = "\n".join(lines).strip()
    return thoughts


def _is_query(line: list[str], query: list[str]) -> bool:
    return line[-len(query) :] == query and len(line) <= len(query) + _LABEL


def _positives(step: Step, config: SamplingConfig, *, judged: bool) -> dict[str, str]:
    by_id = {document.id: document for document in step.considered}
    positives = {
        document.id: document.labelled_by or "label" for document in step.considered if document.relevant is True
    }
    used = step.document_id
    if used is not None and (used not in by_id or by_id[used].relevant is not False):
        # What a right answer went on with needs no other label.
        by = positives.get(used, "answer")
        # What a person calls relevant is a positive, whatever the solution went on with.
        added = {id: who for id, who in positives.items() if config.positives == "relevant" or who == HUMAN}
        positives = {used: by, **added}
    return positives if judged else {id: by for id, by in positives.items() if by in TRUSTED}


def relevant_ids(trajectory: Trajectory) -> set[str]:
    """Return every document that a trajectory, right or wrong, holds relevant: a negative of none of its problem."""
    relevant = set()
    for step in trajectory.retrievals:
        relevant |= {document.id for document in step.considered if document.relevant is True}
        rejected = {document.id for document in step.considered if document.relevant is False}
        if step.document_id is not None and step.document_id not in rejected:
            relevant.add(step.document_id)
    return relevant
