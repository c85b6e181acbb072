"""What importers share: the protocol, its options, names, and the ways of a row to a trajectory."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import Self

from rader_plugins.errors import InputError
from rader_plugins.files import canonical_json
from rader_plugins.recording.redaction import Redact, question_id, redacted
from rader_plugins.trajectories import Trajectory
from rader_synthesis.importing.continuing import Continuations
from rader_synthesis.importing.conversation import Conversation
from rader_synthesis.importing.corpus import Corpus, settle_steps, title_and_text
from rader_synthesis.importing.feedback import GOLD_KEYS, Scale, ScaleError, count_ignored, read_reward
from rader_synthesis.importing.grouping import RowGroups
from rader_synthesis.importing.prompts import PromptDocuments
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Paths, Row, read_rows
from rader_synthesis.importing.turns import FollowUps, Reading, trajectories_of

__all__ = [
    "ConversationImporter",
    "Corpus",
    "FileImporter",
    "ImportOptions",
    "ImportReport",
    "Names",
    "Paths",
    "Row",
    "RowImporter",
    "first_of",
    "first_text",
    "grouped_rows",
    "read_rows",
    "reward_of",
    "settle_steps",
    "title_and_text",
]

ID_KEYS = ("id", "_id", "run_id", "trace_id", "conversation_id", "request_id", "session_id", "thread_id")


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What a user may ask of an importer; each says in ``takes`` which of these it has a use for.

    Args:
        corpus: Gives retrieved documents their ids and texts.
        keep_all: Also keep trajectories without a retrieval; no training sample can come from these.
        skip_faulty: Count rows that cannot be used, instead of ending at the first.
        redact: Applied to every text of a trajectory; ids stay.
        scale: Of ratings.
        tools: Names of the search tools.
        follow_ups: What becomes of questions after the first of a conversation.
        prompts: Finds documents in prompts.
        searcher: Searches for the steps of solutions.
        k: How many matches of a step.
        group_by: Rows with the same value of this field belong together.
        function: Takes a row and returns a trajectory, several or None.
    """

    corpus: Corpus | None = None
    keep_all: bool = False
    skip_faulty: bool = False
    redact: Redact | None = None
    scale: Scale = field(default_factory=Scale)
    tools: Sequence[str] | None = None
    follow_ups: FollowUps = "carry"
    prompts: PromptDocuments = field(default_factory=PromptDocuments)
    searcher: Any = None
    k: int = 5
    group_by: str | None = None
    function: Callable[[Any], Any] | None = None


class Names:
    """Makes names unique: the second ``a`` becomes ``a~2``.

    Of every name sixteen bytes are kept, so that millions of rows fit.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}

    def unique(self, name: str) -> str:
        """Return the name, with a number if it was given out before."""
        key = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=16).digest()
        times = self._seen.get(key, 0) + 1
        self._seen[key] = times
        return name if times == 1 else self.unique(f"{name}~{times}")


class FileImporter(ABC):
    """Turns the files of one kind into trajectories, one at a time.

    A package adds a kind by an entry point of the group ``rader.importers``, whose name is the kind and whose value is
    a class such as this.

    Args:
        keep_all: Also keep trajectories without a retrieval; no training sample can come from these.
        skip_faulty: Count rows that cannot be used, instead of ending at the first.
    """

    kind: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    """What files it reads, in one line."""
    takes: ClassVar[frozenset[str]] = frozenset(("corpus", "keep_all", "skip_faulty", "redact"))
    """The fields of :class:`ImportOptions` that it has a use for; others are refused where a user asks for them."""

    redact: Redact | None = None

    def __init__(self, *, keep_all: bool = False, skip_faulty: bool = False) -> None:
        self.keep_all = keep_all
        self.skip_faulty = skip_faulty

    @classmethod
    def from_options(cls, options: ImportOptions) -> Self:
        """Make an importer of what a user asked for."""
        named = {
            each.name: getattr(options, each.name) for each in fields(options) if each.name in cls.takes - {"redact"}
        }
        importer = cls(**named)
        importer.redact = options.redact
        return importer

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Return how sure it is, 0 to 1, that the JSON value of a row is of this kind, for ``rader import auto``."""
        return 0.0

    @property
    def source(self) -> str:
        """What the trajectories call their maker."""
        return f"import:{self.kind}"

    def read(self, paths: Paths, report: ImportReport | None = None) -> Iterator[Trajectory]:
        """Yield the trajectories of some files, in their order; ids are unique over all of them.

        Args:
            paths: A file or several.
            report: Counts what is read and what is left out.

        Raises:
            InputError: A file or row is unusable; the message names it.
        """
        counts = report if report is not None else ImportReport()
        names = Names()
        for trajectory in self.read_files([Path(path) for path in _listed(paths)], counts):
            if not self.keep_all and not any(step.considered for step in trajectory.steps):
                counts.skipped["nothing retrieved"] += 1
                continue
            if self.redact is not None:
                trajectory = _redacted(trajectory, self.redact)
            id = names.unique(trajectory.id)
            if id != trajectory.id:
                counts.notes["an id that was there before, numbered"] += 1
                trajectory = replace(trajectory, id=id)
            _check_reward(trajectory)
            counts.trajectories += 1
            yield trajectory

    def read_files(self, paths: Sequence[Path], report: ImportReport) -> Iterator[Trajectory]:
        """Yield the trajectories of files, one after the other."""
        for path in paths:
            yield from self.read_file(path, report)

    @abstractmethod
    def read_file(self, path: Path, report: ImportReport) -> Iterator[Trajectory]:
        """Yield the trajectories of one file."""

    def values(self, path: Path, report: ImportReport) -> Iterator[tuple[Row, Any]]:
        """Yield the rows of a file with their JSON values, counting them; those that are no JSON as the user asked."""
        for row in read_rows(path):
            report.rows += 1
            try:
                value = row.value(report)
            except InputError as error:
                self.fault(error, report)
                continue
            yield row, value

    def fault(self, error: InputError, report: ImportReport) -> None:
        """Count what cannot be used, or raise, as the user asked."""
        if not self.skip_faulty or isinstance(error, ScaleError):
            raise error
        report.fault(error)


