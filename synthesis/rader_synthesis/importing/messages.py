"""`MessageReader`: messages of any interface as the events of a conversation.

Messages of OpenAI's chat completions and Responses, Anthropic's blocks, OpenTelemetry's parts, LangChain's messages and
OpenInference's attributes differ in names only; one reader for all of them lets every format that carries messages be a
few lines. What it does not know is counted by type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.recording.results import query_of, text_of_content
from rader_synthesis.importing.blocks import typed_block
from rader_synthesis.importing.citing import citation_of
from rader_synthesis.importing.conversation import (
    Answer,
    Call,
    Citation,
    Event,
    Feedback,
    Question,
    Result,
    Search,
    SearchResult,
    Thought,
)
from rader_synthesis.importing.feedback import rating_in
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import parsed_cell
from rader_synthesis.importing.tools import result_of

__all__ = ["MessageReader", "is_message", "unwrapped"]

_ROLES = {
    "user": "user", "human": "user", "HumanMessage": "user", "HumanMessageChunk": "user",
    "assistant": "assistant", "ai": "assistant", "model": "assistant", "gpt": "assistant", "chatbot": "assistant",
    "AIMessage": "assistant", "AIMessageChunk": "assistant",
    "tool": "tool", "function": "tool", "ToolMessage": "tool", "FunctionMessage": "tool", "observation": "tool",
    "system": "system", "developer": "system", "SystemMessage": "system",
}  # fmt: skip
_TEXTS = frozenset(("text", "input_text", "output_text", "summary_text", "reasoning_text"))
_CALLS = frozenset(("tool_use", "server_tool_use", "mcp_tool_use", "tool_call"))
_RESULTS = frozenset(("tool_result", "mcp_tool_result", "tool_call_response", "tool_response"))
_ITEM_CALLS = frozenset(
    (
        "function_call",
        "custom_tool_call",
        "local_shell_call",
        "shell_call",
        "apply_patch_call",
        "computer_call",
        "tool_search_call",
    )
)
_WITHOUT_CONTENT = frozenset(
    (
        "mcp_list_tools",
        "step-start", "mcp_approval_request", "mcp_approval_response", "item_reference", "redacted_thinking",
        "refusal", "compaction", "signature", "tool_search_output", "cache_control", "container_upload",
    )
)  # fmt: skip


def unwrapped(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message without the wrappers of LangChain's serialisation, of spans and of choices."""
    if message.get("lc") and isinstance(message.get("kwargs"), Mapping):
        path = message.get("id")
        name = str(path[-1]) if isinstance(path, list) and path else ""
        return {**message["kwargs"], "role": _ROLES.get(name, message["kwargs"].get("type"))}
    for key in ("message", "data", "kwargs"):
        inner = message.get(key)
        if isinstance(inner, Mapping) and "content" not in message and ("role" not in message or "role" in inner):
            return unwrapped({**{name: message[name] for name in ("type", "role") if name in message}, **inner})
    return message


def is_message(value: object) -> bool:
    """Whether a value is a message of some interface: it has a role, in one way or another, and content."""
    if not isinstance(value, Mapping):
        return False
    value = unwrapped(value)
    role = value.get("role") or value.get("type")
    return role in _ROLES and any(key in value for key in ("content", "parts", "tool_calls", "function_call"))


