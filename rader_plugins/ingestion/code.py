"""Source code: which language a file is in, where functions and classes begin."""

from __future__ import annotations

import functools
import importlib
import re
from typing import Any

__all__ = ["CODE_SUFFIXES", "GRAMMARS", "Symbols", "code_splitter", "language_of"]

# Ending -> (name, module of the grammar, function that gives it).
_LANGUAGES = {
    ".py": ("Python", "tree_sitter_python", "language"),
    ".pyi": ("Python", "tree_sitter_python", "language"),
    ".js": ("JavaScript", "tree_sitter_javascript", "language"),
    ".jsx": ("JavaScript", "tree_sitter_javascript", "language"),
    ".mjs": ("JavaScript", "tree_sitter_javascript", "language"),
    ".ts": ("TypeScript", "tree_sitter_typescript", "language_typescript"),
    ".tsx": ("TypeScript", "tree_sitter_typescript", "language_tsx"),
    ".java": ("Java", "tree_sitter_java", "language"),
    ".go": ("Go", "tree_sitter_go", "language"),
    ".rs": ("Rust", "tree_sitter_rust", "language"),
    ".c": ("C", "tree_sitter_c", "language"),
    ".h": ("C", "tree_sitter_c", "language"),
    ".cc": ("C++", "tree_sitter_cpp", "language"),
    ".cpp": ("C++", "tree_sitter_cpp", "language"),
    ".hpp": ("C++", "tree_sitter_cpp", "language"),
    ".rb": ("Ruby", "tree_sitter_ruby", "language"),
    ".cs": ("C#", "tree_sitter_c_sharp", "language"),
    ".php": ("PHP", "tree_sitter_php", "language_php"),
    ".sh": ("shell", "tree_sitter_bash", "language"),
}
CODE_SUFFIXES = tuple(_LANGUAGES)
"""Endings of files of source code."""

GRAMMARS = tuple(sorted({module for _, module, _ in _LANGUAGES.values()}))
_NAMED = re.compile("function|method|class|struct|interface|trait|enum|impl|module|namespace|constructor")


def language_of(suffix: str) -> str | None:
    """Return the name of the language of files with an ending; None if it is none of :data:`CODE_SUFFIXES`."""
    return _LANGUAGES[suffix][0] if suffix in _LANGUAGES else None


def code_splitter(suffix: str, size: int, overlap: int) -> Any:
    """Return what splits code of a language along its functions and classes.

    Raises:
        ImportError: The extra ``code`` is not installed.
    """
    library = importlib.import_module("semantic_text_splitter")
    return library.CodeSplitter(_grammar(suffix), size, overlap=overlap)


def _grammar(suffix: str) -> Any:
    _, module, function = _LANGUAGES[suffix]
    return getattr(importlib.import_module(module), function)()


@functools.cache
def _parser(suffix: str) -> Any:
    library = importlib.import_module("tree_sitter")
    return library.Parser(library.Language(_grammar(suffix)))


class Symbols:
    """Finds the function or class that a part of a text lies in, such as ``Index.add``.

    Args:
        text: The code of one file.
        suffix: One of :data:`CODE_SUFFIXES`.

    Raises:
        ImportError: The extra ``code`` is not installed.
    """

    def __init__(self, text: str, suffix: str) -> None:
        self._text = text
        self._tree = _parser(suffix).parse(text.encode())

    def name_of(self, start: int, end: int) -> str | None:
        """Return the name that a part of the text lies in, or the first that begins within it."""
        lines = [start, *(match.end() for match in re.compile(r"\n[ \t]*(?=\S)").finditer(self._text, start, end))]
        return next(filter(None, map(self._name_at, lines)), None)

    def _name_at(self, start: int) -> str | None:
        byte = len(self._text[:start].encode())
        node = self._tree.root_node.descendant_for_byte_range(byte, byte + 1)
        names: list[str] = []
        while node is not None:
            name = node.child_by_field_name("name") or node.child_by_field_name("declarator")
            if name is not None and _NAMED.search(node.type):
                names.insert(0, name.text.decode("utf-8", "replace").partition("(")[0].strip())
            node = node.parent
        return ".".join(names) or None
