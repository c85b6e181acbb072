"""`RagEvaluation`: answers of a chain, how many are right, and the folder that keeps them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError, RaderError
from rader_plugins.evaluation.comparing.significance import PairedTest, adjusted, paired_test, proportion_interval
from rader_plugins.evaluation.remarks import percent
from rader_plugins.files import read_jsonl, write_json, write_jsonl

__all__ = ["RagComparison", "RagEvaluation", "RagRow", "compare_rag"]

_SCHEMA = "rader-rag/1"
_SUMMARY, _ROWS = "rag.json", "answers.jsonl"


@dataclass(frozen=True)
class RagRow:
    """One question, what the chain answered, and whether that is right.

    Args:
        question: The question as the chain got it, with its choices.
        reference: The right answer, by which the chain's was judged.
        correct: The checker took the answer for right.
        answer: What the chain wrote; None where it raised.
        extracted: The final answer that the checker found in it, or None.
        contexts, ids, scores: Texts, ids and scores of the retrieved documents, best first.
        seconds: How long the chain took.
        error: What the chain or the checker raised.
    """

    question: str
    reference: str
    correct: bool
    answer: str | None = None
    extracted: str | None = None
    contexts: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True, repr=False)
class RagEvaluation:
    """What :func:`rader_plugins.evaluate_rag` found.

    Attributes:
        rows: Problem id -> what became of it, in the order of the problems.
        latency: ``mean``, ``p50``, ``p95`` and ``max`` of the chain in milliseconds.
        manifest: Everything that made the answers, with its ``fingerprint``; a JSON object.
        name: What to call it in comparisons.
    """

    rows: Mapping[str, RagRow]
    latency: Mapping[str, float]
    manifest: Mapping[str, Any]
    name: str = field(default="run")

    def __repr__(self) -> str:
        """Say how many answers are right; figures x 100."""
        low, high = self.interval()
        return (
            f"RagEvaluation {self.name!r}: {self.correct} of {len(self.rows)} right, accuracy {percent(self.accuracy)} "
            f"({percent(low)} to {percent(high)}); {len(self.without_answer)} without an answer, "
            f"{len(self.failed)} failed"
        )

    @property
    def correct(self) -> int:
        """How many answers are right."""
        return sum(row.correct for row in self.rows.values())

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0 to 1. No answer and an error count as wrong."""
        return self.correct / len(self.rows)

    @property
    def failed(self) -> dict[str, str]:
        """Problems for which the chain or the checker raised -> error."""
        return {id: row.error for id, row in self.rows.items() if row.error is not None}

    @property
    def without_answer(self) -> list[str]:
        """Problems whose answer holds no final answer that the checker could find."""
        return [id for id, row in self.rows.items() if row.error is None and row.extracted is None]

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval of the accuracy (Wilson's)."""
        return proportion_interval(self.correct, len(self.rows), level)

    def summary(self) -> dict[str, Any]:
        """Return everything but the rows as a JSON object."""
        return {
            "schema": _SCHEMA,
            "name": self.name,
            "problems": len(self.rows),
            "correct": self.correct,
            "accuracy": self.accuracy,
            "interval": list(self.interval()),
            "failed": self.failed,
            "without_answer": self.without_answer,
            "latency": dict(self.latency),
            "manifest": dict(self.manifest),
        }

    def save(self, out: str | os.PathLike[str]) -> None:
        """Write ``rag.json`` (the summary) and ``answers.jsonl`` (per problem: answer, retrieval, verdict)."""
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        write_jsonl(folder / _ROWS, ({"id": id, **asdict(row)} for id, row in self.rows.items()))
        # Last: a folder with this file is complete.
        write_json(folder / _SUMMARY, self.summary())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> RagEvaluation:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: The folder holds no finished evaluation.
            RaderError: A newer version of the library wrote it, or it is damaged.
        """
        home = Path(folder)
        if not (home / _SUMMARY).is_file():
            raise InputError(f"{home} holds no finished evaluation of answers (no {_SUMMARY}).")
        try:
            summary = json.loads((home / _SUMMARY).read_text(encoding="utf-8"))
            if summary["schema"] != _SCHEMA:
                raise RaderError(
                    f"{home} was written in the format {summary['schema']!r}; this version reads {_SCHEMA!r}."
                )
            rows = {row.pop("id"): row_from(row) for row in read_jsonl(home / _ROWS)}
            return cls(rows, summary["latency"], summary["manifest"], summary["name"])
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise RaderError(f"The evaluation in {home} is damaged ({error!r}). Make it again.") from error

    def export_ragas(self, path: str | os.PathLike[str]) -> int:
        """Write rows for ragas as JSONL; return how many.

        Fields of its single-turn samples: ``user_input``, ``response``, ``retrieved_contexts``, ``reference`` and,
        where ids are known, ``retrieved_context_ids``. Problems for which the chain raised are left out.
        """
        return write_jsonl(path, (_for_ragas(row) for _, row in self._answered()))

    def export_langsmith(self, path: str | os.PathLike[str]) -> int:
        """Write rows for evaluators of LangSmith's kind as JSONL; return how many.

        Fields: ``inputs`` (``question``), ``outputs`` (``answer``, ``contexts``, ``ids``), ``reference_outputs``
        (``answer``) and ``metadata`` (``id``, ``correct``, ``extracted``). Problems for which the chain raised are left
        out.
        """
        return write_jsonl(
            path,
            (
                {
                    "inputs": {"question": row.question},
                    "outputs": {"answer": row.answer, "contexts": list(row.contexts), "ids": list(row.ids)},
                    "reference_outputs": {"answer": row.reference},
                    "metadata": {"id": id, "correct": row.correct, "extracted": row.extracted},
                }
                for id, row in self._answered()
            ),
        )

    def _answered(self) -> Iterator[tuple[str, RagRow]]:
        return ((id, row) for id, row in self.rows.items() if row.answer is not None)


def row_from(fields: Mapping[str, Any]) -> RagRow:
    """Return a row from its JSON object."""
    lists = {name: tuple(fields.get(name) or ()) for name in ("contexts", "ids", "scores")}
    return RagRow(**{**fields, **lists})


def _for_ragas(row: RagRow) -> dict[str, Any]:
    sample: dict[str, Any] = {
        "user_input": row.question,
        "response": row.answer,
        "retrieved_contexts": list(row.contexts),
        "reference": row.reference,
    }
    return {**sample, "retrieved_context_ids": list(row.ids)} if row.ids else sample


@dataclass(frozen=True, repr=False)
class RagComparison:
    """Runs on the same problems side by side.

    Attributes:
        runs: The runs by name.
        tests: Every pair, problem by problem: a paired permutation test of right and wrong answers.
    """

    runs: Mapping[str, RagEvaluation]
    tests: Sequence[PairedTest]

    def markdown(self) -> str:
        """Return two tables: accuracies with their intervals, and the tests; figures x 100."""
        lines = ["| run | right | accuracy | 95% interval | without an answer | failed |", "|---|---|---|---|---|---|"]
        for name, run in self.runs.items():
            low, high = run.interval()
            lines.append(
                f"| {name} | {run.correct} of {len(run.rows)} | {percent(run.accuracy)} | {percent(low)} to "
                f"{percent(high)} | {len(run.without_answer)} | {len(run.failed)} |"
            )
        lines += ["", "| pair | difference | second right, first wrong | the reverse | p | adjusted |"]
        lines += ["|---|---|---|---|---|---|"]
        lines += [
            f"| {test.first}, {test.second} | {100 * test.difference:+.2f} | {test.wins} | {test.losses} | "
            f"{test.p_permutation:.4f} | {test.p_adjusted:.4f} |"
            for test in self.tests
        ]
        return "\n".join(lines) + "\n"

    def __repr__(self) -> str:
        """Show both tables; figures x 100."""
        return self.markdown()


def compare_rag(runs: Sequence[RagEvaluation | str | os.PathLike[str]], *, seed: int = 0) -> RagComparison:
    """Compare runs on the same problems, such as one without and one with retrieval.

    Args:
        runs: Evaluations, or folders of them.
        seed: Seed of the permutations.

    Raises:
        InputError: There are fewer than two runs, or they are on other problems or used another checker.

    Example:
        >>> print(compare_rag(["runs/none", "runs/rader"]).markdown())  # doctest: +SKIP
    """
    loaded = [run if isinstance(run, RagEvaluation) else RagEvaluation.load(run) for run in runs]
    if len(loaded) < 2:
        raise InputError("A comparison needs at least two runs.")
    named: dict[str, RagEvaluation] = {}
    for run in loaded:
        for what in ("problems", "checker"):
            if run.manifest[what] != loaded[0].manifest[what]:
                raise InputError(
                    f"{run.name!r} and {loaded[0].name!r} cannot be compared: they differ in their {what}."
                )
        name, number = run.name, 2
        while name in named:
            name, number = f"{run.name} ({number})", number + 1
        named[name] = run
    values = {name: [float(run.rows[id].correct) for id in loaded[0].rows] for name, run in named.items()}
    tests = [
        paired_test((first, second), values[first], values[second], seed=seed)
        for first, second in combinations(named, 2)
    ]
    p_values = adjusted([test.p_permutation for test in tests])
    return RagComparison(
        named, [replace(test, p_adjusted=p_value) for test, p_value in zip(tests, p_values, strict=True)]
    )
