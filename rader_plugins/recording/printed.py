"""Reading back what Python printed: frameworks turn a tool's objects into text before a recorder sees them."""

from __future__ import annotations

import ast
import re
from typing import Any

__all__ = ["is_printed", "parse_printed"]

_STRING = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_ENUM = re.compile(rf"({_STRING})|<[\w.]+: ({_STRING}|-?\w+)>", re.DOTALL)
_CALL = re.compile(r"[\[({\s]*(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*\((?:\w+=|\)|['\"\[{(\d])")
_OBJECT = re.compile(r"<(?:[\w.<>]+ )?(?:object|function|bound method|class|coroutine|generator)\b[^\n]*?>")
# LangChain's text of a document, whose content stands in it as it is, and LlamaIndex's of a node, which is cut short.
_DOCUMENT = re.compile(r"\Apage_content='(?P<text>.*?)'(?: metadata=(?P<metadata>\{.*\}))?\Z", re.DOTALL)
_NODE = re.compile(r"\ANode ID: \S+\nText: ")


def is_printed(text: str) -> bool:
    """Whether a text is what Python prints for an object: ``Command(update={...})``, ``<Thing object at ...>``.

    Example:
        >>> is_printed("[Document(id='one')]"), is_printed("f(x) is continuous")
        (True, False)
    """
    text = text.strip()
    if _OBJECT.match(text.lstrip("[({ ")) or _DOCUMENT.match(text) or _NODE.match(text):
        return True
    call = _CALL.match(text)
    return call is not None and (text[-1:] in (")", "]", "}") or (text[0] in "[({" and call[0].endswith("=")))


def parse_printed(text: str) -> Any:
    """Return what was printed as plain data: objects as dicts of their fields, with None for what cannot be read.

    Raises:
        ValueError: It is not what Python prints, or more than can be read.
    """
    text = text.strip()
    if document := _DOCUMENT.match(text):
        return {"page_content": document["text"], "metadata": parse_printed(document["metadata"] or "{}")}
    try:
        try:
            tree = ast.parse(text, mode="eval")
        except SyntaxError:
            # Members of an Enum are printed as <Color.RED: 1>; within strings nothing is replaced.
            tree = ast.parse(_ENUM.sub(lambda match: match[1] or match[2], text), mode="eval")
        return _plain(tree.body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"This is nothing that Python prints: {error}") from None


def _plain(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [_plain(element) for element in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_key(key): _plain(value) for key, value in pairs if key is not None}
    if isinstance(node, ast.Call):
        return {keyword.arg: _plain(keyword.value) for keyword in node.keywords if keyword.arg} or None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _plain(node.operand)
        return -value if isinstance(value, int | float) else None
    if isinstance(node, ast.Name | ast.Attribute):
        return None  # nan, inf, a name
    raise ValueError(f"{type(node).__name__} is nothing that Python prints.")


def _key(node: ast.expr) -> Any:
    value = _plain(node)
    return value if isinstance(value, str | int | float | bool) else str(value)
