"""Importer of the session logs of coding agents: Claude Code and Codex."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rader_synthesis.importing.conversation import Call, Conversation, Event, Question, Result
from rader_synthesis.importing.conversations import EventImporter
from rader_synthesis.importing.messages import MessageReader
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Row
from rader_synthesis.importing.shell_searches import ShellCommand, found_lines, path_from, printed, shell_command

__all__ = ["AgentSessions"]

_CLAUDE_SILENT = frozenset(
    (
        "summary",
        "system",
        "file-history-snapshot",
        "queue-operation",
        "progress",
        "attachment",
        "custom-title",
        "last-prompt",
    )
)
_CODEX_SILENT = frozenset(("session_meta", "turn_context", "event_msg", "compacted"))
_TAGS = (
    r"environment_context|user_instructions|permissions instructions|turn_aborted|system-reminder|command-[\w-]+|"
    r"local-command-[\w-]+|INSTRUCTIONS|ide_\w+|bash-\w+|task-notification|user-prompt-submit-hook|new-diagnostics|"
    r"user_shell_command|subagent_notification|collaboration_mode|skill"
)
_INSERTED = re.compile(rf"<({_TAGS})\b[^>]*>.*?(?:</\1\s*>|\Z)", re.DOTALL)
_NOT_SAID = re.compile(
    r"\A\s*(?:# AGENTS\.md instructions|Caveat: The messages below|\[Request interrupted by user[^\]]*\]|"
    r"This session is being continued from a previous conversation|\Z)",
)
_LINKS = re.compile(r"\{[^{}]*\"(?:title|url)\"[^{}]*\"(?:title|url)\"[^{}]*\}")
_PATH = re.compile(r"^(?:\./|/|[A-Za-z]:\\)?(?:[\w.@+\- ]+[/\\])*[\w.@+\-]+\.\w{1,8}$")


class AgentSessions(EventImporter):
    """Reads the JSONL logs that Claude Code (``~/.claude/projects``) and Codex (``~/.codex/sessions``) keep.

    The lines of a session are a conversation; those of Claude Code are told apart by ``sessionId``. Web searches and
    file searches (``Grep``, ``Glob``, and ``rg`` or ``grep`` in a shell) are searches, ``WebFetch`` and ``Read`` (and
    ``cat`` or ``sed`` in a shell) open what they found. Files are named as seen from the folder of the session.

    Example:
        >>> AgentSessions().kind
        'agent-sessions'
    """

    kind = "agent-sessions"
    summary = "session logs of Claude Code and Codex (JSONL)"

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a line is of such a log."""
        if not isinstance(value, Mapping):
            return 0.0
        claude = "sessionId" in value and "type" in value
        codex = isinstance(value.get("payload"), Mapping) and value.get("type") in (*_CODEX_SILENT, "response_item")
        return 0.95 if claude or codex else 0.0

    def conversations(self, paths: Sequence[Path], report: ImportReport) -> Iterator[Conversation]:
        """Yield the sessions of files, in the order in which they begin."""
        for path in paths:
            sessions: dict[str, _Session] = {}
            agents: dict[str, str] = {}
            current = path.stem
            for row, value in self.values(path, report):
                if not isinstance(value, Mapping):
                    report.unknown[f"line that is {type(value).__name__}"] += 1
                    continue
                if value.get("type") == "session_meta" and isinstance(value.get("payload"), Mapping):
                    current = str(value["payload"].get("id") or current)
                name = str(value.get("sessionId") or current)
                if value.get("isSidechain"):
                    name = f"{name}/{_agent(value, agents)}"
                session = sessions.setdefault(name, _Session(row.where, report))
                self._line(value, session, row, report)
            for name, session in sessions.items():
                if session.events:
                    yield Conversation(name, session.events, session.where)

    def _line(self, value: Mapping[str, Any], session: _Session, row: Row, report: ImportReport) -> None:
        kind, payload = str(value.get("type")), value.get("payload")
        session.enter(value if payload is None else payload)
        if kind in ("user", "assistant") and isinstance(value.get("message"), Mapping):
            if any(value.get(mark) for mark in ("isMeta", "isCompactSummary", "isApiErrorMessage")):
                return
            if value["message"].get("model") == "<synthetic>":  # said by the program in the model's place
                return
            session.take({"type": "message", **value["message"], "role": kind}, row, value.get("toolUseResult"))
        elif kind == "response_item" and isinstance(payload, Mapping):
            session.take(payload, row)
        elif "role" in value or kind in ("function_call", "function_call_output", "reasoning", "message"):
            session.take(value, row)  # the first versions of Codex wrote items as lines
        elif kind not in _CLAUDE_SILENT | _CODEX_SILENT and not ("instructions" in value and "id" in value):
            report.unknown[f"line of type {kind}"] += 1


