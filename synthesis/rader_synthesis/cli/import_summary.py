"""What ``rader import`` says at its end: what it understood, what not, and whether that is of use."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rader_plugins.cli.output import count, emit_json, facts, note
from rader_plugins.trajectories import is_right
from rader_synthesis.importing.report import ImportReport

if TYPE_CHECKING:
    from rader_plugins.llm import OpenAIChat, Usage
    from rader_plugins.trajectories import Trajectory

__all__ = ["Summary"]

_RIGHT = {None: "unknown", True: "right", False: "not right"}
_RELEVANT = {None: "unlabelled", True: "relevant", False: "not relevant"}


class Summary:
    """Counts what is written and says it.

    Args:
        kind: Name of the importer.
        out: The file that is written.
        min_reward: The least reward of a right answer.
    """

    def __init__(self, kind: str, out: Path, min_reward: float) -> None:
        from rader_synthesis.labelling import LabelReport

        self.kind = kind
        self.out = out
        self.report = ImportReport()
        self.labels = LabelReport()
        self.server: OpenAIChat | None = None
        self.written = 0
        self._min_reward = min_reward
        self._rewards: Counter[str] = Counter()
        self._documents: Counter[str] = Counter()
        self._retrievals = self._empty = self._opened = 0

    def count(self, trajectory: Trajectory) -> None:
        """Count a trajectory that is written."""
        self.written += 1
        self._rewards[_RIGHT[is_right(trajectory.reward, self._min_reward)]] += 1
        for step in trajectory.retrievals:
            self._retrievals += 1
            self._empty += not step.considered
            for document in step.considered:
                self._documents[_RELEVANT[document.relevant]] += 1
                self._opened += bool(document.opened)

    def show(self, *, as_json: bool) -> None:
        """Write what was counted to the standard output, and faults and hints to the standard error."""
        usage = None if self.server is None else self.server.usage
        if as_json:
            emit_json(self._row(usage))
            return
        report, labels = self.report, self.labels
        retrievals = f"{self._retrievals:,}" + (f" ({self._empty:,} of them found nothing)" if self._empty else "")
        pairs = [
            ("kind", self.kind),
            ("rows", f"{report.rows:,}"),
            ("trajectories", f"{self.written:,} ({_listed(self._rewards) or 'none'})"),
            ("left out", _listed(report.skipped) or "none"),
            ("retrievals", retrievals),
            ("documents", _listed(self._documents) or "none"),
            *([("opened", f"{self._opened:,} of the documents")] if self._opened else []),
            ("notes", _listed(report.notes) or "none"),
            *([("not understood", _listed(report.unknown))] if report.unknown else []),
            *([("unlabelled", _listed(labels.faults))] if labels.faults else []),
            *([("cost", _cost(usage))] if usage is not None else []),
            ("written to", str(self.out) if self.written else "nothing is written"),
        ]
        typer.echo("\n".join(facts(pairs)))
        for what, faults in (("Left out", report.first_faults), ("Unlabelled", labels.first_faults)):
            for fault in faults:
                note(f"{what}: {fault}")
        for hint in report.hints():
            note(hint)

    def problem(self, *, labels_wanted: bool) -> str | None:
        """Return why the result is of no use; None if it is."""
        causes = _listed(self.report.skipped + self.report.unknown) or "the files hold no rows"
        if not self.written:
            return f"Nothing can be used, and nothing is written: {causes}. {' '.join(self.report.hints())}".strip()
        if labels_wanted and not self._documents["relevant"]:
            return (
                "No document is relevant by --label, so that `rader samples` can make nothing of the trajectories. "
                "Another --label may find more: citation, opened, answer, reflection."
            )
        return None

    def _row(self, usage: Usage | None) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "out": str(self.out) if self.written else None,
            **self.report.row(),
            "rewards": dict(self._rewards),
            "retrievals": self._retrievals,
            "retrievals_without_documents": self._empty,
            "documents": dict(self._documents),
            "opened": self._opened,
            "labelled": dict(self.labels.labelled),
            "unlabelled_because": dict(self.labels.faults),
            "first_faults": [*self.report.first_faults, *self.labels.first_faults],
            "usage": None if usage is None else asdict(usage),
        }


def _cost(usage: Usage) -> str:
    tokens = f"{usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written"
    return f"{count(usage.requests, 'request')}, {tokens}"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.most_common() if number)
