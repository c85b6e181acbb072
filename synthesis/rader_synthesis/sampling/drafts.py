"""From one trajectory to drafts of samples: which queries it gives, with which positives and rejected documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rader_plugins.text_matching import words
from rader_plugins.trajectories import Step, Trajectory
from rader_synthesis.sampling.config import SamplingConfig

__all__ = ["Draft", "Search", "drafts", "partial_solution", "refusal", "relevant_ids", "searches"]

TRUSTED = frozenset({"proof", "citation", "human"})
"""Who may label documents of a trajectory without reward."""
_LABEL = 3
"""Most words before a query that a language model wrote into a line of its own: ``2. Search query: ...``."""


@dataclass(frozen=True)
class Search:
    """A retrieval that gives samples.

    Args:
        step: Its place among the steps.
        before: The thoughts before its query: neither queries nor what was retrieved.
        positives: Document id -> who says that it is relevant.
        rejected: Document id -> who says that it is not.
    """

    step: int
    before: tuple[str, ...]
    positives: Mapping[str, str]
    rejected: Mapping[str, str]


@dataclass
class Draft:
    """A sample of which only the ids of its documents are known yet.

    Args:
        kind: Of the query.
        query_id: A name; unique unless trajectories share theirs.
        query: The text.
        positives, negatives: Document id -> where it came from.
        trajectory_id: Of the trajectory, if it comes from one.
        source: Who made the trajectory.
        step: Of the retrieval; None where it is about the whole trajectory.
    """

    kind: str
    query_id: str
    query: str
    positives: dict[str, str]
    negatives: dict[str, str]
    trajectory_id: str = ""
    source: str = ""
    step: int | None = None


def refusal(trajectory: Trajectory, config: SamplingConfig) -> str | None:
    """Return why no sample may come from a trajectory; None if it is right and retrieved something."""
    if not trajectory.question.strip():
        return "no question"
    if not trajectory.retrievals:
        return "nothing retrieved"
    if trajectory.reward is None:
        return None if config.without_reward else "answer not judged"
    return None if trajectory.reward >= config.min_reward else "wrong answer"


def searches(trajectory: Trajectory, config: SamplingConfig) -> Iterator[Search]:
    """Yield the retrievals of a trajectory that have a positive, each with what was thought before its query."""
    before: list[str] = []
    asked = 0  # thoughts before the latest query: what is thought between it and its retrieval comes from the query
    query_open = False
    thoughts = _thoughts(trajectory.steps)
    for at, step in enumerate(trajectory.steps):
        if step.kind == "thought" and thoughts[at]:
            before.append(thoughts[at])
        elif step.kind == "query":
            asked, query_open = len(before), True
        elif step.kind == "retrieval":
            known = asked if query_open else len(before)
            query_open = False
            positives = _positives(step, config, judged=trajectory.reward is not None)
            if positives:
                rejected = {
                    one.id: one.labelled_by or "label"
                    for one in step.considered
                    if one.relevant is False and one.id not in positives
                }
                yield Search(at, tuple(before[:known]), positives, rejected)


def _thoughts(steps: Sequence[Step]) -> dict[int, str]:
    """Return the thoughts by place, without the queries that were written in them.

    An application asks its language model what to search for: what it says is recorded as a thought, and then as the
    query. A ``cot`` query holds no generated query.
    """
    found: dict[int, str] = {}
    latest = None
    for at, step in enumerate(steps):
        if step.kind == "thought":
            found[at], latest = step.text.strip(), at
        elif step.kind == "query" and latest is not None and (query := words(step.text)):
            kept = [line for line in found[latest].splitlines() if not _is_query(words(line), query)]
            found[latest] = "\n".join(kept).strip()
    return found


def _is_query(line: list[str], query: list[str]) -> bool:
    return line[-len(query) :] == query and len(line) <= len(query) + _LABEL


def _positives(step: Step, config: SamplingConfig, *, judged: bool) -> dict[str, str]:
    by_id = {one.id: one for one in step.considered}
    found = {one.id: one.labelled_by or "label" for one in step.considered if one.relevant is True}
    kept = step.document_id
    if kept is not None and (kept not in by_id or by_id[kept].relevant is not False):
        # What a right answer went on with needs no other label.
        by = found.get(kept, "answer")
        found = {kept: by} if config.positives == "kept" else {kept: by, **found}
    return found if judged else {id: by for id, by in found.items() if by in TRUSTED}


def relevant_ids(trajectory: Trajectory) -> set[str]:
    """Return every document that a trajectory, right or wrong, holds relevant: a negative of none of its problem."""
    found = set()
    for step in trajectory.retrievals:
        found |= {one.id for one in step.considered if one.relevant is True}
        rejected = {one.id for one in step.considered if one.relevant is False}
        if step.document_id is not None and step.document_id not in rejected:
            found.add(step.document_id)
    return found


def partial_solution(question: str, before: tuple[str, ...]) -> str:
    """Return a ``cot`` query: the question and the steps, one a line."""
    return "\n".join([question.strip(), *before])


def drafts(trajectory: Trajectory, found: list[Search], config: SamplingConfig) -> Iterator[Draft]:
    """Yield the drafts of a trajectory that need no language model: one ``question`` and a ``cot`` for each search.

    A search that no thought comes before gives no ``cot``: it would be the question.

    Args:
        trajectory: One that :func:`refusal` has nothing against.
        found: Its :func:`searches`.
        config: Which kinds are wanted.
    """
    if "question" in config.kinds and found:
        yield Draft(
            "question",
            f"question:{trajectory.problem_id}",
            trajectory.question.strip(),
            {id: by for search in found for id, by in search.positives.items()},
            {id: by for search in found for id, by in search.rejected.items()},
            trajectory.id,
            trajectory.source,
        )
    if "cot" in config.kinds:
        for search in found:
            if search.before:
                yield Draft(
                    "cot",
                    f"cot:{trajectory.id}:{search.step}",
                    partial_solution(trajectory.question, search.before),
                    dict(search.positives),
                    dict(search.rejected),
                    trajectory.id,
                    trajectory.source,
                    search.step,
                )
