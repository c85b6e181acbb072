"""What the pages of the API show of arguments: a description that says what the thing is."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("rader_plugins", "synthesis/rader_synthesis", "training/rader_training", "integrations")
SECTION = re.compile(r"(?:Args|Attributes):")
ITEM = re.compile(r"([*\w]+(?:, [*\w]+)*): (.*)")
LEAST_WORDS = 3


def public(node: ast.AST, name: str) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield the classes, functions and methods that bear no underscore, with their names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and child.name[0] != "_":
            yield f"{name}.{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{name}.{child.name}")


def descriptions(docstring: str) -> Iterator[tuple[str, str]]:
    """Yield arguments and attributes with their descriptions, from a docstring of Google's style."""
    items: list[list[str]] = []
    is_inside = False
    for line in inspect.cleandoc(docstring).splitlines():
        if line[:1].strip():
            is_inside = SECTION.fullmatch(line) is not None
        elif is_inside and (match := ITEM.fullmatch(line[4:])) is not None:
            items.append([match[1], match[2]])
        elif is_inside and line.strip():
            items[-1][1] += " " + line.strip()
    yield from ((name, text) for name, text in items)


def says_nothing(text: str) -> bool:
    """Whether a description is too short to say what an argument is, or only whose it is."""
    return len(text.split()) < LEAST_WORDS or text.startswith("Of ")


@pytest.mark.parametrize("folder", FOLDERS)
def test_arguments_are_described(folder: str) -> None:
    count, bare = 0, []
    for file in sorted((ROOT / folder).rglob("*.py")):
        for name, node in public(ast.parse(file.read_text(encoding="utf-8")), file.relative_to(ROOT).as_posix()):
            for argument, text in descriptions(ast.get_docstring(node, clean=False) or ""):
                count += 1
                bare += [f"{name}, {argument}: {text}"] if says_nothing(text) else []
    assert count > 100, "the rule would hold for nothing"
    assert not bare, "say what it is, its unit or shape, and its default where that matters"


def test_the_rule_finds_an_offender() -> None:
    docstring = """Sample.

    Args:
        seed: Of the
            sampling.
        top_p, k: How many.
        temperature: Sampling
            temperature; 0 is greedy.

    Returns:
        answers: Text.
    """
    texts = dict(descriptions(docstring))
    assert {name: says_nothing(text) for name, text in texts.items()} == {
        "seed": True,
        "top_p, k": True,
        "temperature": False,
    }
