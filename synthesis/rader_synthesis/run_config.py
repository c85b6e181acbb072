"""How a run treats its problems, and what it tells about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rader_plugins.errors import InputError, RaderError
from rader_synthesis.config import from_table
from rader_synthesis.outcome import remarks, shortfall

__all__ = ["RunConfig", "RunProgress", "RunReport", "TooManyFailuresError"]


class TooManyFailuresError(RaderError):
    """So many problems failed that the run was stopped; what was finished is kept."""


@dataclass(frozen=True)
class RunConfig:
    """How a run treats its problems. None of this changes what a problem's search finds.

    Args:
        problems_at_once: Problems in work. Each waits for one call or more at any time, so as many as the server
            has slots, and some more, keep it busy.
        failures_in_a_row: So many problems that fail one after the other stop the run: the server is gone.
        failed_share: A run whose share of failed problems is above this is stopped, once 20 have ended, and is an
            error at its end.
        without_answer: ``error`` refuses problems that have no answer to compare with; ``skip`` leaves them out.

    Raises:
        InputError: A value is outside its range.
    """

    problems_at_once: int = 16
    failures_in_a_row: int = 10
    failed_share: float = 0.5
    without_answer: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        for name in ("problems_at_once", "failures_in_a_row"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, not {value!r}.")
        if isinstance(self.failed_share, bool) or not 0 <= self.failed_share <= 1:
            raise InputError(f"failed_share must lie between 0 and 1, not {self.failed_share!r}.")
        if self.without_answer not in ("error", "skip"):
            raise InputError(f"without_answer is 'error' or 'skip', not {self.without_answer!r}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "the run configuration") -> RunConfig:
        """Make a configuration from some of its fields.

        Raises:
            InputError: A name is unknown, or a value is outside its range.
        """
        return from_table(cls, values, where)


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Args:
        totals: Problems by status (``solved``, ``unsolved``, ``failed``, ``skipped``, ``open``), ``rollouts``,
            ``right_rollouts``, ``trajectories``, ``training`` (of them: fit for training), and calls and events by
            name, over the whole folder.
        stopped: Why it stopped before the end (a budget); empty if it did not.
        searched: Problems that this call of the function searched.
        seconds: How long it took, in seconds.
        cached: Model calls that the cache answered.
        asked: Model calls that it did not.
    """

    totals: Mapping[str, int]
    stopped: str = ""
    searched: int = 0
    seconds: float = 0.0
    cached: int = 0
    asked: int = 0

    @property
    def shortfall(self) -> str | None:
        """Why nothing came out that could be trained on, and what to do; None if something did."""
        return shortfall(self.totals)

    @property
    def remarks(self) -> list[str]:
        """What looks wrong in a run that gave something, one sentence each."""
        return remarks(self.totals)

    @property
    def problems(self) -> int:
        """All problems, whatever became of them."""
        return sum(self.totals[status] for status in ("solved", "unsolved", "failed", "skipped", "open"))


@dataclass
class RunProgress:
    """How far a run is.

    Args:
        total: Problems to search, those that were finished before included.
        done: Problems that are finished, now or before.
        solved: Finished problems that were solved.
        failed: Finished problems that failed.
        searched: Finished by this run.
        seconds: Seconds since the run began.
        rollouts: Ended by this run, those of problems under way included.
    """

    total: int
    done: int = 0
    solved: int = 0
    failed: int = 0
    searched: int = 0
    seconds: float = 0.0
    rollouts: int = 0

    @property
    def rate(self) -> float:
        """Problems per second."""
        return self.searched / self.seconds if self.seconds else 0.0

    @property
    def left(self) -> float | None:
        """Seconds to the end, if nothing changes; None before the first problem has ended."""
        return (self.total - self.done) / self.rate if self.rate else None
