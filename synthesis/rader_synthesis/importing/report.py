"""`ImportReport`: what an import understood, and what not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ImportReport", "ToolUse"]

_MOST_FAULTS = 10


@dataclass
class ToolUse:
    """What the calls of a tool were taken for.

    Args:
        searches: Calls that became a query and a retrieval.
        opened: Calls that opened a document.
        others: Calls that became thoughts.
    """

    searches: int = 0
    opened: int = 0
    unsearched: int = 0


@dataclass
class ImportReport:
    """What became of the rows.

    Args:
        rows: Rows that were read.
        trajectories: Trajectories that were made.
        skipped: Why rows, or trajectories of rows, were left out, and how many.
        notes: What was mended or is worth knowing, and how often.
        unknown: What was not understood, by type (``item computer_call``), and how often.
        ignored: Fields that look like feedback and were not used, and in how many rows.
        tools: What the calls of each tool were taken for.
        first_faults: The first messages about rows that could not be used, at most ten.
    """

    rows: int = 0
    trajectories: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    tools: dict[str, ToolUse] = field(default_factory=dict)
    first_faults: list[str] = field(default_factory=list)

    def fault(self, error: Exception) -> None:
        """Count a row that could not be used."""
        self.skipped["faulty row"] += 1
        if len(self.first_faults) < _MOST_FAULTS:
            self.first_faults.append(str(error))

    def tool(self, name: str) -> ToolUse:
        """Return the counts of a tool."""
        return self.tools.setdefault(name or "(a tool without a name)", ToolUse())

    def hints(self) -> list[str]:
        """Return what would take more of the log: tools that are no searches, fields that are no feedback."""
        searching = [name for name, use in self.tools.items() if use.searches]
        unsearched = [
            name for name, use in self.tools.items() if use.unsearched and not use.searches and not use.opened
        ]
        lines = []
        if unsearched:
            names = ", ".join(f"{name} ({self.tools[name].unsearched:,})" for name in unsearched)
            option = " ".join(f"--tool {name}" for name in [*searching, unsearched[0]])
            lines.append(f"Tools that were not taken for searches: {names}. If one is: {option}")
        if self.ignored:
            names = ", ".join(f"{name} ({number:,})" for name, number in self.ignored.most_common())
            lines.append(
                f"Fields that look like feedback and were not used: {names}. Feedback is read from 'reward' (0 to 1, "
                "other scales with --scale 1-5), 'correct', 'feedback', 'thumbs', 'rating' or 'scores' (--score NAME)."
            )
        return lines

    def row(self) -> dict[str, Any]:
        """Return a JSON object of all of it."""
        return {
            "rows": self.rows,
            "trajectories": self.trajectories,
            "skipped": dict(self.skipped),
            "notes": dict(self.notes),
            "not_understood": dict(self.unknown),
            "ignored_fields": dict(self.ignored),
            "tools": {name: vars(use) for name, use in self.tools.items()},
            "hints": self.hints(),
        }