class MessageReader:
    """Turns messages into events.

    Args:
        where: How to call the row in messages of errors.
        report: Counts what was not understood.
    """

    def __init__(self, where: str, report: ImportReport) -> None:
        self.events: list[Event] = []
        self.instructions = ""
        self._where = where
        self._report = report
        self._documents = 0
        self._ids: set[str] = set()

    def read(self, items: Sequence[object]) -> MessageReader:
        """Take messages, or items of the Responses interface, in their order.

        Raises:
            InputError: One is no object, or its calls are no list.
        """
        for number, item in enumerate(items):
            if not isinstance(item, Mapping):
                raise InputError(f"{self._where}: message {number} is {type(item).__name__}, not an object.")
            self.item(unwrapped(item), f"{self._where}, message {number}")
        return self

    def item(self, item: Mapping[str, Any], where: str) -> None:
        """Take one message or item."""
        kind = str(item.get("type") or "message")
        role = _ROLES.get(str(item.get("role") or item.get("from") or kind))
        if role is not None:
            self._message(role, item, where)
        elif kind in _ITEM_CALLS:
            arguments = next((item[key] for key in ("arguments", "input", "action", "operation") if item.get(key)), "")
            self._call(_key(item, "call_id", "id"), str(item.get("name") or kind.removesuffix("_call")), arguments)
        elif kind.endswith("_output") and kind not in _WITHOUT_CONTENT:
            self.events.append(Result(_key(item, "call_id", "id"), item.get("output"), failed=_failed(item)))
        elif kind == "mcp_call":
            self._whole_call(item, item.get("arguments"), item.get("output") or item.get("error"))
        elif kind == "code_interpreter_call":
            self._whole_call({"name": "code_interpreter", **item}, item.get("code"), item.get("outputs") or "")
        elif kind == "file_search_call":
            self._file_search(item)
        elif kind == "web_search_call":
            self._web_search(item)
        elif kind == "reasoning":
            self._think(text_of_content(item.get("summary")) or text_of_content(item.get("content")))
        elif kind in _WITHOUT_CONTENT:
            return
        else:
            named = item.get("role")
            self._report.unknown[f"message of role {named}" if kind == "message" else f"item {kind}"] += 1

    def _message(self, role: str, item: Mapping[str, Any], where: str) -> None:
        content = item.get("content") if item.get("content") is not None else item.get("parts")
        if role == "system":
            self.instructions = f"{self.instructions}\n{_text(content)}".strip()
        elif role == "tool":
            key = _key(item, "tool_call_id", "call_id")
            if not key and _key(item, "id") in self._ids:
                key = _key(item, "id")
            blocks = content if isinstance(content, list) else []
            typed = [typed_block(block) for block in blocks if isinstance(block, Mapping)]
            nested = [block for block in typed if block.get("type") in _RESULTS]
            for block in nested:
                self._block_result(block)
            if not nested:
                artifact = item.get("artifact")
                content = artifact if isinstance(artifact, list | Mapping) and artifact else content
                tool = str(item.get("name") or item.get("tool_name") or "")
                self.events.append(Result(key, content, tool=tool, failed=_failed(item)))
        else:
            if role == "assistant":
                for name in ("reasoning_content", "reasoning", "thinking"):
                    if item.get(name):
                        self._think(_text(item[name]))
                        break
            self._content(role, content, _citations(item))
            self._tool_calls(item, where)
            if role == "assistant" and (rating := rating_in(item)):
                self.events.append(Feedback(rating))

    def _content(self, role: str, content: object, citations: tuple[Citation, ...]) -> None:
        if isinstance(content, str):
            self._say(role, content, citations)
            return
        if isinstance(content, Mapping):
            content = [content]
        blocks = content if isinstance(content, list) else []
        if role == "user" and any(isinstance(block, Mapping) and block.get("type") in _RESULTS for block in blocks):
            role = "program"  # what stands beside results is the program's remark, and no new question
        pieces: list[str] = []
        cited: list[Citation] = [*citations]
        results: list[SearchResult] = []
        for block in blocks:
            if isinstance(block, str):
                pieces.append(block)
                continue
            if not isinstance(block, Mapping):
                continue
            block = typed_block(block)
            kind = str(block.get("type") or "of the fields " + ", ".join(sorted(map(str, block))))
            if kind in _TEXTS:
                text = block.get("text") if block.get("text") is not None else block.get("content")
                pieces.append(text if isinstance(text, str) else "")
                cited += _citations(block)
            elif kind in ("search_result", "document"):
                results += self._document(block)
            else:
                self._say(role, _joined(pieces, cited), tuple(cited))
                pieces, cited = [], []
                self._block(kind, block)
        self._say(role, _joined(pieces, cited), tuple(cited))
        if results:
            self.events.append(Search(None, tuple(results)))

    def _block(self, kind: str, block: Mapping[str, Any]) -> None:
        if kind in ("thinking", "reasoning"):
            self._think(
                _text(next((block[key] for key in ("thinking", "reasoning", "content", "text") if block.get(key)), ""))
            )
        elif kind in _CALLS:
            arguments = next((block[key] for key in ("input", "arguments", "args") if block.get(key) is not None), "")
            self._call(_key(block, "id", "tool_call_id"), str(block.get("name") or ""), arguments)
        elif kind in _RESULTS or kind.endswith("_tool_result"):
            self._block_result(block)
        elif kind not in _WITHOUT_CONTENT:
            self._report.unknown[f"content {kind}"] += 1

    def _block_result(self, block: Mapping[str, Any]) -> None:
        content = next(
            (block[key] for key in ("content", "response", "result", "output") if block.get(key) is not None), ""
        )
        if isinstance(content, Mapping) and content.get("type") == "web_fetch_result":
            content = _fetched(content)
        key = _key(block, "tool_use_id", "tool_call_id", "call_id", "id")
        self.events.append(Result(key, content, failed=_failed(block) or str(block.get("type")).endswith("_error")))

    def _document(self, block: Mapping[str, Any]) -> list[SearchResult]:
        source = block.get("source")
        if isinstance(source, Mapping):
            text = source.get("data") if source.get("type") == "text" else _text(source.get("content"))
            block = {
                "type": "document",
                "title": block.get("title") or "",
                "text": text or "",
                "url": source.get("url"),
            }
        results = result_of(block)
        self._documents += 1
        return (
            []
            if results is None
            else [SearchResult(results.document, (*results.names, f"document:{self._documents - 1}"))]
        )

    def _tool_calls(self, item: Mapping[str, Any], where: str) -> None:
        calls = item.get("tool_calls") or []
        if not isinstance(calls, list):
            raise InputError(f"{where}: 'tool_calls' must be a list.")
        if isinstance(legacy := item.get("function_call"), Mapping):
            calls = [*calls, {"id": f"legacy{len(self.events)}", "function": legacy}]
        for call in calls:
            if not isinstance(call, Mapping):
                continue
            call = call["tool_call"] if isinstance(call.get("tool_call"), Mapping) else call
            function = next((call[key] for key in ("function", "custom") if isinstance(call.get(key), Mapping)), call)
            arguments = next(
                (function[key] for key in ("arguments", "args", "input") if function.get(key) is not None), ""
            )
            self._call(_key(call, "id"), str(function.get("name") or ""), arguments)

    def _call(self, id: str, name: str, arguments: object) -> None:
        id = id or f"{name}{len(self.events)}"
        self._ids.add(id)
        event = Call(id, name, parsed_cell(arguments))
        if event not in self.events[-20:]:  # LangChain says a call in its content and beside it
            self.events.append(event)

    def _whole_call(self, item: Mapping[str, Any], arguments: object, output: object) -> None:
        id = _key(item, "id") or f"item{len(self.events)}"
        self._call(id, str(item.get("name") or ""), arguments)
        self.events.append(Result(id, output if output is not None else "", failed=_failed(item)))

    def _file_search(self, item: Mapping[str, Any]) -> None:
        rows = item.get("results")
        results = [result for row in rows or [] if isinstance(row, Mapping) and (result := result_of(row)) is not None]
        if rows is None:
            self._report.notes["file_search_call without results (ask for include=['file_search_call.results'])"] += 1
        self._report.tool("file_search").searches += 1
        self.events.append(Search(query_of({"queries": item.get("queries")}), tuple(results), open_ended=rows is None))

    def _web_search(self, item: Mapping[str, Any]) -> None:
        action: Mapping[str, Any] = item["action"] if isinstance(item.get("action"), Mapping) else {}
        if action.get("type") in ("open_page", "find_in_page", "find"):
            self._whole_call({"name": "open_page", **item}, {"url": action.get("url")}, "")
            return
        sources = action.get("sources") or item.get("results") or []
        results = [result for row in sources if isinstance(row, Mapping) and (result := result_of(row)) is not None]
        query = query_of({"queries": action.get("queries") or action.get("query") or item.get("query")})
        self._report.tool("web_search").searches += 1
        self.events.append(Search(query, tuple(results), open_ended=True))

    def _think(self, text: str) -> None:
        if text.strip():
            self.events.append(Thought(text.strip()))

    def _say(self, role: str, text: str, citations: tuple[Citation, ...]) -> None:
        if role == "user" and text.strip():
            self.events.append(Question(text))
        elif role == "program":
            self._think(text)
        elif role == "assistant" and (text.strip() or citations):
            self.events.append(Answer(text, citations))


