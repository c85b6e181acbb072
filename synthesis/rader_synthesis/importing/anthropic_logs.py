"""Importer of message logs as Anthropic's interface has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rader_plugins.errors import InputError
from rader_synthesis.importing.openai_logs import OpenAILogs, messages_of

__all__ = ["AnthropicLogs"]

_BLOCKS = frozenset(
    (
        "tool_use", "tool_result", "search_result", "thinking", "redacted_thinking", "server_tool_use",
        "web_search_tool_result", "web_fetch_tool_result", "mcp_tool_use", "mcp_tool_result", "document",
    )
)  # fmt: skip


class AnthropicLogs(OpenAILogs):
    """Reads requests and responses of Anthropic's Messages interface, or their ``messages`` alone.

    Calls are ``tool_use`` blocks and their ``tool_result``; ``server_tool_use``, ``mcp_tool_use`` and the results of
    web search and fetch too. Documents are read from ``search_result`` and ``document`` blocks, and what the answer's
    blocks cite (``search_result_location``, ``char_location``, ``web_search_result_location``) is labelled.

    Example:
        >>> AnthropicLogs().source
        'import:anthropic'
    """

    kind = "anthropic"
    summary = "message logs of Anthropic's interface: tool_use, tool_result, search_result, citations"

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether the contents of a row's messages have blocks that only this interface has."""
        try:
            items = messages_of(value, "")
        except InputError:
            return 0.0
        blocks = (item.get("content") for item in items if isinstance(item, Mapping))
        kinds = {
            block.get("type")
            for content in blocks
            if isinstance(content, list)
            for block in content
            if isinstance(block, Mapping)
        }
        return 0.9 if kinds & _BLOCKS else 0.0
