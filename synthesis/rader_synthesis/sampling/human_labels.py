"""`HumanLabels`: corrections of a person, which win over whoever labelled a document before.

The page of ``rader trajectories show`` offers them as ``labels.jsonl``, one JSON object a line:

    {"problem_id": "p1", "query": "refund after 42 days", "document_id": "kb-7", "relevant": false}

They name the search by problem and query, and not by a trajectory's number: the same search stands in many trajectories
of a tree, and a log that is imported again numbers its runs anew. Without ``query`` a label counts for every search of
the problem.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.files import read_jsonl
from rader_plugins.text_matching import digest
from rader_plugins.trajectories import Considered, Step, Trajectory

__all__ = ["HUMAN", "UNUSED_LABEL", "HumanLabels"]

HUMAN = "human"
UNUSED_LABEL = "label of a person, in a trajectory that is not used: "
"""How a sample set counts labels without effect; the reason follows."""
_Key = tuple[str, bytes | None, str]


class HumanLabels:
    """Labels by search and document.

    Args:
        rows: See the module; a later row replaces an earlier one for the same search and document.

    Raises:
        InputError: A row lacks something.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._labels: dict[_Key, tuple[bool | None, str]] = {}
        self._applied: set[_Key] = set()
        self._unused: dict[tuple[str, str], str] = {}
        for number, row in enumerate(rows, start=1):
            key, label = _read(row, f"label {number}")
            self._labels[key] = label

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> HumanLabels:
        """Read a file of labels, ``labels.jsonl``.

        Raises:
            InputError: It is unusable, or holds no label.
        """
        labels = cls(read_jsonl(path))
        if not len(labels):
            raise InputError(f"{os.fspath(path)} holds no labels.")
        return labels

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._labels)

    @property
    def applied(self) -> int:
        """How many fitted a document of a trajectory."""
        return len(self._applied)

    def apply(self, trajectory: Trajectory) -> Trajectory:
        """Return a trajectory with its labels corrected."""
        if not self._labels:
            return trajectory
        steps: list[Step] = []
        query: str | None = None
        for step in trajectory.steps:
            if step.kind == "query":
                query = step.text
            if step.kind == "retrieval":
                considered = tuple(self._label(trajectory.problem_id, query, document) for document in step.considered)
                step, query = replace(step, considered=considered), None
            steps.append(step)
        return replace(trajectory, steps=tuple(steps))

    def note_use(self, trajectory: Trajectory, refusal: str = "") -> None:
        """Note what a person labelled in a trajectory that is used, or not used and why."""
        for step in trajectory.retrievals:
            for document in step.considered:
                if document.labelled_by == HUMAN:
                    key = (trajectory.problem_id, document.id)
                    self._unused[key] = refusal and self._unused.get(key, refusal)

    def unused(self) -> Counter[str]:
        """Return how many documents that a person labelled stand in no trajectory that is used, by the reason."""
        return Counter(f"{UNUSED_LABEL}{reason}" for reason in self._unused.values() if reason)

    def _label(self, problem: str, query: str | None, document: Considered) -> Considered:
        for key in ((problem, digest(query or ""), document.id), (problem, None, document.id)):
            if key in self._labels:
                self._applied.add(key)
                relevant, reason = self._labels[key]
                by = HUMAN if relevant is not None else ""
                return replace(document, relevant=relevant, reason=reason, labelled_by=by)
        return document


def _read(row: Mapping[str, Any], where: str) -> tuple[_Key, tuple[bool | None, str]]:
    for name in ("problem_id", "document_id"):
        if not isinstance(row.get(name), str) or not row[name]:
            raise InputError(f"{where}: {name!r} must be a text.")
    query, relevant = row.get("query"), row.get("relevant")
    if query is not None and not isinstance(query, str):
        raise InputError(f"{where}: 'query' must be a text, or left out for every search of the problem.")
    if "relevant" not in row or not (relevant is None or isinstance(relevant, bool)):
        raise InputError(f"{where}: 'relevant' must be true, false, or null for a document that is not to be labelled.")
    reason = row.get("reason")
    key = (row["problem_id"], None if query is None else digest(query), row["document_id"])
    return key, (relevant, reason if isinstance(reason, str) else "")