def _failed(item: Mapping[str, Any]) -> bool:
    """Whether a message, block or item says that the call failed whose result it is."""
    return item.get("is_error") is True or item.get("isError") is True or bool(item.get("error")) or (
        str(item.get("status")).lower() in ("error", "failed")
    )  # fmt: skip


def _citations(block: Mapping[str, Any]) -> tuple[Citation, ...]:
    entries = [*_listed(block.get("citations")), *_listed(block.get("annotations"))]
    return tuple(citation for entry in entries if (citation := citation_of(entry)) is not None)


def _listed(value: object) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _joined(pieces: Sequence[str], citations: Sequence[Citation]) -> str:
    """Return the text of blocks; an answer with citations is one text that is cut at each of them."""
    return ("" if citations else "\n").join(pieces)


def _fetched(content: Mapping[str, Any]) -> Any:
    document = content.get("content")
    source = document.get("source") if isinstance(document, Mapping) else None
    text = source.get("data") if isinstance(source, Mapping) else text_of_content(document)
    return [{"url": content.get("url"), "text": text or ""}]


def _text(content: object) -> str:
    if isinstance(content, list):
        content = [{"text": part.get("content"), **part} if isinstance(part, Mapping) else part for part in content]
    return text_of_content(content)


def _key(item: Mapping[str, Any], *names: str) -> str:
    return str(next((item[name] for name in names if item.get(name) is not None), ""))
