"""`RecordingLimits`: bounds of what a recorder keeps in memory."""

from __future__ import annotations

from dataclasses import dataclass

from rader_plugins.errors import InputError

__all__ = ["RecordingLimits"]


@dataclass(frozen=True)
class RecordingLimits:
    """Bounds of what a recorder keeps in memory.

    Args:
        open_runs: Most root runs under way; the one that was quiet longest is forgotten for a new one.
        run_seconds: A run without an event for so long is forgotten.
        steps: Most steps of a trajectory; later ones are left out.
        documents: Most documents of a retrieval.
        characters: Most characters of a text; the rest is cut off.
    """

    open_runs: int = 1000
    run_seconds: float = 3600.0
    steps: int = 200
    documents: int = 100
    characters: int = 20_000

    def __post_init__(self) -> None:
        if min(self.open_runs, self.steps, self.documents, self.characters) < 1 or not self.run_seconds > 0:
            raise InputError("Limits of recording must be at least 1, run_seconds above 0.")
