"""Trajectories: how a question was answered with retrieval on the way, step by step.

The one format that tree search, importers and the recorders of the frameworks write and from which training samples
are made (DESIGN, section 3): a JSONL file, one trajectory a row.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from rader_plugins.arguments import check_path, iterate, shown
from rader_plugins.documents import check_text, metadata_json
from rader_plugins.errors import InputError
from rader_plugins.files import read_jsonl, write_jsonl

__all__ = [
    "READABLE_SCHEMAS",
    "TRAJECTORY_SCHEMA",
    "Considered",
    "Step",
    "StepKind",
    "Trajectory",
    "is_right",
    "read_trajectories",
    "write_trajectories",
]

TRAJECTORY_SCHEMA = "rader-trajectory/2"
"""What is written."""
READABLE_SCHEMAS = ("rader-trajectory/1", TRAJECTORY_SCHEMA)
"""What is read: ``/2`` adds the steps ``rewrite`` and ``open`` and, on documents, ``opened`` and ``weight``."""
StepKind = Literal["thought", "rewrite", "query", "retrieval", "open", "answer"]


@dataclass(frozen=True)
class Considered:
    """A document that a retrieval returned, and what was thought of it.

    Args:
        id: Id of the document in its corpus.
        text: Text of the document.
        score: Score that the retriever gave it; None if it told none.
        relevant: The label; None if nobody judged it.
        reason: Why it was labelled so.
        labelled_by: Who did: ``reflection`` (an LLM, as in RaDeR), ``answer`` (the final answer was right),
            ``citation`` (a later step names it), ``opened`` (it was opened, or passed over), ``proof``, ``human``, ...;
            empty without a label.
        title: Title of the document, if it has one beside the text.
        opened: Whether it was opened after the search; None where the log does not say what was opened.
        weight: How much a sample counts whose positive this document is; above 0, and 1 where nothing says otherwise.
    """

    id: str
    text: str
    score: float | None = None
    relevant: bool | None = None
    reason: str = ""
    labelled_by: str = ""
    title: str = ""
    opened: bool | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Step:
    """One step of a trajectory.

    Args:
        kind: ``thought`` (reasoning), ``rewrite`` (a question or query in other words, before it is searched for),
            ``query`` (what is searched for), ``retrieval`` (what came back; follows its query where there is one),
            ``open`` (a document was opened and read) or ``answer``.
        text: What was thought, asked or answered; on a retrieval the kept document as the following steps read it; on
            an ``open`` what was read, where the log has it.
        document_id: Id of the document that the trajectory goes on with after a retrieval, or that an ``open`` opened;
            None if there is none.
        considered: Every document that a retrieval returned, best first.
    """

    kind: StepKind
    text: str = ""
    document_id: str | None = None
    considered: tuple[Considered, ...] = ()


@dataclass(frozen=True)
class Trajectory:
    """The way from a question to an answer.

    Args:
        id: Unique name in its file.
        problem_id: Id of the question; several trajectories of one problem share it.
        question: Text of the question.
        steps: The steps, in their order.
        answer: The final answer; None if none was reached.
        gold_answer: The right answer; None if it is not known.
        reward: 1.0 for a right answer, 0.0 for a wrong one, anything between for feedback; None if not known.
        source: Who made it: ``mcts``, ``import:...``, ``langchain``, ``llama-index``, ...
        metadata: Any further fields, as a JSON object.
    """

    id: str
    problem_id: str
    question: str
    steps: tuple[Step, ...]
    answer: str | None = None
    gold_answer: str | None = None
    reward: float | None = None
    source: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def retrievals(self) -> tuple[Step, ...]:
        """The retrieval steps."""
        return tuple(step for step in self.steps if step.kind == "retrieval")

    def row(self) -> dict[str, Any]:
        """Return the JSON object of the file format; what is empty is left out of steps and documents."""
        return {
            "schema": TRAJECTORY_SCHEMA,
            "id": self.id,
            "problem_id": self.problem_id,
            "question": self.question,
            "gold_answer": self.gold_answer,
            "answer": self.answer,
            "reward": self.reward,
            "source": self.source,
            "steps": [_step_row(step) for step in self.steps],
            "metadata": dict(self.metadata),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any], where: str = "the trajectory") -> Trajectory:
        """Read a row, checking every field; unknown keys are ignored.

        Args:
            row: The row, a JSON object.
            where: How to call it in messages.

        Raises:
            InputError: The row is of another schema, or a field is missing or of the wrong type.
        """
        schema = row.get("schema")
        if schema not in READABLE_SCHEMAS:
            raise InputError(
                f"{where} has the schema {schema!r}, not {TRAJECTORY_SCHEMA!r}. Is it a file of trajectories, and "
                "this version of the library new enough for it?"
            )
        steps = row.get("steps")
        if not isinstance(steps, list):
            raise InputError(f"{where}: 'steps' must be a list.")
        metadata = row.get("metadata") or {}
        if not isinstance(metadata, Mapping):
            raise InputError(f"{where}: 'metadata' must be an object.")
        metadata_json(metadata, where)
        return cls(
            id=_name(row, "id", where),
            problem_id=_name(row, "problem_id", where),
            question=_text(row, "question", where),
            steps=tuple(_read_step(step, f"{where}, step {number}") for number, step in enumerate(steps)),
            answer=_optional_text(row, "answer", where),
            gold_answer=_optional_text(row, "gold_answer", where),
            reward=_number(row, "reward", where),
            source=_optional_text(row, "source", where) or "",
            metadata=dict(metadata),
        )


def is_right(reward: float | None, least: float = 1.0) -> bool | None:
    """Return whether an answer with a reward is right: the one rule, everywhere; None if nobody judged it.

    Args:
        reward: Between 0 and 1.
        least: The least reward of a right answer.
    """
    return None if reward is None else reward >= least


def read_trajectories(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Iterator[Trajectory]:
    """Yield the trajectories of one or several JSONL files, one at a time.

    Raises:
        InputError: A row is unusable; the message names file and row.
    """
    for path in [paths] if isinstance(paths, str | os.PathLike) else iterate(paths, "paths"):
        path = check_path(path, "path")
        for number, row in enumerate(read_jsonl(path), start=1):
            yield Trajectory.from_row(row, f"{os.fspath(path)}, row {number}")


def write_trajectories(path: str | os.PathLike[str], trajectories: Iterable[Trajectory]) -> int:
    """Write trajectories as JSONL, atomically; return how many."""
    return write_jsonl(check_path(path, "path"), map(_row, iterate(trajectories, "trajectories")))


def _row(trajectory: object) -> dict[str, Any]:
    if not isinstance(trajectory, Trajectory):
        raise InputError(f"Trajectories are written, not {shown(trajectory)}.")
    return trajectory.row()


def _step_row(step: Step) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": step.kind, "text": step.text}
    if step.kind in ("retrieval", "open"):
        row["document_id"] = step.document_id
    if step.kind == "retrieval":
        row["considered"] = [_considered_row(document) for document in step.considered]
    return row


def _considered_row(document: Considered) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": document.id,
        "text": document.text,
        "score": document.score,
        "relevant": document.relevant,
    }
    row |= {name: value for name in ("reason", "labelled_by", "title") if (value := getattr(document, name))}
    if document.opened is not None:
        row["opened"] = document.opened
    if document.weight != 1.0:
        row["weight"] = document.weight
    return row


def _read_step(row: object, where: str) -> Step:
    if not isinstance(row, Mapping):
        raise InputError(f"{where} must be an object, not {type(row).__name__}.")
    kind = row.get("kind")
    if kind not in get_args(StepKind):
        raise InputError(f"{where}: 'kind' is one of {', '.join(get_args(StepKind))}, not {kind!r}.")
    considered = row.get("considered") or []
    if not isinstance(considered, list):
        raise InputError(f"{where}: 'considered' must be a list.")
    return Step(
        kind=cast(StepKind, kind),
        text=_optional_text(row, "text", where) or "",
        document_id=_optional_text(row, "document_id", where),
        considered=tuple(
            _read_considered(document, f"{where}, document {number}") for number, document in enumerate(considered)
        ),
    )


def _read_considered(row: object, where: str) -> Considered:
    if not isinstance(row, Mapping):
        raise InputError(f"{where} must be an object, not {type(row).__name__}.")
    weight = 1.0 if row.get("weight") is None else _number(row, "weight", where)
    if weight is None or not 0 < weight < math.inf:
        raise InputError(f"{where}: 'weight' must be a number above 0, not {row.get('weight')!r}.")
    return Considered(
        id=_name(row, "id", where),
        text=_optional_text(row, "text", where) or "",
        score=_number(row, "score", where),
        relevant=_truth(row, "relevant", where),
        reason=_optional_text(row, "reason", where) or "",
        labelled_by=_optional_text(row, "labelled_by", where) or "",
        title=_optional_text(row, "title", where) or "",
        opened=_truth(row, "opened", where),
        weight=weight,
    )


def _truth(row: Mapping[str, Any], key: str, where: str) -> bool | None:
    value = row.get(key)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{where}: {key!r} is true, false or null, not {value!r}.")
    return value


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    return check_text(row.get(key), f"{key!r} in {where}")


def _name(row: Mapping[str, Any], key: str, where: str) -> str:
    if not (name := _text(row, key, where)):
        raise InputError(f"{where}: {key!r} must not be empty.")
    return name


def _optional_text(row: Mapping[str, Any], key: str, where: str) -> str | None:
    return None if row.get(key) is None else _text(row, key, where)


def _number(row: Mapping[str, Any], key: str, where: str) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise InputError(f"{where}: {key!r} must be a number, not {value!r}.")
    return float(value)
