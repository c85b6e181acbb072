"""`EventImporter` and `ConversationImporter`: what importers of messages and of spans are derived from."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.files import canonical_json
from rader_plugins.trajectories import Trajectory
from rader_synthesis.importing.base import FileImporter
from rader_synthesis.importing.continuing import Continuations
from rader_synthesis.importing.conversation import Conversation
from rader_synthesis.importing.corpus import Corpus
from rader_synthesis.importing.feedback import GOLD_KEYS, Scale, count_ignored, read_reward
from rader_synthesis.importing.fields import first_text
from rader_synthesis.importing.prompts import PromptDocuments
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Row
from rader_synthesis.importing.turn import FollowUps, Reading
from rader_synthesis.importing.turns import trajectories_of

__all__ = ["ConversationImporter", "EventImporter"]


class EventImporter(FileImporter):
    """An importer of messages or spans: it says what happened, and :mod:`.turns` makes trajectories of it.

    A subclass has a ``kind``, a ``summary`` and :meth:`conversations`; one whose rows are conversations derives from
    :class:`ConversationImporter`.

    Args:
        tools: Names of the search tools. Without them a tool is a search if its name says so
            (:func:`~rader_plugins.recording.is_retrieval_name`) or if it returned documents.
        corpus: Gives retrieved documents their ids and texts.
        scale: Scale of the ratings.
        follow_ups: What becomes of questions after the first: ``carry`` (with the conversation before them) or
            ``leave-out``.
        prompts: Finds documents that stand in a prompt.
        keep_all: Also keep turns without a retrieval.
        skip_faulty: Count rows that cannot be used, instead of ending at the first.
    """

    takes = FileImporter.takes | {"tools", "scale", "follow_ups", "prompts"}

    def __init__(
        self,
        *,
        tools: Sequence[str] | None = None,
        corpus: Corpus | None = None,
        scale: Scale | None = None,
        follow_ups: FollowUps = "carry",
        prompts: PromptDocuments | None = None,
        keep_all: bool = False,
        skip_faulty: bool = False,
    ) -> None:
        super().__init__(keep_all=keep_all, skip_faulty=skip_faulty)
        self.corpus = corpus
        self.reading = Reading(
            tools=frozenset(tools) if tools else None,
            corpus=corpus,
            scale=scale or Scale(),
            follow_ups=follow_ups,
            prompts=prompts or PromptDocuments(),
        )

    def read_files(self, paths: Sequence[Path], report: ImportReport) -> Iterator[Trajectory]:
        """Yield the trajectories of files; a conversation that is there twice counts once."""
        seen: dict[bytes, float | None] = {}
        conversations = Continuations(report).without_repeats(self.conversations(paths, report))
        for conversation in conversations:
            try:
                turns = list(trajectories_of(conversation, self.reading, report, self.source))
            except InputError as error:
                self.fault(error, report)
                continue
            for trajectory in turns:
                key = _content(trajectory)
                if key in seen and trajectory.reward in (None, seen[key]):
                    report.skipped["the same conversation again"] += 1
                    continue
                seen[key] = trajectory.reward
                yield trajectory

    def read_file(self, path: Path, report: ImportReport) -> Iterator[Trajectory]:
        """Yield the trajectories of one file."""
        return self.read_files([path], report)

    @abstractmethod
    def conversations(self, paths: Sequence[Path], report: ImportReport) -> Iterator[Conversation]:
        """Yield the conversations of files.

        Args:
            paths: The files to read.
            report: Counts what is not understood.

        Raises:
            InputError: A row is unusable; the message names it.
        """

    def judged(
        self, conversation: Conversation, record: Mapping[str, Any], report: ImportReport, *used: str
    ) -> Conversation:
        """Return a conversation with the reward and right answer of its record, naming feedback that was not used.

        Args:
            conversation: It gets them where it has none.
            record: A row, or an object with such fields.
            report: Counts fields that look like feedback.
            used: Fields that the format has read already.
        """
        where = conversation.where
        spent = set(used)
        if conversation.reward is None:
            conversation.reward = read_reward(record, where, self.reading.scale, spent, report.ignored)
        metadata = record.get("metadata")
        if conversation.reward is None and isinstance(metadata, Mapping):
            conversation.reward = read_reward(
                metadata, f"The metadata of {where}", self.reading.scale, spent, report.ignored
            )
        if conversation.gold_answer is None:
            conversation.gold_answer = first_text(record, GOLD_KEYS, where)
        count_ignored(record, spent, report.ignored)
        return conversation


class ConversationImporter(EventImporter):
    """An importer whose rows each hold conversations: a subclass has a ``kind``, a ``summary`` and the method below."""

    def conversations(self, paths: Sequence[Path], report: ImportReport) -> Iterator[Conversation]:
        """Yield the conversations of each row of files."""
        for path in paths:
            for row, value in self.values(path, report):
                try:
                    results = list(self.conversations_of(value, row, report))
                except InputError as error:
                    self.fault(error, report)
                    continue
                yield from results

    @abstractmethod
    def conversations_of(self, value: Any, row: Row, report: ImportReport) -> Iterable[Conversation]:
        """Return the conversations of a row.

        Args:
            value: The JSON value of the row.
            row: The row, for messages.
            report: Counts what is not understood.

        Raises:
            InputError: The row is unusable; the message names it.
        """


def _content(trajectory: Trajectory) -> bytes:
    """Return a digest of what a trajectory says, without its names and rewards."""
    row = trajectory.row()
    content = canonical_json([row["question"], row["steps"], row["answer"]])
    return hashlib.blake2b(content.encode("utf-8", "replace"), digest_size=16).digest()