def grouped_rows(importer: FileImporter, paths: Sequence[Path], field: str, report: ImportReport) -> Iterator[Row]:
    """Yield one row for all rows that have the same value of a field, whose content is the list of their values.

    Rows without the field are faulty.
    """
    with RowGroups.opened() as groups:
        for path in paths:
            for row, value in importer.values(path, report):
                key = value.get(field) if isinstance(value, Mapping) else None
                if key is None:
                    importer.fault(InputError(f"{row.where} has no {field!r}, by which rows are put together."), report)
                else:
                    groups.add(str(key), row, value)
        for key in groups.keys():  # noqa: SIM118 - no mapping
            rows = groups.rows(key)
            yield replace(rows[0], content=[row.content for row in rows])


class RowImporter(FileImporter):
    """An importer that looks at one row at a time."""

    def read_file(self, path: Path, report: ImportReport) -> Iterator[Trajectory]:
        """Yield the trajectories of one file."""
        for row, value in self.values(path, report):
            try:
                made = list(self.convert(replace(row, content=value), report))
            except InputError as error:
                self.fault(error, report)
                continue
            yield from made

    @abstractmethod
    def convert(self, row: Row, report: ImportReport) -> Iterable[Trajectory]:
        """Return the trajectories of a row.

        Raises:
            InputError: The row is unusable; the message names it.
        """


class ConversationImporter(FileImporter):
    """An importer of messages or spans: it says what happened, and :mod:`.turns` makes trajectories of it.

    A subclass has a ``kind``, a ``summary`` and :meth:`conversations_of`, and where a conversation is spread over rows
    :meth:`conversations`.

    Args:
        tools: Names of the search tools. Without them a tool is a search if its name says so
            (:func:`~rader_plugins.recording.is_retrieval_name`) or if it returned documents.
        corpus: Gives retrieved documents their ids and texts.
        scale: Of ratings.
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

    def conversations(self, paths: Sequence[Path], report: ImportReport) -> Iterator[Conversation]:
        """Yield the conversations of files, here those of each row."""
        for path in paths:
            for row, value in self.values(path, report):
                try:
                    made = list(self.conversations_of(value, row, report))
                except InputError as error:
                    self.fault(error, report)
                    continue
                yield from made

    def conversations_of(self, value: Any, row: Row, report: ImportReport) -> Iterable[Conversation]:
        """Return the conversations of a row.

        Args:
            value: Its JSON value.
            row: Where it stands.
            report: Counts what is not understood.

        Raises:
            InputError: The row is unusable; the message names it.
        """
        raise NotImplementedError

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
            conversation.reward = read_reward(record, where, self.reading.scale, spent)
        if conversation.gold_answer is None:
            conversation.gold_answer = first_text(record, GOLD_KEYS, where)
        count_ignored(record, spent, report.ignored)
        return conversation


def _check_reward(trajectory: Trajectory) -> None:
    if trajectory.reward is not None:
        Scale().reward(trajectory.reward, f"The trajectory {trajectory.id!r}")


def _content(trajectory: Trajectory) -> bytes:
    """Return a digest of what a trajectory says, without its names and rewards."""
    row = trajectory.row()
    content = canonical_json([row["question"], row["steps"], row["answer"]])
    return hashlib.blake2b(content.encode("utf-8", "replace"), digest_size=16).digest()


def _redacted(trajectory: Trajectory, redact: Redact) -> Trajectory:
    try:
        clean = redacted(trajectory, redact)
    except Exception as error:  # a function of the user's may raise anything
        raise InputError(f"The redaction of {trajectory.id!r} failed: {error!r}.") from error
    own = trajectory.problem_id == question_id(trajectory.question)
    return replace(clean, problem_id=question_id(clean.question)) if own else clean


def _listed(paths: Paths) -> Sequence[str | os.PathLike[str]]:
    return [paths] if isinstance(paths, str | os.PathLike) else paths


def first_of(row: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """Return the first value that is there, else None."""
    return next((row[key] for key in keys if row.get(key) is not None), None)


def first_text(row: Mapping[str, Any], keys: Sequence[str], where: str) -> str | None:
    """Return the first value that is there as a text; numbers are written out. None if there is none.

    Raises:
        InputError: It is neither text nor number.
    """
    value = first_of(row, keys)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        key = next(key for key in keys if row.get(key) is not None)
        raise InputError(f"{where}: {key!r} must be a text, not {type(value).__name__}.")
    return str(value)


def reward_of(row: Mapping[str, Any], where: str, scale: Scale | None = None) -> float | None:
    """Return the reward of a row (:func:`~rader_synthesis.importing.feedback.read_reward`); None if it has none.

    Raises:
        InputError: It has, of another type or outside the scale.
    """
    return read_reward(row, where, scale or Scale())
