"""Content blocks of further interfaces, as those that :mod:`rader_synthesis.importing.messages` reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["typed_block"]


def typed_block(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a content block with a type, also one of Bedrock, Gemini or Vercel's AI SDK, which say it otherwise."""
    kind = str(block.get("type") or "")
    if not kind and isinstance(block.get("text"), str):
        return {"type": "text", **block}
    for name, of in (("toolUse", "tool_use"), ("functionCall", "tool_use"), ("function_call", "tool_use")):
        if isinstance(block.get(name), Mapping):
            call = block[name]
            id = call.get("toolUseId") or call.get("id") or f"{call.get('name')}"
            return {"type": of, "id": id, "name": call.get("name"), "input": call.get("input", call.get("args"))}
    for name in ("toolResult", "functionResponse", "function_response"):
        if isinstance(block.get(name), Mapping):
            result = block[name]
            content = result.get("response", result.get("content"))
            if isinstance(content, list):
                content = [part["json"] if isinstance(part, Mapping) and "json" in part else part for part in content]
                content = content[0] if len(content) == 1 and not _is_text(content[0]) else content
            id = result.get("toolUseId") or result.get("id") or result.get("name")
            return {"type": "tool_result", "tool_use_id": id, "content": content}
    if kind in ("tool-call", "tool-result") and block.get("toolCallId"):
        result = block.get("result", block.get("output"))
        fields = {"id": block["toolCallId"], "tool_use_id": block["toolCallId"], "name": block.get("toolName")}
        result = result["value"] if isinstance(result, Mapping) and {"type", "value"} <= result.keys() else result
        return {**fields, "type": kind.replace("-call", "_use").replace("-", "_"),
                "input": block.get("args", block.get("input")), "content": result}  # fmt: skip
    return block


def _is_text(part: object) -> bool:
    return isinstance(part, Mapping) and isinstance(part.get("text"), str)
