"""Importer of what the recorders wrote, with the feedback that came later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rader_plugins.recording import MergeReport, read_recorded
from rader_plugins.trajectories import READABLE_SCHEMAS, Trajectory
from rader_synthesis.importing.base import Corpus, FileImporter, ImportReport, settle_steps
from rader_synthesis.importing.feedback import Scale

__all__ = ["Recorded"]


class Recorded(FileImporter):
    """Reads trajectory files: those of a recorder, put together with their feedback, or any other.

    Rewards and right answers come from ``<name>.feedback.jsonl`` beside a file, where there is one
    (:func:`rader_plugins.recording.read_recorded`). Failed runs (``error`` in their metadata) are left out.

    Args:
        corpus: Gives retrieved documents their ids and texts.
        scale: Scale of the rewards.
        keep_all: Also keep failed runs and those without a retrieval.

    Example:
        >>> Recorded().kind
        'recorded'
    """

    kind = "recorded"
    summary = "what the recorders of LangChain and LlamaIndex wrote, with its feedback; any file of trajectories"

    takes = FileImporter.takes | {"scale"}

    def __init__(
        self,
        *,
        corpus: Corpus | None = None,
        scale: Scale | None = None,
        keep_all: bool = False,
        skip_faulty: bool = False,
    ) -> None:
        super().__init__(keep_all=keep_all, skip_faulty=skip_faulty)
        self.corpus = corpus
        self.scale = scale or Scale()

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a row is a trajectory."""
        return 1.0 if isinstance(value, Mapping) and value.get("schema") in READABLE_SCHEMAS else 0.0

    def read_file(self, path: Path, report: ImportReport) -> Iterator[Trajectory]:
        """Yield the trajectories of one recording."""
        merged = MergeReport()
        for trajectory in read_recorded(path, merged, on_fault=report.fault if self.skip_faulty else None):
            report.rows += 1
            if "error" in trajectory.metadata and not self.keep_all:
                report.skipped["failed run"] += 1
                continue
            reward = trajectory.reward
            yield replace(
                trajectory,
                steps=settle_steps(trajectory.steps, self.corpus, report),
                reward=None if reward is None else self.scale.reward(reward, f"The run {trajectory.id!r}"),
            )
        for count, what in (
            (merged.with_feedback, "run with feedback"),
            (merged.resumed, "run that continued an interrupted one"),
            (len(merged.fragments), "part of an interrupted run without a search or a question"),
            (len(merged.unmatched), "feedback for a run that is not recorded"),
            (len(merged.repeated), "run that was recorded twice, left out"),
            (len(merged.ambiguous), "run id with feedback that runs with different answers share: nobody's feedback"),
            (len(merged.unfinished), "unfinished last row of a killed recorder"),
        ):
            if count:
                report.notes[what] += count