class _Session:
    """What happened in a session, in the terms of a search: calls of a shell become what they are for.

    Args:
        where: How to call its first line in messages.
        report: Counts what is not understood.
    """

    def __init__(self, where: str, report: ImportReport) -> None:
        self.where = where
        self._reader = MessageReader(where, report)
        self._folder = ""
        self._commands: dict[str, ShellCommand] = {}

    @property
    def events(self) -> Sequence[Event]:
        """What happened so far."""
        return self._reader.events

    def enter(self, line: Any) -> None:
        """Note the folder in which the session works, where a line says it and none before it did."""
        if not self._folder and isinstance(line, Mapping) and isinstance(line.get("cwd"), str):
            self._folder = line["cwd"]

    def take(self, item: Mapping[str, Any], row: Row, result: Any = None) -> None:
        """Take a message or item.

        Args:
            item: A message or item, as the model's interface has it.
            row: The row that holds it.
            result: What the program noted beside the message about the result of a tool.
        """
        before = len(self._reader.events)
        self._reader.item(item, row.where)
        self._reader.events[before:] = [
            event for raw in self._reader.events[before:] if (event := self._cleaned(raw, result)) is not None
        ]

    def _cleaned(self, event: Event, result: Any) -> Event | None:
        """Return an event without what the program inserted as if the user had said it; None if nothing is left."""
        if isinstance(event, Question):
            text = _INSERTED.sub("", event.text).strip()
            return None if _NOT_SAID.match(text) else Question(text)
        if isinstance(event, Call):
            return self._called(event)
        if isinstance(event, Result):
            return self._returned(event, result)
        return event

    def _called(self, event: Call) -> Call:
        if not isinstance(event.arguments, Mapping):
            return event
        if "pattern" in event.arguments:
            self._commands[event.id] = ShellCommand(pattern=str(event.arguments["pattern"]))
            return Call(event.id, event.name, event.arguments["pattern"])
        if isinstance(event.arguments.get("file_path"), str):
            return Call(event.id, event.name, {"file_path": self._path(event.arguments["file_path"])})
        command = shell_command(event.arguments)
        if command is None:
            return event
        self._commands[event.id] = command
        if command.pattern:
            return Call(event.id, event.name, command.pattern)
        return Call(event.id, "read", {"file_path": self._path(command.path, event.arguments.get("workdir"))})

    def _returned(self, event: Result, result: Any) -> Result:
        command = self._commands.get(event.call)
        documents = _links(result) or _links_in(event.content) or self._files(event, result, command)
        if documents and not event.failed:
            return replace(event, content=documents, searched=True)
        if command is not None and command.path:
            return replace(event, content=printed(event.content))
        return replace(event, content=_read(event.content, result))

    def _files(self, event: Result, result: Any, command: ShellCommand | None) -> list[Any]:
        """Return the files that a search of files found, with the lines of each that it printed."""
        names = result.get("filenames") if isinstance(result, Mapping) else None
        files: dict[str, list[str]] = {}
        if names:
            files = {name: [] for name in names if isinstance(name, str) and _PATH.match(name)}
        elif command is not None and command.pattern:
            files = found_lines(printed(event.content))
        documents: dict[str, dict[str, str]] = {}
        for name, lines in files.items():
            path = self._path(name)
            documents.setdefault(path, {"id": path, "path": name, "text": "\n".join(lines)})
        return list(documents.values())

    def _path(self, path: str, folder: Any = None) -> str:
        if isinstance(folder, str) and folder and not path.startswith("/"):
            path = f"{folder}/{path}"
        return path_from(self._folder, path)


def _agent(line: Mapping[str, Any], agents: dict[str, str]) -> str:
    """Return which agent below the session a line is of: by its name, or by the line before it.

    Args:
        line: A line of an agent's file.
        agents: Line -> agent; the line is added.
    """
    agent = str(
        line.get("agentId") or agents.get(str(line.get("parentUuid"))) or f"agent-{len(set(agents.values())) + 1}"
    )
    agents[str(line.get("uuid"))] = agent
    return agent


def _read(content: Any, result: Any) -> Any:
    """Return what a call returned: of a file its text, without numbers of lines and what the program put behind it."""
    file = result.get("file") if isinstance(result, Mapping) else None
    if isinstance(file, Mapping) and isinstance(file.get("content"), str):
        return file["content"]
    return _INSERTED.sub("", content) if isinstance(content, str) else content


def _links(result: Any) -> list[Any]:
    """Return the pages of a web search of Claude Code."""
    entries = result.get("results") if isinstance(result, Mapping) else None
    pages = []
    for entry in entries if isinstance(entries, list) else []:
        content = entry.get("content") if isinstance(entry, Mapping) else None
        pages += [page for page in content or [] if isinstance(page, Mapping) and page.get("url")]
    return pages


def _links_in(content: Any) -> list[Any]:
    text = content if isinstance(content, str) else ""
    if isinstance(content, list):
        text = "\n".join(str(block.get("text") or "") for block in content if isinstance(block, Mapping))
    if not text.startswith("Web search results"):
        return []
    pages = []
    for match in _LINKS.finditer(text):
        try:
            pages.append(json.loads(match[0]))
        except ValueError:
            continue
    return [page for page in pages if page.get("url")]
