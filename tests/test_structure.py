"""How the files of the whole tree hang together: nothing imports in a circle, not even inside a function."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Folder -> dotted name of what lies in it.
PACKAGES = {
    "rader_plugins": "rader_plugins",
    "synthesis/rader_synthesis": "rader_synthesis",
    "training/rader_training": "rader_training",
    "integrations/langchain_rader": "langchain_rader",
    "integrations/llama_index": "llama_index",
}


def modules(root: Path, packages: Mapping[str, str]) -> dict[str, Path]:
    """Return dotted name -> file."""
    files: dict[str, Path] = {}
    for folder, package in packages.items():
        for file in (root / folder).rglob("*.py"):
            parts = file.relative_to(root / folder).with_suffix("").parts
            files[".".join((package, *parts)).removesuffix(".__init__")] = file
    return files


def imports(name: str, file: Path, files: Mapping[str, Path]) -> set[str]:
    """Return the files of the tree that a file names in an import: at its top, in a function, for types alone.

    That a package runs before what lies in it is no import of the file.
    """
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    targets: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *(node.module or "").split(".")]).strip(".")
            # `from package import module` names the module, and not the package.
            targets |= {inner if (inner := f"{base}.{alias.name}") in files else base for alias in node.names}
    return targets & files.keys() - {name}


def circles(graph: Mapping[str, set[str]]) -> list[frozenset[str]]:
    """Return the strongly connected components of more than one file (Tarjan)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components: list[frozenset[str]] = []

    def visit(name: str) -> Iterator[str]:
        order[name] = low[name] = len(order)
        stack.append(name)
        for target in sorted(graph[name]):
            if target not in order:
                yield target
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], order[target])
        if low[name] == order[name]:
            start = stack.index(name)
            components.append(frozenset(stack[start:]))
            del stack[start:]

    for name in graph:
        if name not in order:
            visits = [visit(name)]
            while visits:
                if (target := next(visits[-1], None)) is None:
                    visits.pop()
                else:
                    visits.append(visit(target))
    return [component for component in components if len(component) > 1]


def test_no_files_import_each_other_in_a_circle() -> None:
    files = modules(ROOT, PACKAGES)
    assert len(files) > 100, "the rule would hold for nothing"
    import_circles = circles({name: imports(name, file, files) for name, file in files.items()})
    assert not [sorted(circle) for circle in import_circles], "put what both need where both may import it"


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        ("import house.b", "from house import a"),
        ("def f():\n    from house.b import x", "from .a import y"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import b", "import house.c"),
    ],
)
def test_the_rule_finds_an_offender(tmp_path: Path, inner: str, outer: str) -> None:
    (tmp_path / "house").mkdir()
    for name, text in {"__init__": "from .a import z", "a": inner, "b": outer, "c": "import house.a"}.items():
        (tmp_path / "house" / f"{name}.py").write_text(text)
    files = modules(tmp_path, {"house": "house"})
    import_circles = circles({name: imports(name, file, files) for name, file in files.items()})
    expected = {"house.a", "house.b", "house.c"} if outer == "import house.c" else {"house.a", "house.b"}
    assert import_circles == [frozenset(expected)]
