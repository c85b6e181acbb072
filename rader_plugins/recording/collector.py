"""`RunCollector`: recorded runs in memory, for what asks an application and looks at what it did."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rader_plugins.recording.limits import RecordingLimits
from rader_plugins.recording.writer import TrajectoryWriter
from rader_plugins.trajectories import Trajectory

__all__ = ["UNLIMITED", "RunCollector"]

UNLIMITED = RecordingLimits(steps=10**6, documents=10**6, characters=10**9)
"""Limits that cut nothing, where runs are looked at and not kept."""


class RunCollector(TrajectoryWriter):
    """A writer for a recorder that keeps what it is given by run id, until it is taken.

    Example:
        >>> collector = RunCollector()
        >>> collector.put(Trajectory("run-1", "", "How many guests?", ()))
        True
        >>> collector.take("run-1").question
        'How many guests?'
    """

    def __init__(self) -> None:
        super().__init__(Path(os.devnull), queue_size=1)
        self._runs: dict[str, Trajectory] = {}
        self._guard = threading.Lock()

    def put(self, trajectory: Trajectory) -> bool:
        """Keep a run."""
        with self._guard:
            self._runs[trajectory.id] = trajectory
        return True

    def take(self, id: str) -> Trajectory | None:
        """Return a run and forget it; None if it did not end or had no question."""
        with self._guard:
            return self._runs.pop(id, None)

    def feedback(self, run_id: object, **known: Any) -> bool:
        """Keep nothing: there is no file."""
        return False

    def _queue(self, row: Trajectory | Mapping[str, Any]) -> bool:
        return False
