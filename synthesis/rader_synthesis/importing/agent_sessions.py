"""Importer of the session logs of coding agents: Claude Code and Codex."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rader_synthesis.importing.conversation import Call, Conversation, Event, Question, Result
from rader_synthesis.importing.conversations import EventImporter
from rader_synthesis.importing.messages import MessageReader
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Row

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
    file searches (``Grep``, ``Glob``) are searches, ``WebFetch`` and ``Read`` open what they found.

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
            sessions: dict[str, MessageReader] = {}
            wheres: dict[str, str] = {}
            agents: dict[str, str] = {}
            current = path.stem
            for row, value in self.values(path, report):
                if not isinstance(value, Mapping):
                    report.unknown[f"line that is {type(value).__name__}"] += 1
                    continue
                if value.get("type") == "session_meta" and isinstance(value.get("payload"), Mapping):
                    current = str(value["payload"].get("id") or current)
                session = str(value.get("sessionId") or current)
                if value.get("isSidechain"):
                    session = f"{session}/{_agent(value, agents)}"
                reader = sessions.setdefault(session, MessageReader(row.where, report))
                wheres.setdefault(session, row.where)
                self._line(value, reader, row, report)
            for session, reader in sessions.items():
                if reader.events:
                    yield Conversation(session, reader.events, wheres[session])

    def _line(self, value: Mapping[str, Any], reader: MessageReader, row: Row, report: ImportReport) -> None:
        kind = str(value.get("type"))
        if kind in ("user", "assistant") and isinstance(value.get("message"), Mapping):
            if any(value.get(mark) for mark in ("isMeta", "isCompactSummary", "isApiErrorMessage")):
                return
            if value["message"].get("model") == "<synthetic>":  # said by the program in the model's place
                return
            before = len(reader.events)
            reader.item({"type": "message", **value["message"], "role": kind}, row.where)
            reader.events[before:] = _cleaned(reader.events[before:], value.get("toolUseResult"))
        elif kind == "response_item" and isinstance(value.get("payload"), Mapping):
            before = len(reader.events)
            reader.item(value["payload"], row.where)
            reader.events[before:] = _cleaned(reader.events[before:], None)
        elif "role" in value or kind in ("function_call", "function_call_output", "reasoning", "message"):
            reader.item(value, row.where)  # the first versions of Codex wrote items as lines
        elif kind not in _CLAUDE_SILENT | _CODEX_SILENT and not ("instructions" in value and "id" in value):
            report.unknown[f"line of type {kind}"] += 1


def _agent(line: Mapping[str, Any], agents: dict[str, str]) -> str:
    """Return which agent below the session a line is of: by its name, or by the line before it.

    Args:
        line: Of an agent.
        agents: Line -> agent; the line is added.
    """
    agent = str(
        line.get("agentId") or agents.get(str(line.get("parentUuid"))) or f"agent-{len(set(agents.values())) + 1}"
    )
    agents[str(line.get("uuid"))] = agent
    return agent


def _cleaned(events: Sequence[Event], result: Any) -> Iterable[Event]:
    """Yield events without what the program inserted as if the user had said it, results with what they found."""
    for event in events:
        if isinstance(event, Question):
            text = _INSERTED.sub("", event.text).strip()
            if not _NOT_SAID.match(text):
                yield Question(text)
        elif isinstance(event, Result):
            documents = _links(result) or _links_in(event.content) or _files(result)
            if documents and not event.failed:
                yield replace(event, content=documents, searched=True)
            else:
                yield replace(event, content=_read(event.content, result))
        elif isinstance(event, Call) and isinstance(event.arguments, Mapping) and "pattern" in event.arguments:
            yield Call(event.id, event.name, event.arguments["pattern"])
        else:
            yield event


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


def _files(result: Any) -> list[Any]:
    """Return the files that a search of files found."""
    names = result.get("filenames") if isinstance(result, Mapping) else None
    return [{"path": name} for name in names or [] if isinstance(name, str) and _PATH.match(name)]
